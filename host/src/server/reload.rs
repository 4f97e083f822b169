//! Another configuration for the running server: all of it or nothing.
//!
//! Everything that can be wrong is found before the first part hears of it: the file, the options of every loaded
//! module, the certificates. What only a restart can change keeps its old value, and is told as such.

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;

use super::assembly::{limiter_options, login_limiter, session_limits};
use super::error::StartError;
use super::shared::Shared;
use super::{certificate, phase};
use crate::command::Access;
use crate::config::diff::{Change, Effect};
use crate::config::{Config, ConfigErrors};
use crate::listener::{ConnectionSettings, ListenerSettings};
use crate::plugin::error::ModuleError;
use crate::plugin::manager::{ReloadReport, Reloaded as InstanceReloaded};
use crate::plugin::settings;
use crate::stanza::{StreamError, StreamErrorCondition};
use crate::stream::tls::{Certificates, TlsSettings};

/// Which modules are told of a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Modules {
    /// Those whose options have changed.
    Changed,
    /// All of them (S4-2).
    All,
}

/// What a reload did.
#[derive(Debug, Default)]
pub(super) struct Reloaded {
    /// The differences, with what makes each of them real.
    pub changes: Vec<Change>,
    /// What became of the modules.
    pub modules: ReloadReport,
}

/// Why a reload changed nothing.
#[derive(Debug, Error)]
pub(super) enum ReloadError {
    /// Mistakes in the file.
    #[error("{0}")]
    Config(ConfigErrors),
    /// Options that modules refuse.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Modules(Vec<ModuleError>),
    /// Certificates.
    #[error(transparent)]
    Certificate(StartError),
}

/// Reads the file again and makes its differences real.
pub(super) async fn reload(shared: &Arc<Shared>, modules: Modules) -> Result<Reloaded, ReloadError> {
    let _one_at_a_time = shared.reloading.lock().await;
    phase::reloading();
    let outcome = apply(shared, modules).await;
    phase::reloaded();
    outcome
}

/// The differences that [`reload`] would make, and nothing else.
pub(super) async fn dry_run(shared: &Arc<Shared>) -> Result<Vec<Change>, ReloadError> {
    let _one_at_a_time = shared.reloading.lock().await;
    let new = read(shared)?;
    check(shared, &new).await?;
    Ok(differences(shared, &shared.config(), &new).await)
}

async fn apply(shared: &Arc<Shared>, modules: Modules) -> Result<Reloaded, ReloadError> {
    let old = shared.config();
    let new = read(shared)?;
    check(shared, &new).await?;
    let mut changes = differences(shared, &old, &new).await;
    // What only a restart can change stays, so that the configuration in force is true.
    let new = Arc::new(new.as_followed_from(&old));
    let told = shared.manager.apply_config(Arc::clone(&new), modules == Modules::All).await;
    let modules = told.map_err(ReloadError::Modules)?;
    spread(shared, &old, &new);
    settle(&mut changes, &modules);
    for change in &changes {
        match change.effect {
            Effect::Applied | Effect::AppliedOrModuleRestart => tracing::info!("{change}"),
            _ => tracing::warn!("{change}"),
        }
    }
    settings::warnings(&new).iter().for_each(|warning| tracing::warn!("{warning}"));
    tracing::info!(
        changes = changes.len(),
        modules = modules.instances.len(),
        "the configuration was reloaded"
    );
    Ok(Reloaded { changes, modules })
}

fn read(shared: &Shared) -> Result<Config, ReloadError> {
    let config = Config::load(&shared.config_path).map_err(ReloadError::Config)?;
    certificate::ensure(config).map_err(ReloadError::Certificate)
}

async fn check(shared: &Shared, new: &Config) -> Result<(), ReloadError> {
    let errors = shared.manager.check_config(new).await;
    if !errors.is_empty() {
        return Err(ReloadError::Modules(errors));
    }
    Certificates::load(TlsSettings::from_config(new))
        .map(drop)
        .map_err(|error| ReloadError::Certificate(error.into()))
}

async fn differences(shared: &Shared, old: &Config, new: &Config) -> Vec<Change> {
    let mut effects = BTreeMap::new();
    for change in Config::diff(old, new) {
        if let (Some(module), Some((_, option))) = (change.module, change.path.rsplit_once('.')) {
            let effect = shared.manager.option_effect(&module, option).await;
            effects.insert((module, option.to_owned()), effect);
        }
    }
    let effect = |module: &str, option: &str| {
        let known = effects.get(&(module.to_owned(), option.to_owned()));
        known.copied().unwrap_or(Effect::Applied)
    };
    Config::diff_with(old, new, &effect)
}

/// What a module did not say beforehand is known now.
fn settle(changes: &mut [Change], report: &ReloadReport) {
    for change in changes.iter_mut().filter(|change| change.effect == Effect::AppliedOrModuleRestart) {
        let is_meant = |instance: &str| {
            let (module, vhost) = instance.split_once('@').unwrap_or((instance, ""));
            change.module.as_deref() == Some(module) && change.vhost.as_deref().is_none_or(|on| on == vhost)
        };
        let mut meant = report.instances.iter().filter(|(instance, _)| is_meant(instance));
        let is_restarted = meant.any(|(_, done)| *done == InstanceReloaded::Restarted);
        change.effect = if is_restarted { Effect::NeedsModuleRestart } else { Effect::Applied };
    }
}

/// Tells every part. Nothing here can fail: it was checked before.
fn spread(shared: &Shared, old: &Config, new: &Arc<Config>) {
    shared.config.store(Arc::clone(new));
    shared.logging.apply(&new.log);
    shared.sessions.set_limits(session_limits(new));
    shared.router.dispatcher().set_deadline(new.modules.call_deadline);
    shared.router.set_vhosts(new.vhosts.keys().map(|vhost| vhost.as_str().into()));
    for kept in shared.certificates.replace_settings(TlsSettings::from_config(new)).kept {
        tracing::error!("{kept}; the certificate before it serves on");
    }
    if let Some(hub) = shared.hub.get().and_then(std::sync::Weak::upgrade) {
        hub.apply(ConnectionSettings::from_config(new));
    }
    limit_connections(shared, new);
    // A new limiter has seen nothing: only a change of its own options may forgive what was counted.
    if limiter_options(old) != limiter_options(new) {
        shared.limiter.store(Arc::new(login_limiter(new)));
    }
    if let Some(http) = shared.http.get() {
        http.reload(new.http.clone());
    }
    if let Some(table) = shared.table.get().and_then(std::sync::Weak::upgrade) {
        table.set_access(Access::new(new.permissions.clone()));
    }
    close_removed_vhosts(shared, old, new);
    move_sessions(shared, old, new);
}

/// Shapers may have changed; which listener has which one needs a restart.
fn limit_connections(shared: &Shared, new: &Config) {
    for (listener, socket) in
        shared.listening().iter().filter_map(|socket| Some((socket.shaper.as_ref()?, socket)))
    {
        let configured = new.listeners.get(socket.number);
        let settings = configured.and_then(|configured| ListenerSettings::from_config(new, configured));
        listener.set(settings.and_then(|settings| settings.shaper));
    }
}

/// RFC 6120 section 4.9.3.19: who is there already is sent to the other host as well, once, when the option is set.
fn move_sessions(shared: &Shared, old: &Config, new: &Config) {
    let other = |config: &Config, vhost: &str| config.vhosts.get(vhost)?.see_other_host.clone();
    let moved: BTreeMap<&String, StreamError> = new
        .vhosts
        .keys()
        .filter(|vhost| other(old, vhost) != other(new, vhost))
        .filter_map(|vhost| Some((vhost, StreamError::see_other_host(other(new, vhost)?))))
        .collect();
    if moved.is_empty() {
        return;
    }
    shared.sessions.for_each(|session| {
        if let Some((_, reason)) = moved.iter().find(|(vhost, _)| vhost.as_str() == session.vhost()) {
            session.close(reason.clone());
        }
    });
}

/// RFC 6120 section 4.9.3.5: the host of these streams is no longer ours.
fn close_removed_vhosts(shared: &Shared, old: &Config, new: &Config) {
    let gone: Vec<&String> = old.vhosts.keys().filter(|vhost| !new.vhosts.contains_key(*vhost)).collect();
    if gone.is_empty() {
        return;
    }
    let reason = StreamError::new(StreamErrorCondition::HostGone, "This host is no longer served here.");
    shared.sessions.for_each(|session| {
        if gone.iter().any(|vhost| *vhost == session.vhost()) {
            session.close(reason.clone());
        }
    });
}
