use super::*;
use moult_plugin_api::hooks::{Contact, name};
use moult_plugin_api::sdk::ModuleOptions;
use moult_plugin_api::serde_json::{self, Value, json};
use moult_plugin_api::testing::{FakeHost, HookResult, Instance, IqResult};

mod added;
mod administering;
mod versions;

const ME: &str = "romeo@example.org";
const HERE: &str = "romeo@example.org/orchard";
const YOU: &str = "juliet@far.example";

/// All defaults.
pub(crate) fn options() -> Options {
    Options::read("{}").expect("the defaults are lawful")
}

fn server(options: &str) -> (FakeHost, Instance) {
    let host = FakeHost::new("example.org");
    host.add_account(ME, "secret");
    host.add_session(HERE, 0);
    host.set_interested(HERE);
    let module = host.start::<Roster>(options);
    (host, module)
}

fn set(module: &Instance, item: &str) -> IqResult {
    module.iq_set(HERE, ME, &format!("<query xmlns='jabber:iq:roster'>{item}</query>"))
}

fn get(module: &Instance, ver: &str) -> Option<Element> {
    module.iq_get(HERE, ME, &format!("<query xmlns='jabber:iq:roster'{ver}/>")).unwrap()
}

fn items(module: &Instance) -> Vec<String> {
    get(module, "").unwrap().elements().map(Element::to_string).collect()
}

fn condition(result: IqResult) -> Condition {
    result.expect_err("an error").condition
}

fn outbound(module: &Instance, kind: &str) {
    packet(module, "out", ME, YOU, kind);
}

fn inbound(module: &Instance, kind: &str) {
    packet(module, "in", YOU, ME, kind);
}

fn packet(module: &Instance, direction: &str, from: &str, to: &str, kind: &str) {
    let stanza = format!("<presence from='{from}' to='{to}' type='{kind}'/>");
    let args = json!({"direction": direction, "kind": kind});
    let result = module.hook(name::SUBSCRIPTION_PACKET, from, to, &args, &stanza);
    assert!(matches!(result, HookResult::Stopped { .. }), "{result:?}");
}

fn initial_presence(module: &Instance) {
    module.hook(name::PRESENCE_CHANGED, HERE, "", &json!({"available": true}), "<presence/>");
}

/// What happened, in order as far as one kind of thing goes: `push` items, deliveries, stanzas sent, changes told.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    pushes: Vec<String>,
    delivered: Vec<String>,
    sent: Vec<String>,
    told: Vec<Subscription>,
}

fn seen(host: &FakeHost) -> Seen {
    let mut seen = Seen::default();
    for delivery in host.take_delivered() {
        assert_eq!(delivery.session, HERE);
        if delivery.stanza.name() == "iq" {
            let query = delivery.stanza.subtag("query").unwrap();
            let item = query.subtag("item").unwrap();
            let marks = ["ask", "approved"].map(|mark| item.attr(mark).map_or("", |_| mark));
            let text = format!("{} {}", item.attr_s("subscription"), marks.concat());
            seen.pushes.push(text.trim_end().to_owned());
        } else {
            seen.delivered.push(delivery.stanza.attr_s("type").to_owned());
        }
    }
    for routed in host.take_routed() {
        assert_eq!((routed.from.as_str(), routed.to.as_str()), (ME, YOU));
        seen.sent.push(routed.element().attr_s("type").to_owned());
    }
    seen.told = host.take_contact_changes().into_iter().map(|change| change.subscription).collect();
    seen
}

fn expect(pushes: &[&str], delivered: &[&str], sent: &[&str], told: &[Subscription]) -> Seen {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    Seen { pushes: texts(pushes), delivered: texts(delivered), sent: texts(sent), told: told.to_vec() }
}

#[test]
fn a_contact_is_added_changed_and_removed_with_a_push_each() {
    let (host, module) = server("{}");
    assert_eq!(items(&module), Vec::<String>::new());
    assert_eq!(
        set(&module, "<item jid='Juliet@far.example' name='Juliet'><group>Friends</group></item>"),
        Ok(None)
    );
    assert_eq!(
        items(&module),
        ["<item jid='juliet@far.example' name='Juliet' subscription='none'><group>Friends</group></item>"]
    );
    assert_eq!(seen(&host), expect(&["none"], &[], &[], &[]));
    assert_eq!(set(&module, "<item jid='juliet@far.example'/>"), Ok(None));
    assert_eq!(items(&module), ["<item jid='juliet@far.example' subscription='none'/>"]);
    assert_eq!(set(&module, "<item jid='juliet@far.example' subscription='remove'/>"), Ok(None));
    assert_eq!(seen(&host), expect(&["none", "remove"], &[], &[], &[Subscription::None]));
    assert_eq!(items(&module), Vec::<String>::new());
    let again = set(&module, "<item jid='juliet@far.example' subscription='remove'/>");
    assert_eq!(condition(again), Condition::ItemNotFound);
}

#[test]
fn a_roster_is_its_owners_alone_and_bounded() {
    let (_host, module) = server(r#"{"max_items": 1}"#);
    for from in ["juliet@example.org/x", "romeo@far.example/x"] {
        let query = "<query xmlns='jabber:iq:roster'/>";
        assert_eq!(condition(module.iq_get(from, ME, query)), Condition::Forbidden);
        let query = "<query xmlns='jabber:iq:roster'><item jid='a@x'/></query>";
        assert_eq!(condition(module.iq_set(from, ME, query)), Condition::Forbidden);
    }
    assert_eq!(set(&module, "<item jid='a@x'/>"), Ok(None));
    assert_eq!(condition(set(&module, "<item jid='b@x'/>")), Condition::ResourceConstraint);
    assert_eq!(set(&module, "<item jid='a@x' name='A'/>"), Ok(None));
    assert_eq!(
        condition(module.iq_get(HERE, ME, "<other xmlns='jabber:iq:roster'/>")),
        Condition::BadRequest
    );
}

#[test]
fn a_subscription_is_asked_for_and_granted() {
    let (host, module) = server("{}");
    outbound(&module, "subscribe");
    assert_eq!(seen(&host), expect(&["none ask"], &[], &["subscribe"], &[]));
    inbound(&module, "subscribed");
    assert_eq!(seen(&host), expect(&["to"], &["subscribed"], &[], &[Subscription::To]));
    inbound(&module, "subscribed");
    assert_eq!(seen(&host), Seen::default(), "nobody has asked");
    inbound(&module, "unsubscribed");
    assert_eq!(seen(&host), expect(&["none"], &["unsubscribed"], &[], &[Subscription::None]));
    outbound(&module, "unsubscribe");
    assert_eq!(seen(&host), expect(&[], &[], &["unsubscribe"], &[]));
}

#[test]
fn a_request_waits_unlisted_until_it_is_answered() {
    let (host, module) = server("{}");
    inbound(&module, "subscribe");
    assert_eq!(seen(&host), expect(&[], &["subscribe"], &[], &[]));
    assert_eq!(items(&module), Vec::<String>::new(), "nobody is in a roster because he wants to be");
    inbound(&module, "subscribe");
    assert_eq!(seen(&host), Seen::default(), "a repeated request is not shown again");
    initial_presence(&module);
    assert_eq!(seen(&host), expect(&[], &["subscribe"], &[], &[]), "but at the next login");
    outbound(&module, "subscribed");
    assert_eq!(seen(&host), expect(&["from"], &[], &["subscribed"], &[Subscription::From]));
    initial_presence(&module);
    assert_eq!(seen(&host), Seen::default());
    inbound(&module, "subscribe");
    assert_eq!(seen(&host), expect(&[], &[], &["subscribed"], &[]), "answered in the user's place");
    inbound(&module, "unsubscribe");
    assert_eq!(seen(&host), expect(&["none"], &["unsubscribe"], &[], &[Subscription::None]));
}

#[test]
fn a_request_is_denied() {
    let (host, module) = server("{}");
    inbound(&module, "subscribe");
    outbound(&module, "unsubscribed");
    assert_eq!(seen(&host), expect(&[], &["subscribe"], &["unsubscribed"], &[]));
    initial_presence(&module);
    outbound(&module, "unsubscribed");
    assert_eq!(seen(&host), Seen::default());
}

#[test]
fn a_request_keeps_what_the_stranger_wrote() {
    let (host, module) = server("{}");
    let stanza = "<presence from='juliet@far.example/x' to='romeo@example.org' type='subscribe'><status>Hi</status></presence>";
    module.hook(name::SUBSCRIPTION_PACKET, "juliet@far.example/x", ME, &json!({"direction": "in"}), stanza);
    host.take_delivered();
    initial_presence(&module);
    let shown = host.take_delivered().remove(0).stanza;
    assert_eq!((shown.attr_s("from"), shown.subtag_text("status").as_str()), (YOU, "Hi"));
}

#[test]
fn a_permission_in_advance_answers_the_request_to_come() {
    let (host, module) = server("{}");
    outbound(&module, "subscribed");
    assert_eq!(seen(&host), expect(&["none approved"], &[], &[], &[]), "it goes nowhere");
    inbound(&module, "subscribe");
    assert_eq!(seen(&host), expect(&["from approved"], &[], &["subscribed"], &[Subscription::From]));
    outbound(&module, "unsubscribed");
    assert_eq!(seen(&host), expect(&["none"], &[], &["unsubscribed"], &[Subscription::None]));
    outbound(&module, "subscribed");
    outbound(&module, "unsubscribed");
    assert_eq!(seen(&host), expect(&["none approved", "none"], &[], &[], &[]), "taken back");
    let (host, module) = server(r#"{"pre_approval": false}"#);
    outbound(&module, "subscribed");
    assert_eq!(seen(&host), Seen::default());
}

#[test]
fn a_removed_contact_is_told_what_ends() {
    for (stanzas, said) in [
        (vec![], vec![]),
        (vec![("out", "subscribe")], vec!["unsubscribe"]),
        (vec![("out", "subscribe"), ("in", "subscribed")], vec!["unsubscribe"]),
        (vec![("in", "subscribe"), ("out", "subscribed")], vec!["unsubscribed"]),
        (
            vec![("in", "subscribe"), ("out", "subscribed"), ("out", "subscribe"), ("in", "subscribed")],
            vec!["unsubscribe", "unsubscribed"],
        ),
    ] {
        let (host, module) = server("{}");
        set(&module, &format!("<item jid='{YOU}'/>")).unwrap();
        for (direction, kind) in stanzas {
            if direction == "out" { outbound(&module, kind) } else { inbound(&module, kind) }
        }
        seen(&host);
        set(&module, &format!("<item jid='{YOU}' subscription='remove'/>")).unwrap();
        assert_eq!(seen(&host), expect(&["remove"], &[], &said, &[Subscription::None]));
    }
}

#[test]
fn requests_of_strangers_are_bounded() {
    let (host, module) = server(r#"{"max_requests": 2}"#);
    for name in ["a", "b", "c"] {
        packet(&module, "in", &format!("{name}@far.example"), ME, "subscribe");
    }
    assert_eq!(host.take_delivered().len(), 2);
    assert_eq!(host.counter("requests_dropped"), 1);
}

#[test]
fn a_full_roster_refuses_the_users_own_request() {
    let (host, module) = server(r#"{"max_items": 1}"#);
    set(&module, "<item jid='a@x'/>").unwrap();
    host.take_delivered();
    outbound(&module, "subscribe");
    let refusal = host.take_delivered().remove(0).stanza;
    assert_eq!((refusal.attr_s("type"), refusal.attr_s("from")), ("error", YOU));
    assert!(refusal.subtag("error").unwrap().subtag("resource-constraint").is_some());
    assert_eq!(host.take_routed(), []);
}

#[test]
fn the_server_is_told_who_sees_whom() {
    let (_host, module) = server("{}");
    set(&module, "<item jid='nobody@x'/>").unwrap();
    outbound(&module, "subscribe");
    inbound(&module, "subscribed");
    let collected = module.hook(
        name::CONTACTS,
        ME,
        "",
        &json!({}),
        r#"{"contacts":[{"jid":"shared@x","subscription":"both"}]}"#,
    );
    let HookResult::Continued(answer) = collected else { panic!("{collected:?}") };
    let answer: ContactsAnswer = serde_json::from_slice(&answer).unwrap();
    let contact = |jid: &str, subscription| Contact { jid: jid.into(), subscription };
    assert_eq!(answer.contacts, [contact("shared@x", Subscription::Both), contact(YOU, Subscription::To)]);
}

#[test]
fn rosters_survive_a_swap_and_go_with_the_account() {
    let (host, old) = server("{}");
    inbound(&old, "subscribe");
    outbound(&old, "subscribed");
    seen(&host);
    let (schema, state) = old.export_state().unwrap();
    let new = host.start_swap::<Roster>("{}");
    new.import_state(schema, &state).unwrap();
    assert!(new.import_state(2, &state).is_err());
    new.import_state(schema, b"").expect("the state of a build that knew nothing of shared contacts");
    assert!(old.stop(StopReason::Swap).is_clean());
    assert_eq!(items(&new), ["<item jid='juliet@far.example' subscription='from'/>"]);
    new.hook(name::USER_REMOVED, ME, "", &json!({}), "");
    assert_eq!(seen(&host), expect(&[], &[], &["unsubscribed"], &[]));
    assert_eq!(items(&new), Vec::<String>::new());
}

#[test]
fn a_store_of_a_later_build_is_refused() {
    let host = FakeHost::new("example.org");
    host.store("meta", "schema", b"2");
    let failure = host.try_start::<Roster>("{}").map(drop).unwrap_err();
    assert!(format!("{failure:?}").contains("schema 2"), "{failure:?}");
}
