//! The mailboxes of services: stanzas to registered domains, timers, idle calls. One at a time, first in first out.

use super::{Entered, Modules, account, enter, id_of, outcome, refused, reopened, timed_out};
use crate::plugin::bridge::invoke::{CallEnd, CallSpec};
use crate::plugin::core::{Core, Incident};
use crate::plugin::gate::Closed;
use crate::plugin::instance::Instance;
use crate::plugin::lane::Work;
use crate::plugin::registry::RouteEntry;
use crate::plugin::services::{BoxFuture, Origin};
use crate::stanza::{Jid, Kind, Stanza, StanzaError, StanzaErrorCondition};
use moult_plugin_api::abi::v1::{call, reply};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Which route table a domain is looked up in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteTable {
    /// Domains of this node.
    Local,
    /// Domains of the cluster.
    Global,
}

impl Modules {
    /// Puts a stanza into the mailbox of the service that owns its domain. `None`: nobody owns it in that table.
    /// `Some(Err)`: its mailbox is full, and the sender must be told so.
    pub fn deliver(
        &self,
        table: RouteTable,
        domain: &str,
        stanza: &Stanza,
    ) -> Option<Result<(), StanzaError>> {
        let tables = self.core.tables();
        let entry = find(&tables, table, domain, stanza)?;
        let slot = &entry.instance.context().slot;
        if slot.is_quarantined() {
            return Some(Err(refused(slot)));
        }
        let core = Arc::clone(&self.core);
        // What all threads count the users of is left alone where the stanza says the same.
        let is_receiver = stanza.to().is_some_and(|to| to.domain() == &*entry.domain);
        let domain = (!is_receiver).then(|| Arc::clone(&entry.domain));
        let delivery = Delivery { core, table, domain, stanza: stanza.clone() };
        let pushed = entry.mailbox.push(Box::new(delivery), self.core.runtime(), slot.queued());
        Some(pushed.map_err(|_| refused(slot)))
    }
}

fn find<'a>(
    snapshot: &'a crate::plugin::registry::Snapshot,
    table: RouteTable,
    domain: &str,
    stanza: &Stanza,
) -> Option<&'a RouteEntry> {
    match table {
        RouteTable::Local => snapshot.local_route(domain),
        RouteTable::Global => {
            let owners = snapshot.global_routes(domain);
            match owners.len() {
                0 | 1 => owners.first(),
                several => owners.get(by_sender(stanza, several)),
            }
        }
    }
}

/// Several owners share the senders: all stanzas of one bare JID go to the same one, so their order is kept.
fn by_sender(stanza: &Stanza, owners: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    stanza.from().map(Jid::bare_str).hash(&mut hasher);
    usize::try_from(hasher.finish() % owners as u64).unwrap_or(0)
}

/// A stanza on its way through a mailbox.
struct Delivery {
    core: Arc<Core>,
    table: RouteTable,
    /// Nothing: that of its receiver.
    domain: Option<Arc<str>>,
    stanza: Stanza,
}

type Handed = Result<(), StanzaError>;

/// What came of one try.
enum Attempt {
    Over(Handed),
    Pending { instance: Arc<Instance>, task: BoxFuture<CallEnd>, started: Instant },
    Closed { instance: Arc<Instance>, closed: Closed },
}

impl Work for Delivery {
    fn begin(self: Box<Self>) -> Option<BoxFuture<()>> {
        match self.attempt() {
            Attempt::Over(handed) => {
                self.bounce(handed);
                None
            }
            unfinished => Some(Box::pin(self.finish(unfinished))),
        }
    }
}

impl Delivery {
    async fn finish(self: Box<Self>, unfinished: Attempt) {
        let slot = match &unfinished {
            Attempt::Over(_) => None,
            Attempt::Pending { instance, .. } | Attempt::Closed { instance, .. } => {
                Some(Arc::clone(&instance.context().slot))
            }
        };
        let deadline = slot.as_ref().map_or(Duration::MAX, |slot| slot.limits().call_deadline);
        let handed = match (tokio::time::timeout(deadline, self.go_on(unfinished)).await, slot) {
            (Ok(handed), _) => handed,
            (Err(_), Some(slot)) => Err(timed_out(&self.core, &slot, 0, call::STANZA, deadline)),
            (Err(_), None) => Ok(()),
        };
        self.bounce(handed);
    }

    async fn go_on(&self, mut attempt: Attempt) -> Handed {
        loop {
            match attempt {
                Attempt::Over(handed) => return handed,
                Attempt::Pending { instance, task, started } => {
                    let end = task.await;
                    return self.over(&instance, &end, started);
                }
                Attempt::Closed { instance, closed } => reopened(&instance, closed).await,
            }
            attempt = self.attempt();
        }
    }

    fn attempt(&self) -> Attempt {
        let found = {
            let tables = self.core.tables();
            find(&tables, self.table, self.domain(), &self.stanza)
                .map(|entry| (Arc::clone(&entry.instance), entry.handler))
        };
        let Some((instance, handler)) = found else {
            return Attempt::Over(Err(StanzaError::new(StanzaErrorCondition::ServiceUnavailable, "")));
        };
        let started = Instant::now();
        instance.touch();
        match enter(&instance, &self.spec(handler, &id_of(&self.stanza))) {
            Entered::Done(end) => Attempt::Over(self.over(&instance, &end, started)),
            Entered::Pending(task) => Attempt::Pending { instance, task, started },
            Entered::Closed(closed) => Attempt::Closed { instance, closed },
        }
    }

    fn domain(&self) -> &str {
        self.domain.as_deref().or_else(|| self.stanza.to().map(Jid::domain)).unwrap_or_default()
    }

    fn over(&self, instance: &Arc<Instance>, end: &CallEnd, started: Instant) -> Handed {
        account(&self.core, instance, end, Some(started));
        follow(&self.core, instance, end)
    }

    fn spec<'a>(&'a self, handler: u64, id: &'a str) -> CallSpec<'a> {
        CallSpec {
            kind: call::STANZA,
            handler,
            from: self.stanza.from().map_or("", Jid::as_str),
            to: self.stanza.to().map_or("", Jid::as_str),
            id,
            name: match self.stanza.kind() {
                Kind::Message => "message",
                Kind::Presence => "presence",
                Kind::Iq => "iq",
            },
            body: self.stanza.bytes(),
            hops: self.stanza.hops(),
            ..CallSpec::default()
        }
    }

    /// Tells the sender what went wrong, if anything did.
    fn bounce(&self, handed: Handed) {
        let Err(error) = handed else { return };
        let (Some(services), Some(reply)) = (self.core.connected(), self.stanza.error_reply(&error)) else {
            return;
        };
        // The server answers in the module's place.
        let origin =
            Origin { module: "".into(), version: "".into(), vhost: self.domain().into(), generation: 0 };
        if let Err(error) = services.route(&origin, reply) {
            tracing::debug!(domain = self.domain(), %error, "an error reply could not be routed");
        }
    }
}

/// Does what a service's flow asks for.
pub(in crate::plugin) fn follow(
    core: &Arc<Core>,
    instance: &Arc<Instance>,
    end: &CallEnd,
) -> Result<(), StanzaError> {
    if !end.is_done() {
        return Err(outcome::internal(end));
    }
    match end.reply.code {
        reply::FLOW_CONTINUE_AFTER => {
            instance.set_idle(end.reply.number);
            crate::plugin::timer::watch_idle(core, instance);
        }
        reply::FLOW_STOP => core.report(Incident::Stop {
            slot: instance.key().clone(),
            generation: instance.generation(),
            reason: end.reply.text.clone(),
        }),
        _ => {}
    }
    Ok(())
}
