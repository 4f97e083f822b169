//! Accounts as a whole: the row in the store, the sessions that use it, and the modules that hear of both. Whoever makes
//! or removes an account does it here, whether an operator or a module asked for it.

use thiserror::Error;

use super::shared::Shared;
use crate::auth::{Accounts, AuthError, ScramSecrets};
use crate::plugin::call::{HookCall, Modules};
use crate::plugin::hook::HookPoint;
use crate::router::Router;
use crate::stanza::{Jid, StreamError, StreamErrorCondition};

/// Why an account was not made, changed or removed.
#[derive(Debug, Clone, Error)]
pub(super) enum AccountError {
    /// Caller: the domain is none of ours.
    #[error("{0} is no vhost of this server.")]
    NoVhost(String),
    /// Caller: the JID is not the bare JID of an account.
    #[error("{0} cannot be an account: an account is localpart@domain.")]
    NoAccount(Jid),
    /// The account room refused or failed.
    #[error(transparent)]
    Auth(#[from] AuthError),
}

impl AccountError {
    /// The stanza error condition that says the same.
    pub fn condition(&self) -> &'static str {
        match self {
            AccountError::NoVhost(_) | AccountError::Auth(AuthError::NoSuchAccount { .. }) => {
                "item-not-found"
            }
            AccountError::NoAccount(_) | AccountError::Auth(AuthError::BadName { .. }) => "jid-malformed",
            AccountError::Auth(AuthError::BadPassword) => "not-acceptable",
            AccountError::Auth(AuthError::Exists { .. }) => "conflict",
            AccountError::Auth(error) if error.is_resource_constraint() => "resource-constraint",
            AccountError::Auth(_) => "internal-server-error",
        }
    }
}

/// Makes and removes accounts. Cheap to clone.
#[derive(Clone)]
pub(super) struct AccountLife {
    accounts: Accounts,
    router: Router,
    modules: Modules,
}

impl AccountLife {
    /// That of this server.
    pub fn of(shared: &Shared) -> Self {
        let (accounts, router) = (shared.accounts.clone(), shared.router.clone());
        Self { accounts, router, modules: shared.manager.modules() }
    }

    /// Whether the account exists.
    pub async fn exists(&self, account: &Jid) -> Result<bool, AccountError> {
        let localpart = self.localpart(account)?;
        Ok(self.accounts.exists(account.domain(), localpart).await?)
    }

    /// Makes an account and tells the modules (`user_registered`).
    pub async fn create(&self, account: &Jid, password: &str) -> Result<(), AccountError> {
        let localpart = self.localpart(account)?;
        self.accounts.register(account.domain(), localpart, password).await?;
        tracing::info!(jid = %account, "account registered");
        self.tell(HookPoint::UserRegistered, account).await;
        Ok(())
    }

    /// Makes an account with secrets that another server has derived, and tells the modules (`user_registered`).
    pub async fn adopt(&self, account: &Jid, secrets: Vec<ScramSecrets>) -> Result<(), AccountError> {
        let localpart = self.localpart(account)?;
        self.accounts.adopt(account.domain(), localpart, secrets).await?;
        tracing::info!(jid = %account, "account taken over");
        self.tell(HookPoint::UserRegistered, account).await;
        Ok(())
    }

    /// Changes a password. Sessions that are there stay: they have proved the old one.
    pub async fn set_password(&self, account: &Jid, password: &str) -> Result<(), AccountError> {
        let localpart = self.localpart(account)?;
        self.accounts.set_password(account.domain(), localpart, password).await?;
        tracing::info!(jid = %account, "password changed");
        Ok(())
    }

    /// Removes an account, ends its sessions and lets the modules remove what they keep for it (`user_removed`). Gives
    /// how many sessions there were.
    pub async fn remove(&self, account: &Jid) -> Result<usize, AccountError> {
        let localpart = self.localpart(account)?;
        // The row goes first: nobody logs in again behind what follows.
        self.accounts.unregister(account.domain(), localpart).await?;
        let reason = StreamError::new(StreamErrorCondition::NotAuthorized, "The account was removed.");
        let ended = self.router.sessions().kick_account(account, &reason);
        tracing::info!(jid = %account, sessions = ended, "account removed");
        self.tell(HookPoint::UserRemoved, account).await;
        Ok(ended)
    }

    fn localpart<'a>(&self, account: &'a Jid) -> Result<&'a str, AccountError> {
        if !self.router.is_vhost(account.domain()) {
            return Err(AccountError::NoVhost(account.domain().to_owned()));
        }
        let localpart = account.localpart().filter(|_| account.is_bare());
        localpart.ok_or_else(|| AccountError::NoAccount(account.clone()))
    }

    async fn tell(&self, point: HookPoint, account: &Jid) {
        let call = HookCall { from: Some(account.clone()), args: "{}".into(), ..HookCall::default() };
        self.modules.hook(point, account.domain(), call).wait().await;
    }
}
