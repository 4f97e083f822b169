//! Users who know each other: accounts with rosters as a file of XEP-0227, and presence that goes to everybody's contacts.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::engine::{Id, Outbox, user_name};
use crate::error::BenchError;
use crate::target::{DOMAIN, PASSWORD};

/// Who has whom in the roster: the nearest ones on a circle, both ways.
pub fn contacts(user: usize, users: usize, each: usize) -> BTreeSet<usize> {
    let half = each.div_ceil(2).min(users / 2);
    (1..=half)
        .flat_map(|step| [(user + step) % users, (user + users - step) % users])
        .filter(|other| *other != user)
        .collect()
}

/// Accounts with such rosters, and `more` without any.
pub fn write_accounts(file: &Path, users: usize, each: usize, more: usize) -> Result<(), BenchError> {
    let mut text = format!("<server-data xmlns='urn:xmpp:pie:0'><host jid='{DOMAIN}'>\n");
    for user in 0..users + more {
        let name = user_name(user);
        let _ = write!(text, "<user name='{name}' password='{PASSWORD}'><query xmlns='jabber:iq:roster'>");
        let others = if user < users { contacts(user, users, each) } else { BTreeSet::new() };
        for other in others {
            let other = user_name(other);
            let _ = write!(
                text,
                "<item jid='{other}@{DOMAIN}' name='{other}' subscription='both'><group>circle</group></item>"
            );
        }
        text += "</query></user>\n";
    }
    text += "</host></server-data>\n";
    Ok(fs::write(file, text)?)
}

/// Presence that was told to all contacts, each of whom must hear of it once.
#[derive(Default)]
pub struct Circles {
    users: usize,
    each: usize,
    by_id: HashMap<Id, usize>,
    /// By number: who has not heard yet, and who should.
    waiting: Vec<BTreeSet<usize>>,
    senders: Vec<usize>,
    missing: usize,
}

/// What came of a presence.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// By somebody who was meant, for the first time.
    First,
    /// Again.
    Again,
    /// By somebody who was not meant.
    Astray,
}

impl Circles {
    /// Of these sessions, with so many contacts each.
    pub fn new(ids: &[Id], each: usize) -> Circles {
        let by_id = ids.iter().enumerate().map(|(user, id)| (*id, user)).collect();
        Circles { users: ids.len(), each, by_id, ..Circles::default() }
    }

    /// Tells all contacts of this session something, and the session itself hears it, too (RFC 6121 4.2.2).
    pub fn tell(&mut self, user: usize, id: Id, outbox: &mut Outbox) {
        let number = self.waiting.len();
        let presence = format!("<presence id='B{number}'><status>told {number}</status></presence>");
        outbox.send(id, presence.as_bytes());
        let mut waiting = contacts(user, self.users, self.each);
        waiting.insert(user);
        self.missing += waiting.len();
        self.waiting.push(waiting);
        self.senders.push(user);
    }

    /// Somebody has heard of one; `None` for a stanza of another kind.
    pub fn heard(&mut self, from: Id, stanza: &[u8]) -> Option<Heard> {
        let number = number_of(stanza).filter(|number| *number < self.waiting.len())?;
        let user = *self.by_id.get(&from)?;
        if self.waiting[number].remove(&user) {
            self.missing -= 1;
            return Some(Heard::First);
        }
        let sender = self.senders[number];
        let was_meant = user == sender || contacts(sender, self.users, self.each).contains(&user);
        Some(if was_meant { Heard::Again } else { Heard::Astray })
    }

    /// How many were told.
    pub fn told(&self) -> usize {
        self.waiting.len()
    }

    /// How many have not heard what they were meant to.
    pub fn missing(&self) -> usize {
        self.missing
    }
}

fn number_of(stanza: &[u8]) -> Option<usize> {
    if !stanza.starts_with(b"<presence") {
        return None;
    }
    let digits = &stanza[memchr::memmem::find(stanza, b" id='B")? + 6..];
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contacts_have_each_other_and_nobody_has_oneself() {
        for (users, each) in [(10, 4), (3, 50), (2, 1), (500, 50)] {
            for user in 0..users {
                let contacts = contacts(user, users, each);
                assert!(!contacts.contains(&user) && contacts.len() <= each.max(2));
                assert!(contacts.iter().all(|other| super::contacts(*other, users, each).contains(&user)));
            }
        }
        assert_eq!(contacts(0, 500, 50).len(), 50);
    }

    #[test]
    fn who_hears_twice_or_is_not_meant_is_noticed() {
        let mut circles = Circles::new(&[7, 8, 9, 10], 2);
        let mut outbox = Outbox::default();
        outbox.grow(11);
        circles.tell(0, 7, &mut outbox);
        let presence = b"<presence from='u0@localhost/bench' id='B0' to='x'/>";
        assert_eq!(circles.missing(), 3);
        assert_eq!(circles.heard(8, presence), Some(Heard::First));
        assert_eq!(circles.heard(8, presence), Some(Heard::Again));
        assert_eq!(circles.heard(9, presence), Some(Heard::Astray));
        assert_eq!(circles.heard(8, b"<presence id='L0'/>"), None);
        assert_eq!(circles.missing(), 2);
    }
}
