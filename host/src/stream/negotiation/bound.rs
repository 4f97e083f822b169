//! After the login: binding a resource, then stanzas.

use super::{Core, State};
use crate::stanza::{Ingress, Kind, Stanza, StanzaError, StanzaErrorCondition, StanzaFault, StreamError, ns};
use crate::stream::bind::{self, StreamIq};
use crate::stream::{Action, StreamHost};
use crate::xml::Framed;

impl Core {
    pub(super) fn expect_bind(
        &mut self,
        element: Framed<'_>,
        host: &dyn StreamHost,
        out: &mut String,
    ) -> Option<Action> {
        if let Some(taken) = self.take_beside_before_bind(&element, out) {
            return taken;
        }
        let is_stanza = matches!(element.name(), "iq" | "message" | "presence");
        if !is_stanza || element.namespace() != ns::CLIENT {
            return self.unsupported(&element, host, out);
        }
        let stanza = match self.stanza(&element) {
            Ok(stanza) => stanza,
            Err(fault) => return self.refuse_stanza(&fault, host, out),
        };
        let account = self.jid.as_ref()?;
        if bind::recognise(&stanza, account) != Some(StreamIq::Bind) {
            return self.not_authorized("Bind a resource before sending stanzas.", host, out);
        }
        self.negotiation.as_mut()?.bind_id = stanza.id().unwrap_or_default().into_owned();
        self.state = State::AwaitBound;
        Some(Action::Bind(bind::wanted_resource(&stanza)))
    }

    pub(super) fn take_stanza(
        &mut self,
        element: Framed<'_>,
        host: &dyn StreamHost,
        out: &mut String,
    ) -> Option<Action> {
        let stanza = match self.stanza(&element) {
            Ok(stanza) => stanza,
            Err(fault) => return self.take_other(&element, &fault, host, out),
        };
        if stanza.kind() == Kind::Iq
            && let Some(iq) = bind::recognise(&stanza, self.jid.as_ref()?)
        {
            return Some(Action::Answer(answer_late(iq, &stanza)));
        }
        Some(Action::Deliver(stanza))
    }

    pub(super) fn stanza(&self, element: &Framed<'_>) -> Result<Stanza, StanzaFault> {
        let jid = self.jid.as_ref().expect("a stream in this state has logged in");
        Stanza::from_ingress(element, Ingress { from: jid, lang: self.lang.as_deref() })
    }

    pub(super) fn refuse_stanza(
        &mut self,
        fault: &StanzaFault,
        host: &dyn StreamHost,
        out: &mut String,
    ) -> Option<Action> {
        if let Some(condition) = fault.stream_error() {
            return self.break_off(StreamError::new(condition, fault.to_string()), host, out);
        }
        if let StanzaFault::Refused { reply: Some(reply), .. } = fault {
            out.push_str(reply.as_str());
        }
        None
    }
}

/// Bind and session requests on a bound stream: there is one resource per stream, and a session is there already.
fn answer_late(iq: StreamIq, request: &Stanza) -> Option<Stanza> {
    let id = request.id().unwrap_or_default();
    let out = &mut String::new();
    match iq {
        StreamIq::Bind => bind::write_refused(
            out,
            &id,
            &StanzaError::new(StanzaErrorCondition::NotAllowed, "This stream has its resource."),
        ),
        StreamIq::Session => bind::write_done(out, &id),
    }
    Stanza::parse(out.as_bytes()).ok()
}
