//! PLAIN, the server side (RFC 4616): one message, `[authzid] NUL authcid NUL passwd`. Offered under TLS only.

use zeroize::Zeroizing;

use super::name::Name;
use super::sasl::{Offer, SaslCondition, SaslFailure, Step};

/// One exchange.
pub(super) struct Plain {
    vhost: String,
    state: State,
}

/// Named for what is awaited.
enum State {
    Message,
    Verdict { localpart: String },
    Nothing,
}

impl Plain {
    /// Awaits the client's message.
    pub(super) fn new(offer: &Offer) -> Plain {
        Plain { vhost: offer.vhost.clone(), state: State::Message }
    }

    /// Takes the client's message.
    pub(super) fn respond(&mut self, message: &[u8]) -> Result<Step, SaslFailure> {
        let State::Message = std::mem::replace(&mut self.state, State::Nothing) else {
            return Err(SaslCondition::MalformedRequest.into());
        };
        let (authzid, localpart, password) = parse(message)?;
        // What cannot be a name is nobody's name.
        let name = Name::parse(&self.vhost, localpart).map_err(|_| SaslCondition::NotAuthorized)?;
        if !name.may_act_as(authzid) {
            return Err(SaslCondition::InvalidAuthzid.into());
        }
        let localpart = name.localpart;
        self.state = State::Verdict { localpart: localpart.clone() };
        Ok(Step::NeedCheck { localpart, password: Zeroizing::new(password.into()) })
    }

    /// Takes the verdict on the password.
    pub(super) fn checked(&mut self, correct: bool) -> Result<Step, SaslFailure> {
        match std::mem::replace(&mut self.state, State::Nothing) {
            State::Verdict { localpart } if correct => Ok(Step::Success { localpart, additional: None }),
            State::Verdict { .. } => Err(SaslCondition::NotAuthorized.into()),
            State::Message | State::Nothing => Err(SaslCondition::MalformedRequest.into()),
        }
    }
}

fn parse(message: &[u8]) -> Result<(Option<&str>, &str, &str), SaslFailure> {
    let malformed = |text| SaslCondition::MalformedRequest.because(text);
    let message = std::str::from_utf8(message).map_err(|_| malformed("The message is not UTF-8."))?;
    let mut parts = message.split('\0');
    let (Some(authzid), Some(user), Some(password), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(malformed("The message does not consist of three parts."));
    };
    if user.is_empty() || password.is_empty() {
        return Err(malformed("The user name or the password is empty."));
    }
    Ok(((!authzid.is_empty()).then_some(authzid), user, password))
}
