//! The one command table from which the control program, HTTP, ad-hoc commands, completion and documentation derive.
//!
//! A command is declared once, as a [`CommandSpec`]: name, arguments, result, permission, help. The server's own
//! specs are in [`builtin`]; modules bring theirs through a [`CommandProvider`]. A front end parses what it received
//! into [`Input`], names its [`Caller`], and [`Table::run`] does the rest: arguments, permission, audit line,
//! deadline, handler. Handlers live where the thing they act on lives; this room decides nothing about the server.

pub mod access;
pub mod builtin;
pub mod carriage;
pub mod help;
pub mod reference;
pub mod render;

mod answer;
mod args;
mod glob;
mod modules;
mod phase;
mod spec;
mod table;

pub use access::Access;
pub use answer::{Answer, CommandError, CommandResult, ErrorKind};
pub use args::{Args, Input};
pub use phase::Phase;
pub use spec::{ArgKind, ArgSpec, CommandSpec, Permission, ResultKind, Text};
pub use table::{Call, Caller, CommandProvider, FrontEnd, Handler, Table, TableBuilder};
