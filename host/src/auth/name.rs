//! Account names as peers and callers write them, and in the one form in which they are stored.

use super::AuthError;
use crate::stanza::Jid;

/// A normalised account name.
pub(super) struct Name {
    pub(super) vhost: String,
    pub(super) localpart: String,
}

impl Name {
    /// Normalises what a user typed: nodeprep for the localpart, IDNA for the vhost.
    pub(super) fn parse(vhost: &str, localpart: &str) -> Result<Name, AuthError> {
        let bad = |source| AuthError::BadName { name: localpart.into(), vhost: vhost.into(), source };
        let jid = Jid::from_parts(Some(localpart), vhost, None).map_err(bad)?;
        Ok(Name { vhost: jid.domain().into(), localpart: jid.localpart().unwrap_or_default().into() })
    }

    /// True if the authorization identity is absent or this user's own bare JID (RFC 6120 section 6.3.8).
    pub(super) fn may_act_as(&self, authzid: Option<&str>) -> bool {
        let own = |jid: Jid| {
            jid.is_bare() && jid.localpart() == Some(&*self.localpart) && jid.domain() == self.vhost
        };
        authzid.is_none_or(|authzid| Jid::parse(authzid).is_ok_and(own))
    }

    /// The error for an account that is there already.
    pub(super) fn exists(self) -> AuthError {
        AuthError::Exists { localpart: self.localpart, vhost: self.vhost }
    }

    /// The error for an account that is not there.
    pub(super) fn missing(self) -> AuthError {
        AuthError::NoSuchAccount { localpart: self.localpart, vhost: self.vhost }
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}@{}", self.localpart, self.vhost)
    }
}
