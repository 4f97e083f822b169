//! Hook chains on the way of a stanza, and those that only tell of an event.

use serde::Serialize;

use super::{Router, Routing};
use crate::plugin::call::{Dispatch, HookCall, HookVerdict, Passing};
use crate::plugin::hook::HookPoint;
use crate::session::Session;
use crate::stanza::{Stanza, StanzaError, StanzaErrorCondition};

/// The reason with which a hook says that it has answered a request itself.
const ANSWERED: &str = "answered";

impl Router {
    /// Runs a chain that may replace or drop the stanza, and goes on with `then`.
    pub(super) fn hooked(
        &self,
        point: HookPoint,
        vhost: &str,
        stanza: Stanza,
        then: impl FnOnce(&Self, Stanza) -> Routing + Send + 'static,
    ) -> Routing {
        match self.inner.modules.pass(point, vhost, Passing::of(&stanza)) {
            None => then(self, stanza),
            Some(ended) => self.after_hooks(ended, stanza, then),
        }
    }

    /// Goes on with what a chain made of the stanza.
    pub(super) fn after_hooks(
        &self,
        ended: Dispatch<HookVerdict>,
        stanza: Stanza,
        then: impl FnOnce(&Self, Stanza) -> Routing + Send + 'static,
    ) -> Routing {
        self.after(ended, move |router, verdict| match verdict.stanza {
            Some(passed) => then(router, passed),
            None => router.dropped(&stanza, &verdict),
        })
    }

    /// Runs a chain that may handle the stanza; `otherwise` is what happens if none of its functions did.
    pub(super) fn offered(
        &self,
        point: HookPoint,
        vhost: &str,
        stanza: Stanza,
        args: String,
        otherwise: impl FnOnce(&Self, Stanza) -> Routing + Send + 'static,
    ) -> Routing {
        let passing = Passing { args: &args, ..Passing::of(&stanza) };
        let Some(ended) = self.inner.modules.pass(point, vhost, passing) else {
            return otherwise(self, stanza);
        };
        self.after(ended, move |router, verdict| match verdict.stanza {
            Some(passed) if verdict.stopped.is_none() => otherwise(router, passed),
            _ => Routing::done(),
        })
    }

    /// Tells of an event of a session. `args` is asked for only if somebody listens.
    pub(super) fn tell<A: Serialize>(
        &self,
        point: HookPoint,
        session: &Session,
        stanza: Option<&Stanza>,
        args: impl FnOnce() -> A,
    ) -> Routing {
        if !self.inner.modules.is_hooked(point, session.vhost()) {
            return Routing::done();
        }
        let from = Some(session.full_jid().clone());
        let call = HookCall { from, args: json(&args()), stanza: stanza.cloned(), ..HookCall::default() };
        let ended = self.inner.modules.run_hooks(point, session.vhost(), call);
        self.after(ended, |_, _| Routing::done())
    }

    /// Goes on when a call has ended: now, or when it is awaited.
    pub(super) fn after<T: Send + 'static>(
        &self,
        call: Dispatch<T>,
        then: impl FnOnce(&Self, T) -> Routing + Send + 'static,
    ) -> Routing {
        match call {
            Dispatch::Ready(end) => then(self, end),
            waiting => {
                let router = self.clone();
                Routing::later(async move {
                    let end = waiting.wait().await;
                    then(&router, end).await;
                })
            }
        }
    }

    /// A hook dropped the stanza. A request is answered in its place, unless it says that it has answered.
    pub(super) fn dropped(&self, stanza: &Stanza, verdict: &HookVerdict) -> Routing {
        self.inner.counts.stopped_by_hooks();
        let reason = verdict.stopped.as_ref().map_or("", |stopped| stopped.reason.as_str());
        if !super::is_request(stanza) || reason == ANSWERED {
            return Routing::done();
        }
        let named = StanzaErrorCondition::from_name(reason);
        let condition = named.unwrap_or(StanzaErrorCondition::ServiceUnavailable);
        self.bounce(stanza, StanzaError::from(condition))
    }
}

/// The arguments of a hook; all of them are plain structs of texts and numbers.
pub(super) fn json(args: &impl Serialize) -> String {
    serde_json::to_string(args).unwrap_or_default()
}
