//! Reader threads: each has a read-only connection, all take from one bounded queue.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::Options;
use crate::storage::{Pending, StorageError};

/// How long a caller waits for its answer.
const DEADLINE: Duration = Duration::from_secs(15);

type Job = Box<dyn FnOnce(&Connection) + Send>;

/// The pool. Its threads end when it is dropped and the queue is empty.
pub(super) struct Readers {
    queue: SyncSender<Job>,
    shed: AtomicU64,
}

impl Readers {
    /// Starts `options.readers` threads over connections that `connect` opens.
    pub(super) fn start(
        options: &Options,
        connect: impl Fn() -> Result<Connection, StorageError>,
    ) -> Result<Readers, StorageError> {
        let (queue, jobs) = sync_channel(options.read_queue.max(1));
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
        Ok(Readers { queue, shed: AtomicU64::new(0) })
    }

    /// Runs `job` on a reader. A caller that gives up takes its job out of the queue.
    pub(super) fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> Result<T, StorageError> + Send + 'static,
    ) -> Pending<T> {
        let (answer, answered) = oneshot::channel();
        let queued = self.queue.try_send(Box::new(move |connection| {
            if !answer.is_closed() {
                // The caller may be gone by now: then nobody wants the answer.
                let _ = answer.send(job(connection));
            }
        }));
        if matches!(queued, Err(TrySendError::Full(_))) {
            self.shed.fetch_add(1, Ordering::Relaxed);
        }
        Box::pin(async move {
            match queued {
                Err(TrySendError::Full(_)) => return Err(StorageError::Overloaded { queue: "read" }),
                Err(TrySendError::Disconnected(_)) => return Err(StorageError::Closed),
                Ok(()) => {}
            }
            match tokio::time::timeout(DEADLINE, answered).await {
                Ok(answer) => answer.unwrap_or(Err(StorageError::Closed)),
                Err(_) => Err(StorageError::TimedOut { queue: "read", seconds: DEADLINE.as_secs() }),
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

    #[tokio::test]
    async fn a_full_queue_is_an_error_at_once_and_what_was_accepted_is_read() {
        let readers = one_reader(4);
        let (go, gate) = std::sync::mpsc::channel::<()>();
        let (at_gate, arrived) = std::sync::mpsc::channel::<()>();
        let first = readers.read(move |_| {
            at_gate.send(()).unwrap();
            Ok(gate.recv().is_err())
        });
        arrived.recv().unwrap();
        let queued: Vec<_> = (0..4).map(|number| readers.read(move |_| Ok(number))).collect();
        let refused = readers.read(|_| Ok(())).await.unwrap_err();
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
        let first = readers.read(move |_| Ok(gate.recv().is_err()));
        let ran = Arc::new(AtomicU64::new(0));
        let counter = ran.clone();
        drop(readers.read(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }));
        drop(go);
        first.await.unwrap();
        readers.read(|_| Ok(())).await.unwrap();
        assert_eq!(ran.load(Ordering::Relaxed), 0);
    }
}
