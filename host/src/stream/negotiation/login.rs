//! Before the login: STARTTLS, SASL, and the few IQs that the host takes from strangers.

use super::{Core, State};
use crate::auth::sasl::{SaslCondition, SaslFailure};
use crate::stanza::{Jid, Stanza, StreamError, StreamErrorCondition, ns};
use crate::stream::{Action, LoginStep, StreamHost, header, sasl};
use crate::xml::{Framed, Writer};

impl Core {
    pub(super) fn expect_tls_or_auth(
        &mut self,
        element: Framed<'_>,
        host: &dyn StreamHost,
        out: &mut String,
    ) -> Option<Action> {
        let namespace = element.namespace();
        match (element.name(), &*namespace) {
            ("starttls", ns::TLS) => Some(self.start_tls(host, out)),
            ("auth", ns::SASL) => self.begin_login(&element, host, out),
            ("response", ns::SASL) => {
                let text = Some("There is no login to respond to.");
                let failure = SaslFailure { condition: SaslCondition::MalformedRequest, text };
                self.fail_login(failure, host, out)
            }
            ("abort", ns::SASL) => {
                let failure = SaslFailure { condition: SaslCondition::Aborted, text: None };
                self.fail_login(failure, host, out)
            }
            ("iq", ns::CLIENT) if self.may_log_in() => {
                drop(namespace);
                self.take_before_login(element, host, out)
            }
            ("iq" | "message" | "presence", ns::CLIENT) => {
                self.not_authorized("Log in before sending stanzas.", host, out)
            }
            _ => match self.take_beside_before_bind(&element, out) {
                Some(refused) => refused,
                None => self.unsupported(&element, host, out),
            },
        }
    }

    pub(super) fn start_tls(&mut self, host: &dyn StreamHost, out: &mut String) -> Action {
        let is_plain = self.negotiation.as_ref().is_some_and(|negotiation| negotiation.may_start_tls());
        if !is_plain || !host.offers_tls() {
            return self.refuse_tls(out);
        }
        Writer::new(out).start("proceed").attribute("xmlns", ns::TLS).end();
        self.state = State::AwaitTls;
        Action::StartTls
    }

    /// RFC 6120 section 5.4.2.2; also for bytes that were sent along with `<starttls/>` in the hope that they would be
    /// taken for encrypted ones.
    pub(super) fn refuse_tls(&mut self, out: &mut String) -> Action {
        if self.state == State::AwaitTls {
            let proceed = out.rfind("<proceed").expect("it was written in the same step");
            out.truncate(proceed);
        }
        Writer::new(out).start("failure").attribute("xmlns", ns::TLS).end();
        out.push_str(header::CLOSE);
        self.state = State::Closing;
        Action::Failed
    }

    pub(super) fn begin_login(
        &mut self,
        element: &Framed<'_>,
        host: &dyn StreamHost,
        out: &mut String,
    ) -> Option<Action> {
        if !self.may_log_in() {
            let failure = SaslFailure { condition: SaslCondition::EncryptionRequired, text: None };
            return self.fail_login(failure, host, out);
        }
        let step = sasl::read_auth(element);
        if let (Ok(LoginStep::Start { mechanism, .. }), Some(negotiation)) = (&step, &mut self.negotiation) {
            negotiation.mechanism.clone_from(mechanism);
        }
        self.login(step, host, out)
    }

    pub(super) fn expect_sasl_response(
        &mut self,
        element: &Framed<'_>,
        host: &dyn StreamHost,
        out: &mut String,
    ) -> Option<Action> {
        let namespace = element.namespace();
        match (element.name(), &*namespace) {
            ("response", ns::SASL) => self.login(sasl::read_response(element), host, out),
            ("abort", ns::SASL) => self.login(Ok(LoginStep::Abort), host, out),
            ("auth", ns::SASL) => self.begin_login(element, host, out),
            ("iq" | "message" | "presence", ns::CLIENT) => {
                self.not_authorized("Log in before sending stanzas.", host, out)
            }
            _ => self.unsupported(element, host, out),
        }
    }

    pub(super) fn login(
        &mut self,
        step: Result<LoginStep, SaslFailure>,
        host: &dyn StreamHost,
        out: &mut String,
    ) -> Option<Action> {
        match step {
            Ok(step) => {
                self.state = State::AwaitLogin;
                Some(Action::Login(step))
            }
            Err(failure) => self.fail_login(failure, host, out),
        }
    }

    pub(super) fn fail_login(
        &mut self,
        failure: SaslFailure,
        host: &dyn StreamHost,
        out: &mut String,
    ) -> Option<Action> {
        sasl::write_failure(out, failure);
        self.state = State::ExpectTlsOrAuth;
        let negotiation = self.negotiation.as_mut()?;
        negotiation.failed_logins += 1;
        if negotiation.failed_logins < negotiation.settings.login_attempts {
            return None;
        }
        let error = StreamError::new(StreamErrorCondition::PolicyViolation, "Too many logins have failed.");
        self.break_off(error, host, out)
    }

    pub(super) fn take_before_login(
        &mut self,
        element: Framed<'_>,
        host: &dyn StreamHost,
        out: &mut String,
    ) -> Option<Action> {
        let domain = self.negotiation.as_ref().and_then(|negotiation| negotiation.domain.as_deref());
        let Ok(peer) = Jid::from_parts(None, domain.unwrap_or_default(), None) else {
            return self.not_authorized("Log in before sending stanzas.", host, out);
        };
        match Stanza::from_stream(element, &peer) {
            Ok(stanza) => {
                self.state = State::AwaitBeforeLogin;
                Some(Action::BeforeLogin(stanza))
            }
            Err(fault) => self.refuse_stanza(&fault, host, out),
        }
    }

    /// Whether a login is possible on this stream as it is.
    pub(super) fn may_log_in(&self) -> bool {
        self.negotiation.as_ref().is_some_and(|negotiation| negotiation.offer.is_some())
    }
}
