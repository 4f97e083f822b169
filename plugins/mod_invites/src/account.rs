//! Accounts by invitation (XEP-0445): a client shows its token before the login, and mod_register asks here before it makes
//! an account.

use crate::Invites;
use crate::book::Shown;
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::datetime::now_ms;
use moult_plugin_api::serde::Deserialize;
use moult_plugin_api::serde_json::{Value, json};
use std::net::IpAddr;
use std::sync::Arc;

#[derive(Deserialize)]
#[serde(crate = "moult_plugin_api::serde")]
pub struct StreamArgs {
    stream: String,
}

#[derive(Deserialize)]
#[serde(crate = "moult_plugin_api::serde")]
pub struct ClaimArgs {
    stream: String,
    account: String,
}

#[derive(Deserialize)]
#[serde(crate = "moult_plugin_api::serde")]
pub struct RegisteredArgs {
    stream: String,
    account: String,
    made: bool,
}

impl Invites {
    /// XEP-0445 section 4. Only here a token can have expired.
    pub(crate) async fn pre_authenticate(self: Arc<Self>, iq: Iq<'static>) -> Result<(), StanzaError> {
        if !is_before_login(iq.from()) {
            return Err(StanzaError::not_allowed("you have an account: invitations are for others"));
        }
        let payload = iq.payload()?;
        if !iq.is_set() || payload.name() != "preauth" {
            return Err(StanzaError::bad_request("a token is shown by a set of <preauth/>"));
        }
        let token = payload.attr("token").filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| StanzaError::bad_request("the token is missing"))?;
        let (mut book, now) = (self.book(), now_ms());
        let invite = book.valid(token, now).filter(|invite| invite.makes_account()).cloned();
        let Some(invite) = invite else {
            self.host.count("refused", 1);
            return Err(StanzaError::item_not_found("The provided token is invalid or expired"));
        };
        if !book.show(iq.from().as_str(), token, invite, now) {
            return Err(StanzaError::new(Condition::ResourceConstraint, "too many are being invited"));
        }
        Ok(())
    }

    /// Whether this stream has shown a token.
    pub(crate) fn invited(&self, args: &StreamArgs) -> Result<Value, CommandError> {
        Ok(json!({"invited": self.book().streams.contains_key(&args.stream)}))
    }

    /// Whether this stream may make that account; its token is its own until `registered`.
    pub(crate) fn claim(&self, args: &ClaimArgs) -> Result<Value, CommandError> {
        let account =
            Jid::parse(&args.account).map_err(|error| CommandError::bad_request(error.to_string()))?;
        let username = account.localpart().unwrap_or_default();
        let (mut book, now) = (self.book(), now_ms());
        let own = book.streams.get(&args.stream).cloned();
        let claim = match own {
            Some(shown) if !shown.invite.username.is_empty() && shown.invite.username != username => {
                "other-name"
            }
            Some(shown) if shown.invite.username != username && book.reserves(username, now) => "reserved",
            Some(shown) if !shown.claimed && book.is_taken(&shown.token) => "used",
            Some(shown) => {
                book.streams.insert(args.stream.clone(), Shown { claimed: true, ..shown });
                "claimed"
            }
            None if book.reserves(username, now) => "reserved",
            None => "none",
        };
        Ok(json!({ "claim": claim }))
    }

    /// The account was made, and the token is used; or it was not, and the stream may try again.
    pub(crate) fn registered(&self, args: &RegisteredArgs) -> Result<Value, CommandError> {
        let shown = {
            let mut book = self.book();
            if args.made {
                book.streams.remove(&args.stream)
            } else {
                if let Some(shown) = book.streams.get_mut(&args.stream) {
                    shown.claimed = false;
                }
                None
            }
        };
        let Some(Shown { token, invite, .. }) = shown else { return Ok(Value::Null) };
        self.use_up(&token, invite.clone(), &args.account)?;
        self.host.count("accounts", 1);
        if invite.makes_contact() {
            self.introduce(&invite.inviter, &args.account);
        }
        Ok(Value::Null)
    }

    /// In memory first: what the store does not take must not be used twice before the next start.
    pub(crate) fn use_up(&self, token: &str, invite: crate::Invite, invitee: &str) -> Result<(), HostError> {
        let used = crate::Invite { invitee: invitee.to_owned(), ..invite };
        self.book().put(token, used.clone());
        self.store().set_json(token, &used).wait()
    }
}

/// The server names the address of a stream that has not logged in.
fn is_before_login(from: &Jid<'_>) -> bool {
    let literal = from.domain().trim_start_matches('[').trim_end_matches(']');
    from.localpart().is_none() && literal.parse::<IpAddr>().is_ok()
}
