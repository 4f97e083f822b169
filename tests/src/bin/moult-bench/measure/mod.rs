//! Reading what a phase cost: CPU time, memory, latencies.

mod cpu;
mod memory;
mod processes;

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

pub use cpu::CpuReading;
pub use memory::pss_bytes;

/// What the server, this client and everybody else on the machine used during a phase.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// Wall-clock time.
    pub wall: Duration,
    /// CPU time of the server and its child processes.
    pub server: Duration,
    /// The part of it spent in the kernel.
    pub server_system: Duration,
    /// CPU time of this process.
    pub client: Duration,
    /// CPU time of all other processes.
    pub other: Duration,
}

/// The beginning of a phase.
#[derive(Debug)]
pub struct Meter {
    server: u32,
    since: Instant,
    reading: CpuReading,
    client: Duration,
    machine: Duration,
}

impl Meter {
    /// Starts measuring the server with this process id.
    pub fn start(server: u32) -> Meter {
        Meter {
            server,
            since: Instant::now(),
            reading: CpuReading::of_tree(server),
            client: own_cpu(),
            machine: cpu::busy_time_of_machine(),
        }
    }

    /// Ends the phase.
    pub fn stop(&self) -> Cost {
        let (server, server_system) = CpuReading::of_tree(self.server).since(&self.reading);
        let client = own_cpu() - self.client;
        let machine = cpu::busy_time_of_machine().saturating_sub(self.machine);
        let other = machine.saturating_sub(server + client);
        Cost { wall: self.since.elapsed(), server, server_system, client, other }
    }
}

/// Latencies of one phase.
#[derive(Debug, Default, Clone)]
pub struct Latencies {
    /// In units of 100 ns.
    samples: Vec<u32>,
}

impl Latencies {
    /// Adds one.
    pub fn add(&mut self, latency: Duration) {
        self.samples.push(u32::try_from(latency.as_nanos() / 100).unwrap_or(u32::MAX));
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.samples.clear();
    }

    /// The p50, p99, p99.9 and the maximum in microseconds.
    pub fn quantiles(&mut self) -> [f64; 4] {
        self.samples.sort_unstable();
        [0.5, 0.99, 0.999, 1.0].map(|quantile| self.quantile(quantile))
    }

    fn quantile(&self, quantile: f64) -> f64 {
        let Some(last) = self.samples.len().checked_sub(1) else { return f64::NAN };
        let index = ((self.samples.len() as f64 * quantile).ceil() as usize).saturating_sub(1).min(last);
        f64::from(self.samples[index]) / 10.0
    }
}

fn own_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples() {
        let mut latencies = Latencies::default();
        (1..=1000).for_each(|micros| latencies.add(Duration::from_micros(micros)));
        assert_eq!(latencies.quantiles(), [500.0, 990.0, 999.0, 1000.0]);
    }

    #[test]
    fn the_cost_of_burning_cpu_is_seen() {
        let meter = Meter::start(std::process::id());
        let since = Instant::now();
        while since.elapsed() < Duration::from_millis(100) {
            std::hint::spin_loop();
        }
        let cost = meter.stop();
        assert!(cost.server > Duration::from_millis(20), "{cost:?}");
        assert!(cost.client >= Duration::from_millis(20), "{cost:?}");
    }
}
