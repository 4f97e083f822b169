//! The server's side of a probe: starts the child, waits with a deadline, and says in one sentence how it ended.

use super::answer::{self, Line, Step};
use super::{ARGUMENT, ProbeReport, ProbeSettings};
use crate::plugin::error::{Fault, ModuleError, Stage, one_line};
use crate::plugin::loader::PrivateCopy;
use crate::plugin::loader::process::{self, Finished};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

/// More output than this is not kept; a report is far shorter.
const OUTPUT_LIMIT: usize = 1 << 20;
/// Of the error output, this much of the end goes into a reason.
const LAST_WORDS: usize = 300;

/// Tries the copy in a child, and reads it back meanwhile. Blocks the calling thread for at most the deadline.
pub fn probe(copy: &PrivateCopy, settings: &ProbeSettings) -> Result<ProbeReport, ModuleError> {
    let mut command = Command::new(&settings.program);
    command
        .arg(ARGUMENT)
        .arg(copy.path())
        .arg(settings.cpu_seconds.to_string())
        .arg(settings.address_space.to_string())
        .arg(std::process::id().to_string())
        .env_clear();
    let failed = |fault, why: String| ModuleError::new(copy.module(), Stage::Probe, fault, why);
    let mut verified = Ok(());
    let finished = process::run(&mut command, settings.deadline, OUTPUT_LIMIT, || {
        verified = copy.verify(Stage::Probe);
    })
    .map_err(|e| failed(Fault::Server, format!("the probe child cannot be started: {e}")))?;
    verified?;
    let report = judge(&finished, settings).map_err(|(fault, why)| failed(fault, why))?;
    check_identity(copy, report)
}

/// The id in the note was what the copy was named after; the declaration must not say another one.
fn check_identity(copy: &PrivateCopy, mut report: ProbeReport) -> Result<ProbeReport, ModuleError> {
    if report.manifest.id != copy.module() {
        let why = format!("its declaration carries the id {}", report.manifest.id);
        return Err(ModuleError::module(copy.module(), Stage::Probe, why));
    }
    if copy.nodelete_cleared() {
        report
            .warnings
            .push("it was linked as not to be unloaded (NODELETE); its private copy was not".into());
    }
    Ok(report)
}

fn judge(finished: &Finished, settings: &ProbeSettings) -> Result<ProbeReport, (Fault, String)> {
    let (step, verdict) = answer::read(&finished.out);
    let words = last_words(&finished.err);
    let Some(status) = finished.status else {
        let ms = settings.deadline.as_millis();
        return Err((blame(step), format!("it did not come back within {ms} ms {step}{words}")));
    };
    if let Some(signal) = status.signal() {
        return Err((blame(step), format!("{} {step}{words}", death(signal, settings))));
    }
    match verdict {
        Some(Line::Fit(report)) if status.success() => Ok(*report),
        Some(Line::Refused(why)) => Err((Fault::Module, why)),
        Some(Line::Broken(why)) => Err((Fault::Server, format!("the probe child failed {step}: {why}"))),
        _ if finished.too_much => {
            Err((blame(step), format!("it flooded the probe child's output {step}{words}")))
        }
        _ => Err((blame(step), format!("{} {step}{words}", silent_end(status)))),
    }
}

/// Before the library is touched, nothing that happens is its fault.
fn blame(step: Step) -> Fault {
    if step == Step::Starting { Fault::Server } else { Fault::Module }
}

fn silent_end(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("the probe child ended with exit code {code} and without an answer"),
        None => "the probe child ended without an answer".into(),
    }
}

fn death(signal: i32, settings: &ProbeSettings) -> String {
    match signal {
        libc::SIGXCPU => format!("used more than {} s of processor time", settings.cpu_seconds),
        _ => format!("died by signal {signal}{}", signal_name(signal)),
    }
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        libc::SIGSEGV => " (SIGSEGV)",
        libc::SIGBUS => " (SIGBUS)",
        libc::SIGABRT => " (SIGABRT)",
        libc::SIGILL => " (SIGILL)",
        libc::SIGFPE => " (SIGFPE)",
        libc::SIGKILL => " (SIGKILL)",
        libc::SIGTRAP => " (SIGTRAP)",
        libc::SIGSYS => " (SIGSYS)",
        libc::SIGTERM => " (SIGTERM)",
        _ => "",
    }
}

/// The end of what was written to the error output, where the C library and the language runtimes explain themselves.
fn last_words(err: &[u8]) -> String {
    let text = String::from_utf8_lossy(&err[err.len().saturating_sub(LAST_WORDS)..]).into_owned();
    let line = one_line(&text);
    if line.is_empty() { String::new() } else { format!("; its last words: {line}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(raw_status: Option<i32>, out: &str, err: &str) -> Finished {
        Finished {
            status: raw_status.map(ExitStatus::from_raw),
            out: out.into(),
            err: err.into(),
            too_much: false,
        }
    }

    fn judged(finished: &Finished) -> (Fault, String) {
        judge(finished, &ProbeSettings::default()).unwrap_err()
    }

    #[test]
    fn each_end_of_a_child_has_its_sentence() {
        let loading = "{\"step\":\"loading\"}\n";
        let cases = [
            (
                finished(Some(11), loading, ""),
                Fault::Module,
                "died by signal 11 (SIGSEGV) while it was loaded",
            ),
            (
                finished(Some(6), loading, "stack\noverflow\n"),
                Fault::Module,
                "its last words: stack overflow",
            ),
            (finished(Some(24), loading, ""), Fault::Module, "more than 2 s of processor time"),
            (
                finished(None, loading, ""),
                Fault::Module,
                "did not come back within 1500 ms while it was loaded",
            ),
            (
                finished(Some(0), loading, ""),
                Fault::Module,
                "exit code 0 and without an answer while it was loaded",
            ),
            (finished(Some(0), "garbage", ""), Fault::Server, "without an answer"),
            (finished(Some(9), "", ""), Fault::Server, "before the library was touched"),
            (finished(Some(256), "{\"refused\":\"it is empty\"}\n", ""), Fault::Module, "it is empty"),
            (finished(Some(256), "{\"broken\":\"no memory\"}\n", ""), Fault::Server, "no memory"),
        ];
        for (finished, fault, part) in cases {
            let (whose, why) = judged(&finished);
            assert!(why.contains(part), "{why}");
            assert_eq!(whose, fault, "{why}");
        }
    }
}
