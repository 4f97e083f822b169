//! Joins a SASL exchange with the accounts and the limiter: what a stream calls.
//!
//! The limiter is asked twice, before the work and again before the verdict is told: of many passwords tried at once, no
//! more verdicts get out than the limits allow. Whoever is over a limit gets `temporary-auth-failure`, right password or
//! not.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::sasl::{Exchange, Offer, SaslCondition, SaslFailure, Step};
use super::{Accounts, AuthError, LoginLimiter};

/// What a login needs besides the peer's words.
#[derive(Clone)]
pub struct LoginContext {
    /// The accounts.
    pub accounts: Accounts,
    /// The limiter shared by all streams.
    pub limiter: Arc<LoginLimiter>,
    /// The peer's address.
    pub address: IpAddr,
}

/// What to tell the peer.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    /// `<challenge/>` with this data.
    Challenge(Vec<u8>),
    /// `<success/>`; the stream belongs to this account of its vhost.
    Success {
        /// The account's normalised user name.
        localpart: String,
        /// Data to send along with success.
        additional: Option<Vec<u8>>,
    },
    /// `<failure/>`.
    Failure(SaslFailure),
}

/// One login attempt.
pub struct Login {
    exchange: Exchange,
    context: LoginContext,
    vhost: String,
    /// The bare JID of the account at which the attempt aims, once it is known.
    account: Option<String>,
}

impl Login {
    /// The peer sent `<auth mechanism='...'>initial</auth>`, base64 already undone.
    pub async fn start(
        context: &LoginContext,
        offer: &Offer,
        mechanism: &str,
        initial: Option<&[u8]>,
    ) -> (Login, Reply) {
        let (exchange, step) = Exchange::start(offer, mechanism, initial);
        let mut login =
            Login { exchange, context: context.clone(), vhost: offer.vhost.clone(), account: None };
        let reply = login.drive(step).await;
        (login, reply)
    }

    /// The bare JID of the account at which the attempt aims, as soon as it is known. It need not exist.
    pub fn account(&self) -> Option<&str> {
        self.account.as_deref()
    }

    /// The peer sent `<response>...</response>`, base64 already undone.
    pub async fn respond(&mut self, response: &[u8]) -> Reply {
        let step = self.exchange.respond(response);
        self.drive(step).await
    }

    /// The peer sent `<abort/>`.
    pub fn abort(&mut self) -> Reply {
        match self.exchange.abort() {
            Step::Failure(failure) => Reply::Failure(failure),
            _ => Reply::Failure(SaslCondition::Aborted.into()),
        }
    }

    /// Gives the exchange what it asks for until there is something to tell the peer.
    async fn drive(&mut self, mut step: Step) -> Reply {
        loop {
            step = match step {
                Step::NeedSecrets { .. } | Step::NeedCheck { .. } => match self.provide(step).await {
                    Ok(step) => step,
                    Err(failure) => return self.give_up(failure),
                },
                Step::Challenge(data) => return Reply::Challenge(data),
                Step::Success { localpart, additional } => {
                    let allowed = self.allowed(&localpart).await;
                    return self.conclude(allowed.map(|()| (localpart, additional)));
                }
                Step::Failure(failure) => return self.conclude(Err(failure)),
            }
        }
    }

    /// Whether somebody who has proved to be this user may come in. Only they are told of a ban.
    async fn allowed(&self, localpart: &str) -> Result<(), SaslFailure> {
        match self.context.accounts.banned(&self.vhost, localpart).await {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err(SaslCondition::AccountDisabled.because("This account is banned.")),
            Err(error) => Err(self.unable(&error)),
        }
    }

    /// Looks up what the exchange needs.
    async fn provide(&mut self, step: Step) -> Result<Step, SaslFailure> {
        let accounts = self.context.accounts.clone();
        match step {
            Step::NeedSecrets { localpart, hash } => {
                self.aim_at(&localpart)?;
                let secrets = accounts.scram_secrets(&self.vhost, &localpart, hash).await;
                Ok(self.exchange.secrets(secrets.map_err(|error| self.unable(&error))?))
            }
            Step::NeedCheck { localpart, password } => {
                self.aim_at(&localpart)?;
                let correct = accounts.check_password(&self.vhost, &localpart, &password).await;
                Ok(self.exchange.checked(correct.map_err(|error| self.unable(&error))?))
            }
            step => Ok(step),
        }
    }

    /// Notes the account and stops the attempt before it costs anything if a limit is reached.
    fn aim_at(&mut self, localpart: &str) -> Result<(), SaslFailure> {
        let account = self.account.insert(format!("{localpart}@{}", self.vhost));
        match self.context.limiter.blocked(account, self.context.address, Instant::now()) {
            None => Ok(()),
            Some(wait) => {
                let (address, seconds) = (self.context.address, wait.as_secs());
                tracing::debug!(jid = %account, %address, seconds, "login refused: too many failures");
                Err(too_many())
            }
        }
    }

    /// Tells the verdict, unless a limit was reached meanwhile; counts what was wrong.
    fn conclude(&mut self, verdict: Result<(String, Option<Vec<u8>>), SaslFailure>) -> Reply {
        let (limiter, address, now) = (&self.context.limiter, self.context.address, Instant::now());
        let Some(account) = &self.account else {
            return Reply::Failure(verdict.err().unwrap_or(SaslCondition::TemporaryAuthFailure.into()));
        };
        match verdict {
            Ok(_) if limiter.blocked(account, address, now).is_some() => Reply::Failure(too_many()),
            Ok((localpart, additional)) => Reply::Success { localpart, additional },
            Err(failure) if failure.condition == SaslCondition::NotAuthorized => {
                if limiter.failed(account, address, now).is_some() {
                    return Reply::Failure(too_many());
                }
                // The limiter bounds how many of these lines one address can cause.
                tracing::info!(jid = %account, %address, "login failed");
                Reply::Failure(failure)
            }
            Err(failure) => Reply::Failure(failure),
        }
    }

    /// Ends the exchange for a reason of ours.
    fn give_up(&mut self, failure: SaslFailure) -> Reply {
        self.exchange.abort();
        Reply::Failure(failure)
    }

    /// The server cannot check now, and says no more than that.
    fn unable(&self, error: &AuthError) -> SaslFailure {
        let jid = self.account.as_deref().unwrap_or_default();
        match error {
            // A login storm must not become a storm of log lines too.
            AuthError::Busy => tracing::debug!(jid, %error, "a login could not be checked"),
            error => tracing::warn!(jid, %error, "a login could not be checked"),
        }
        SaslCondition::TemporaryAuthFailure.into()
    }
}

fn too_many() -> SaslFailure {
    SaslCondition::TemporaryAuthFailure.because("Too many failed logins; try again later.")
}
