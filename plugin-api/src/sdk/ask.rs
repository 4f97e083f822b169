//! Questions to the server. Each begins at once and gives an [`Op`]: `.await` it or `.wait()` for it.

use super::command::CommandFailure;
use super::element::{Element, parse_element};
use super::op::Op;
use super::{Host, HostError, Jid, StanzaError, Target};
use crate::abi::v1::op;
use crate::glue::OpAnswer;
use crate::hooks::{Identity, Item, OfferedCommand};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Answer of an IQ that a module sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IqAnswer {
    /// The whole reply.
    pub stanza: Element,
}

impl IqAnswer {
    /// The payload of a result (`None` when it is empty), or the error that came instead.
    pub fn result(&self) -> Result<Option<&Element>, StanzaError> {
        if self.stanza.attr("type") == Some("result") {
            return Ok(self.stanza.elements().next());
        }
        let error = self.stanza.subtag("error");
        Err(error
            .map_or_else(|| StanzaError::internal("an answer that is no result"), StanzaError::from_element))
    }
}

/// A session of an account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Session {
    /// Its full JID.
    pub jid: String,
    /// Its priority.
    pub priority: i8,
    /// `away`, `chat`, `dnd`, `xa` or empty.
    pub show: String,
    /// Whether it has sent presence.
    pub available: bool,
    /// Whether its connection is lost and it waits for its client (XEP-0198, since 1.2).
    pub detached: bool,
}

/// What all instances of a vhost declared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Disco {
    /// Identities.
    pub identities: Vec<Identity>,
    /// Namespaces.
    pub features: Vec<String>,
    /// Items.
    pub items: Vec<Item>,
}

impl Host {
    /// Begins an operation with arguments as JSON.
    pub(crate) fn op<T>(
        &self,
        kind: u32,
        number: i64,
        args: &Value,
        body: &[u8],
        decode: fn(OpAnswer) -> Result<T, HostError>,
    ) -> Op<T> {
        Op::start(self, kind, number, &args.to_string(), body, decode)
    }

    /// Waits; a timer of the host's, not of a runtime.
    pub fn sleep(&self, time: Duration) -> Op<()> {
        Op::start(self, op::SLEEP, millis(time), "", b"", nothing)
    }

    /// Sends an IQ get or set and awaits its answer. The vhost is the sender unless the request names another.
    pub fn send_iq(&self, iq: &IqRequest, timeout: Duration) -> Op<IqAnswer> {
        let stanza = iq.to_element();
        Op::start(self, op::SEND_IQ, millis(timeout), "", &stanza.to_bytes(), |answer| {
            let text = String::from_utf8(answer.body).map_err(unreadable)?;
            Ok(IqAnswer { stanza: parse_element(&text).map_err(unreadable)? })
        })
    }

    /// Asks another module's [`Module::on_request`](super::Module::on_request): `mod_x` on this vhost, or `mod_x@vhost`.
    pub fn request(&self, module: &str, method: &str, args: &Value, timeout: Duration) -> Op<Value> {
        let (module, vhost) = module.split_once('@').unwrap_or((module, self.vhost()));
        let args = json!({"module": module, "host": vhost, "method": method, "args": args});
        self.op(op::REQUEST, millis(timeout), &args, b"", text_as_json)
    }

    /// The sessions of an account.
    pub fn sessions_of(&self, account: &Jid<'_>) -> Op<Vec<Session>> {
        self.op(op::SESSIONS_OF, 0, &json!({"jid": account.bare().as_str()}), b"", text_as_json)
    }

    /// Full JIDs bound on this vhost, in order, after `after` (empty: from the first).
    pub fn sessions(&self, after: &str, limit: usize) -> Op<Vec<String>> {
        self.op(
            op::SESSIONS_ALL,
            0,
            &json!({"host": self.vhost(), "after": after, "limit": limit}),
            b"",
            text_as_json,
        )
    }

    /// Whether an account exists.
    pub fn account_exists(&self, account: &Jid<'_>) -> Op<bool> {
        self.op(op::ACCOUNT_EXISTS, 0, &json!({"jid": account.bare().as_str()}), b"", |a| Ok(a.number == 1))
    }

    /// Makes an account. Fails with `conflict` or `not-acceptable`.
    pub fn create_account(&self, account: &Jid<'_>, password: &str) -> Op<()> {
        let args = json!({"jid": account.bare().as_str(), "password": password});
        self.op(op::ACCOUNT_CREATE, 0, &args, b"", nothing)
    }

    /// Changes an account's password.
    pub fn set_password(&self, account: &Jid<'_>, password: &str) -> Op<()> {
        let args = json!({"jid": account.bare().as_str(), "password": password});
        self.op(op::ACCOUNT_SET_PASSWORD, 0, &args, b"", nothing)
    }

    /// Removes an account and closes its sessions.
    pub fn remove_account(&self, account: &Jid<'_>) -> Op<()> {
        self.op(op::ACCOUNT_REMOVE, 0, &json!({"jid": account.bare().as_str()}), b"", nothing)
    }

    /// What all instances of a vhost declared, about the vhost or about its accounts.
    pub fn disco(&self, vhost: &str, target: Target) -> Op<Disco> {
        let args = match target {
            Target::Server => json!({"host": vhost}),
            Target::Account => json!({"host": vhost, "target": "bare"}),
        };
        self.op(op::DISCO, 0, &args, b"", text_as_json)
    }

    /// Runs a command of the server's command table. Needs the capability `commands`.
    pub fn run_command(&self, name: &str, args: &Value) -> Op<Value> {
        self.op(op::COMMAND, 0, &json!({"name": name, "args": args}), b"", text_as_json)
    }

    /// The same; a command that does not work is an answer that tells all about it (in full since hosts of minor 1).
    pub fn try_command(&self, name: &str, args: &Value) -> Op<Result<Value, CommandFailure>> {
        let args = json!({"name": name, "args": args, "full": true});
        self.op(op::COMMAND, 0, &args, b"", |answer| text_as_json(answer).map(outcome))
    }
}

impl Host {
    /// Runs a command with what this JID may do by XMPP, and no more. Needs the capability `commands`. Since API 1.1.
    pub fn run_command_as(&self, caller: &Jid<'_>, name: &str, args: &Value) -> Op<Value> {
        let args = json!({"name": name, "args": args, "as": caller.bare().as_str()});
        self.op(op::COMMAND, 0, &args, b"", text_as_json)
    }

    /// The same; a command that does not work is an answer that tells all about it.
    pub fn try_command_as(
        &self,
        caller: &Jid<'_>,
        name: &str,
        args: &Value,
    ) -> Op<Result<Value, CommandFailure>> {
        let args = json!({"name": name, "args": args, "full": true, "as": caller.bare().as_str()});
        self.op(op::COMMAND, 0, &args, b"", |answer| text_as_json(answer).map(outcome))
    }

    /// The commands that this JID may call by XMPP, by name. Needs the capability `commands`. Since API 1.1.
    pub fn commands_for(&self, caller: &Jid<'_>) -> Op<Vec<OfferedCommand>> {
        self.op(op::COMMANDS_FOR, 0, &json!({"as": caller.bare().as_str()}), b"", text_as_json)
    }
}

/// An IQ to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IqRequest {
    from: Option<Jid<'static>>,
    to: Jid<'static>,
    kind: &'static str,
    payload: Element,
}

impl IqRequest {
    /// A get.
    pub fn get(to: Jid<'_>, payload: Element) -> Self {
        Self { from: None, to: to.into_owned(), kind: "get", payload }
    }

    /// A set.
    pub fn set(to: Jid<'_>, payload: Element) -> Self {
        Self { from: None, to: to.into_owned(), kind: "set", payload }
    }

    /// From this JID instead of the vhost. An instance for the whole server must name one.
    pub fn from(mut self, from: Jid<'_>) -> Self {
        self.from = Some(from.into_owned());
        self
    }

    fn to_element(&self) -> Element {
        let iq = Element::new("iq").with_attr("type", self.kind).with_attr("id", unguessable());
        let iq = iq.with_attr("to", self.to.as_str());
        let iq = match &self.from {
            Some(from) => iq.with_attr("from", from.as_str()),
            None => iq,
        };
        iq.with_child(self.payload.clone())
    }
}

/// An id that nobody can answer who has not seen the request.
fn unguessable() -> String {
    static SENT: AtomicU64 = AtomicU64::new(0);
    format!("{:016x}", RandomState::new().hash_one(SENT.fetch_add(1, Ordering::Relaxed)))
}

pub(crate) fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

pub(crate) fn nothing(_: OpAnswer) -> Result<(), HostError> {
    Ok(())
}

/// The two forms of an answer in full, or the bare value of an older host.
fn outcome(mut answer: Value) -> Result<Value, CommandFailure> {
    let mut part = |name: &str| answer.get_mut(name).map(Value::take);
    match (part("error"), part("value")) {
        (Some(error), _) => Err(serde_json::from_value(error).unwrap_or_default()),
        (None, Some(value)) => Ok(value),
        (None, None) => Ok(answer),
    }
}

pub(crate) fn text_as_json<T: DeserializeOwned>(answer: OpAnswer) -> Result<T, HostError> {
    let text = if answer.text.is_empty() { "null" } else { &answer.text };
    serde_json::from_str(text).map_err(unreadable)
}

pub(crate) fn unreadable(error: impl std::fmt::Display) -> HostError {
    HostError::new("internal-server-error", format!("the server's answer cannot be read: {error}"))
}
