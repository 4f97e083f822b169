//! Bringing the stores of a module forward, from the schema of an older build.

use serde::{Deserialize, Serialize};

/// A batch of the work, as [`Module::migrate`](crate::sdk::Module::migrate) gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// The schema that the stores had before the first batch.
    pub from: u32,
    /// Where the batch before this one ended: what it gave to [`Migrated::More`]. Empty at first.
    pub cursor: String,
}

/// How far a batch came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Migrated {
    /// The stores have the schema of this build.
    All,
    /// There is more to do, from here on.
    More(String),
}

impl Migrated {
    /// The end of a batch over keys in order: what follows the last one, or nothing when the page was not full.
    pub fn after(keys: &[String], page: usize) -> Self {
        match keys.last() {
            Some(last) if keys.len() >= page => Self::More(last.clone()),
            _ => Self::All,
        }
    }
}

/// The body of an answer to `MIGRATE`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Step {
    pub(crate) next: Option<String>,
}

/// The arguments of `MIGRATE`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Begin {
    pub(crate) cursor: String,
}
