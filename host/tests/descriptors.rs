//! A process without descriptors: accepting pauses, what is connected goes on, and accepting resumes.
//!
//! In a binary of its own, since the limit concerns the whole process.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "connections/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "shared with the tests of connections")]
mod support;

use std::fs::File;
use std::io::{Read, Seek};
use std::time::{Duration, Instant};

use support::{Client, DOMAIN, ServerBuilder};

#[test]
fn accepting_pauses_without_descriptors_and_resumes_with_them() {
    let server = ServerBuilder::without_tls().start();
    let mut live = server.bound_client("juliet", "balcony");
    // The client's end needs a descriptor too, so it is opened before they are used up.
    let mut stat = File::open("/proc/self/stat").unwrap();
    let spare = File::open("/dev/null").unwrap();
    let hoard = use_up_descriptors();
    drop(spare);
    let mut waiting = Client::connect(server.plain);

    let before = processor_time(&mut stat);
    live.say("<message to='juliet@moult.example/balcony'><body>still served</body></message>");
    live.hear("still served");
    waiting.say(&support::open(DOMAIN));
    assert!(!waiting.hears_within(Duration::from_millis(600)), "there is no descriptor to accept with");
    let spent = processor_time(&mut stat) - before;
    assert!(spent < Duration::from_millis(300), "the accept loop spins: {spent:?}");

    drop(hoard);
    let begin = Instant::now();
    waiting.hear("</stream:features>");
    assert!(begin.elapsed() < Duration::from_secs(10));
}

/// Lowers the limit to what is open now and a little more, and opens that.
fn use_up_descriptors() -> Vec<File> {
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count();
    let limit = u64::try_from(open + 8).unwrap();
    let limits = format!("--nofile={limit}:");
    let pid = std::process::id().to_string();
    let status = std::process::Command::new("prlimit").args(["--pid", &pid, &limits]).status().unwrap();
    assert!(status.success(), "prlimit (util-linux) lowers the limit");
    let mut hoard = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        hoard.push(file);
    }
    hoard
}

/// User and system time of this process so far.
fn processor_time(file: &mut File) -> Duration {
    let mut stat = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut stat).unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    // Linux counts in hundredths of a second for user space, whatever its own clock does.
    Duration::from_millis(ticks * 10)
}
