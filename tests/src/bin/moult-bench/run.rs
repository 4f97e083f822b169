//! All runs of all scenarios on all servers, interleaved, with a progress line.

use std::num::NonZeroU64;
use std::time::Instant;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::error::BenchError;
use crate::options::RunOptions;
use crate::report::Report;
use crate::scenario::Scenario;
use crate::target::Target;

/// Runs what the options say and writes the report.
pub fn run(options: &RunOptions) -> Result<(), BenchError> {
    prepare_process()?;
    let servers = installed(&options.servers);
    let scenarios = options.scenarios();
    let mut report = Report::new(options.quick, options.runs());
    let since = Instant::now();
    for number in 1..=options.runs() {
        for &scenario in &scenarios {
            for &server in servers.iter().filter(|server| scenario.applies_to(**server)) {
                let elapsed = since.elapsed().as_secs();
                eprintln!(
                    "[{elapsed:4} s] run {number}/{}: {} {}",
                    options.runs(),
                    scenario.name(),
                    server.name()
                );
                measure(scenario, server, options, &mut report);
                report.write(&options.output)?;
            }
        }
    }
    println!("{}", report.table());
    eprintln!("written to {}: bench.txt, bench.json, bench.svg", options.output.display());
    if report.has_failures() {
        Err(BenchError::server("bench", "some measurements failed, see above"))
    } else {
        Ok(())
    }
}

/// One scenario on one server; a failure is noted and the others go on.
fn measure(scenario: Scenario, server: Target, options: &RunOptions, report: &mut Report) {
    let outcome = scenario.run(server, &options.settings(), &mut |sample| report.add(sample));
    match outcome {
        Ok(()) => {}
        Err(error @ BenchError::Skipped(_)) => report.note(scenario, server, &error, false),
        Err(error) => report.note(scenario, server, &error, true),
    }
}

fn installed(servers: &[Target]) -> Vec<Target> {
    let is_installed = |server: &Target| match server.missing() {
        Some(reason) => {
            eprintln!("without {}: {reason}", server.name());
            false
        }
        None => true,
    };
    servers.iter().copied().filter(is_installed).collect()
}

/// Raises the limit of open descriptors, for us and for the servers we start, and makes short waits exact.
pub fn prepare_process() -> Result<(), BenchError> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).map_err(std::io::Error::from)?;
    // Timeouts of the open loops are a few hundred microseconds; the default slack of 50 would be felt.
    Ok(rustix::thread::set_current_timer_slack(NonZeroU64::new(1)).map_err(std::io::Error::from)?)
}
