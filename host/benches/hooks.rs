//! What hooks of modules cost per stanza: `cargo bench -p moult-host --bench hooks`.
//!
//! The same message goes from one session through the router into the mailbox of another, in several servers in one
//! process: without modules, with a module that hooked nothing, with one whose hooks are on another vhost, and with ones
//! whose hooks do nothing. The rounds are interleaved, so that whatever else the machine does concerns all of them;
//! what counts is the difference to the first line.

use moult_host::config::{Config, ConflictPolicy};
use moult_host::plugin::loader::allocator;
use moult_host::plugin::manager::{Manager, UpdateRequest};
use moult_host::plugin::probe::{self, ProbeSettings};
use moult_host::router::{AccountDirectory, BoxFuture, NoFederation, Router, RouterParts};
use moult_host::session::{
    Batch, BindRequest, BoundSession, MailboxReceiver, SessionInfo, SessionLimits, Sessions,
};
use moult_host::stanza::{Jid, Stanza};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

const VHOST: &str = "example.org";
const ELSEWHERE: &str = "example.net";
/// Short rounds, many of them: others want the processor too, but not all the time.
const ROUNDS: usize = 400;
const STANZAS: u32 = 2_000;

fn main() {
    if let Some(path) = probe::requested() {
        probe::child_main(&path);
    }
    allocator::settle();
    let library = build();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .on_thread_park(moult_host::plugin::lookup::at_rest)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let idle = |at: &str, vhost: &str| {
            format!("[vhost.\"{vhost}\".modules.fixture_chain_a]\nidle_at = [{at}]\n")
        };
        let mut lines = vec![
            Line::of("no modules", None, "").await,
            Line::of("a module, no hooks", Some(&library), "").await,
            Line::of("a hook on another vhost", Some(&library), &idle("'50'", ELSEWHERE)).await,
            Line::of("one hook that does nothing", Some(&library), &idle("'50'", VHOST)).await,
            Line::of("four hooks that do nothing", Some(&library), &idle("'1', '2', '3', '4'", VHOST)).await,
        ];
        // On a thread of the runtime, where the tasks of connections run.
        let measured = tokio::spawn(async move {
            for _ in 0..ROUNDS {
                lines.iter_mut().for_each(Line::round);
            }
            lines
        });
        let lines = measured.await.expect("nothing panics");
        let without = lines[0].best;
        for line in &lines {
            println!("{:<28} {:>6.0} ns a message, {:>+5.0} ns", line.what, line.best, line.best - without);
        }
        println!(
            "the aim for one hook that does nothing: below 60 ns; for those that nobody registered: nothing"
        );
        for line in lines {
            line.manager.shutdown(false).await;
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
}

/// Builds the module, optimised as this program is; gives its library.
fn build() -> PathBuf {
    let (profile, folder) = if cfg!(debug_assertions) { ("dev", "debug") } else { ("release", "release") };
    let status = Command::new(env!("CARGO"))
        .args(["build", "-q", "--profile", profile, "-p", "fixture_chain"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .status()
        .expect("cargo runs");
    assert!(status.success(), "the module does not build");
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"));
    target.join(folder).join("libfixture_chain.so")
}

/// One server, two sessions, and what a message between them took at best.
struct Line {
    what: &'static str,
    best: f64,
    manager: Manager,
    router: Router,
    romeo: BoundSession,
    _juliet: BoundSession,
    hers: MailboxReceiver,
    message: Stanza,
    _folder: tempfile::TempDir,
}

impl Line {
    async fn of(what: &'static str, library: Option<&Path>, options: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        for name in ["data", "plugins"] {
            std::fs::create_dir(root.join(name)).expect("a folder");
        }
        if let Some(library) = library {
            std::fs::copy(library, root.join("plugins/fixture_chain_a.so")).expect("a file");
        }
        let text = format!(
            "[server]\ndata_dir = \"{0}/data\"\nplugin_dir = \"{0}/plugins\"\ncontrol_socket = \"{0}/sock\"\n\
             [tls]\nself_signed = true\n[vhost.\"{VHOST}\"]\n[vhost.\"{ELSEWHERE}\"]\n{options}",
            root.display()
        );
        let file = root.join("moult.toml");
        std::fs::write(&file, text).expect("a file");
        let config = Config::load(&file).unwrap_or_else(|errors| panic!("{errors}"));
        let manager = Manager::open(Arc::new(config), ProbeSettings::default()).expect("a manager");
        let report = manager.update(UpdateRequest::all("ctl")).await;
        assert_eq!(report.updated.len(), usize::from(library.is_some()), "{:?}", report.errors);
        let router = router(&manager);
        let (romeo, _own) = bind(&router, &format!("romeo@{VHOST}/orchard"));
        let (juliet, hers) = bind(&router, &format!("juliet@{VHOST}/balcony"));
        let message = format!(
            "<message from='romeo@{VHOST}/orchard' to='juliet@{VHOST}/balcony' type='chat'><body>{}</body></message>",
            "x".repeat(100)
        );
        let message = Stanza::parse(message.as_bytes()).expect("a stanza");
        Self { what, best: f64::MAX, manager, router, romeo, _juliet: juliet, hers, message, _folder: folder }
    }

    fn round(&mut self) {
        let mut batch = Batch::new();
        let began = Instant::now();
        for _ in 0..STANZAS {
            assert!(self.router.from_session(&self.romeo, self.message.clone()).is_done());
            self.hers.drain(&mut batch, usize::MAX);
            assert_eq!(batch.len(), 1);
            batch.clear();
        }
        self.best = self.best.min(began.elapsed().as_nanos() as f64 / f64::from(STANZAS));
    }
}

struct Everybody;

impl AccountDirectory for Everybody {
    fn exists(&self, _: &Jid) -> BoxFuture<bool> {
        Box::pin(std::future::ready(true))
    }
}

fn router(manager: &Manager) -> Router {
    Router::new(RouterParts {
        vhosts: vec![VHOST.into(), ELSEWHERE.into()],
        sessions: Sessions::new(SessionLimits::default()),
        modules: Arc::new(manager.modules()),
        accounts: Arc::new(Everybody),
        remote: Arc::new(NoFederation),
        runtime: tokio::runtime::Handle::current(),
        answer_deadline: Duration::from_secs(30),
        pending_iqs: 1_000,
        owed_answers: 1_000,
    })
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
