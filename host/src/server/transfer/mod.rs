//! Accounts with all that belongs to them, out of the server and into it, in the format of XEP-0227.
//!
//! * [`document`]: reads a file piece by piece, whatever its length, with what it includes;
//! * [`credentials`]: passwords and SCRAM secrets in the forms that servers write;
//! * [`import`]: one account after the other, each as a whole or not at all;
//! * [`export`]: the same way out.
//!
//! What is kept of an account belongs to modules: they give their part of it and take it in by the hooks `export_user` and
//! `import_user`. What nobody takes is told in the report, and so is every account that was not taken over, with the reason.

mod credentials;
mod document;
pub(super) mod export;
pub(super) mod import;

/// XEP-0227.
const PIE: &str = "urn:xmpp:pie:0";
/// XEP-0227 4.3.
const PIE_SCRAM: &str = "urn:xmpp:pie:0#scram";
/// XEP-0227 4.10.
const PIE_MAM: &str = "urn:xmpp:pie:0#mam";
/// XML Inclusions.
const XINCLUDE: &str = "http://www.w3.org/2001/XInclude";

/// Lines of a report that are kept; more are counted.
const REPORT_LINES: usize = 1000;

/// What could not be taken over or written, and why: a sentence each.
#[derive(Debug, Clone, Default)]
pub(super) struct Report {
    /// Accounts that are done.
    pub done: u64,
    /// Accounts that are not.
    pub failed: u64,
    lines: Vec<String>,
    more: u64,
}

impl Report {
    fn note(&mut self, line: String) {
        tracing::warn!("{line}");
        if self.lines.len() < REPORT_LINES {
            self.lines.push(line);
        } else {
            self.more += 1;
        }
    }

    /// The sentences.
    pub fn lines(&self) -> Vec<String> {
        let more = (self.more > 0).then(|| format!("And {} more, which the log has.", self.more));
        self.lines.iter().cloned().chain(more).collect()
    }
}
