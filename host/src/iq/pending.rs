//! IQ requests that the server or a module sent and that wait for their answer.
//!
//! An answer belongs to a request when its id, its sender and its addressee agree: an id alone could be guessed by
//! anybody. Every request ends exactly once: by its answer, by its deadline, or by the caller losing interest. What
//! comes later, twice or from somebody else is dropped and counted. The table is bounded.

use std::collections::HashMap;
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::stanza::{IqType, Jid, Stanza, StanzaType};

/// Why a request was not sent, or has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PendingError {
    /// The module gave something that is no request.
    #[error("The stanza to send is no IQ get or set with id, sender and addressee.")]
    NoRequest,
    /// The module uses an id twice.
    #[error("A request with the id '{0}' to the same addressee is still unanswered.")]
    Duplicate(String),
    /// Too many requests wait.
    #[error("Too many requests wait for their answers ({0}).")]
    Full(usize),
    /// The peer did not answer.
    #[error("{0} did not answer in time.")]
    TimedOut(Jid),
}

/// What makes an answer belong to a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    id: Box<str>,
    /// Who was asked.
    peer: Jid,
    /// Who asked.
    own: Jid,
}

struct Waiting {
    answer: oneshot::Sender<Stanza>,
    deadline: Instant,
    number: u64,
}

/// The table. Cheap to clone.
#[derive(Clone)]
pub struct PendingIqs {
    inner: Arc<Inner>,
}

struct Inner {
    bound: AtomicUsize,
    /// Repeats the length of the table so that the usual answer does not take the lock.
    length: AtomicUsize,
    table: Mutex<HashMap<Key, Waiting>>,
    next_number: AtomicU64,
    answered: AtomicU64,
    timed_out: AtomicU64,
    unmatched: AtomicU64,
}

/// Numbers of the table for the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PendingCounts {
    /// Requests that wait now.
    pub waiting: usize,
    /// Requests that got their answer.
    pub answered: u64,
    /// Requests that got none in time.
    pub timed_out: u64,
    /// Answers that were late, double, or of somebody else.
    pub unmatched: u64,
}

impl PendingIqs {
    /// An empty table for at most `bound` requests.
    pub fn new(bound: usize) -> Self {
        let inner = Inner {
            bound: AtomicUsize::new(bound),
            length: AtomicUsize::new(0),
            table: Mutex::default(),
            next_number: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            timed_out: AtomicU64::new(0),
            unmatched: AtomicU64::new(0),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Enters a request that is about to be sent. The answer must be awaited through the value given back.
    pub fn expect(&self, request: &Stanza, timeout: Duration) -> Result<PendingIq, PendingError> {
        let key = Key::of_request(request).ok_or(PendingError::NoRequest)?;
        let deadline = Instant::now() + timeout;
        let number = self.inner.next_number.fetch_add(1, Ordering::Relaxed);
        let (answer, receiver) = oneshot::channel();
        let mut table = self.inner.lock();
        self.inner.make_room(&mut table)?;
        if table.contains_key(&key) {
            return Err(PendingError::Duplicate(key.id.into()));
        }
        table.insert(key.clone(), Waiting { answer, deadline, number });
        self.inner.length.store(table.len(), Ordering::Release);
        drop(table);
        Ok(PendingIq { table: self.clone(), key, number, deadline, receiver })
    }

    /// Takes an IQ result or error if it answers a request; gives it back if nobody waits for it.
    pub fn answer(&self, reply: Stanza) -> Option<Stanza> {
        if self.inner.length.load(Ordering::Acquire) == 0 {
            return Some(reply);
        }
        let Some(key) = Key::of_answer(&reply) else { return Some(reply) };
        let waiting = {
            let mut table = self.inner.lock();
            let waiting = table.remove(&key);
            self.inner.length.store(table.len(), Ordering::Release);
            waiting
        };
        let Some(waiting) = waiting else { return Some(reply) };
        crate::wake::note();
        let unwanted = waiting.answer.send(reply).err();
        if unwanted.is_none() {
            self.inner.answered.fetch_add(1, Ordering::Relaxed);
        }
        unwanted
    }

    /// Counts an answer to the server or a module that nobody waited for.
    pub fn count_unmatched(&self) {
        self.inner.unmatched.fetch_add(1, Ordering::Relaxed);
    }

    /// Numbers for the metrics.
    pub fn counts(&self) -> PendingCounts {
        PendingCounts {
            waiting: self.inner.length.load(Ordering::Relaxed),
            answered: self.inner.answered.load(Ordering::Relaxed),
            timed_out: self.inner.timed_out.load(Ordering::Relaxed),
            unmatched: self.inner.unmatched.load(Ordering::Relaxed),
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Waiting>> {
        // Nothing panics while it holds the lock; a poisoned table is still whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A caller that never polls its request again must not keep a place for ever.
    fn make_room(&self, table: &mut HashMap<Key, Waiting>) -> Result<(), PendingError> {
        let bound = self.bound.load(Ordering::Relaxed);
        if table.len() < bound {
            return Ok(());
        }
        let now = Instant::now();
        table.retain(|_, waiting| waiting.deadline > now && !waiting.answer.is_closed());
        if table.len() < bound { Ok(()) } else { Err(PendingError::Full(table.len())) }
    }
}

impl Key {
    fn of_request(request: &Stanza) -> Option<Self> {
        if !matches!(request.type_(), StanzaType::Iq(IqType::Get | IqType::Set)) {
            return None;
        }
        let id = request.id()?.into();
        Some(Self { id, peer: request.to()?.clone(), own: request.from()?.clone() })
    }

    fn of_answer(reply: &Stanza) -> Option<Self> {
        let id = reply.id()?.into();
        Some(Self { id, peer: reply.from()?.clone(), own: reply.to()?.clone() })
    }
}

/// A request that waits. Dropping it gives its place back.
pub struct PendingIq {
    table: PendingIqs,
    key: Key,
    number: u64,
    deadline: Instant,
    receiver: oneshot::Receiver<Stanza>,
}

impl PendingIq {
    /// The answer, a result or an error, or that none came in time.
    pub async fn answer(mut self) -> Result<Stanza, PendingError> {
        match tokio::time::timeout_at(self.deadline, &mut self.receiver).await {
            Ok(Ok(answer)) => Ok(answer),
            // The sender goes without an answer only when the sweep found the deadline passed.
            Ok(Err(_)) | Err(_) => {
                self.table.inner.timed_out.fetch_add(1, Ordering::Relaxed);
                Err(PendingError::TimedOut(self.key.peer.clone()))
            }
        }
    }
}

impl Drop for PendingIq {
    fn drop(&mut self) {
        let mut table = self.table.inner.lock();
        // A later request may have the same key.
        if table.get(&self.key).is_some_and(|waiting| waiting.number == self.number) {
            table.remove(&self.key);
            self.table.inner.length.store(table.len(), Ordering::Release);
        }
    }
}
