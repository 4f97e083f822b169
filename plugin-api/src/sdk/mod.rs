//! What module authors write against: plain Rust over the boundary.
//!
//! * [`Module`] is a module's life; [`Service`] adds a domain of its own.
//! * [`Host`] is everything a module can ask, tell and register.
//! * Handlers are plain functions that borrow, or `async` functions that own: see [`handler`].
//! * [`element`] has the XML tree and the helper functions of the ejabberd sources.

pub mod ask;
mod command;
pub mod datetime;
pub mod digest;
mod disco;
pub mod element;
mod error;
mod flow;
pub mod handler;
pub mod hooks;
mod host;
mod http;
mod iq;
mod jid;
mod live;
mod log;
pub(crate) mod migrate;
mod module;
pub mod ns;
mod op;
mod presence;
pub mod register;
pub mod sha;
mod stanza;
pub mod store;
mod timer;
mod turns;

pub use crate::glue::{process_time, utc_offset};
pub use command::{
    CommandAnswer, CommandArg, CommandError, CommandEvent, CommandFailure, CommandSpec, Request,
};
pub use disco::DiscoQuestion;
pub use element::{Element, Node};
pub use error::{Condition, ErrorType, HostError, StanzaError, Stop};
pub use flow::{Flow, Service, StanzaEvent};
pub use handler::{Event, Handler, Soon, deferred};
pub use hooks::Verdict;
pub use host::Host;
pub(crate) use host::WeakHost;
pub use http::{FILE_HEADER, HttpAuth, HttpEvent, HttpHead, HttpRequest, HttpResponse, HttpSpec};
pub use iq::{Discipline, Iq, IqEvent, IqHandler, IqReply, IqSpec, Target};
pub use jid::{Jid, JidError};
pub use live::Live;
pub use log::{Level, LogTarget, Logger, SessionLog};
pub use migrate::{Migrated, Migration};
pub use module::{Module, ModuleOptions, Reload, Started, StopReason};
pub use op::{DEFAULT_WAIT, Op};
pub use presence::Among;
pub use register::Registration;
pub use stanza::Stanza;
pub use timer::{Tick, TimerEvent};
pub use turns::{Take, Turn, Turns};
