//! The rules in force: what the options and the files say, and what commands have added.

use crate::Options;
use crate::lists::{Entries, compile, normalised, read_file};
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::store::KeyVal;
use regex::RegexSet;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Entries read from the store at once.
const PAGE: usize = 1000;
/// The longest entry of a command.
const LONGEST: usize = 1024;

/// Which list an entry stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum List {
    /// Who is unwanted.
    Blocked,
    /// Who is never judged.
    Allowed,
    /// What texts are unwanted.
    Patterns,
}

impl List {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Blocked, Self::Allowed, Self::Patterns];

    /// As commands name it, and before the entry in the store.
    pub fn name(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::Allowed => "allowed",
            Self::Patterns => "patterns",
        }
    }

    /// The list of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|list| list.name() == name)
    }

    /// An entry as it is kept.
    pub fn entry(self, text: &str) -> Option<String> {
        if text.is_empty() || text.len() > LONGEST {
            return None;
        }
        match self {
            Self::Patterns => compile([text]).ok().map(|_| text.to_owned()),
            Self::Blocked | Self::Allowed => normalised(text),
        }
    }
}

/// What options and files say.
#[derive(Debug, Default)]
pub struct Fixed {
    blocked: Entries,
    allowed: Entries,
    patterns: Vec<String>,
}

impl Fixed {
    /// Reads them. An option that is no entry is the operator's mistake, a line of a file is not.
    pub fn read(host: &Host, options: &Options) -> Result<Self, Stop> {
        let mut fixed = Self { patterns: options.patterns.clone(), ..Self::default() };
        for (list, texts) in [(&mut fixed.blocked, &options.blocked), (&mut fixed.allowed, &options.allowed)]
        {
            for text in texts {
                if !list.add(text) {
                    let why = "is neither a bare JID nor a domain nor a SHA-256";
                    return Err(Stop::new(format!("\"{text}\" {why}")));
                }
            }
        }
        for path in &options.files {
            let unreadable = read_file(path, &mut fixed.blocked, options.max_entries)?;
            if unreadable > 0 {
                warn!(host, "{unreadable} lines of the list {path} are no entries and were left out");
            }
        }
        Ok(fixed)
    }
}

/// All rules.
#[derive(Debug)]
pub struct Rules {
    fixed: Arc<Fixed>,
    /// What commands have added: list and entry.
    pub added: BTreeSet<(List, String)>,
    blocked: Entries,
    allowed: Entries,
    patterns: RegexSet,
}

impl Rules {
    /// From their two sources.
    pub fn new(fixed: Arc<Fixed>, added: BTreeSet<(List, String)>) -> Result<Self, Stop> {
        let (mut blocked, mut allowed) = (Entries::default(), Entries::default());
        let mut patterns: Vec<&str> = fixed.patterns.iter().map(String::as_str).collect();
        for (list, entry) in &added {
            match list {
                List::Blocked => drop(blocked.add(entry)),
                List::Allowed => drop(allowed.add(entry)),
                List::Patterns => patterns.push(entry),
            }
        }
        let patterns = compile(patterns)?;
        Ok(Self { fixed, added, blocked, allowed, patterns })
    }

    /// The same with other entries of commands.
    pub fn with_added(&self, added: BTreeSet<(List, String)>) -> Result<Self, Stop> {
        Self::new(Arc::clone(&self.fixed), added)
    }

    /// The same with other options and files.
    pub fn with_fixed(&self, fixed: Fixed) -> Result<Self, Stop> {
        Self::new(Arc::new(fixed), self.added.clone())
    }

    /// How many entries the lists have.
    pub fn len(&self) -> usize {
        self.fixed.blocked.len() + self.blocked.len()
    }

    /// Whether this sender is never judged.
    pub fn allows(&self, sender: &Jid<'_>) -> bool {
        self.fixed.allowed.lists(sender) || self.allowed.lists(sender)
    }

    /// Whether this sender is unwanted.
    pub fn blocks(&self, sender: &Jid<'_>) -> bool {
        self.fixed.blocked.lists(sender) || self.blocked.lists(sender)
    }

    /// Whether texts are looked at.
    pub fn has_patterns(&self) -> bool {
        !self.patterns.is_empty()
    }

    /// Whether this text is unwanted.
    pub fn matches(&self, text: &str) -> bool {
        self.patterns.is_match(text)
    }
}

/// The store of what commands added. A key is the list's name, a slash and the entry.
pub fn store(host: &Host) -> KeyVal {
    host.keyval("entries")
}

/// The key of an entry.
pub fn key(list: List, entry: &str) -> String {
    format!("{}/{entry}", list.name())
}

/// What commands have added.
pub fn stored(host: &Host) -> Result<BTreeSet<(List, String)>, HostError> {
    let (store, mut added, mut after) = (store(host), BTreeSet::new(), String::new());
    loop {
        let keys = store.keys("", &after, PAGE).wait()?;
        for key in &keys {
            if let Some((list, entry)) = key.split_once('/')
                && let Some(list) = List::from_name(list)
            {
                added.insert((list, entry.to_owned()));
            }
        }
        match keys.last() {
            Some(last) if keys.len() == PAGE => after.clone_from(last),
            _ => return Ok(added),
        }
    }
}
