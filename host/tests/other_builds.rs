//! Modules that were not built like this server: by another compiler, with another profile, against another minor or
//! major of the API, or with types laid out in another way.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(unsafe_code, reason = "a function of the fixture is called by its name, beside the contract")]

mod support;

use libloading::os::unix::{Library as Handle, RTLD_LAZY};
use moult_host::plugin::loader::Library;
use moult_host::plugin::probe::{ProbeReport, probe};
use moult_host::plugin::retire::{Outcome, RetireLimits, retire};
use moult_plugin_api::abi::v1;
use std::fs;
use std::path::Path;
use std::process::Command;
use support::{Place, fixture, settings};

const FIXTURE: &str = "fixture_thread_locals";

/// Probes, loads, enters and unloads it once.
fn goes_through(place: &Place, bytes: &[u8]) -> ProbeReport {
    let path = place.put("m.so", bytes);
    let copy = place.copy(&path).unwrap();
    let report = probe(&copy, &settings()).unwrap();
    live_once(Library::load(copy, &report).unwrap());
    report
}

fn live_once(library: Library) {
    {
        // SAFETY: the library is loaded already, and the fixture exports a function of this type.
        let run = unsafe {
            let handle = Handle::open(Some(library.copy().path()), RTLD_LAZY | libc::RTLD_NOLOAD).unwrap();
            *handle.get::<extern "C" fn(u32) -> u32>(b"run").unwrap()
        };
        let _inside = library.enter();
        assert_eq!((run(0), run(1), run(2)), (1, 1, 1));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let outcome = runtime.block_on(retire(library, &[], &RetireLimits::default()));
    assert!(matches!(outcome, Outcome::Unloaded), "{outcome:?}");
}

/// The library with another head in its declaration.
fn with_head(bytes: &[u8], at: usize, value: u16) -> Vec<u8> {
    let mut magic_and_size = v1::MAGIC.to_le_bytes().to_vec();
    magic_and_size.extend((size_of::<v1::ModuleDecl>() as u32).to_le_bytes());
    let places: Vec<usize> =
        (0..bytes.len() - 32).filter(|i| bytes[*i..].starts_with(&magic_and_size)).collect();
    assert_eq!(places.len(), 1, "the declaration is found by its first words");
    let mut changed = bytes.to_vec();
    changed[places[0] + at..places[0] + at + 2].copy_from_slice(&value.to_le_bytes());
    changed
}

#[test]
fn a_newer_minor_that_needs_nothing_new_loads_and_a_newer_major_does_not() {
    let place = Place::new();
    let bytes = fixture(FIXTURE);
    assert_eq!(goes_through(&place, &bytes).api_minor, v1::API_MINOR);
    assert_eq!(goes_through(&place, &with_head(&bytes, 14, 7)).api_minor, 7);
    for older in 0..v1::API_MINOR {
        assert_eq!(goes_through(&place, &with_head(&bytes, 14, older)).api_minor, older);
    }
    for (at, value, part) in [
        (12, v1::API_MAJOR + 1, "built for version 2 of the API, this server speaks version 1"),
        (16, 0xbeef, "API fingerprint"),
    ] {
        let path = place.put("m.so", &with_head(&bytes, at, value));
        let error = probe(&place.copy(&path).unwrap(), &settings()).unwrap_err();
        assert!(error.reason.contains(part), "{error}");
    }
}

#[test]
fn types_laid_out_in_another_way_are_refused_in_one_line() {
    let place = Place::new();
    let path = place.put("m.so", &fixture("fixture_foreign_layout"));
    let error = probe(&place.copy(&path).unwrap(), &settings()).unwrap_err();
    assert!(error.reason.contains("its types are laid out in another way"), "{error}");
    assert!(
        error.reason.contains("moult-plugin-api") && error.reason.contains("fixture_foreign_layout"),
        "{error}"
    );
    assert!(error.to_string().len() < 900 && !error.to_string().contains('\n'), "{error}");
}

#[test]
fn another_compiler_and_another_profile_load_beside_ours() {
    let has_nightly = Command::new("rustup").args(["run", "nightly", "rustc", "--version"]).output();
    if !has_nightly.is_ok_and(|output| output.status.success()) {
        eprintln!("not tried: no nightly toolchain is installed here");
        return;
    }
    let target = Path::new(env!("CARGO_BIN_EXE_moultd")).parent().unwrap().join("other-builds");
    let mut build = Command::new("rustup");
    build.args([
        "run",
        "nightly",
        "cargo",
        "build",
        "--quiet",
        "--release",
        "--config",
        "profile.release.lto=false",
    ]);
    build.args(["--package", FIXTURE]).arg("--target-dir").arg(&target);
    // Cargo has told this test which compiler it runs under; the other one must not believe it.
    for name in ["RUSTC", "RUSTDOC", "CARGO", "RUSTUP_TOOLCHAIN", "RUSTFLAGS"] {
        build.env_remove(name);
    }
    let built = build.output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let theirs = fs::read(target.join("release").join(format!("lib{FIXTURE}.so"))).unwrap();

    let place = Place::new();
    let ours = fixture(FIXTURE);
    let (their_report, our_report) = (goes_through(&place, &theirs), goes_through(&place, &ours));
    assert!(their_report.rustc.contains("nightly"), "{}", their_report.rustc);
    assert_ne!(their_report.rustc, our_report.rustc);
    assert_eq!(
        (their_report.flags & v1::flags::DEBUG, our_report.flags & v1::flags::DEBUG),
        (0, v1::flags::DEBUG)
    );
    for round in 0..100 {
        let (bytes, report) = if round % 2 == 0 { (&theirs, &their_report) } else { (&ours, &our_report) };
        let copy = place.copies.copy(&place.found(&place.put("m.so", bytes)), round).unwrap();
        live_once(Library::load(copy, report).unwrap());
    }
}
