//! The rooms of the house, and who may enter whom. When this test fails it names the edge; a new edge is a decision:
//! say why in the commit that changes the table.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each room with those it may import. `server` may import all; nobody imports `server`.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    // Who may be woken while a module holds the thread: mailboxes and whoever runs modules must agree on it.
    ("wake", &[]),
    ("xml", &[]),
    ("stanza", &["xml"]),
    ("config", &["stanza"]),
    ("storage", &["stanza", "config"]),
    ("auth", &["stanza", "storage", "config"]),
    ("session", &["stanza", "config", "wake"]),
    ("stream", &["xml", "stanza", "auth", "config"]),
    ("plugin", &["stanza", "config", "wake"]),
    ("iq", &["stanza", "plugin", "wake"]),
    ("router", &["stanza", "session", "iq", "plugin", "config", "wake"]),
    // The command table: built-in specs, and those of modules through a trait.
    ("command", &["stanza", "plugin", "config"]),
    ("ctl", &["command", "plugin", "session", "config"]),
    ("http", &["command", "plugin", "session", "config", "stream", "router"]),
    // The connection task ties all of these together; `auth` for the limiter of login attempts.
    ("listener", &["xml", "stanza", "auth", "stream", "session", "router", "config"]),
];

/// Rooms that look at the contract, with the parts of it they need; everyone else speaks to modules through `plugin`.
/// `manifest` and `hooks` are plain data for both sides, `abi` is the boundary itself. `server` and `plugin` need more.
const MAY_SEE_OF_THE_CONTRACT: &[(&str, &[&str])] = &[
    ("config", &["manifest"]),
    ("command", &["manifest"]),
    ("ctl", &["manifest"]),
    ("router", &["hooks"]),
    // The name of the header by which a module's answer names a file.
    ("http", &["sdk"]),
    ("plugin", &["abi", "abi_stable", "hooks", "manifest"]),
    ("server", &["abi", "hooks"]),
];

#[test]
fn no_room_imports_one_it_may_not() {
    let mut wrong = Vec::new();
    for (room, allowed) in MAY_IMPORT {
        let allowed: BTreeSet<&str> = allowed.iter().copied().chain([*room]).collect();
        for file in files(&source().join(room)) {
            for (line, other) in segments(&fs::read_to_string(&file).unwrap(), "crate::") {
                if is_room(&other) && !allowed.contains(other.as_str()) {
                    wrong.push(format!("{}:{line}: {room} imports {other}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "edges that the table in tests/rooms.rs does not have:\n{}", wrong.join("\n"));
}

#[test]
fn rooms_see_of_the_contract_what_they_need() {
    let mut wrong = Vec::new();
    for room in MAY_IMPORT.iter().map(|(room, _)| *room).chain(["server"]) {
        let parts = MAY_SEE_OF_THE_CONTRACT
            .iter()
            .find(|(name, _)| *name == room)
            .map_or(&[][..], |(_, parts)| parts);
        // A room's `testing.rs` is compiled for its unit tests alone, and may link a module in.
        for file in files(&source().join(room)).iter().filter(|file| !file.ends_with("testing.rs")) {
            for (line, part) in segments(&fs::read_to_string(file).unwrap(), "moult_plugin_api::") {
                if !parts.contains(&part.as_str()) {
                    wrong.push(format!("{}:{line}: {room} uses moult_plugin_api::{part}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "edges that the tables in tests/rooms.rs do not have:\n{}", wrong.join("\n"));
}

#[test]
fn every_room_is_in_the_table() {
    let rooms: BTreeSet<String> = fs::read_dir(source())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .filter(|name| name != "bin")
        .collect();
    let table: BTreeSet<String> =
        MAY_IMPORT.iter().map(|(room, _)| room.to_string()).chain(["server".to_string()]).collect();
    assert_eq!(rooms, table);
}

#[test]
fn unsafe_code_lives_where_it_may() {
    let mut wrong = BTreeMap::new();
    for file in files(&source()) {
        let text = fs::read_to_string(&file).unwrap();
        let path = file.strip_prefix(source()).unwrap().display().to_string();
        let home = ["plugin/loader", "plugin/bridge"].iter().any(|home| path.starts_with(home));
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let count = code.filter(|line| line.contains("unsafe {") || line.contains("unsafe fn")).count();
        if count > 0 && !home {
            wrong.insert(path, count);
        }
    }
    assert!(wrong.is_empty(), "unsafe outside the loader and the bridge: {wrong:?}");
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn is_room(name: &str) -> bool {
    name == "server" || MAY_IMPORT.iter().any(|(room, _)| *room == name)
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).expect("the source tree can be read") {
        let path = entry.expect("the source tree can be read").path();
        match path.extension() {
            _ if path.is_dir() => all.extend(files(&path)),
            Some(extension) if extension == "rs" => all.push(path),
            _ => {}
        }
    }
    all
}

/// Line numbers and the first segment behind every `root`, comments left out.
fn segments(text: &str, root: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        for part in code.split(root).skip(1) {
            let segment: String = part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            found.push((number + 1, segment));
        }
    }
    found
}
