//! One request to its handler, one answer back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::handlers::IqHandlers;
use super::owed::OwedAnswers;
use crate::plugin::call::{Dispatch, IqCall, IqOutcome};
use crate::plugin::registration::IqTarget;
use crate::stanza::{Stanza, StanzaError, StanzaErrorCondition};

/// The answer to send, or none because the module gave it or owes it.
pub type Answer = Option<Stanza>;

/// Sends IQ requests to their handlers. Cheap to clone.
#[derive(Clone)]
pub struct Dispatcher {
    handlers: Arc<dyn IqHandlers>,
    owed: Arc<OwedAnswers>,
    deadline: Arc<ArcSwap<Duration>>,
}

impl Dispatcher {
    /// A dispatcher over these handlers; `deadline` is how long a module may owe an answer.
    pub fn new(handlers: Arc<dyn IqHandlers>, owed: Arc<OwedAnswers>, deadline: Duration) -> Self {
        Self { handlers, owed, deadline: Arc::new(ArcSwap::from_pointee(deadline)) }
    }

    /// How long a module may owe an answer.
    pub fn deadline(&self) -> Duration {
        **self.deadline.load()
    }

    /// Changes it for requests from now on.
    pub fn set_deadline(&self, deadline: Duration) {
        self.deadline.store(Arc::new(deadline));
    }

    /// Handles a get or set to a vhost or to an account on it (RFC 6120 sections 8.2.3 and 10.3.3).
    pub fn dispatch(&self, vhost: &str, target: IqTarget, request: &Stanza) -> Dispatch<Answer> {
        let payload = match request.payload() {
            Some(payload) if request.child_count() == 1 => payload,
            _ => return Dispatch::Ready(not_one_payload(request)),
        };
        match self.handlers.handle(IqCall { vhost, target, ns: payload.ns, stanza: request }) {
            // RFC 6120 section 8.4: a namespace that nobody here understands.
            None => Dispatch::Ready(request.error_reply(&StanzaErrorCondition::ServiceUnavailable.into())),
            Some(Dispatch::Ready(outcome)) => Dispatch::Ready(self.answer(request, outcome)),
            Some(Dispatch::Later(running)) => {
                let (this, request) = (self.clone(), request.clone());
                Dispatch::Later(Box::pin(async move { this.answer(&request, running.await) }))
            }
            Some(Dispatch::Queued(running)) => {
                let (this, request) = (self.clone(), request.clone());
                Dispatch::Queued(running.map(move |outcome| this.answer(&request, outcome)))
            }
        }
    }

    fn answer(&self, request: &Stanza, outcome: IqOutcome) -> Answer {
        if self.owed.take_early_answer(request) {
            return None;
        }
        match outcome {
            IqOutcome::Result(payload) => result(request, &payload),
            IqOutcome::Error(error) => request.error_reply(&error),
            IqOutcome::Ignore => match self.owed.owe(request, Instant::now(), self.deadline()) {
                Ok(()) => None,
                Err(_) => request.error_reply(&StanzaErrorCondition::ResourceConstraint.into()),
            },
        }
    }
}

fn not_one_payload(request: &Stanza) -> Answer {
    let text = "An IQ request must have exactly one child element.";
    request.error_reply(&StanzaError::new(StanzaErrorCondition::BadRequest, text))
}

fn result(request: &Stanza, payload: &[u8]) -> Answer {
    request.iq_result(payload).map_or_else(
        |fault| {
            let to = request.to().map(tracing::field::display);
            tracing::error!(to, %fault, "a module answered an IQ with a payload that is not XML");
            request.error_reply(&StanzaErrorCondition::InternalServerError.into())
        },
        Some,
    )
}
