//! The contacts of accounts that have sessions, as far as presence needs them: who is told of it (`from`), who is asked
//! (`to`). RFC 6121 section 4.
//!
//! A module keeps rosters; this is what the server remembers of its answer, so that no broadcast waits for a module and
//! a swap of it is not felt. The module tells every change after having stored it. An answer during which a change was
//! told is not kept ([`Loading::finish`]), so what is kept is never older than what was told.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::stanza::Jid;

/// One contact. Neither half: not listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// Its bare JID.
    pub jid: Jid,
    /// The account sees the contact's presence.
    pub to: bool,
    /// The contact sees the account's presence.
    pub from: bool,
}

/// The contacts of one account, in the order of their JIDs.
#[derive(Clone, Debug, Default)]
pub struct Contacts(Arc<[Contact]>);

impl Contacts {
    /// Of several entries with one JID the halves add up.
    pub fn new(mut contacts: Vec<Contact>) -> Self {
        contacts.retain(|contact| contact.to || contact.from);
        contacts.sort_by(|a, b| a.jid.cmp(&b.jid));
        contacts.dedup_by(|next, kept| {
            let same = next.jid == kept.jid;
            if same {
                kept.to |= next.to;
                kept.from |= next.from;
            }
            same
        });
        Self(contacts.into())
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Contact> {
        self.0.iter()
    }

    /// The contact of that JID's account.
    pub fn get(&self, jid: &Jid) -> Option<&Contact> {
        let bare = jid.bare_str();
        let found = self.0.binary_search_by(|contact| contact.jid.as_str().cmp(bare));
        found.ok().map(|index| &self.0[index])
    }

    /// Whether that JID sees the account's presence.
    pub fn shows_to(&self, jid: &Jid) -> bool {
        self.get(jid).is_some_and(|contact| contact.from)
    }

    fn with(&self, contact: Contact) -> Self {
        let mut all: Vec<Contact> = self.0.iter().filter(|other| other.jid != contact.jid).cloned().collect();
        all.push(contact);
        Self::new(all)
    }
}

/// What a told change means for presence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// The contact sees the account from now on.
    Shown,
    /// The contact no longer sees the account.
    Hidden,
    /// Nothing.
    Nothing,
}

/// The contacts of all accounts that have sessions.
#[derive(Debug, Default)]
pub struct ContactCache {
    accounts: papaya::HashMap<Arc<str>, Arc<Entry>>,
}

#[derive(Debug, Default)]
struct Entry(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    known: Option<Contacts>,
    /// How many changes were told.
    changes: u64,
}

/// Somebody is asking the modules for an account's contacts.
#[derive(Debug)]
pub struct Loading {
    entry: Arc<Entry>,
    changes: u64,
}

impl ContactCache {
    /// What is known of the account.
    pub fn get(&self, account: &Jid) -> Option<Contacts> {
        self.accounts.pin().get(account.bare_str())?.lock().known.clone()
    }

    /// To be called before the modules are asked.
    pub fn begin(&self, account: &Jid) -> Loading {
        let accounts = self.accounts.pin();
        let entry = accounts.get_or_insert_with(account.bare_str().into(), Arc::default).clone();
        let changes = entry.lock().changes;
        Loading { entry, changes }
    }

    /// Takes a change in; tells what it means for the contact.
    pub fn change(&self, account: &Jid, contact: Contact) -> Changed {
        let Some(entry) = self.accounts.pin().get(account.bare_str()).cloned() else {
            // Nothing was ever told to contacts of this account's sessions, so only showing can be new.
            return if contact.from { Changed::Shown } else { Changed::Nothing };
        };
        let mut state = entry.lock();
        state.changes += 1;
        let before = state.known.as_ref().is_some_and(|known| known.shows_to(&contact.jid));
        let after = contact.from;
        let known = state.known.take();
        state.known = known.map(|known| known.with(contact));
        match (before, after) {
            (false, true) => Changed::Shown,
            (true, false) => Changed::Hidden,
            _ => Changed::Nothing,
        }
    }

    /// The account has no session any more.
    pub fn forget(&self, account: &Jid) {
        self.accounts.pin().remove(account.bare_str());
    }
}

impl Loading {
    /// Keeps the answer, unless a change was told while it was given: then it may lack that change, and the modules
    /// are to be asked again.
    pub fn finish(self, answer: &Contacts) -> Result<(), Self> {
        let mut state = self.entry.lock();
        if state.changes == self.changes {
            state.known = Some(answer.clone());
            return Ok(());
        }
        let changes = state.changes;
        drop(state);
        Err(Self { changes, ..self })
    }
}

impl Entry {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock; a poisoned state is still whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jid(text: &str) -> Jid {
        Jid::parse(text).unwrap()
    }

    fn contact(text: &str, to: bool, from: bool) -> Contact {
        Contact { jid: jid(text), to, from }
    }

    #[test]
    fn contacts_are_found_by_any_jid_of_theirs_and_add_up() {
        let contacts = Contacts::new(vec![
            contact("b@x", true, false),
            contact("a@x", false, false),
            contact("b@x", false, true),
        ]);
        assert_eq!(contacts.iter().count(), 1);
        assert_eq!(contacts.get(&jid("b@x/r")), Some(&contact("b@x", true, true)));
        assert!(contacts.shows_to(&jid("b@x")) && !contacts.shows_to(&jid("a@x")));
    }

    #[test]
    fn a_change_says_whether_presence_is_shown_or_hidden() {
        let cache = ContactCache::default();
        let account = jid("me@x/r");
        cache.begin(&account).finish(&Contacts::new(vec![contact("a@x", true, false)])).unwrap();
        assert_eq!(cache.change(&account, contact("a@x", true, true)), Changed::Shown);
        assert_eq!(cache.change(&account, contact("a@x", false, true)), Changed::Nothing);
        assert_eq!(cache.change(&account, contact("a@x", false, false)), Changed::Hidden);
        assert_eq!(cache.change(&account, contact("a@x", false, false)), Changed::Nothing);
        assert_eq!(cache.get(&account).unwrap().iter().count(), 0);
        cache.forget(&account);
        assert!(cache.get(&account).is_none());
    }

    #[test]
    fn an_answer_that_a_change_has_overtaken_is_not_kept() {
        let cache = ContactCache::default();
        let account = jid("me@x");
        let loading = cache.begin(&account);
        assert_eq!(cache.change(&account, contact("a@x", false, true)), Changed::Shown);
        let again = loading.finish(&Contacts::default()).unwrap_err();
        assert!(cache.get(&account).is_none());
        again.finish(&Contacts::new(vec![contact("a@x", false, true)])).unwrap();
        assert!(cache.get(&account).unwrap().shows_to(&jid("a@x/r")));
    }
}
