//! The client's half of SCRAM-SHA-256 (RFC 5802, RFC 7677), with channel binding if there is something to bind to.

use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Client;

const NONCE: &str = "client-nonce-of-a-test";

/// A channel-binding type and its data.
pub type Binding<'a> = Option<(&'a str, Vec<u8>)>;

/// Logs in up to `<success/>`, whose signature is checked.
pub fn log_in(client: &mut Client, user: &str, password: &str, binding: Binding<'_>) {
    let mechanism = if binding.is_some() { "SCRAM-SHA-256-PLUS" } else { "SCRAM-SHA-256" };
    let (header, bound) = match binding {
        Some((kind, data)) => (format!("p={kind},,"), data),
        None => ("n,,".to_owned(), Vec::new()),
    };
    let bare = format!("n={user},r={NONCE}");
    client.say(&format!(
        "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='{mechanism}'>{}</auth>",
        STANDARD.encode(format!("{header}{bare}"))
    ));
    client.hear("<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>");
    let challenge = decode(&client.hear("</challenge>"), "</challenge>");
    let part = |name: &str| {
        challenge.split(',').find_map(|part| part.strip_prefix(name)).expect("the challenge has its parts")
    };
    let salt = STANDARD.decode(part("s=")).unwrap();
    let salted = salted_password(password, &salt, part("i=").parse().unwrap());
    let binding_input = STANDARD.encode([header.as_bytes(), &bound].concat());
    let without_proof = format!("c={binding_input},r={}", part("r="));
    let auth_message = format!("{bare},{challenge},{without_proof}");
    let proof = STANDARD.encode(proof(&salted, &auth_message));
    client.say(&format!(
        "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{}</response>",
        STANDARD.encode(format!("{without_proof},p={proof}"))
    ));
    client.hear("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>");
    let verdict = decode(&client.hear("</success>"), "</success>");
    let signature = mac(mac(&salted, b"Server Key").as_ref(), auth_message.as_bytes());
    assert_eq!(verdict, format!("v={}", STANDARD.encode(signature)));
}

fn decode(text: &str, end: &str) -> String {
    String::from_utf8(STANDARD.decode(text.trim_end_matches(end)).unwrap()).unwrap()
}

fn salted_password(password: &str, salt: &[u8], iterations: u32) -> [u8; 32] {
    let mut salted = [0; 32];
    let iterations = NonZeroU32::new(iterations).unwrap();
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, password.as_bytes(), &mut salted);
    salted
}

fn proof(salted: &[u8], auth_message: &str) -> Vec<u8> {
    let client_key = mac(salted, b"Client Key");
    let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
    let signature = mac(stored_key.as_ref(), auth_message.as_bytes());
    client_key.as_ref().iter().zip(signature.as_ref()).map(|(key, sign)| key ^ sign).collect()
}

fn mac(key: &[u8], data: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data)
}
