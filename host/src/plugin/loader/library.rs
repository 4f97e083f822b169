//! A library loaded from its private copy.
//!
//! The value stands for the mapping: as long as it lives, the functions of its declaration may be called. It is closed by
//! `Library::close` and by nothing else; a library whose value is merely dropped stays mapped, because nobody has
//! made sure then that no thread needs it any more.

use super::copy::PrivateCopy;
use super::crash;
use super::decl::{self, Declaration};
use super::mapped::{self, MappedBytes};
use super::residence::Residence;
use crate::plugin::error::{ModuleError, Stage};
use crate::plugin::probe::ProbeReport;
use crate::plugin::threads::{self, Entered};
use abi_stable::library::{AbiHeaderRef, ROOT_MODULE_LOADER_NAME_WITH_NUL};
use libc::RTLD_NOLOAD;
use libloading::os::unix::{Library as Handle, RTLD_LAZY, RTLD_LOCAL, RTLD_NOW, Symbol};
use moult_plugin_api::abi::v1::{DECLARATION_SYMBOL, FinalReport, ModuleDecl, ModuleVt};
use moult_plugin_api::manifest::Manifest;
use serde::Serialize;
use std::fmt;
use std::mem::ManuallyDrop;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

/// Number of one loading of one library in this process; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct LibraryId(pub u64);

/// Loading takes milliseconds; a library that takes this long is given up.
pub const LOAD_PATIENCE: Duration = Duration::from_secs(10);

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// A loaded library. Whoever holds instances of it keeps it in an `Arc`; `close` needs the last one.
pub struct Library {
    id: LibraryId,
    residence: Arc<Residence>,
    declaration: Declaration,
    manifest: Arc<Manifest>,
    copy: PrivateCopy,
    /// Closed by `close` alone.
    handle: ManuallyDrop<Handle>,
}

/// How closing ended.
#[derive(Debug)]
pub enum Closed {
    /// Nothing of it is left in the process, and its copy is removed.
    Unmapped,
    /// Something still holds it.
    StillMapped(Leftover),
}

/// A library that is closed and yet mapped.
#[derive(Debug)]
pub struct Leftover {
    copy: PrivateCopy,
}

/// Opens a library file. What it does while it is being loaded is beyond control here; the probe has seen it before.
pub(in crate::plugin) fn open(path: &Path) -> Result<Handle, String> {
    // SAFETY: its initialisers run. In the server this is a private copy whose bytes a probe child has loaded before; in
    // the probe child it may do what it wants.
    unsafe { Handle::open(Some(path), RTLD_NOW | RTLD_LOCAL) }.map_err(|e| reason(&e, path))
}

/// Finds the declaration and reads it.
pub(in crate::plugin) fn declaration(handle: &Handle) -> Result<Declaration, String> {
    // SAFETY: only the address is taken; `decl::read` looks before it believes.
    let symbol: Symbol<*const ModuleDecl> = unsafe { handle.get(DECLARATION_SYMBOL.as_bytes()) }
        .map_err(|_| format!("it does not export {DECLARATION_SYMBOL}"))?;
    // SAFETY: the symbol's own address, in a library that `handle` keeps mapped.
    unsafe { decl::read(*symbol) }
}

/// Finds the header of `abi_stable` and lets it test the calling convention.
pub(in crate::plugin) fn abi_stable_header(
    handle: &Handle,
) -> Result<&'static abi_stable::library::LibHeader, String> {
    let name = ROOT_MODULE_LOADER_NAME_WITH_NUL.as_bytes();
    // SAFETY: the symbol of this name is a header in every library made for `abi_stable`, and the reference is its
    // address; `upgrade` compares magic and version before it believes the rest.
    let header: Symbol<AbiHeaderRef> =
        unsafe { handle.get(name) }.map_err(|_| "it does not export the header of abi_stable".to_owned())?;
    header.upgrade().map_err(|e| format!("the header of abi_stable does not fit: {e}"))
}

/// What the server does before it closes a library, for the probe child, where no instance was ever made.
pub(in crate::plugin) fn end_in_probe(declaration: &Declaration) -> FinalReport {
    // SAFETY: the caller still holds the handle it read the declaration through, on the one thread of that process.
    unsafe { (declaration.thread_detach)() };
    report(declaration)
}

fn report(declaration: &Declaration) -> FinalReport {
    let mut report = FinalReport::default();
    // SAFETY: both callers hold the library mapped, and no instance of it is left.
    unsafe { (declaration.final_report)(&mut report) };
    report
}

impl Library {
    /// Loads a probed copy: `dlopen(RTLD_NOW | RTLD_LOCAL)`, declaration compared and copied. Blocks for at most the
    /// patience of [`LOAD_PATIENCE`].
    ///
    /// It happens on a thread made for it: what initialisers leave in that thread goes with it, and should they never
    /// return, although they did in the probe, then it is no thread of the server that is lost.
    pub fn load(copy: PrivateCopy, report: &ProbeReport) -> Result<Library, ModuleError> {
        let (module, report) = (copy.module().to_owned(), report.clone());
        let (sender, receiver) = sync_channel(1);
        let work = move || {
            // Nobody listens any more when it took too long; then the library stays mapped and unused.
            let _ = sender.send(Library::load_here(copy, &report));
        };
        let failed = |why: &str| Err(ModuleError::server(module.as_str(), Stage::Load, why));
        match std::thread::Builder::new().name("moult-load".into()).spawn(work) {
            Ok(_) => match receiver.recv_timeout(LOAD_PATIENCE) {
                Ok(result) => result,
                Err(RecvTimeoutError::Timeout) => {
                    failed("its initialisers have not come back; it passed its probe")
                }
                Err(RecvTimeoutError::Disconnected) => failed("the thread that loads it panicked"),
            },
            Err(e) => failed(&format!("no thread can be started to load it: {e}")),
        }
    }

    fn load_here(mut copy: PrivateCopy, report: &ProbeReport) -> Result<Library, ModuleError> {
        copy.verify(Stage::Load)?;
        let module = copy.module().to_owned();
        let failed = |why: &str| ModuleError::module(module.as_str(), Stage::Load, why);
        // Not closed when something is wrong below: what passed its probe and behaves differently here must not be
        // trusted with an orderly end.
        let handle = ManuallyDrop::new(open(copy.path()).map_err(|why| failed(&why))?);
        copy.keep();
        match declared(&handle, report) {
            Ok(declaration) => Ok(Library::new(copy, handle, declaration)),
            Err(why) => Err(failed(&format!("{why}; it passed its probe, and stays mapped unused"))),
        }
    }

    fn new(copy: PrivateCopy, handle: ManuallyDrop<Handle>, declaration: Declaration) -> Library {
        let id = LibraryId(NEXT_ID.fetch_add(1, Ordering::Relaxed));
        let module = &declaration.manifest.id;
        let residence = Arc::new(Residence::new(id, module, copy.generation(), declaration.thread_detach));
        let manifest = Arc::new(declaration.manifest.clone());
        let library = Library { id, residence, declaration, manifest, copy, handle };
        threads::remember(&library.residence);
        crash::label(id, &library.manifest.id, library.copy.generation());
        threads::attach_here(&library.residence);
        library
    }

    /// Its number.
    pub fn id(&self) -> LibraryId {
        self.id
    }

    /// What it says of itself, copied at load.
    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// Compiler that built it.
    pub fn rustc(&self) -> &str {
        &self.declaration.rustc
    }

    /// API minor it was built with.
    pub fn api_minor(&self) -> u16 {
        self.declaration.api_minor
    }

    /// Flags of its declaration.
    pub fn flags(&self) -> u64 {
        self.declaration.flags
    }

    /// The copy it was loaded from.
    pub fn copy(&self) -> &PrivateCopy {
        &self.copy
    }

    /// Its functions. Every call of one of them lies between `enter` and the drop of what `enter` gave.
    pub fn vt(&self) -> &ModuleVt {
        self.declaration.vt
    }

    /// Marks this thread as being inside the library, and as one to detach before it is closed.
    #[inline]
    pub fn enter(&self) -> Entered<'_> {
        Entered::new(&self.residence)
    }

    /// What threads know of it.
    pub fn residence(&self) -> &Arc<Residence> {
        &self.residence
    }

    /// What it costs at this moment. Reads the whole map of the process: for reports, not for hot paths.
    pub fn mapped_bytes(&self) -> MappedBytes {
        mapped::bytes_of(self.copy.path())
    }

    /// Asks the library what still ties it to the process, and lets it give back its pthread keys.
    ///
    /// No instance, call or task of it may be left, and no thread attached: those who call this, `retire` alone, have
    /// seen to it.
    pub(in crate::plugin) fn final_report(&self) -> FinalReport {
        report(&self.declaration)
    }

    /// Closes it and looks whether it is gone. Refuses, and gives the library back, while a thread is attached to it.
    pub(in crate::plugin) fn close(self) -> Result<Closed, Box<Library>> {
        if !self.residence.is_deserted() {
            return Err(Box::new(self));
        }
        threads::forget(&self.residence);
        // A failing dlclose leaves it mapped, which is looked at below anyhow.
        let _ = ManuallyDrop::into_inner(self.handle).close();
        Ok(Leftover { copy: self.copy }.look())
    }
}

impl Leftover {
    /// What it costs at this moment.
    pub(in crate::plugin) fn mapped_bytes(&self) -> MappedBytes {
        mapped::bytes_of(self.copy.path())
    }

    /// Gives the loader another chance to unmap it: it looks again at whatever held it whenever a library is closed.
    pub(in crate::plugin) fn sweep(self) -> Closed {
        // SAFETY: nothing is loaded or run, a library that is there already is opened and closed once more.
        let again = unsafe { Handle::open(Some(self.copy.path()), RTLD_LAZY | RTLD_NOLOAD) };
        if let Ok(handle) = again {
            let _ = handle.close();
        }
        self.look()
    }

    /// Whether the loader still has it. If not, it is its own symbols that it once read and that nobody gives back.
    pub(in crate::plugin) fn is_loaded(&self) -> bool {
        mapped::is_loaded(self.copy.path())
    }

    fn look(mut self) -> Closed {
        if self.is_loaded() || mapped::is_mapped(self.copy.path()) {
            return Closed::StillMapped(self);
        }
        self.copy.release();
        Closed::Unmapped
    }
}

/// What a fresh mapping declares, if it is what the probe saw.
fn declared(handle: &Handle, report: &ProbeReport) -> Result<Declaration, String> {
    let declaration = declaration(handle)?;
    if declaration.manifest != report.manifest || declaration.flags != report.flags {
        return Err("its declaration is another one than in the probe".into());
    }
    abi_stable_header(handle)?;
    Ok(declaration)
}

/// The loader's own words, without the name of the copy that says nothing to an operator.
fn reason(error: &libloading::Error, path: &Path) -> String {
    let text = match error {
        libloading::Error::DlOpen { source } => source.to_string(),
        other => other.to_string(),
    };
    let shown = path.to_string_lossy();
    text.trim_start_matches(&*shown).trim_start_matches(": ").replace(&*shown, "the library")
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Library").field("id", &self.id).field("copy", &self.copy).finish_non_exhaustive()
    }
}
