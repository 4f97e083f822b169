//! Modules: manifest, loader, registry, generations, the update transaction, and the bridge between host types and the ABI.
//!
//! In layers, each using those above it:
//!
//! * what a library is: `folder`, `doap`, `loader`, `probe`, `threads`, `reserve`, `runtime`, `retire`, `watch`;
//! * what a module says and what it is lent: `hook`, `registration`, `services`, `bridge`, `log`;
//! * what serves: `seat`, `gate`, `stats`, `lane`, `slot`, `instance`, `registry`, `lookup`, `call`;
//! * what changes it: `core`, `plan`, `swap`, `manager`.

#[allow(unsafe_code, reason = "host types and the ABI meet here")]
pub mod bridge;
pub mod call;
pub mod core;
pub mod doap;
pub mod error;
pub mod folder;
pub mod gate;
pub mod generation;
pub mod history;
pub mod hook;
pub mod instance;
pub mod lane;
#[allow(unsafe_code, reason = "dlopen, process limits and signal handlers live here")]
pub mod loader;
pub mod log;
pub mod lookup;
pub mod manager;
pub mod plan;
pub mod probe;
pub mod registration;
pub mod registry;
mod remains;
pub mod report;
pub mod reserve;
pub mod retire;
pub mod retirement;
pub mod runtime;
mod seat;
pub mod services;
pub mod settings;
pub mod slot;
pub mod stats;
#[cfg(test)]
mod testing;
pub mod threads;
pub mod timer;
pub mod watch;
