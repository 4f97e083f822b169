//! The contract between Moult and its modules. Authors begin with the README beside this crate.
//!
//! * [`abi`]: the frozen `repr(C)` types that cross the boundary; no logic.
//! * [`sdk`]: what module authors write against, with [`module_options!`] and [`export_module!`].
//! * [`manifest`] and [`hooks`]: the JSON that travels beside the boundary, as types for both sides.
//! * `testing` (feature): a fake host, so that a module is tested with `cargo test` alone.
//!
//! # Versions
//!
//! A library says which version of the boundary it was built with, and carries a fingerprint of its layout.
//!
//! | change | version | what the host does with older libraries |
//! |---|---|---|
//! | a new number of a call, registration, operation or reply; a new hook; a new field in JSON | minor | loads them |
//! | a longer table of the host, as a struct of its own that begins with the frozen one | minor | loads them |
//! | anything else about [`abi::v1`]: a field, a type, a meaning | major: a module `v2` beside `v1` | refuses them, with the reason |
//! | the SDK's Rust surface | the crate's own version | loads them: it is compiled into each library |
//!
//! `minors/1.N.txt` lists what came with each minor, and a test holds every line of them; whoever adds something lists it there.
//!
//! A module that cannot do without what a later minor added says so by `needs_minor` in its manifest, and an older host
//! refuses it by that. What the host does not know in a manifest it ignores. Libraries of another compiler, or of debug and
//! release builds, load side by side: nothing whose layout the compiler chooses crosses the boundary.
//!
//! # Ownership
//!
//! The SDK keeps the four rules of [`abi`] for its users. What a handler borrows ends with the call; an `async` handler
//! owns a copy. What a handler returns is copied by the host before the handler's memory is freed by the library that
//! allocated it. A [`sdk::Host`] checks at each use that its instance has not ended.

#[cfg(test)]
extern crate self as moult_plugin_api;

pub mod abi;
pub mod declare;
#[allow(unsafe_code, reason = "the module's side of the boundary")]
pub mod glue;
pub mod hooks;
pub mod manifest;
pub mod sdk;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use abi_stable;
pub use base64;
pub use serde;
pub use serde_json;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// Everything a module usually needs.
pub mod prelude {
    pub use crate::hooks::{Contact, Subscription};
    pub use crate::sdk::ask::{Disco, IqAnswer, IqRequest, Session};
    pub use crate::sdk::hooks::{Chain, Collect, Packet, Taken, Urgency};
    pub use crate::sdk::{
        Among, CommandError, CommandFailure, CommandSpec, Condition, DiscoQuestion, Element, Flow, Host,
        HostError, HttpAuth, HttpRequest, HttpResponse, HttpSpec, Iq, IqReply, IqSpec, Jid, Level, Live,
        LogTarget, Logger, Migrated, Migration, Module, Registration, Reload, Request, Service, Soon, Stanza,
        StanzaError, Started, Stop, StopReason, Target, Tick, deferred, ns,
    };
    pub use crate::{critical, debug, error, export_module, info, module_options, trace, warn};
}

/// What the export macro's expansion needs, under names that cannot collide with the module's own.
#[doc(hidden)]
pub mod __private {
    pub use crate::abi::fingerprint::FINGERPRINT;
    pub use crate::abi::v1;
    pub use crate::declare::{
        Depend, Note, PolicySpec, RUSTC, Scope, Source, StateSpec, StoreSpec, is_module_id, padded,
    };
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    pub use crate::glue::interpose;
    pub use crate::glue::{create as create_instance, prepare_library, table};
    pub use abi_stable::library::{__call_root_module_loader, CheckTypeLayout, LibHeader, RootModuleResult};
    pub use abi_stable::prefix_type::{PrefixTypeTrait, WithMetadata};
    pub use abi_stable::std_types::RStr;
    pub use libc::{c_int, c_void, pthread_attr_t, pthread_key_t, pthread_t};
}
