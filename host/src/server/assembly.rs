//! From a configuration to a running server, and back.

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::commands;
use super::directory::Directory;
use super::error::StartError;
use super::listeners::Listeners;
use super::logging::Logging;
use super::metrics::Observed;
use super::phase::PhaseTeller;
use super::services::Services;
use super::shared::{Ending, Shared};
use super::shutdown::{Parts, shut_down};
use super::{certificate, signals};
use crate::auth::{AccountOptions, Accounts, LimiterOptions, LoginLimiter};
use crate::command::Phase;
use crate::config::Config;
use crate::ctl::{Control, ControlSocket, InstanceLock};
use crate::plugin::manager::Manager;
use crate::plugin::probe::ProbeSettings;
use crate::plugin::reserve::Reserve;
use crate::router::{NoFederation, Router, RouterParts};
use crate::session::{MailboxLimits, SessionLimits, Sessions};
use crate::storage::Storage;
use crate::stream::tls::{Certificates, TlsSettings};

/// The store's file in the data folder.
pub(super) const STORE: &str = "moult.sqlite";
/// How often certificate files are looked at.
const CERTIFICATE_INTERVAL: Duration = Duration::from_secs(30);
/// How often overdue answers of modules are looked for.
const OVERDUE_INTERVAL: Duration = Duration::from_secs(1);
/// How often the numbers are looked at that cannot be had at once.
const OBSERVE_INTERVAL: Duration = Duration::from_secs(5);
/// Requests of the server and of modules that may wait for answers at the same time.
const PENDING_IQS: usize = 100_000;
/// Answers that modules may owe at the same time.
const OWED_ANSWERS: usize = 100_000;

/// Serves until the server is told to stop or cannot go on.
pub(super) async fn serve(
    config_file: &Path,
    config: Config,
    logging: Logging,
    reserve: Option<&Reserve>,
) -> Result<Ending, StartError> {
    let config = Arc::new(certificate::ensure(config)?);
    make_folders(&config)?;
    let socket = ControlSocket::bind(&config.server.control_socket)?;
    let _pid_file = config.server.pid_file.as_deref().map(PidFile::write).transpose()?;
    let shared = assemble(config_file, config, logging).await?;
    if let Some(reserve) = reserve {
        shared.manager.runtime().relieve(reserve.clone());
    }
    let control = Front::open(&shared, socket);
    let ending = match operate(&shared).await {
        Ok(ending) => ending,
        Err(error) => {
            // What has started is stopped in order, whatever kept the rest from starting.
            shut_down(&shared, Parts::default(), Ending::Failed).await;
            control.close().await;
            return Err(error);
        }
    };
    control.close().await;
    tracing::info!("the server has ended");
    Ok(ending)
}

/// From assembled parts to the end of the server; the control socket is somebody else's.
async fn operate(shared: &Arc<Shared>) -> Result<Ending, StartError> {
    signals::listen(shared)?;
    for error in shared.manager.start().await {
        tracing::error!("{error}");
    }
    let listeners = Listeners::open(shared).await?;
    // Errors are logged where they happen; the modules concerned are marked.
    shared.manager.announce_started().await;
    // What a change in the folder causes is looked up then, so that a reload can change it.
    shared.manager.watch_folder().await;
    let chores = chores(shared);
    shared.phase.enter(Phase::Running);
    let ending = ended(shared).await;
    shut_down(shared, Parts { listeners: Some(listeners), chores }, ending).await;
    Ok(ending)
}

pub(super) async fn assemble(
    config_file: &Path,
    config: Arc<Config>,
    logging: Logging,
) -> Result<Arc<Shared>, StartError> {
    let storage = Storage::open(config.server.data_dir.join(STORE))?;
    let accounts = Accounts::open(storage.clone(), AccountOptions::from(&config.auth)).await?;
    let certificates = Arc::new(Certificates::load(TlsSettings::from_config(&config))?);
    let sessions = Sessions::new(session_limits(&config));
    let probe = ProbeSettings { deadline: config.modules.probe_deadline, ..ProbeSettings::default() };
    let manager = Manager::open(Arc::clone(&config), probe)?;
    let router = Router::new(RouterParts {
        vhosts: config.vhosts.keys().map(|vhost| vhost.as_str().into()).collect(),
        sessions: sessions.clone(),
        modules: Arc::new(manager.modules()),
        accounts: Arc::new(Directory(accounts.clone())),
        remote: Arc::new(NoFederation),
        runtime: tokio::runtime::Handle::current(),
        answer_deadline: config.modules.call_deadline,
        pending_iqs: PENDING_IQS,
        owed_answers: OWED_ANSWERS,
    });
    let shared = Arc::new(Shared {
        config_path: config_file.to_owned(),
        storage,
        accounts,
        limiter: ArcSwap::from_pointee(login_limiter(&config)),
        config: ArcSwap::new(config),
        sessions,
        router,
        manager,
        certificates,
        logging,
        phase: PhaseTeller::new(),
        started: Instant::now(),
        started_at: SystemTime::now(),
        reloading: tokio::sync::Mutex::new(()),
        ending: watch::Sender::new(None),
        hub: OnceLock::new(),
        http: OnceLock::new(),
        table: OnceLock::new(),
        listening: Mutex::default(),
        observed: Observed::default(),
        kindly: Mutex::default(),
    });
    shared.manager.connect(Arc::new(Services::new(&shared)));
    Ok(shared)
}

/// The limiter of failed logins that the configuration asks for.
pub(super) fn login_limiter(config: &Config) -> LoginLimiter {
    LoginLimiter::new(limiter_options(config), Instant::now())
}

/// What the configuration says of failed logins.
pub(super) fn limiter_options(config: &Config) -> LimiterOptions {
    LimiterOptions {
        per_account: config.limits.login_attempts_per_account,
        per_address: config.limits.login_attempts_per_address,
        window: config.limits.login_attempts_window,
        ..LimiterOptions::default()
    }
}

/// The bounds of sessions that the configuration sets.
pub(super) fn session_limits(config: &Config) -> SessionLimits {
    let limits = &config.limits;
    SessionLimits {
        mailbox: MailboxLimits {
            items: limits.mailbox_items,
            bytes: limits.mailbox_bytes,
            stalled_after: limits.write_timeout,
        },
        sessions_per_account: limits.resources_per_account,
        directed_presences: limits.directed_presences,
    }
}

/// What goes on beside the serving.
fn chores(shared: &Arc<Shared>) -> Vec<JoinHandle<()>> {
    let (router, observer) = (shared.router.clone(), Arc::clone(shared));
    let overdue = every(OVERDUE_INTERVAL, move || {
        let router = router.clone();
        async move { router.answer_overdue() }
    });
    let observing = every(OBSERVE_INTERVAL, move || {
        let shared = Arc::clone(&observer);
        async move { shared.observed.look(&shared).await }
    });
    let certificates = Arc::clone(&shared.certificates).watch(CERTIFICATE_INTERVAL);
    vec![tokio::spawn(overdue), tokio::spawn(observing), tokio::spawn(certificates)]
}

async fn every<F: Future<Output = ()>>(interval: Duration, chore: impl Fn() -> F) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        chore().await;
    }
}

async fn ended(shared: &Shared) -> Ending {
    let mut ending = shared.ending.subscribe();
    match ending.wait_for(Option::is_some).await {
        Ok(why) => why.unwrap_or(Ending::Asked),
        // The sender is part of `shared`, which we hold.
        Err(_) => Ending::Failed,
    }
}

/// The control socket and its table: open from the first moment to the last.
struct Front {
    stop: tokio::sync::oneshot::Sender<()>,
    serving: JoinHandle<InstanceLock>,
}

impl Front {
    fn open(shared: &Arc<Shared>, socket: ControlSocket) -> Self {
        let table = commands::table(shared);
        // Set once: there is one table.
        let _ = shared.table.set(Arc::downgrade(&table));
        let control = Control { table, phase: shared.phase.listen(), log: Arc::new(shared.logging.clone()) };
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let serving = tokio::spawn(socket.serve(control, async {
            // A dropped sender stops it as well.
            let _ = stopped.await;
        }));
        Self { stop, serving }
    }

    /// The lock is let go of with the value given back by the task: when there is nothing left to do.
    async fn close(self) {
        drop(self.stop);
        if self.serving.await.is_err() {
            tracing::error!("the control socket's task panicked, which is a bug");
        }
    }
}

fn make_folders(config: &Config) -> Result<(), StartError> {
    for path in [&config.server.data_dir, &config.server.plugin_dir] {
        std::fs::create_dir_all(path).map_err(|source| StartError::File { path: path.clone(), source })?;
    }
    Ok(())
}

/// The file with the process id, removed at the end.
struct PidFile(std::path::PathBuf);

impl PidFile {
    fn write(path: &Path) -> Result<Self, StartError> {
        std::fs::write(path, format!("{}\n", std::process::id()))
            .map_err(|source| StartError::File { path: path.to_owned(), source })?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Nobody is harmed by a leftover: the lock beside the control socket tells whether a server lives.
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limiter_of_logins_is_what_the_configuration_says() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("moult.toml");
        let text = "[limits]\nlogin_attempts_per_account = 3\nlogin_attempts_per_address = 4\n\
                    login_attempts_window = '7m'\n[tls]\nself_signed = true\n[vhost.localhost]\n";
        std::fs::write(&file, text).unwrap();
        let options = limiter_options(&Config::load(&file).unwrap());
        let window = Duration::from_secs(7 * 60);
        assert_eq!((options.per_account, options.per_address, options.window), (3, 4, window));
    }
}
