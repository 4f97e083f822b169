//! Making the control socket: never open to others for a moment, never taken from a server that lives.
//!
//! A lock file beside the socket says whether a server lives; the kernel frees it when that process ends, however it
//! ends. With the lock in hand, a socket that is there already is a leftover. The socket is bound inside a folder of
//! mode 0700, gets its own mode there, and only then moves to its place.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::UnixListener;

const LOCK_TRIES: u32 = 25;
const LOCK_INTERVAL: Duration = Duration::from_millis(10);

/// The control socket of this server, until it is dropped.
#[derive(Debug)]
pub struct ControlSocket {
    pub(super) listener: UnixListener,
    pub(super) owner: u32,
    place: Place,
    pub(super) lock: InstanceLock,
}

/// Proof that no other server uses the same control socket; keep it until the process ends.
#[derive(Debug)]
pub struct InstanceLock(#[allow(dead_code, reason = "holding the file open holds the lock")] File);

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another server lives.
    #[error("The control socket {path} belongs to a server that is running{pid}.")]
    Taken {
        /// The socket.
        path: PathBuf,
        /// ` (process 7)`, where that is known.
        pid: String,
    },
    /// Something else lies there.
    #[error("{path} is not a socket; the control socket will not take its place.")]
    NotASocket {
        /// What lies there.
        path: PathBuf,
    },
    /// The operator's configuration: others could put a socket of their own in its place.
    #[error(
        "The control socket {path} would lie in a folder that everybody may write to; choose another one."
    )]
    OpenFolder {
        /// The socket.
        path: PathBuf,
    },
    /// The operator's configuration, or the system.
    #[error("The control socket {path} cannot be made: {action} failed: {source}.")]
    Io {
        /// The socket.
        path: PathBuf,
        /// The step that failed.
        action: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl ControlSocket {
    /// Makes the socket at `path`. Call this inside a tokio runtime.
    pub fn bind(path: &Path) -> Result<ControlSocket, SocketError> {
        check_folder(path)?;
        let lock = InstanceLock::take(path)?;
        check_free(path)?;
        let failed = |action| move |source| SocketError::Io { path: path.to_owned(), action, source };
        let nursery = Nursery::make(path).map_err(failed("making a folder for it"))?;
        let cradle = nursery.0.join("s");
        let listener = UnixListener::bind(&cradle).map_err(failed("binding"))?;
        std::fs::set_permissions(&cradle, Permissions::from_mode(0o600))
            .map_err(failed("setting its mode"))?;
        let facts = std::fs::symlink_metadata(&cradle).map_err(failed("looking at it"))?;
        std::fs::rename(&cradle, path).map_err(failed("moving it to its place"))?;
        let place = Place { path: path.to_owned(), identity: (facts.dev(), facts.ino()) };
        Ok(ControlSocket { listener, owner: facts.uid(), place, lock })
    }

    pub(super) fn into_parts(self) -> (UnixListener, Place, InstanceLock) {
        (self.listener, self.place, self.lock)
    }
}

impl InstanceLock {
    /// Whether a server holds the lock that belongs to the socket at `path`.
    pub fn is_held(path: &Path) -> bool {
        let Ok(file) = File::open(lock_path(path)) else { return false };
        matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
    }

    fn take(socket: &Path) -> Result<InstanceLock, SocketError> {
        let failed = |action| move |source| SocketError::Io { path: socket.to_owned(), action, source };
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW);
        let mut file = options.open(lock_path(socket)).map_err(failed("opening its lock file"))?;
        match try_lock(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(SocketError::Taken { path: socket.to_owned(), pid: holder(&mut file) });
            }
            Err(TryLockError::Error(source)) => return Err(failed("locking its lock file")(source)),
        }
        file.set_len(0).map_err(failed("writing its lock file"))?;
        writeln!(file, "{}", std::process::id()).map_err(failed("writing its lock file"))?;
        Ok(InstanceLock(file))
    }
}

/// The socket in the file system; it is removed with this value, unless something else has taken its place.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    identity: (u64, u64),
}

impl Drop for Place {
    fn drop(&mut self) {
        let ours =
            std::fs::symlink_metadata(&self.path).is_ok_and(|now| (now.dev(), now.ino()) == self.identity);
        if ours {
            // Nothing is lost if it stays: the next server finds the lock free and replaces it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// A folder of mode 0700 beside the socket, removed with what is left in it.
struct Nursery(PathBuf);

impl Nursery {
    fn make(socket: &Path) -> io::Result<Nursery> {
        let parent = socket.parent().unwrap_or(Path::new("."));
        let folder = parent.join(format!(".m{:x}", std::process::id()));
        // The lock is ours, so a folder of that name is what a killed server with our process id left behind.
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        DirBuilder::new().mode(0o700).create(&folder)?;
        Ok(Nursery(folder))
    }
}

impl Drop for Nursery {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// `moultctl stopped` holds the lock for an instant each time it looks, so one refusal proves nothing.
fn try_lock(file: &File) -> Result<(), TryLockError> {
    for _ in 1..LOCK_TRIES {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_INTERVAL),
            result => return result,
        }
    }
    file.try_lock()
}

/// A folder that everybody may write to will do if it is sticky, as `/tmp` is: there nobody else can move our socket.
fn check_folder(path: &Path) -> Result<(), SocketError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mode = std::fs::metadata(folder).map_or(0, |facts| facts.mode());
    if mode & 0o1002 == 0o0002 { Err(SocketError::OpenFolder { path: path.to_owned() }) } else { Ok(()) }
}

fn lock_path(socket: &Path) -> PathBuf {
    let mut name = socket.file_name().unwrap_or_default().to_owned();
    name.push(".lock");
    socket.with_file_name(name)
}

fn holder(lock: &mut File) -> String {
    let mut text = String::new();
    // An unreadable lock file only costs the process id in the message.
    let _ = lock.take(32).read_to_string(&mut text);
    match text.trim().parse::<u32>() {
        Ok(pid) => format!(" (process {pid})"),
        Err(_) => String::new(),
    }
}

/// Refuses what is not a leftover: something that is not a socket, or a socket that answers although its lock is free
/// because somebody removed the lock file.
fn check_free(path: &Path) -> Result<(), SocketError> {
    let Ok(there) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !there.file_type().is_socket() {
        return Err(SocketError::NotASocket { path: path.to_owned() });
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(SocketError::Taken { path: path.to_owned(), pid: String::new() }),
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("moultctl.sock");
        (folder, path)
    }

    #[tokio::test]
    async fn the_socket_is_for_its_owner_alone_and_leaves_with_its_server() {
        let (folder, path) = folder();
        let socket = ControlSocket::bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(UnixStream::connect(&path).is_ok());
        assert!(InstanceLock::is_held(&path));
        let names: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "socket and lock only: {names:?}");
        drop(socket);
        assert!(!path.exists() && !InstanceLock::is_held(&path));
    }

    #[tokio::test]
    async fn a_living_server_keeps_its_socket() {
        let (_folder, path) = folder();
        let first = ControlSocket::bind(&path).unwrap();
        let error = ControlSocket::bind(&path).unwrap_err().to_string();
        assert!(
            error.contains(&format!("a server that is running (process {})", std::process::id())),
            "{error}"
        );
        assert!(UnixStream::connect(&path).is_ok());
        std::fs::remove_file(lock_path(&path)).unwrap();
        assert!(
            matches!(ControlSocket::bind(&path), Err(SocketError::Taken { .. })),
            "even without its lock file"
        );
        drop(first);
        assert!(ControlSocket::bind(&path).is_ok());
    }

    #[tokio::test]
    async fn a_leftover_of_a_killed_server_is_replaced() {
        let (_folder, path) = folder();
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let _socket = ControlSocket::bind(&path).unwrap();
        assert!(UnixStream::connect(&path).is_ok());
    }

    #[tokio::test]
    async fn nothing_but_a_socket_is_ever_replaced() {
        let (folder, path) = folder();
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(ControlSocket::bind(&path), Err(SocketError::NotASocket { .. })));
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &path).unwrap();
        assert!(matches!(ControlSocket::bind(&path), Err(SocketError::NotASocket { .. })));
    }

    #[tokio::test]
    async fn a_lock_file_that_is_a_link_is_not_followed() {
        let (folder, path) = folder();
        let victim = folder.path().join("victim");
        std::fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, lock_path(&path)).unwrap();
        assert!(matches!(ControlSocket::bind(&path), Err(SocketError::Io { .. })));
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
    }

    #[tokio::test]
    async fn a_socket_that_took_the_place_of_ours_is_not_removed() {
        let (_folder, path) = folder();
        let ours = ControlSocket::bind(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let _other = std::os::unix::net::UnixListener::bind(&path).unwrap();
        drop(ours);
        assert!(path.exists());
    }

    #[tokio::test]
    async fn a_folder_that_everybody_may_write_to_is_refused_unless_sticky() {
        let (folder, path) = folder();
        let with_mode = |mode| std::fs::set_permissions(folder.path(), Permissions::from_mode(mode)).unwrap();
        with_mode(0o777);
        assert!(matches!(ControlSocket::bind(&path), Err(SocketError::OpenFolder { .. })));
        with_mode(0o1777);
        assert!(ControlSocket::bind(&path).is_ok());
    }

    #[tokio::test]
    async fn somebody_who_only_looks_does_not_keep_a_server_from_starting() {
        let (_folder, path) = folder();
        drop(ControlSocket::bind(&path).unwrap());
        let (done, looked_at) = (std::sync::atomic::AtomicBool::new(false), path.clone());
        std::thread::scope(|threads| {
            threads.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    InstanceLock::is_held(&looked_at);
                    std::thread::yield_now();
                }
            });
            let started = (0..20).all(|_| InstanceLock::take(&path).is_ok());
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(started);
        });
    }

    #[tokio::test]
    async fn a_folder_that_does_not_exist_is_named() {
        let error = ControlSocket::bind(Path::new("/nowhere/at/all/ctl.sock")).unwrap_err().to_string();
        assert!(
            error.contains("/nowhere/at/all/ctl.sock cannot be made: opening its lock file failed"),
            "{error}"
        );
    }
}
