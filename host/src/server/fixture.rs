//! A server for unit tests: everything assembled in a folder of its own, no sockets, no modules.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::shared::Shared;
use super::{Logging, assembly, commands};
use crate::command::{Caller, CommandResult, Input, Table};
use crate::config::Config;
use crate::session::{Batch, BindRequest, BoundSession, Delivery, MailboxReceiver, SessionInfo};
use crate::stanza::Jid;

/// What every test may count on.
pub(super) const CONFIG: &str = r#"
[server]
data_dir = "data"
plugin_dir = "plugins"
[auth]
scram_iterations = 4096
[tls]
required = false
[[listener]]
kind = "http"
address = "127.0.0.1"
port = 0
[vhost."example.org"]
[vhost."other.example"]
"#;

/// How long a test waits for what must happen.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Fixture {
    pub shared: Arc<Shared>,
    pub table: Arc<Table>,
    pub folder: TempDir,
}

/// A server of [`CONFIG`].
pub(super) async fn server() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("moult.toml");
    std::fs::write(&file, CONFIG).unwrap();
    for name in ["data", "plugins"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    let config = Config::load(&file).unwrap();
    let logging = Logging::detached(&config.log).unwrap();
    let shared = assembly::assemble(&file, Arc::new(config), logging).await.unwrap();
    let table = commands::table(&shared);
    shared.table.set(Arc::downgrade(&table)).unwrap();
    Fixture { shared, table, folder }
}

impl Fixture {
    /// Runs a command as the control socket does.
    pub async fn run(&self, line: &[&str]) -> CommandResult {
        let (name, args) = line.split_first().unwrap();
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        self.table.run(name, Input::Positional(args), Caller::local("test")).await
    }

    /// The value of a command that works.
    pub async fn value(&self, line: &[&str]) -> Value {
        self.run(line).await.unwrap_or_else(|error| panic!("{line:?}: {error}")).value
    }

    /// Binds a resource, as a stream would.
    pub async fn bind(&self, full: &str) -> (BoundSession, MailboxReceiver) {
        let full = Jid::parse(full).unwrap();
        let (mailbox, receiver) = self.shared.sessions.mailbox();
        let request = BindRequest {
            account: full.bare(),
            resource: full.resource().map(str::to_owned),
            policy: Default::default(),
            mailbox,
            info: SessionInfo { peer: Some(([192, 0, 2, 7], 4321).into()), ..SessionInfo::default() },
        };
        (self.shared.router.bind(request).await.unwrap(), receiver)
    }
}

/// What has come into a mailbox, waiting for the first of it.
pub(super) async fn received(mailbox: &mut MailboxReceiver) -> Vec<Delivery> {
    let mut batch = Batch::new();
    tokio::time::timeout(PATIENCE, mailbox.ready()).await.expect("something comes in time");
    mailbox.drain(&mut batch, usize::MAX);
    batch.into_vec()
}
