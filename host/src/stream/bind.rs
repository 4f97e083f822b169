//! Resource binding (RFC 6120 section 7) and the session request of older clients (RFC 3921 section 3).
//!
//! The answers carry no addresses, as in the RFC's examples: the client does not know its full JID yet.

use crate::stanza::{IqType, Jid, Stanza, StanzaError, StanzaType, ns};
use crate::xml::Writer;

/// What an IQ means to the stream itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StreamIq {
    /// A request for a resource.
    Bind,
    /// A request for a session, which has nothing left to do.
    Session,
}

/// Recognises an IQ set that is addressed to the stream: to nobody, to the account, or to its domain.
pub(super) fn recognise(stanza: &Stanza, account: &Jid) -> Option<StreamIq> {
    if stanza.type_() != StanzaType::Iq(IqType::Set) {
        return None;
    }
    let iq = match stanza.payload().map(|payload| (payload.name, payload.ns)) {
        Some(("bind", ns::BIND)) => StreamIq::Bind,
        Some(("session", ns::SESSION)) => StreamIq::Session,
        _ => return None,
    };
    let is_own = |to: &Jid| to.is_bare() && (to.same_bare(account) || to.as_str() == account.domain());
    stanza.to().is_none_or(is_own).then_some(iq)
}

/// The resource that a bind request wants; an empty one counts as none.
pub(super) fn wanted_resource(request: &Stanza) -> Option<String> {
    let element = request.to_element();
    let resource = element.child("bind", ns::BIND)?.child("resource", ns::BIND)?.text();
    (!resource.is_empty()).then_some(resource)
}

/// Answers a bind request.
pub(super) fn write_bound(out: &mut String, id: &str, jid: &Jid) {
    let mut writer = Writer::new(out);
    writer.start("iq").attribute("type", "result").attribute("id", id);
    writer.start("bind").attribute("xmlns", ns::BIND).element("jid", jid.as_str()).end().end();
}

/// Answers a session request.
pub(super) fn write_done(out: &mut String, id: &str) {
    Writer::new(out).start("iq").attribute("type", "result").attribute("id", id).end();
}

/// Refuses either.
pub(super) fn write_refused(out: &mut String, id: &str, error: &StanzaError) {
    let mut xml = String::new();
    error.write(&mut xml);
    Writer::new(out).start("iq").attribute("type", "error").attribute("id", id).raw(&xml).end();
}
