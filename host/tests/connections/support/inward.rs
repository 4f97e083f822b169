//! What is behind the connections: accounts that are real, and a router that is not.
//!
//! A stanza to a full JID goes into that session's mailbox; every stanza is noted.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use moult_host::auth::sasl::{ChannelBindings, Mechanism, Offer};
use moult_host::auth::{Accounts, LoginContext, LoginLimiter};
use moult_host::session::MailboxSender;
use moult_host::stanza::{Jid, Stanza, StanzaError, StanzaErrorCondition};
use moult_host::stream::{BindRequest, FeatureStage, LoginEnd, StreamEvents, StreamHost, Taken, Work};
use tokio::sync::Notify;

/// The domain that is served.
pub const DOMAIN: &str = "moult.example";

/// Account, mechanism, and the name of the condition if it failed.
pub type EndedLogin = (Option<String>, String, Option<&'static str>);

/// What the tests look at.
#[derive(Default)]
pub struct Record {
    /// Stanzas that came from clients, in order, with the sender's full JID.
    pub delivered: Mutex<Vec<(String, String)>>,
    /// The sessions that are bound.
    pub sessions: Mutex<HashMap<String, MailboxSender>>,
    /// The sessions that ended in an orderly way, with what was never written to them.
    pub ended: Mutex<Vec<(String, Vec<String>)>>,
    /// Sessions that lost their connection, and those whose client came back, with the mechanism of its login.
    pub detached: Mutex<Vec<String>>,
    pub resumed: Mutex<Vec<(String, String)>>,
    /// Logins that ended.
    pub logins: Mutex<Vec<EndedLogin>>,
    /// Sessions that were dropped without that.
    pub abandoned: AtomicUsize,
    /// Stanzas are taken only when this is lifted.
    pub is_held: AtomicBool,
    pub released: Notify,
}

/// The way inwards of the test's server.
pub struct Inwards {
    pub accounts: Accounts,
    pub limiter: Arc<LoginLimiter>,
    pub offers_tls: bool,
    pub record: Arc<Record>,
}

/// A bound resource.
pub struct FakeSession {
    jid: Jid,
    record: Arc<Record>,
    is_ended: bool,
}

impl Record {
    /// How many stanzas have come.
    pub fn delivered_count(&self) -> usize {
        self.delivered.lock().unwrap().len()
    }

    /// The mailbox of a session.
    pub fn mailbox(&self, jid: &str) -> MailboxSender {
        self.sessions.lock().unwrap()[jid].clone()
    }

    /// Lets the stanzas go on that were held.
    pub fn release(&self) {
        self.is_held.store(false, Ordering::SeqCst);
        self.released.notify_waiters();
    }

    async fn wait_for_release(&self) {
        loop {
            let released = self.released.notified();
            if !self.is_held.load(Ordering::SeqCst) {
                return;
            }
            released.await;
        }
    }

    fn take(&self, from: &Jid, stanza: &Stanza) {
        self.delivered.lock().unwrap().push((from.to_string(), stanza.as_str().to_owned()));
        let mailbox = stanza.to().and_then(|to| self.sessions.lock().unwrap().get(to.as_str()).cloned());
        if let Some(mailbox) = mailbox {
            // A full mailbox refuses; what becomes of the stanza is not these tests' business.
            let _ = mailbox.push(stanza.clone());
        }
    }
}

impl StreamHost for Inwards {
    fn serves(&self, domain: &str) -> bool {
        domain == DOMAIN
    }

    fn default_domain(&self) -> String {
        DOMAIN.to_owned()
    }

    fn offers_tls(&self) -> bool {
        self.offers_tls
    }

    fn offer(&self, domain: &str, encrypted: bool, bindings: ChannelBindings) -> Offer {
        Offer { vhost: domain.to_owned(), encrypted, bindings, allowed: Mechanism::ALL.to_vec() }
    }

    fn write_features(&self, stage: FeatureStage, _domain: &str, out: &mut String) {
        if stage == FeatureStage::BeforeLogin {
            out.push_str("<register xmlns='http://jabber.org/features/iq-register'/>");
        }
    }
}

impl StreamEvents for Inwards {
    type Session = FakeSession;
    type Outbox = MailboxSender;

    fn login_context(&self, peer: SocketAddr) -> LoginContext {
        LoginContext {
            accounts: self.accounts.clone(),
            limiter: Arc::clone(&self.limiter),
            address: peer.ip(),
        }
    }

    fn login_ended(&self, end: LoginEnd, domain: &str, mechanism: &str, _peer: SocketAddr) {
        assert_eq!(domain, DOMAIN);
        let failure = end.failure.map(|condition| condition.name());
        self.record.logins.lock().unwrap().push((end.account, mechanism.to_owned(), failure));
    }

    fn before_login(
        &self,
        stanza: Stanza,
        _domain: &str,
        _stream_id: &str,
        _peer: SocketAddr,
    ) -> Work<Option<Stanza>> {
        let is_register = stanza.payload().is_some_and(|payload| payload.ns == "jabber:iq:register");
        Box::pin(async move {
            tokio::task::yield_now().await;
            if is_register { stanza.iq_result(b"").ok() } else { None }
        })
    }

    fn bind(&self, request: BindRequest<MailboxSender>) -> Work<Result<FakeSession, StanzaError>> {
        let record = Arc::clone(&self.record);
        Box::pin(async move {
            tokio::task::yield_now().await;
            let resource = request.resource.as_deref().unwrap_or("chosen");
            let jid = request.account.with_resource(resource);
            let jid = jid.map_err(|_| StanzaError::from(StanzaErrorCondition::BadRequest))?;
            let mut sessions = record.sessions.lock().unwrap();
            if sessions.contains_key(jid.as_str()) {
                return Err(StanzaErrorCondition::Conflict.into());
            }
            sessions.insert(jid.to_string(), request.outbox);
            Ok(FakeSession { jid, record: Arc::clone(&record), is_ended: false })
        })
    }

    fn full_jid(&self, session: &FakeSession) -> Jid {
        session.jid.clone()
    }

    fn deliver(&self, session: &FakeSession, stanza: Stanza) -> Taken {
        if !self.record.is_held.load(Ordering::SeqCst) {
            self.record.take(&session.jid, &stanza);
            return Taken::Done;
        }
        let (record, from) = (Arc::clone(&self.record), session.jid.clone());
        Taken::Later(Box::pin(async move {
            record.wait_for_release().await;
            record.take(&from, &stanza);
        }))
    }

    fn detached(&self, session: &FakeSession, _unacknowledged: &mut dyn Iterator<Item = &Stanza>) {
        self.record.detached.lock().unwrap().push(session.jid.to_string());
    }

    fn resumed(&self, session: &FakeSession, client: moult_host::stream::Client) {
        self.record.resumed.lock().unwrap().push((session.jid.to_string(), client.mechanism));
    }

    fn ended(&self, mut session: FakeSession, unsent: Vec<Stanza>) -> Work<()> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            session.is_ended = true;
            let unsent = unsent.iter().map(|stanza| stanza.as_str().to_owned());
            let mailbox = session.record.sessions.lock().unwrap().remove(session.jid.as_str());
            let untaken = mailbox.map(|mailbox| mailbox.seal()).unwrap_or_default();
            let untaken = untaken.iter().map(|stanza| stanza.as_str().to_owned());
            let lost = unsent.chain(untaken).collect();
            session.record.ended.lock().unwrap().push((session.jid.to_string(), lost));
        })
    }
}

impl Drop for FakeSession {
    fn drop(&mut self) {
        if !self.is_ended {
            self.record.abandoned.fetch_add(1, Ordering::SeqCst);
            self.record.sessions.lock().unwrap().remove(self.jid.as_str());
        }
    }
}
