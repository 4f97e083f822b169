//! The log: where lines go, which of them are kept, and who reads along.
//!
//! Levels can change at any time, for the server and for single modules. A module whose level is set may be quieter or
//! more talkative than the server; the decision is taken in `plugin::log`, this file only lets its lines through.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use thiserror::Error;
use tokio::sync::broadcast;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Registry, reload};

use crate::config::{Log, LogFormat, LogLevel};
use crate::ctl::LogSource;
use crate::plugin;
use crate::stanza::date;

/// Lines that a slow reader may be behind before it loses some.
const BACKLOG: usize = 1_024;

/// Libraries whose inner life is not an operator's business.
const QUIET_LIBRARIES: [&str; 4] = ["hyper", "hyper_util", "rustls", "notify"];

/// Where the lines of modules come from; see `plugin::log`.
const MODULE_TARGET: &str = "moult::module";

/// Why there is no log.
#[derive(Debug, Error)]
pub enum LogError {
    /// The file the operator named cannot be written.
    #[error("The log file {} cannot be opened: {source}.", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody installed another log in this process.
    #[error("Another log is installed in this process already, which is a bug.")]
    Installed,
}

/// The log of this process. Cheap to clone.
#[derive(Clone)]
pub struct Logging {
    sink: Arc<Sink>,
    levels: Arc<Mutex<Levels>>,
    /// `None` for a log that nothing was installed for: in tests.
    filter: Option<reload::Handle<Targets, Registry>>,
}

struct Levels {
    server: LogLevel,
    modules: std::collections::BTreeMap<String, LogLevel>,
}

impl Logging {
    /// Makes this the log of the process.
    pub fn install(config: &Log) -> Result<Self, LogError> {
        let logging = Self::detached(config)?;
        let (filter, handle) = reload::Layer::new(targets(config.level));
        let registry = tracing_subscriber::registry().with(filter);
        let lines = tracing_subscriber::fmt::layer().with_writer(Lines(logging.sink.clone()));
        let installed = match config.format {
            LogFormat::Text => {
                let text = lines.with_ansi(false).with_target(false);
                tracing::subscriber::set_global_default(registry.with(text))
            }
            LogFormat::Json => {
                let json = lines.json().flatten_event(true);
                tracing::subscriber::set_global_default(registry.with(json))
            }
        };
        installed.map_err(|_| LogError::Installed)?;
        Ok(Self { filter: Some(handle), ..logging })
    }

    /// A log that nobody writes to: for a server inside a test, whose process has its own.
    pub fn detached(config: &Log) -> Result<Self, LogError> {
        let levels = Levels { server: config.level, modules: config.modules.clone() };
        let logging =
            Self { sink: Arc::new(Sink::open(config)?), levels: Arc::new(Mutex::new(levels)), filter: None };
        logging.enforce();
        Ok(logging)
    }

    /// The server's level.
    pub fn level(&self) -> LogLevel {
        self.lock().server
    }

    /// The level of one module: its own, or the server's.
    pub fn module_level(&self, module: &str) -> LogLevel {
        let levels = self.lock();
        levels.modules.get(module).copied().unwrap_or(levels.server)
    }

    /// Sets the server's level.
    pub fn set_level(&self, level: LogLevel) {
        self.lock().server = level;
        self.enforce();
    }

    /// Sets the level of one module.
    pub fn set_module_level(&self, module: &str, level: LogLevel) {
        self.lock().modules.insert(module.to_owned(), level);
        self.enforce();
    }

    /// Takes the levels of the configuration, whatever commands have set meanwhile.
    pub fn apply(&self, config: &Log) {
        {
            let mut levels = self.lock();
            for module in levels.modules.keys().filter(|module| !config.modules.contains_key(*module)) {
                plugin::log::set_level(module, None);
            }
            levels.server = config.level;
            levels.modules = config.modules.clone();
        }
        self.enforce();
    }

    /// Opens the log file anew, after something else has moved it away.
    pub fn reopen(&self) -> Result<(), LogError> {
        self.sink.reopen()
    }

    /// Moves the log file aside and begins a new one; where the old one lies, or nothing where there is no file.
    pub fn rotate(&self) -> Result<Option<PathBuf>, LogError> {
        self.sink.rotate()
    }

    fn enforce(&self) {
        let levels = self.lock();
        plugin::log::set_server_level(for_modules(levels.server));
        for (module, level) in &levels.modules {
            plugin::log::set_level(module, Some(for_modules(*level)));
        }
        if let Some(filter) = &self.filter
            && let Err(error) = filter.reload(targets(levels.server))
        {
            tracing::error!(%error, "the level of the log could not be changed");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Levels> {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogSource for Logging {
    fn subscribe(&self) -> broadcast::Receiver<Arc<str>> {
        self.sink.readers.subscribe()
    }
}

/// The levels of the ABI: 0 critical to 5 trace; nothing at all is below them.
fn for_modules(level: LogLevel) -> i32 {
    match level {
        LogLevel::None => -1,
        LogLevel::Emergency | LogLevel::Alert | LogLevel::Critical => 0,
        LogLevel::Error => 1,
        LogLevel::Warning => 2,
        LogLevel::Notice | LogLevel::Info => 3,
        LogLevel::Debug => 4,
    }
}

fn targets(level: LogLevel) -> Targets {
    let level = level.tracing().map_or(LevelFilter::OFF, LevelFilter::from_level);
    let quiet = level.min(LevelFilter::WARN);
    let libraries = QUIET_LIBRARIES.into_iter().map(|library| (library, quiet));
    // What a module may say was decided before the line was made.
    Targets::new().with_default(level).with_targets(libraries).with_target(MODULE_TARGET, LevelFilter::TRACE)
}

/// Where formatted lines go: standard error or a file, and to whoever reads along.
struct Sink {
    path: Option<PathBuf>,
    file: ArcSwapOption<File>,
    readers: broadcast::Sender<Arc<str>>,
}

impl Sink {
    fn open(config: &Log) -> Result<Self, LogError> {
        let file = config.file.as_deref().map(open).transpose()?;
        let (readers, _) = broadcast::channel(BACKLOG);
        Ok(Self { path: config.file.clone(), file: ArcSwapOption::from_pointee(file), readers })
    }

    fn reopen(&self) -> Result<(), LogError> {
        if let Some(path) = &self.path {
            self.file.store(Some(Arc::new(open(path)?)));
        }
        Ok(())
    }

    fn rotate(&self) -> Result<Option<PathBuf>, LogError> {
        let Some(path) = &self.path else { return Ok(None) };
        let old = aside(path, SystemTime::now());
        let failed = |source| LogError::File { path: path.clone(), source };
        // A link fails where the name is taken, a rename would overwrite.
        std::fs::hard_link(path, &old).map_err(failed)?;
        std::fs::remove_file(path).map_err(failed)?;
        self.reopen()?;
        Ok(Some(old))
    }

    fn write(&self, line: &[u8]) -> io::Result<()> {
        if self.readers.receiver_count() > 0 {
            let text = String::from_utf8_lossy(line);
            // Nobody reading any more is no error.
            let _ = self.readers.send(text.trim_end_matches('\n').into());
        }
        match &*self.file.load() {
            // One write per line to a file opened for appending: lines of several threads do not mix.
            Some(file) => (&**file).write_all(line),
            None => io::stderr().lock().write_all(line),
        }
    }
}

/// `moult.log.20261121T081500Z`
fn aside(path: &Path, now: SystemTime) -> PathBuf {
    let time: String = date(now).chars().filter(|c| !matches!(c, '-' | ':')).collect();
    let time = time.split_once('.').map_or(time.clone(), |(seconds, _)| format!("{seconds}Z"));
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{time}"));
    name.into()
}

fn open(path: &Path) -> Result<File, LogError> {
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened.map_err(|source| LogError::File { path: path.to_owned(), source })
}

/// Gives each event a writer of its own.
struct Lines(Arc<Sink>);

struct Line<'a>(&'a Sink);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(&self.0)
    }
}

impl Write for Line<'_> {
    /// A line that cannot be written is lost: a full disk must not stop what wanted to be logged.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let _ = self.0.write(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(file: Option<PathBuf>) -> Log {
        Log { level: LogLevel::Info, format: LogFormat::Text, file, modules: Default::default() }
    }

    #[test]
    fn lines_go_to_the_file_and_to_readers_and_survive_its_rotation() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("moult.log");
        let logging = Logging::detached(&config(Some(path.clone()))).unwrap();
        let mut reader = logging.subscribe();
        logging.sink.write(b"one\n").unwrap();
        assert_eq!(&*reader.try_recv().unwrap(), "one");
        std::fs::rename(&path, folder.path().join("old.log")).unwrap();
        logging.reopen().unwrap();
        logging.sink.write(b"two\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two\n");
    }

    #[test]
    fn a_rotated_log_lies_beside_the_new_one_under_a_name_with_the_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("moult.log");
        let logging = Logging::detached(&config(Some(path.clone()))).unwrap();
        logging.sink.write(b"one\n").unwrap();
        let old = logging.rotate().unwrap().unwrap();
        logging.sink.write(b"two\n").unwrap();
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "one\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two\n");
        let then = SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1_500);
        assert_eq!(aside(Path::new("/l/m.log"), then), Path::new("/l/m.log.19700101T000001Z"));
        assert!(Logging::detached(&config(None)).unwrap().rotate().unwrap().is_none());
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let error = Logging::detached(&config(Some("/nowhere/moult.log".into()))).err().unwrap();
        assert!(error.to_string().contains("/nowhere/moult.log"));
    }

    #[test]
    fn a_modules_level_wins_over_the_servers_until_the_next_reload() {
        let logging = Logging::detached(&config(None)).unwrap();
        logging.set_module_level("mod_talks", LogLevel::Debug);
        assert_eq!(logging.module_level("mod_talks"), LogLevel::Debug);
        assert_eq!(logging.module_level("mod_other"), LogLevel::Info);
        logging.apply(&config(None));
        assert_eq!(logging.module_level("mod_talks"), LogLevel::Info);
    }
}
