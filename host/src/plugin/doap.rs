//! The DOAP file (XEP-0453): which RFCs and XEPs the server and its modules implement, in which version and how much of them.
//!
//! What modules implement they say in their manifests, which are read without loading anything; what the server implements
//! itself stands here.

use std::collections::BTreeMap;
use std::path::Path;

use moult_plugin_api::manifest::Manifest;

use super::folder::manifest_in;

/// RFCs: of XMPP first, then of what it stands on.
const RFCS: [&str; 5] = ["6120", "6121", "6122", "7395", "7590"];
const OTHER_RFCS: [&str; 4] = ["5802", "5929", "7677", "9266"];

/// XEPs of the server itself: number, version.
const OWN: [(&str, &str); 7] = [
    ("0124", "1.11.2"),
    ("0198", "1.6.3"),
    ("0206", "1.4"),
    ("0227", "1.1"),
    ("0352", "1.0.0"),
    ("0368", "1.1.0"),
    ("0440", "1.0.0"),
];

/// One XEP as it is told.
#[derive(Debug, Default)]
struct Claim {
    version: String,
    partial: bool,
    /// Who implements it; the server itself is `core`.
    by: Vec<String>,
}

/// Of all libraries in a folder. A file that is no module is a mistake of who asks.
pub fn of_folder(folder: &Path) -> Result<String, String> {
    let entries = std::fs::read_dir(folder)
        .map_err(|error| format!("The folder {} cannot be read: {error}.", folder.display()))?;
    let mut manifests = Vec::new();
    for entry in entries {
        let path = entry
            .map_err(|error| format!("The folder {} cannot be read: {error}.", folder.display()))?
            .path();
        if path.extension().is_some_and(|extension| extension == "so") {
            let manifest = manifest_in(&path).map_err(|why| format!("{}: {why}.", path.display()))?;
            manifests.push(manifest);
        }
    }
    manifests.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(write(manifests.iter().map(AsRef::as_ref)))
}

fn claims<'a>(manifests: impl Iterator<Item = &'a Manifest>) -> BTreeMap<String, Claim> {
    let mut claims: BTreeMap<String, Claim> = BTreeMap::new();
    for (number, version) in OWN {
        let claim = Claim { version: version.to_owned(), by: vec!["core".to_owned()], partial: false };
        claims.insert(number.to_owned(), claim);
    }
    for manifest in manifests {
        for xep in &manifest.xeps {
            let claim = claims.entry(xep.number.clone()).or_default();
            // Of several who implement one, the oldest version is what holds for all.
            if claim.version.is_empty() || is_older(&xep.version, &claim.version) {
                claim.version.clone_from(&xep.version);
            }
            claim.partial |= !xep.is_complete();
            claim.by.push(manifest.id.clone());
        }
    }
    claims
}

fn is_older(one: &str, other: &str) -> bool {
    let numbers =
        |version: &str| -> Vec<u32> { version.split('.').map(|part| part.parse().unwrap_or(0)).collect() };
    !one.is_empty() && numbers(one) < numbers(other)
}

fn write<'a>(manifests: impl Iterator<Item = &'a Manifest>) -> String {
    let mut text = String::from(HEAD);
    for rfc in RFCS {
        text.push_str(&format!("    <implements rdf:resource='https://xmpp.org/rfcs/rfc{rfc}.html'/>\n"));
    }
    for rfc in OTHER_RFCS {
        text.push_str(&format!("    <implements rdf:resource='https://www.rfc-editor.org/rfc/rfc{rfc}'/>\n"));
    }
    for (number, claim) in claims(manifests) {
        text.push_str(&entry(&number, &claim));
    }
    text.push_str("  </Project>\n</rdf:RDF>\n");
    text
}

fn entry(number: &str, claim: &Claim) -> String {
    let status = if claim.partial { "partial" } else { "complete" };
    let version = match escaped(&claim.version) {
        version if version.is_empty() => String::new(),
        version => format!("        <xmpp:version>{version}</xmpp:version>\n"),
    };
    format!(
        "    <implements>\n      <xmpp:SupportedXep>\n        \
         <xmpp:xep rdf:resource='https://xmpp.org/extensions/xep-{}.html'/>\n        \
         <xmpp:status>{status}</xmpp:status>\n{version}        \
         <xmpp:note xml:lang='en'>{}</xmpp:note>\n      </xmpp:SupportedXep>\n    </implements>\n",
        escaped(number),
        escaped(&claim.by.join(", "))
    )
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '&' => out.push_str("&amp;"),
            '\'' => out.push_str("&apos;"),
            c => out.push(c),
        }
    }
    out
}

const HEAD: &str = "<?xml version='1.0' encoding='UTF-8'?>
<rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'
         xmlns='http://usefulinc.com/ns/doap#'
         xmlns:xmpp='https://linkmauve.fr/ns/xmpp-doap#'>
  <Project xml:lang='en'>
    <name>Moult</name>
    <shortdesc xml:lang='en'>XMPP server whose features are hot-swappable shared libraries</shortdesc>
    <programming-language>Rust</programming-language>
    <os>Linux</os>
    <category rdf:resource='https://linkmauve.fr/ns/xmpp-doap#category-server'/>
";

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(id: &str, xeps: &str) -> Manifest {
        let text = format!(r#"{{"id":"{id}","version":"1","xeps":[{xeps}]}}"#);
        Manifest::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn claims_of_several_modules_are_one_with_what_holds_for_all() {
        let one = manifest("mod_a", r#"{"number":"0334","version":"0.10.0"},{"number":"0352"}"#);
        let other = manifest("mod_b", r#"{"number":"0334","version":"0.4.0","status":"partial"}"#);
        let claims = claims([&one, &other].into_iter());
        let hints = &claims["0334"];
        assert_eq!((hints.version.as_str(), hints.partial), ("0.4.0", true));
        assert_eq!(hints.by, ["mod_a", "mod_b"]);
        let state = &claims["0352"];
        assert_eq!((state.version.as_str(), state.partial, state.by.len()), ("1.0.0", false, 2));
    }

    #[test]
    fn what_a_module_says_does_not_break_the_file() {
        let text = write([&manifest("mod_a", r#"{"number":"'/><x>","version":"<&"}"#)].into_iter());
        assert!(!text.contains("<x>") && text.contains("&lt;&amp;"), "{text}");
    }

    #[test]
    fn a_folder_that_is_none_is_told() {
        assert!(of_folder(Path::new("/nowhere")).unwrap_err().contains("/nowhere"));
    }
}
