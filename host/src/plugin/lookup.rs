//! The published tables as the threads that route stanzas see them.
//!
//! Every stanza looks into the tables several times. Taking them out of the `ArcSwap` writes to shared memory twice each
//! time, so a thread that asked for it ([`at_rest`]) keeps the tables it saw last, and one load says whether they are
//! still the published ones.
//!
//! Promises: whoever looks after a publication he knows of sees it; a thread that rests keeps no tables, so an idle
//! thread never holds up the end of an old generation; a thread that never told that it rests keeps none at all.
//!
//! It deliberately does not serve the threads of the modules' own runtime: one of those may stay inside a module for
//! ever, and must not keep the tables of that time, and so every other module's library, while it does.

use super::registry::Snapshot;
use super::{seat, threads};
use arc_swap::{ArcSwap, Guard};
use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

thread_local! {
    static KEPT: Cell<Option<Arc<Snapshot>>> = const { Cell::new(None) };
    /// Whether this thread lets go of what it keeps when it rests.
    static KEEPS: Cell<bool> = const { Cell::new(false) };
}

/// Marks snapshots apart, also those of several servers in one process (tests).
static NEXT_STAMP: AtomicU64 = AtomicU64::new(1);

/// A mark that no other snapshot has.
pub(super) fn stamp() -> u64 {
    NEXT_STAMP.fetch_add(1, Ordering::Relaxed)
}

/// To be called by a thread of the sockets' runtime whenever it is about to rest (`on_thread_park`): it lets go of the
/// tables and of libraries on their way out, and may keep tables from now on while it is awake. It also gets its own
/// place in the gates.
pub fn at_rest() {
    KEEPS.set(true);
    seat::take();
    forget();
    threads::quiesce();
}

/// The thread keeps no tables any more, until it looks again. For those that are about to rest in another way.
pub(super) fn forget() {
    // A thread that is ending has nothing any more.
    let _ = KEPT.try_with(Cell::take);
}

/// The place where the tables are published.
pub(super) struct PublishedTables {
    tables: ArcSwap<Snapshot>,
    /// The stamp of `tables`.
    stamp: AtomicU64,
}

impl PublishedTables {
    pub(super) fn new(snapshot: Snapshot) -> Self {
        let stamp = AtomicU64::new(snapshot.stamp);
        Self { tables: ArcSwap::from_pointee(snapshot), stamp }
    }

    /// Publishes with one pointer store. One at a time: the caller holds the lock of the publication.
    pub(super) fn store(&self, snapshot: Snapshot) {
        let stamp = snapshot.stamp;
        self.tables.store(Arc::new(snapshot));
        // After the tables, and `Release`: who sees this stamp finds at least these tables. Who sees the stamp before may
        // still use the tables before, as if it had looked an instant earlier; nobody can tell the difference, because
        // whatever follows the publication (the gate of an old instance that retires, a command that has returned)
        // happens after this store too.
        self.stamp.store(stamp, Ordering::Release);
    }

    /// The tables of this moment, for those who only look.
    pub(super) fn load(&self) -> Guard<Arc<Snapshot>> {
        self.tables.load()
    }

    pub(super) fn load_full(&self) -> Arc<Snapshot> {
        self.tables.load_full()
    }

    /// The tables of this moment, for the way of a stanza.
    #[inline]
    pub(super) fn look(&self) -> Tables {
        // Taken out while it is used: who looks again meanwhile (a module routes something) does without.
        match KEPT.try_with(Cell::take) {
            Ok(Some(kept)) if kept.stamp == self.stamp.load(Ordering::Acquire) => Tables::kept(kept),
            _ => self.look_anew(),
        }
    }

    #[cold]
    fn look_anew(&self) -> Tables {
        if KEEPS.get() {
            Tables::kept(self.tables.load_full())
        } else {
            Tables { held: Some(Held::Guard(self.tables.load())), thread: PhantomData }
        }
    }
}

/// The tables while they are used. Not to be kept across an await, which the compiler sees to.
pub struct Tables {
    /// `None` only inside the drop.
    held: Option<Held>,
    thread: PhantomData<*mut ()>,
}

enum Held {
    /// To be kept by the thread afterwards.
    Kept(Arc<Snapshot>),
    Guard(Guard<Arc<Snapshot>>),
}

impl Tables {
    #[inline]
    fn kept(tables: Arc<Snapshot>) -> Self {
        Self { held: Some(Held::Kept(tables)), thread: PhantomData }
    }
}

impl Deref for Tables {
    type Target = Snapshot;

    #[inline]
    fn deref(&self) -> &Snapshot {
        match self.held.as_ref().expect("the tables are given back only by the drop") {
            Held::Kept(tables) => tables,
            Held::Guard(tables) => tables,
        }
    }
}

impl Drop for Tables {
    #[inline]
    fn drop(&mut self) {
        if let Some(Held::Kept(tables)) = self.held.take() {
            // Those that somebody further in has put there are replaced; if these are older, the next look notices.
            let _ = KEPT.try_with(|place| place.set(Some(tables)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(version: u64) -> Snapshot {
        let mut snapshot = Snapshot::default();
        (snapshot.version, snapshot.stamp) = (version, stamp());
        snapshot
    }

    #[test]
    fn a_thread_that_rests_keeps_tables_while_awake_and_sees_each_publication() {
        let published = PublishedTables::new(snapshot(1));
        at_rest();
        assert_eq!(published.look().version, 1);
        let first = Arc::downgrade(&published.load_full());
        published.store(snapshot(2));
        assert!(first.upgrade().is_some(), "the thread keeps what it saw last");
        assert_eq!(published.look().version, 2);
        assert!(first.upgrade().is_none());
    }

    #[test]
    fn a_resting_thread_keeps_nothing() {
        let published = PublishedTables::new(snapshot(1));
        at_rest();
        drop(published.look());
        let first = Arc::downgrade(&published.load_full());
        published.store(snapshot(2));
        at_rest();
        assert!(first.upgrade().is_none());
    }

    #[test]
    fn a_thread_that_never_said_that_it_rests_keeps_nothing() {
        let published = PublishedTables::new(snapshot(1));
        drop(published.look());
        let first = Arc::downgrade(&published.load_full());
        published.store(snapshot(2));
        assert!(first.upgrade().is_none());
    }

    #[test]
    fn who_looks_again_while_looking_sees_the_newest_and_so_does_the_next() {
        let published = PublishedTables::new(snapshot(1));
        at_rest();
        let outer = published.look();
        published.store(snapshot(2));
        assert_eq!((outer.version, published.look().version), (1, 2));
        drop(outer);
        assert_eq!(published.look().version, 2);
    }

    #[test]
    fn tables_of_two_servers_are_never_mixed_up() {
        let (one, other) = (PublishedTables::new(snapshot(1)), PublishedTables::new(snapshot(1)));
        at_rest();
        let of_one = Arc::as_ptr(&one.load_full());
        assert!(std::ptr::eq(&*one.look(), of_one));
        assert!(!std::ptr::eq(&*other.look(), of_one));
        assert!(std::ptr::eq(&*one.look(), of_one));
    }
}
