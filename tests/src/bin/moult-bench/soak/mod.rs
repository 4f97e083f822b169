//! `moult-bench soak`: many sessions with mixed traffic while modules are swapped every few seconds.
//!
//! Every stanza is numbered and has one place where it must arrive, once. At the end nothing may be lost, doubled, astray
//! or answered with an error, nobody may have been disconnected, the module with state must have counted every request,
//! and the server's memory must not have grown since it was warm.

mod memory;
mod mix;
mod people;
mod updates;

use std::io::IsTerminal as _;
use std::path::Path;
use std::time::{Duration, Instant};

use moult_tests::Plugin;

use crate::engine::{Crowd, Engine};
use crate::error::BenchError;
use crate::scenario::lanes::Pace;
use crate::scenario::setup;
use crate::target::{DOMAIN, Needs, Running, moult};
use memory::Memory;
use mix::{COUNT, Mix};
use updates::Updates;

/// `moult-bench soak`.
#[derive(Debug, clap::Args)]
pub struct SoakOptions {
    /// Sessions that are logged in, half of them under TLS.
    #[arg(long, default_value_t = 9000)]
    sessions: usize,
    /// How long.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Seconds from one update to the next; each swaps three modules, one of them with state.
    #[arg(long, default_value_t = 10.0)]
    update_every: f64,
    /// Stanzas per second over all sessions.
    #[arg(long, default_value_t = 1000)]
    rate: u32,
    /// Sessions beside these that vanish without a word, all at once, when half of the time is over.
    #[arg(long, default_value_t = 1000)]
    vanish: usize,
    /// Contacts that each session has in its roster; presence then goes to all of them, and clients ask what clients of people
    /// ask.
    #[arg(long, default_value_t = 0)]
    rosters: usize,
    /// Every bundled module is loaded, and each update swaps all of them.
    #[arg(long)]
    all_modules: bool,
    /// 200 sessions and 200 stanzas per second for 20 seconds, an update every 3 seconds; with rosters or all modules 60
    /// sessions, 60 stanzas per second, an update every 8 seconds, and memory is not judged.
    #[arg(long)]
    quick: bool,
}

impl SoakOptions {
    fn settled(&self) -> SoakOptions {
        let with_people = self.rosters > 0 || self.all_modules;
        match self.quick {
            true if with_people => SoakOptions {
                sessions: 60,
                minutes: 1.0 / 3.0,
                update_every: 8.0,
                rate: 60,
                vanish: 20,
                ..*self
            },
            true => SoakOptions {
                sessions: 200,
                minutes: 1.0 / 3.0,
                update_every: 3.0,
                rate: 200,
                vanish: 100,
                ..*self
            },
            false => SoakOptions { ..*self },
        }
    }
}

const SHOW_EVERY: Duration = Duration::from_secs(1);
/// How long stragglers are waited for. Longer than any deadline of the server, so that what is missing then is lost.
const GRACE: Duration = Duration::from_secs(30);

/// Runs it; an error if anybody noticed anything.
pub fn run(options: &SoakOptions) -> Result<(), BenchError> {
    let options = options.settled();
    if options.sessions < 2 || options.rate == 0 || options.minutes <= 0.0 || options.update_every <= 0.0 {
        return Err(BenchError::server("soak", "two sessions, and a rate and times above 0 are the least"));
    }
    let mut server = start(&options)?;
    let mut engine = Engine::new()?;
    eprintln!("logging {} sessions in", options.sessions);
    let crowd = log_in(&mut engine, &server, options.sessions)?;
    setup::require(&mut engine, crowd.ids[0], DOMAIN, COUNT, "the counting module does not answer")?;
    let last = options.sessions + options.vanish;
    let vanishing = setup::available_crowd(&mut engine, &server, options.sessions..last, true)?;
    let mut mix = Mix::new(crowd);
    if options.rosters > 0 {
        mix = mix.with_people(options.rosters);
    }
    let updater = server.updater.take().ok_or_else(|| BenchError::server("moult", "it cannot be updated"))?;
    let length = Duration::from_secs_f64(options.minutes * 60.0);
    let updates = Updates::begin(updater, Duration::from_secs_f64(options.update_every));
    let memory = Memory::watch(server.pid, length);
    drive(&mut engine, &mut mix, &updates, options.rate, length / 2)?;
    vanishing.ids.iter().for_each(|&id| engine.drop_connection(id));
    drive(&mut engine, &mut mix, &updates, options.rate, length - length / 2)?;
    let (updates, memory) = (updates.end(), memory.end());
    wait_for_stragglers(&mut engine, &mut mix)?;
    report(&options, &mut mix, &updates, &memory);
    verdict(&mix, &updates)?;
    // A short run ends in the middle of an update of everything, when two builds of each module are there.
    if memory.has_grown() && !(options.quick && options.all_modules) {
        return Err(BenchError::server("moult", "its memory grows, see the table"));
    }
    only_these_are_left(&server, options.sessions)
}

/// Whoever vanished is no session any more.
fn only_these_are_left(server: &Running, sessions: usize) -> Result<(), BenchError> {
    let Some(control) = &server.control else { return Ok(()) };
    let deadline = Instant::now() + GRACE;
    loop {
        let connected = moult::ctl(control, &["connected_users_number"])?;
        if connected == sessions.to_string() {
            return Ok(());
        }
        if Instant::now() > deadline {
            let text = format!("{connected} sessions are counted where {sessions} are left");
            return Err(BenchError::server("moult", text));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// With the counting module in two builds, and two others whose builds differ in their bytes only.
fn start(options: &SoakOptions) -> Result<Running, BenchError> {
    let counter = ["fixture_counter_v1", "fixture_counter_v2"]
        .map(|name| Plugin::built(name).named("libfixture_counter.so"));
    let others: Vec<Plugin> = modules(options)?.iter().map(|name| Plugin::built(name)).collect();
    let first = [&counter[..1], &others[..]].concat();
    let with_rosters = options.rosters > 0;
    let accounts = if with_rosters { 0 } else { options.sessions + options.vanish };
    let needs = Needs { accounts, ..Needs::default() };
    let builds = move |number: usize| {
        let variants = others.iter().map(|other| other.clone().variant(number as u64));
        variants.chain([counter[number % 2].clone()]).collect()
    };
    let server = moult::start_with(&needs, &first, builds, "all")?;
    if let Some(control) = server.control.as_deref().filter(|_| with_rosters) {
        let file = control.with_file_name("accounts.xml");
        people::write_accounts(&file, options.sessions, options.rosters, options.vanish)?;
        moult::ctl(control, &["import_piefxis", &file.display().to_string()])?;
    }
    Ok(server)
}

/// The modules whose builds differ in their bytes only.
fn modules(options: &SoakOptions) -> Result<Vec<String>, BenchError> {
    let mut names: Vec<String> = ["mod_echo", "mod_ping"].map(str::to_owned).to_vec();
    if options.rosters > 0 {
        names.extend(PERSONAL.map(str::to_owned));
    }
    if options.all_modules {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins");
        for entry in std::fs::read_dir(folder)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// What people need.
const PERSONAL: [&str; 5] = ["mod_roster", "mod_vcard", "mod_private", "mod_time", "mod_disco"];

/// The first half without TLS, the second under it; stanzas go from one half to the other.
fn log_in(engine: &mut Engine, server: &Running, sessions: usize) -> Result<Crowd, BenchError> {
    let mut crowd = setup::available_crowd(engine, server, 0..sessions / 2, false)?;
    let encrypted = setup::available_crowd(engine, server, sessions / 2..sessions, true)?;
    crowd.ids.extend(encrypted.ids);
    crowd.jids.extend(encrypted.jids);
    Ok(crowd)
}

fn drive(
    engine: &mut Engine,
    mix: &mut Mix,
    updates: &Updates,
    rate: u32,
    length: Duration,
) -> Result<(), BenchError> {
    let (mut pace, end, before) = (Pace::new(rate), Instant::now() + length, mix.sent());
    let (mut shown, is_watched) = (Instant::now(), std::io::stderr().is_terminal());
    while Instant::now() < end {
        while let Some((number, due)) = pace.due() {
            mix.send(before + number, due, engine.outbox());
        }
        engine.turn(pace.until_next(), mix)?;
        if is_watched && shown.elapsed() > SHOW_EVERY {
            shown = Instant::now();
            eprint!("\r{} stanzas, {} updates, {} ", mix.sent(), updates.done(), mix.faults());
        }
    }
    if is_watched {
        eprintln!();
    }
    Ok(())
}

fn wait_for_stragglers(engine: &mut Engine, mix: &mut Mix) -> Result<(), BenchError> {
    let deadline = Instant::now() + GRACE;
    while mix.missing() > 0 && Instant::now() < deadline {
        engine.turn(Duration::from_millis(50), mix)?;
    }
    // What comes twice comes soon after.
    setup::settle_with(engine, mix)
}

fn report(options: &SoakOptions, mix: &mut Mix, updates: &updates::Outcome, memory: &memory::Course) {
    let row = |name: &str, value: String| println!("{name:<52}{value:>14}");
    row("sessions, half of them under TLS", options.sessions.to_string());
    row("sessions that vanished at half time", options.vanish.to_string());
    row("stanzas (messages, requests, echoes, presence)", mix.sent().to_string());
    row("presences told to all contacts", mix.told().to_string());
    row("updates, of all modules that are loaded", updates.count.to_string());
    row("updates that failed", updates.failures.len().to_string());
    row("lost", mix.missing().to_string());
    row("doubled", mix.doubled.to_string());
    row("astray", mix.astray.to_string());
    row("errors", mix.errors.to_string());
    row("disconnects", mix.disconnects.to_string());
    row("requests to the counting module", mix.requests_counted().to_string());
    row("counted by it over all its builds", mix.counted().to_string());
    row("longest update command, ms", format!("{:.1}", updates.longest.as_secs_f64() * 1e3));
    let [p50, p99, p999, max] = mix.latencies.quantiles().map(|micros| micros / 1e3);
    row("time to arrive, ms: p50 / p99", format!("{p50:.2} / {p99:.2}"));
    row("                    p99.9 / max", format!("{p999:.2} / {max:.2}"));
    row("memory (PSS), MiB, when warm", format!("{:.1}", memory.warm));
    row("                   at the end", format!("{:.1}", memory.end));
    println!("memory over time, MiB: {}", memory.line());
}

fn verdict(mix: &Mix, updates: &updates::Outcome) -> Result<(), BenchError> {
    if let Some(failure) = updates.failures.first() {
        return Err(BenchError::server("moult", format!("an update failed: {failure}")));
    }
    if mix.faults() != mix::Faults::default() || mix.missing() > 0 || mix.requests_counted() != mix.counted()
    {
        return Err(BenchError::server("moult", "somebody noticed the updates, see the table"));
    }
    if updates.count == 0 {
        return Err(BenchError::server("soak", "it was too short for an update"));
    }
    Ok(())
}
