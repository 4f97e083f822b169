//! What can go wrong with a module: at which stage, for what reason, and whose fault it is.
//!
//! Every failure becomes one [`ModuleError`], and that displays as one line naming module, stage and reason. The fault
//! decides the log level and what the operator should do next; it never hides the reason.

use serde::Serialize;
use std::fmt;

/// A reason longer than this is cut: it must stay readable as one line of a log or of a control answer.
const REASON_LIMIT: usize = 700;

/// The step of a module's life in which something failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// A file in the plugin folder is looked at.
    Notice,
    /// Its private copy is made.
    Copy,
    /// A child process tries the copy.
    Probe,
    /// The copy is loaded into the server.
    Load,
    /// Instances are created and started.
    Start,
    /// Instances are told that they serve.
    Started,
    /// Instances are told their options anew.
    Reload,
    /// The old instances are held still.
    Freeze,
    /// Their state is written.
    Export,
    /// The new instances take it over.
    Import,
    /// Their stores are brought to the schema of the new build.
    Migrate,
    /// The new set of registrations becomes visible.
    Publish,
    /// The first seconds of the new generation are watched.
    Health,
    /// Calls in flight on the old generation end.
    Drain,
    /// The old generation is ended and unmapped.
    Retire,
    /// Instances are told that the server ends.
    Terminated,
}

impl Stage {
    /// The word used in logs, answers and documentation.
    pub const fn word(self) -> &'static str {
        match self {
            Stage::Notice => "notice",
            Stage::Copy => "copy",
            Stage::Probe => "probe",
            Stage::Load => "load",
            Stage::Start => "start",
            Stage::Started => "started",
            Stage::Reload => "reload",
            Stage::Freeze => "freeze",
            Stage::Export => "export",
            Stage::Import => "import",
            Stage::Migrate => "migrate",
            Stage::Publish => "publish",
            Stage::Health => "health",
            Stage::Drain => "drain",
            Stage::Retire => "retire",
            Stage::Terminated => "terminated",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    /// The module's file or code: another build of it is needed.
    Module,
    /// The operator's configuration, permissions or resources: they can be changed here.
    Operator,
    /// This server's own: a bug, or a limit of the system it runs on.
    Server,
}

impl Fault {
    /// As a phrase for people.
    pub const fn phrase(self) -> &'static str {
        match self {
            Fault::Module => "the module's fault",
            Fault::Operator => "the configuration's fault",
            Fault::Server => "the server's own fault",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.phrase())
    }
}

/// In place of an id, where a failure concerns no module more than another.
pub const EVERY_MODULE: &str = "*";

/// One failure of one module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{} failed at {stage}: {reason}", self.subject())]
pub struct ModuleError {
    /// The module's id, or its file stem as long as its id is not known.
    pub module: String,
    /// Where it failed.
    pub stage: Stage,
    /// Whose fault it is.
    pub fault: Fault,
    /// Why, on one line.
    pub reason: String,
}

impl ModuleError {
    fn subject(&self) -> String {
        if self.module == EVERY_MODULE { "every module".into() } else { format!("module {}", self.module) }
    }

    /// A failure with everything named.
    pub fn new(module: impl Into<String>, stage: Stage, fault: Fault, reason: impl AsRef<str>) -> Self {
        ModuleError { module: one_line(&module.into()), stage, fault, reason: one_line(reason.as_ref()) }
    }

    /// The module's own failure.
    pub fn module(module: impl Into<String>, stage: Stage, reason: impl AsRef<str>) -> Self {
        Self::new(module, stage, Fault::Module, reason)
    }

    /// A failure that the operator can mend.
    pub fn operator(module: impl Into<String>, stage: Stage, reason: impl AsRef<str>) -> Self {
        Self::new(module, stage, Fault::Operator, reason)
    }

    /// A failure of this server or its system.
    pub fn server(module: impl Into<String>, stage: Stage, reason: impl AsRef<str>) -> Self {
        Self::new(module, stage, Fault::Server, reason)
    }
}

/// The same text without line breaks and other control characters, and not longer than a line should be.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(REASON_LIMIT));
    let mut gap = false;
    for c in text.trim().chars() {
        if c.is_control() || c.is_whitespace() {
            gap = true;
            continue;
        }
        if line.len() >= REASON_LIMIT {
            line.push('…');
            break;
        }
        if std::mem::take(&mut gap) {
            line.push(' ');
        }
        line.push(c);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_with_module_stage_and_reason() {
        let error = ModuleError::module("mod_echo", Stage::Probe, "died by\n signal 11\t(SIGSEGV)\x1b[0m");
        assert_eq!(error.to_string(), "module mod_echo failed at probe: died by signal 11 (SIGSEGV) [0m");
    }

    #[test]
    fn a_reason_that_fills_pages_is_cut() {
        let error = ModuleError::server("m", Stage::Load, "é".repeat(5000));
        assert!(error.reason.len() < REASON_LIMIT + 8, "{}", error.reason.len());
        assert!(error.reason.ends_with('…'));
    }

    #[test]
    fn the_words_of_the_stages_are_those_of_their_serialised_form() {
        for stage in [Stage::Notice, Stage::Copy, Stage::Probe, Stage::Load, Stage::Start, Stage::Retire] {
            assert_eq!(serde_json::to_string(&stage).unwrap(), format!("\"{stage}\""));
        }
    }
}
