//! IQ requests to their handlers by (namespace, element, target): exactly one reply or error each.

mod pending;

pub use pending::{PendingCounts, PendingError, PendingIq, PendingIqs};
