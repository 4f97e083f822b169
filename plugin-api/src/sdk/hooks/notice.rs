//! Hooks that only tell what happened.

use super::{Hook, Verdict, args};
use crate::abi::v1::Call;
use crate::hooks::{
    AccountArgs, AuthResult, ModulesChanged, PresenceChanged, SessionClosed, SessionOpened, SessionSuspended,
    name,
};
use crate::sdk::handler::{Answer, Event};
use crate::sdk::{Host, Jid};

/// Something that happened to `jid`.
#[derive(Debug, Clone)]
pub struct Notice<'a, T> {
    /// Whom it concerns; empty where nobody is known yet.
    pub jid: Jid<'a>,
    /// What happened.
    pub what: T,
}

/// Whether later handlers hear of it too.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Chain {
    /// They do.
    #[default]
    Continue,
    /// They do not, for this reason.
    Stop(String),
}

impl From<()> for Chain {
    fn from((): ()) -> Self {
        Chain::Continue
    }
}

impl From<Chain> for Answer {
    fn from(chain: Chain) -> Self {
        Answer::Hook(match chain {
            Chain::Continue => Verdict::next(None),
            Chain::Stop(reason) => Verdict::stop(reason, None),
        })
    }
}

/// Beside `user_registered` and `user_removed`.
pub type AccountNotice<'a> = Notice<'a, AccountArgs>;
/// Beside `c2s_auth_result`.
pub type AuthResultNotice<'a> = Notice<'a, AuthResult>;

macro_rules! notices {
    ($($(#[$doc:meta])* $event:ident = $name:ident, $what:ty;)+) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $event;

        impl Event for $event {
            type Arg<'a> = Notice<'a, $what>;
            type Answer = Chain;

            fn read<'a>(_: &'a Host, call: &'a Call<'a>) -> Result<Self::Arg<'a>, String> {
                Ok(Notice { jid: Jid::trusted(call.from.as_str()), what: args(call)? })
            }

            fn own(notice: Self::Arg<'_>) -> Self::Arg<'static> {
                Notice { jid: notice.jid.into_owned(), what: notice.what }
            }
        }

        impl Hook for $event {
            const NAME: &'static str = name::$name;
        }
    )+};
}

notices! {
    /// A resource was bound.
    SessionOpenedEvent = SESSION_OPENED, SessionOpened;
    /// A session ended.
    SessionClosedEvent = SESSION_CLOSED, SessionClosed;
    /// A session's broadcast presence was set or unset.
    PresenceChangedEvent = PRESENCE_CHANGED, PresenceChanged;
    /// An account was made.
    UserRegisteredEvent = USER_REGISTERED, AccountArgs;
    /// An account was removed.
    UserRemovedEvent = USER_REMOVED, AccountArgs;
    /// The connection of a session is lost and the session waits for its client.
    SessionSuspendedEvent = SESSION_SUSPENDED, SessionSuspended;
    /// Other modules, registrations or options hold from now on.
    ModulesChangedEvent = MODULES_CHANGED, ModulesChanged;
    /// An authentication ended, well or badly.
    AuthResultEvent = C2S_AUTH_RESULT, AuthResult;
}
