//! Log lines. They go to the host's log under the module's name; standard output, `log` and `tracing` of the library
//! are copies of their own that nobody reads.
//!
//! ```no_run
//! # use moult_plugin_api::prelude::*;
//! # fn example(host: &Host, iq: &Iq<'_>) {
//! info!(host, "serving {}", host.vhost());                    // a line of the module
//! debug!(host.logger("cache"), "{} entries", 7);              // a line of one of its components
//! warn!(host.about(iq.from()), "too many requests");          // a line about a session
//! # }
//! ```
//!
//! A line about a session needs the session's JID, and those come with what a handler is given. In the callbacks of a
//! module's life ([`on_started`](super::Module::on_started) and its like) there is none, so there the module's own logger is
//! what compiles:
//!
//! ```compile_fail,E0061
//! # use moult_plugin_api::prelude::*;
//! # struct Chatty { host: Host }
//! impl Module for Chatty {
//!     type Options = ();
//! #   fn start(host: &Host, (): ()) -> Result<Started<Self>, Stop> {
//! #       Started::running(Self { host: host.clone() })
//! #   }
//!     fn on_started(&self) -> Result<(), Stop> {
//!         info!(self.host.about(), "up");                     // about whom?
//!         Ok(())
//!     }
//! }
//! ```
//!
//! The compiler does not keep a module from making up a JID (`Jid::parse`) or from logging in a handler without naming the
//! session: the types of a call cannot tell whom a line is about. Lines that would be lost, by `println!` and `dbg!`, are denied by
//! the lints in the `Cargo.toml` that `moultctl plugin new` writes.

use super::{Host, Jid};
use crate::abi::v1::level;
use std::fmt;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Something is broken for good.
    Critical = level::CRITICAL as isize,
    /// A request failed.
    Error = level::ERROR as isize,
    /// Worth a look.
    Warning = level::WARNING as isize,
    /// An operator's story.
    Info = level::INFO as isize,
    /// A developer's story.
    Debug = level::DEBUG as isize,
    /// Every step.
    Trace = level::TRACE as isize,
}

/// Somewhere to log to: a [`Host`], a [`Logger`], a [`SessionLog`].
pub trait LogTarget {
    /// Whether a line of that level would be kept.
    fn enabled(&self, level: Level) -> bool;
    /// Writes a line.
    fn line(&self, level: Level, message: fmt::Arguments<'_>);
}

impl<T: LogTarget + ?Sized> LogTarget for &T {
    fn enabled(&self, level: Level) -> bool {
        (**self).enabled(level)
    }

    fn line(&self, level: Level, message: fmt::Arguments<'_>) {
        (**self).line(level, message);
    }
}

impl LogTarget for Host {
    fn enabled(&self, level: Level) -> bool {
        self.raw().log_enabled(level as u32)
    }

    fn line(&self, level: Level, message: fmt::Arguments<'_>) {
        self.raw().log(level as u32, "", &text(message));
    }
}

/// Logs under a component of the module.
#[derive(Debug, Clone)]
pub struct Logger {
    pub(crate) host: Host,
    pub(crate) component: String,
}

impl LogTarget for Logger {
    fn enabled(&self, level: Level) -> bool {
        self.host.enabled(level)
    }

    fn line(&self, level: Level, message: fmt::Arguments<'_>) {
        self.host.raw().log(level as u32, &self.component, &text(message));
    }
}

/// Logs about a session: each line begins with its JID.
#[derive(Debug, Clone, Copy)]
pub struct SessionLog<'a> {
    pub(crate) host: &'a Host,
    pub(crate) jid: &'a Jid<'a>,
}

impl LogTarget for SessionLog<'_> {
    fn enabled(&self, level: Level) -> bool {
        self.host.enabled(level)
    }

    fn line(&self, level: Level, message: fmt::Arguments<'_>) {
        self.host.line(level, format_args!("{}: {message}", self.jid));
    }
}

fn text(message: fmt::Arguments<'_>) -> std::borrow::Cow<'static, str> {
    match message.as_str() {
        Some(text) => text.into(),
        None => message.to_string().into(),
    }
}

/// Logs at a [`Level`]; nothing is formatted when the line would not be kept.
#[macro_export]
macro_rules! log_line {
    ($target:expr, $level:expr, $($message:tt)+) => {{
        let target = &$target;
        let level = $level;
        if $crate::sdk::LogTarget::enabled(target, level) {
            $crate::sdk::LogTarget::line(target, level, format_args!($($message)+));
        }
    }};
}

/// Logs that something is broken for good.
#[macro_export]
macro_rules! critical {
    ($target:expr, $($message:tt)+) => { $crate::log_line!($target, $crate::sdk::Level::Critical, $($message)+) };
}

/// Logs that a request failed.
#[macro_export]
macro_rules! error {
    ($target:expr, $($message:tt)+) => { $crate::log_line!($target, $crate::sdk::Level::Error, $($message)+) };
}

/// Logs something worth a look.
#[macro_export]
macro_rules! warn {
    ($target:expr, $($message:tt)+) => { $crate::log_line!($target, $crate::sdk::Level::Warning, $($message)+) };
}

/// Logs for operators.
#[macro_export]
macro_rules! info {
    ($target:expr, $($message:tt)+) => { $crate::log_line!($target, $crate::sdk::Level::Info, $($message)+) };
}

/// Logs for developers.
#[macro_export]
macro_rules! debug {
    ($target:expr, $($message:tt)+) => { $crate::log_line!($target, $crate::sdk::Level::Debug, $($message)+) };
}

/// Logs a single step.
#[macro_export]
macro_rules! trace {
    ($target:expr, $($message:tt)+) => { $crate::log_line!($target, $crate::sdk::Level::Trace, $($message)+) };
}
