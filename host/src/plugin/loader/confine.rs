//! The limits that a probe child puts on itself before it touches a file that nobody trusts yet.

use std::fs::File;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Descriptors a library may open while it is being loaded, beside those it starts with.
const DESCRIPTORS: u64 = 64;

/// Dies with its parent, dumps no core, writes no files, gains no rights, and ends after this much processor time or
/// memory.
pub fn confine(cpu_seconds: u64, address_space: u64, parent: u32) -> io::Result<()> {
    // SAFETY: these options take integers.
    unsafe {
        check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
        check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
    }
    if std::os::unix::process::parent_id() != parent {
        return Err(io::Error::other("the server is gone"));
    }
    limit(libc::RLIMIT_CORE, 0)?;
    limit(libc::RLIMIT_FSIZE, 0)?;
    limit(libc::RLIMIT_CPU, cpu_seconds)?;
    limit(libc::RLIMIT_AS, address_space)?;
    limit(libc::RLIMIT_NOFILE, DESCRIPTORS)
}

fn limit(resource: libc::__rlimit_resource_t, value: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
    // SAFETY: the struct lives across the call.
    check(unsafe { libc::setrlimit(resource, &limit) })
}

/// Takes the standard output for ourselves: what a library prints goes to the error output from now on. Every other
/// descriptor is closed first: the server closes its own on exec, this is for those it was itself started with.
pub fn take_output() -> io::Result<File> {
    close_inherited();
    // SAFETY: the command takes integers; the new descriptor is nobody else's.
    let own = unsafe {
        let fd = libc::fcntl(libc::STDOUT_FILENO, libc::F_DUPFD_CLOEXEC, 16);
        check(fd)?;
        OwnedFd::from_raw_fd(fd as RawFd)
    };
    // SAFETY: both are open.
    check(unsafe { libc::dup2(libc::STDERR_FILENO, libc::STDOUT_FILENO) })?;
    Ok(File::from(own))
}

fn close_inherited() {
    // SAFETY: takes three integers. Nothing in this process, which has just started, uses a descriptor above 2.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
    if closed != 0 {
        // Before Linux 5.9.
        for fd in 3..1024 {
            // SAFETY: as above.
            unsafe { libc::close(fd) };
        }
    }
}

/// Ends this process at once, without running what a library left to be run at exit.
pub fn leave(code: i32) -> ! {
    // SAFETY: does not return, and nothing of this process is needed any more.
    unsafe { libc::_exit(code) }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
