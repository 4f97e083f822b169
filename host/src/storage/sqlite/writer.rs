//! The writer thread: takes all waiting batches into one transaction and answers each after the commit.
//!
//! A batch that fails by its own fault (a row exists, a row is missing) is undone alone, by a savepoint; the others of
//! its group are committed. When the transaction itself fails because the disk is full or broken, each batch of the
//! group is tried again in a transaction of its own, so that one huge batch cannot fail its small neighbours.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::Options;
use super::apply::{Applier, weight};
use crate::storage::{Outcome, Pending, StorageError, Write};

/// Batches in one transaction at most; it bounds how long a reader of the log waits for a checkpoint.
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

enum Message {
    Write(Job),
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
    fn reserve(&self, bytes: usize) -> bool {
        let room = |queued: usize| (queued == 0 || queued + bytes <= QUEUE_BYTES).then_some(queued + bytes);
        self.queued_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_ok()
    }

    fn release(&self, bytes: usize) {
        self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The handle to the thread. The thread ends when it is dropped and the queue is empty.
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
        if !self.counters.reserve(bytes) {
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
            let closing = self.gather(message, &mut group);
            self.commit(group);
            if let Some(answer) = closing {
                self.finish(lock);
                // The one who closed may have given up waiting.
                let _ = answer.send(());
                return;
            }
        }
        self.finish(lock);
    }

    /// Collects what waits, up to the bounds of a group or the wish to close.
    fn gather(&mut self, first: Message, group: &mut Vec<Job>) -> Option<oneshot::Sender<()>> {
        let (mut next, mut bytes) = (Some(first), 0);
        while let Some(message) = next {
            match message {
                Message::Close(answer) => return Some(answer),
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
mod tests {
    use super::super::schema::{Location, open_writer};
    use super::*;
    use crate::storage::Space;

    /// A database file, a connection of another program to it, and our writer.
    struct Bench {
        _folder: tempfile::TempDir,
        other: Connection,
        writer: Writer,
    }

    fn bench(options: &Options, prepare: impl FnOnce(&Connection)) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.sqlite");
        let connection = open_writer(&Location::File(path.clone()), options).unwrap();
        prepare(&connection);
        let other = Connection::open(path).unwrap();
        Bench { _folder: folder, other, writer: Writer::start(connection, None, options).unwrap() }
    }

    fn set(key: &str, value: &[u8]) -> Vec<Write> {
        vec![Write::KeyvalSet { space: Space::module("a", "m"), key: key.into(), value: value.into() }]
    }

    fn insert(key: &str) -> Vec<Write> {
        vec![Write::KeyvalInsert { space: Space::module("a", "m"), key: key.into(), value: vec![] }]
    }

    fn rows(connection: &Connection) -> i64 {
        connection.query_row("SELECT count(*) FROM keyval", [], |row| row.get(0)).unwrap()
    }

    #[tokio::test]
    async fn batches_that_wait_together_are_committed_together() {
        let bench = bench(&Options::default(), |_| {});
        bench.other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let waiting: Vec<_> =
            (0..200).map(|number| bench.writer.write(set(&number.to_string(), b"x"))).collect();
        bench.other.execute_batch("COMMIT").unwrap();
        for write in waiting {
            assert_eq!(write.await.unwrap(), [Outcome::Changed(1)]);
        }
        // The first one or more were taken before the rest arrived; everything else went in one group.
        let counters = bench.writer.counters();
        assert_eq!((counters.batches(), rows(&bench.other)), (200, 200));
        assert!(counters.commits() <= 3, "{} commits", counters.commits());
    }

    #[tokio::test]
    async fn a_full_queue_is_an_error_at_once_and_what_was_accepted_is_written() {
        let bench = bench(&Options { write_queue: 10, ..Options::default() }, |_| {});
        bench.other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let waiting: Vec<_> =
            (0..100).map(|number| bench.writer.write(set(&number.to_string(), b"x"))).collect();
        bench.other.execute_batch("COMMIT").unwrap();
        let (mut written, mut refused) = (0, 0);
        for write in waiting {
            match write.await {
                Ok(_) => written += 1,
                Err(StorageError::Overloaded { queue: "write" }) => refused += 1,
                Err(error) => panic!("{error}"),
            }
        }
        // Besides the ten in the queue there is the group that waits for the lock: up to ten more.
        assert!((10..=21).contains(&written), "{written} written");
        assert_eq!((written, refused), (rows(&bench.other), 100 - written));
        assert_eq!(bench.writer.counters().shed() as i64, refused);
    }

    #[tokio::test]
    async fn the_queue_is_bounded_in_bytes_too() {
        let bench = bench(&Options::default(), |_| {});
        bench.other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let megabytes = vec![0; 4 << 20];
        let waiting: Vec<_> =
            (0..40).map(|number| bench.writer.write(set(&number.to_string(), &megabytes))).collect();
        bench.other.execute_batch("COMMIT").unwrap();
        let mut written = 0;
        for write in waiting {
            written += i64::from(write.await.is_ok());
        }
        assert!(written < 40, "160 MB were queued");
        assert_eq!(written, rows(&bench.other));
        assert_eq!(bench.writer.counters.queued_bytes.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_batch_that_fails_by_its_own_fault_fails_alone_and_leaves_nothing() {
        let bench = bench(&Options::default(), |_| {});
        bench.other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let good = bench.writer.write(insert("one"));
        let double = bench.writer.write([set("two", b"x"), insert("one")].concat());
        let later = bench.writer.write(insert("three"));
        bench.other.execute_batch("COMMIT").unwrap();
        assert!(good.await.is_ok() && later.await.is_ok());
        let error = double.await.unwrap_err();
        assert_eq!(error.to_string(), "The key \"one\" of m on a exists already.");
        assert_eq!((rows(&bench.other), bench.writer.counters().failed()), (2, 1));
    }

    #[tokio::test]
    async fn a_full_disk_fails_the_big_batch_and_not_its_small_neighbours() {
        let bench = bench(&Options { max_bytes: Some(1 << 20), ..Options::default() }, |_| {});
        bench.other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let small = bench.writer.write(set("small", b"x"));
        let big = bench.writer.write(set("big", &vec![0; 3 << 20]));
        let tiny = bench.writer.write(set("tiny", b"x"));
        bench.other.execute_batch("COMMIT").unwrap();
        let error = big.await.unwrap_err();
        assert!(matches!(error, StorageError::Full { .. }) && error.is_resource_constraint(), "{error}");
        assert!(small.await.is_ok() && tiny.await.is_ok());
        assert_eq!(rows(&bench.other), 2);
    }

    #[tokio::test]
    async fn a_read_only_database_is_a_resource_constraint() {
        let bench =
            bench(&Options::default(), |writer| writer.pragma_update(None, "query_only", true).unwrap());
        let error = bench.writer.write(set("key", b"x")).await.unwrap_err();
        assert!(matches!(error, StorageError::ReadOnly { .. }) && error.is_resource_constraint(), "{error}");
        assert_eq!(rows(&bench.other), 0);
    }

    #[tokio::test]
    async fn a_lock_held_too_long_fails_the_group_once_and_writing_goes_on_afterwards() {
        let bench =
            bench(&Options::default(), |writer| writer.busy_timeout(Duration::from_millis(20)).unwrap());
        bench.other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let error = bench.writer.write(set("key", b"x")).await.unwrap_err();
        assert!(matches!(error, StorageError::Locked { .. }) && error.is_transient(), "{error}");
        bench.other.execute_batch("COMMIT").unwrap();
        bench.writer.write(set("key", b"x")).await.unwrap();
    }

    #[tokio::test]
    async fn a_caller_that_gives_up_has_its_write_all_the_same() {
        let bench = bench(&Options::default(), |_| {});
        drop(bench.writer.write(set("first", b"x")));
        bench.writer.write(set("second", b"x")).await.unwrap();
        assert_eq!(rows(&bench.other), 2);
    }

    #[tokio::test]
    async fn closing_commits_the_queue_and_refuses_what_comes_later() {
        let bench = bench(&Options::default(), |_| {});
        let waiting: Vec<_> =
            (0..50).map(|number| bench.writer.write(set(&number.to_string(), b"x"))).collect();
        bench.writer.close().await.unwrap();
        for write in waiting {
            write.await.unwrap();
        }
        assert!(matches!(bench.writer.write(set("late", b"x")).await, Err(StorageError::Closed)));
        bench.writer.close().await.unwrap();
        assert_eq!(rows(&bench.other), 50);
    }
}
