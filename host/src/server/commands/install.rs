//! Commands about the files of modules: what could be installed, what is, and the way from the one folder to the other.
//!
//! A server should not write to the folder that it takes code from, so it does only where the operator has named, in
//! `install_from`, the one folder that libraries may come from. They arrive under another name and get their own in one
//! step, so that nobody sees a half of one.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::updates::{self, target};
use super::{Handlers, failures};
use crate::command::{Answer, Call, CommandError, CommandResult, ErrorKind, FrontEnd};
use crate::plugin::error::ModuleError;
use crate::plugin::folder::{FolderRules, FolderScanner, Found};
use crate::plugin::loader::ContentHash;
use crate::plugin::probe::ProbeReport;
use crate::server::shared::Shared;

/// How long a file that is being written is waited for.
const SETTLE: Duration = Duration::from_secs(3);

pub(super) fn add(handlers: Handlers) -> Handlers {
    handlers
        .on("modules_available", modules_available)
        .on("modules_installed", modules_installed)
        .on("module_check", module_check)
        .on("module_install", module_install)
        .on("module_upgrade", module_upgrade)
        .on("module_uninstall", module_uninstall)
}

async fn modules_available(shared: Arc<Shared>, _: Call) -> CommandResult {
    let installed = libraries(&plugin_dir(&shared)).await;
    let state = |found: &Found| match installed.iter().find(|other| other.id() == found.id()) {
        None => "not installed",
        Some(other) if other.hash == found.hash => "installed",
        Some(_) => "differs",
    };
    let available = libraries(&source(&shared)?).await;
    Ok(Answer::value(available.iter().map(|found| row(found, state(found))).collect::<Vec<_>>()))
}

async fn modules_installed(shared: Arc<Shared>, _: Call) -> CommandResult {
    let lines = shared.manager.module_list().await;
    let installed = libraries(&plugin_dir(&shared)).await;
    let rows = installed.iter().map(|found| {
        let line = lines.iter().find(|line| line.module == found.id());
        row(found, line.map_or(json!("found"), |line| json!(line.state)))
    });
    Ok(Answer::value(rows.collect::<Vec<_>>()))
}

fn row(found: &Found, state: impl Into<Value>) -> Value {
    let manifest = found.manifest.as_ref();
    json!({
        "name": found.id(),
        "version": manifest.map_or("", |manifest| &manifest.version),
        "state": state.into(),
        "summary": manifest.map_or_else(Clone::clone, |manifest| manifest.description.clone()),
        "file": found.path.display().to_string(),
        "hash": found.hash.short(),
    })
}

async fn module_check(shared: Arc<Shared>, call: Call) -> CommandResult {
    let wanted = call.args.text("module");
    let found = if Path::new(wanted).is_absolute() {
        if call.caller.from != FrontEnd::Local {
            let message = "module_check: only the local control socket may name a file.";
            return Err(CommandError::new(ErrorKind::DeniedArgument, message));
        }
        at(Path::new(wanted)).await?
    } else {
        match find(&plugin_dir(&shared), wanted).await {
            Ok(found) => found,
            Err(missing) => match source(&shared) {
                Ok(folder) => find(&folder, wanted).await?,
                Err(_) => return Err(missing),
            },
        }
    };
    let report = shared.manager.check_file(&found).await.map_err(failures::module)?;
    Ok(Answer::value(told(&found, &report)))
}

fn told(found: &Found, report: &ProbeReport) -> Value {
    let manifest = &report.manifest;
    json!({
        "check": "ok",
        "module": manifest.id,
        "version": manifest.version,
        "summary": manifest.description,
        "file": found.path.display().to_string(),
        "bytes": found.size,
        "hash": found.hash.short(),
        "api": manifest.api,
        "rustc": report.rustc,
        "depends": manifest.depends,
        "capabilities": manifest.capabilities,
        "state": manifest.state,
    })
}

async fn module_install(shared: Arc<Shared>, call: Call) -> CommandResult {
    let (_one_at_a_time, found) = (shared.reloading.lock().await, wanted(&shared, &call).await?);
    let module = found.id();
    if let Some(other) = libraries(&plugin_dir(&shared)).await.iter().find(|other| other.id() == module) {
        let message =
            format!("{module} is installed already, as {}; see module_upgrade.", other.path.display());
        return Err(CommandError::new(ErrorKind::Conflict, message));
    }
    let place = plugin_dir(&shared).join(format!("{module}.so"));
    put(&found, &place).await?;
    let loaded = updates::update_one(&shared, &call, module).await;
    if loaded.is_err() {
        remove(&place)?;
    }
    loaded
}

async fn module_upgrade(shared: Arc<Shared>, call: Call) -> CommandResult {
    let (_one_at_a_time, found) = (shared.reloading.lock().await, wanted(&shared, &call).await?);
    let module = found.id();
    let installed = libraries(&plugin_dir(&shared)).await;
    let Some(old) = installed.iter().find(|other| other.id() == module) else {
        let message = format!("{module} is not installed; see module_install.");
        return Err(CommandError::new(ErrorKind::NotFound, message));
    };
    let aside = old.path.with_extension("before");
    // A leftover of a server that was killed here.
    let _ = fs::remove_file(&aside);
    fs::hard_link(&old.path, &aside).map_err(|error| unwritable(&aside, &error))?;
    let upgraded = match put(&found, &old.path).await {
        Ok(()) => updates::update_one(&shared, &call, module).await,
        Err(error) => Err(error),
    };
    match &upgraded {
        Ok(_) => remove(&aside)?,
        Err(_) => fs::rename(&aside, &old.path).map_err(|error| unwritable(&old.path, &error))?,
    }
    upgraded
}

async fn module_uninstall(shared: Arc<Shared>, call: Call) -> CommandResult {
    source(&shared)?;
    let _one_at_a_time = shared.reloading.lock().await;
    let (module, _) = target(&call);
    let found = find(&plugin_dir(&shared), module).await?;
    let lines = shared.manager.module_list().await;
    let is_loaded = lines.iter().any(|line| line.module == module && line.generation.is_some());
    if is_loaded {
        updates::unload(&shared, module, call.args.flag("force")).await?;
    }
    remove(&found.path)?;
    let text = format!("{module} is uninstalled; {} was removed.", found.path.display());
    Ok(Answer::value(json!({ "status": "ok", "uninstalled": module })).with_text(text))
}

/// The library that is to be installed, after its probe.
async fn wanted(shared: &Shared, call: &Call) -> Result<Found, CommandError> {
    let found = find(&source(shared)?, call.args.text("module")).await?;
    let checked = shared.manager.check_file(&found).await;
    checked.map(|_| found).map_err(failures::module)
}

/// The one folder that may be installed from.
fn source(shared: &Shared) -> Result<PathBuf, CommandError> {
    shared.config().modules.install_from.clone().ok_or_else(|| {
        let message = "The configuration allows no installing: install_from in [modules] names no folder to install from.";
        CommandError::new(ErrorKind::Failed, message)
    })
}

fn plugin_dir(shared: &Shared) -> PathBuf {
    shared.config().server.plugin_dir.clone()
}

async fn libraries(folder: &Path) -> Vec<Found> {
    let folder = folder.to_owned();
    let scanning = tokio::task::spawn_blocking(move || {
        FolderScanner::new(&folder, FolderRules::default()).scan_settled(SETTLE).found
    });
    scanning.await.unwrap_or_default()
}

/// A library by the module's id or the file's name.
async fn find(folder: &Path, wanted: &str) -> Result<Found, CommandError> {
    let stem = wanted.strip_suffix(".so").unwrap_or(wanted);
    let found = libraries(folder).await;
    let fits = |found: &Found| found.id() == wanted || found.file_stem == stem;
    found.into_iter().find(fits).ok_or_else(|| {
        let message = format!("There is no usable library of {wanted} in {}.", folder.display());
        CommandError::new(ErrorKind::NotFound, message)
    })
}

/// The one library at a path.
async fn at(path: &Path) -> Result<Found, CommandError> {
    let (folder, path) = (path.parent().unwrap_or(Path::new("/")).to_owned(), path.to_owned());
    let scanning = tokio::task::spawn_blocking(move || {
        let found = FolderScanner::new(&folder, FolderRules::default()).find(&path);
        found.map_err(|reason| CommandError::new(ErrorKind::Failed, format!("{}: {reason}.", path.display())))
    });
    let cut_off = |_| CommandError::new(ErrorKind::Bug, "The look at the file was cut off.");
    scanning.await.map_err(cut_off)?
}

/// Writes the content that was probed, and no other, to `place`.
async fn put(found: &Found, place: &Path) -> Result<(), CommandError> {
    let (found, place) = (found.clone(), place.to_owned());
    let writing = tokio::task::spawn_blocking(move || {
        let bytes = fs::read(&found.path).map_err(|error| unwritable(&found.path, &error))?;
        if ContentHash::of(&bytes) != found.hash {
            let reason = format!("{} has changed since it was probed", found.path.display());
            let error = ModuleError::operator(found.id(), crate::plugin::error::Stage::Copy, reason);
            return Err(failures::module(error));
        }
        let arriving = place.with_extension("arriving");
        let written = write(&arriving, &bytes).and_then(|()| fs::rename(&arriving, &place));
        written.map_err(|error| {
            // What is there of it is of no use.
            let _ = fs::remove_file(&arriving);
            unwritable(&place, &error)
        })
    });
    let cut_off = |_| CommandError::new(ErrorKind::Bug, "The copying was cut off.");
    writing.await.map_err(cut_off)?
}

fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn remove(path: &Path) -> Result<(), CommandError> {
    fs::remove_file(path).map_err(|error| unwritable(path, &error))
}

fn unwritable(path: &Path, error: &std::io::Error) -> CommandError {
    CommandError::new(ErrorKind::Failed, format!("{} cannot be written or read: {error}.", path.display()))
}
