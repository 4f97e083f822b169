//! One invitation, and the links that carry it.

use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::digest::{hex, random_token};
use moult_plugin_api::sdk::sha::sha256;
use moult_plugin_api::serde::{Deserialize, Serialize};
use std::fmt::Write;

/// What an invitation is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(crate = "moult_plugin_api::serde", rename_all = "snake_case")]
pub enum Kind {
    /// To become a contact of the inviter.
    RosterOnly,
    /// To make an account.
    AccountOnly,
    /// To make an account and become a contact of the inviter.
    AccountSubscription,
}

/// An invitation. Times are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(crate = "moult_plugin_api::serde")]
pub struct Invite {
    #[serde(rename = "type")]
    pub kind: Kind,
    /// The bare JID of who invites; empty for the server itself.
    #[serde(default)]
    pub inviter: String,
    /// The name that the account must have; empty where it may be chosen.
    #[serde(default)]
    pub username: String,
    /// Whether an account may be made with it, where it is for a contact.
    #[serde(default)]
    pub may_register: bool,
    pub created: i64,
    pub expires: i64,
    /// Who has used it; empty before.
    #[serde(default)]
    pub invitee: String,
}

impl Invite {
    /// Whether it can still be used.
    pub fn is_valid(&self, now: i64) -> bool {
        self.invitee.is_empty() && self.expires > now
    }

    /// Whether an account may be made with it.
    pub fn makes_account(&self) -> bool {
        self.kind != Kind::RosterOnly || self.may_register
    }

    /// Whether inviter and invited become contacts.
    pub fn makes_contact(&self) -> bool {
        self.kind != Kind::AccountOnly && !self.inviter.is_empty()
    }

    /// The link, as XEP-0401 has it.
    pub fn uri(&self, vhost: &str, token: &str) -> String {
        match self.kind {
            Kind::RosterOnly => {
                let ibr = if self.may_register { ";ibr=y" } else { "" };
                format!("xmpp:{}?roster;preauth={token}{ibr}", encoded(&self.inviter))
            }
            _ if self.username.is_empty() => format!("xmpp:{}?register;preauth={token}", encoded(vhost)),
            _ => {
                let account = format!("{}@{vhost}", self.username);
                format!("xmpp:{}?register;preauth={token}", encoded(&account))
            }
        }
    }
}

/// 128 bits that nobody can guess, in letters and digits (XEP-0379 section 5.1).
pub fn new_token() -> Result<String, StanzaError> {
    let random =
        random_token(32).map_err(|error| StanzaError::internal(format!("no random bytes: {error}")))?;
    Ok(hex(&sha256(random.as_bytes())[..16]))
}

/// A bare JID within an XMPP URI (RFC 5122 section 2.2).
fn encoded(jid: &str) -> String {
    let mut text = String::with_capacity(jid.len());
    for byte in jid.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~@".contains(&byte) {
            text.push(char::from(byte));
        } else {
            write!(text, "%{byte:02X}").expect("a String takes all that is written");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_those_of_the_xep() {
        let invite = Invite {
            kind: Kind::RosterOnly,
            inviter: "o'neil@montague.net".to_owned(),
            username: String::new(),
            may_register: false,
            created: 0,
            expires: 10,
            invitee: String::new(),
        };
        assert_eq!(invite.uri("montague.net", "T"), "xmpp:o%27neil@montague.net?roster;preauth=T");
        let open = Invite { may_register: true, ..invite.clone() };
        assert_eq!(open.uri("montague.net", "T"), "xmpp:o%27neil@montague.net?roster;preauth=T;ibr=y");
        let account = Invite { kind: Kind::AccountOnly, ..invite };
        assert_eq!(account.uri("montague.net", "T"), "xmpp:montague.net?register;preauth=T");
        let named = Invite { username: "jül&iet".to_owned(), ..account };
        assert_eq!(named.uri("montague.net", "T"), "xmpp:j%C3%BCl%26iet@montague.net?register;preauth=T");
        assert!(named.is_valid(9) && !named.is_valid(10));
    }

    #[test]
    fn tokens_are_letters_and_digits_and_differ() {
        let (one, other) = (new_token().unwrap(), new_token().unwrap());
        assert!(one != other && one.len() == 32 && one.bytes().all(|b| b.is_ascii_alphanumeric()));
    }
}
