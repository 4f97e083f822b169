//! Counters of the four parts of the router (router, local router, session manager, way to other servers).
//!
//! They are kept per thread group, because one shared counter on the way of every stanza costs more than the look-up it
//! counts.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use serde::Serialize;

const SHARDS: usize = 16;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// One shard, on cache lines of its own.
        #[derive(Default)]
        #[repr(align(128))]
        struct Shard { $($name: AtomicU64,)+ }

        /// What the router has done since start.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
        pub struct RouterCounts { $($(#[$doc])* pub $name: u64,)+ }

        impl Counts {
            $($(#[$doc])* #[inline] pub fn $name(&self) {
                self.shard().$name.fetch_add(1, Ordering::Relaxed);
            })+

            /// The sums.
            pub fn report(&self) -> RouterCounts {
                let mut report = RouterCounts::default();
                for shard in &self.shards {
                    $(report.$name += shard.$name.load(Ordering::Relaxed);)+
                }
                report
            }
        }
    };
}

counters! {
    /// Router: stanzas from clients.
    sent_by_clients,
    /// Router: stanzas from modules and commands.
    sent_by_modules,
    /// Router: stanzas for a domain that a module registered.
    to_modules,
    /// Router: stanzas handed to the way to other servers.
    to_remote,
    /// Router: stanzas dropped because they went in a circle.
    loops,
    /// Router: error replies made.
    bounced,
    /// Router: stanzas a hook dropped.
    stopped_by_hooks,
    /// Local router: IQ requests to a vhost or handled for an account.
    iq_handled,
    /// Local router: messages and presence to a vhost.
    to_vhosts,
    /// Session manager: stanzas put into mailboxes.
    delivered,
    /// Session manager: stanzas refused by a full mailbox.
    mailbox_full,
    /// Session manager: stanzas whose sender was held up by a full mailbox.
    held_up,
    /// Session manager: messages for accounts that no resource took.
    offline,
    /// Session manager: stanzas ignored as RFC 6121 allows.
    ignored,
    /// Session manager: stanzas taken out of closed mailboxes and routed again.
    rerouted,
}

/// The counters.
#[derive(Default)]
pub struct Counts {
    shards: [Shard; SHARDS],
}

impl Counts {
    fn shard(&self) -> &Shard {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static MINE: Cell<usize> = const { Cell::new(usize::MAX) };
        }
        let mut mine = MINE.get();
        if mine == usize::MAX {
            mine = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
            MINE.set(mine);
        }
        &self.shards[mine]
    }
}
