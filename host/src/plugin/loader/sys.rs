//! Small questions to the operating system that the standard library does not ask.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::OnceLock;

/// Not in `libc`; the same number on every architecture that this server supports.
const F_SETSIG: libc::c_int = 10;

/// User and group this process acts as.
pub fn effective_ids() -> (u32, u32) {
    // SAFETY: both calls take nothing and cannot fail.
    unsafe { (libc::geteuid(), libc::getegid()) }
}

/// Whether any process has this file open for writing; `None` where the system cannot tell.
///
/// The kernel grants a read lease only on a file that nobody writes. The lease is given back at once; should a writer
/// come in between, the kernel tells us by a signal, and of all signals we ask for one that is ignored by default.
pub fn being_written(file: &File) -> Option<bool> {
    let fd = file.as_raw_fd();
    // SAFETY: the descriptor is open while `file` is borrowed; these commands take an integer.
    unsafe {
        if libc::fcntl(fd, F_SETSIG, libc::SIGURG) != 0 {
            return None;
        }
        if libc::fcntl(fd, libc::F_SETLEASE, libc::F_RDLCK) == 0 {
            libc::fcntl(fd, libc::F_SETLEASE, libc::F_UNLCK);
            return Some(false);
        }
    }
    match io::Error::last_os_error().raw_os_error() {
        Some(libc::EAGAIN) => Some(true),
        _ => None,
    }
}

/// Commands of membarrier(2); not in `libc` for every target.
const MEMBARRIER_PRIVATE_EXPEDITED: libc::c_int = 1 << 3;
const MEMBARRIER_REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;

/// Whether [`order_threads`] works here. The first call registers the process for it.
pub fn can_order_threads() -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    *CAN.get_or_init(|| membarrier(MEMBARRIER_REGISTER_PRIVATE_EXPEDITED))
}

/// Makes every thread of this process that runs pass a full memory barrier before it returns; one that does not run
/// passes one when it is scheduled. `false` where the kernel does not offer it.
pub fn order_threads() -> bool {
    can_order_threads() && membarrier(MEMBARRIER_PRIVATE_EXPEDITED)
}

fn membarrier(command: libc::c_int) -> bool {
    // SAFETY: the call takes numbers only and touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}

/// Whether the file system of this folder forbids to execute what lies on it.
pub fn forbids_execution(dir: &Path) -> bool {
    let Ok(path) = CString::new(dir.as_os_str().as_bytes()) else { return false };
    let mut facts = MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the path ends with a zero, and the result is read only after the call has filled it in.
    unsafe {
        libc::statvfs(path.as_ptr(), facts.as_mut_ptr()) == 0
            && facts.assume_init().f_flag & libc::ST_NOEXEC != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_writer_is_noticed_and_a_closed_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let writer = File::create(&path).unwrap();
        let reader = File::open(&path).unwrap();
        // Some file systems know no leases; then the answer is «cannot tell» in both cases.
        assert_ne!(being_written(&reader), Some(false));
        drop(writer);
        assert_ne!(being_written(&reader), Some(true));
    }
}
