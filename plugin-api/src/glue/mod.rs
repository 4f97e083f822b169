//! Between the boundary and the SDK: the only place of this crate, beside the boundary itself, with `unsafe` code.
//!
//! On the module's side: the functions of [`v1::ModuleVt`](crate::abi::v1::ModuleVt) for any [`Module`](crate::sdk::Module)
//! ([`table`]), the calls to the host (`RawHost`), tasks, the panic guard and hook, and the interposers. On the host's
//! side, for unit tests of modules: a caller that drives a table of functions safely (feature `testing`).

mod answer;
#[cfg(any(test, feature = "testing"))]
pub mod caller;
mod clock;
mod gate;
mod guard;
mod handlers;
mod instance;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub mod interpose;
mod lifecycle;
mod panics;
mod raw_host;
mod reply;
pub mod task;
#[cfg(feature = "tracing")]
mod traces;

pub use clock::{process_time, utc_offset};
pub use instance::{create, table};
pub use panics::prepare_library;

pub(crate) use handlers::{Entry, Handlers};
pub(crate) use raw_host::{OpAnswer, OpPoll, RawHost};
