//! A whole server in this process, spoken to over real sockets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::init::{DemoAccount, make};
use super::{Ending, Logging, StartError, assembly};
use crate::config::Config;

const DEADLINE: Duration = Duration::from_secs(20);

struct Running {
    folder: tempfile::TempDir,
    accounts: Vec<DemoAccount>,
    serving: JoinHandle<Result<Ending, StartError>>,
}

impl Running {
    /// A directory made by `--init`, on ports of the system's choice.
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().to_owned();
        let made = tokio::task::spawn_blocking(move || make(&directory, None)).await.unwrap();
        let accounts = made.unwrap_or_else(|error| panic!("{error}"));
        let file = folder.path().join("moult.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, ["5222", "5223", "5280"].iter().fold(text, |t, port| t.replace(port, "0")))
            .unwrap();
        let config = Config::load(&file).unwrap_or_else(|errors| panic!("{errors}"));
        let logging = Logging::detached(&config.log).unwrap();
        let serving = tokio::spawn(async move { assembly::serve(&file, config, logging, None).await });
        let running = Self { folder, accounts, serving };
        running.until_running().await;
        running
    }

    async fn until_running(&self) {
        let started = Instant::now();
        while self.ctl("GET", "/v1/phase", "").await.is_none_or(|answer| answer["phase"] != "running") {
            assert!(!self.serving.is_finished(), "the server has ended");
            assert!(started.elapsed() < DEADLINE, "the server is not running in time");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// A request over the control socket; `None` while there is none.
    async fn ctl(&self, method: &'static str, path: &str, body: &str) -> Option<Value> {
        let socket = self.folder.path().join("moultctl.sock");
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        tokio::task::spawn_blocking(move || exchange(&socket, &request)).await.unwrap()
    }

    async fn command(&self, name: &str, args: &[&str]) -> Value {
        let body = json!({ "args": args }).to_string();
        self.ctl("POST", &format!("/v1/command/{name}"), &body).await.unwrap()
    }

    async fn address(&self, kind: &str) -> SocketAddr {
        let status = self.command("status", &[]).await;
        let listeners = status["value"]["listeners"].as_array().unwrap().clone();
        let found = listeners.iter().find(|listener| listener["kind"] == kind);
        found.unwrap()["address"].as_str().unwrap().parse().unwrap()
    }

    /// Logs in over direct TLS with PLAIN and binds a resource.
    async fn login(&self, name: &str) -> Client {
        let address = self.address("c2s_tls").await;
        let certificate = self.folder.path().join("moult.crt");
        let password = &self.accounts.iter().find(|account| account.name == name).unwrap().password;
        let token = STANDARD.encode(format!("\0{name}\0{password}"));
        let mut client = Client::connect(address, &certificate).await;
        client.open().await;
        client
            .say(&format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{token}</auth>"))
            .await;
        client.hear("<success").await;
        client.open().await;
        let bind = "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>r</resource></bind>";
        client.say(&format!("<iq type='set' id='bind'>{bind}</iq>")).await;
        let bound = client.hear("</iq>").await;
        assert!(bound.contains(&format!("{name}@localhost/r</jid>")), "{bound}");
        client
    }
}

fn exchange(socket: &PathBuf, request: &str) -> Option<Value> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    serde_json::from_str(body).ok()
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// A client whose blocking socket is used from blocking threads.
struct Client {
    stream: Option<Tls>,
    heard: String,
}

impl Client {
    async fn connect(address: SocketAddr, certificate: &Path) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.unwrap().with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let socket = tokio::task::spawn_blocking(move || TcpStream::connect(address)).await.unwrap().unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { stream: Some(StreamOwned::new(connection, socket)), heard: String::new() }
    }

    async fn open(&mut self) {
        self.say(
            "<?xml version='1.0'?><stream:stream to='localhost' version='1.0' xmlns='jabber:client' \
             xmlns:stream='http://etherx.jabber.org/streams'>",
        )
        .await;
        self.hear("</stream:features>").await;
    }

    async fn say(&mut self, text: &str) {
        let (mut stream, text) = (self.stream.take().unwrap(), text.to_owned());
        let said = tokio::task::spawn_blocking(move || {
            stream.write_all(text.as_bytes()).unwrap();
            stream.flush().unwrap();
            stream
        });
        self.stream = Some(said.await.unwrap());
    }

    /// Reads until `words` came; gives everything up to and including them.
    async fn hear(&mut self, words: &str) -> String {
        let (mut stream, mut heard, wanted) =
            (self.stream.take().unwrap(), std::mem::take(&mut self.heard), words.to_owned());
        let read = tokio::task::spawn_blocking(move || {
            let mut buffer = [0; 4096];
            while !heard.contains(&wanted) {
                let count = stream.read(&mut buffer).unwrap_or(0);
                assert!(count > 0, "the stream ended before {wanted:?}: {heard}");
                heard.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
            }
            (stream, heard)
        });
        let (stream, heard) = read.await.unwrap();
        self.stream = Some(stream);
        let end = heard.find(words).unwrap() + words.len();
        self.heard = heard[end..].to_owned();
        heard[..end].to_owned()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_clients_talk_on_a_server_without_modules_until_it_ends() {
    let server = Running::start().await;
    let mut alice = server.login("alice").await;
    let mut bob = server.login("bob").await;

    alice.say("<message to='bob@localhost/r' type='chat' id='m1'><body>hello</body></message>").await;
    let heard = bob.hear("</message>").await;
    assert!(heard.contains("from='alice@localhost/r'") && heard.contains("<body>hello</body>"), "{heard}");

    bob.say("<presence/>").await;
    assert!(bob.hear("bob@localhost/r").await.contains("<presence"));
    alice.say("<message to='bob@localhost' type='chat' id='m2'><body>bare</body></message>").await;
    assert!(bob.hear("</message>").await.contains("id='m2'"));

    alice.say("<iq to='localhost' type='get' id='q1'><query xmlns='urn:nobody:here'/></iq>").await;
    let answer = alice.hear("</iq>").await;
    assert!(answer.contains("service-unavailable") && answer.contains("id='q1'"), "{answer}");
    alice.say("<message to='x@elsewhere.example' type='chat' id='m3'><body/></message>").await;
    assert!(alice.hear("</message>").await.contains("remote-server-not-found"));

    let status = server.command("status", &[]).await;
    assert_eq!(status["value"]["sessions"], 2, "{status}");
    let health = http(server.address("http").await, "/health").await;
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");
    let metrics = http(server.address("http").await, "/metrics").await;
    assert!(metrics.contains("moult_sessions{vhost=\"localhost\"} 2"), "{metrics}");
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");

    server.command("stop", &[]).await;
    for mut client in [alice, bob] {
        assert!(client.hear("</stream:stream>").await.contains("<system-shutdown"));
    }
    let ending = tokio::time::timeout(DEADLINE, server.serving).await.expect("it ends in time");
    assert_eq!(ending.unwrap().unwrap(), Ending::Asked);
    assert!(!server.folder.path().join("moultctl.sock").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_changes_all_or_nothing_under_live_sessions() {
    let server = Running::start().await;
    let mut alice = server.login("alice").await;
    let file = server.folder.path().join("moult.toml");
    let before = std::fs::read_to_string(&file).unwrap();

    let broken = format!("{before}\n[vhost.\"second.example\"]\n[limits]\ndepht = 9\n");
    std::fs::write(&file, &broken).unwrap();
    let refused = server.command("reload_config", &[]).await;
    assert!(refused.to_string().contains("depht"), "{refused}");
    let vhosts = async || server.command("registered_vhosts", &[]).await["value"].clone();
    assert_eq!(vhosts().await, json!(["localhost"]), "nothing of it holds");

    std::fs::write(&file, broken.replace("depht", "depth")).unwrap();
    let planned = server.command("reload_config", &["--dry_run"]).await;
    assert!(planned.to_string().contains("limits.depth"), "{planned}");
    assert_eq!(vhosts().await, json!(["localhost"]), "a dry run changes nothing");
    server.command("reload_config", &[]).await;
    assert_eq!(vhosts().await, json!(["localhost", "second.example"]));
    alice.say("<message to='nobody@second.example' type='chat' id='m1'><body/></message>").await;
    assert!(alice.hear("</message>").await.contains("service-unavailable"), "ours now");

    std::fs::write(&file, &before).unwrap();
    server.command("reload_config", &[]).await;
    assert_eq!(vhosts().await, json!(["localhost"]));
    alice.say("<message to='nobody@second.example' type='chat' id='m2'><body/></message>").await;
    assert!(alice.hear("</message>").await.contains("remote-server-not-found"), "not ours any more");
    server.command("stop", &[]).await;
    drop(alice);
    let ending = tokio::time::timeout(DEADLINE, server.serving).await.expect("it ends in time");
    assert_eq!(ending.unwrap().unwrap(), Ending::Asked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_is_taken_ends_the_start_with_its_name() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().to_owned();
    tokio::task::spawn_blocking(move || make(&directory, None)).await.unwrap().unwrap();
    let file = folder.path().join("moult.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("5223", "0").replace("5280", "0").replace("5222", &port.to_string()))
        .unwrap();
    let config = Config::load(&file).unwrap_or_else(|errors| panic!("{errors}"));
    let logging = Logging::detached(&config.log).unwrap();
    let error = assembly::serve(&file, config, logging, None).await.unwrap_err();
    let line = text.lines().position(|line| line == "[[listener]]").unwrap() + 1;
    let expected = format!("moult.toml:{line}: The c2s listener on 127.0.0.1:{port} cannot be opened");
    assert!(error.to_string().contains(&expected), "{error}");
    assert_eq!(error.exit_code(), 1);
    assert!(!folder.path().join("moultctl.sock").exists(), "everything was taken down again");
}

async fn http(address: SocketAddr, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let asked = tokio::task::spawn_blocking(move || {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    });
    asked.await.unwrap()
}
