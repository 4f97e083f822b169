//! What the server wrote to standard error.

use std::path::PathBuf;

use crate::eventually::eventually_some;

/// The log of a server, read from the file it goes to.
#[derive(Debug, Clone)]
pub struct Log {
    file: PathBuf,
}

impl Log {
    pub(super) fn new(file: PathBuf) -> Log {
        Log { file }
    }

    /// Everything so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.file).unwrap_or_default()).into_owned()
    }

    /// The lines so far that contain all of `words`.
    pub fn lines_with(&self, words: &[&str]) -> Vec<String> {
        let has_all = |line: &&str| words.iter().all(|word| line.contains(word));
        self.text().lines().filter(has_all).map(str::to_owned).collect()
    }

    /// Waits for a line that contains all of `words`, and returns it.
    pub async fn expect(&self, words: &[&str]) -> String {
        eventually_some(&format!("a log line with {words:?}"), async || {
            self.lines_with(words).into_iter().next()
        })
        .await
    }

    /// Fails if the host itself panicked. A module's panic is logged without these words.
    pub fn assert_no_panic(&self) {
        let panics = self.lines_with(&["panicked at"]);
        assert!(panics.is_empty(), "the server panicked: {panics:#?}");
    }

    /// Fails if the server found that it still held something of an instance that had ended.
    pub fn assert_nothing_leaked(&self) {
        let leaks = self.lines_with(&["has ended, and the server still holds"]);
        assert!(leaks.is_empty(), "registrations outlived their instance: {leaks:#?}");
    }
}
