//! The hook points of API version 1: their names, and the JSON that travels beside each of them.
//!
//! The host writes these structs into a call's `args`, the SDK reads them. Fields may be added (readers take defaults for
//! what is missing and ignore what they do not know), never renamed or removed. What each hook carries:
//!
//! | hook | from | to | stanza | args | what a handler can do |
//! |---|---|---|---|---|---|
//! | `user_send_packet` | full JID | addressee | yes | [`PacketArgs`] | replace, drop |
//! | `user_receive_packet` | sender | full JID | yes | [`PacketArgs`] | replace, drop |
//! | `filter_packet` | sender | addressee | yes | [`PacketArgs`] | replace, drop |
//! | `session_opened` | full JID | | | [`SessionOpened`] | watch |
//! | `session_closed` | full JID | | | [`SessionClosed`] | watch |
//! | `presence_changed` | full JID | | presence | [`PresenceChanged`] | watch |
//! | `subscription_packet` | bare JID | bare JID | presence | [`SubscriptionArgs`] | handle |
//! | `offline_message` | sender | bare JID | message | [`PacketArgs`] | handle |
//! | `local_packet` | sender | vhost | yes | [`PacketArgs`] | handle |
//! | `disco_info` | asker | entity | accumulator: [`InfoAnswer`] | [`DiscoArgs`] | extend, filter |
//! | `disco_items` | asker | entity | accumulator: [`ItemsAnswer`] | [`DiscoArgs`] | extend, filter |
//! | `user_registered` | bare JID | | | [`AccountArgs`] | watch |
//! | `user_removed` | bare JID | | | [`AccountArgs`] | watch |
//! | `contacts` (1.1) | bare JID | | accumulator: [`ContactsAnswer`] | | extend |
//! | `inactive_packet` (1.1) | sender | full JID | yes | [`PacketArgs`] | say whether it can wait |
//! | `session_suspended` (1.2) | full JID | | | [`SessionSuspended`] | watch |
//! | `modules_changed` (1.2) | vhost | | | [`ModulesChanged`] | watch |
//! | `export_user` (1.2) | bare JID | | | [`ExportArgs`] | give a part: [`ExportPart`] |
//! | `import_user` (1.2) | bare JID | | an element | [`ImportArgs`] | take it: [`ImportAnswer`] |
//! | `c2s_auth_result` | bare JID or empty | | | [`AuthResult`] | watch |
//!
//! The discovery hooks are raised when mod_disco (or who answers in its place) asks the host for an answer about a vhost or an
//! account. `export_user` and `import_user` carry what is kept of an account in the elements of XEP-0227. Without a node the accumulator begins with what all instances declared; a node exists where a handler answers
//! something for it, be it empty.

use serde::{Deserialize, Serialize};

/// Names of the hook points.
pub mod name {
    /// A stanza from a bound session, before routing.
    pub const USER_SEND_PACKET: &str = "user_send_packet";
    /// A stanza about to enter a session's mailbox.
    pub const USER_RECEIVE_PACKET: &str = "user_receive_packet";
    /// Every routed stanza.
    pub const FILTER_PACKET: &str = "filter_packet";
    /// A resource was bound.
    pub const SESSION_OPENED: &str = "session_opened";
    /// A session ended.
    pub const SESSION_CLOSED: &str = "session_closed";
    /// A session's broadcast presence was set or unset.
    pub const PRESENCE_CHANGED: &str = "presence_changed";
    /// A subscription stanza.
    pub const SUBSCRIPTION_PACKET: &str = "subscription_packet";
    /// A message that no resource took.
    pub const OFFLINE_MESSAGE: &str = "offline_message";
    /// A message or presence to the vhost itself.
    pub const LOCAL_PACKET: &str = "local_packet";
    /// Information of an entity is collected.
    pub const DISCO_INFO: &str = "disco_info";
    /// Items of an entity are collected.
    pub const DISCO_ITEMS: &str = "disco_items";
    /// The contacts of an account are collected (since 1.1).
    pub const CONTACTS: &str = "contacts";
    /// A stanza about to enter the mailbox of a session whose client is inactive (XEP-0352, since 1.1).
    pub const INACTIVE_PACKET: &str = "inactive_packet";
    /// The connection of a session is lost and the session waits for its client (XEP-0198, since 1.2).
    pub const SESSION_SUSPENDED: &str = "session_suspended";
    /// Other modules, registrations or options hold from now on (since 1.2).
    pub const MODULES_CHANGED: &str = "modules_changed";
    /// An account was made.
    pub const USER_REGISTERED: &str = "user_registered";
    /// An account was removed.
    pub const USER_REMOVED: &str = "user_removed";
    /// What is kept of an account is written out (XEP-0227, since 1.2).
    pub const EXPORT_USER: &str = "export_user";
    /// An element of an account's data is read in (XEP-0227, since 1.2).
    pub const IMPORT_USER: &str = "import_user";
    /// An authentication ended, well or badly.
    pub const C2S_AUTH_RESULT: &str = "c2s_auth_result";
}

/// Beside a stanza. Empty today.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PacketArgs {}

/// Beside `session_opened`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionOpened {
    /// Address of the client, without port.
    pub ip: String,
    /// Whether the stream is encrypted.
    pub tls: bool,
    /// Mechanism that authenticated it.
    pub mechanism: String,
}

/// Beside `session_closed`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionClosed {
    /// `closed`, `replaced`, `kicked`, `timeout`, `error`, `shutdown`.
    pub reason: String,
}

/// Beside `presence_changed`: the presence that holds now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PresenceChanged {
    /// Whether the session is available (`set`) or no longer (`unset`).
    pub available: bool,
    /// Whether it was available before.
    pub was_available: bool,
    /// The priority it had before, if it was available (since 1.1).
    pub was_priority: Option<i8>,
    /// Its priority.
    pub priority: i8,
    /// `away`, `chat`, `dnd`, `xa` or empty.
    pub show: String,
}

/// Beside `subscription_packet`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SubscriptionArgs {
    /// `out` on the sender's side, `in` on the receiver's.
    pub direction: String,
    /// `subscribe`, `subscribed`, `unsubscribe`, `unsubscribed`; before 1.1 also `probe`.
    pub kind: String,
}

/// Beside `disco_info` and `disco_items`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DiscoArgs {
    /// The node asked for; may be empty.
    pub node: String,
}

/// Accumulator of `disco_info`, and the answer of the operation `DISCO` beside its items.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InfoAnswer {
    /// Identities.
    pub identities: Vec<Identity>,
    /// Namespaces.
    pub features: Vec<String>,
    /// Forms of XEP-0128, each an element as XML (since 1.1).
    pub forms: Vec<String>,
}

/// Accumulator of `disco_items`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ItemsAnswer {
    /// Items.
    pub items: Vec<Item>,
}

/// An identity (XEP-0030 3.1).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Identity {
    /// Such as `server`.
    pub category: String,
    /// Such as `im`.
    #[serde(rename = "type")]
    pub kind: String,
    /// For people; may be empty.
    pub name: String,
}

/// An item (XEP-0030 4.1).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Item {
    /// Its JID.
    pub jid: String,
    /// For people; may be empty.
    pub name: String,
    /// May be empty.
    pub node: String,
}

/// Accumulator of `contacts`, which the server asks for when an account's presence is to be told, and keeps while the
/// account has sessions. Modules tell what changes meanwhile by the operation `CONTACT_CHANGED`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContactsAnswer {
    /// In any order; of several with one JID the subscriptions add up.
    pub contacts: Vec<Contact>,
}

/// Somebody with whom an account shares presence.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Contact {
    /// The bare JID.
    pub jid: String,
    /// Who sees whose presence.
    pub subscription: Subscription,
}

/// A subscription, seen from the account (RFC 6121 section 2.1.2.5).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", from = "String")]
pub enum Subscription {
    /// Nobody sees anybody.
    #[default]
    None,
    /// The account sees the contact.
    To,
    /// The contact sees the account.
    From,
    /// Both see each other.
    Both,
}

impl From<String> for Subscription {
    /// A word that this version does not know is none.
    fn from(name: String) -> Self {
        match name.as_str() {
            "to" => Self::To,
            "from" => Self::From,
            "both" => Self::Both,
            _ => Self::None,
        }
    }
}

impl Subscription {
    /// From its two halves: whether the account sees the contact, and the contact the account.
    pub const fn of(to: bool, from: bool) -> Self {
        match (to, from) {
            (false, false) => Self::None,
            (true, false) => Self::To,
            (false, true) => Self::From,
            (true, true) => Self::Both,
        }
    }

    /// Whether the account sees the contact.
    pub const fn has_to(self) -> bool {
        matches!(self, Self::To | Self::Both)
    }

    /// Whether the contact sees the account.
    pub const fn has_from(self) -> bool {
        matches!(self, Self::From | Self::Both)
    }

    /// The word of RFC 6121.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::To => "to",
            Self::From => "from",
            Self::Both => "both",
        }
    }
}

/// A command of the one command table, as the operation `COMMANDS_FOR` tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OfferedCommand {
    /// Its name.
    pub name: String,
    /// What it does, in one sentence.
    pub summary: String,
    /// Its arguments in order, without those for the control socket alone.
    pub args: Vec<OfferedArg>,
}

/// An argument of such a command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OfferedArg {
    /// Its name.
    pub name: String,
    /// `string`, `integer`, `boolean`, `flag`, `jid`, `user`, `host`, `module`, `list`, `duration` or `choice`.
    pub kind: String,
    /// What can be chosen, where it is a choice.
    pub choices: Vec<String>,
    /// Whether it may be missing.
    pub optional: bool,
    /// Whether it is never shown.
    pub secret: bool,
    /// One sentence.
    pub doc: String,
}

/// Beside `user_registered` and `user_removed`. Empty today: the account is the sender.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AccountArgs {}

/// Beside `session_suspended`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionSuspended {
    /// Messages with a body or encrypted content that were sent to the client and not acknowledged by it.
    pub messages: u64,
}

/// Beside `modules_changed`. Empty today. It is raised after the fact, once for several changes in short order; what holds
/// now is to be asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModulesChanged {}

/// Beside `export_user`: each handler is asked by itself, again and again, until it names no further part.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExportArgs {
    /// What this handler gave as [`ExportPart::next`]; empty at first.
    pub cursor: String,
}

/// What a handler of `export_user` answers: some of the children of `<user/>` (XEP-0227).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExportPart {
    /// The element that holds them, as XML without content; empty where they stand in `<user/>` itself. Parts that
    /// follow each other with the same holder share one.
    pub within: String,
    /// Elements as XML, each with its namespace.
    pub elements: Vec<String>,
    /// Where to go on; `None` at the end.
    pub next: Option<String>,
}

/// Beside `import_user`. The account is made after its data, when all of them are there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImportArgs {
    /// There is no element: whatever is kept of the account is to be forgotten, and nobody is to be told. Answers are not
    /// looked at. It comes before the first element, and when the account cannot be taken over.
    pub forget: bool,
}

/// What a handler of `import_user` answers for an element that is its own. A long list (roster, private data, offline
/// messages, archive) comes in several elements of the same name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImportAnswer {
    /// Why the whole account cannot be taken over; empty where it can.
    pub failed: String,
    /// What in the element was not taken, and why, one sentence each.
    pub left_out: Vec<String>,
}

/// Beside `c2s_auth_result`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AuthResult {
    /// Whether it went well.
    pub success: bool,
    /// The name that was tried, as it came.
    pub user: String,
    /// Mechanism.
    pub mechanism: String,
    /// Address of the client, without port.
    pub ip: String,
    /// Condition of RFC 6120 6.5 when it failed.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_and_unknown_fields_are_no_mistake() {
        let opened: SessionOpened = serde_json::from_str(r#"{"tls":true,"of_a_later_minor":1}"#).unwrap();
        assert!(opened.tls && opened.ip.is_empty());
        let contact: Contact =
            serde_json::from_str(r#"{"jid":"a@b","subscription":"of a later minor"}"#).unwrap();
        assert_eq!(contact.subscription, Subscription::None);
        let identity: Identity = serde_json::from_str(r#"{"category":"server","type":"im"}"#).unwrap();
        assert_eq!(identity.kind, "im");
    }
}
