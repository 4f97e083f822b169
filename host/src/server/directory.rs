//! Who exists, as the router asks it.

use crate::auth::Accounts;
use crate::router::{AccountDirectory, BoxFuture};
use crate::stanza::Jid;

/// The accounts of the store.
pub(super) struct Directory(pub Accounts);

impl AccountDirectory for Directory {
    fn exists(&self, account: &Jid) -> BoxFuture<bool> {
        let (accounts, account) = (self.0.clone(), account.clone());
        Box::pin(async move {
            let localpart = account.localpart().unwrap_or_default();
            match accounts.exists(account.domain(), localpart).await {
                Ok(exists) => exists,
                Err(error) => {
                    tracing::error!(jid = %account, %error, "it is not known whether the account exists");
                    true
                }
            }
        })
    }
}
