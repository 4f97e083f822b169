//! What a client says beside its stanzas (XEP-0198, XEP-0352): recognised here, decided by the driver.

use super::{Core, State};
use crate::stanza::{StanzaErrorCondition, StanzaFault};
use crate::stream::management::{self, BadNonza, Nonza};
use crate::stream::{Action, StreamHost};
use crate::xml::Framed;

impl Core {
    /// Before there is a resource only an earlier session can be asked for, and that only after the login (XEP-0198
    /// sections 3 and 5). `None`: the element is none of these.
    pub(super) fn take_beside_before_bind(
        &mut self,
        element: &Framed<'_>,
        out: &mut String,
    ) -> Option<Option<Action>> {
        let nonza = management::read(element).filter(|nonza| self.is_offered(nonza))?;
        let refuse = |out: &mut String, condition| {
            management::write_failed(out, condition, None, None);
            Some(None)
        };
        match nonza {
            Ok(Nonza::Resume { previous, handled }) if self.state == State::ExpectBind => {
                self.state = State::AwaitResumed;
                Some(Some(Action::Resume { previous, handled }))
            }
            Ok(Nonza::ClientState(_)) => None,
            Ok(_) => refuse(out, StanzaErrorCondition::UnexpectedRequest),
            Err(_) => refuse(out, StanzaErrorCondition::BadRequest),
        }
    }

    /// An element that is no stanza we can pass on: one of these, a mistake in one stanza, or the end of the stream.
    pub(super) fn take_other(
        &mut self,
        element: &Framed<'_>,
        fault: &StanzaFault,
        host: &dyn StreamHost,
        out: &mut String,
    ) -> Option<Action> {
        if let StanzaFault::Refused { reply, .. } = fault {
            return Some(Action::Answer(reply.as_deref().cloned()));
        }
        match management::read(element).filter(|nonza| self.is_offered(nonza)) {
            Some(Ok(nonza)) => Some(Action::Nonza(nonza)),
            Some(Err(BadNonza { has_answer: false })) => {
                self.break_off(management::unreadable_acknowledgement(), host, out)
            }
            Some(Err(_)) => {
                management::write_failed(out, StanzaErrorCondition::BadRequest, None, None);
                None
            }
            None => self.refuse_stanza(fault, host, out),
        }
    }

    fn is_offered(&self, nonza: &Result<Nonza, BadNonza>) -> bool {
        match nonza {
            Ok(Nonza::ClientState(_)) => self.offers.client_state,
            _ => self.offers.management,
        }
    }
}
