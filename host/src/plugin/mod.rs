//! Modules: manifest, loader, registry, generations, the update transaction, and the bridge between host types and the ABI.

pub mod error;
pub mod folder;
#[allow(unsafe_code, reason = "dlopen, process limits and signal handlers live here")]
pub mod loader;
pub mod manifest;
pub mod probe;
pub mod retire;
pub mod runtime;
pub mod threads;
pub mod watch;
