//! A module's manifest: what it says of itself, as JSON in its declaration and in its ELF note.
//!
//! These types are the JSON's shape for whoever reads it (the host, tools). They are not part of the binary boundary:
//! fields that a reader does not know are ignored, fields that a writer left out take their defaults. The fields known are
//! checked once, by [`Manifest::parse`], so that everyone after it may trust a [`Manifest`]. The export macro writes the
//! JSON at compile time, see [`crate::declare`].

mod check;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use crate::declare::is_module_id;

/// A manifest longer than this is refused unread.
pub const MANIFEST_LIMIT: usize = 256 * 1024;

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
    /// The API it was written against: `1.0`.
    #[serde(default)]
    pub api: String,
    /// The compiler that built it.
    #[serde(default)]
    pub rustc: String,
    /// Smallest API minor whose numbers it cannot do without.
    #[serde(default)]
    pub needs_minor: u16,
    /// Modules it uses.
    #[serde(default)]
    pub depends: Vec<Dependency>,
    /// What it asks to be allowed: `fatal`, `commands`, `accounts`.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// Its options with kinds and defaults.
    #[serde(default)]
    pub options: Vec<OptionDecl>,
    /// The state it hands over, if it has any.
    #[serde(default)]
    pub state: Option<StateSchema>,
    /// The schema of its stores (since 1.2); `None` counts as [`StoreSchema::FIRST`].
    #[serde(default)]
    pub store: Option<StoreSchema>,
    /// What it implements.
    #[serde(default)]
    pub xeps: Vec<Xep>,
    /// Whether it wants one instance for the whole server instead of one per vhost.
    #[serde(default)]
    pub global: bool,
    /// How its instances are supervised.
    #[serde(default)]
    pub policy: Policy,
    /// Whether it takes changed options while it runs; it is started anew with them otherwise. `None`: it does not say (before API 1.2).
    #[serde(default)]
    pub reloads: Option<bool>,
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

/// One option.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OptionDecl {
    /// Its key in the configuration.
    pub name: String,
    /// What it holds.
    pub kind: OptionKind,
    /// What holds where the configuration is silent; `null` leaves the option out.
    #[serde(default)]
    pub default: Value,
    /// One sentence for the operator.
    #[serde(default)]
    pub doc: String,
    /// Smallest integer, milliseconds, bytes or length of a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<i64>,
    /// Largest integer, milliseconds, bytes or length of a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<i64>,
    /// Whether a change needs a restart of the module.
    #[serde(default)]
    pub boot_only: bool,
}

/// What an option holds. Durations reach the module as milliseconds, sizes as bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptionKind {
    /// Any text.
    String,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Bool,
    /// `"30s"`, or whole seconds.
    Duration,
    /// `"64KiB"`, or whole bytes.
    Size,
    /// Texts.
    List,
    /// One of these texts.
    Enum(Vec<String>),
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

/// Numbers of the shape of what lies in a module's stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreSchema {
    /// The schema it reads and writes.
    pub schema: u32,
    /// The oldest schema it brings forward.
    pub from: u32,
}

impl StoreSchema {
    /// What holds where a module says nothing: the number of stores that were never brought forward.
    pub const FIRST: StoreSchema = StoreSchema { schema: 1, from: 1 };
}

/// An XMPP extension that a module implements.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Xep {
    /// `0199`.
    pub number: String,
    /// Version of the document; may be empty.
    #[serde(default)]
    pub version: String,
    /// `partial` where parts of it are missing; empty where it is all there.
    #[serde(default)]
    pub status: String,
}

impl Xep {
    /// Whether all of it is there.
    pub fn is_complete(&self) -> bool {
        self.status.is_empty()
    }
}

/// How an instance is supervised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// What follows when it stops by itself or is failed.
    pub restart: Restart,
    /// Restarts allowed within a minute before it stays down.
    pub max_restarts: u32,
    /// How long `stop` may take before it is cut.
    pub shutdown_ms: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self { restart: Restart::Temporary, max_restarts: 3, shutdown_ms: 1000 }
    }
}

/// When an ended instance is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Restart {
    /// Never.
    Temporary,
    /// After a failure.
    Transient,
    /// Always.
    Permanent,
}

impl Manifest {
    /// The schema of its stores.
    pub fn store_schema(&self) -> StoreSchema {
        self.store.unwrap_or(StoreSchema::FIRST)
    }

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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_of_two_fields_has_the_documented_defaults() {
        let manifest =
            Manifest::parse(br#"{"id":"mod_echo","version":"1.0.0","of_a_later_minor":1}"#).unwrap();
        assert_eq!(
            manifest.policy,
            Policy { restart: Restart::Temporary, max_restarts: 3, shutdown_ms: 1000 }
        );
        assert!(!manifest.global && manifest.state.is_none() && manifest.options.is_empty());
        assert_eq!(manifest.store_schema(), StoreSchema::FIRST);
    }

    #[test]
    fn every_field_is_read() {
        let manifest = Manifest::parse(
            br#"{"id":"m","version":"2","build":"b","description":"d","needs_minor":0,
                "depends":[{"id":"mod_x","soft":true}],"capabilities":["fatal"],
                "options":[{"name":"host","kind":"string","default":"echo.@HOST@","doc":"d"}],
                "state":{"writes":2,"reads_from":1,"reads_to":2},"store":{"schema":3,"from":2},"xeps":[{"number":"0199","version":"2.0"}],
                "global":true}"#,
        )
        .unwrap();
        assert!(manifest.depends[0].soft && manifest.global);
        let state = manifest.state.unwrap();
        assert!(state.reads(1) && state.reads(2) && !state.reads(3) && !state.reads(0));
        assert_eq!(manifest.options[0].default, "echo.@HOST@");
        assert_eq!(manifest.store_schema(), StoreSchema { schema: 3, from: 2 });
    }

    #[test]
    fn every_kind_of_option_is_read() {
        let json = r#"[{"name":"a","kind":"string"},{"name":"b","kind":{"enum":["x","y"]},"default":"x"}]"#;
        let options: Vec<OptionDecl> = serde_json::from_str(json).unwrap();
        assert_eq!(options[1].kind, OptionKind::Enum(vec!["x".into(), "y".into()]));
        assert_eq!(options[0].default, Value::Null);
    }
}
