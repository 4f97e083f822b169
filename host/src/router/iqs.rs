//! IQ requests that this server answers itself, and requests that only a module's own domain can answer.

use std::sync::Arc;
use std::time::Instant;

use super::{Modules, Router, Routing};
use crate::iq::{Answer, IqHandlers};
use crate::plugin::call::{Dispatch, IqCall, IqOutcome, RouteTable};
use crate::plugin::registration::IqTarget;
use crate::stanza::{Stanza, StanzaErrorCondition};

/// The modules as the dispatcher sees them.
pub(super) struct ModuleHandlers(pub Arc<dyn Modules>);

impl IqHandlers for ModuleHandlers {
    fn handle(&self, request: IqCall<'_>) -> Option<Dispatch<IqOutcome>> {
        self.0.handle(request)
    }
}

impl Router {
    /// Lets the handler answer. A handler that runs in the caller's task keeps the caller; any other does not.
    pub(super) fn handle_iq(&self, target: IqTarget, request: &Stanza) -> Routing {
        let Some(to) = request.to() else { return Routing::done() };
        self.inner.counts.iq_handled();
        match self.inner.iqs.dispatch(to.domain(), target, request) {
            Dispatch::Ready(answer) => self.answered(answer),
            Dispatch::Later(running) => {
                let router = self.clone();
                Routing::later(async move { router.answered(running.await).await })
            }
            Dispatch::Queued(running) => {
                let router = self.clone();
                running.then(move |answer| {
                    if let Some(reply) = answer {
                        router.detached_or_log(reply);
                    }
                });
                Routing::done()
            }
        }
    }

    fn answered(&self, answer: Answer) -> Routing {
        answer.map_or(Routing::done(), |reply| self.dispatch(reply))
    }

    /// Gives a stanza to the module that owns its domain in `table`. A request is owed an answer from then on, because the
    /// module can answer it only by routing one.
    pub(super) fn to_module(&self, stanza: Stanza, table: RouteTable) -> Routing {
        let domain = stanza.to().map_or("", |to| to.domain());
        let owed = super::is_request(&stanza);
        if owed && self.inner.owed.owe(&stanza, Instant::now(), self.inner.iqs.deadline()).is_err() {
            return self.bounce(&stanza, StanzaErrorCondition::ResourceConstraint.into());
        }
        let taken = self.inner.modules.deliver(table, domain, &stanza);
        if owed && !matches!(taken, Some(Ok(()))) {
            self.inner.owed.forget(&stanza);
        }
        self.inner.counts.to_modules();
        match taken {
            Some(Ok(())) => Routing::done(),
            Some(Err(error)) => self.bounce(&stanza, error),
            // It was taken out of the tables since the look-up.
            None => self.to_elsewhere(&stanza),
        }
    }

    /// Whether a module's answer may go out; see [`crate::iq::OwedAnswers`].
    pub(super) fn settle_owed(&self, answer: &Stanza) -> bool {
        self.inner.owed.settle(answer, Instant::now(), self.inner.iqs.deadline())
    }
}
