//! Files that are no fit module: each is refused by the probe in one clear line that names module, stage and reason, and
//! this process, which stands for the server, never notices what they do.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use moult_host::plugin::error::{Fault, ModuleError, Stage};
use moult_host::plugin::probe::{ProbeSettings, probe};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use support::{Declared, Place, c_file, c_library, settings};

fn refused(bytes: &[u8]) -> ModuleError {
    Place::new().probe_bytes(bytes).expect_err("a bad library passed")
}

/// One line, at the probe, the module's fault, with this in the reason.
fn assert_refused(what: &str, bytes: &[u8], part: &str) {
    let error = refused(bytes);
    assert!(error.reason.contains(part), "{what}: {error}");
    assert_eq!((error.stage, error.fault), (Stage::Probe, Fault::Module), "{what}: {error}");
    assert_eq!(error.module, "mod_trial", "{what}: {error}");
    assert!(!error.to_string().contains('\n') && error.to_string().len() < 1000, "{what}: {error}");
}

#[test]
fn files_that_are_no_library() {
    let good = Declared::default().library();
    assert_refused("empty", b"", "it is empty");
    assert_refused("text", b"#!/bin/sh\necho hello\n", "not an ELF file");
    assert_refused("cut header", &good[..40], "cut off");
    assert_refused("five bytes", &good[..5], "cut off");
    assert_refused("object file", &c_file("int f(void){return 1;}", &["-c"]), "an object file");
    assert_refused("program", &c_file("int main(void){return 0;}", &["-no-pie"]), "a program");
    assert_refused(
        "position-independent program",
        &c_file("int main(void){return 0;}", &["-pie"]),
        "a program",
    );
}

#[test]
fn a_library_for_another_machine_is_named_as_such() {
    let mut bytes = Declared::default().library();
    // e_machine: AArch64.
    bytes[18..20].copy_from_slice(&183u16.to_le_bytes());
    assert_refused("AArch64", &bytes, "built for AArch64, this server for x86-64");
    bytes[4] = 1;
    assert_refused("32 bit", &bytes, "not a 64-bit library");
    bytes[4] = 2;
    bytes[5] = 2;
    assert_refused("big endian", &bytes, "other byte order");
}

#[test]
fn a_library_cut_anywhere_is_noticed() {
    let good = Declared::default().library();
    let place = Place::new();
    for kept in [64, 500, good.len() / 4, good.len() / 2, good.len() - 4096, good.len() - 64, good.len() - 1]
    {
        let error = place.probe_bytes(&good[..kept]).expect_err("a cut library passed");
        assert!(
            error.reason.contains("cut off") || error.reason.contains("outside the file"),
            "{kept}: {error}"
        );
    }
}

#[test]
fn random_damage_never_harms_the_server() {
    let good = Declared::default().library();
    let place = Place::new();
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    for round in 0..60 {
        let mut bytes = good.clone();
        for _ in 0..=round {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let at = seed as usize % bytes.len();
            bytes[at] ^= (seed >> 32) as u8 | 1;
        }
        // It has no header of abi_stable, so it never passes; that this process is still here is the point.
        let error = place.probe_bytes(&bytes).expect_err("a damaged library passed");
        assert_eq!(error.stage, Stage::Probe, "round {round}: {error}");
    }
}

#[test]
fn what_could_never_be_unloaded_is_refused() {
    let source = Declared::default().source();
    assert_refused(
        "extra library",
        &c_library(&source, &["-Wl,--no-as-needed", "-lz"]),
        "needs the library libz.so",
    );
    let unique = Declared::with(
        "asm(\".globl only_one\\n.type only_one,@gnu_unique_object\\n.data\\nonly_one: .quad 0\\n.size only_one,8\\n.text\");",
    );
    assert_refused("unique symbol", &unique.library(), "only_one");
    assert_refused("executable stack", &c_library(&source, &["-Wl,-z,execstack"]), "executable stacks");
    let go = Declared::with(
        "__attribute__((section(\".note.go.buildid\"), used)) static const char go[] = \"x\";",
    );
    assert_refused("Go", &go.library(), "Go runtime");
}

#[test]
fn missing_symbols_and_dependencies_are_told() {
    let undefined = Declared::with(
        "extern int nowhere_to_be_found(void); int use(void) { return nowhere_to_be_found(); }",
    );
    assert_refused("undefined symbol", &undefined.library(), "undefined symbol: nowhere_to_be_found");
    assert_refused(
        "no declaration",
        &c_library("int f(void){return 1;}", &[]),
        "does not export MOULT_MODULE_V1",
    );
    let tiny = "const long MOULT_MODULE_V1 = 1;";
    assert_refused("tiny declaration", &c_library(tiny, &[]), "has 8 bytes");
}

#[test]
fn a_declaration_that_does_not_fit_is_refused_with_the_difference() {
    let d = Declared::default;
    let cases = [
        (Declared { magic: 7, ..d() }, "not a declaration of Moult"),
        (Declared { major: 2, ..d() }, "built for version 2 of the API, this server speaks version 1"),
        (Declared { size: 80, ..d() }, "its declaration has 80 bytes"),
        (Declared { fingerprint: 1, ..d() }, "API fingerprint is 0000000000000001"),
        (Declared { flags: 2, ..d() }, "panic = \"abort\""),
        (Declared { flags: 1, ..d() }, "interposers"),
        (Declared { null: true, ..d() }, "null function"),
        (Declared { manifest: "{}", note: "{}", ..d() }, "the manifest cannot be read"),
        (Declared { manifest: r#"{"id":"mod_trial","version":"2"}"#, ..d() }, "not that of its declaration"),
        (
            Declared {
                manifest: r#"{"id":"mod_trial","version":"1","needs_minor":9}"#,
                note: r#"{"id":"mod_trial","version":"1","needs_minor":9}"#,
                minor: 9,
                ..d()
            },
            "needs API 1.9",
        ),
        (d(), "header of abi_stable"),
    ];
    for (declared, part) in cases {
        assert_refused(part, &declared.library(), part);
    }
}

fn constructor(body: &str) -> Vec<u8> {
    Declared::with(&format!("__attribute__((constructor)) static void init(void) {{ {body} }}")).library()
}

#[test]
fn a_constructor_that_crashes_takes_only_the_probe_child_down() {
    let cases = [
        ("*(volatile int *)8 = 1;", "died by signal 11 (SIGSEGV) while it was loaded"),
        ("abort();", "died by signal 6 (SIGABRT) while it was loaded"),
        ("__builtin_trap();", "died by signal 4 (SIGILL) while it was loaded"),
        ("kill(getpid(), 9);", "died by signal 9 (SIGKILL) while it was loaded"),
        ("_exit(0);", "ended with exit code 0 and without an answer while it was loaded"),
        ("exit(7);", "ended with exit code 7 and without an answer while it was loaded"),
        ("close(16); close(17); write(1, \"{}\\n\", 3);", "without an answer"),
        ("write(2, \"about to\\nfail\\n\", 14); abort();", "its last words: about to fail"),
    ];
    for (body, part) in cases {
        let body = format!("extern int kill(int, int); {body}");
        assert_refused(body.as_str(), &constructor(&body), part);
    }
}

#[test]
fn a_constructor_that_overflows_the_stack_is_a_refusal() {
    let deep = Declared::with(
        "__attribute__((noinline)) static int deep(volatile char *p) { volatile char b[4096]; b[0] = p[0]; return deep(b) + b[0]; }
         __attribute__((constructor)) static void init(void) { volatile char c = 1; deep(&c); }",
    );
    assert_refused("stack overflow", &deep.library(), "died by signal");
}

#[test]
fn a_constructor_that_hangs_is_cut_at_the_deadline() {
    let place = Place::new();
    let path = place.put("mod_trial.so", &constructor("for (;;) pause();"));
    let copy = place.copy(&path).unwrap();
    let begun = Instant::now();
    let hasty = ProbeSettings { deadline: Duration::from_millis(700), ..settings() };
    let error = probe(&copy, &hasty).unwrap_err();
    assert!(error.reason.contains("did not come back within 700 ms while it was loaded"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(15));
}

#[test]
fn a_constructor_that_loops_or_eats_memory_meets_its_limits() {
    let place = Place::new();
    let path = place.put("mod_trial.so", &constructor("for (volatile long i = 0;; i++) {}"));
    let short = ProbeSettings { cpu_seconds: 1, ..settings() };
    let error = probe(&place.copy(&path).unwrap(), &short).unwrap_err();
    assert!(error.reason.contains("processor time") || error.reason.contains("SIGKILL"), "{error}");
    let greedy = "for (;;) { char *p = malloc(1 << 26); if (!p) abort(); p[0] = 1; }";
    assert_refused("memory", &constructor(greedy), "died by signal 6 (SIGABRT)");
}

#[test]
fn what_a_library_prints_is_not_mistaken_for_an_answer() {
    let fake = r#"write(1, "{\"fit\":{}}\n", 11); write(1, "{\"refused\":\"pretended\"}\n", 24);"#;
    assert_refused("printing", &constructor(fake), "header of abi_stable");
}

#[test]
fn a_library_marked_nodelete_is_copied_without_the_mark() {
    let place = Place::new();
    let bytes = c_library(&Declared::default().source(), &["-Wl,-z,nodelete"]);
    let path = place.put("mod_trial.so", &bytes);
    let copy = place.copy(&path).unwrap();
    assert!(copy.nodelete_cleared());
    let copied = std::fs::read(copy.path()).unwrap();
    let changed = copied.iter().zip(&bytes).filter(|(a, b)| a != b).count();
    assert_eq!((copied.len(), changed), (bytes.len(), 1));
    assert!(
        !place.copy(&place.put("mod_trial.so", &Declared::default().library())).unwrap().nodelete_cleared()
    );
}

/// Compiles a module of one file with the libraries that this test was linked with; what the compiler says of it.
fn compiled(place: &Path, api: &Path, panic: &str) -> std::process::Output {
    let source = place.join("module.rs");
    std::fs::write(
        &source,
        "use moult_plugin_api::prelude::*;\nstruct M;\nimpl Module for M {\n    type Options = ();\n    \
         fn start(_: &Host, (): ()) -> Result<Started<Self>, Stop> {\n        Started::running(M)\n    }\n}\n\
         export_module! { module: M, id: \"mod_m\" }\n",
    )
    .unwrap();
    let deps = api.parent().unwrap();
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(["--edition", "2024", "--crate-type", "cdylib", "--emit", "metadata", "-C"]);
    rustc.arg(format!("panic={panic}")).arg("-o").arg(place.join("m.rmeta")).arg(&source);
    rustc.env("CARGO_PKG_VERSION", "1.0.0").env("CARGO_PKG_DESCRIPTION", "").env("CARGO_PKG_NAME", "mod_m");
    rustc.arg("-L").arg(format!("dependency={}", deps.display()));
    rustc.arg("--extern").arg(format!("moult_plugin_api={}", api.display()));
    rustc.output().unwrap()
}

#[test]
fn a_module_that_aborts_at_a_panic_does_not_compile() {
    let place = tempfile::tempdir().unwrap();
    let deps = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    let built = std::fs::read_dir(&deps).unwrap().map(|entry| entry.unwrap().path()).filter(|path| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with("libmoult_plugin_api-") && name.ends_with(".rlib")
    });
    // Several builds may lie there, and those of another compiler or with other features would not do.
    let mut said = String::new();
    let fits = |api: &std::path::PathBuf| {
        let output = compiled(place.path(), api, "unwind");
        said = String::from_utf8_lossy(&output.stderr).into_owned();
        output.status.success()
    };
    let api = built.into_iter().find(fits);
    let api = api.unwrap_or_else(|| panic!("the module compiles with none of the libraries: {said}"));
    let output = compiled(place.path(), &api, "abort");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("a module must be built with panic = \"unwind\""), "{said}");
}
