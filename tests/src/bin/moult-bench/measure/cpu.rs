//! CPU time of a process tree.
//!
//! `/proc/PID/stat` counts everything, threads and children that ended included, in ticks of 10 ms. `schedstat`
//! of the single threads counts nanoseconds but forgets threads that ended. Where no thread ended between two
//! readings the finer one is used.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use rustix::param::clock_ticks_per_second;

use super::processes;

/// CPU time used so far.
#[derive(Debug, Default)]
pub struct CpuReading {
    /// Everything, children that ended and were waited for included.
    ticks: u64,
    /// The part of it that the living processes spent in the kernel.
    system_ticks: u64,
    reaped_ticks: u64,
    /// Nanoseconds per living thread.
    threads: BTreeMap<(u32, u32), u64>,
}

impl CpuReading {
    /// Reads a process and its descendants.
    pub fn of_tree(root: u32) -> CpuReading {
        let mut reading = CpuReading::default();
        for pid in processes::tree(root) {
            reading.add(pid);
        }
        reading
    }

    /// What was used between an earlier reading and this one: in all, and in the kernel.
    pub fn since(&self, earlier: &CpuReading) -> (Duration, Duration) {
        let system = ticks(self.system_ticks.saturating_sub(earlier.system_ticks));
        let some_thread_ended = earlier.threads.keys().any(|thread| !self.threads.contains_key(thread));
        let some_process_was_reaped = self.reaped_ticks != earlier.reaped_ticks;
        if some_thread_ended || some_process_was_reaped {
            return (ticks(self.ticks.saturating_sub(earlier.ticks)), system);
        }
        let total = |reading: &CpuReading| reading.threads.values().sum::<u64>();
        (Duration::from_nanos(total(self) - total(earlier)), system)
    }

    fn add(&mut self, pid: u32) {
        let Some(fields) = processes::stat_fields(&format!("/proc/{pid}/stat")) else { return };
        let field = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
        let reaped = field(13) + field(14);
        self.ticks += field(11) + field(12) + reaped;
        self.system_ticks += field(12);
        self.reaped_ticks += reaped;
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        for task in tasks.filter_map(|task| task.file_name().to_str()?.parse::<u32>().ok()) {
            let run_time =
                fs::read_to_string(format!("/proc/{pid}/task/{task}/schedstat")).unwrap_or_default();
            let nanos = run_time.split_whitespace().next().and_then(|nanos| nanos.parse().ok());
            self.threads.insert((pid, task), nanos.unwrap_or(0));
        }
    }
}

/// Time in which any core was not idle.
pub fn busy_time_of_machine() -> Duration {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().next().unwrap_or_default();
    let fields: Vec<u64> = line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal
    let busy = [0, 1, 2, 5, 6].iter().filter_map(|&index| fields.get(index)).sum();
    ticks(busy)
}

fn ticks(count: u64) -> Duration {
    Duration::from_nanos(count * 1_000_000_000 / clock_ticks_per_second())
}
