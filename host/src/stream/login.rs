//! Joins the stream's login steps with the exchange in `auth`.

use super::{LoginStep, Work};
use crate::auth::sasl::{Offer, SaslCondition, SaslFailure};
use crate::auth::{Login, LoginContext, Reply};

/// The exchange that is going on, if one is.
#[derive(Default)]
pub struct LoginDriver(Option<Box<Login>>);

/// What a step came to.
pub struct LoginOutcome {
    login: Option<Box<Login>>,
    reply: Reply,
}

/// A login that has come to its end, for those who watch over logins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginEnd {
    /// The bare JID of the account at which it aimed, if it came so far. It need not exist.
    pub account: Option<String>,
    /// Why it failed; `None` if it went well.
    pub failure: Option<SaslCondition>,
}

impl LoginOutcome {
    /// How the login has ended, if it has.
    pub fn end(&self) -> Option<LoginEnd> {
        let failure = match &self.reply {
            Reply::Challenge(_) => return None,
            Reply::Success { .. } => None,
            Reply::Failure(failure) => Some(failure.condition),
        };
        let account = self.login.as_ref().and_then(|login| login.account());
        Some(LoginEnd { account: account.map(str::to_owned), failure })
    }
}

impl LoginDriver {
    /// Takes one step. The exchange is inside the work until it is given back by [`LoginDriver::finish`].
    pub fn take_step(&mut self, step: LoginStep, offer: &Offer, context: LoginContext) -> Work<LoginOutcome> {
        let current = self.0.take();
        let offer = offer.clone();
        Box::pin(async move {
            match (step, current) {
                (LoginStep::Start { mechanism, initial }, _) => {
                    let initial = initial.as_ref().map(|data| data.as_slice());
                    let (login, reply) = Login::start(&context, &offer, &mechanism, initial).await;
                    LoginOutcome { login: Some(Box::new(login)), reply }
                }
                (LoginStep::Respond(data), Some(mut login)) => {
                    let reply = login.respond(&data).await;
                    LoginOutcome { login: Some(login), reply }
                }
                (LoginStep::Abort, Some(mut login)) => LoginOutcome { reply: login.abort(), login: None },
                (_, None) => LoginOutcome { login: None, reply: nothing_to_go_on_with() },
            }
        })
    }

    /// Takes the exchange back and gives what to tell the peer. After success or failure the exchange is over.
    pub fn finish(&mut self, outcome: LoginOutcome) -> Reply {
        let goes_on = matches!(outcome.reply, Reply::Challenge(_));
        self.0 = outcome.login.filter(|_| goes_on);
        outcome.reply
    }
}

/// The stream lets only a challenge be answered, so this is seen by nobody.
fn nothing_to_go_on_with() -> Reply {
    Reply::Failure(SaslFailure { condition: SaslCondition::MalformedRequest, text: None })
}
