//! The elements that carry SASL (RFC 6120 section 6.4). What is in them is the business of `auth`.

use super::LoginStep;
use crate::auth::sasl::{SaslCondition, SaslFailure, decode, encode};
use crate::stanza::ns;
use crate::xml::{Framed, Writer};

/// Reads `<auth/>`.
pub(super) fn read_auth(element: &Framed<'_>) -> Result<LoginStep, SaslFailure> {
    let Some(mechanism) = element.attribute("mechanism") else {
        let text = Some("The element has to name a mechanism.");
        return Err(SaslFailure { condition: SaslCondition::InvalidMechanism, text });
    };
    let initial = decode(&element.to_element().text())?;
    Ok(LoginStep::Start { mechanism: mechanism.into_owned(), initial })
}

/// Reads `<response/>`.
pub(super) fn read_response(element: &Framed<'_>) -> Result<LoginStep, SaslFailure> {
    Ok(LoginStep::Respond(decode(&element.to_element().text())?.unwrap_or_default()))
}

pub(super) fn write_challenge(out: &mut String, data: &[u8]) {
    Writer::new(out).start("challenge").attribute("xmlns", ns::SASL).text(&encode(data)).end();
}

pub(super) fn write_success(out: &mut String, additional: Option<&[u8]>) {
    let mut writer = Writer::new(out);
    writer.start("success").attribute("xmlns", ns::SASL);
    if let Some(data) = additional {
        writer.text(&encode(data));
    }
    writer.end();
}

pub(super) fn write_failure(out: &mut String, failure: SaslFailure) {
    let mut writer = Writer::new(out);
    writer.start("failure").attribute("xmlns", ns::SASL).start(failure.condition.name()).end();
    if let Some(text) = failure.text {
        writer.start("text").attribute("xml:lang", "en").text(text).end();
    }
    writer.end();
}
