//! What client streams ask of the server: the answers come from configuration, accounts, modules and router.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use moult_plugin_api::hooks::{AuthResult, SessionSuspended};

use super::shared::Shared;
use super::suspended;
use crate::auth::LoginContext;
use crate::auth::sasl::{ChannelBindings, Offer};
use crate::plugin::call::{Dispatch, HookCall};
use crate::plugin::hook::HookPoint;
use crate::plugin::registration::IqTarget;
use crate::router::Routing;
use crate::session::{BindRequest, BoundSession, MailboxSender, SessionInfo};
use crate::stanza::{Jid, Kind, Stanza, StanzaError, StanzaErrorCondition, ns};
use crate::stream::management::ClientState;
use crate::stream::{
    self, Client, FeatureStage, LoginEnd, StreamEvents, StreamHost, Suspended, Taken, Via, Work,
};

/// Features of the vhost that are announced before the login.
const BEFORE_LOGIN: [(&str, &str); 1] =
    [(ns::REGISTER_FEATURE, "<register xmlns='http://jabber.org/features/iq-register'/>")];

/// Features of accounts that are announced on their streams.
const AFTER_LOGIN: [(&str, &str); 2] = [
    (ns::ROSTER_VERSIONING, "<ver xmlns='urn:xmpp:features:rosterver'/>"),
    (ns::PRE_APPROVAL, "<sub xmlns='urn:xmpp:features:pre-approval'/>"),
];

/// The way from streams inwards.
pub(super) struct Streams(Arc<Shared>);

impl Streams {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }
}

impl StreamHost for Streams {
    fn serves(&self, domain: &str) -> bool {
        self.0.has_vhost(domain)
    }

    fn moved_to(&self, domain: &str) -> Option<String> {
        self.0.config.load().vhosts.get(domain)?.see_other_host.clone()
    }

    fn default_domain(&self) -> String {
        self.0.config.load().vhosts.keys().next().cloned().unwrap_or_default()
    }

    fn offers_tls(&self) -> bool {
        !self.0.certificates.is_empty()
    }

    fn offer(&self, domain: &str, encrypted: bool, bindings: ChannelBindings) -> Offer {
        let allowed = self.0.config.load().auth.mechanisms.clone();
        Offer { vhost: domain.to_owned(), encrypted, bindings, allowed }
    }

    /// A stream announces what a module has declared as a feature: of the vhost that accounts may be made (XEP-0077
    /// section 8), of its accounts what they can do with rosters (RFC 6121 sections 2.6 and 3.4). What a module has
    /// registered as a stream feature follows as it is.
    fn write_features(&self, stage: FeatureStage, domain: &str, out: &mut String) {
        let (target, announced): (_, &[(&str, &str)]) = match stage {
            FeatureStage::BeforeLogin => (IqTarget::Server, &BEFORE_LOGIN),
            FeatureStage::AfterLogin => (IqTarget::Bare, &AFTER_LOGIN),
        };
        let modules = self.0.manager.modules();
        let snapshot = modules.snapshot();
        let Some(declared) = snapshot.disco(domain, target) else { return };
        for (var, element) in announced {
            if declared.features.iter().any(|feature| &**feature == *var) {
                out.push_str(element);
            }
        }
        for element in snapshot.stream_features(domain, target) {
            out.push_str(element);
        }
    }
}

impl StreamEvents for Streams {
    type Session = BoundSession;
    type Outbox = MailboxSender;

    fn login_context(&self, peer: SocketAddr) -> LoginContext {
        let (accounts, limiter) = (self.0.accounts.clone(), self.0.limiter.load_full());
        LoginContext { accounts, limiter, address: peer.ip() }
    }

    /// Modules may watch logins; nobody waits for them.
    fn login_ended(&self, end: LoginEnd, domain: &str, mechanism: &str, peer: SocketAddr) {
        let modules = self.0.manager.modules();
        if !modules.is_hooked(HookPoint::C2sAuthResult) {
            return;
        }
        let account = end.account.as_deref().and_then(|account| Jid::parse(account).ok());
        let result = AuthResult {
            success: end.failure.is_none(),
            user: account.as_ref().and_then(Jid::localpart).unwrap_or_default().to_owned(),
            mechanism: mechanism.to_owned(),
            ip: peer.ip().to_string(),
            reason: end.failure.map(|condition| condition.name().to_owned()).unwrap_or_default(),
        };
        let args = serde_json::to_string(&result).unwrap_or_default();
        let call = HookCall { from: account, args, ..HookCall::default() };
        let running = modules.hook(HookPoint::C2sAuthResult, domain, call);
        if !matches!(running, Dispatch::Ready(_)) {
            tokio::spawn(running.wait());
        }
    }

    /// Registration and the invitation to it (XEP-0445) only. The handler sees the peer's address as the sender, because there
    /// is no account yet and it is by the address that registrations are limited, with the stream's id as the resource:
    /// what an invitation allows is allowed to the stream that showed it.
    fn before_login(
        &self,
        stanza: Stanza,
        domain: &str,
        stream_id: &str,
        peer: SocketAddr,
    ) -> Work<Option<Stanza>> {
        let asked = stanza.payload().map(|payload| payload.ns.to_owned());
        let wanted = asked.filter(|ns| ns == ns::REGISTER || ns == ns::PRE_AUTH);
        if !wanted.is_some_and(|ns| handles(&self.0, domain, &ns)) {
            return Box::pin(std::future::ready(None));
        }
        let (Ok(from), Ok(to)) = (address_jid(peer, stream_id), Jid::parse(domain)) else {
            return Box::pin(std::future::ready(None));
        };
        let request = stanza.with_from(&from).with_to(&to);
        let (domain, dispatcher) = (domain.to_owned(), self.0.router.dispatcher().clone());
        Box::pin(async move {
            let answer = dispatcher.dispatch(&domain, IqTarget::Server, &request).wait().await;
            answer.or_else(|| request.error_reply(&StanzaErrorCondition::ServiceUnavailable.into()))
        })
    }

    fn bind(&self, request: stream::BindRequest<MailboxSender>) -> Work<Result<BoundSession, StanzaError>> {
        let shared = Arc::clone(&self.0);
        let request = BindRequest {
            account: request.account,
            resource: request.resource,
            policy: shared.config().session.resource_conflict,
            mailbox: request.outbox,
            info: info(request.client, SystemTime::now()),
        };
        Box::pin(async move { shared.router.bind(request).await.map_err(|error| error.stanza_error()) })
    }

    fn full_jid(&self, session: &BoundSession) -> Jid {
        session.full_jid().clone()
    }

    fn deliver(&self, session: &BoundSession, stanza: Stanza) -> Taken {
        match self.0.router.take_from_session(session, stanza).map(Routing::rest) {
            None => Taken::TooLate,
            Some(None) => Taken::Done,
            Some(Some(rest)) => Taken::Later(rest),
        }
    }

    fn detached(&self, session: &BoundSession, unacknowledged: &mut dyn Iterator<Item = &Stanza>) {
        session.detach();
        let (modules, jid) = (self.0.manager.modules(), session.full_jid());
        if !modules.is_hooked(HookPoint::SessionSuspended) {
            return;
        }
        let messages = unacknowledged.filter(|stanza| is_for_people(stanza)).count() as u64;
        let args = serde_json::to_string(&SessionSuspended { messages }).unwrap_or_default();
        let call = HookCall { from: Some(jid.clone()), args, ..HookCall::default() };
        let running = modules.hook(HookPoint::SessionSuspended, jid.domain(), call);
        if !matches!(running, Dispatch::Ready(_)) {
            tokio::spawn(running.wait());
        }
    }

    fn resumed(&self, session: &BoundSession, client: Client) {
        session.attach(info(client, session.info().since));
    }

    fn client_state(&self, session: &BoundSession, state: ClientState) {
        session.set_inactive(state == ClientState::Inactive);
    }

    fn suspend(&self, session: BoundSession, left: Suspended) -> Work<()> {
        Box::pin(suspended::suspend(Arc::clone(&self.0), session, left))
    }

    fn ended(&self, session: BoundSession, unsent: Vec<Stanza>) -> Work<()> {
        let router = self.0.router.clone();
        Box::pin(async move { router.end_session(session, unsent).await })
    }
}

/// A message with a body or encrypted content. Looked for in the bytes: a few too many do no harm.
fn is_for_people(stanza: &Stanza) -> bool {
    let has = |text: &[u8]| memchr::memmem::find(stanza.bytes(), text).is_some();
    stanza.kind() == Kind::Message && (has(b"<body") || has(b"<encrypted"))
}

fn info(client: Client, since: SystemTime) -> SessionInfo {
    SessionInfo {
        peer: Some(client.peer),
        connection: match client.via {
            Via::WebSocket { .. } => "websocket",
            Via::Bosh { .. } => "bosh",
            Via::Tcp if client.tls.is_none() => "c2s",
            _ => "c2s_tls",
        },
        mechanism: client.mechanism,
        tls: client.tls,
        stream_id: client.stream_id,
        since,
    }
}

fn handles(shared: &Shared, domain: &str, ns: &str) -> bool {
    shared.manager.modules().snapshot().iq(domain, IqTarget::Server, ns).is_some()
}

/// An address literal as a JID: RFC 7622 section 3.2 allows it as a domainpart.
fn address_jid(peer: SocketAddr, stream_id: &str) -> Result<Jid, crate::stanza::JidError> {
    match peer {
        SocketAddr::V4(peer) => Jid::parse(&format!("{}/{stream_id}", peer.ip())),
        SocketAddr::V6(peer) => Jid::parse(&format!("[{}]/{stream_id}", peer.ip())),
    }
}
