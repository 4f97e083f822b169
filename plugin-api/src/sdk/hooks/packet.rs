//! Hooks that see a stanza.

use super::{Hook, Verdict, args};
use crate::abi::v1::Call;
use crate::hooks::{SubscriptionArgs, name};
use crate::sdk::element::Element;
use crate::sdk::handler::{Answer, Event};
use crate::sdk::{Condition, Host, Stanza};

/// What happens to a stanza after a filter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Packet {
    /// It goes on as it is.
    #[default]
    Pass,
    /// These bytes go on in its place: see [`Packet::replace`].
    Replace(Vec<u8>),
    /// These bytes go on, and no further handler sees them: see [`Packet::pass_and_stop`].
    StopWith(Vec<u8>),
    /// It ends here, for this reason. When it was a request, its sender gets an error: the reason, where that is the name
    /// of a condition (see [`Packet::refuse`]), else `service-unavailable`.
    Drop(String),
}

impl Packet {
    /// It ends here, and if it was a request its sender gets this error.
    pub fn refuse(condition: Condition) -> Self {
        Packet::Drop(condition.name().to_owned())
    }

    /// It ends here, because this module has answered it or will.
    pub fn answered() -> Self {
        Packet::Drop("answered".to_owned())
    }

    /// This goes on in its place.
    pub fn replace(stanza: &Element) -> Self {
        Packet::Replace(stanza.to_bytes())
    }

    /// It goes on as it is, and no further handler sees it.
    pub fn pass_and_stop(stanza: &Stanza<'_>) -> Self {
        Packet::StopWith(stanza.bytes().to_vec())
    }
}

impl From<()> for Packet {
    fn from((): ()) -> Self {
        Packet::Pass
    }
}

impl From<Packet> for Answer {
    fn from(packet: Packet) -> Self {
        Answer::Hook(match packet {
            Packet::Pass => Verdict::next(None),
            Packet::Replace(bytes) => Verdict::next(Some(bytes)),
            Packet::StopWith(bytes) => Verdict::stop("", Some(bytes)),
            Packet::Drop(reason) => Verdict::stop(reason, None),
        })
    }
}

/// Whether a handler took a stanza over.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Taken {
    /// No: the next handler sees it.
    #[default]
    No,
    /// Yes: it is kept or answered, and nobody else sees it.
    Yes,
}

impl From<()> for Taken {
    fn from((): ()) -> Self {
        Taken::No
    }
}

impl From<Taken> for Answer {
    fn from(taken: Taken) -> Self {
        Answer::Hook(match taken {
            Taken::No => Verdict::next(None),
            Taken::Yes => Verdict::stop("taken", None),
        })
    }
}

/// Whether a stanza for a client that nobody looks at can wait (XEP-0352).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Urgency {
    /// The next handler decides, and at last the server's own rules.
    #[default]
    Unknown,
    /// It is sent at once, and everything that waits before it.
    Now,
    /// It waits. Of the presence of one sender, and of its chat states, only the last is kept.
    Later,
    /// The client can do without it for good. Requests and their answers are sent nevertheless.
    Never,
}

impl From<()> for Urgency {
    fn from((): ()) -> Self {
        Urgency::Unknown
    }
}

impl From<Urgency> for Answer {
    fn from(urgency: Urgency) -> Self {
        Answer::Hook(match urgency {
            Urgency::Unknown => Verdict::next(None),
            Urgency::Now => Verdict::stop("now", None),
            Urgency::Later => Verdict::stop("later", None),
            Urgency::Never => Verdict::stop("never", None),
        })
    }
}

macro_rules! stanza_hooks {
    ($($(#[$doc:meta])* $event:ident = $name:ident -> $answer:ty;)+) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $event;

        impl Event for $event {
            type Arg<'a> = Stanza<'a>;
            type Answer = $answer;

            #[inline]
            fn read<'a>(_: &'a Host, call: &'a Call<'a>) -> Result<Stanza<'a>, String> {
                Ok(Stanza::borrowed(call.from.as_str(), call.to.as_str(), "", call.body.as_slice()))
            }

            fn own(stanza: Stanza<'_>) -> Stanza<'static> {
                stanza.into_owned()
            }
        }

        impl Hook for $event {
            const NAME: &'static str = name::$name;
        }
    )+};
}

stanza_hooks! {
    /// A stanza from a bound session, before routing.
    UserSendPacketEvent = USER_SEND_PACKET -> Packet;
    /// A stanza about to enter a session's mailbox.
    UserReceivePacketEvent = USER_RECEIVE_PACKET -> Packet;
    /// Every routed stanza.
    FilterPacketEvent = FILTER_PACKET -> Packet;
    /// A message that no resource took.
    OfflineMessageEvent = OFFLINE_MESSAGE -> Taken;
    /// A stanza about to enter the mailbox of a session whose client is inactive.
    InactivePacketEvent = INACTIVE_PACKET -> Urgency;
    /// A message or presence to the vhost itself.
    LocalPacketEvent = LOCAL_PACKET -> Taken;
}

/// A stanza that manages a subscription.
#[derive(Debug, Clone)]
pub struct SubscriptionPacket<'a> {
    /// Whether this is the sender's side. Both accounts may belong to one vhost, so the addresses do not tell.
    pub outbound: bool,
    /// The stanza, between bare JIDs.
    pub stanza: Stanza<'a>,
}

/// A subscription stanza between bare JIDs.
#[derive(Debug)]
pub struct SubscriptionPacketEvent;

impl Event for SubscriptionPacketEvent {
    type Arg<'a> = SubscriptionPacket<'a>;
    type Answer = Taken;

    fn read<'a>(_: &'a Host, call: &'a Call<'a>) -> Result<Self::Arg<'a>, String> {
        let args: SubscriptionArgs = args(call)?;
        let stanza = Stanza::borrowed(call.from.as_str(), call.to.as_str(), "", call.body.as_slice());
        Ok(SubscriptionPacket { outbound: args.direction == "out", stanza })
    }

    fn own(packet: Self::Arg<'_>) -> Self::Arg<'static> {
        SubscriptionPacket { outbound: packet.outbound, stanza: packet.stanza.into_owned() }
    }
}

impl Hook for SubscriptionPacketEvent {
    const NAME: &'static str = name::SUBSCRIPTION_PACKET;
}
