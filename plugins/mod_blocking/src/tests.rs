use super::*;
use moult_plugin_api::abi::v1::registration::HOOK;
use moult_plugin_api::hooks::name;
use moult_plugin_api::serde_json::json;
use moult_plugin_api::testing::{FakeHost, HookResult, Instance, IqResult};

const ALICE: &str = "alice@example.org/x";
const EVE: &str = "eve@example.org/x";

fn server(options: &str) -> (FakeHost, Instance) {
    let host = FakeHost::new("example.org");
    let module = host.start::<Blocking>(options);
    (host, module)
}

fn items(jids: &[&str]) -> String {
    jids.iter().map(|jid| format!("<item jid='{jid}'/>")).collect()
}

fn set(module: &Instance, from: &str, action: &str, jids: &[&str]) -> IqResult {
    module.iq_set(from, "alice@example.org", &format!("<{action} xmlns='{NS}'>{}</{action}>", items(jids)))
}

fn listed(module: &Instance) -> Vec<String> {
    let list =
        module.iq_get(ALICE, "alice@example.org", &format!("<blocklist xmlns='{NS}'/>")).unwrap().unwrap();
    list.elements().map(|item| item.attr_s("jid").to_owned()).collect()
}

fn inbound(module: &Instance, from: &str, to: &str, stanza: &str) -> HookResult {
    module.hook(name::FILTER_PACKET, from, to, &json!({}), stanza)
}

fn outbound(module: &Instance, to: &str, stanza: &str) -> HookResult {
    module.hook(name::USER_SEND_PACKET, ALICE, to, &json!({}), stanza)
}

fn passes(result: HookResult) -> bool {
    matches!(result, HookResult::Continued(_))
}

fn stopped_for(result: HookResult) -> String {
    match result {
        HookResult::Stopped { reason, body: None } => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn addresses_are_blocked_listed_and_unblocked() {
    let (_host, module) = server("{}");
    assert_eq!(listed(&module), [""; 0]);
    assert_eq!(
        set(&module, ALICE, "block", &["Eve@example.org", "spam.example", "eve@example.org"]),
        Ok(None)
    );
    assert_eq!(listed(&module), ["eve@example.org", "spam.example"]);
    assert_eq!(set(&module, ALICE, "unblock", &["spam.example", "never@blocked"]), Ok(None));
    assert_eq!(listed(&module), ["eve@example.org"]);
    assert_eq!(set(&module, ALICE, "unblock", &[]), Ok(None));
    assert_eq!(listed(&module), [""; 0]);
}

#[test]
fn stanzas_pass_unseen_while_nobody_blocks_anybody() {
    let (host, module) = server("{}");
    let lasting = [name::SESSION_CLOSED, name::USER_REMOVED, name::EXPORT_USER, name::IMPORT_USER];
    let stanza_hooks =
        || host.registered(HOOK).iter().filter(|name| !lasting.contains(&name.as_str())).count();
    assert_eq!(stanza_hooks(), 0);
    set(&module, ALICE, "block", &["eve@example.org"]).unwrap();
    set(&module, ALICE, "block", &["mallory@example.org"]).unwrap();
    assert_eq!(stanza_hooks(), 3);
    set(&module, ALICE, "unblock", &[]).unwrap();
    assert_eq!(stanza_hooks(), 0);
}

#[test]
fn what_a_blocked_address_sends_does_not_arrive() {
    let (host, module) = server("{}");
    set(&module, ALICE, "block", &["eve@example.org"]).unwrap();
    let alice = "alice@example.org";
    assert_eq!(stopped_for(inbound(&module, EVE, alice, "<message id='1' type='chat'/>")), "answered");
    let error = &host.take_routed()[0];
    assert_eq!((error.from.as_str(), error.to.as_str()), (alice, EVE));
    let element = error.element();
    assert_eq!((element.attr_s("type"), element.attr_s("id")), ("error", "1"));
    assert!(element.subtag("error").unwrap().subtag("service-unavailable").is_some());
    for silent in ["<message type='headline'/>", "<message type='error'/>"] {
        assert_eq!(stopped_for(inbound(&module, EVE, alice, silent)), "answered");
    }
    assert_eq!(stopped_for(inbound(&module, EVE, alice, "<presence/>")), "service-unavailable");
    assert_eq!(stopped_for(inbound(&module, EVE, ALICE, "<iq type='get' id='1'/>")), "service-unavailable");
    assert_eq!(host.routed(), []);
    assert!(passes(inbound(&module, "bob@example.org/x", alice, "<message/>")));
    assert!(passes(inbound(&module, ALICE, "bob@example.org", "<message/>")));
    assert_eq!(host.counter("blocked"), 3);
}

#[test]
fn the_blockers_presence_is_not_told_to_whom_it_blocks() {
    let (_host, module) = server("{}");
    set(&module, ALICE, "block", &["eve@example.org"]).unwrap();
    assert!(!passes(inbound(&module, ALICE, "eve@example.org", "<presence/>")));
    assert!(passes(inbound(&module, ALICE, "eve@example.org", "<presence type='unavailable'/>")));
    assert!(passes(inbound(&module, ALICE, "bob@example.org", "<presence/>")));
}

#[test]
fn a_blocked_contact_sees_the_blocker_leave_and_come_back() {
    use moult_plugin_api::hooks::ContactsAnswer;
    use moult_plugin_api::serde_json::from_slice;
    let (host, module) = server("{}");
    let contacts = [("eve@example.org", Subscription::Both), ("bob@example.org", Subscription::From)];
    host.set_contacts("alice@example.org", &contacts);
    let changes = || -> Vec<_> {
        let changes = host.take_contact_changes().into_iter();
        changes.map(|change| (change.contact, change.subscription)).collect()
    };
    set(&module, ALICE, "block", &["eve@example.org", "stranger@example.org"]).unwrap();
    assert_eq!(changes(), [("eve@example.org".to_owned(), Subscription::To)]);
    // Whenever the server asks for contacts anew, the blocked one does not see the account.
    let known = json!({"contacts": [{"jid": "eve@example.org", "subscription": "both"}, {"jid": "bob@example.org", "subscription": "from"}]});
    let HookResult::Continued(told) =
        module.hook(name::CONTACTS, "alice@example.org", "", &json!({}), &known.to_string())
    else {
        panic!()
    };
    let told: ContactsAnswer = from_slice(&told).unwrap();
    assert_eq!(
        told.contacts.iter().map(|c| c.subscription).collect::<Vec<_>>(),
        [Subscription::To, Subscription::From]
    );
    let (schema, state) = module.export_state().unwrap();
    module.import_state(schema, &state).unwrap();
    set(&module, ALICE, "unblock", &["stranger@example.org"]).unwrap();
    assert_eq!(changes(), []);
    set(&module, ALICE, "unblock", &[]).unwrap();
    assert_eq!(changes(), [("eve@example.org".to_owned(), Subscription::Both)]);
}

#[test]
fn what_goes_to_a_blocked_address_comes_back_and_says_why() {
    let (host, module) = server("{}");
    host.add_session(ALICE, 0);
    set(&module, ALICE, "block", &["eve@example.org"]).unwrap();
    assert_eq!(
        stopped_for(outbound(&module, "eve@example.org/y", "<message id='7'><body>x</body></message>")),
        "answered"
    );
    host.run();
    let sent = host.take_delivered().remove(0);
    let element = sent.stanza;
    assert_eq!((sent.session.as_str(), element.attr_s("from")), (ALICE, "eve@example.org/y"));
    assert!(element.subtag("body").is_none() && element.attr_s("id") == "7");
    let error = element.subtag("error").unwrap();
    assert!(error.attr_s("type") == "cancel" && error.subtag("not-acceptable").is_some());
    assert!(error.subtag_ns("blocked", "urn:xmpp:blocking:errors").is_some());
    assert!(!passes(outbound(&module, EVE, "<iq type='result' id='1'/>")));
    host.run();
    assert!(host.take_routed().is_empty() && host.take_delivered().is_empty());
    for passed in ["<presence type='unavailable'/>", "<presence type='unsubscribe'/>"] {
        assert!(passes(outbound(&module, "eve@example.org", passed)));
    }
    assert!(passes(outbound(&module, "bob@example.org", "<message/>")));
    assert!(passes(outbound(&module, "", "<presence/>")));
}

#[test]
fn clients_that_asked_for_the_list_are_told_of_changes_by_the_account() {
    use std::sync::{Arc, Mutex};
    let (host, module) = server("{}");
    let pushed = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&pushed);
    host.answer_iqs(move |iq| {
        let payload = iq.elements().next().unwrap();
        let item = payload.subtag("item").map_or("", |item| item.attr_s("jid")).to_owned();
        assert_eq!(iq.attr_s("from"), "alice@example.org");
        seen.lock().unwrap().push((iq.attr_s("to").to_owned(), payload.name().to_owned(), item));
        Some(Element::new("iq").with_attr("type", "result"))
    });
    listed(&module);
    set(&module, "alice@example.org/other", "block", &["eve@example.org"]).unwrap();
    set(&module, ALICE, "unblock", &[]).unwrap();
    host.run();
    let expected = [(ALICE, "block", "eve@example.org"), (ALICE, "unblock", "")];
    assert_eq!(
        *pushed.lock().unwrap(),
        expected.map(|(to, name, item)| (to.into(), name.into(), item.into()))
    );
    module.hook(name::SESSION_CLOSED, ALICE, "", &json!({}), "");
    set(&module, ALICE, "block", &["eve@example.org"]).unwrap();
    host.run();
    assert_eq!(pushed.lock().unwrap().len(), 2);
}

#[test]
fn bad_requests_are_refused_with_the_conditions_of_the_xep() {
    let (_host, module) = server(r#"{"max_items": 2}"#);
    let condition = |result: IqResult| result.unwrap_err().condition;
    assert_eq!(condition(set(&module, EVE, "block", &["x@y"])), Condition::Forbidden);
    assert_eq!(condition(set(&module, ALICE, "block", &[])), Condition::BadRequest);
    assert_eq!(condition(set(&module, ALICE, "block", &["a@b@c"])), Condition::JidMalformed);
    assert_eq!(condition(set(&module, ALICE, "blocklist", &[])), Condition::BadRequest);
    assert_eq!(condition(set(&module, ALICE, "block", &["a", "b", "c"])), Condition::ResourceConstraint);
    let odd = format!("<block xmlns='{NS}'><other jid='a@b'/></block>");
    assert_eq!(condition(module.iq_set(ALICE, "alice@example.org", &odd)), Condition::BadRequest);
    assert_eq!(listed(&module), [""; 0]);
}

#[test]
fn lists_hold_over_a_swap_and_a_restart_and_go_with_the_account() {
    let (host, old) = server("{}");
    listed(&old);
    set(&old, ALICE, "block", &["eve@example.org"]).unwrap();
    let (schema, state) = old.export_state().unwrap();
    let new = host.start_swap::<Blocking>("{}");
    new.import_state(schema, &state).unwrap();
    assert!(new.import_state(2, &state).is_err());
    old.stop(StopReason::Swap);
    assert!(!passes(inbound(&new, EVE, ALICE, "<message/>")));
    drop(new);
    let restarted = host.start::<Blocking>("{}");
    assert!(!passes(inbound(&restarted, EVE, ALICE, "<message/>")));
    restarted.hook(name::USER_REMOVED, "alice@example.org", "", &json!({}), "");
    assert!(passes(inbound(&restarted, EVE, ALICE, "<message/>")));
    assert_eq!(host.stored("lists", "alice@example.org"), None);
}

#[test]
fn reports_are_handed_over_and_change_nothing_of_the_blocking() {
    let (host, module) = server("{}");
    let reports = std::sync::Arc::new(Mutex::new(Vec::new()));
    let seen = std::sync::Arc::clone(&reports);
    host.answer_requests(move |module, method, args| {
        assert_eq!((module, method), ("mod_report", "report"));
        seen.lock().unwrap().push(args.clone());
        Err(("item-not-found".to_owned(), "there is no such module".to_owned()))
    });
    let payload = "<block xmlns='urn:xmpp:blocking'><item jid='spam.example'/><item jid='eve@example.org'>\
                   <report xmlns='urn:xmpp:reporting:1' reason='urn:xmpp:reporting:spam'/><other xmlns='x'/></item></block>";
    assert_eq!(module.iq_set(ALICE, "alice@example.org", payload), Ok(None));
    host.run();
    assert_eq!(listed(&module), ["eve@example.org", "spam.example"]);
    let reports = reports.lock().unwrap();
    assert_eq!(reports.len(), 1);
    assert_eq!(
        (&reports[0]["reporter"], &reports[0]["jid"]),
        (&json!("alice@example.org"), &json!("eve@example.org"))
    );
    assert!(reports[0]["report"].as_str().is_some_and(|report| report.contains("urn:xmpp:reporting:spam")));
}
