//! `started` and `stopped`: waiting for a server to come or to be gone.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{ClientError, Outcome, remote};
use crate::command::Phase;
use crate::ctl::InstanceLock;

const INTERVAL: Duration = Duration::from_millis(20);

/// Waits until the server at `socket` says that it is running.
pub(super) fn started(socket: &Path, deadline: Duration) -> Outcome {
    started_unless(socket, deadline, || None)
}

/// The same, but gives up as soon as `failed` says why there will never be one.
pub(super) fn started_unless(
    socket: &Path,
    deadline: Duration,
    mut failed: impl FnMut() -> Option<String>,
) -> Outcome {
    let running = || match failed() {
        Some(why) => Err(ClientError::Refused(why)),
        None => Ok(remote::phase(socket).is_ok_and(|phase| phase == Phase::Running.name())),
    };
    until(deadline, running)
}

/// Waits until nobody answers at `socket` and the server that did has let go of its lock, which it does last.
pub(super) fn stopped(socket: &Path, deadline: Duration) -> Outcome {
    until(deadline, || {
        let nobody = matches!(remote::phase(socket), Err(ClientError::NoConnection { .. }));
        Ok(nobody && !InstanceLock::is_held(socket))
    })
}

/// Waits until `condition` is true, or fails.
pub(super) fn until(deadline: Duration, mut condition: impl FnMut() -> Result<bool, ClientError>) -> Outcome {
    let end = Instant::now() + deadline;
    while !condition()? {
        if Instant::now() >= end {
            return Err(ClientError::Refused(format!("It did not happen within {deadline:?}.")));
        }
        sleep(INTERVAL);
    }
    Ok(0)
}
