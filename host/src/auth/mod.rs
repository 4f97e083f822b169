//! Accounts and the server's side of SASL.
//!
//! Promises:
//!
//! * A password is kept nowhere: accounts hold salted SCRAM secrets only, and copies in memory are wiped after use.
//! * A peer cannot tell an unknown user from a wrong password, neither by the answers nor by their cost.
//! * The SASL core ([`sasl::Exchange`]) does no I/O; [`Login`] joins it with [`Accounts`] and the [`LoginLimiter`].
//! * Password hashing runs on a bounded pool: a login storm gets `temporary-auth-failure`, traffic goes on.
//!
//! What the room does not do: it writes no XML (the stream does), it decides nothing about permissions, and removing an
//! account here removes the account's row only; who else keeps data of that account is told by the server.

mod accounts;
mod bans;
mod credentials;
mod decoy;
mod error;
#[cfg(test)]
mod exchange_tests;
mod hashing;
mod limiter;
mod login;
#[cfg(test)]
mod login_tests;
mod name;
mod plain;
pub mod sasl;
mod scram;
mod scram_messages;
#[cfg(test)]
mod test_client;

pub use accounts::{AccountOptions, Accounts, MAX_PASSWORD_BYTES};
pub use bans::Ban;
pub use credentials::{Hash, ScramSecrets};
pub use error::AuthError;
pub use limiter::{LimiterOptions, LoginLimiter};
pub use login::{Login, LoginContext, Reply};
