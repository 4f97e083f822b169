//! Typed hooks: one event per hook, so that the compiler checks handlers.
//!
//! Handlers of a hook run in the order of their sequence numbers, lower first. What each hook carries stands in
//! [`crate::hooks`]. Handlers of packet hooks get the [`Stanza`](crate::sdk::Stanza) and answer a [`Packet`], those that may take a stanza
//! over answer [`Taken`], watchers answer `()` or [`Chain`], discovery handlers get and give the accumulator.

mod disco;
mod notice;
mod packet;
mod transfer;

pub use disco::{Collect, Collecting, ContactsEvent, DiscoInfoEvent, DiscoItemsEvent};
pub use notice::{
    AccountNotice, AuthResultEvent, AuthResultNotice, Chain, ModulesChangedEvent, Notice,
    PresenceChangedEvent, SessionClosedEvent, SessionOpenedEvent, SessionSuspendedEvent, UserRegisteredEvent,
    UserRemovedEvent,
};
pub use packet::{
    FilterPacketEvent, InactivePacketEvent, LocalPacketEvent, OfflineMessageEvent, Packet,
    SubscriptionPacket, SubscriptionPacketEvent, Taken, Urgency, UserReceivePacketEvent, UserSendPacketEvent,
};
pub use transfer::{Export, ExportUserEvent, Exporting, Import, ImportUserEvent, Importing};

use super::handler::Event;
use crate::abi::v1::Call;
use serde::de::DeserializeOwned;

/// An event that is a hook.
pub trait Hook: Event {
    /// Its name.
    const NAME: &'static str;
}

/// What a hook's handler answered, as it crosses the boundary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the chain ends here.
    pub(crate) stop: bool,
    /// Why, for the log.
    pub(crate) reason: String,
    /// The new stanza or accumulator.
    pub(crate) body: Option<Vec<u8>>,
}

impl Verdict {
    fn next(body: Option<Vec<u8>>) -> Self {
        Self { stop: false, reason: String::new(), body }
    }

    fn stop(reason: impl Into<String>, body: Option<Vec<u8>>) -> Self {
        Self { stop: true, reason: reason.into(), body }
    }
}

fn args<T: DeserializeOwned>(call: &Call<'_>) -> Result<T, String> {
    let text = if call.args.is_empty() { "{}" } else { call.args.as_str() };
    serde_json::from_str(text).map_err(|e| format!("the arguments of hook {} cannot be read: {e}", call.name))
}
