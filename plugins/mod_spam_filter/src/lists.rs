//! Who is listed: JIDs, domains and their SHA-256 (as real-time block lists publish them, so that they name nobody), from
//! the options, from files and from commands; and the patterns that texts are held against.

use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::sha::sha256;
use regex::{RegexSet, RegexSetBuilder};
use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};

/// The largest program that all patterns together may compile to.
const PATTERNS_SIZE: usize = 4 << 20;
/// The longest file that is read.
const FILE_SIZE: u64 = 64 << 20;

/// Bare JIDs, domains and hashes of either.
#[derive(Debug, Default, Clone)]
pub struct Entries {
    names: HashSet<String>,
    hashes: HashSet<[u8; 32]>,
}

impl Entries {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.names.len() + self.hashes.len()
    }

    /// Takes one more; `false` where the text is none of the three.
    pub fn add(&mut self, text: &str) -> bool {
        match canonical(text) {
            Some(Entry::Name(name)) => self.names.insert(name),
            Some(Entry::Hash(hash)) => self.hashes.insert(hash),
            None => return false,
        };
        true
    }

    /// Whether a bare JID is listed, or its domain.
    pub fn lists(&self, bare: &Jid<'_>) -> bool {
        let listed = |text: &str| {
            self.names.contains(text)
                || !self.hashes.is_empty() && self.hashes.contains(&sha256(text.as_bytes()))
        };
        listed(bare.as_str()) || bare.localpart().is_some() && listed(bare.domain())
    }
}

enum Entry {
    Name(String),
    Hash([u8; 32]),
}

fn canonical(text: &str) -> Option<Entry> {
    if let Some(hash) = hash(text) {
        return Some(Entry::Hash(hash));
    }
    let jid = Jid::parse(text).ok()?;
    jid.is_bare().then(|| Entry::Name(jid.as_str().to_owned()))
}

/// An entry as it is kept and shown; `None` where it is neither a bare JID nor a domain nor a hash.
pub fn normalised(text: &str) -> Option<String> {
    match canonical(text)? {
        Entry::Name(name) => Some(name),
        Entry::Hash(_) => Some(text.to_ascii_lowercase()),
    }
}

/// 64 hexadecimal digits.
fn hash(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut hash = [0; 32];
    for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = [pair[0], pair[1]].map(|digit| char::from(digit).to_digit(16));
        *byte = u8::try_from(high? << 4 | low?).ok()?;
    }
    Some(hash)
}

/// Reads a file of entries, one per line; `#` begins a remark. Gives how many lines were neither: lists come from others, and
/// one bad line does not make the rest useless.
pub fn read_file(path: &str, into: &mut Entries, max: usize) -> Result<usize, Stop> {
    let file =
        File::open(path).map_err(|error| Stop::new(format!("the list {path} cannot be read: {error}")))?;
    let mut unreadable = 0;
    for line in BufReader::new(file.take(FILE_SIZE)).lines() {
        let line = line.map_err(|error| Stop::new(format!("the list {path} cannot be read: {error}")))?;
        let entry = line.split('#').next().unwrap_or_default().trim();
        if entry.is_empty() {
            continue;
        }
        if !into.add(entry) {
            unreadable += 1;
        }
        if into.len() > max {
            return Err(Stop::new(format!("the list {path} has too many entries: {max} are allowed in all")));
        }
    }
    Ok(unreadable)
}

/// The patterns, compiled. They match without backtracking, in time that grows with the text alone.
pub fn compile<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<RegexSet, Stop> {
    let set = RegexSetBuilder::new(patterns).size_limit(PATTERNS_SIZE).build();
    set.map_err(|error| Stop::new(format!("a pattern cannot be used: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn jid(text: &str) -> Jid<'static> {
        Jid::parse(text).unwrap()
    }

    #[test]
    fn a_sender_is_listed_by_jid_by_domain_and_by_the_hash_of_either() {
        let mut entries = Entries::default();
        assert!(entries.add("Spam@bad.example") && entries.add("worse.example"));
        assert!(entries.lists(&jid("spam@bad.example")) && entries.lists(&jid("x@worse.example")));
        assert!(entries.lists(&jid("worse.example")));
        assert!(!entries.lists(&jid("other@bad.example")) && !entries.lists(&jid("bad.example")));
        let mut hashed = Entries::default();
        let hex: String = sha256(b"spam@bad.example").iter().map(|byte| format!("{byte:02X}")).collect();
        assert!(hashed.add(&hex));
        assert!(hashed.lists(&jid("spam@bad.example")) && !hashed.lists(&jid("ham@bad.example")));
        for wrong in ["", "a@b/c", "a b", "@"] {
            assert!(!entries.add(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_file_has_an_entry_per_line_and_a_bound() {
        let path = std::env::temp_dir().join(format!("moult-spam-list-{}", std::process::id()));
        let mut file = File::create(&path).unwrap();
        writeln!(file, "# remark\n\nspam@bad.example # why\nworse.example\n a b c\n").unwrap();
        let path_text = path.to_str().unwrap();
        let mut entries = Entries::default();
        assert_eq!(read_file(path_text, &mut entries, 10), Ok(1));
        assert_eq!(entries.len(), 2);
        assert!(read_file(path_text, &mut Entries::default(), 1).unwrap_err().0.contains("too many entries"));
        std::fs::remove_file(&path).unwrap();
        assert!(read_file(path_text, &mut entries, 10).unwrap_err().0.contains("cannot be read"));
    }

    #[test]
    fn a_pattern_that_would_explode_is_refused() {
        assert!(compile(["(?i)free +money"]).unwrap().is_match("FREE  money"));
        assert!(compile(["("]).is_err());
        assert!(compile(["((a{100}){100}){100}"]).is_err());
    }
}
