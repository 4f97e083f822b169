//! The tasks of an instance's timers, and the watch over its idle time. They end with it, whenever they were begun.

use super::lock;
use crate::plugin::gate::Gate;
use std::sync::Mutex;
use tokio::task::JoinHandle;

/// What may fire by itself.
#[derive(Default)]
pub(super) struct Timers {
    /// By the ids of their registrations.
    running: Mutex<Vec<(u64, JoinHandle<()>)>>,
    idle_watch: Mutex<Option<JoinHandle<()>>>,
}

impl Timers {
    /// Keeps the task of a timer. One that comes after the end of its instance is ended at once: the gate is retired
    /// before the timers are stopped, and both look under the same lock.
    pub fn keep(&self, id: u64, task: JoinHandle<()>, gate: &Gate) {
        let mut running = lock(&self.running);
        if gate.is_retired() {
            task.abort();
            return;
        }
        // Those that have fired for the last time.
        running.retain(|(_, task)| !task.is_finished());
        running.push((id, task));
    }

    /// Keeps the watch over the idle time instead of the one before.
    pub fn keep_watch(&self, watch: JoinHandle<()>, gate: &Gate) {
        let mut kept = lock(&self.idle_watch);
        let gone = if gate.is_retired() { Some(watch) } else { kept.replace(watch) };
        if let Some(gone) = gone {
            gone.abort();
        }
    }

    /// Stops the timer of a registration that was taken back.
    pub fn stop(&self, id: u64) {
        lock(&self.running).retain(|(of, task)| {
            if *of == id {
                task.abort();
            }
            *of != id
        });
    }

    /// Stops all.
    pub fn stop_all(&self) {
        let running = std::mem::take(&mut *lock(&self.running));
        running.iter().for_each(|(_, task)| task.abort());
        if let Some(watch) = lock(&self.idle_watch).take() {
            watch.abort();
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        lock(&self.running).len() + usize::from(lock(&self.idle_watch).is_some())
    }
}
