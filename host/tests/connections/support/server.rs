//! A server on a port of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use moult_host::auth::{AccountOptions, Accounts, LimiterOptions, LoginLimiter};
use moult_host::config::{ClientState, StreamManagement};
use moult_host::listener::{ConnectionLimits, ConnectionSettings, Hub, ListenerSettings, Listening, Rate};
use moult_host::session::MailboxLimits;
use moult_host::storage::Storage;
use moult_host::stream::StreamSettings;
use moult_host::stream::tls::{Certificates, MinimumVersion, TlsSettings};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::inward::{DOMAIN, Inwards, Record};
use super::{Client, TestCertificate, scram};

/// How a server shall be; begins with generous limits.
pub struct ServerBuilder {
    pub settings: ConnectionSettings,
    pub shaper: Option<Rate>,
    pub has_certificate: bool,
}

/// A running server; its drop ends it.
pub struct Server {
    pub runtime: Runtime,
    pub hub: Arc<Hub<Inwards>>,
    pub record: Arc<Record>,
    pub certificate: TestCertificate,
    pub folder: TempDir,
    pub plain: SocketAddr,
    pub direct: SocketAddr,
    listening: Vec<Listening>,
}

impl Default for ServerBuilder {
    fn default() -> Self {
        let long = Duration::from_secs(60);
        Self {
            settings: ConnectionSettings {
                stream: StreamSettings::default(),
                limits: ConnectionLimits { per_address: 1_000, total: 10_000, unauthenticated: 1_000 },
                negotiation_timeout: long,
                handshake_timeout: long,
                keepalive_interval: None,
                idle_timeout: None,
                write_timeout: long,
                close_timeout: Duration::from_secs(5),
                farewell_timeout: long,
                mailbox: MailboxLimits::default(),
                management: StreamManagement::default(),
                client_state: ClientState::default(),
                http_shaper: None,
            },
            shaper: None,
            has_certificate: true,
        }
    }
}

impl ServerBuilder {
    /// A server that lets clients log in without TLS, for tests that are not about it.
    pub fn without_tls() -> Self {
        let mut builder = Self::default();
        builder.settings.stream.tls_required = false;
        builder
    }

    /// Changes the rules.
    pub fn with(mut self, change: impl FnOnce(&mut ConnectionSettings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// Starts it, with the accounts `juliet` and `romeo`, whose passwords are their names.
    pub fn start(self) -> Server {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let certificate = TestCertificate::write(folder.path(), "server", &[DOMAIN]);
        let certificates = if self.has_certificate { vec![certificate.source.clone()] } else { vec![] };
        let tls = TlsSettings { certificates, minimum_version: MinimumVersion::Tls12 };
        let record = Arc::new(Record::default());
        let inwards = Inwards {
            accounts: runtime.block_on(accounts()),
            limiter: Arc::new(LoginLimiter::new(LimiterOptions::default(), Instant::now())),
            offers_tls: self.has_certificate,
            record: Arc::clone(&record),
        };
        let certificates = Arc::new(Certificates::load(tls).unwrap());
        let hub = Arc::new(Hub::new(inwards, certificates, self.settings));
        let listen = |direct_tls| {
            let settings =
                ListenerSettings { address: "127.0.0.1:0".parse().unwrap(), direct_tls, shaper: self.shaper };
            let _entered = runtime.enter();
            Listening::start(Arc::clone(&hub), settings).unwrap()
        };
        let listening = vec![listen(false), listen(true)];
        let (plain, direct) = (listening[0].address(), listening[1].address());
        Server { hub, record, certificate, folder, plain, direct, listening, runtime }
    }
}

impl Server {
    /// Another rate limit for the connections that begin from now on.
    pub fn shape(&self, rate: Option<Rate>) {
        self.listening.iter().for_each(|listening| listening.shaper().set(rate));
    }

    /// A server with the usual rules.
    pub fn start() -> Self {
        ServerBuilder::default().start()
    }

    /// A client that is connected without TLS.
    pub fn client(&self) -> Client {
        Client::connect(self.plain)
    }

    /// A client that is connected with TLS from the first byte.
    pub fn tls_client(&self) -> Client {
        Client::connect_tls(self.direct, &self.certificate, DOMAIN)
    }

    /// A client with a bound resource and no TLS; the server must not require it.
    pub fn bound_client(&self, user: &str, resource: &str) -> Client {
        let mut client = self.client();
        client.open(DOMAIN);
        scram::log_in(&mut client, user, user, None);
        client.open(DOMAIN);
        client.bind(resource);
        client
    }

    /// A client with a bound resource under direct TLS.
    pub fn bound_tls_client(&self, user: &str, resource: &str) -> Client {
        let mut client = self.tls_client();
        client.open(DOMAIN);
        client.log_in(DOMAIN, user, user);
        client.bind(resource);
        client
    }

    /// Stops accepting.
    pub fn stop_listening(&mut self) {
        for listening in std::mem::take(&mut self.listening) {
            self.runtime.block_on(listening.stop());
        }
    }
}

async fn accounts() -> Accounts {
    let options = AccountOptions { iterations: 4096, ..AccountOptions::default() };
    let accounts = Accounts::open(Storage::open_in_memory().unwrap(), options).await.unwrap();
    for user in ["juliet", "romeo"] {
        accounts.register(DOMAIN, user, user).await.unwrap();
    }
    accounts
}
