//! Events of `tracing`, of libraries that a module uses, forwarded to the host's log (feature `tracing`).
//!
//! The subscriber is the library's own and serves all its instances, so a line goes to whichever of them is alive, under
//! the event's target as component. Spans are not followed. Nothing is kept per callsite or thread.

use super::panics::any_host;
use crate::abi::v1::level;
use crate::sdk::Host;
use std::fmt::{self, Write};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

/// Makes the host's log the library's subscriber, unless the module has set one.
pub(super) fn install() {
    let _already_set = tracing::subscriber::set_global_default(Forward(any_host));
}

/// Forwards to whichever host the function finds.
struct Forward<F>(F);

fn number(level: &Level) -> u32 {
    match *level {
        Level::ERROR => level::ERROR,
        Level::WARN => level::WARNING,
        Level::INFO => level::INFO,
        Level::DEBUG => level::DEBUG,
        Level::TRACE => level::TRACE,
    }
}

impl<F: Fn() -> Option<Host> + 'static> Subscriber for Forward<F> {
    /// Levels change while the server runs, so nothing is decided once for all.
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && (self.0)().is_some_and(|host| host.raw().log_enabled(number(metadata.level())))
    }

    fn event(&self, event: &Event<'_>) {
        let Some(host) = (self.0)() else { return };
        let mut line = Line(String::new());
        event.record(&mut line);
        let metadata = event.metadata();
        host.raw().log(number(metadata.level()), metadata.target(), &line.0);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The message, then the fields as `name=value`.
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let blank = if self.0.is_empty() { "" } else { " " };
        // Writing to a string fails only when a value's own formatting does; then the line ends there.
        let _ = match field.name() {
            "message" => write!(self.0, "{blank}{value:?}"),
            name => write!(self.0, "{blank}{name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prelude::{Module, Started, Stop};
    use crate::testing::FakeHost;

    struct Traced;

    impl Module for Traced {
        type Options = ();
        fn start(host: &Host, (): ()) -> Result<Started<Self>, Stop> {
            let host = host.clone();
            tracing::subscriber::with_default(Forward(move || Some(host.clone())), || {
                let _span = tracing::info_span!("unseen").entered();
                tracing::warn!(target: "lib", count = 3, name = "x", "something {}", "odd");
            });
            Started::running(Traced)
        }
    }

    #[test]
    fn events_of_libraries_reach_the_log() {
        let host = FakeHost::new("example.org");
        let _module = host.start::<Traced>("{}");
        let [line] = host.logs().try_into().unwrap();
        assert_eq!((line.level, line.component.as_str()), (crate::sdk::Level::Warning, "lib"));
        assert_eq!(line.message, "something odd count=3 name=\"x\"");
    }
}
