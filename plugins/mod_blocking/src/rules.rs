//! Who blocks whom: all block lists of the vhost in memory, so that a stanza is judged without waiting.

use moult_plugin_api::prelude::*;
use moult_plugin_api::serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};

/// The block list of one account: JIDs as XEP-0191 3.2 has them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(crate = "moult_plugin_api::serde", transparent)]
pub struct BlockList(BTreeSet<String>);

impl BlockList {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    pub fn extend(&mut self, items: impl IntoIterator<Item = String>) {
        self.0.extend(items);
    }

    pub fn remove(&mut self, item: &str) -> bool {
        self.0.remove(item)
    }

    /// XEP-0191 3.1: a JID matches as it is, without its resource, as domain with resource, and by its domain.
    pub fn blocks(&self, jid: &Jid<'_>) -> bool {
        let has = |text: &str| self.0.contains(text);
        if has(jid.as_str()) || has(jid.bare().as_str()) || has(jid.domain()) {
            return true;
        }
        // The only form that has to be put together first, and rare in lists.
        jid.localpart().is_some()
            && jid.resource().is_some_and(|resource| has(&format!("{}/{resource}", jid.domain())))
    }
}

/// All block lists that are not empty, by account.
#[derive(Debug, Default)]
pub struct Rules(HashMap<String, BlockList>);

impl Rules {
    pub fn from_lists(lists: impl IntoIterator<Item = (String, BlockList)>) -> Self {
        Self(lists.into_iter().filter(|(_, list)| !list.is_empty()).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn of(&self, account: &str) -> Option<&BlockList> {
        self.0.get(account)
    }

    pub fn put(&mut self, account: &str, list: BlockList) {
        if list.is_empty() {
            self.0.remove(account);
        } else {
            self.0.insert(account.to_owned(), list);
        }
    }

    /// Whether `account` (bare) blocks `other`. An account cannot block itself.
    pub fn blocks(&self, account: &Jid<'_>, other: &Jid<'_>) -> bool {
        match self.0.get(account.bare().as_str()) {
            Some(list) => account.bare() != other.bare() && list.blocks(other),
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jid_is_matched_in_the_four_forms_of_the_xep() {
        let list = |items: &[&str]| {
            let mut list = BlockList::default();
            list.extend(items.iter().map(|item| (*item).to_owned()));
            list
        };
        for (item, matched, unmatched) in [
            ("a@b/c", "a@b/c", "a@b/d"),
            ("a@b", "a@b/c", "d@b/c"),
            ("b/c", "a@b/c", "a@b/d"),
            ("b", "a@b/c", "a@x/c"),
            ("b", "b", "x"),
        ] {
            assert!(list(&[item]).blocks(&Jid::parse(matched).unwrap()), "{item} {matched}");
            assert!(!list(&[item]).blocks(&Jid::parse(unmatched).unwrap()), "{item} {unmatched}");
        }
    }

    #[test]
    fn nobody_blocks_oneself() {
        let mut rules = Rules::default();
        let mut list = BlockList::default();
        list.extend(["example.org".to_owned()]);
        rules.put("alice@example.org", list);
        let jid = |text: &str| Jid::parse(text).unwrap();
        assert!(rules.blocks(&jid("alice@example.org/x"), &jid("bob@example.org")));
        assert!(!rules.blocks(&jid("alice@example.org/x"), &jid("alice@example.org/y")));
    }
}
