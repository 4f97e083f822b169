//! IQ requests, their handlers and their answers.

use super::element::Element;
use super::handler::{Answer, Event};
use super::stanza::Body;
use super::{Host, Jid, StanzaError};
use crate::abi::v1::{Call, discipline, target};
use std::borrow::Cow;

/// A get or set that the host hands to the handler of its namespace. It has exactly one payload: the host has checked.
#[derive(Debug, Clone)]
pub struct Iq<'a> {
    from: Jid<'a>,
    to: Jid<'a>,
    id: Cow<'a, str>,
    ns: Cow<'a, str>,
    set: bool,
    body: Body<'a>,
}

impl<'a> Iq<'a> {
    /// Who asks.
    pub fn from(&self) -> &Jid<'a> {
        &self.from
    }

    /// Who is asked: the vhost, or an account.
    pub fn to(&self) -> &Jid<'a> {
        &self.to
    }

    /// The stanza's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The payload's namespace.
    pub fn ns(&self) -> &str {
        &self.ns
    }

    /// Whether it is a get.
    pub fn is_get(&self) -> bool {
        !self.set
    }

    /// Whether it is a set.
    pub fn is_set(&self) -> bool {
        self.set
    }

    /// The whole stanza's bytes.
    pub fn bytes(&self) -> &[u8] {
        self.body.bytes()
    }

    /// The whole stanza, parsed at the first call.
    pub fn element(&self) -> Result<&Element, StanzaError> {
        self.body.tree().map_err(|e| StanzaError::bad_request(format!("the stanza cannot be read: {e}")))
    }

    /// The payload, parsed at the first call.
    pub fn payload(&self) -> Result<&Element, StanzaError> {
        let mut children = self.element()?.elements();
        match (children.next(), children.next()) {
            (Some(payload), None) => Ok(payload),
            _ => Err(StanzaError::bad_request("an IQ get or set has exactly one child (RFC 6120 8.2.3)")),
        }
    }

    /// `not-allowed` for everything but a get.
    pub fn require_get(&self) -> Result<(), StanzaError> {
        if self.set { Err(StanzaError::not_allowed("only a get is answered")) } else { Ok(()) }
    }

    /// One that borrows nothing.
    pub fn into_owned(self) -> Iq<'static> {
        Iq {
            from: self.from.into_owned(),
            to: self.to.into_owned(),
            id: Cow::Owned(self.id.into_owned()),
            ns: Cow::Owned(self.ns.into_owned()),
            set: self.set,
            body: self.body.into_owned(),
        }
    }
}

/// What an IQ handler answers. Handlers return anything that converts into it: an [`Element`], text of a payload, `()`
/// for an empty result, a [`StanzaError`], or a `Result` of those.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IqReply {
    /// A result with this payload, which may be empty.
    Result(Cow<'static, [u8]>),
    /// An error.
    Error(StanzaError),
    /// Nothing now: the module answers later by [`Host::route`], or the host's deadline does.
    Ignore,
}

impl From<()> for IqReply {
    fn from((): ()) -> Self {
        IqReply::Result(Cow::Borrowed(b""))
    }
}

impl From<Element> for IqReply {
    fn from(payload: Element) -> Self {
        IqReply::Result(Cow::Owned(payload.to_bytes()))
    }
}

impl From<String> for IqReply {
    fn from(payload: String) -> Self {
        IqReply::Result(Cow::Owned(payload.into_bytes()))
    }
}

impl From<&'static str> for IqReply {
    fn from(payload: &'static str) -> Self {
        IqReply::Result(Cow::Borrowed(payload.as_bytes()))
    }
}

impl From<StanzaError> for IqReply {
    fn from(error: StanzaError) -> Self {
        IqReply::Error(error)
    }
}

impl<T: Into<IqReply>> From<Result<T, StanzaError>> for IqReply {
    fn from(result: Result<T, StanzaError>) -> Self {
        result.map_or_else(IqReply::Error, Into::into)
    }
}

impl From<IqReply> for Answer {
    fn from(reply: IqReply) -> Self {
        Answer::Iq(reply)
    }
}

/// Whose JIDs an IQ handler or a feature belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Target {
    /// The server's own: `domain`, `domain/resource` (the sources' `ejabberd_local`).
    #[default]
    Server,
    /// Users' bare JIDs, online or not (the sources' `ejabberd_sm`).
    Account,
}

impl Target {
    pub(crate) fn number(self) -> u32 {
        match self {
            Target::Server => target::SERVER,
            Target::Account => target::BARE,
        }
    }
}

/// In what order and where a handler runs (the sources' `iqdisc`). The module's option `discipline` overrides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Discipline {
    /// What the configuration says, and `one_queue` where it says nothing.
    #[default]
    Default,
    /// In the caller's task: for handlers that never wait. The order of each session is kept.
    NoQueue,
    /// One at a time, first in first out over all senders.
    OneQueue,
    /// Each on its own task.
    Parallel,
    /// At most so many at a time.
    ParallelN(u32),
}

impl Discipline {
    pub(crate) fn numbers(self) -> (u32, u32) {
        match self {
            Discipline::Default => (discipline::DEFAULT, 0),
            Discipline::NoQueue => (discipline::NO_QUEUE, 0),
            Discipline::OneQueue => (discipline::ONE_QUEUE, 0),
            Discipline::Parallel => (discipline::PARALLEL, 0),
            Discipline::ParallelN(n) => (discipline::PARALLEL_N, n),
        }
    }
}

/// What to register an IQ handler for. A plain namespace converts into it: server's JIDs, default discipline, and the
/// namespace announced as a feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IqSpec {
    pub(crate) ns: String,
    pub(crate) target: Target,
    pub(crate) discipline: Discipline,
    pub(crate) announced: bool,
}

impl IqSpec {
    /// For this namespace.
    pub fn new(ns: impl Into<String>) -> Self {
        Self { ns: ns.into(), target: Target::Server, discipline: Discipline::Default, announced: true }
    }

    /// For users' bare JIDs instead of the server's own.
    pub fn on_accounts(mut self) -> Self {
        self.target = Target::Account;
        self
    }

    /// Runs in the caller's task.
    pub fn no_queue(self) -> Self {
        self.discipline(Discipline::NoQueue)
    }

    /// Runs one at a time.
    pub fn one_queue(self) -> Self {
        self.discipline(Discipline::OneQueue)
    }

    /// Runs each on its own task.
    pub fn parallel(self) -> Self {
        self.discipline(Discipline::Parallel)
    }

    /// Runs at most `workers` at a time.
    pub fn parallel_n(self, workers: u32) -> Self {
        self.discipline(Discipline::ParallelN(workers))
    }

    /// Runs so.
    pub fn discipline(mut self, discipline: Discipline) -> Self {
        self.discipline = discipline;
        self
    }

    /// Not announced as a feature.
    pub fn hidden(mut self) -> Self {
        self.announced = false;
        self
    }
}

impl From<&str> for IqSpec {
    fn from(ns: &str) -> Self {
        Self::new(ns)
    }
}

/// A handler that is a value of its own, without the module behind it.
pub trait IqHandler: Send + Sync + 'static {
    /// Answers.
    fn on_iq(&self, iq: &Iq<'_>) -> IqReply;
}

/// The event behind IQ handlers.
#[derive(Debug)]
pub struct IqEvent;

impl Event for IqEvent {
    type Arg<'a> = Iq<'a>;
    type Answer = IqReply;

    #[inline]
    fn read<'a>(_: &'a Host, call: &'a Call<'a>) -> Result<Iq<'a>, String> {
        Ok(Iq {
            from: Jid::trusted(call.from.as_str()),
            to: Jid::trusted(call.to.as_str()),
            id: Cow::Borrowed(call.id.as_str()),
            ns: Cow::Borrowed(call.name.as_str()),
            set: call.number == 1,
            body: Body::new(call.body.as_slice()),
        })
    }

    fn own(iq: Iq<'_>) -> Iq<'static> {
        iq.into_owned()
    }
}
