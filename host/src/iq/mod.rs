//! IQ requests to their handlers by (namespace, element, target): exactly one reply or error each.
//!
//! * [`Dispatcher`]: a get or set to a vhost or an account goes to the handler of its payload's namespace;
//! * [`OwedAnswers`]: what modules answer later, with the deadline that answers in their place;
//! * [`PendingIqs`]: what the server and modules asked others, with the deadline after which they stop waiting.
//!
//! Replies are return values: where they go is the router's business.

mod dispatch;
mod handlers;
mod owed;
mod pending;
#[cfg(test)]
mod tests;

pub use dispatch::{Answer, Dispatcher};
pub use handlers::IqHandlers;
pub use owed::{OwedAnswers, TooManyOwed};
pub use pending::{PendingCounts, PendingError, PendingIq, PendingIqs};
