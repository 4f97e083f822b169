//! The numbers, names and fields of each minor of the API, frozen.
//!
//! `minors/1.N.txt` lists what came with that minor. What is listed stays as it is for as long as the major lives, because
//! libraries that were built with it are out there; what is new in the sources must be listed under the newest minor. After an
//! addition, the test prints the lines to add.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use moult_plugin_api::abi::v1::API_MINOR;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// `call.START: u32 = 1`, `name.CONTACTS: &str = "contacts"`, `Identity.category: String`.
fn read(source: &str) -> BTreeSet<String> {
    let (mut lines, mut inside) = (BTreeSet::new(), String::new());
    for line in source.split("#[cfg(test)]").next().unwrap_or_default().lines() {
        let words = line.trim();
        let named = |what: &str| {
            let rest = words.strip_prefix(what)?;
            Some(rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default().to_owned())
        };
        if let Some(name) = named("pub mod ").or_else(|| named("pub struct ")) {
            inside = name;
        } else if let Some(constant) = words.strip_prefix("pub const ").filter(|words| words.ends_with(';')) {
            lines.insert(format!("{inside}.{}", constant.trim_end_matches(';')));
        } else if let Some(field) = words.strip_prefix("pub ").filter(|words| words.ends_with(',')) {
            lines.insert(format!("{inside}.{}", field.trim_end_matches(',')));
        } else if line == "}" {
            inside.clear();
        }
    }
    // These two say which version it is.
    lines.retain(|line| !line.starts_with(".API_MINOR") && !line.contains(" fn "));
    lines
}

fn now() -> BTreeSet<String> {
    let sources = [include_str!("../src/abi/v1.rs"), include_str!("../src/hooks.rs")];
    sources.into_iter().flat_map(read).collect()
}

/// The lines of each minor.
fn listed() -> BTreeMap<u16, BTreeSet<String>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("minors");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let minor = name.strip_prefix("1.").and_then(|minor| minor.parse().ok());
            let text = fs::read_to_string(&path).unwrap();
            (minor.unwrap_or_else(|| panic!("{name} is no minor")), text.lines().map(str::to_owned).collect())
        })
        .collect()
}

#[test]
fn what_a_minor_brought_stays_as_it_was() {
    let now = now();
    for (minor, lines) in listed() {
        let gone: Vec<_> = lines.difference(&now).collect();
        assert!(gone.is_empty(), "of API 1.{minor}, these are not what they were: {gone:#?}");
    }
}

#[test]
fn what_is_new_is_listed_under_the_newest_minor() {
    let listed = listed();
    assert_eq!(
        listed.keys().copied().collect::<Vec<_>>(),
        (0..=API_MINOR).collect::<Vec<_>>(),
        "each minor has its list, and API_MINOR is the newest one"
    );
    let known: BTreeSet<String> = listed.into_values().flatten().collect();
    let now = now();
    let new: Vec<&str> = now.difference(&known).map(String::as_str).collect();
    assert!(new.is_empty(), "to be listed in minors/1.{API_MINOR}.txt:\n{}", new.join("\n"));
}

#[test]
fn no_number_is_used_twice() {
    let now = now();
    let mut owners: BTreeMap<(String, String), Vec<&str>> = BTreeMap::new();
    for line in &now {
        if let Some((name, value)) = line.split_once(" = ")
            && let Some((kind, _)) = name.split_once('.')
            && !kind.is_empty()
        {
            owners.entry((kind.to_owned(), value.to_owned())).or_default().push(name);
        }
    }
    let twice: Vec<_> = owners.values().filter(|names| names.len() > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    assert!(now.contains("call.START: u32 = 1") && now.contains("Identity.category: String"), "{now:#?}");
}
