//! What a probe child says: one JSON line per step it begins, and a last one with its verdict.

use super::ProbeReport;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One line.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// It begins this step.
    Step(Step),
    /// The library is unfit: one sentence.
    Refused(String),
    /// The child itself could not do its work: one sentence.
    Broken(String),
    /// The library is fit.
    Fit(Box<ProbeReport>),
}

/// What the child is doing, for the case that it does not survive it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Setting its limits.
    Starting,
    /// Looking at the file.
    Reading,
    /// `dlopen`, with the initialisers of the library.
    Loading,
    /// Comparing its declaration and the layout of every type.
    Checking,
    /// `dlclose`, with its finalisers.
    Unloading,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::Starting => "before the library was touched",
            Step::Reading => "while its file was read",
            Step::Loading => "while it was loaded (in its initialisers)",
            Step::Checking => "while its declaration was checked",
            Step::Unloading => "while it was unloaded (in its finalisers)",
        })
    }
}

/// The last step and the verdict, if any, of all that a child wrote. What is no line of ours was written by the library.
pub fn read(output: &[u8]) -> (Step, Option<Line>) {
    let mut step = Step::Starting;
    let mut verdict = None;
    for line in output.split(|byte| *byte == b'\n') {
        match serde_json::from_slice(line) {
            Ok(Line::Step(next)) => step = next,
            Ok(other) => verdict = Some(other),
            Err(_) => {}
        }
    }
    (step, verdict)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_step_and_the_verdict_are_found_between_foreign_lines() {
        let output = b"{\"step\":\"reading\"}\nhello\n{\"step\":\"loading\"}\n\xff\n";
        assert_eq!(read(output), (Step::Loading, None));
        let output = b"{\"step\":\"checking\"}\n{\"refused\":\"no\"}\n";
        assert_eq!(read(output), (Step::Checking, Some(Line::Refused("no".into()))));
        assert_eq!(read(b""), (Step::Starting, None));
    }
}
