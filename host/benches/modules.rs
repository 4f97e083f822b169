//! What a swap and a call cost, in one process, without sockets:
//! `cargo bench -p moult-host --bench modules [-- [--quick] [--only echo|heavy|state|call] [--updates N]]`.
//!
//! * `echo`: mod_echo is updated over and over under traffic; lost and doubled stanzas, memory, mappings, descriptors;
//! * `heavy`: the same for a module that links tokio, chrono and rand and keeps thread-locals, where it is built;
//! * `state`: a module with 1 MB of state is swapped under callers; pause, lost counts; then a successor that refuses;
//! * `call`: host to module and back with a 200-byte reply, against a direct call that copies the same bytes.
//!
//! It ends with an error when something was lost, doubled or leaked: descriptors, mappings, or resident memory after the
//! first hundred updates. Times are printed, never judged.

use moult_host::config::Config;
use moult_host::plugin::call::{Dispatch, IqCall, IqOutcome, Modules, RouteTable};
use moult_host::plugin::loader::allocator;
use moult_host::plugin::manager::{Manager, UpdateRequest};
use moult_host::plugin::probe::{self, ProbeSettings};
use moult_host::plugin::registration::IqTarget;
use moult_host::plugin::report::UpdateReport;
use moult_host::plugin::services::{BoxFuture, HostServices, OpError, OpReply, OpRequest, Origin};
use moult_host::stanza::Stanza;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const VHOST: &str = "example.org";
const COUNT: &str = "urn:moult:fixture:count-inline";
const REPLY: &str = "urn:moult:fixture:reply";
/// How much resident memory may grow after the first hundred updates, however many there are.
const MAX_GROWTH_KB: u64 = 1024;

fn main() {
    if let Some(path) = probe::requested() {
        probe::child_main(&path);
    }
    allocator::settle();
    let quick = std::env::args().any(|argument| argument == "--quick");
    let updates = |all: u64, few: u64| match value_of("--updates") {
        Some(number) => number.parse().expect("a number of updates"),
        None if quick => few,
        None => all,
    };
    let libraries = build();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .on_thread_park(moult_host::plugin::lookup::at_rest)
        .enable_all()
        .build()
        .expect("a runtime");
    let failures = runtime.block_on(async {
        let mut failures = Vec::new();
        if wanted("echo") {
            failures.extend(echo(&libraries, updates(10_000, 300)).await);
        }
        if wanted("heavy") {
            failures.extend(heavy(&libraries, updates(1_000, 200)).await);
        }
        if wanted("state") {
            failures.extend(state(&libraries, updates(1_000, 100)).await);
        }
        if wanted("call") {
            failures.extend(call(&libraries, if quick { 200_000 } else { 5_000_000 }).await);
        }
        failures
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    if !failures.is_empty() {
        eprintln!("\nNOT GOOD:\n{}", failures.join("\n"));
        std::process::exit(1);
    }
}

/// Whether a part was asked for: all are, unless `--only` names one.
fn wanted(part: &str) -> bool {
    value_of("--only").is_none_or(|name| name == part)
}

/// What follows an option on the command line.
fn value_of(option: &str) -> Option<String> {
    std::env::args().skip_while(|argument| argument != option).nth(1)
}

/// Builds the modules, optimised as this program is; gives the folder of the libraries.
fn build() -> PathBuf {
    let (profile, folder) = if cfg!(debug_assertions) { ("dev", "debug") } else { ("release", "release") };
    let packages = ["mod_echo", "fixture_counter_v1", "fixture_counter_v2", "fixture_heavy"];
    let status = Command::new(env!("CARGO"))
        .args(["build", "-q", "--profile", profile])
        .args(packages.iter().flat_map(|package| ["-p", package]))
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .status()
        .expect("cargo runs");
    assert!(status.success(), "the modules do not build");
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target")).join(folder)
}

/// A server without sockets: a manager, and a router that counts what comes back.
struct Bench {
    dir: tempfile::TempDir,
    manager: Manager,
    modules: Modules,
    echoes: Arc<Echoes>,
}

#[derive(Default)]
struct Echoes {
    returned: Mutex<BTreeMap<String, u32>>,
    count: AtomicU64,
}

impl HostServices for Echoes {
    fn route(&self, _: &Origin, stanza: Stanza) -> Result<(), OpError> {
        let id = stanza.id().unwrap_or_default().into_owned();
        *self.returned.lock().expect("nobody panics here").entry(id).or_default() += 1;
        self.count.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn start_op(&self, _: &Origin, _: OpRequest) -> BoxFuture<Result<OpReply, OpError>> {
        Box::pin(std::future::ready(Err(OpError::new("feature-not-implemented", "a bench"))))
    }

    fn fatal(&self, _: &Origin, message: &str) -> ! {
        panic!("{message}")
    }
}

impl Bench {
    fn new(options: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path();
        fs::create_dir(root.join("plugins")).expect("a folder");
        let text = format!(
            "[server]\ndata_dir = \"{0}/data\"\nplugin_dir = \"{0}/plugins\"\ncontrol_socket = \"{0}/sock\"\n\
             [tls]\nself_signed = true\n[modules]\nhealth_window = 0\nkeep_generations = 1\n{options}\n[vhost.\"{VHOST}\"]\n",
            root.display()
        );
        let file = root.join("moult.toml");
        fs::create_dir(root.join("data")).expect("a folder");
        fs::write(&file, text).expect("a file");
        let config = Config::load(&file).unwrap_or_else(|errors| panic!("{errors}"));
        let manager = Manager::open(Arc::new(config), ProbeSettings::default()).expect("a manager");
        let echoes = Arc::new(Echoes::default());
        manager.connect(echoes.clone());
        Self { modules: manager.modules(), dir, manager, echoes }
    }

    /// Puts a build into the folder as a careful operator does: a new file renamed over the old one.
    fn put(&self, library: &Path, name: &str, mark: u64) {
        let plugins = self.dir.path().join("plugins");
        let half = plugins.join(format!("{name}.half"));
        let mut bytes = fs::read(library).unwrap_or_else(|e| panic!("{}: {e}", library.display()));
        // Behind the last section: another content, the same code.
        bytes.extend_from_slice(&mark.to_le_bytes());
        fs::write(&half, bytes).expect("a file");
        fs::rename(half, plugins.join(format!("{name}.so"))).expect("a file");
    }

    async fn update(&self) -> UpdateReport {
        self.manager.update(UpdateRequest::all("ctl")).await
    }
}

fn must(report: &UpdateReport) {
    let errors: Vec<String> = report.errors.iter().map(ToString::to_string).collect();
    assert_eq!(report.status, "ok", "{}", errors.join("; "));
    assert!(!report.updated.is_empty(), "nothing was updated");
}

async fn echo(libraries: &Path, swaps: u64) -> Vec<String> {
    swapped_under_echo("echo", &libraries.join("libmod_echo.so"), "mod_echo", "echo.example.org", swaps).await
}

async fn heavy(libraries: &Path, swaps: u64) -> Vec<String> {
    swapped_under_echo(
        "heavy",
        &libraries.join("libfixture_heavy.so"),
        "fixture_heavy",
        "heavy.example.org",
        swaps,
    )
    .await
}

async fn swapped_under_echo(name: &str, library: &Path, file: &str, domain: &str, swaps: u64) -> Vec<String> {
    let bench = Bench::new("");
    bench.put(library, file, 0);
    must(&bench.update().await);
    let stop = Arc::new(AtomicBool::new(false));
    let sender = tokio::spawn(send(
        bench.modules.clone(),
        domain.to_owned(),
        Arc::clone(&stop),
        Arc::clone(&bench.echoes),
    ));
    let (mut commits, mut marks, mut unpurged) = (Times::new(swaps), Vec::new(), 0);
    let mut stages: BTreeMap<&str, Times> = BTreeMap::new();
    let began = Instant::now();
    for swap in 1..=swaps {
        bench.put(library, file, swap);
        let report = bench.update().await;
        must(&report);
        let commit: f64 = report.stages.iter().filter(|s| s.stage != "retire").map(|s| s.ms).sum();
        commits.push(commit);
        for stage in &report.stages {
            stages.entry(stage.stage).or_insert_with(|| Times::new(swaps)).push(stage.ms);
        }
        unpurged += report.unpurged.len();
        if swap == 100 || swap == swaps || swap % (swaps / 10).max(1) == 0 {
            marks.push((swap, Resources::now()));
        }
    }
    let took = began.elapsed();
    stop.store(true, Ordering::Relaxed);
    let sent = sender.await.expect("the sender ends");
    let (lost, doubled) = settle(&bench.echoes, sent).await;
    println!(
        "\n{name}: {swaps} updates in {:.1} s under {:.0} stanzas/s: sent {sent}, lost {lost}, doubled {doubled}, unpurged {unpurged}",
        took.as_secs_f64(),
        sent as f64 / took.as_secs_f64()
    );
    println!("  plan to commit, ms (probe included): {}", commits.quantiles());
    for (stage, times) in stages {
        println!("    {stage:>8}: {}", times.quantiles());
    }
    for (swap, at) in &marks {
        println!("  after {swap:>6}: {at}");
    }
    let mut failures = Vec::new();
    if lost + doubled > 0 || unpurged > 0 {
        failures.push(format!("{name}: lost {lost}, doubled {doubled}, unpurged {unpurged}"));
    }
    let (first, last) = (&marks[0].1, &marks[marks.len() - 1].1);
    if last.fds > first.fds + 2 || last.maps > first.maps + 16 {
        failures.push(format!("{name}: descriptors or mappings grow: {first} -> {last}"));
    }
    if last.rss_kb > first.rss_kb + MAX_GROWTH_KB {
        failures.push(format!("{name}: memory grows by more than {MAX_GROWTH_KB} kB: {first} -> {last}"));
    }
    bench.manager.shutdown(false).await;
    failures
}

/// Sends a thousand stanzas a second through the service until told to stop; gives how many.
async fn send(modules: Modules, domain: String, stop: Arc<AtomicBool>, echoes: Arc<Echoes>) -> u64 {
    let mut sent = 0;
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    while !stop.load(Ordering::Relaxed) {
        tick.tick().await;
        for _ in 0..5 {
            let text = format!(
                "<message from='a@{VHOST}/x' to='{domain}' id='m{sent}' type='chat'><body>hi</body></message>"
            );
            let stanza = Stanza::parse(text.as_bytes()).expect("a stanza");
            match modules.deliver(RouteTable::Global, &domain, &stanza) {
                Some(Ok(())) => sent += 1,
                Some(Err(error)) => panic!("refused: {error:?}"),
                None => panic!("{domain} has no owner"),
            }
        }
        // The record of what has come back whole is not kept: only what is missing or doubled matters.
        echoes.returned.lock().expect("nobody panics here").retain(|_, times| *times != 1);
    }
    sent
}

async fn settle(echoes: &Echoes, sent: u64) -> (u64, u64) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while echoes.count.load(Ordering::Relaxed) < sent && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let returned = echoes.returned.lock().expect("nobody panics here");
    let doubled = returned.values().filter(|times| **times > 1).map(|times| u64::from(*times) - 1).sum();
    (sent.saturating_sub(echoes.count.load(Ordering::Relaxed) - doubled), doubled)
}

async fn state(libraries: &Path, swaps: u64) -> Vec<String> {
    let bench = Bench::new("[modules.fixture_counter]\nblob = \"1MiB\"\n");
    let builds = [libraries.join("libfixture_counter_v1.so"), libraries.join("libfixture_counter_v2.so")];
    bench.put(&builds[0], "fixture_counter", 0);
    must(&bench.update().await);
    let stop = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> =
        (0..2).map(|_| tokio::spawn(count(bench.modules.clone(), Arc::clone(&stop)))).collect();
    let mut pauses = Times::new(swaps);
    for swap in 1..=swaps {
        bench.put(&builds[usize::try_from(swap % 2).expect("0 or 1")], "fixture_counter", swap);
        let report = bench.update().await;
        must(&report);
        pauses.push(report.pause_us as f64);
    }
    stop.store(true, Ordering::Relaxed);
    let mut asked = 0;
    for caller in callers {
        asked += caller.await.expect("a caller ends");
    }
    let counted = ask(&bench.modules, COUNT).await.saturating_sub(1);
    println!(
        "\nstate: {swaps} updates with 1 MiB of state under 2 callers that never pause: asked {asked}, counted {counted}"
    );
    println!("  pause, µs: {}", pauses.quantiles());
    bench.manager.shutdown(false).await;
    if asked == counted {
        Vec::new()
    } else {
        vec![format!("state: {asked} requests, but {counted} were counted")]
    }
}

async fn count(modules: Modules, stop: Arc<AtomicBool>) -> u64 {
    let mut asked = 0;
    while !stop.load(Ordering::Relaxed) {
        ask(&modules, COUNT).await;
        asked += 1;
        if asked % 64 == 0 {
            tokio::task::yield_now().await;
        }
    }
    asked
}

/// One request; gives the number in the answer.
async fn ask(modules: &Modules, ns: &str) -> u64 {
    let stanza = request(ns);
    let outcome = modules.iq(call_of(ns, &stanza)).expect("a handler").wait().await;
    let IqOutcome::Result(payload) = outcome else { panic!("not a result: {outcome:?}") };
    let text = String::from_utf8(payload).expect("text");
    let number = text.split(['>', '<']).nth(2).and_then(|n| n.parse().ok());
    number.unwrap_or_else(|| panic!("no number in {text}"))
}

fn request(ns: &str) -> Stanza {
    let text = format!("<iq from='a@{VHOST}/x' to='{VHOST}' id='1' type='get'><q xmlns='{ns}'/></iq>");
    Stanza::parse(text.as_bytes()).expect("a stanza")
}

fn call_of<'a>(ns: &'a str, stanza: &'a Stanza) -> IqCall<'a> {
    IqCall { vhost: VHOST, target: IqTarget::Server, ns, stanza }
}

async fn call(libraries: &Path, calls: u64) -> Vec<String> {
    let bench = Bench::new("");
    bench.put(&libraries.join("libfixture_counter_v1.so"), "fixture_counter", 0);
    must(&bench.update().await);
    let stanza = request(REPLY);
    let reply = vec![b'x'; 200];
    // On a thread of the runtime, where the tasks of connections run.
    let modules = bench.modules.clone();
    let measuring = tokio::spawn(async move { compare(&modules, &stanza, &reply, calls) });
    let (direct, module) = measuring.await.expect("nothing panics");
    println!(
        "\ncall: direct {direct:.1} ns, into the module and back {module:.1} ns: {:.1} ns over a direct call",
        module - direct
    );
    bench.manager.shutdown(false).await;
    Vec::new()
}

/// Nanoseconds of a direct call that copies the reply, and of one into the module.
fn compare(modules: &Modules, stanza: &Stanza, reply: &Vec<u8>, calls: u64) -> (f64, f64) {
    let direct = best(calls, || std::hint::black_box(std::hint::black_box(reply).clone()).len());
    let module = best(calls, || match modules.iq(call_of(REPLY, stanza)) {
        Some(Dispatch::Ready(IqOutcome::Result(payload))) => payload.len(),
        _ => panic!("not answered at once"),
    });
    (direct, module)
}

/// Nanoseconds per call, the best of many short rounds: others want the processor too, but not all the time.
fn best(calls: u64, mut call: impl FnMut() -> usize) -> f64 {
    const ROUNDS: u64 = 200;
    let (mut best, calls) = (f64::MAX, calls / ROUNDS * 5);
    for _ in 0..ROUNDS {
        let began = Instant::now();
        for _ in 0..calls {
            std::hint::black_box(call());
        }
        best = best.min(began.elapsed().as_nanos() as f64 / calls as f64);
    }
    best
}

/// Measured values, in memory that is all there from the beginning, so that it is not taken for the server's.
struct Times {
    values: Vec<f64>,
    count: usize,
}

impl Times {
    fn new(room: u64) -> Self {
        Self { values: vec![f64::MAX; usize::try_from(room).expect("not that many")], count: 0 }
    }

    fn push(&mut self, value: f64) {
        self.values[self.count] = value;
        self.count += 1;
    }

    fn quantiles(mut self) -> String {
        self.values.truncate(self.count);
        self.values.sort_unstable_by(f64::total_cmp);
        let at = |q: f64| self.values[((self.values.len() - 1) as f64 * q) as usize];
        format!("median {:.2}, p99 {:.2}, max {:.2}", at(0.5), at(0.99), at(1.0))
    }
}

/// What the process holds.
struct Resources {
    rss_kb: u64,
    maps: usize,
    fds: usize,
}

impl Resources {
    fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        Self {
            rss_kb: rss.and_then(|rss| rss.split_whitespace().next()?.parse().ok()).unwrap_or(0),
            maps: fs::read_to_string("/proc/self/maps").unwrap_or_default().lines().count(),
            fds: fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
        }
    }
}

impl std::fmt::Display for Resources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} kB resident, {} mappings, {} descriptors", self.rss_kb, self.maps, self.fds)
    }
}
