//! The writer thread: takes all waiting batches into one transaction and answers each after the commit.
//!
//! A batch that fails by its own fault (a row exists, a row is missing) is undone alone, by a savepoint; the others of
//! its group are committed. When the transaction itself fails because the disk is full or broken, each batch of the
//! group is tried again in a transaction of its own, so that one huge batch cannot fail its small neighbours.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::Options;
use super::apply::{Applier, weight};
use super::copies;
use super::readers::Asker;
use super::undo;
use crate::storage::{Migration, Outcome, Pending, StorageError, Write};

/// Batches in one transaction at most: the first of a group waits for the last.
const GROUP_BATCHES: usize = 256;
/// Bytes in one transaction at most (a single batch may be larger).
const GROUP_BYTES: usize = 8 << 20;
/// Bytes in the queue at most.
const QUEUE_BYTES: usize = 64 << 20;
/// How long a caller waits for its answer.
const DEADLINE: Duration = Duration::from_secs(15);

type Answer = Result<Vec<Outcome>, StorageError>;

struct Job {
    writes: Vec<Write>,
    bytes: usize,
    answer: oneshot::Sender<Answer>,
}

/// A file whose content is to take the place of everything.
struct Replacement {
    from: PathBuf,
    answer: oneshot::Sender<Result<(), StorageError>>,
}

enum Message {
    Write(Job),
    Replace(Replacement),
    Migration(Migration, oneshot::Sender<Result<(), StorageError>>),
    Close(oneshot::Sender<()>),
}

/// What the writer has done so far.
#[derive(Default)]
pub(super) struct Counters {
    commits: AtomicU64,
    batches: AtomicU64,
    failed: AtomicU64,
    shed: AtomicU64,
    queued_bytes: AtomicUsize,
}

impl Counters {
    /// Transactions committed.
    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Batches committed in them.
    pub(super) fn batches(&self) -> u64 {
        self.batches.load(Ordering::Relaxed)
    }

    /// Batches that failed.
    pub(super) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Batches refused because the queue was full.
    pub(super) fn shed(&self) -> u64 {
        self.shed.load(Ordering::Relaxed)
    }

    /// Counts `bytes` into the queue, unless they are too many; an empty queue takes any batch.
    fn reserve(&self, bytes: usize, asker: Asker) -> bool {
        let limit = asker.share(QUEUE_BYTES);
        let room = |queued: usize| (queued == 0 || queued + bytes <= limit).then_some(queued + bytes);
        self.queued_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_ok()
    }

    fn release(&self, bytes: usize) {
        self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The handle to the thread. The thread ends when the last one is dropped and the queue is empty.
#[derive(Clone)]
pub(super) struct Writer {
    queue: mpsc::Sender<Message>,
    counters: Arc<Counters>,
}

impl Writer {
    /// Starts the thread; it keeps `lock` until it ends.
    pub(super) fn start(
        connection: Connection,
        lock: Option<File>,
        options: &Options,
    ) -> Result<Writer, StorageError> {
        let (queue, messages) = mpsc::channel(options.write_queue.max(1));
        let counters = Arc::new(Counters::default());
        let applier = Applier::open(&connection)?;
        let thread = Thread { connection, applier, messages, counters: counters.clone(), failing: false };
        std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || thread.run(lock))
            .map_err(|error| StorageError::Failed { reason: format!("no thread for writing: {error}") })?;
        Ok(Writer { queue, counters })
    }

    /// Queues a batch at once, in the order of the calls, and answers after its commit.
    pub(super) fn write(&self, writes: Vec<Write>) -> Pending<Vec<Outcome>> {
        let queued = self.enqueue(writes);
        Box::pin(async move {
            match timeout(DEADLINE, queued?).await {
                Ok(answer) => answer.unwrap_or(Err(StorageError::Closed)),
                Err(_) => Err(StorageError::TimedOut { queue: "write", seconds: DEADLINE.as_secs() }),
            }
        })
    }

    /// Puts the content of a database file in place of everything, after what is queued. It takes as long as it takes;
    /// writes that wait behind it may run into their deadline.
    pub(super) fn replace(&self, from: PathBuf) -> Pending<()> {
        let queue = self.queue.clone();
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            let message = Message::Replace(Replacement { from, answer });
            let late = |_| StorageError::TimedOut { queue: "write", seconds: DEADLINE.as_secs() };
            let queued = timeout(DEADLINE, queue.send(message)).await.map_err(late)?;
            queued.map_err(|_| StorageError::Closed)?;
            answered.await.unwrap_or(Err(StorageError::Closed))
        })
    }

    /// A step of a migration, after what is queued. It takes as long as it takes.
    pub(super) fn migration(&self, step: Migration) -> Pending<()> {
        let queue = self.queue.clone();
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            let late = |_| StorageError::TimedOut { queue: "write", seconds: DEADLINE.as_secs() };
            let queued =
                timeout(DEADLINE, queue.send(Message::Migration(step, answer))).await.map_err(late)?;
            queued.map_err(|_| StorageError::Closed)?;
            answered.await.unwrap_or(Err(StorageError::Closed))
        })
    }

    /// Lets the thread finish its queue, then waits until the file is closed.
    pub(super) fn close(&self) -> Pending<()> {
        let queue = self.queue.clone();
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            let closing = async {
                // A writer that is gone already has closed the file.
                if queue.send(Message::Close(answer)).await.is_ok() {
                    let _ = answered.await;
                }
            };
            let late = |_| StorageError::TimedOut { queue: "write", seconds: DEADLINE.as_secs() };
            timeout(DEADLINE, closing).await.map_err(late)
        })
    }

    /// What the writer has done so far.
    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Batches waiting now.
    pub(super) fn queued(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    fn enqueue(&self, writes: Vec<Write>) -> Result<oneshot::Receiver<Answer>, StorageError> {
        let bytes = writes.iter().map(weight).sum();
        let full = || {
            self.counters.shed.fetch_add(1, Ordering::Relaxed);
            StorageError::Overloaded { queue: "write" }
        };
        let asker = asker(&writes);
        if self.queued() >= asker.share(self.queue.max_capacity()) || !self.counters.reserve(bytes, asker) {
            return Err(full());
        }
        let (answer, answered) = oneshot::channel();
        self.queue.try_send(Message::Write(Job { writes, bytes, answer })).map_err(|refused| {
            self.counters.release(bytes);
            match refused {
                mpsc::error::TrySendError::Full(_) => full(),
                mpsc::error::TrySendError::Closed(_) => StorageError::Closed,
            }
        })?;
        Ok(answered)
    }
}

/// A batch that touches a module's data is the module's.
fn asker(writes: &[Write]) -> Asker {
    let is_module = writes.iter().filter_map(Write::space).any(|space| !space.is_core());
    if is_module { Asker::Module } else { Asker::Host }
}

struct Thread {
    connection: Connection,
    applier: Applier,
    messages: mpsc::Receiver<Message>,
    counters: Arc<Counters>,
    /// The last transaction failed: the log tells the first failure and the recovery, not each one.
    failing: bool,
}

impl Thread {
    fn run(mut self, lock: Option<File>) {
        while let Some(message) = self.messages.blocking_recv() {
            let mut group = Vec::new();
            let other = self.gather(message, &mut group);
            self.commit(group);
            match other {
                None | Some(Message::Write(_)) => {}
                Some(Message::Replace(replacement)) => self.replace(replacement),
                Some(Message::Migration(step, answer)) => {
                    // Done is done, whether anybody waits for it or not.
                    let _ = answer.send(self.migration(&step));
                }
                Some(Message::Close(answer)) => {
                    self.finish(lock);
                    // The one who closed may have given up waiting.
                    let _ = answer.send(());
                    return;
                }
            }
        }
        self.finish(lock);
    }

    fn replace(&mut self, replacement: Replacement) {
        let mut replaced = copies::replace(&mut self.connection, &replacement.from);
        if replaced.is_ok() {
            // What it remembered of the old rows is void.
            let applier = Applier::open(&self.connection);
            replaced = applier.map(|applier| self.applier = applier).map_err(Into::into);
            tracing::warn!(from = %replacement.from.display(), "the content of the store was replaced");
        }
        // Done is done, whether anybody waits for it or not.
        let _ = replacement.answer.send(replaced);
    }

    fn migration(&mut self, step: &Migration) -> Result<(), StorageError> {
        match step {
            Migration::Begin(modules) => undo::begin(&mut self.connection, modules),
            Migration::Decide(modules) => undo::decide(&mut self.connection, modules),
            Migration::End => undo::end(&mut self.connection),
            Migration::Undo => undo::undo(&mut self.connection),
        }
    }

    /// Collects what waits, up to the bounds of a group or what is no write, which is given back.
    fn gather(&mut self, first: Message, group: &mut Vec<Job>) -> Option<Message> {
        let (mut next, mut bytes) = (Some(first), 0);
        while let Some(message) = next {
            match message {
                other @ (Message::Close(_) | Message::Replace(_) | Message::Migration(..)) => {
                    return Some(other);
                }
                Message::Write(job) => {
                    self.counters.release(job.bytes);
                    bytes += job.bytes;
                    group.push(job);
                }
            }
            let room = group.len() < GROUP_BATCHES && bytes < GROUP_BYTES;
            next = if room { self.messages.try_recv().ok() } else { None };
        }
        None
    }

    fn commit(&mut self, group: Vec<Job>) {
        match self.transact(&group) {
            Ok(answers) => self.answer(group, answers),
            Err(error) if group.len() > 1 && may_be_one_batch(&error) => {
                group.into_iter().for_each(|job| self.commit(vec![job]));
            }
            Err(error) => {
                self.tell_failure(&error);
                let answers = group.iter().map(|_| Err(error.clone())).collect();
                self.answer(group, answers);
            }
        }
    }

    /// One transaction. `Err` means that nothing of the group is written.
    fn transact(&mut self, group: &[Job]) -> Result<Vec<Answer>, StorageError> {
        if group.is_empty() {
            return Ok(Vec::new());
        }
        let mut transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut answers = Vec::with_capacity(group.len());
        for job in group {
            let savepoint = transaction.savepoint()?;
            match self.applier.apply(&savepoint, &job.writes) {
                Ok(outcomes) => {
                    savepoint.commit()?;
                    answers.push(Ok(outcomes));
                }
                Err(error) if is_own_fault(&error) => {
                    // Dropping the savepoint undoes this batch.
                    savepoint.finish()?;
                    answers.push(Err(error));
                }
                Err(error) => return Err(error),
            }
        }
        transaction.commit()?;
        self.counters.commits.fetch_add(1, Ordering::Relaxed);
        self.tell_recovery();
        Ok(answers)
    }

    fn answer(&self, group: Vec<Job>, answers: Vec<Answer>) {
        for (job, answer) in group.into_iter().zip(answers) {
            let counter = if answer.is_ok() { &self.counters.batches } else { &self.counters.failed };
            counter.fetch_add(1, Ordering::Relaxed);
            // A caller that gave up has its write all the same.
            let _ = job.answer.send(answer);
        }
    }

    fn tell_failure(&mut self, error: &StorageError) {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::error!(%error, "writes to the store fail");
        }
    }

    fn tell_recovery(&mut self) {
        if std::mem::replace(&mut self.failing, false) {
            tracing::info!("writes to the store succeed again");
        }
    }

    /// Moves the log into the file and closes both; the lock goes last.
    fn finish(self, lock: Option<File>) {
        let checkpoint = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        if let Err(error) = checkpoint {
            tracing::debug!(%error, "the store's log stays beside its file; it is used at the next start");
        }
        drop(self.connection);
        drop(lock);
    }
}

/// True if a group may have failed because of one of its batches. Waiting for a lock again and again would only keep
/// everybody behind it waiting.
fn may_be_one_batch(error: &StorageError) -> bool {
    matches!(error, StorageError::Full { .. } | StorageError::Failed { .. })
}

/// True if the batch itself is to blame: the database is fine.
fn is_own_fault(error: &StorageError) -> bool {
    matches!(error, StorageError::Exists { .. } | StorageError::Missing { .. })
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
