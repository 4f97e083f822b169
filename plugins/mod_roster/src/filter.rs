//! The filter of `process_rosteritems`, written as ejabberd's: words and JIDs with `:` between them, or `any`.

use crate::item::Item;
use moult_plugin_api::prelude::*;
use moult_plugin_api::serde::{Deserialize, Serialize};

/// The arguments.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(crate = "moult_plugin_api::serde")]
pub struct FilterArgs {
    /// `list` or `delete`.
    pub action: String,
    /// Subscriptions.
    pub subs: String,
    /// What is pending.
    pub asks: String,
    /// JIDs of users.
    pub users: String,
    /// JIDs of contacts.
    pub contacts: String,
}

/// Which contacts of which users are meant.
#[derive(Clone, Debug)]
pub struct Filter {
    /// What to do with them besides listing them.
    pub deletes: bool,
    subs: Option<Vec<String>>,
    asks: Option<Vec<String>>,
    users: Option<Vec<String>>,
    contacts: Option<Vec<String>>,
}

impl Filter {
    /// Reads the arguments.
    pub fn read(args: &FilterArgs) -> Result<Self, CommandError> {
        let deletes = match args.action.as_str() {
            "list" => false,
            "delete" => true,
            other => {
                return Err(CommandError::bad_request(format!("\"{other}\" is no action: list or delete.")));
            }
        };
        Ok(Self {
            deletes,
            subs: words(&args.subs, &["none", "from", "to", "both"])?,
            asks: words(&args.asks, &["none", "out", "in"])?,
            users: several(&args.users),
            contacts: several(&args.contacts),
        })
    }

    /// Whether an account can be meant.
    pub fn has_user(&self, account: &str) -> bool {
        fits(self.users.as_deref(), |pattern| is_like(pattern, account))
    }

    /// Whether this contact of such an account is meant.
    pub fn has(&self, contact: &str, item: &Item) -> bool {
        let is_pending = |word: &str| match word {
            "out" => item.ask,
            "in" => item.request.is_some(),
            _ => !item.ask && item.request.is_none(),
        };
        fits(self.subs.as_deref(), |word| word == item.subscription.name())
            && fits(self.asks.as_deref(), is_pending)
            && fits(self.contacts.as_deref(), |pattern| is_like(pattern, contact))
    }
}

fn fits(words: Option<&[String]>, fit: impl Fn(&str) -> bool) -> bool {
    words.is_none_or(|words| words.iter().any(|word| fit(word)))
}

fn several(text: &str) -> Option<Vec<String>> {
    (text != "any").then(|| text.split(':').map(str::to_lowercase).collect())
}

fn words(text: &str, known: &[&str]) -> Result<Option<Vec<String>>, CommandError> {
    let words = several(text);
    match words.iter().flatten().find(|word| !known.contains(&word.as_str())) {
        Some(wrong) => {
            let text = format!("\"{wrong}\" is none of any, {}.", known.join(", "));
            Err(CommandError::bad_request(text))
        }
        None => Ok(words),
    }
}

/// A pattern without `@` is for JIDs without one.
fn is_like(pattern: &str, jid: &str) -> bool {
    let (pattern, jid): (Vec<char>, Vec<char>) = (pattern.chars().collect(), jid.chars().collect());
    (pattern.contains(&'@') || !jid.contains(&'@')) && matches(&pattern, &jid)
}

/// `*` is any text, `?` any character, `[abc]` one of these, `[!abc]` one of the others.
fn matches(pattern: &[char], text: &[char]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on when the text behind the last star does not fit: one character later.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&'*') {
            star = Some((p, t));
            p += 1;
        } else if let Some(next) = one(pattern, p, text[t]) {
            (p, t) = (next, t + 1);
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            (p, t) = (at + 1, from + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// Where the pattern goes on if its part at `p` fits this character.
fn one(pattern: &[char], p: usize, c: char) -> Option<usize> {
    match pattern.get(p)? {
        '?' => Some(p + 1),
        '[' => {
            let end = p + pattern[p..].iter().position(|c| *c == ']')?;
            let set = &pattern[p + 1..end];
            let is_in = match set.strip_prefix(&['!']) {
                Some(others) => !others.contains(&c),
                None => set.contains(&c),
            };
            is_in.then_some(end + 1)
        }
        other => (*other == c).then_some(p + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use moult_plugin_api::hooks::Subscription;

    fn filter(words: [&str; 5]) -> Result<Filter, CommandError> {
        let [action, subs, asks, users, contacts] = words.map(str::to_owned);
        Filter::read(&FilterArgs { action, subs, asks, users, contacts })
    }

    #[test]
    fn the_example_of_ejabberds_documentation() {
        let filter = filter(["list", "none:from:to", "any", "*@example.org", "*:*@*icq*"]).unwrap();
        assert!(filter.has_user("romeo@example.org") && !filter.has_user("romeo@example.com"));
        let item = |subscription| Item { subscription, ..Item::default() };
        for (contact, subscription, is_meant) in [
            ("icq.example.org", Subscription::None, true),
            ("a@icq.example.org", Subscription::To, true),
            ("a@icq.example.org", Subscription::Both, false),
            ("a@example.org", Subscription::To, false),
        ] {
            assert_eq!(filter.has(contact, &item(subscription)), is_meant, "{contact} {subscription:?}");
        }
        assert!(!filter.deletes);
    }

    #[test]
    fn what_is_pending_is_looked_for() {
        let asked = Item { ask: true, ..Item::default() };
        let wanted = Item { request: Some("<presence/>".into()), ..Item::default() };
        for (asks, expected) in
            [("any", [true, true, true]), ("out", [true, false, false]), ("in:none", [false, true, true])]
        {
            let filter = filter(["delete", "any", asks, "any", "any"]).unwrap();
            let found = [&asked, &wanted, &Item::default()].map(|item| filter.has("a@b", item));
            assert_eq!(found, expected, "{asks}");
        }
    }

    #[test]
    fn characters_and_sets_of_them() {
        for (pattern, jid, fits) in [
            ("a?@b", "ax@b", true),
            ("a?@b", "a@b", false),
            ("[ab]*@b", "bob@b", true),
            ("[!ab]*@b", "bob@b", false),
            ("[!ab]*@b", "rob@b", true),
            ("[ab@b", "[ab@b", false),
            ("*", "b", true),
            ("*", "a@b", false),
        ] {
            assert_eq!(is_like(pattern, jid), fits, "{pattern} {jid}");
        }
    }

    #[test]
    fn words_that_are_none_are_told() {
        for words in [
            ["show", "any", "any", "any", "any"],
            ["list", "some", "any", "any", "any"],
            ["list", "any", "both", "any", "any"],
        ] {
            assert_eq!(filter(words).unwrap_err().code, 400, "{words:?}");
        }
    }
}
