//! `moult-bench demo`: 50 clients under traffic while a module is swapped between two builds, and nobody notices.
//!
//! The module counts its requests and hands the count from build to build. At the end its count is the number of
//! requests, and every request has had one answer.

use std::io::Write as _;

use crate::engine::Engine;
use crate::error::BenchError;
use crate::scenario::setup;
use crate::scenario::traffic::{Traffic, Window};
use crate::target::{DOMAIN, Needs, Running, moult};

/// `moult-bench demo`.
#[derive(Debug, clap::Args)]
pub struct DemoOptions {
    /// Clients that are logged in.
    #[arg(long, default_value_t = 50)]
    clients: usize,
    /// Requests per second over all clients.
    #[arg(long, default_value_t = 1000)]
    rate: u32,
    /// Swaps from one build to the other.
    #[arg(long, default_value_t = 10)]
    swaps: usize,
}

/// Shows it; an error if anybody noticed anything.
pub fn run(options: &DemoOptions) -> Result<(), BenchError> {
    let needs = Needs { accounts: options.clients, two_builds: true, ..Needs::default() };
    let mut server = moult::start(&needs)?;
    let mut engine = Engine::new()?;
    let crowd = setup::available_crowd(&mut engine, &server, 0..options.clients, true)?;
    setup::require(&mut engine, crowd.ids[0], DOMAIN, moult::COUNT, "the counting module does not answer")?;
    let mut traffic = Traffic::new(crowd, moult::COUNT);
    let updater = server.updater.take().ok_or_else(|| BenchError::server("moult", "it cannot be updated"))?;
    let windows = traffic.run(&mut engine, options.rate, updater, options.swaps, |traffic, done| {
        show_progress(traffic, done, options.swaps);
    })?;
    eprintln!();
    print_table(&traffic, &windows, &server);
    verdict(&traffic)
}

fn show_progress(traffic: &Traffic, done: usize, swaps: usize) {
    let builds: Vec<_> = traffic.builds.iter().map(|build| String::from_utf8_lossy(build)).collect();
    eprint!(
        "\rswap {done}/{swaps}: {} requests, builds seen: {}, errors {}, disconnects {} ",
        traffic.requests(),
        builds.join(" and "),
        traffic.errors,
        traffic.disconnects
    );
    let _ = std::io::stderr().flush();
}

fn print_table(traffic: &Traffic, windows: &[Window], server: &Running) {
    let (mut during, mut calm) = traffic.latencies(windows);
    let row = |name: &str, value: String| println!("{name:<44}{value:>14}");
    let commands = windows.iter().map(|(start, end)| (*end - *start).as_secs_f64() * 1e3);
    println!();
    row("requests", traffic.requests().to_string());
    row("swaps", windows.len().to_string());
    row("lost", traffic.lost().to_string());
    row("doubled", traffic.doubled.to_string());
    row("errors", traffic.errors.to_string());
    row("disconnects", traffic.disconnects.to_string());
    row("counted by the module over all its builds", (traffic.highest_count - 1).to_string());
    row("longest update command, ms", format!("{:.1}", commands.fold(0.0, f64::max)));
    row("server process", server.pid.to_string());
    println!("\n{:<32}{:>10}{:>10}{:>10}", "time to answer, ms", "p50", "p99", "max");
    for (name, latencies) in [("while a swap was underway", &mut during), ("otherwise", &mut calm)] {
        let [p50, p99, _, max] = latencies.quantiles().map(|micros| micros / 1e3);
        println!("{name:<32}{p50:>10.2}{p99:>10.2}{max:>10.2}");
    }
}

/// The first request was the one that asked whether the module is there, so the module has counted one more.
fn verdict(traffic: &Traffic) -> Result<(), BenchError> {
    let faults = traffic.lost() + traffic.doubled + traffic.errors + traffic.disconnects;
    if faults == 0 && traffic.highest_count == traffic.requests() + 1 && traffic.builds.len() == 2 {
        return Ok(());
    }
    Err(BenchError::server("moult", "somebody noticed the swaps, see the table"))
}
