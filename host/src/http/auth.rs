//! The admin token: `Authorization: Bearer TOKEN`, compared in constant time.

use std::net::SocketAddr;

use aws_lc_rs::digest::{SHA256, digest};
use axum::http::{HeaderMap, header};
use subtle::ConstantTimeEq;
use tracing::warn;

use crate::command::{Caller, CommandError, ErrorKind, FrontEnd};
use crate::config::Secret;

/// Who sent a request: an admin with the right token, somebody without credentials, or an error.
pub(super) fn caller(
    headers: &HeaderMap,
    token: Option<&Secret>,
    peer: SocketAddr,
) -> Result<Caller, CommandError> {
    let admin = match bearer(headers)? {
        None => false,
        Some(given) if token.is_some_and(|token| is_same(token.reveal(), given)) => true,
        Some(_) => {
            warn!(target: "audit", from = "http", who = %peer, "a wrong admin token was refused");
            return Err(CommandError::new(
                ErrorKind::BadCredentials,
                "The bearer token is not the admin token.",
            ));
        }
    };
    Ok(Caller { from: FrontEnd::Http, admin, jid: None, who: peer.to_string() })
}

/// What somebody without credentials is told instead of anything that would show what is there.
pub(super) fn credentials_wanted() -> CommandError {
    let message =
        "This path wants the admin token: Authorization: Bearer TOKEN. It is \"admin_token\" in [http].";
    CommandError::new(ErrorKind::BadCredentials, message)
}

/// Whether these headers carry the admin token; it must not reach a module.
pub(super) fn has_token(headers: &HeaderMap, token: Option<&Secret>) -> bool {
    let given = bearer(headers).ok().flatten();
    given.zip(token).is_some_and(|(given, token)| is_same(token.reveal(), given))
}

/// Whether a text is the admin token.
pub fn is_admin_token(token: &Secret, given: &str) -> bool {
    is_same(token.reveal(), given)
}

fn bearer(headers: &HeaderMap) -> Result<Option<&str>, CommandError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let token = value.to_str().ok().and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    match (token, values.next()) {
        (Some(token), None) => Ok(Some(token)),
        _ => Err(CommandError::new(
            ErrorKind::BadCredentials,
            "The Authorization header is not a single bearer token.",
        )),
    }
}

/// Equal digests, so that neither content nor length of the token shows in the time it takes.
fn is_same(token: &str, given: &str) -> bool {
    let (token, given) = (digest(&SHA256, token.as_bytes()), digest(&SHA256, given.as_bytes()));
    token.as_ref().ct_eq(given.as_ref()).into()
}
