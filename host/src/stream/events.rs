//! What a stream asks of the rest of the server, declared here and implemented where router and sessions are known.

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use super::LoginEnd;
use super::management::ClientState;
use crate::auth::LoginContext;
use crate::auth::sasl::{ChannelBindings, Offer};
use crate::stanza::{Jid, Stanza, StanzaError};

/// Something that takes a while. It is polled by the connection's task and dropped with it.
pub type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Which features are being announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FeatureStage {
    /// Beside the mechanisms, once login is possible.
    BeforeLogin,
    /// Beside resource binding.
    AfterLogin,
}

/// Questions with an answer at hand.
pub trait StreamHost: Send + Sync {
    /// Whether streams to this domain (prepared, in Unicode form) are welcome.
    fn serves(&self, domain: &str) -> bool;

    /// Where clients of this domain are to go instead: a domain or an address, with a port if need be.
    fn moved_to(&self, domain: &str) -> Option<String> {
        let _ = domain;
        None
    }

    /// In whose name to answer a peer that named no domain of ours.
    fn default_domain(&self) -> String;

    /// Whether there is a certificate to speak TLS with.
    fn offers_tls(&self) -> bool;

    /// What the login may use on such a stream.
    fn offer(&self, domain: &str, encrypted: bool, bindings: ChannelBindings) -> Offer;

    /// Appends features that others have registered, as whole elements.
    fn write_features(&self, stage: FeatureStage, domain: &str, out: &mut String) {
        let _ = (stage, domain, out);
    }
}

/// What happens on streams. Methods do not block; what takes a while is returned as [`Work`].
pub trait StreamEvents: StreamHost + 'static {
    /// The handle of a bound resource. Dropping it must end the session, whatever happened to the connection.
    type Session: Send + Sync + 'static;
    /// Where the session puts what is for this connection.
    type Outbox: Send + 'static;

    /// What a login from this address works with.
    fn login_context(&self, peer: SocketAddr) -> LoginContext;

    /// A login on a stream to `domain` has ended, well or badly.
    fn login_ended(&self, end: LoginEnd, domain: &str, mechanism: &str, peer: SocketAddr) {
        let _ = (end, domain, mechanism, peer);
    }

    /// Takes an IQ from a peer that has not logged in. `None`: nobody wants it, which ends the stream.
    fn before_login(
        &self,
        stanza: Stanza,
        domain: &str,
        stream_id: &str,
        peer: SocketAddr,
    ) -> Work<Option<Stanza>> {
        let _ = (stanza, domain, stream_id, peer);
        Box::pin(std::future::ready(None))
    }

    /// Binds a resource.
    fn bind(&self, request: BindRequest<Self::Outbox>) -> Work<Result<Self::Session, StanzaError>>;

    /// The full JID that was bound.
    fn full_jid(&self, session: &Self::Session) -> Jid;

    /// Takes a stanza inwards.
    fn deliver(&self, session: &Self::Session, stanza: Stanza) -> Taken;

    /// The connection is lost, the session stays: its client may come back (XEP-0198 section 5). These stanzas it has not
    /// acknowledged.
    fn detached(&self, session: &Self::Session, unacknowledged: &mut dyn Iterator<Item = &Stanza>) {
        let _ = (session, unacknowledged);
    }

    /// The client has come back on another stream.
    fn resumed(&self, session: &Self::Session, client: Client) {
        let _ = (session, client);
    }

    /// Whether somebody looks at the client has changed (XEP-0352).
    fn client_state(&self, session: &Self::Session, state: ClientState) {
        let _ = (session, state);
    }

    /// The server stops, and the session may be resumed after it has started again.
    fn suspend(&self, session: Self::Session, left: Suspended) -> Work<()> {
        self.ended(session, left.stanzas.into_iter().map(|(stanza, _)| stanza).collect())
    }

    /// The stream is over. `unsent` is what was taken from the outbox and never written, in order. The connection's
    /// task waits for the farewells, within bounds.
    fn ended(&self, session: Self::Session, unsent: Vec<Stanza>) -> Work<()>;
}

/// What makes a session go on after a restart of the server, beside the session itself.
#[derive(Debug, Clone)]
pub struct Suspended {
    /// The id that its client resumes by.
    pub id: String,
    /// Stanzas of the client that were handled, modulo 2^32.
    pub received: u32,
    /// Stanzas that the client has acknowledged, modulo 2^32.
    pub acknowledged: u32,
    /// How long the session waits for its client.
    pub timeout: Duration,
    /// What the client has not acknowledged, in order, each with the moment it came if the client was away then.
    pub stanzas: Vec<(Stanza, Option<SystemTime>)>,
}

/// What became of a stanza on its way inwards.
pub enum Taken {
    /// It is where it belongs.
    Done,
    /// It is on its way; the next one waits for it.
    Later(Work<()>),
    /// The session is over for the server: the stanza was not processed, and the client must not believe it was.
    TooLate,
}

/// A stream's wish for a resource.
#[derive(Debug)]
pub struct BindRequest<O> {
    /// The account: a bare JID.
    pub account: Jid,
    /// The resource that the client asked for, as it wrote it.
    pub resource: Option<String>,
    /// Where the session puts what is for this connection.
    pub outbox: O,
    /// Who is there.
    pub client: Client,
}

/// How a client is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// TCP, perhaps under STARTTLS.
    Tcp,
    /// TLS from the first byte.
    DirectTls,
    /// A WebSocket; the flag says whether it is encrypted up to us or up to a proxy that we trust.
    WebSocket {
        /// Whether it is encrypted.
        secure: bool,
    },
    /// Requests of HTTP (XEP-0124); the flag says the same.
    Bosh {
        /// Whether they are encrypted.
        secure: bool,
    },
}

impl Via {
    /// Whether what is below HTTP is encrypted; `None` if there is no HTTP.
    pub fn http_is_secure(self) -> Option<bool> {
        match self {
            Self::Tcp | Self::DirectTls => None,
            Self::WebSocket { secure } | Self::Bosh { secure } => Some(secure),
        }
    }
}

/// What a stream has learned of its client.
#[derive(Debug, Clone)]
pub struct Client {
    /// Its address.
    pub peer: SocketAddr,
    /// How it is connected.
    pub via: Via,
    /// The mechanism of the login.
    pub mechanism: String,
    /// TLS version and cipher suite.
    pub tls: Option<String>,
    /// The stream's id.
    pub stream_id: String,
}
