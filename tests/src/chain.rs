//! The fixture `fixture_chain` under several ids: several modules out of one library.

use crate::plugin::Plugin;

/// The namespace of its marks; its IQs have this namespace and its id behind it.
pub const NS: &str = "urn:moult:fixture:chain";

/// The id of the fixture with this letter.
pub fn id(letter: char) -> String {
    format!("fixture_chain_{letter}")
}

/// The fixture as the module of this letter.
pub fn chained(letter: char) -> Plugin {
    renamed('a', letter, Plugin::built("fixture_chain")).named(&format!("{}.so", id(letter)))
}

/// The same, to be started after the one of the letter `before`, if that is there.
pub fn chained_after(letter: char, before: char) -> Plugin {
    renamed('0', before, chained(letter))
}

fn renamed(from: char, to: char, plugin: Plugin) -> Plugin {
    let (from, to) = (id(from).into_bytes(), id(to).into_bytes());
    plugin.altered(|bytes| {
        let places: Vec<usize> =
            (0..bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(&from)).collect();
        assert!(!places.is_empty(), "{} is in the library", String::from_utf8_lossy(&from));
        for at in places {
            bytes[at..at + to.len()].copy_from_slice(&to);
        }
    })
}
