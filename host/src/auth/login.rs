//! Joins a SASL exchange with the accounts and the limiter: what a stream calls.

use std::net::IpAddr;
use std::sync::Arc;

use super::sasl::{Exchange, Offer, SaslCondition, SaslFailure};
use super::{Accounts, LoginLimiter};

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
    #[allow(dead_code)]
    exchange: Exchange,
}

impl Login {
    /// The peer sent `<auth mechanism='...'>initial</auth>`, base64 already undone.
    pub async fn start(
        _context: &LoginContext,
        offer: &Offer,
        mechanism: &str,
        initial: Option<&[u8]>,
    ) -> (Login, Reply) {
        let (exchange, _) = Exchange::start(offer, mechanism, initial);
        let failure = SaslFailure { condition: SaslCondition::TemporaryAuthFailure, text: None };
        (Login { exchange }, Reply::Failure(failure))
    }

    /// The peer sent `<response>...</response>`, base64 already undone.
    pub async fn respond(&mut self, _response: &[u8]) -> Reply {
        Reply::Failure(SaslFailure { condition: SaslCondition::TemporaryAuthFailure, text: None })
    }

    /// The peer sent `<abort/>`.
    pub fn abort(&mut self) -> Reply {
        Reply::Failure(SaslFailure { condition: SaslCondition::Aborted, text: None })
    }
}
