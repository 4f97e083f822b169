//! The end of a library: threads detached, own threads gone, keys given back, closed, verified, copy removed; and what
//! happens to one that cannot be ended yet.
//!
//! The caller has seen to it that no call, task or instance of it is left, and that nobody else holds the [`Library`].
//! Every step has a deadline. A step that fails leaves the library mapped and says why; the [`RetainedSet`] tries again
//! later, from that step on.

use super::loader::{Closed, Leftover, Library, MappedBytes};
use super::threads;
use serde::Serialize;
use std::time::{Duration, Instant, SystemTime};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// Pace at which a library is asked whether its own threads are gone.
const OWN_THREADS_PACE: Duration = Duration::from_millis(2);

/// How long each step may take.
#[derive(Debug, Clone)]
pub struct RetireLimits {
    /// Until every thread of the host has detached.
    pub detach: Duration,
    /// Until the library's own threads are gone.
    pub own_threads: Duration,
    /// Until `dlclose` has come back.
    pub close: Duration,
}

impl Default for RetireLimits {
    fn default() -> Self {
        RetireLimits {
            detach: Duration::from_secs(2),
            own_threads: Duration::from_secs(2),
            close: Duration::from_secs(5),
        }
    }
}

impl RetireLimits {
    /// For a sweep, which comes again: what is not ready is not waited for.
    pub fn brief() -> RetireLimits {
        RetireLimits {
            detach: Duration::from_millis(20),
            own_threads: Duration::ZERO,
            close: Duration::from_secs(1),
        }
    }
}

/// How a library ended.
#[derive(Debug)]
pub enum Outcome {
    /// Unmapped, copy removed.
    Unloaded,
    /// Still mapped; to be put into the [`RetainedSet`].
    Retained(Retained),
}

/// What is known of a retained library.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RetainedInfo {
    /// The module.
    pub module: String,
    /// Its generation.
    pub generation: u64,
    /// What holds it, one sentence each.
    pub reasons: Vec<String>,
    /// What it costs, as it was when it was last looked at.
    pub bytes: MappedBytes,
    /// Since when.
    pub since: SystemTime,
}

/// A library that could not be unmapped yet.
#[derive(Debug)]
pub struct Retained {
    info: RetainedInfo,
    held: Held,
}

/// In what state it is retained.
#[derive(Debug)]
enum Held {
    /// Threads are attached, or its own run.
    Open(Box<Library>),
    /// Its finalisers did not come back in time.
    Closing(JoinHandle<Ended>),
    /// Closed, and yet mapped.
    Leftover(Box<Leftover>),
    /// Nothing of it is in our hands any more.
    Lost,
}

/// What the blocking part of the end came to.
#[derive(Debug)]
enum Ended {
    Unmapped,
    Still(Held, Vec<String>, MappedBytes),
}

impl Retained {
    /// A library whose end has not been tried yet: the next sweep does.
    pub fn waiting(library: Box<Library>) -> Self {
        let info = info_of(&library, vec!["its library is to be unmapped".into()]);
        Retained { info, held: Held::Open(library) }
    }

    /// What is known of it.
    pub fn info(&self) -> &RetainedInfo {
        &self.info
    }
}

/// Ends a library that nobody calls any more. `runtimes` are all whose threads may have been inside.
pub async fn retire(library: Library, runtimes: &[Handle], limits: &RetireLimits) -> Outcome {
    let info = info_of(&library, Vec::new());
    end(Box::new(library), info, runtimes, limits).await
}

fn info_of(library: &Library, reasons: Vec<String>) -> RetainedInfo {
    RetainedInfo {
        module: library.manifest().id.clone(),
        generation: library.copy().generation(),
        reasons,
        bytes: MappedBytes::default(),
        since: SystemTime::now(),
    }
}

async fn end(
    library: Box<Library>,
    info: RetainedInfo,
    runtimes: &[Handle],
    limits: &RetireLimits,
) -> Outcome {
    if let Err(left) = threads::detach_everywhere(&library, runtimes, limits.detach).await {
        let reasons = left.into_iter().map(|thread| format!("thread {thread} has not left it")).collect();
        let bytes = library.mapped_bytes();
        return retained(info, Held::Open(library), reasons, bytes);
    }
    let own_threads = limits.own_threads;
    let closing = tokio::task::spawn_blocking(move || close(library, own_threads));
    wait_closed(closing, info, limits.own_threads + limits.close).await
}

async fn wait_closed(mut closing: JoinHandle<Ended>, info: RetainedInfo, patience: Duration) -> Outcome {
    match tokio::time::timeout(patience, &mut closing).await {
        Ok(Ok(Ended::Unmapped)) => Outcome::Unloaded,
        Ok(Ok(Ended::Still(held, reasons, bytes))) => retained(info, held, reasons, bytes),
        Ok(Err(e)) => {
            retained(info, Held::Lost, vec![format!("its end failed: {e}")], MappedBytes::default())
        }
        Err(_) => {
            let reasons = vec!["its finalisers have not come back".into()];
            let bytes = info.bytes;
            retained(info, Held::Closing(closing), reasons, bytes)
        }
    }
}

fn retained(info: RetainedInfo, held: Held, reasons: Vec<String>, bytes: MappedBytes) -> Outcome {
    Outcome::Retained(Retained { info: RetainedInfo { reasons, bytes, ..info }, held })
}

/// The part of the end that runs code of the library.
fn close(library: Box<Library>, own_threads: Duration) -> Ended {
    let report = match wait_for_own_threads(&library, own_threads) {
        Ok(report) => report,
        Err(reason) => {
            let bytes = library.mapped_bytes();
            return Ended::Still(Held::Open(library), vec![reason], bytes);
        }
    };
    match library.close() {
        Ok(Closed::Unmapped) => Ended::Unmapped,
        Ok(Closed::StillMapped(leftover)) => {
            let reasons = reasons_of(&leftover, report);
            let bytes = leftover.mapped_bytes();
            Ended::Still(Held::Leftover(Box::new(leftover)), reasons, bytes)
        }
        Err(library) => {
            let bytes = library.mapped_bytes();
            let reasons = vec!["a thread entered it while it was being closed".into()];
            Ended::Still(Held::Open(library), reasons, bytes)
        }
    }
}

fn reasons_of(leftover: &Leftover, destructors: u32) -> Vec<String> {
    if !leftover.is_loaded() {
        let symbols = "it is unloaded, but it has read its own symbols, as printing a backtrace does, and they stay mapped; \
                       run the server without RUST_BACKTRACE";
        return vec![symbols.into()];
    }
    let mut reasons = vec!["the loader keeps it although it is closed".to_owned()];
    if destructors != 0 {
        reasons.push(format!("{destructors} destructors of thread-local values were never run"));
    }
    reasons
}

/// Gives the number of destructors left, or why it cannot be closed. A thread counts as gone when the kernel says so: one
/// that has merely said so itself may still have a few instructions of the library to run.
fn wait_for_own_threads(library: &Library, patience: Duration) -> Result<u32, String> {
    let end = Instant::now() + patience;
    loop {
        let report = library.final_report();
        if report.own_threads == 0 {
            return Ok(report.leftover_destructors);
        }
        if Instant::now() >= end {
            return Err(own_threads_sentence(report.own_threads, report.a_thread));
        }
        std::thread::sleep(OWN_THREADS_PACE);
    }
}

fn own_threads_sentence(count: u32, thread: u32) -> String {
    let name = std::fs::read_to_string(format!("/proc/self/task/{thread}/comm")).unwrap_or_default();
    let noun = if count == 1 { "thread of its own still runs" } else { "threads of its own still run" };
    match name.trim() {
        "" => format!("{count} {noun}"),
        name => format!("{count} {noun} (one is {name}, {thread})"),
    }
}

/// All retained libraries. Swept from time to time; a cap per module refuses further swaps of it.
#[derive(Debug)]
pub struct RetainedSet {
    cap: usize,
    set: Vec<Retained>,
}

impl RetainedSet {
    /// An empty set that allows `cap` retained generations per module.
    pub fn new(cap: usize) -> RetainedSet {
        RetainedSet { cap, set: Vec::new() }
    }

    /// Adds one.
    pub fn add(&mut self, retained: Retained) {
        self.set.push(retained);
    }

    /// Tries each again; gives those that are unmapped now.
    pub async fn sweep(&mut self, runtimes: &[Handle], limits: &RetireLimits) -> Vec<RetainedInfo> {
        let mut gone = Vec::new();
        for retained in std::mem::take(&mut self.set) {
            let info = retained.info.clone();
            match again(retained, runtimes, limits).await {
                Outcome::Unloaded => gone.push(info),
                Outcome::Retained(retained) => self.set.push(retained),
            }
        }
        gone
    }

    /// What is in it.
    pub fn infos(&self) -> Vec<RetainedInfo> {
        self.set.iter().map(|r| r.info.clone()).collect()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// Whether another swap of this module must be refused, and the sentence that says so.
    /// `others`: those of it that are kept elsewhere, because something of them still runs.
    pub fn refusal(&self, module: &str, others: usize) -> Option<String> {
        let held = others + self.set.iter().filter(|r| r.info.module == module).count();
        (held >= self.cap).then(|| {
            format!(
                "{held} old generations of it are still mapped, which is the limit; module_info says what holds them; \
                 restart the server to be rid of them"
            )
        })
    }
}

async fn again(retained: Retained, runtimes: &[Handle], limits: &RetireLimits) -> Outcome {
    let Retained { info, held } = retained;
    match held {
        Held::Open(library) => end(library, info, runtimes, limits).await,
        Held::Closing(closing) => wait_closed(closing, info, Duration::ZERO).await,
        Held::Leftover(leftover) => match leftover.sweep() {
            Closed::Unmapped => Outcome::Unloaded,
            Closed::StillMapped(leftover) => {
                let (reasons, bytes) = (info.reasons.clone(), leftover.mapped_bytes());
                self::retained(info, Held::Leftover(Box::new(leftover)), reasons, bytes)
            }
        },
        Held::Lost => Outcome::Retained(Retained { info, held: Held::Lost }),
    }
}
