//! Host types on this side, `plugin_api::abi` on the other: the only place where the two meet.
//!
//! * `reply`: the buffer a module answers into;
//! * `cause`: how many hops the running call is away from a client;
//! * `context`: what `HostRef::ctx` points at, one per instance;
//! * `host_vt`: the functions a module may call;
//! * `invoke`: calls into a module, and the future of a call that did not finish at once;
//! * `ops`: operations under way for a module.
//!
//! Nothing here decides what a call means; that is `call` and `instance`.

pub mod cause;
pub mod context;
mod host_vt;
pub mod invoke;
mod ops;
pub mod reply;
