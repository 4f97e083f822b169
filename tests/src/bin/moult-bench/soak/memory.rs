//! The server's memory while it is under load: whether it grows once it is warm.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::measure::pss_bytes;

const SAMPLES: u32 = 50;
/// What may be added between warm and end: this part of it, and so much for a short run.
const ALLOWED_PART: f64 = 0.05;
const ALLOWED_MIB: f64 = 8.0;

/// A watcher at work.
pub struct Memory {
    stop: Sender<()>,
    worker: JoinHandle<Vec<f64>>,
}

/// What it saw, in MiB.
#[derive(Debug)]
pub struct Course {
    samples: Vec<f64>,
    /// The mean from a fifth to two fifths of the time.
    pub warm: f64,
    /// The mean of the last fifth.
    pub end: f64,
}

impl Memory {
    /// Looks at this process and its children while `length` passes.
    pub fn watch(pid: u32, length: Duration) -> Memory {
        let (stop, stopped) = channel::<()>();
        let worker = std::thread::spawn(move || {
            let mut samples = Vec::new();
            while stopped.recv_timeout(length / SAMPLES) == Err(RecvTimeoutError::Timeout) {
                samples.push(pss_bytes(pid) as f64 / f64::from(1 << 20));
            }
            samples
        });
        Memory { stop, worker }
    }

    /// Ends it.
    pub fn end(self) -> Course {
        drop(self.stop);
        Course::of(self.worker.join().unwrap_or_default())
    }
}

impl Course {
    fn of(samples: Vec<f64>) -> Course {
        let fifth = samples.len() / 5;
        let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len().max(1) as f64;
        let (warm, end) = (mean(&samples[fifth..2 * fifth]), mean(&samples[samples.len() - fifth..]));
        Course { samples, warm, end }
    }

    /// Whether there is more at the end than a swap underway explains.
    pub fn has_grown(&self) -> bool {
        self.end > self.warm * (1.0 + ALLOWED_PART) + ALLOWED_MIB
    }

    /// Ten of the samples.
    pub fn line(&self) -> String {
        let some = self.samples.iter().step_by((self.samples.len() / 10).max(1));
        some.map(|mib| format!("{mib:.1}")).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_after_warming_up_is_seen_and_growth_before_it_is_not() {
        let flat: Vec<f64> = (0..50).map(|n| if n < 10 { f64::from(n) * 10.0 } else { 100.0 }).collect();
        assert!(!Course::of(flat).has_grown());
        let growing: Vec<f64> = (0..50).map(|n| 100.0 + f64::from(n)).collect();
        assert!(Course::of(growing).has_grown());
        assert!(!Course::of(Vec::new()).has_grown());
    }
}
