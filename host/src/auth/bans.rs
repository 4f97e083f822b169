//! Accounts that may not log in for a while. The account, its password and its data stay as they are, so that the end of the
//! ban gives everything back.

use serde::{Deserialize, Serialize};

use super::name::Name;
use super::{Accounts, AuthError};
use crate::storage::{KeyVal, Space, Timestamp};

/// Why an account may not log in, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ban {
    /// What the operator said.
    pub reason: String,
    /// When, in microseconds since 1970.
    pub since_us: i64,
}

impl Accounts {
    /// Bans an account; [`AuthError::NoSuchAccount`] if it is not there. Another ban takes the place of the one before.
    pub async fn ban(&self, vhost: &str, localpart: &str, reason: &str) -> Result<(), AuthError> {
        let name = Name::parse(vhost, localpart)?;
        if !self.exists(vhost, localpart).await? {
            return Err(name.missing());
        }
        let ban = Ban { reason: reason.to_owned(), since_us: Timestamp::now().0 };
        let json = serde_json::to_vec(&ban).expect("a text and a number are JSON");
        Ok(self.bans(&name.vhost).set(&name.localpart, &json).await?)
    }

    /// Ends a ban; false where there was none.
    pub async fn unban(&self, vhost: &str, localpart: &str) -> Result<bool, AuthError> {
        let name = Name::parse(vhost, localpart)?;
        Ok(self.bans(&name.vhost).delete(&name.localpart).await?)
    }

    /// The ban of an account. One that cannot be read holds all the same.
    pub async fn banned(&self, vhost: &str, localpart: &str) -> Result<Option<Ban>, AuthError> {
        let name = Name::parse(vhost, localpart)?;
        let stored = self.bans(&name.vhost).get(&name.localpart).await?;
        let unreadable = || Ban { reason: String::new(), since_us: 0 };
        Ok(stored.map(|json| serde_json::from_slice(&json).unwrap_or_else(|_| unreadable())))
    }

    fn bans(&self, vhost: &str) -> KeyVal {
        self.storage().keyval(&Space::core(vhost, "bans"))
    }
}

#[cfg(test)]
mod tests {
    use crate::auth::{AccountOptions, Accounts, AuthError};
    use crate::storage::Storage;

    #[tokio::test]
    async fn a_ban_holds_until_it_is_lifted_or_the_account_goes() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path().join("s.sqlite")).unwrap();
        let options = AccountOptions { iterations: 4096, ..AccountOptions::default() };
        let accounts = Accounts::open(storage, options).await.unwrap();
        let missing = accounts.ban("example.org", "ann", "x").await.unwrap_err();
        assert!(matches!(missing, AuthError::NoSuchAccount { .. }));
        accounts.register("example.org", "ann", "secret").await.unwrap();
        assert_eq!(accounts.banned("example.org", "ann").await.unwrap(), None);
        accounts.ban("example.org", "Ann", "spam").await.unwrap();
        assert_eq!(accounts.banned("example.org", "ann").await.unwrap().unwrap().reason, "spam");
        assert!(accounts.unban("example.org", "ann").await.unwrap());
        assert!(!accounts.unban("example.org", "ann").await.unwrap());
        accounts.ban("example.org", "ann", "again").await.unwrap();
        accounts.unregister("example.org", "ann").await.unwrap();
        accounts.register("example.org", "ann", "other").await.unwrap();
        assert_eq!(
            accounts.banned("example.org", "ann").await.unwrap(),
            None,
            "the name is somebody else's now"
        );
    }
}
