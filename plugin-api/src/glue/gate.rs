//! Whether the host is still there. Handles, wakers and own threads of a module may outlive their instance; the host's
//! table must not be used then.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const CLOSED: usize = 1 << (usize::BITS - 1);

/// Counts calls into the host, and lets none in once it was closed.
#[derive(Debug, Default)]
pub(crate) struct Gate(AtomicUsize);

/// A call into the host under way.
pub(crate) struct Pass<'a>(&'a AtomicUsize);

impl Gate {
    /// Enters, unless the gate is closed.
    pub(crate) fn enter(&self) -> Option<Pass<'_>> {
        let before = self.0.fetch_add(1, Ordering::Acquire);
        let pass = Pass(&self.0);
        if before & CLOSED == 0 { Some(pass) } else { None }
    }

    /// Closes for good and waits until the last call has left.
    pub(crate) fn close(&self) {
        let mut inside = self.0.fetch_or(CLOSED, Ordering::AcqRel) & !CLOSED;
        while inside != 0 {
            // Only a thread of the module's own can be inside here, and only in a call that the host ends in time.
            std::thread::sleep(Duration::from_micros(100));
            inside = self.0.load(Ordering::Acquire) & !CLOSED;
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn nobody_enters_a_closed_gate() {
        let gate = Gate::default();
        assert!(gate.enter().is_some());
        gate.close();
        assert!(gate.enter().is_none());
        gate.close();
    }

    #[test]
    fn closing_waits_for_whoever_is_inside() {
        let gate = Arc::new(Gate::default());
        let pass = gate.enter().unwrap();
        let closer = std::thread::spawn({
            let gate = Arc::clone(&gate);
            move || gate.close()
        });
        while gate.enter().is_some() {
            std::thread::yield_now();
        }
        assert!(!closer.is_finished());
        drop(pass);
        closer.join().unwrap();
    }
}
