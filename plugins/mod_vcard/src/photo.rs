//! The picture of a vCard and its hash in presence (XEP-0153).

use crate::NS;
use moult_plugin_api::base64::Engine;
use moult_plugin_api::base64::engine::general_purpose::STANDARD;
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::Node;
use moult_plugin_api::sdk::digest::{hex, sha1};
use std::collections::HashMap;

/// XEP-0153.
const UPDATE: &str = "vcard-temp:x:update";
/// Accounts whose hash is remembered; when there are more, it begins anew.
const REMEMBERED: usize = 20_000;

/// Hashes of the accounts that have sent presence. `None` behind an account: it has no picture.
#[derive(Debug, Default)]
pub struct Hashes(HashMap<String, Option<String>>);

impl Hashes {
    pub fn get(&self, account: &str) -> Option<Option<String>> {
        self.0.get(account).cloned()
    }

    /// What was read from the store, unless a later one is known already.
    pub fn learn(&mut self, account: &str, hash: Option<String>) {
        self.make_room();
        self.0.entry(account.to_owned()).or_insert(hash);
    }

    /// What was just stored.
    pub fn set(&mut self, account: &str, hash: Option<String>) {
        self.make_room();
        self.0.insert(account.to_owned(), hash);
    }

    fn make_room(&mut self) {
        if self.0.len() >= REMEMBERED {
            self.0.clear();
        }
    }
}

/// SHA-1 of the picture's bytes; none without a picture that can be read.
pub fn hash_of(card: &Element) -> Option<String> {
    let text = card.subtag_ns("PHOTO", NS)?.subtag("BINVAL")?.text();
    let packed: String = text.split_ascii_whitespace().collect();
    let bytes = STANDARD.decode(packed).ok().filter(|bytes| !bytes.is_empty())?;
    Some(hex(&sha1(&bytes)))
}

/// The presence with this hash, whatever hash it carried.
pub fn with_hash(stanza: &Stanza<'_>, hash: &str) -> Packet {
    let Ok(presence) = stanza.element() else { return Packet::Pass };
    let mut presence = presence.clone();
    presence.children_mut().retain(|child| !matches!(child, Node::Element(e) if e.is("x", UPDATE)));
    let photo = Element::new("photo").with_text(hash);
    presence.push(Element::new("x").with_ns(UPDATE).with_child(photo));
    Packet::replace(&presence)
}
