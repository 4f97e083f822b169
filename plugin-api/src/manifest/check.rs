//! What a manifest must satisfy before anyone trusts it: ids, texts and lists within bounds, nothing declared twice.

use super::{Manifest, is_module_id};

const XEP_LIMIT: usize = 32;
const ID_LIMIT: usize = 64;
const TEXT_LIMIT: usize = 4096;
const LIST_LIMIT: usize = 512;

impl Manifest {
    pub(super) fn check(&self) -> Result<(), String> {
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
        if let Some(store) = self.store
            && (store.from == 0 || store.from > store.schema)
        {
            return Err(format!(
                "the manifest brings stores of schema {} forward to {}: numbers begin at 1 and ascend",
                store.from, store.schema
            ));
        }
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
        if let Some((what, n)) = lists.into_iter().find(|(_, n)| *n > LIST_LIMIT) {
            return Err(format!("the manifest lists {n} {what}; {LIST_LIMIT} are the limit"));
        }
        for xep in &self.xeps {
            check_text("XEP number", &xep.number, XEP_LIMIT)?;
            check_text("XEP version", &xep.version, XEP_LIMIT)?;
            check_text("XEP status", &xep.status, XEP_LIMIT)?;
        }
        Ok(())
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
    fn what_cannot_be_trusted_is_refused_with_a_sentence() {
        let cases: [(&str, &str); 9] = [
            ("{", "cannot be read"),
            (r#"{"version":"1"}"#, "id"),
            (r#"{"id":"../etc","version":"1"}"#, "allowed are"),
            (r#"{"id":"m","version":""}"#, "no version"),
            (r#"{"id":"m","version":"1","description":"a\nb"}"#, "control characters"),
            (r#"{"id":"m","version":"1","depends":[{"id":"m"}]}"#, "depend on itself"),
            (r#"{"id":"m","version":"1","state":{"writes":1,"reads_from":2,"reads_to":1}}"#, "no number"),
            (r#"{"id":"m","version":"1","store":{"schema":1,"from":2}}"#, "ascend"),
            (r#"{"id":"m","version":"1","store":{"schema":1,"from":0}}"#, "begin at 1"),
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
