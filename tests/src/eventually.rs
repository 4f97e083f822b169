//! Waiting for a condition with a deadline, never for time.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long a condition may take before the test fails. Generous: the machine may be busy with other builds.
pub const DEADLINE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(10);

/// Waits until `condition` is true; panics with `what` when it is not in time.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    eventually_some(what, async || condition().await.then_some(())).await
}

/// Waits until `probe` has a value; panics with `what` when it has none in time.
pub async fn eventually_some<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = probe().await {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        sleep(PAUSE).await;
    }
}
