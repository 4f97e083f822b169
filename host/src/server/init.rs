//! `moultd --init DIR`: a working directory that a server can be started from at once: configuration, self-signed
//! certificate, store with two demo accounts, plugin folder.
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
const VHOST: &str = "localhost";
const DEMO_ACCOUNTS: [&str; 2] = ["alice", "bob"];
/// Hexadecimal digits of a demo password: enough against guessing, few enough to type.
const PASSWORD_DIGITS: usize = 12;
const TOKEN_DIGITS: usize = 32;

/// Makes the directory and says what is in it.
pub fn init(directory: &Path) -> ExitCode {
    if directory.join(CONFIG).exists() {
        eprintln!("{} has a {CONFIG} already; nothing was changed.", directory.display());
        return ExitCode::from(super::FAILED);
    }
    match make(directory) {
        Ok(accounts) => {
            describe(directory, &accounts);
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

pub(super) fn make(directory: &Path) -> Result<Vec<DemoAccount>, StartError> {
    let data = directory.join("data");
    for folder in [directory.to_owned(), data.clone(), directory.join("plugins")] {
        fs::create_dir_all(&folder).map_err(|source| StartError::File { path: folder, source })?;
    }
    let files = Certificate { certificate: directory.join("moult.crt"), key: directory.join("moult.key") };
    certificate::make(&[VHOST.to_owned()], &files)?;
    let accounts = DEMO_ACCOUNTS.map(|name| DemoAccount { name, password: random(PASSWORD_DIGITS) });
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
    let config: PathBuf = directory.join(CONFIG);
    println!("{} is ready. Accounts, whose passwords are shown this once:", directory.display());
    for account in accounts {
        println!("  {}@{VHOST}  {}", account.name, account.password);
    }
    println!("Drop modules into {}, then:", directory.join("plugins").display());
    println!("  moultd --config {}", config.display());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_made_directory_has_a_good_configuration_and_its_accounts() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("demo");
        let accounts = make(&directory).unwrap();
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
