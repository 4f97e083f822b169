//! The feature lists of each stage (RFC 6120 section 4.3).

use super::events::{FeatureStage, StreamHost};
use crate::auth::sasl::Offer;
use crate::stanza::ns;
use crate::xml::Writer;

/// What is announced before the login.
pub(super) struct BeforeLogin<'a> {
    pub domain: &'a str,
    /// STARTTLS is possible, and whether it is required.
    pub starttls: Option<Required>,
    /// What a login may use; `None` while TLS has to come first.
    pub offer: Option<&'a Offer>,
}

/// What is offered beside a resource.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offers {
    /// XEP-0198.
    pub management: bool,
    /// XEP-0352.
    pub client_state: bool,
}

/// Whether a feature has to be negotiated before anything else.
#[derive(Clone, Copy)]
pub(super) struct Required(pub bool);

pub(super) fn write_before_login(out: &mut String, host: &dyn StreamHost, features: &BeforeLogin<'_>) {
    out.push_str("<stream:features>");
    let mut writer = Writer::new(out);
    if let Some(Required(required)) = features.starttls {
        writer.start("starttls").attribute("xmlns", ns::TLS);
        if required {
            writer.start("required").end();
        }
        writer.end();
    }
    if let Some(offer) = features.offer {
        write_mechanisms(&mut writer, offer);
        host.write_features(FeatureStage::BeforeLogin, features.domain, out);
    }
    out.push_str("</stream:features>");
}

pub(super) fn write_after_login(out: &mut String, host: &dyn StreamHost, domain: &str, offers: Offers) {
    out.push_str("<stream:features>");
    let mut writer = Writer::new(out);
    writer.start("bind").attribute("xmlns", ns::BIND).end();
    // Clients of RFC 3921's time ask for a session; saying that it is optional spares the others a round trip.
    writer.start("session").attribute("xmlns", ns::SESSION).start("optional").end().end();
    if offers.management {
        writer.start("sm").attribute("xmlns", ns::STREAM_MANAGEMENT).end();
    }
    if offers.client_state {
        writer.start("csi").attribute("xmlns", ns::CLIENT_STATE).end();
    }
    host.write_features(FeatureStage::AfterLogin, domain, out);
    out.push_str("</stream:features>");
}

fn write_mechanisms(writer: &mut Writer<'_>, offer: &Offer) {
    writer.start("mechanisms").attribute("xmlns", ns::SASL);
    for mechanism in offer.mechanisms() {
        writer.element("mechanism", mechanism.name());
    }
    writer.end();
    let types = offer.binding_types();
    if !types.is_empty() {
        writer.start("sasl-channel-binding").attribute("xmlns", ns::SASL_CHANNEL_BINDING);
        for binding in types {
            writer.start("channel-binding").attribute("type", binding.name()).end();
        }
        writer.end();
    }
}
