//! The bounded pool for work that costs milliseconds of CPU per call: hashing passwords.
//!
//! A few calls run at once on tokio's blocking threads, a few more wait, and everything beyond is refused at once. So a
//! login storm can take no more than the pool's share of the processor, and nobody waits behind it for long.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::AuthError;

/// Long enough for a short storm to pass, short enough for a client's own patience.
const PATIENCE: Duration = Duration::from_secs(5);

/// The pool.
pub(super) struct Hashing {
    /// Calls that may be inside: running and waiting.
    admission: Arc<Semaphore>,
    /// Calls that may run.
    running: Arc<Semaphore>,
    /// How long a call waits for its turn.
    patience: Duration,
}

impl Hashing {
    /// A pool for `threads` calls at once and `queue` waiting ones.
    pub(super) fn new(threads: usize, queue: usize) -> Hashing {
        let threads = threads.max(1);
        Hashing {
            admission: Arc::new(Semaphore::new(threads + queue)),
            running: Arc::new(Semaphore::new(threads)),
            patience: PATIENCE,
        }
    }

    /// Runs `work` on the pool; [`AuthError::Busy`] if there is no room or the turn does not come in time.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, AuthError> {
        let admitted = self.admission.clone().try_acquire_owned().map_err(|_| AuthError::Busy)?;
        let turn = tokio::time::timeout(self.patience, self.running.clone().acquire_owned()).await;
        let turn = turn.ok().and_then(Result::ok).ok_or(AuthError::Busy)?;
        let done = tokio::task::spawn_blocking(move || {
            // Both places are given back when the work is done, not when its caller gives up.
            let _places = (admitted, turn);
            work()
        });
        done.await.map_err(|_| AuthError::Crypto { doing: "hashing a password" })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    fn blocked_on(gate: Receiver<()>) -> impl FnOnce() -> bool + Send {
        move || gate.recv().is_err()
    }

    #[tokio::test]
    async fn what_exceeds_the_pool_and_its_queue_is_refused_at_once() {
        let pool = Arc::new(Hashing::new(1, 2));
        let (open, gate) = channel();
        let start = |work: Box<dyn FnOnce() -> bool + Send>| {
            let pool = pool.clone();
            tokio::spawn(async move { pool.run(work).await })
        };
        let mut inside = vec![start(Box::new(blocked_on(gate)))];
        inside.extend([(); 2].map(|()| start(Box::new(|| true))));
        while pool.admission.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(matches!(pool.run(|| ()).await, Err(AuthError::Busy)));
        drop(open);
        for call in inside {
            assert!(call.await.unwrap().unwrap());
        }
        pool.run(|| ()).await.unwrap();
    }

    #[tokio::test]
    async fn a_caller_that_gives_up_keeps_its_place_until_the_work_is_done() {
        let pool = Arc::new(Hashing::new(1, 0));
        let (open, gate) = channel();
        let call = tokio::spawn({
            let pool = pool.clone();
            async move { pool.run(blocked_on(gate)).await }
        });
        while pool.running.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
        assert!(matches!(pool.run(|| ()).await, Err(AuthError::Busy)));
        drop(open);
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while pool.run(|| ()).await.is_err() {
            assert!(tokio::time::Instant::now() < deadline, "the place was never given back");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_turn_that_does_not_come_is_an_error() {
        let pool = Hashing { patience: Duration::from_millis(1), ..Hashing::new(1, 1) };
        let _turn = pool.running.clone().acquire_owned().await.unwrap();
        assert!(matches!(pool.run(|| ()).await, Err(AuthError::Busy)));
        assert_eq!(pool.admission.available_permits(), 2);
    }
}
