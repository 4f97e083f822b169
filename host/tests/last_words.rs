//! A module that crashes takes the server down, and the server's last line says which module and generation it was.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(unsafe_code, reason = "a function of the fixture is called by its name, beside the contract")]

mod support;

use libloading::os::unix::{Library as Handle, RTLD_LAZY};
use moult_host::plugin::loader::{Library, crash};
use moult_host::plugin::probe::probe;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Output};
use support::{Place, fixture, settings};

const FIXTURE: &str = "fixture_thread_locals";
const WISH: &str = "MOULT_TEST_CRASH";

fn server_that_dies_of(wish: &str) -> (Option<i32>, String) {
    let (status, stderr) = end_of(wish);
    (status.signal(), stderr)
}

fn end_of(wish: &str) -> (ExitStatus, String) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "the_server_in_which_it_happens", "--nocapture"]).env(WISH, wish);
    let Output { status, stderr, .. } = command.output().unwrap();
    (status, String::from_utf8_lossy(&stderr).into_owned())
}

/// Not a test of its own: the process that the others start and watch dying.
#[test]
fn the_server_in_which_it_happens() {
    let Ok(wish) = std::env::var(WISH) else { return };
    crash::install();
    let Ok(op) = wish.parse::<u32>() else { std::process::abort() };
    let place = Place::new();
    let found = place.found(&place.put("m.so", &fixture(FIXTURE)));
    let copy = place.copies.copy(&found, 42).unwrap();
    let report = probe(&copy, &settings()).unwrap();
    let library = Library::load(copy, &report).unwrap();
    // SAFETY: the library is loaded already, and the fixture exports a function of this type.
    let run = unsafe {
        let handle = Handle::open(Some(library.copy().path()), RTLD_LAZY | libc::RTLD_NOLOAD).unwrap();
        *handle.get::<extern "C" fn(u32) -> u32>(b"run").unwrap()
    };
    let doing = std::thread::spawn(move || {
        let _inside = library.enter();
        run(op)
    });
    doing.join().unwrap();
}

#[test]
fn a_fault_an_overflow_and_an_abort_name_the_module_they_happened_in() {
    let cases = [("10", libc::SIGSEGV, 11), ("11", libc::SIGABRT, 11), ("12", libc::SIGABRT, 6)];
    for (wish, died_of, told) in cases {
        let (signal, stderr) = server_that_dies_of(wish);
        let line = format!("moultd: fatal signal {told} while inside module {FIXTURE} generation 42\n");
        assert!(stderr.contains(&line), "{wish}: {stderr}");
        assert_eq!(stderr.matches("fatal signal").count(), 1, "{stderr}");
        assert_eq!(signal, Some(died_of), "{wish}: {stderr}");
    }
    let (signal, stderr) = server_that_dies_of("nothing of a module");
    assert!(stderr.contains("moultd: fatal signal 6 outside of any module\n"), "{stderr}");
    assert_eq!(signal, Some(libc::SIGABRT));
}

#[test]
fn a_module_that_calls_exit_is_named() {
    let (status, stderr) = end_of("13");
    let line = format!("moultd: a thread was told to exit while inside module {FIXTURE} generation 42\n");
    assert!(stderr.contains(&line), "{stderr}");
    assert_eq!(status.code(), Some(3), "{stderr}");
}
