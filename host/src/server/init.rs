//! `moultd --init DIR`: a working directory that a server can be started from at once: configuration, self-signed
//! certificate, store with an administrator's and two demo accounts, plugin folder with the bundled modules where they are found.
//! `moultd --serve DIR` is the same, where it has not been done yet, and serves from there.
//!
//! The configuration is written last. Where it exists, the directory is somebody's, and nothing in it is touched.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::certificate;
use super::error::StartError;
use crate::auth::{AccountOptions, Accounts};
use crate::config::Certificate;
use crate::storage::Storage;

const CONFIG: &str = "moult.toml";
const ADMIN_PAGE: &str = "mod_admin_web";
const VHOST: &str = "localhost";
/// The first one is an administrator.
const ACCOUNTS: [&str; 3] = ["admin", "alice", "bob"];
/// Hexadecimal digits of a demo password: enough against guessing, few enough to type.
const PASSWORD_DIGITS: usize = 12;
const TOKEN_DIGITS: usize = 32;

/// Makes the directory where there is none, and serves from it.
pub fn serve(directory: &Path) -> ExitCode {
    let config = directory.join(CONFIG);
    if !config.exists() {
        match make(directory, bundled().as_deref()) {
            Ok(accounts) => describe(directory, &accounts),
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::from(super::FAILED);
            }
        }
    }
    super::run(&config)
}

/// Makes the directory and says what is in it.
pub fn init(directory: &Path) -> ExitCode {
    if directory.join(CONFIG).exists() {
        eprintln!("{} has a {CONFIG} already; nothing was changed.", directory.display());
        return ExitCode::from(super::FAILED);
    }
    match make(directory, bundled().as_deref()) {
        Ok(accounts) => {
            describe(directory, &accounts);
            println!("  moultd --config {}", directory.join(CONFIG).display());
            ExitCode::from(super::OK)
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(super::FAILED)
        }
    }
}

/// A demo account with its password.
pub(super) struct DemoAccount {
    pub name: &'static str,
    pub password: String,
}

/// `modules`: the folder of the bundled ones, if they are to be had.
pub(super) fn make(directory: &Path, modules: Option<&Path>) -> Result<Vec<DemoAccount>, StartError> {
    let data = directory.join("data");
    for folder in [directory.to_owned(), data.clone(), directory.join("plugins")] {
        fs::create_dir_all(&folder).map_err(|source| StartError::File { path: folder, source })?;
    }
    let files = Certificate { certificate: directory.join("moult.crt"), key: directory.join("moult.key") };
    certificate::make(&[VHOST.to_owned()], &files)?;
    if let Some(modules) = modules {
        install_modules(modules, &directory.join("plugins"))?;
    }
    let accounts = ACCOUNTS.map(|name| DemoAccount { name, password: random(PASSWORD_DIGITS) });
    register(&data.join(super::assembly::STORE), &accounts)?;
    certificate::write(&directory.join(CONFIG), 0o600, &configuration(&random(TOKEN_DIGITS)))?;
    Ok(accounts.into())
}

fn register(store: &Path, demo: &[DemoAccount]) -> Result<(), StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(StartError::Runtime)?.block_on(async {
        let storage = Storage::open(store)?;
        let accounts = Accounts::open(storage.clone(), AccountOptions::default()).await?;
        for account in demo {
            accounts.register(VHOST, account.name, &account.password).await?;
        }
        Ok(storage.close().await?)
    })
}

/// Copies the bundled modules. A file of that name that is there already is somebody's, and stays.
fn install_modules(from: &Path, plugins: &Path) -> Result<(), StartError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| StartError::File { path, source }
    };
    for entry in fs::read_dir(from).map_err(failed(from))?.flatten() {
        let name = entry.file_name();
        let is_module =
            name.to_str().is_some_and(|name| name.starts_with("libmod_") && name.ends_with(".so"));
        let place = plugins.join(&name);
        if is_module && !place.exists() {
            fs::copy(entry.path(), &place).map_err(failed(&place))?;
        }
    }
    Ok(())
}

/// Where the bundled modules lie: where scripts/install puts them, or beside this program where it was built.
fn bundled() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let beside = program.parent()?;
    let installed = beside.parent()?.join("lib/moult/plugins");
    [installed, beside.to_owned()]
        .into_iter()
        .find(|folder| folder.join(format!("lib{ADMIN_PAGE}.so")).exists())
}

fn random(digits: usize) -> String {
    let mut bytes = vec![0; digits / 2];
    aws_lc_rs::rand::fill(&mut bytes)
        .expect("the operating system's random source does not fail after start");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn configuration(token: &str) -> String {
    format!(
        r#"# A server to try things out with, made by `moultd --init`. It can be reached from this machine only.
# The commented configuration that comes with Moult explains every key. Relative paths start at this folder.

[server]
data_dir = "data"
plugin_dir = "plugins"
control_socket = "moultctl.sock"
admins = ["admin@{VHOST}"]

[tls]
# Self-signed: no client trusts it unless it is told to. Files that change are read again.
certificate = "moult.crt"
key = "moult.key"

[http]
# The bearer token of the admin API.
admin_token = "{token}"

[[listener]]
kind = "c2s"
address = "127.0.0.1"
port = 5222

[[listener]]
kind = "c2s_tls"
address = "127.0.0.1"
port = 5223

[[listener]]
kind = "http"
address = "127.0.0.1"
port = 5280

[vhost."{VHOST}"]
"#
    )
}

fn describe(directory: &Path, accounts: &[DemoAccount]) {
    println!("{} is ready. Accounts, whose passwords are shown this once:", directory.display());
    for account in accounts {
        println!("  {}@{VHOST}  {}", account.name, account.password);
    }
    let plugins = directory.join("plugins");
    if plugins.join(format!("lib{ADMIN_PAGE}.so")).exists() {
        println!("The admin page, for the first of them: http://127.0.0.1:5280/admin");
    }
    println!("Modules are taken from {}.", plugins.display());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_made_directory_has_a_good_configuration_and_its_accounts() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("demo");
        let accounts = make(&directory, None).unwrap();
        let config = Config::load(&directory.join(CONFIG)).unwrap_or_else(|errors| panic!("{errors}"));
        assert!(config.vhosts.contains_key(VHOST));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let storage = Storage::open(config.server.data_dir.join(super::super::assembly::STORE)).unwrap();
            let stored = Accounts::open(storage, AccountOptions::default()).await.unwrap();
            for account in &accounts {
                assert!(stored.check_password(VHOST, account.name, &account.password).await.unwrap());
            }
        });
    }

    #[test]
    fn somebodys_directory_is_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(CONFIG), "mine").unwrap();
        assert_eq!(format!("{:?}", init(folder.path())), format!("{:?}", ExitCode::from(1)));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
