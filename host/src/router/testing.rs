//! A router with fakes around it: sessions with mailboxes to look into, modules made of closures.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{AccountDirectory, BoxFuture, Modules, NoFederation, RemoteDomains, Router, RouterParts};
use crate::config::ConflictPolicy;
use crate::iq::IqHandlers;
use crate::plugin::call::{Dispatch, HookCall, HookVerdict, IqCall, IqOutcome, RouteTable, Stopped};
use crate::plugin::hook::HookPoint;
use crate::plugin::registration::IqTarget;
use crate::plugin::slot::SlotKey;
use crate::session::{
    Batch, BindRequest, BoundSession, Delivery, MailboxReceiver, SessionInfo, SessionLimits, Sessions,
};
use crate::stanza::{Jid, Stanza, StanzaError, StanzaErrorCondition, StreamError};

pub type IqFunction = Box<dyn Fn(&Stanza) -> Dispatch<IqOutcome> + Send + Sync>;
pub type HookFunction = Box<dyn Fn(HookCall) -> Dispatch<HookVerdict> + Send + Sync>;
pub type RouteFunction = Box<dyn Fn(&Stanza) -> Result<(), StanzaError> + Send + Sync>;

/// Modules made of closures.
#[derive(Default)]
pub struct FakeModules {
    iq: Mutex<HashMap<(IqTarget, String), Arc<IqFunction>>>,
    hooks: Mutex<HashMap<HookPoint, Arc<HookFunction>>>,
    local: Mutex<HashMap<String, Arc<RouteFunction>>>,
    global: Mutex<HashMap<String, Arc<RouteFunction>>>,
}

impl FakeModules {
    pub fn on_iq(
        &self,
        target: IqTarget,
        ns: &str,
        handler: impl Fn(&Stanza) -> Dispatch<IqOutcome> + Send + Sync + 'static,
    ) {
        self.iq.lock().unwrap().insert((target, ns.to_owned()), Arc::new(Box::new(handler)));
    }

    pub fn on_hook(
        &self,
        point: HookPoint,
        function: impl Fn(HookCall) -> Dispatch<HookVerdict> + Send + Sync + 'static,
    ) {
        self.hooks.lock().unwrap().insert(point, Arc::new(Box::new(function)));
    }

    pub fn on_route(
        &self,
        table: RouteTable,
        domain: &str,
        route: impl Fn(&Stanza) -> Result<(), StanzaError> + Send + Sync + 'static,
    ) {
        self.table(table).lock().unwrap().insert(domain.to_owned(), Arc::new(Box::new(route)));
    }

    fn table(&self, table: RouteTable) -> &Mutex<HashMap<String, Arc<RouteFunction>>> {
        match table {
            RouteTable::Local => &self.local,
            RouteTable::Global => &self.global,
        }
    }
}

impl IqHandlers for FakeModules {
    fn handle(&self, request: IqCall<'_>) -> Option<Dispatch<IqOutcome>> {
        let handler = self.iq.lock().unwrap().get(&(request.target, request.ns.to_owned())).cloned();
        Some(handler?(request.stanza))
    }
}

impl Modules for FakeModules {
    fn is_hooked_anywhere(&self, point: HookPoint) -> bool {
        self.is_hooked(point, "")
    }

    fn is_hooked(&self, point: HookPoint, _vhost: &str) -> bool {
        self.hooks.lock().unwrap().contains_key(&point)
    }

    fn run_hooks(&self, point: HookPoint, _vhost: &str, call: HookCall) -> Dispatch<HookVerdict> {
        let function = self.hooks.lock().unwrap().get(&point).cloned();
        match function {
            Some(function) => function(call),
            None => Dispatch::Ready(passed(call)),
        }
    }

    fn owns(&self, table: RouteTable, domain: &str) -> bool {
        self.table(table).lock().unwrap().contains_key(domain)
    }

    fn deliver(&self, table: RouteTable, domain: &str, stanza: &Stanza) -> Option<Result<(), StanzaError>> {
        let route = self.table(table).lock().unwrap().get(domain).cloned();
        Some(route?(stanza))
    }
}

/// A chain that lets the stanza pass.
pub fn passed(call: HookCall) -> HookVerdict {
    HookVerdict { stanza: call.stanza, body: call.body, stopped: None }
}

/// A chain that one function stopped.
pub fn stopped(reason: &str) -> HookVerdict {
    let by = SlotKey { module: "mod_test".into(), vhost: "global".into() };
    HookVerdict { stanza: None, body: Vec::new(), stopped: Some(Stopped { by, reason: reason.to_owned() }) }
}

/// What went to other servers.
#[derive(Default)]
pub struct Wire(pub Mutex<Vec<String>>);

impl RemoteDomains for Wire {
    fn send(&self, stanza: &Stanza) -> Result<(), StanzaErrorCondition> {
        self.0.lock().unwrap().push(stanza.as_str().to_owned());
        Ok(())
    }
}

/// Accounts that exist although they have no session.
#[derive(Default)]
pub struct FakeAccounts(Mutex<HashSet<Jid>>);

impl AccountDirectory for FakeAccounts {
    fn exists(&self, account: &Jid) -> BoxFuture<bool> {
        let exists = self.0.lock().unwrap().contains(account);
        Box::pin(async move {
            tokio::task::yield_now().await;
            exists
        })
    }
}

/// The vhosts of every bench.
pub const VHOSTS: [&str; 2] = ["a.example", "b.example"];

/// A router with fakes around it.
pub struct Bench {
    pub router: Router,
    pub modules: Arc<FakeModules>,
    pub accounts: Arc<FakeAccounts>,
}

impl Bench {
    pub fn new() -> Self {
        Self::with(SessionLimits::default(), Arc::new(NoFederation))
    }

    pub fn with(limits: SessionLimits, remote: Arc<dyn RemoteDomains>) -> Self {
        let modules = Arc::new(FakeModules::default());
        let accounts = Arc::new(FakeAccounts::default());
        let router = Router::new(RouterParts {
            vhosts: VHOSTS.into_iter().map(Into::into).collect(),
            sessions: Sessions::new(limits),
            modules: modules.clone(),
            accounts: accounts.clone(),
            remote,
            runtime: tokio::runtime::Handle::current(),
            answer_deadline: Duration::from_secs(30),
            pending_iqs: 100,
            owed_answers: 100,
        });
        Self { router, modules, accounts }
    }

    /// An account without a session.
    pub fn has_account(&self, account: &str) {
        self.accounts.0.lock().unwrap().insert(jid(account));
    }

    pub async fn bind(&self, full: &str) -> Client {
        let full = jid(full);
        let (sender, mailbox) = self.router.sessions().mailbox();
        let request = BindRequest {
            account: full.bare(),
            resource: full.resource().map(str::to_owned),
            policy: ConflictPolicy::ReplaceOld,
            mailbox: sender,
            info: SessionInfo::default(),
        };
        let session = self.router.bind(request).await.unwrap();
        Client { router: self.router.clone(), session: Some(session), mailbox: Some(mailbox) }
    }

    /// A client that has sent initial presence with this priority; what it was told thereby is read already.
    pub async fn available(&self, full: &str, priority: i8) -> Client {
        let mut client = self.bind(full).await;
        client.send(&format!("<presence><priority>{priority}</priority></presence>")).await;
        client.got();
        client
    }
}

/// A bound session and what it was sent.
pub struct Client {
    router: Router,
    pub session: Option<BoundSession>,
    pub mailbox: Option<MailboxReceiver>,
}

impl Client {
    pub fn jid(&self) -> Jid {
        self.session.as_ref().unwrap().full_jid().clone()
    }

    /// Sends a stanza as the stream would: stamped with the full JID.
    pub async fn send(&self, xml: &str) {
        let session = self.session.as_ref().unwrap();
        let stanza = Stanza::parse(xml.as_bytes()).unwrap().with_from(session.full_jid());
        self.router.from_session(session, stanza).await;
    }

    /// Everything in the mailbox now.
    pub fn deliveries(&mut self) -> Batch {
        let mut batch = Batch::new();
        self.mailbox.as_mut().unwrap().drain(&mut batch, usize::MAX);
        batch
    }

    /// All stanzas in the mailbox now.
    pub fn got(&mut self) -> Vec<Stanza> {
        let stanza = |delivery| match delivery {
            Delivery::Stanza(stanza) => Some(stanza),
            Delivery::Close(_) => None,
        };
        self.deliveries().into_iter().filter_map(stanza).collect()
    }

    /// The only stanza in the mailbox now.
    pub fn got_one(&mut self) -> Stanza {
        let mut got = self.got();
        assert_eq!(got.len(), 1, "{got:?}");
        got.remove(0)
    }

    /// Waits for the next stanzas, at most five seconds.
    pub async fn wait(&mut self) -> Vec<Stanza> {
        let ready = self.mailbox.as_mut().unwrap().ready();
        tokio::time::timeout(Duration::from_secs(5), ready).await.expect("nothing came");
        self.got()
    }

    /// Why the server closes the stream, if it does.
    pub fn closed(&mut self) -> Option<StreamError> {
        self.deliveries().into_iter().find_map(|delivery| match delivery {
            Delivery::Close(error) => Some(error),
            Delivery::Stanza(_) => None,
        })
    }

    /// The stream ends as it should.
    pub async fn leave(mut self) {
        drop(self.mailbox.take());
        self.router.end_session(self.session.take().unwrap(), Vec::new()).await;
    }
}

pub fn jid(text: &str) -> Jid {
    Jid::parse(text).unwrap()
}

pub fn stanza(xml: &str) -> Stanza {
    Stanza::parse(xml.as_bytes()).unwrap()
}

/// The condition of an error stanza.
pub fn condition(stanza: &Stanza) -> Option<StanzaErrorCondition> {
    let element = stanza.to_element();
    let error = element.child("error", crate::stanza::ns::CLIENT)?;
    Some(StanzaError::from_element(error).condition)
}
