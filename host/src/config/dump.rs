//! The effective configuration as a file: defaults filled in, paths absolute, secrets masked.

use super::Config;

impl Config {
    /// The effective configuration as TOML. It reads back as the same configuration, but for the masked secrets.
    pub fn dump(&self) -> String {
        let table = toml::Table::try_from(self).expect("every field of the configuration has a TOML form");
        toml::to_string(&table).expect("a TOML table has a text form")
    }
}
