//! From a TCP connection to a bound resource: STARTTLS or direct TLS, SASL, bind.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls::ClientConfig;
use thiserror::Error;
use tokio::net::TcpStream;

use super::session::{Client, Incoming};
use super::stream_header;
use crate::sasl::{self, Binding, Mechanism, SaslError, Scram};
use crate::xml::Element;

const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
const BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";

/// How the connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// Not at all.
    Plain,
    /// RFC 6120 section 5.
    StartTls,
    /// XEP-0368.
    DirectTls,
}

/// Everything a client needs in order to log in; [`Server::login`](crate::Server::login) fills it in.
#[derive(Debug, Clone)]
pub struct Login {
    /// Where to connect; one address per kind of listener.
    pub plain_address: SocketAddr,
    /// The direct TLS listener.
    pub tls_address: SocketAddr,
    /// The vhost.
    pub domain: String,
    /// The name that the certificate must have.
    pub tls_name: String,
    /// Localpart.
    pub user: String,
    /// Password.
    pub password: String,
    /// Protection of the connection.
    pub security: Security,
    /// SASL mechanism.
    pub mechanism: Mechanism,
    /// The type of channel binding for the `-PLUS` mechanisms.
    pub binding: &'static str,
    /// Resource to ask for; `None` lets the server choose.
    pub resource: Option<String>,
    /// Whom to trust.
    pub tls: Arc<ClientConfig>,
    /// The server's certificate, DER, for `tls-server-end-point`.
    pub certificate: Vec<u8>,
}

/// The server did not let the client in.
#[derive(Debug, Error)]
pub enum LoginError {
    /// The connection failed.
    #[error("The connection failed: {0}.")]
    Io(#[from] io::Error),
    /// The server ended the stream with this condition.
    #[error("The server ended the stream with <{0}/>.")]
    Stream(String),
    /// The server closed without a stream error.
    #[error("The server closed the stream.")]
    Closed,
    /// SASL failed with this condition.
    #[error("SASL failed with <{0}/>.")]
    Sasl(String),
    /// The server broke the rules of SCRAM.
    #[error(transparent)]
    Scram(#[from] SaslError),
    /// The feature is not among those offered.
    #[error("The server does not offer {0}; it offers {1}.")]
    NotOffered(String, Box<Element>),
    /// Binding failed.
    #[error("The server answered the bind request with {0}.")]
    Bind(Box<Element>),
}

impl Login {
    /// Chooses the protection of the connection.
    pub fn security(mut self, security: Security) -> Login {
        self.security = security;
        self
    }

    /// Chooses the SASL mechanism.
    pub fn mechanism(mut self, mechanism: Mechanism) -> Login {
        self.mechanism = mechanism;
        self
    }

    /// Uses another password than the account's.
    pub fn password(mut self, password: &str) -> Login {
        self.password = password.to_owned();
        self
    }

    /// Asks for a resource.
    pub fn resource(mut self, resource: &str) -> Login {
        self.resource = Some(resource.to_owned());
        self
    }

    /// Logs in; panics with the reason if the server does not let us.
    pub async fn connect(self) -> Client {
        let who = format!("{}@{} by {} ({:?})", self.user, self.domain, self.mechanism.name(), self.security);
        self.try_connect().await.unwrap_or_else(|error| panic!("{who} cannot log in: {error}"))
    }

    /// Logs in.
    pub async fn try_connect(&self) -> Result<Client, LoginError> {
        let mut client = self.open().await?;
        let features = client.features().await?;
        self.authenticate(&mut client, &features).await?;
        client.restart(&stream_header(&self.domain)).await;
        let features = client.features().await?;
        offered(&features, "bind", BIND)?;
        self.bind(&mut client).await?;
        Ok(client)
    }

    /// Connects and protects the connection; the stream is open, its features not read yet.
    async fn open(&self) -> Result<Client, LoginError> {
        let address =
            if self.security == Security::DirectTls { self.tls_address } else { self.plain_address };
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let mut client = Client::over(socket, &self.domain);
        if self.security == Security::DirectTls {
            client.transport().start_tls(self.tls.clone(), &self.tls_name).await?;
        }
        client.send(stream_header(&self.domain)).await;
        if self.security == Security::StartTls {
            self.start_tls(&mut client).await?;
        }
        Ok(client)
    }

    async fn start_tls(&self, client: &mut Client) -> Result<(), LoginError> {
        let ns = "urn:ietf:params:xml:ns:xmpp-tls";
        offered(&client.features().await?, "starttls", ns)?;
        client.send(format!("<starttls xmlns='{ns}'/>")).await;
        let answer = client.negotiation().await?;
        if !answer.is("proceed", ns) {
            return Err(LoginError::NotOffered("starttls".to_owned(), Box::new(answer)));
        }
        client.transport().start_tls(self.tls.clone(), &self.tls_name).await?;
        client.restart(&stream_header(&self.domain)).await;
        Ok(())
    }

    async fn authenticate(&self, client: &mut Client, features: &Element) -> Result<(), LoginError> {
        let mechanisms = offered(features, "mechanisms", SASL)?;
        if !mechanisms.children.iter().any(|mechanism| mechanism.text == self.mechanism.name()) {
            return Err(LoginError::NotOffered(self.mechanism.name().to_owned(), Box::new(features.clone())));
        }
        match self.mechanism {
            Mechanism::Plain => {
                let answer = self.auth(client, &sasl::plain(&self.user, &self.password)).await?;
                success(&answer).map(|_| ())
            }
            Mechanism::Scram(hash) => {
                self.scram(client, Scram::new(hash, &self.user, &self.password, Binding::Unsupported)).await
            }
            Mechanism::ScramPlus(hash) => {
                let data = self.binding_data(client)?;
                let binding = Binding::Bound { kind: self.binding, data };
                self.scram(client, Scram::new(hash, &self.user, &self.password, binding)).await
            }
        }
    }

    async fn auth(&self, client: &mut Client, initial: &[u8]) -> Result<Element, LoginError> {
        let (name, initial) = (self.mechanism.name(), BASE64.encode(initial));
        client.send(format!("<auth xmlns='{SASL}' mechanism='{name}'>{initial}</auth>")).await;
        client.negotiation().await
    }

    async fn scram(&self, client: &mut Client, mut scram: Scram) -> Result<(), LoginError> {
        let challenge = self.auth(client, &scram.first()).await?;
        if !challenge.is("challenge", SASL) {
            return success(&challenge).map(|_| ());
        }
        let response = scram.respond(&BASE64.decode(&challenge.text).unwrap_or_default())?;
        client.send(format!("<response xmlns='{SASL}'>{}</response>", BASE64.encode(response))).await;
        let answer = client.negotiation().await?;
        Ok(scram.verify(&success(&answer)?)?)
    }

    fn binding_data(&self, client: &mut Client) -> Result<Vec<u8>, LoginError> {
        if self.binding == "tls-server-end-point" {
            let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &self.certificate);
            return Ok(hash.as_ref().to_vec());
        }
        let tls = client.transport().tls().ok_or_else(|| io::Error::other("channel binding needs TLS"))?;
        let exported = tls.export_keying_material([0u8; 32], b"EXPORTER-Channel-Binding", Some(b""));
        Ok(exported.map_err(io::Error::other)?.to_vec())
    }

    async fn bind(&self, client: &mut Client) -> Result<(), LoginError> {
        let resource =
            self.resource.as_ref().map(|r| format!("<resource>{r}</resource>")).unwrap_or_default();
        client.send(format!("<iq type='set' id='bind'><bind xmlns='{BIND}'>{resource}</bind></iq>")).await;
        let answer = client.negotiation().await?;
        let jid = answer.child_ns("bind", BIND).and_then(|bind| bind.child_text("jid"));
        match jid {
            Some(jid) if answer.attr("type") == Some("result") => {
                client.bound(jid.to_owned());
                Ok(())
            }
            _ => Err(LoginError::Bind(Box::new(answer))),
        }
    }
}

impl Client {
    /// Waits for the stream header and the features behind it.
    async fn features(&mut self) -> Result<Element, LoginError> {
        let features = self.negotiation().await?;
        if features.name == "features" {
            Ok(features)
        } else {
            Err(LoginError::NotOffered("features".into(), Box::new(features)))
        }
    }

    /// The next element during negotiation.
    async fn negotiation(&mut self) -> Result<Element, LoginError> {
        match self.incoming().await? {
            Incoming::Stanza(element) => Ok(element),
            Incoming::StreamError(error) => {
                Err(LoginError::Stream(error.condition().unwrap_or("no condition").to_owned()))
            }
            Incoming::Closed => Err(LoginError::Closed),
        }
    }

    async fn restart(&mut self, header: &str) {
        self.forget_stream();
        self.send(header).await;
    }
}

fn offered<'a>(features: &'a Element, name: &str, ns: &str) -> Result<&'a Element, LoginError> {
    features
        .child_ns(name, ns)
        .ok_or_else(|| LoginError::NotOffered(name.to_owned(), Box::new(features.clone())))
}

fn success(answer: &Element) -> Result<Vec<u8>, LoginError> {
    if answer.is("success", SASL) {
        return Ok(BASE64.decode(&answer.text).unwrap_or_default());
    }
    Err(LoginError::Sasl(answer.condition().unwrap_or("no condition").to_owned()))
}
