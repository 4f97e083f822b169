//! Services: modules behind a domain of their own, and how they go on after a stanza (S0: `handle_info`).

use super::handler::{Answer, Event};
use super::{Host, Jid, Module, Stanza};
use crate::abi::v1::Call;
use std::time::Duration;

/// What follows a stanza or an idle call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Flow {
    /// Go on (`{noreply, State}`).
    #[default]
    Continue,
    /// Go on, and call [`Module::on_idle`] when no stanza comes within that time (`{noreply, State, Timeout}`).
    ContinueAfter(Duration),
    /// Stop this instance for this reason (`{stop, Reason, State}`).
    Stop(String),
}

impl From<()> for Flow {
    fn from((): ()) -> Self {
        Flow::Continue
    }
}

impl From<Flow> for Answer {
    fn from(flow: Flow) -> Self {
        Answer::Flow(flow)
    }
}

/// A module that takes the stanzas for domains it registered with [`Host::serve`].
pub trait Service: Module {
    /// A stanza came. It was one at a time and in order for each instance, unless the configuration says otherwise.
    fn on_stanza(&self, host: &Host, from: &Jid<'_>, to: &Jid<'_>, stanza: &Stanza<'_>) -> Flow;
}

/// The event behind routes.
#[derive(Debug)]
pub struct StanzaEvent;

impl Event for StanzaEvent {
    type Arg<'a> = Stanza<'a>;
    type Answer = Flow;

    #[inline]
    fn read<'a>(_: &'a Host, call: &'a Call<'a>) -> Result<Stanza<'a>, String> {
        Ok(Stanza::borrowed(call.from.as_str(), call.to.as_str(), call.name.as_str(), call.body.as_slice()))
    }

    fn own(stanza: Stanza<'_>) -> Stanza<'static> {
        stanza.into_owned()
    }
}
