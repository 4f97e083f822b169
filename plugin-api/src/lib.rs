//! The contract between Moult and its modules.
//!
//! * [`abi`]: the frozen `repr(C)` types that cross the boundary; no logic.
//! * [`sdk`]: what module authors write against, with [`module_options!`] and [`export_module!`].
//! * [`manifest`] and [`hooks`]: the JSON that travels beside the boundary, as types for both sides.
//! * `testing` (feature): a fake host, so that a module is tested with `cargo test` alone.

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
pub use serde;
pub use serde_json;

/// Everything a module usually needs.
pub mod prelude {
    pub use crate::sdk::ask::{Disco, IqAnswer, IqRequest, Session};
    pub use crate::sdk::hooks::{Chain, Collect, Packet, Taken};
    pub use crate::sdk::{
        CommandError, CommandSpec, Condition, Element, Flow, Host, HostError, HttpAuth, HttpRequest,
        HttpResponse, Iq, IqReply, IqSpec, Jid, Level, LogTarget, Logger, Module, Registration, Reload,
        Request, Service, Stanza, StanzaError, Started, Stop, StopReason, Target, Tick, ns,
    };
    pub use crate::{critical, debug, error, export_module, info, module_options, trace, warn};
}

/// What the export macro's expansion needs, under names that cannot collide with the module's own.
#[doc(hidden)]
pub mod __private {
    pub use crate::abi::fingerprint::FINGERPRINT;
    pub use crate::abi::v1;
    pub use crate::declare::{
        Depend, Note, PolicySpec, RUSTC, Scope, Source, StateSpec, is_module_id, padded,
    };
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    pub use crate::glue::interpose;
    pub use crate::glue::{create as create_instance, install_panic_hook, table};
    pub use abi_stable::library::{__call_root_module_loader, CheckTypeLayout, LibHeader, RootModuleResult};
    pub use abi_stable::prefix_type::{PrefixTypeTrait, WithMetadata};
    pub use abi_stable::std_types::RStr;
    pub use libc::{c_int, c_void, pthread_attr_t, pthread_key_t, pthread_t};
}
