//! One update after the other, from a thread of its own, until it is told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::target::Updater;

/// Updates underway.
pub struct Updates {
    stop: Sender<()>,
    worker: JoinHandle<Outcome>,
    done: Arc<AtomicUsize>,
}

/// What became of them.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How many were made.
    pub count: usize,
    /// Why some were not.
    pub failures: Vec<String>,
    /// The longest time of the command.
    pub longest: Duration,
}

impl Updates {
    /// Begins; the first one comes after one `interval`.
    pub fn begin(updater: Updater, interval: Duration) -> Updates {
        let (stop, stopped) = channel();
        let done = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&done);
        let worker = std::thread::spawn(move || work(updater, interval, &stopped, &counter));
        Updates { stop, worker, done }
    }

    /// How many were made so far.
    pub fn done(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }

    /// No more of them; the one underway is waited for.
    pub fn end(self) -> Outcome {
        drop(self.stop);
        self.worker.join().unwrap_or_default()
    }
}

fn work(mut updater: Updater, interval: Duration, stopped: &Receiver<()>, done: &AtomicUsize) -> Outcome {
    let mut outcome = Outcome::default();
    while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
        let prepared = (updater.prepare)(outcome.count + 1);
        let since = Instant::now();
        if let Err(failure) = prepared.and_then(|()| (updater.load)()) {
            outcome.failures.push(failure.to_string());
            continue;
        }
        outcome.longest = outcome.longest.max(since.elapsed());
        outcome.count += 1;
        done.store(outcome.count, Ordering::Relaxed);
    }
    outcome
}
