//! A fake host: a module is tested with `cargo test` alone.
//!
//! [`FakeHost`] is a server of tables in memory: it keeps what modules register, route, log and store, and gives them a
//! clock that only [`FakeHost::advance`] moves. [`FakeHost::start`] begins an instance through the very functions that the
//! real server calls, and [`Instance`] does to it what the real server would do: hand it IQs, stanzas, hook calls,
//! commands, HTTP requests, new options; export its state and import it into another; stop it, and tell what it left
//! behind.
//!
//! ```
//! use moult_plugin_api::prelude::*;
//! use moult_plugin_api::testing::FakeHost;
//!
//! struct Hello;
//!
//! impl Module for Hello {
//!     type Options = ();
//!     fn start(host: &Host, (): ()) -> Result<Started<Self>, Stop> {
//!         host.on_iq("urn:hello", |_: &Hello, _: &Iq<'_>| "<hello xmlns='urn:hello'/>")?;
//!         Started::running(Hello)
//!     }
//! }
//!
//! let host = FakeHost::new("example.org");
//! let hello = host.start::<Hello>("{}");
//! let answer = hello.iq_get("alice@example.org/x", "example.org", "<hello xmlns='urn:hello'/>").unwrap();
//! assert_eq!(answer.unwrap().name(), "hello");
//! assert!(hello.stop(StopReason::Unload).is_clean());
//! ```
//!
//! A handler that waits (for a sleep, for an answer that nobody gives) makes the fake clock jump, so tests never wait. A
//! panic of the module fails the test.

mod instance;
mod ops;
mod outcome;
mod presence;
mod run;
mod side;
mod stores;
mod world;

pub use instance::Instance;
pub use outcome::{HookResult, IqResult, Leftovers, Pending, StartFailure};
pub use presence::{ContactChange, Delivered};
pub use world::{FakeHost, LogLine, Registered, Routed};

#[cfg(test)]
mod tests;
