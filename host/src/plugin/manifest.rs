//! A module's manifest as the host reads it: JSON, the same bytes in the ELF note and in the declaration.
//!
//! Fields this host does not know are ignored, because a newer minor may add some; fields it knows are checked here once,
//! so that everyone after it may trust a [`Manifest`].

use crate::config::options::OptionSchema;
use moult_plugin_api::manifest::Policy;
use serde::{Deserialize, Serialize};

/// A manifest longer than this is refused unread.
pub const MANIFEST_LIMIT: usize = 256 * 1024;
const ID_LIMIT: usize = 64;
const TEXT_LIMIT: usize = 4096;
const LIST_LIMIT: usize = 512;

/// What a module says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Its name everywhere: `mod_echo`.
    pub id: String,
    /// Its own version.
    pub version: String,
    /// What tells two builds of one version apart; may be empty.
    #[serde(default)]
    pub build: String,
    /// One sentence for the operator.
    #[serde(default)]
    pub description: String,
    /// Smallest API minor whose numbers it cannot do without.
    #[serde(default)]
    pub needs_minor: u16,
    /// Modules it uses.
    #[serde(default)]
    pub depends: Vec<Dependency>,
    /// What it asks to be allowed: `fatal`, `commands`, …
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// Its options with kinds and defaults.
    #[serde(default)]
    pub options: Vec<OptionSchema>,
    /// The state it hands over, if it has any.
    #[serde(default)]
    pub state: Option<StateSchema>,
    /// What it implements.
    #[serde(default)]
    pub xeps: Vec<Xep>,
    /// Whether it wants one instance for the whole server instead of one per vhost.
    #[serde(default)]
    pub global: bool,
    /// Whether its instances are started again after a fault, and how long they may take to stop.
    #[serde(default)]
    pub policy: Policy,
}

/// Another module that a module uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    /// Its id.
    pub id: String,
    /// Without a soft one the module still starts.
    #[serde(default)]
    pub soft: bool,
}

/// Numbers of the state's shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateSchema {
    /// The schema it writes.
    pub writes: u32,
    /// The oldest schema it reads.
    pub reads_from: u32,
    /// The newest schema it reads.
    pub reads_to: u32,
}

impl StateSchema {
    /// Whether state of this schema can be taken over.
    pub fn reads(&self, schema: u32) -> bool {
        (self.reads_from..=self.reads_to).contains(&schema)
    }
}

/// An XMPP extension that a module implements.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Xep {
    /// `0199`.
    pub number: String,
    /// Version of the document; may be empty.
    #[serde(default)]
    pub version: String,
}

impl Manifest {
    /// Reads and checks. The error is one sentence.
    pub fn parse(json: &[u8]) -> Result<Manifest, String> {
        if json.len() > MANIFEST_LIMIT {
            return Err(format!("the manifest has {} bytes; {MANIFEST_LIMIT} are the limit", json.len()));
        }
        let manifest: Manifest =
            serde_json::from_slice(json).map_err(|e| format!("the manifest cannot be read: {e}"))?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), String> {
        check_id("the module's id", &self.id)?;
        check_text("version", &self.version, ID_LIMIT)?;
        if self.version.is_empty() {
            return Err("the manifest gives no version".into());
        }
        check_text("build", &self.build, 256)?;
        check_text("description", &self.description, TEXT_LIMIT)?;
        self.check_lists()?;
        for dependency in &self.depends {
            check_id("a dependency", &dependency.id)?;
            if dependency.id == self.id {
                return Err("the manifest makes the module depend on itself".into());
            }
        }
        self.check_options()?;
        match self.state {
            Some(s) if s.reads_from > s.reads_to => {
                Err(format!("the manifest reads state schemas {} to {}: no number", s.reads_from, s.reads_to))
            }
            _ => Ok(()),
        }
    }

    fn check_lists(&self) -> Result<(), String> {
        let lists = [
            ("dependencies", self.depends.len()),
            ("capabilities", self.capabilities.len()),
            ("options", self.options.len()),
            ("XEPs", self.xeps.len()),
        ];
        match lists.into_iter().find(|(_, n)| *n > LIST_LIMIT) {
            Some((what, n)) => Err(format!("the manifest lists {n} {what}; {LIST_LIMIT} are the limit")),
            None => Ok(()),
        }
    }

    fn check_options(&self) -> Result<(), String> {
        for (i, option) in self.options.iter().enumerate() {
            check_id("an option", &option.name)?;
            if self.options[..i].iter().any(|o| o.name == option.name) {
                return Err(format!("the manifest declares option «{}» twice", option.name));
            }
        }
        Ok(())
    }
}

/// Whether this can be a module's id: a lower-case letter, then lower-case letters, digits and underscores.
pub fn is_module_id(id: &str) -> bool {
    id.len() <= ID_LIMIT
        && id.starts_with(|c: char| c.is_ascii_lowercase())
        && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn check_id(what: &str, id: &str) -> Result<(), String> {
    if is_module_id(id) {
        return Ok(());
    }
    let shown: String = id.chars().take(ID_LIMIT).collect();
    Err(format!(
        "{what} in the manifest is «{shown}»; allowed are up to {ID_LIMIT} lower-case letters, digits and \
         underscores, a letter first"
    ))
}

fn check_text(what: &str, text: &str, limit: usize) -> Result<(), String> {
    if text.len() > limit {
        return Err(format!("the manifest's {what} has {} bytes; {limit} are the limit", text.len()));
    }
    if text.chars().any(char::is_control) {
        return Err(format!("the manifest's {what} contains control characters"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_manifest_has_an_id_and_a_version() {
        let manifest =
            Manifest::parse(br#"{"id":"mod_echo","version":"1.0.0","news_of_later":[1]}"#).unwrap();
        assert_eq!((manifest.id.as_str(), manifest.state, manifest.global), ("mod_echo", None, false));
    }

    #[test]
    fn every_field_is_read() {
        let manifest = Manifest::parse(
            br#"{"id":"m","version":"2","build":"b","description":"d","needs_minor":0,
                "depends":[{"id":"mod_x","soft":true}],"capabilities":["fatal"],
                "options":[{"name":"host","kind":"string","default":"echo.@HOST@","doc":"d"}],
                "state":{"writes":2,"reads_from":1,"reads_to":2},"xeps":[{"number":"0199","version":"2.0"}],
                "global":true}"#,
        )
        .unwrap();
        assert!(manifest.depends[0].soft && manifest.global);
        let state = manifest.state.unwrap();
        assert!(state.reads(1) && state.reads(2) && !state.reads(3) && !state.reads(0));
        assert_eq!(manifest.options[0].default, "echo.@HOST@");
    }

    #[test]
    fn what_cannot_be_trusted_is_refused_with_a_sentence() {
        let cases: [(&str, &str); 7] = [
            ("{", "cannot be read"),
            (r#"{"version":"1"}"#, "id"),
            (r#"{"id":"../etc","version":"1"}"#, "allowed are"),
            (r#"{"id":"m","version":""}"#, "no version"),
            (r#"{"id":"m","version":"1","description":"a\nb"}"#, "control characters"),
            (r#"{"id":"m","version":"1","depends":[{"id":"m"}]}"#, "depend on itself"),
            (r#"{"id":"m","version":"1","state":{"writes":1,"reads_from":2,"reads_to":1}}"#, "no number"),
        ];
        for (json, part) in cases {
            let error = Manifest::parse(json.as_bytes()).unwrap_err();
            assert!(error.contains(part), "{json}: {error}");
        }
    }

    #[test]
    fn an_option_declared_twice_is_refused() {
        let json =
            br#"{"id":"m","version":"1","options":[{"name":"a","kind":"bool"},{"name":"a","kind":"bool"}]}"#;
        assert!(Manifest::parse(json).unwrap_err().contains("twice"));
    }
}
