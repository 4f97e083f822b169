//! A signal whenever the libraries in the plugin folder are others than before.
//!
//! Events of the file system only say when to look; what has changed is decided by content, so touching a file or writing
//! the same bytes again is no change, and a file that is still being written is none yet. The folder may vanish and come
//! back. Where the system cannot notify, and in case it forgets to, the folder is looked at from time to time.

use super::folder::{FolderRules, FolderScanner, Scan};
use super::loader::ContentHash;
use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode};
use notify_debouncer_full::{
    DebounceEventResult, DebouncedEvent, Debouncer, RecommendedCache, new_debouncer,
};
use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
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
    polling: Option<String>,
    stop: Arc<AtomicBool>,
    wake: SyncSender<()>,
}

impl FolderWatch {
    /// Begins, after one look at what is there now, which is no change. The folder need not exist yet.
    pub fn start(dir: &Path, rules: FolderRules, settings: WatchSettings) -> FolderWatch {
        // Events carry absolute paths.
        let dir = &std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
        let (wake, woken) = sync_channel(1);
        let (sender, changes) = watch::channel(0);
        let stop = Arc::new(AtomicBool::new(false));
        let (notifier, polling) = match notifier(dir, &settings, &wake) {
            Ok(notifier) => (notifier, None),
            Err(why) => {
                tracing::warn!(folder = %dir.display(), "the plugin folder is polled: {why}");
                (None, Some(why))
            }
        };
        let mut watcher = Watcher::new(dir, rules, settings, notifier, sender);
        watcher.renew();
        watcher.look(false);
        let stopped = stop.clone();
        let thread = std::thread::Builder::new().name("moult-watch".into());
        if let Err(e) = thread.spawn(move || watcher.run(&woken, &stopped)) {
            tracing::error!("the plugin folder is not watched, the thread cannot be started: {e}");
        }
        FolderWatch { changes, polling, stop, wake }
    }

    /// Counts the changes of content seen; touching a file is none.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    /// Why the folder is polled, if it is.
    pub fn polling(&self) -> Option<&str> {
        self.polling.as_deref()
    }
}

impl Drop for FolderWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // Full means that the thread is about to look up anyhow.
        let _ = self.wake.try_send(());
    }
}

type Notifier = Debouncer<RecommendedWatcher, RecommendedCache>;

fn notifier(dir: &Path, settings: &WatchSettings, wake: &SyncSender<()>) -> Result<Option<Notifier>, String> {
    if settings.poll_only {
        return Err("the configuration says so".into());
    }
    let (dir, wake) = (dir.to_owned(), wake.clone());
    let handler = move |result: DebounceEventResult| {
        let matters = match &result {
            Ok(events) => events.iter().any(|event| concerns(event, &dir)),
            Err(_) => true,
        };
        if matters {
            // Full means that a look is due already.
            let _ = wake.try_send(());
        }
    };
    let debounce = settings.debounce.max(Duration::from_millis(4));
    new_debouncer(debounce, Some(debounce / 2), handler).map(Some).map_err(|e| e.to_string())
}

/// Whether an event may mean other content in the folder. Reading, ours included, never does.
fn concerns(event: &DebouncedEvent, dir: &Path) -> bool {
    if event.need_rescan() {
        return true;
    }
    let changes = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    };
    changes && event.paths.iter().any(|path| path.starts_with(dir) || dir.starts_with(path))
}

/// What is known of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Library(ContentHash),
    Refused(String),
}

struct Watcher {
    dir: PathBuf,
    settle: Duration,
    settings: WatchSettings,
    scanner: FolderScanner,
    notifier: Option<Notifier>,
    /// What is watched at this moment, by path and identity.
    watched: BTreeMap<PathBuf, Identity>,
    known: BTreeMap<PathBuf, State>,
    /// How the files looked from outside when they were last read.
    outside: BTreeMap<PathBuf, Outside>,
    unsettled: bool,
    sender: watch::Sender<u64>,
}

/// Device and inode.
type Identity = (u64, u64);
/// Identity, owner, rights, length and times: cheap to ask for; if they differ, it is time to read.
type Outside = (Identity, u32, u32, u64, [i64; 4]);

impl Watcher {
    fn new(
        dir: &Path,
        rules: FolderRules,
        settings: WatchSettings,
        notifier: Option<Notifier>,
        sender: watch::Sender<u64>,
    ) -> Watcher {
        Watcher {
            dir: dir.to_owned(),
            settle: rules.settle,
            settings,
            scanner: FolderScanner::new(dir, rules),
            notifier,
            watched: BTreeMap::new(),
            known: BTreeMap::new(),
            outside: BTreeMap::new(),
            unsettled: false,
            sender,
        }
    }

    fn run(mut self, woken: &Receiver<()>, stop: &AtomicBool) {
        loop {
            let told = match woken.recv_timeout(self.pause()) {
                Ok(()) => true,
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if stop.load(Ordering::Acquire) {
                return;
            }
            let renewed = self.renew();
            if told || renewed || self.unsettled || self.outside != self.look_from_outside() {
                self.look(true);
            }
        }
    }

    fn pause(&self) -> Duration {
        let least = Duration::from_millis(5);
        if self.unsettled {
            (self.settle / 2).min(self.settings.poll).max(least)
        } else {
            self.settings.poll.max(least)
        }
    }

    /// Reads the folder and tells of a change.
    fn look(&mut self, tell: bool) {
        self.outside = self.look_from_outside();
        let scan = self.scanner.scan();
        self.unsettled = !scan.unsettled.is_empty();
        let now = states(scan, &self.known);
        if now == self.known {
            return;
        }
        self.known = now;
        if tell {
            self.sender.send_modify(|count| *count += 1);
        }
    }

    fn look_from_outside(&self) -> BTreeMap<PathBuf, Outside> {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let path = entry.path();
            // Follows links: where they lead is what counts.
            if let Ok(facts) = fs::metadata(&path) {
                files.insert(path, outside(&facts));
            }
        }
        if let Ok(facts) = fs::metadata(&self.dir) {
            files.insert(self.dir.clone(), outside(&facts));
        }
        files
    }

    /// Watches the folder that is there now, and the next folder above it that is there, for the day it vanishes, comes
    /// back, or becomes a link to somewhere else. Says whether it had to begin anew.
    fn renew(&mut self) -> bool {
        let Some(notifier) = &mut self.notifier else { return false };
        let above = self.dir.ancestors().skip(1).find(|path| path.is_dir());
        let wanted: BTreeMap<PathBuf, Identity> = [Some(self.dir.as_path()), above]
            .into_iter()
            .flatten()
            .filter_map(|path| {
                fs::metadata(path).ok().map(|facts| (path.to_owned(), (facts.dev(), facts.ino())))
            })
            .collect();
        if wanted == self.watched {
            return false;
        }
        for path in self.watched.keys() {
            // It may be gone already.
            let _ = notifier.unwatch(path);
        }
        self.watched.clear();
        for (path, identity) in wanted {
            if let Err(e) = notifier.watch(&path, RecursiveMode::NonRecursive) {
                tracing::warn!(folder = %path.display(), "cannot be watched, only polled: {e}");
            }
            self.watched.insert(path, identity);
        }
        true
    }
}

fn outside(facts: &Metadata) -> Outside {
    let times = [facts.mtime(), facts.mtime_nsec(), facts.ctime(), facts.ctime_nsec()];
    ((facts.dev(), facts.ino()), facts.uid(), facts.mode(), facts.len(), times)
}

/// What is known after a look. A file that is being written counts as what it was before.
fn states(scan: Scan, before: &BTreeMap<PathBuf, State>) -> BTreeMap<PathBuf, State> {
    let mut now: BTreeMap<PathBuf, State> = BTreeMap::new();
    for file in scan.unsettled {
        if let Some(state) = before.get(&file.path) {
            now.insert(file.path, state.clone());
        }
    }
    for found in scan.found {
        now.insert(found.path, State::Library(found.hash));
    }
    for problem in scan.problems {
        now.insert(problem.path, State::Refused(problem.reason));
    }
    now
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watcher(dir: &Path) -> (Watcher, watch::Receiver<u64>) {
        let (sender, changes) = watch::channel(0);
        let rules = FolderRules { settle: Duration::ZERO, ..FolderRules::default() };
        (Watcher::new(dir, rules, WatchSettings::default(), None, sender), changes)
    }

    #[test]
    fn a_look_that_finds_the_same_content_tells_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mod_a.so");
        fs::write(&path, b"one").unwrap();
        let (mut watcher, changes) = watcher(dir.path());
        watcher.look(false);
        assert_eq!(*changes.borrow(), 0, "what is there at first is no change");
        fs::File::options().append(true).open(&path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        watcher.look(true);
        fs::write(&path, b"one").unwrap();
        watcher.look(true);
        fs::write(dir.path().join("notes.txt"), b"x").unwrap();
        watcher.look(true);
        assert_eq!(*changes.borrow(), 0);
        fs::write(&path, b"two").unwrap();
        watcher.look(true);
        assert_eq!(*changes.borrow(), 1);
    }

    #[test]
    fn reading_the_folder_wakes_nobody() {
        let event = |kind, path: &str| DebouncedEvent {
            event: notify::Event::new(kind).add_path(path.into()),
            time: std::time::Instant::now(),
        };
        let dir = Path::new("/srv/plugins");
        let read = EventKind::Access(AccessKind::Open(AccessMode::Any));
        assert!(!concerns(&event(read, "/srv/plugins/m.so"), dir));
        let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
        assert!(concerns(&event(written, "/srv/plugins/m.so"), dir));
        let made = EventKind::Create(notify::event::CreateKind::Any);
        assert!(concerns(&event(made, "/srv"), dir) && concerns(&event(made, "/srv/plugins"), dir));
        assert!(!concerns(&event(made, "/srv/pluginsx"), dir));
    }
}
