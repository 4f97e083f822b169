//! Proportional set size: what a process costs the machine, shared pages divided among their users.

use std::fs;

use super::processes;

/// PSS of a process and its descendants, from `smaps_rollup`.
pub fn pss_bytes(pid: u32) -> u64 {
    processes::tree(pid).into_iter().filter_map(pss_of).sum()
}

fn pss_of(pid: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_own_process_takes_some_memory() {
        assert!(super::pss_bytes(std::process::id()) > 100_000);
    }
}
