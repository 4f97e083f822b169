//! Invitations (XEP-0445): mod_invites knows them. It is asked whether a stream has shown one, and told what became of it.
//! Without that module nobody is invited, and nothing is reserved.

use crate::Register;
use moult_plugin_api::prelude::*;
use moult_plugin_api::serde_json::{Value, json};
use std::time::Duration;

const MODULE: &str = "mod_invites";
const TIMEOUT: Duration = Duration::from_secs(5);

/// What an invitation says to an account of that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// There is none.
    None,
    /// It is this stream's to use, until it is told what became of it.
    Claimed,
}

impl Register {
    async fn ask(&self, method: &str, args: &Value) -> Option<Value> {
        match self.host.request(MODULE, method, args, TIMEOUT).await {
            Ok(answer) => Some(answer),
            Err(error) => {
                debug!(self.host, "there are no invitations: {error}");
                None
            }
        }
    }

    /// Whether this stream has shown an invitation.
    pub(crate) async fn is_invited(&self, stream: &Jid<'_>) -> bool {
        let answer = self.ask("invited", &json!({"stream": stream.as_str()})).await;
        answer.is_some_and(|answer| answer["invited"] == true)
    }

    /// Takes the stream's invitation for an account, if it has one. A name that another invitation reserves is refused.
    pub(crate) async fn claim(&self, stream: &Jid<'_>, account: &Jid<'_>) -> Result<Claim, StanzaError> {
        let args = json!({"stream": stream.as_str(), "account": account.as_str()});
        let answer = self.ask("claim", &args).await.unwrap_or_default();
        match answer["claim"].as_str() {
            Some("claimed") => Ok(Claim::Claimed),
            Some("reserved") => Err(StanzaError::new(Condition::Conflict, "this name is reserved")),
            Some("other-name") => {
                Err(StanzaError::new(Condition::NotAcceptable, "the invitation is for another name"))
            }
            Some("used") => Err(StanzaError::not_allowed("the invitation has been used meanwhile")),
            _ => Ok(Claim::None),
        }
    }

    /// The account was made, or was not and the invitation may be used again.
    pub(crate) async fn tell_inviter(&self, stream: &Jid<'_>, account: &Jid<'_>, made: bool) {
        let args = json!({"stream": stream.as_str(), "account": account.as_str(), "made": made});
        if self.ask("registered", &args).await.is_none() && made {
            warn!(self.host.about(account), "the invitation could not be marked as used");
        }
    }
}
