//! A child process with a deadline and bounded output.

use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Without a descriptor that tells of its end, the child is asked this often.
const PACE: Duration = Duration::from_millis(2);

/// How a child ended.
#[derive(Debug)]
pub struct Finished {
    /// `None`: it was killed at the deadline.
    pub status: Option<ExitStatus>,
    /// What it wrote to its output.
    pub out: Vec<u8>,
    /// What it wrote to its error output.
    pub err: Vec<u8>,
    /// Whether it wrote more to its output than was kept.
    pub too_much: bool,
}

/// One pipe of the child.
struct Pipe<R> {
    source: Option<R>,
    kept: Vec<u8>,
    limit: usize,
    too_much: bool,
}

/// Runs a child in its own process group until it ends or the deadline comes; then nothing of that group is left. Of each
/// output at most `limit` bytes are kept; the rest is read and thrown away, so that no child hangs on a full pipe.
///
/// `meanwhile` is done once the child runs; it counts against the deadline.
pub fn run(
    command: &mut Command,
    deadline: Duration,
    limit: usize,
    meanwhile: impl FnOnce(),
) -> io::Result<Finished> {
    let end = Instant::now() + deadline;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn()?;
    let pid = libc::pid_t::try_from(child.id()).map_err(io::Error::other)?;
    let end_of_child = pidfd(pid);
    let mut out = Pipe::new(child.stdout.take(), limit)?;
    let mut err = Pipe::new(child.stderr.take(), limit)?;
    meanwhile();
    let mut in_time = true;
    while !has_ended(pid) {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            in_time = false;
            break;
        }
        let pace = if end_of_child.is_some() { left } else { left.min(PACE) };
        wait_readable(&[out.fd(), err.fd(), end_of_child.as_ref().map(AsRawFd::as_raw_fd)], pace);
        out.drain();
        err.drain();
    }
    let status = finish(&mut child, pid)?;
    out.drain();
    err.drain();
    Ok(Finished { status: in_time.then_some(status), out: out.kept, err: err.kept, too_much: out.too_much })
}

/// Kills what is left of the group while the child, ended or not, still holds its number; then takes its status.
fn finish(child: &mut Child, pid: libc::pid_t) -> io::Result<ExitStatus> {
    // SAFETY: the child was not waited for yet, so its number cannot be another group's.
    unsafe { libc::kill(-pid, libc::SIGKILL) };
    child.wait()
}

/// Whether the child has ended, without taking its status.
fn has_ended(pid: libc::pid_t) -> bool {
    // SAFETY: an all-zero `siginfo_t` is a valid value of that plain C struct.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `info` is written by the call alone.
    let asked = unsafe { libc::waitid(libc::P_PID, pid as libc::id_t, &mut info, flags) };
    // SAFETY: after a successful call the field is set, to zero when the child still runs.
    asked != 0 || unsafe { info.si_pid() } == pid
}

fn pidfd(pid: libc::pid_t) -> Option<OwnedFd> {
    // SAFETY: takes two integers and gives a new descriptor, or an error before Linux 5.3.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = RawFd::try_from(fd).ok().filter(|fd| *fd >= 0)?;
    // SAFETY: just opened, and nobody else's.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn wait_readable(fds: &[Option<RawFd>], patience: Duration) {
    let mut polled: Vec<libc::pollfd> =
        fds.iter().flatten().map(|fd| libc::pollfd { fd: *fd, events: libc::POLLIN, revents: 0 }).collect();
    let ms = libc::c_int::try_from(patience.as_millis()).unwrap_or(libc::c_int::MAX).max(1);
    // SAFETY: pointer and length are those of the vector. Whatever it returns, the caller looks for itself.
    unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, ms) };
}

impl<R: Read + AsRawFd> Pipe<R> {
    fn new(source: Option<R>, limit: usize) -> io::Result<Pipe<R>> {
        if let Some(source) = &source {
            // SAFETY: the descriptor is open while `source` lives; the command takes an integer.
            let set = unsafe { libc::fcntl(source.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
            if set != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(Pipe { source, kept: Vec::new(), limit, too_much: false })
    }

    /// The descriptor, until it has come to its end.
    fn fd(&self) -> Option<RawFd> {
        self.source.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// Reads what is there, but not for ever from a child that never stops writing.
    fn drain(&mut self) {
        let mut chunk = [0; 4096];
        for _ in 0..64 {
            let Some(source) = &mut self.source else { return };
            match source.read(&mut chunk) {
                Ok(0) => self.source = None,
                Ok(n) => {
                    let kept = n.min(self.limit - self.kept.len());
                    self.kept.extend_from_slice(&chunk[..kept]);
                    self.too_much |= kept < n;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.source = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    fn shell(script: &str, deadline: Duration) -> Finished {
        run(Command::new("/bin/sh").arg("-c").arg(script), deadline, 100, || {}).unwrap()
    }

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn output_and_status_of_a_child_are_kept() {
        let finished = shell("echo out; echo err >&2; exit 3", LONG);
        assert_eq!((finished.out.as_slice(), finished.err.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
        assert_eq!(finished.status.unwrap().code(), Some(3));
    }

    #[test]
    fn a_child_that_hangs_is_killed_at_the_deadline_with_its_own_children() {
        let start = Instant::now();
        let finished = shell("sleep 60 & echo $!; wait", Duration::from_millis(300));
        assert!(finished.status.is_none());
        assert!(start.elapsed() < Duration::from_secs(20));
        let grandchild = String::from_utf8(finished.out).unwrap();
        let state = format!("/proc/{}/stat", grandchild.trim());
        let end = Instant::now() + LONG;
        while std::fs::read_to_string(&state).is_ok_and(|stat| !stat.contains(") Z ")) {
            assert!(Instant::now() < end, "the grandchild lives on");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_child_that_floods_its_output_is_cut_and_does_not_hang() {
        let finished = shell(
            "i=0; while [ $i -lt 3000 ]; do echo 0123456789012345678901234567890123456789; i=$((i+1)); done",
            LONG,
        );
        assert!(finished.too_much);
        assert_eq!(finished.out.len(), 100);
        assert!(finished.status.unwrap().success());
    }

    #[test]
    fn a_child_that_leaves_a_grandchild_with_its_pipe_is_not_waited_for() {
        let start = Instant::now();
        let finished = shell("sleep 60 & exit 0", LONG);
        assert!(finished.status.unwrap().success());
        assert!(start.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn a_signal_is_told() {
        assert_eq!(shell("kill -SEGV $$", LONG).status.unwrap().signal(), Some(libc::SIGSEGV));
    }
}
