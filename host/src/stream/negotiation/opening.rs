//! How a stream opens, and how it ends.

use super::{Core, Negotiation, State};
use crate::auth::sasl::ChannelBindings;
use crate::stanza::{Jid, StreamError, StreamErrorCondition};
use crate::stream::features::{self, Required};
use crate::stream::header::{self, Addresses};
use crate::stream::{Action, StreamHost};
use crate::xml::{Framed, StreamHeader};

impl Core {
    pub(super) fn open(
        &mut self,
        header: &StreamHeader,
        host: &dyn StreamHost,
        out: &mut String,
    ) -> Option<Action> {
        match header::check(header, host).and_then(|addresses| self.check_identity(addresses)) {
            Ok(_) if self.negotiation.as_ref().is_some_and(|negotiation| negotiation.is_hopeless()) => {
                let text = "This server wants encryption; connect to a wss: or https: address.";
                let error = StreamError::new(StreamErrorCondition::PolicyViolation, text);
                self.break_off(error, host, out)
            }
            Ok(Addresses { to, from }) => {
                if let Some(other) = self.other_host(&to, host) {
                    self.write_header(&to, from.as_ref(), out);
                    return self.break_off(StreamError::see_other_host(other), host, out);
                }
                self.lang = header::language(header);
                self.write_header(&to, from.as_ref(), out);
                self.announce(to, host, out);
                None
            }
            Err(error) => self.break_off(error, host, out),
        }
    }

    /// Where the client is to go instead (RFC 6120 section 4.9.3.19). Where encryption is wanted it is told under encryption
    /// alone: it shall know who says so.
    fn other_host(&self, domain: &str, host: &dyn StreamHost) -> Option<String> {
        let negotiation = self.negotiation.as_ref()?;
        let is_trusted = negotiation.is_encrypted() || !negotiation.settings.tls_required;
        is_trusted.then(|| host.moved_to(domain)).flatten()
    }

    /// After the login the addresses have to be those of the account (RFC 6120 section 4.7.1).
    pub(super) fn check_identity(&self, addresses: Addresses) -> Result<Addresses, StreamError> {
        use StreamErrorCondition as Condition;
        let Some(account) = &self.jid else { return Ok(addresses) };
        if addresses.to != account.domain() {
            let text = "The login was for another domain than this stream header is addressed to.";
            return Err(StreamError::new(Condition::NotAuthorized, text));
        }
        if addresses.from.as_ref().is_some_and(|from| !from.same_bare(account)) {
            let text = "The stream header's 'from' is not the account that has logged in.";
            return Err(StreamError::new(Condition::InvalidFrom, text));
        }
        Ok(addresses)
    }

    pub(super) fn write_header(&mut self, domain: &str, to: Option<&Jid>, out: &mut String) {
        let id = self.negotiation.as_ref().map_or("", |negotiation| &negotiation.id);
        header::write(out, domain, to, id);
        self.is_open = true;
    }

    pub(super) fn announce(&mut self, domain: String, host: &dyn StreamHost, out: &mut String) {
        if self.jid.is_some() {
            features::write_after_login(out, host, &domain, self.offers);
            self.state = State::ExpectBind;
        } else if let Some(negotiation) = &mut self.negotiation {
            negotiation.announce_before_login(domain.clone(), host, out);
            self.state = State::ExpectTlsOrAuth;
        }
        if let Some(negotiation) = &mut self.negotiation {
            negotiation.domain = Some(domain);
        }
    }

    pub(super) fn not_authorized(
        &mut self,
        text: &str,
        host: &dyn StreamHost,
        out: &mut String,
    ) -> Option<Action> {
        self.break_off(StreamError::new(StreamErrorCondition::NotAuthorized, text), host, out)
    }

    pub(super) fn unsupported(
        &mut self,
        element: &Framed<'_>,
        host: &dyn StreamHost,
        out: &mut String,
    ) -> Option<Action> {
        let text = format!("<{} xmlns='{}'/> is not expected here.", element.name(), element.namespace());
        self.break_off(StreamError::new(StreamErrorCondition::UnsupportedStanzaType, text), host, out)
    }

    pub(super) fn break_off(
        &mut self,
        error: StreamError,
        host: &dyn StreamHost,
        out: &mut String,
    ) -> Option<Action> {
        if self.is_over() {
            return None;
        }
        self.write_end(Some(&error), host, out);
        self.state = State::Closing;
        Some(Action::Failed)
    }

    /// An error may have to be preceded by our header (RFC 6120 section 4.9.1.2).
    pub(super) fn write_end(&mut self, error: Option<&StreamError>, host: &dyn StreamHost, out: &mut String) {
        if !self.is_open {
            let domain = self.negotiation.as_mut().and_then(|negotiation| negotiation.domain.take());
            self.write_header(&domain.unwrap_or_else(|| host.default_domain()), None, out);
        }
        if let Some(error) = error {
            error.write(out);
        }
        out.push_str(header::CLOSE);
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, State::Closing | State::Closed)
    }
}

impl Negotiation {
    fn announce_before_login(&mut self, domain: String, host: &dyn StreamHost, out: &mut String) {
        let encrypted = self.is_encrypted();
        let required = self.settings.tls_required;
        self.offer =
            (encrypted || !required).then(|| host.offer(&domain, encrypted, self.channel_bindings()));
        let starttls = (self.may_start_tls() && host.offers_tls()).then_some(Required(required));
        let offer = self.offer.as_ref();
        features::write_before_login(out, host, &features::BeforeLogin { domain: &domain, starttls, offer });
    }

    /// What comes by HTTP is encrypted below it or not at all (RFC 7395 section 3.1, XEP-0206 section 2).
    pub(super) fn may_start_tls(&self) -> bool {
        self.tls.is_none() && self.via.http_is_secure().is_none()
    }

    fn is_encrypted(&self) -> bool {
        self.tls.is_some() || self.via.http_is_secure() == Some(true)
    }

    /// Neither encrypted nor to become so, although it has to be.
    fn is_hopeless(&self) -> bool {
        self.settings.tls_required && self.via.http_is_secure() == Some(false)
    }

    fn channel_bindings(&self) -> ChannelBindings {
        let Some(tls) = &self.tls else { return ChannelBindings::default() };
        ChannelBindings {
            tls_exporter: tls.exporter.map(Vec::from),
            tls_server_end_point: tls.server_end_point.as_deref().map(Vec::from),
        }
    }
}
