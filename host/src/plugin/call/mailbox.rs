//! The mailboxes of services: stanzas to registered domains, timers, idle calls. One at a time, first in first out.

use super::{Entered, Modules, account, enter, id_of, outcome, refused, reopened, timed_out};
use crate::plugin::bridge::invoke::{CallEnd, CallSpec};
use crate::plugin::core::{Core, Incident};
use crate::plugin::instance::Instance;
use crate::plugin::registry::RouteEntry;
use crate::plugin::services::Origin;
use crate::plugin::slot::Slot;
use crate::stanza::{Jid, Kind, Stanza, StanzaError, StanzaErrorCondition};
use moult_plugin_api::abi::v1::{call, reply};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Instant;

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
        let delivery = Delivery { table, domain: Arc::clone(&entry.domain), stanza: stanza.clone() };
        let (core, of) = (Arc::clone(&self.core), Arc::clone(slot));
        let job = Box::pin(async move { delivery.run(&core, &of).await });
        let pushed = entry.mailbox.push(job, self.core.runtime(), slot.queued());
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
    table: RouteTable,
    domain: Arc<str>,
    stanza: Stanza,
}

impl Delivery {
    async fn run(&self, core: &Arc<Core>, slot: &Slot) {
        let deadline = slot.limits().call_deadline;
        let error = match tokio::time::timeout(deadline, self.hand_over(core)).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(_) => timed_out(core, slot, 0, call::STANZA, deadline),
        };
        self.bounce(core, slot, &error);
    }

    async fn hand_over(&self, core: &Arc<Core>) -> Result<(), StanzaError> {
        loop {
            let found = {
                let tables = core.tables();
                find(&tables, self.table, &self.domain, &self.stanza)
                    .map(|entry| (Arc::clone(&entry.instance), entry.handler))
            };
            let Some((instance, handler)) = found else {
                return Err(StanzaError::new(StanzaErrorCondition::ServiceUnavailable, ""));
            };
            let started = Some(Instant::now());
            instance.touch();
            let end = match enter(&instance, &self.spec(handler, &id_of(&self.stanza))) {
                Entered::Done(end) => end,
                Entered::Pending(task) => task.await,
                Entered::Closed(closed) => {
                    reopened(&instance, closed).await;
                    continue;
                }
            };
            account(core, &instance, &end, started);
            return follow(core, &instance, &end);
        }
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

    fn bounce(&self, core: &Core, slot: &Slot, error: &StanzaError) {
        let (Some(services), Some(reply)) = (core.connected(), self.stanza.error_reply(error)) else {
            return;
        };
        let (module, vhost) = (slot.key.module.clone(), slot.key.vhost.clone());
        let origin = Origin { module, version: "".into(), vhost, generation: 0 };
        if let Err(error) = services.route(&origin, reply) {
            tracing::debug!(module = %slot.key, %error, "an error reply could not be routed");
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
