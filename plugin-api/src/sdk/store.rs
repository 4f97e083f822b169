//! Stores: each module has its own on each vhost, and each store its own keys.
//!
//! * [`KeyVal`]: one value per key.
//! * [`Map`]: fields with values under a key, changed together or not at all.
//! * [`Archive`]: items in order, paged, by time and id.
//!
//! What was acknowledged is committed. Operations are [`Op`](super::Op)s: `.await` them or `.wait()` for them.

mod archive;
mod keyval;
mod map;

pub use archive::{Archive, Item, Page, Query};
pub use keyval::KeyVal;
pub use map::{Map, MapChange};

use super::Host;

impl Host {
    /// A store of single values.
    pub fn keyval(&self, store: &str) -> KeyVal {
        KeyVal { host: self.clone(), store: store.to_owned() }
    }

    /// A store of maps.
    pub fn map(&self, store: &str) -> Map {
        Map { host: self.clone(), store: store.to_owned() }
    }

    /// A store of ordered items.
    pub fn archive(&self, store: &str) -> Archive {
        Archive { host: self.clone(), store: store.to_owned() }
    }
}
