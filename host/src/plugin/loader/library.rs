//! A library loaded from its private copy.

use super::copy::PrivateCopy;
use crate::plugin::error::{ModuleError, Stage};
use crate::plugin::manifest::Manifest;
use crate::plugin::probe::ProbeReport;
use crate::plugin::retire::Retained;
use crate::plugin::threads::Entered;
use moult_plugin_api::abi::v1::ModuleVt;
use serde::Serialize;
use std::fmt;
use std::sync::Arc;

/// Number of one loading of one library in this process; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct LibraryId(pub u64);

/// A loaded library. Whoever holds instances of it keeps it in an `Arc`; `close` needs the last one.
pub struct Library {
    id: LibraryId,
    copy: PrivateCopy,
    manifest: Arc<Manifest>,
    vt: &'static ModuleVt,
}

/// How closing ended.
#[derive(Debug)]
pub enum Closed {
    /// Nothing of it is left in the process, and its copy is removed.
    Unmapped,
    /// Something still holds it.
    StillMapped(Retained),
}

impl Library {
    /// Loads a probed copy: `dlopen(RTLD_NOW | RTLD_LOCAL)`, declaration compared and copied.
    pub fn load(copy: PrivateCopy, report: &ProbeReport) -> Result<Library, ModuleError> {
        let _ = report;
        Err(ModuleError::server(copy.module(), Stage::Load, "not built yet"))
    }

    /// Its number.
    pub fn id(&self) -> LibraryId {
        self.id
    }

    /// What it says of itself, copied at load.
    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// The copy it was loaded from.
    pub fn copy(&self) -> &PrivateCopy {
        &self.copy
    }

    /// Its functions. Every call of one of them lies between `enter` and the drop of what `enter` gave.
    pub fn vt(&self) -> &ModuleVt {
        self.vt
    }

    /// Marks this thread as being inside the library, and as one to detach before it is closed.
    #[inline]
    pub fn enter(&self) -> Entered<'_> {
        Entered::new(self)
    }

    /// Bytes of it that are resident, and how many of them no file backs.
    pub fn mapped_bytes(&self) -> MappedBytes {
        MappedBytes::default()
    }
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Library").field("id", &self.id).field("copy", &self.copy).finish_non_exhaustive()
    }
}

/// What a library costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MappedBytes {
    /// In memory at this moment.
    pub resident: u64,
    /// Of these, those that cannot be given back while it is mapped.
    pub anonymous: u64,
}
