//! One state of the server as it was announced.

use crate::{CAPS, CAPS_2, strings};
use moult_plugin_api::hooks::{Identity, InfoAnswer};
use moult_plugin_api::prelude::*;
use moult_plugin_api::serde::{Deserialize, Serialize};

/// So many states are answered for: the one that holds, and those before it.
pub const KEPT: usize = 4;

/// What was announced, and what it stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(crate = "moult_plugin_api::serde", default)]
pub struct Announced {
    /// The software, for the node of XEP-0115.
    node: String,
    ver: String,
    /// Of XEP-0390: name of the hash function, hash.
    hashes: Vec<(String, String)>,
    /// The answer.
    pub info: InfoAnswer,
}

impl Announced {
    /// What this answer to disco#info makes.
    pub fn of(query: &Element, node: &str) -> Self {
        let hashes = strings::hashes(query).into_iter().map(|(name, hash)| (name.to_owned(), hash));
        Self { node: node.to_owned(), ver: strings::ver(query), hashes: hashes.collect(), info: info(query) }
    }

    /// Whether this is one of the nodes that stand for it.
    pub fn is_node(&self, node: &str) -> bool {
        let is_hash = |(name, hash): &(String, String)| {
            let rest = node.strip_prefix(CAPS_2).and_then(|node| node.strip_prefix('#'));
            rest.and_then(|rest| rest.strip_prefix(name.as_str())?.strip_prefix('.')) == Some(hash)
        };
        let ver = node.strip_prefix(self.node.as_str()).and_then(|node| node.strip_prefix('#'));
        ver == Some(&self.ver) || self.hashes.iter().any(is_hash)
    }

    /// Both stream features, or the one of XEP-0115 alone.
    pub fn elements(&self) -> Vec<Element> {
        let caps = Element::new("c").with_ns(CAPS).with_attr("hash", "sha-1");
        let caps = caps.with_attr("node", self.node.as_str()).with_attr("ver", self.ver.as_str());
        let hashes = self.hashes.iter().map(|(name, hash)| {
            Element::new("hash")
                .with_ns("urn:xmpp:hashes:2")
                .with_attr("algo", name.as_str())
                .with_text(hash.as_str())
        });
        let second = Element::new("c").with_ns(CAPS_2).with_children(hashes);
        if self.hashes.is_empty() { vec![caps] } else { vec![caps, second] }
    }
}

fn info(query: &Element) -> InfoAnswer {
    let mut info = InfoAnswer::default();
    for child in query.elements() {
        match child.name() {
            "identity" => info.identities.push(Identity {
                category: child.attr_s("category").to_owned(),
                kind: child.attr_s("type").to_owned(),
                name: child.attr_s("name").to_owned(),
            }),
            "feature" => info.features.push(child.attr_s("var").to_owned()),
            _ => info.forms.push(child.to_string()),
        }
    }
    info
}
