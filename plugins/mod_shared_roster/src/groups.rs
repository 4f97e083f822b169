//! Groups, their members, and who sees whom because of them. Pure.

use moult_plugin_api::hooks::Subscription;
use moult_plugin_api::serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// What it is called in rosters; its id where empty.
    pub label: String,
    /// For administrators.
    pub description: String,
    /// The groups whose members its own members see.
    pub displayed: BTreeSet<String>,
    /// Bare JIDs.
    pub members: BTreeSet<String>,
    /// `@all@`: every account of the vhost is a member.
    pub all: bool,
    /// `@online@`: everybody is who has a session.
    pub online: bool,
}

/// All groups of a vhost, by id.
pub type Groups = BTreeMap<String, Group>;

/// The accounts of the vhost, by bare JID, as far as groups ask for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct People {
    /// All.
    pub all: Arc<BTreeSet<String>>,
    /// Those with sessions.
    pub online: BTreeSet<String>,
}

/// A contact as the roster module is told it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(crate = "moult_plugin_api::serde")]
pub struct SharedItem {
    /// The bare JID.
    pub jid: String,
    /// What the groups are called in which it is seen.
    pub groups: Vec<String>,
    /// Who sees whom.
    pub subscription: Subscription,
}

impl Group {
    /// Whether this account is a member.
    pub fn has(&self, account: &str, people: &People) -> bool {
        self.members.contains(account)
            || self.all && people.all.contains(account)
            || self.online && people.online.contains(account)
    }

    fn all_members<'a>(&'a self, people: &'a People) -> impl Iterator<Item = &'a String> {
        let all = self.all.then_some(&*people.all).into_iter().flatten();
        let online = self.online.then_some(&people.online).into_iter().flatten();
        self.members.iter().chain(all).chain(online)
    }
}

/// The groups of which an account sees the members.
fn seen_by<'a>(groups: &'a Groups, account: &str, people: &People) -> BTreeSet<&'a String> {
    let own = groups.values().filter(|group| group.has(account, people));
    own.flat_map(|group| &group.displayed).filter(|id| groups.contains_key(*id)).collect()
}

/// What one account's roster has of one contact because of groups.
pub fn item(groups: &Groups, account: &str, contact: &str, people: &People) -> Option<SharedItem> {
    if account == contact {
        return None;
    }
    let labels = |viewer: &str, seen: &str| {
        let ids = seen_by(groups, viewer, people).into_iter();
        let there = ids.filter(|id| groups[*id].has(seen, people));
        there.map(|id| label(id, &groups[id])).collect::<BTreeSet<String>>()
    };
    let (there, back) = (labels(account, contact), labels(contact, account));
    let subscription = Subscription::of(!there.is_empty(), !back.is_empty());
    let groups = there.into_iter().collect();
    (subscription != Subscription::None).then(|| SharedItem { jid: contact.to_owned(), groups, subscription })
}

/// What one account's roster has because of groups, by JID; no more than `most`.
pub fn items(groups: &Groups, account: &str, people: &People, most: usize) -> Vec<SharedItem> {
    let mut all: BTreeMap<&String, (BTreeSet<String>, bool)> = BTreeMap::new();
    for id in seen_by(groups, account, people) {
        for contact in groups[id].all_members(people) {
            all.entry(contact).or_default().0.insert(label(id, &groups[id]));
        }
    }
    let mine: BTreeSet<&String> =
        groups.iter().filter(|(_, group)| group.has(account, people)).map(|(id, _)| id).collect();
    for group in groups.values().filter(|group| group.displayed.iter().any(|id| mine.contains(id))) {
        for contact in group.all_members(people) {
            all.entry(contact).or_default().1 = true;
        }
    }
    let others = all.into_iter().filter(|(contact, _)| *contact != account);
    let items = others.map(|(contact, (there, back))| SharedItem {
        jid: contact.clone(),
        subscription: Subscription::of(!there.is_empty(), back),
        groups: there.into_iter().collect(),
    });
    items.take(most).collect()
}

fn label(id: &str, group: &Group) -> String {
    if group.label.is_empty() { id.to_owned() } else { group.label.clone() }
}

/// The contacts that differ between two such lists.
pub fn difference(before: &[SharedItem], after: &[SharedItem]) -> Vec<String> {
    let of = |items: &[SharedItem]| items.iter().map(|item| (item.jid.clone(), item.clone())).collect();
    let (before, after): (BTreeMap<_, _>, BTreeMap<_, _>) = (of(before), of(after));
    let all: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    all.into_iter().filter(|jid| before.get(*jid) != after.get(*jid)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(texts: &[&str]) -> BTreeSet<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn group(displayed: &[&str], members: &[&str]) -> Group {
        Group { displayed: set(displayed), members: set(members), ..Group::default() }
    }

    fn groups(all: Vec<(&str, Group)>) -> Groups {
        all.into_iter().map(|(id, group)| (id.to_owned(), group)).collect()
    }

    fn shown(groups: &Groups, account: &str, people: &People) -> Vec<String> {
        let shown = items(groups, account, people, 100).into_iter();
        shown
            .map(|item| format!("{} {} {}", item.jid, item.subscription.name(), item.groups.join(",")))
            .collect()
    }

    #[test]
    fn members_of_a_group_that_displays_itself_see_each_other() {
        let groups = groups(vec![("team", group(&["team"], &["a", "b", "c"]))]);
        let nobody = People::default();
        assert_eq!(shown(&groups, "a", &nobody), ["b both team", "c both team"]);
        assert_eq!(shown(&groups, "d", &nobody), Vec::<String>::new());
    }

    #[test]
    fn who_is_displayed_to_others_is_seen_and_need_not_see() {
        let boss = Group { label: "The boss".into(), ..group(&[], &["boss"]) };
        let groups = groups(vec![("boss", boss), ("team", group(&["boss", "team", "none"], &["a", "b"]))]);
        let nobody = People::default();
        assert_eq!(shown(&groups, "a", &nobody), ["b both team", "boss to The boss"]);
        assert_eq!(shown(&groups, "boss", &nobody), ["a from ", "b from "]);
    }

    #[test]
    fn all_and_those_online_are_members_without_being_named() {
        let everybody = Group { all: true, ..group(&[], &[]) };
        let here = Group { online: true, ..group(&["all", "here"], &[]) };
        let groups = groups(vec![("all", everybody), ("here", here)]);
        let people = People { all: set(&["a", "b", "c"]).into(), online: set(&["a", "b"]) };
        assert_eq!(shown(&groups, "a", &people), ["b both all,here", "c to all"]);
        assert_eq!(shown(&groups, "c", &people), ["a from ", "b from "]);
        assert_eq!(items(&groups, "a", &people, 1).len(), 1);
    }

    #[test]
    fn one_contact_and_all_contacts_say_the_same() {
        let groups = groups(vec![
            ("one", group(&["two"], &["a", "b"])),
            ("two", Group { all: true, ..group(&["one"], &["d"]) }),
        ]);
        let people = People { all: set(&["a", "b", "c"]).into(), online: set(&[]) };
        for account in ["a", "b", "c", "d", "e"] {
            let all = items(&groups, account, &people, 100);
            let single: Vec<_> =
                ["a", "b", "c", "d", "e"].iter().filter_map(|c| item(&groups, account, c, &people)).collect();
            assert_eq!(all, single, "{account}");
        }
    }

    #[test]
    fn a_difference_names_each_contact_once() {
        let item = |jid: &str, group: &str| SharedItem {
            jid: jid.into(),
            groups: vec![group.into()],
            subscription: Subscription::Both,
        };
        let before = [item("a", "x"), item("b", "x"), item("c", "x")];
        let after = [item("b", "y"), item("c", "x"), item("d", "x")];
        assert_eq!(difference(&before, &after), ["a", "b", "d"]);
    }
}
