//! The machine and the versions a report was taken with.

use std::fs;
use std::process::Command;

use serde::Serialize;

/// What a reader needs to know before comparing figures.
#[derive(Debug, Serialize)]
pub struct Machine {
    processor: String,
    cores: usize,
    memory_gib: u64,
    kernel: String,
    date: String,
    ejabberd: String,
    prosody: String,
    moult: &'static str,
}

impl Machine {
    pub fn describe() -> Machine {
        Machine {
            processor: field("/proc/cpuinfo", "model name").unwrap_or_default(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_gib: memory_gib(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            date: output("date", &["--utc", "+%Y-%m-%d"]),
            ejabberd: package_version("ejabberd"),
            prosody: package_version("prosody"),
            moult: env!("CARGO_PKG_VERSION"),
        }
    }

    /// One line for the head of the table.
    pub fn line(&self) -> String {
        format!(
            "{}, {} cores, {} GiB, Linux {}, {}; moult {}, ejabberd {}, prosody {}",
            self.processor,
            self.cores,
            self.memory_gib,
            self.kernel,
            self.date,
            self.moult,
            self.ejabberd,
            self.prosody
        )
    }
}

fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn memory_gib() -> u64 {
    let total = field("/proc/meminfo", "MemTotal").unwrap_or_default();
    total.split(' ').next().and_then(|kilobytes| kilobytes.parse::<u64>().ok()).unwrap_or(0) >> 20
}

fn package_version(package: &str) -> String {
    output("dpkg-query", &["--show", "--showformat=${Version}", package])
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success());
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_else(|| "absent".to_owned())
}
