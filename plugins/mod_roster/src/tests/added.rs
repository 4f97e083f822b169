//! Contacts that another module adds.

use super::*;
use moult_plugin_api::hooks::ModulesChanged;

const BOTH: &str = "both";

/// The other module answers so for everybody, or is not there.
fn source(host: &FakeHost, items: Option<&[(&str, &str)]>) {
    let items: Option<Vec<Value>> = items.map(|items| {
        let item = |(jid, subscription): &(&str, &str)| {
            json!({"jid": jid, "name": "Team mate", "groups": ["Team"], "subscription": subscription})
        };
        items.iter().map(item).collect()
    });
    host.answer_requests(move |module, method, args| {
        assert_eq!((module, method), ("mod_shared_roster", "items"));
        match &items {
            Some(items) if args["account"] == ME && !items.is_empty() => {
                Ok(json!({"version": items.len().to_string(), "items": items}))
            }
            Some(_) => Ok(json!({"version": "", "items": []})),
            None => Err(("item-not-found".into(), String::new())),
        }
    });
}

fn contacts(module: &Instance) -> Vec<Contact> {
    let collected = module.hook(name::CONTACTS, ME, "", &json!({}), "{}");
    let HookResult::Continued(answer) = collected else { panic!("{collected:?}") };
    serde_json::from_slice::<ContactsAnswer>(&answer).unwrap().contacts
}

#[test]
fn they_are_shown_and_share_presence_without_being_stored() {
    let (host, module) = server("{}");
    source(&host, Some(&[(YOU, BOTH), ("watcher@x", "from")]));
    let shown =
        "<item jid='juliet@far.example' name='Team mate' subscription='both'><group>Team</group></item>";
    assert_eq!(items(&module), [shown]);
    let all = contacts(&module);
    assert_eq!(all.len(), 2);
    assert!(
        all.iter().any(|contact| contact.jid == "watcher@x" && contact.subscription == Subscription::From)
    );
    assert!(host.map_entries("rosters", ME).is_empty());
    source(&host, None);
    assert_eq!((items(&module), contacts(&module)), (Vec::<String>::new(), Vec::new()));
}

#[test]
fn a_client_names_them_and_cannot_remove_them() {
    let (host, module) = server("{}");
    source(&host, Some(&[(YOU, BOTH)]));
    let set = |item: &str| set(&module, item);
    assert_eq!(condition(set(&format!("<item jid='{YOU}' subscription='remove'/>"))), Condition::NotAllowed);
    // What only repeats what is there makes it no contact of the user's own.
    set(&format!("<item jid='{YOU}' name='Team mate'><group>Team</group></item>")).unwrap();
    assert!(host.map_entries("rosters", ME).is_empty());
    set(&format!("<item jid='{YOU}' name='Julie'><group>Team</group><group>Mine</group></item>")).unwrap();
    assert_eq!(seen(&host).pushes, [BOTH]);
    let shown = "<item jid='juliet@far.example' name='Julie' subscription='both'><group>Mine</group><group>Team</group></item>";
    assert_eq!(items(&module), [shown]);
    source(&host, None);
    let left = "<item jid='juliet@far.example' name='Julie' subscription='none'><group>Mine</group></item>";
    assert_eq!(items(&module), [left]);
}

#[test]
fn their_subscriptions_are_what_the_group_says() {
    let (host, module) = server("{}");
    source(&host, Some(&[(YOU, BOTH)]));
    outbound(&module, "subscribe");
    assert_eq!(seen(&host), Seen::default(), "the account sees them already");
    inbound(&module, "subscribe");
    assert_eq!(seen(&host), expect(&[], &[], &["subscribed"], &[]));
    outbound(&module, "unsubscribed");
    inbound(&module, "unsubscribe");
    assert_eq!(seen(&host), Seen::default());
    // What they agree on themselves is theirs and outlives the group, and is no change for presence.
    source(&host, Some(&[(YOU, "to")]));
    inbound(&module, "subscribe");
    outbound(&module, "subscribed");
    assert_eq!(seen(&host), expect(&[BOTH], &["subscribe"], &["subscribed"], &[Subscription::Both]));
    source(&host, Some(&[(YOU, BOTH)]));
    inbound(&module, "unsubscribe");
    assert_eq!(seen(&host), expect(&[BOTH], &["unsubscribe"], &[], &[]));
}

#[test]
fn changes_are_pushed_and_told_to_the_server() {
    let (host, module) = server("{}");
    source(&host, Some(&[(YOU, BOTH), ("a@x", "to")]));
    let changed = |contacts: &[&str]| {
        module.request("shared_changed", &json!({"account": ME, "contacts": contacts})).unwrap();
    };
    changed(&[YOU, "a@x", "gone@x"]);
    let pushed = host.take_delivered();
    let queries: Vec<_> = pushed.iter().map(|delivery| delivery.stanza.subtag("query").unwrap()).collect();
    let versions: Vec<_> = queries.iter().map(|query| query.attr_s("ver")).collect();
    assert_eq!(versions, ["0-2.0", "0-2.1", "0-2"]);
    let subscriptions = queries.iter().map(|query| query.subtag("item").unwrap().attr_s("subscription"));
    assert_eq!(subscriptions.collect::<Vec<_>>(), [BOTH, "to", "remove"]);
    let told: Vec<_> = host.take_contact_changes().into_iter().map(|change| change.subscription).collect();
    assert_eq!(told, [Subscription::Both, Subscription::To, Subscription::None]);
    assert_eq!(get(&module, " ver='0-2'"), None);
    assert!(get(&module, " ver='0-2.1'").is_some(), "a client that saw only a part gets all");
    assert_eq!(module.request("shared_changed", &json!({"account": "@"})).unwrap_err().code, 400);
}

#[test]
fn a_module_that_comes_or_goes_is_noticed() {
    let (host, module) = server("{}");
    let changed = || {
        let args = serde_json::to_value(ModulesChanged {}).unwrap();
        module.hook(name::MODULES_CHANGED, "example.org", "", &args, "");
        seen(&host)
    };
    source(&host, None);
    assert_eq!(items(&module).len(), 0);
    assert_eq!(module.export_state(), Some((1, vec![0])), "the next generation knows that it was not there");
    source(&host, Some(&[(YOU, BOTH)]));
    assert_eq!(changed(), expect(&[BOTH], &[], &[], &[Subscription::Both]));
    assert_eq!(changed(), Seen::default(), "it is there still");
    source(&host, None);
    host.set_contacts(ME, &[(YOU, Subscription::Both)]);
    assert_eq!(changed(), expect(&["remove"], &[], &[], &[Subscription::None]));
    // It may ask for that itself.
    source(&host, Some(&[(YOU, "to")]));
    module.request("shared_compare", &json!({})).unwrap();
    assert_eq!(seen(&host), expect(&["to"], &[], &[], &[Subscription::To]));
}

#[test]
fn a_module_that_cannot_answer_takes_no_roster_away() {
    let (host, module) = server("{}");
    set(&module, "<item jid='a@x'/>").unwrap();
    host.answer_requests(|_, _, _| Err(("remote-server-timeout".into(), "it hangs".into())));
    assert_eq!(items(&module), ["<item jid='a@x' subscription='none'/>"]);
    assert!(host.has_logged("shared contacts are left out"));
    host.answer_requests(|_, _, _| Ok(json!({"items": 7})));
    assert_eq!(items(&module).len(), 1);
}
