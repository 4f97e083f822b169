//! What the router costs per stanza, without streams and modules: `cargo bench -p moult-host --bench router`.
//!
//! One line per case: nanoseconds and allocations per stanza, from the sender's session into the receiver's mailbox and
//! out of it again. Before that the look-up alone: which of the server's tables knows the recipient.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use moult_host::config::ConflictPolicy;
use moult_host::iq::IqHandlers;
use moult_host::plugin::call::{Dispatch, HookCall, HookVerdict, IqCall, IqOutcome, RouteTable};
use moult_host::plugin::hook::HookPoint;
use moult_host::router::{AccountDirectory, BoxFuture, Modules, NoFederation, Place, Router, RouterParts};
use moult_host::session::{
    Batch, BindRequest, BoundSession, MailboxReceiver, SessionInfo, SessionLimits, Sessions,
};
use moult_host::stanza::{Jid, Stanza, StanzaError};

/// Counts allocations; the numbers per stanza are part of the result.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is handed on to the system's allocator unchanged.
#[allow(unsafe_code, reason = "an allocator cannot be counted otherwise")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One handler that answers at once, and tables of domains that nobody is sent to.
struct OneHandler(HashMap<String, RouteTable, foldhash::fast::RandomState>);

impl IqHandlers for OneHandler {
    fn handle(&self, request: IqCall<'_>) -> Option<Dispatch<IqOutcome>> {
        (request.ns == "urn:bench")
            .then(|| Dispatch::Ready(IqOutcome::Result(b"<pong xmlns='urn:bench'/>".to_vec())))
    }
}

impl Modules for OneHandler {
    fn is_hooked_anywhere(&self, _: HookPoint) -> bool {
        false
    }

    fn is_hooked(&self, _: HookPoint, _: &str) -> bool {
        false
    }

    fn run_hooks(&self, _: HookPoint, _: &str, call: HookCall) -> Dispatch<HookVerdict> {
        Dispatch::Ready(HookVerdict { stanza: call.stanza, body: call.body, stopped: None })
    }

    fn owns(&self, table: RouteTable, domain: &str) -> bool {
        self.0.get(domain) == Some(&table)
    }

    fn deliver(&self, _: RouteTable, _: &str, _: &Stanza) -> Option<Result<(), StanzaError>> {
        None
    }
}

struct Everybody;

impl AccountDirectory for Everybody {
    fn exists(&self, _: &Jid) -> BoxFuture<bool> {
        Box::pin(std::future::ready(true))
    }
}

fn bind(router: &Router, full: &str) -> (BoundSession, MailboxReceiver) {
    let full = Jid::parse(full).expect("a JID");
    let (mailbox, receiver) = router.sessions().mailbox();
    let request = BindRequest {
        account: full.bare(),
        resource: full.resource().map(str::to_owned),
        policy: ConflictPolicy::ReplaceOld,
        mailbox,
        info: SessionInfo::default(),
    };
    (router.sessions().bind(request).expect("a free resource").session, receiver)
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
    let router = Router::new(RouterParts {
        vhosts: vec!["a.example".into(), "b.example".into()],
        sessions: Sessions::new(SessionLimits::default()),
        modules: Arc::new(OneHandler(domains())),
        accounts: Arc::new(Everybody),
        remote: Arc::new(NoFederation),
        runtime: runtime.handle().clone(),
        answer_deadline: Duration::from_secs(30),
        pending_iqs: 1_000,
        owed_answers: 1_000,
    });
    // A table of the size of a busy server, so that look-ups do not all hit the same cache line.
    let crowd: Vec<_> =
        (0..10_000).map(|number| bind(&router, &format!("user{number}@b.example/r"))).collect();
    let (romeo, mut own) = bind(&router, "romeo@a.example/orchard");
    let (juliet, mut hers) = bind(&router, "juliet@b.example/balcony");
    let presence = "<presence from='juliet@b.example/balcony'/>";
    assert!(router.from_session(&juliet, stanza(presence)).is_done());
    own.drain(&mut Batch::new(), usize::MAX);
    hers.drain(&mut Batch::new(), usize::MAX);

    for (what, to, place) in [
        ("look-up of an account", "juliet@b.example/balcony", Place::Account),
        ("look-up of a vhost", "a.example", Place::Vhost),
        ("look-up in the LOCAL table", "user@service7.a.example", Place::Module(RouteTable::Local)),
        ("look-up in the GLOBAL table", "user@service8.a.example", Place::Module(RouteTable::Global)),
        ("look-up of another server", "user@elsewhere.example", Place::Elsewhere),
    ] {
        look_up(what, &router, &Jid::parse(to).expect("a JID"), place);
    }

    let body = "x".repeat(100);
    let message = |to: &str| {
        stanza(&format!(
            "<message from='romeo@a.example/orchard' to='{to}' type='chat' id='m'><body>{body}</body></message>"
        ))
    };
    measure("message to a full JID", &router, &romeo, &message("juliet@b.example/balcony"), &mut hers);
    measure("message to a bare JID", &router, &romeo, &message("juliet@b.example"), &mut hers);
    measure("message to nobody, bounced", &router, &romeo, &message("nobody@b.example"), &mut own);
    let ask = |to: &str, ns: &str| {
        stanza(&format!(
            "<iq from='romeo@a.example/orchard' to='{to}' type='get' id='q'><ping xmlns='{ns}'/></iq>"
        ))
    };
    measure("IQ to a full JID", &router, &romeo, &ask("juliet@b.example/balcony", "urn:x"), &mut hers);
    measure("IQ to a handler, answered", &router, &romeo, &ask("a.example", "urn:bench"), &mut own);
    measure("IQ without a handler, refused", &router, &romeo, &ask("a.example", "urn:x"), &mut own);
    drop(crowd);
}

fn stanza(xml: &str) -> Stanza {
    Stanza::parse(xml.as_bytes()).expect("a stanza")
}

/// A hundred domains of modules, by turns in either table.
fn domains() -> HashMap<String, RouteTable, foldhash::fast::RandomState> {
    let table = |number: u32| if number % 2 == 1 { RouteTable::Local } else { RouteTable::Global };
    (0..100).map(|number| (format!("service{number}.a.example"), table(number))).collect()
}

fn look_up(what: &str, router: &Router, to: &Jid, place: Place) {
    const ROUNDS: u32 = 1_000_000;
    let mut best = f64::MAX;
    for _ in 0..5 {
        let started = Instant::now();
        for _ in 0..ROUNDS {
            assert_eq!(std::hint::black_box(router.look_up(std::hint::black_box(to))), place);
        }
        best = best.min(started.elapsed().as_nanos() as f64 / f64::from(ROUNDS));
    }
    println!("{what:<32} {best:>7.0} ns");
}

fn measure(what: &str, router: &Router, sender: &BoundSession, stanza: &Stanza, out: &mut MailboxReceiver) {
    const ROUNDS: u32 = 200_000;
    let mut batch = Batch::new();
    let mut run = |rounds: u32| {
        for _ in 0..rounds {
            assert!(router.from_session(sender, stanza.clone()).is_done());
            out.drain(&mut batch, usize::MAX);
            assert_eq!(batch.len(), 1);
            batch.clear();
        }
    };
    run(ROUNDS / 10);
    let mut best = f64::MAX;
    let mut allocations = 0;
    for _ in 0..5 {
        let (before, started) = (ALLOCATIONS.load(Ordering::Relaxed), Instant::now());
        run(ROUNDS);
        best = best.min(started.elapsed().as_nanos() as f64 / f64::from(ROUNDS));
        allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    }
    println!("{what:<32} {best:>7.0} ns  {:>5.2} allocations", allocations as f64 / f64::from(ROUNDS));
}
