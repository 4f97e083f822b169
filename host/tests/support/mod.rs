//! What the tests of the loader share: libraries made on the spot by the C compiler, a plugin folder, private copies.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use moult_host::plugin::error::ModuleError;
use moult_host::plugin::folder::{FolderRules, FolderScanner, Found};
use moult_host::plugin::loader::{Generations, PrivateCopy};
use moult_host::plugin::probe::{self, ProbeReport, ProbeSettings};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Where a condition must have come true.
pub const LONG: Duration = Duration::from_secs(60);

/// A plugin folder and a folder of private copies.
pub struct Place {
    root: TempDir,
    pub copies: Generations,
}

impl Place {
    pub fn new() -> Place {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("plugins")).unwrap();
        let copies = Generations::open(&root.path().join("generations")).unwrap();
        Place { root, copies }
    }

    pub fn plugins(&self) -> PathBuf {
        self.root.path().join("plugins")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.plugins().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// The file as the scanner finds it, waiting until it has settled.
    pub fn found(&self, path: &Path) -> Found {
        let rules = FolderRules { settle: Duration::from_millis(20), ..FolderRules::default() };
        let mut scanner = FolderScanner::new(&self.plugins(), rules);
        let scan = scanner.scan_settled(LONG);
        let found = scan.found.iter().find(|found| found.path == path);
        found.unwrap_or_else(|| panic!("{} is not found: {scan:?}", path.display())).clone()
    }

    pub fn copy(&self, path: &Path) -> Result<PrivateCopy, ModuleError> {
        self.copies.copy(&self.found(path), 1)
    }

    /// What a probe says of these bytes.
    pub fn probe_bytes(&self, bytes: &[u8]) -> Result<ProbeReport, ModuleError> {
        let path = self.put("mod_trial.so", bytes);
        let result = self.copy(&path).and_then(|copy| probe::probe(&copy, &settings()));
        fs::remove_file(path).unwrap();
        result
    }
}

/// Limits for the probe child, which is the server's own binary.
pub fn settings() -> ProbeSettings {
    // Generous: the machine may be busy, and only the tests of a hang wait for it.
    let deadline = Duration::from_secs(20);
    ProbeSettings { program: env!("CARGO_BIN_EXE_moultd").into(), deadline, ..ProbeSettings::default() }
}

/// Compiles C into a shared library and gives its bytes.
pub fn c_library(source: &str, flags: &[&str]) -> Vec<u8> {
    c_file(source, &[&["-shared", "-fPIC"], flags].concat())
}

/// Compiles C with these flags and gives the bytes of what comes out.
pub fn c_file(source: &str, flags: &[&str]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let (input, output) = (dir.path().join("m.c"), dir.path().join("m.out"));
    fs::write(&input, source).unwrap();
    // Flags come last, so that libraries named there are needed even if nothing of them is used.
    let made = Command::new("cc").arg("-o").arg(&output).arg(&input).args(flags).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    fs::read(output).unwrap()
}

/// A declaration in C whose head is as given. It has no header of `abi_stable`: only what is compared before that can be
/// tried with it.
pub struct Declared {
    pub magic: u64,
    pub size: u32,
    pub major: u16,
    pub minor: u16,
    pub fingerprint: u64,
    pub flags: u64,
    pub manifest: &'static str,
    pub note: &'static str,
    /// Whether its functions are null.
    pub null: bool,
    /// Further C.
    pub more: String,
}

impl Default for Declared {
    fn default() -> Self {
        use moult_plugin_api::abi::{fingerprint::FINGERPRINT, v1};
        Declared {
            magic: v1::MAGIC,
            size: size_of::<v1::ModuleDecl>() as u32,
            major: v1::API_MAJOR,
            minor: v1::API_MINOR,
            fingerprint: FINGERPRINT,
            flags: v1::flags::UNWIND | v1::flags::INTERPOSED,
            manifest: r#"{"id":"mod_trial","version":"1.0.0"}"#,
            note: r#"{"id":"mod_trial","version":"1.0.0"}"#,
            null: false,
            more: String::new(),
        }
    }
}

impl Declared {
    /// One that does something when it is loaded.
    pub fn with(more: &str) -> Declared {
        Declared { more: more.to_owned(), ..Declared::default() }
    }

    pub fn source(&self) -> String {
        let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
        let function = |name| if self.null { "0".to_owned() } else { format!("(void*){name}") };
        format!(
            r#"
            #define _GNU_SOURCE
            #include <stdint.h>
            #include <stdlib.h>
            #include <string.h>
            #include <unistd.h>
            struct str {{ const char *text; uint64_t len; }};
            struct report {{ uint32_t a, b, c, d; }};
            static uint32_t detach(void) {{ return 0; }}
            static void report(struct report *out) {{ memset(out, 0, sizeof *out); }}
            static int refuse() {{ return 4; }}
            static const struct {{ uint32_t size, pad; void *f[5]; }} vt =
                {{ 48, 0, {{ (void*)refuse, (void*)refuse, (void*)refuse, (void*)refuse, (void*)refuse }} }};
            static const char manifest[] = "{manifest}";
            static const char rustc[] = "cc";
            const struct {{
                uint64_t magic; uint32_t size; uint16_t major, minor; uint64_t fingerprint, flags;
                struct str rustc, manifest; const void *vt; void *detach, *report;
            }} MOULT_MODULE_V1 = {{
                {magic}ull, {size}, {major}, {minor}, {fingerprint}ull, {flags}ull,
                {{ rustc, 2 }}, {{ manifest, sizeof manifest - 1 }}, &vt, {detach}, {report}
            }};
            __attribute__((section(".note.moult,\"a\",@note#"), used, aligned(4)))
            static const struct {{ uint32_t owner, content, kind; char name[8]; char text[{note_room}]; }} note =
                {{ 6, {note_len}, 1, "Moult", "{note}" }};
            {more}
            "#,
            manifest = escape(self.manifest),
            magic = self.magic,
            size = self.size,
            major = self.major,
            minor = self.minor,
            fingerprint = self.fingerprint,
            flags = self.flags,
            detach = function("detach"),
            report = function("report"),
            note_room = self.note.len().next_multiple_of(4) + 4,
            note_len = self.note.len(),
            note = escape(self.note),
            more = self.more,
        )
    }

    pub fn library(&self) -> Vec<u8> {
        c_library(&self.source(), &[])
    }
}

/// Waits until a condition holds.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < end, "not within {LONG:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The library of a fixture crate, built once per test binary and stripped of what only a debugger needs.
pub fn fixture(package: &str) -> Vec<u8> {
    static BUILDING: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one_at_a_time = BUILDING.lock();
    let built =
        Command::new(env!("CARGO")).args(["build", "--quiet", "--package", package]).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let target = Path::new(env!("CARGO_BIN_EXE_moultd")).parent().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let stripped = dir.path().join("m.so");
    let library = target.join(format!("lib{package}.so"));
    let made =
        Command::new("strip").arg("--strip-debug").arg("-o").arg(&stripped).arg(library).status().unwrap();
    assert!(made.success());
    fs::read(stripped).unwrap()
}
