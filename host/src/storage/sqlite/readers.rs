//! Reader threads: each has a read-only connection, all take from one bounded queue.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::Options;
use crate::storage::{Pending, Space, StorageError};

/// How long a caller waits for its answer.
const DEADLINE: Duration = Duration::from_secs(15);

type Job = Box<dyn FnOnce(&Connection) + Send>;

/// Who asks: modules leave the last quarter of a queue to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    Host,
    Module,
}

impl Asker {
    /// The owner of a key space.
    pub(super) fn of(space: &Space) -> Asker {
        if space.is_core() { Asker::Host } else { Asker::Module }
    }

    /// How much of a queue this one may fill.
    pub(super) fn share(self, queue: usize) -> usize {
        match self {
            Asker::Host => queue,
            Asker::Module => queue - queue / 4,
        }
    }
}

/// The pool. Its threads end when it is dropped and the queue is empty.
pub(super) struct Readers {
    queue: SyncSender<Job>,
    length: usize,
    queued: Arc<AtomicUsize>,
    shed: AtomicU64,
}

impl Readers {
    /// Starts `options.readers` threads over connections that `connect` opens.
    pub(super) fn start(
        options: &Options,
        connect: impl Fn() -> Result<Connection, StorageError>,
    ) -> Result<Readers, StorageError> {
        let length = options.read_queue.max(1);
        let (queue, jobs) = sync_channel(length);
        let jobs = Arc::new(Mutex::new(jobs));
        for number in 0..options.readers.max(1) {
            let (connection, jobs) = (connect()?, jobs.clone());
            std::thread::Builder::new()
                .name(format!("store-reader-{number}"))
                .spawn(move || run(&connection, &jobs))
                .map_err(|error| StorageError::Failed {
                    reason: format!("no thread for reading: {error}"),
                })?;
        }
        Ok(Readers { queue, length, queued: Arc::default(), shed: AtomicU64::new(0) })
    }

    /// Runs `job` on a reader. A caller that gives up takes its job out of the queue.
    pub(super) fn read<T: Send + 'static>(
        &self,
        asker: Asker,
        job: impl FnOnce(&Connection) -> Result<T, StorageError> + Send + 'static,
    ) -> Pending<T> {
        let (answer, answered) = oneshot::channel();
        let queued = self.enqueue(asker, move |connection| {
            if !answer.is_closed() {
                // The caller may be gone by now: then nobody wants the answer.
                let _ = answer.send(job(connection));
            }
        });
        Box::pin(async move {
            queued?;
            match tokio::time::timeout(DEADLINE, answered).await {
                Ok(answer) => answer.unwrap_or(Err(StorageError::Closed)),
                Err(_) => Err(StorageError::TimedOut { queue: "read", seconds: DEADLINE.as_secs() }),
            }
        })
    }

    fn enqueue(
        &self,
        asker: Asker,
        job: impl FnOnce(&Connection) + Send + 'static,
    ) -> Result<(), StorageError> {
        let full = || {
            self.shed.fetch_add(1, Ordering::Relaxed);
            StorageError::Overloaded { queue: "read" }
        };
        if self.queued.load(Ordering::Relaxed) >= asker.share(self.length) {
            return Err(full());
        }
        self.queued.fetch_add(1, Ordering::Relaxed);
        let queued = self.queued.clone();
        let job = move |connection: &Connection| {
            queued.fetch_sub(1, Ordering::Relaxed);
            job(connection);
        };
        self.queue.try_send(Box::new(job)).map_err(|refused| {
            self.queued.fetch_sub(1, Ordering::Relaxed);
            match refused {
                TrySendError::Full(_) => full(),
                TrySendError::Disconnected(_) => StorageError::Closed,
            }
        })
    }

    /// Reads refused because the queue was full.
    pub(super) fn shed(&self) -> u64 {
        self.shed.load(Ordering::Relaxed)
    }
}

fn run(connection: &Connection, jobs: &Mutex<Receiver<Job>>) {
    while let Some(job) = next(jobs) {
        job(connection);
    }
}

/// The lock is held while waiting: the other idle threads queue for it instead of for the channel.
fn next(jobs: &Mutex<Receiver<Job>>) -> Option<Job> {
    jobs.lock().ok()?.recv().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_reader(read_queue: usize) -> Readers {
        let options = Options { readers: 1, read_queue, ..Options::default() };
        Readers::start(&options, || Ok(Connection::open_in_memory()?)).unwrap()
    }

    /// A read that has begun and ends, with `true`, when the sender is dropped.
    fn held(readers: &Readers) -> (std::sync::mpsc::Sender<()>, Pending<bool>) {
        let (go, gate) = std::sync::mpsc::channel::<()>();
        let (at_gate, arrived) = std::sync::mpsc::channel::<()>();
        let read = readers.read(Asker::Host, move |_| {
            at_gate.send(()).unwrap();
            Ok(gate.recv().is_err())
        });
        arrived.recv().unwrap();
        (go, read)
    }

    #[tokio::test]
    async fn a_full_queue_is_an_error_at_once_and_what_was_accepted_is_read() {
        let readers = one_reader(4);
        let (go, first) = held(&readers);
        let queued: Vec<_> = (0..4).map(|number| readers.read(Asker::Host, move |_| Ok(number))).collect();
        let refused = readers.read(Asker::Host, |_| Ok(())).await.unwrap_err();
        assert!(matches!(refused, StorageError::Overloaded { queue: "read" }), "{refused}");
        assert_eq!(readers.shed(), 1);
        drop(go);
        assert!(first.await.unwrap());
        for (number, read) in queued.into_iter().enumerate() {
            assert_eq!(read.await.unwrap(), number);
        }
    }

    #[tokio::test]
    async fn a_caller_that_gave_up_costs_no_read() {
        let readers = one_reader(4);
        let (go, gate) = std::sync::mpsc::channel::<()>();
        let first = readers.read(Asker::Host, move |_| Ok(gate.recv().is_err()));
        let ran = Arc::new(AtomicU64::new(0));
        let counter = ran.clone();
        drop(readers.read(Asker::Host, move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }));
        drop(go);
        first.await.unwrap();
        readers.read(Asker::Host, |_| Ok(())).await.unwrap();
        assert_eq!(ran.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn modules_leave_room_for_the_host() {
        let readers = one_reader(8);
        let (go, first) = held(&readers);
        let reads = |asker: Asker| (0..10).map(|_| readers.read(asker, |_| Ok(()))).collect::<Vec<_>>();
        let (modules, host) = (reads(Asker::Module), reads(Asker::Host));
        drop(go);
        first.await.unwrap();
        let mut done = [0, 0];
        for (reads, done) in [modules, host].into_iter().zip(&mut done) {
            for read in reads {
                *done += i32::from(read.await.is_ok());
            }
        }
        assert_eq!(done, [6, 2]);
    }
}
