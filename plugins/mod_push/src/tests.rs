use super::*;
use moult_plugin_api::hooks::name;
use moult_plugin_api::serde_json::{Value, json};
use moult_plugin_api::testing::{FakeHost, HookResult, Instance, IqResult};

const ALICE: &str = "alice@example.org";
const PHONE: &str = "alice@example.org/phone";
const MESSAGE: &str = "<message type='chat'><body>Wherefore art thou?</body></message>";

/// What the services got, and whether they answer with this error.
type Services = Arc<Mutex<(Vec<Element>, Option<(&'static str, &'static str)>)>>;

fn server(options: &str) -> (FakeHost, Instance, Services) {
    let host = FakeHost::new("example.org");
    host.add_account(ALICE, "secret");
    let services = Services::default();
    let asked = Arc::clone(&services);
    host.answer_iqs(move |iq| {
        let mut services = asked.lock().unwrap();
        services.0.push(iq.clone());
        let reply = Element::new("iq").with_attr("id", iq.attr_s("id"));
        Some(match services.1 {
            None => reply.with_attr("type", "result"),
            Some((condition, kind)) => {
                let condition = Element::new(condition).with_ns("urn:ietf:params:xml:ns:xmpp-stanzas");
                let error = Element::new("error").with_attr("type", kind).with_child(condition);
                reply.with_attr("type", "error").with_child(error)
            }
        })
    });
    let module = host.start::<Push>(options);
    (host, module, services)
}

fn enable(module: &Instance, from: &str, node: &str) -> IqResult {
    set(module, from, &format!("<enable xmlns='{NS}' jid='push.example.org' node='{node}'/>"))
}

fn set(module: &Instance, from: &str, payload: &str) -> IqResult {
    module.iq_set(from, ALICE, payload)
}

fn offline(host: &FakeHost, module: &Instance, message: &str) {
    let result = module.hook(name::OFFLINE_MESSAGE, "bob@example.org/x", ALICE, &json!({}), message);
    assert!(matches!(result, HookResult::Continued(_)), "whoever keeps messages gets it");
    host.run();
}

fn receive(host: &FakeHost, module: &Instance, to: &str, message: &str) {
    module.hook(name::USER_RECEIVE_PACKET, "bob@example.org/x", to, &json!({}), message);
    host.run();
}

/// The nodes that were told since the last look.
fn told(services: &Services) -> Vec<String> {
    let got = std::mem::take(&mut services.lock().unwrap().0);
    let publish =
        |iq: &Element| iq.subtag("pubsub").unwrap().subtag("publish").unwrap().attr_s("node").to_owned();
    got.iter().map(publish).collect()
}

fn services_of(module: &Instance) -> Vec<Value> {
    let args = json!({"user": "alice", "host": "example.org"});
    module.command("list_push_services", &args).unwrap().as_array().unwrap().clone()
}

fn condition(result: IqResult) -> Condition {
    result.expect_err("an error").condition
}

#[test]
fn a_message_that_nobody_takes_is_told_with_the_options_of_the_app() {
    let (host, module, services) = server("{}");
    let form = "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'>\
                <value>http://jabber.org/protocol/pubsub#publish-options</value></field>\
                <field var='secret'><value>eruio234vzxc2kla-91</value></field></x>";
    set(&module, PHONE, &format!("<enable xmlns='{NS}' jid='push.example.org' node='n'>{form}</enable>"))
        .unwrap();
    offline(&host, &module, MESSAGE);
    let [iq] = std::mem::take(&mut services.lock().unwrap().0).try_into().unwrap();
    assert_eq!((iq.attr_s("to"), iq.attr_s("type")), ("push.example.org", "set"));
    let pubsub = iq.subtag_ns("pubsub", "http://jabber.org/protocol/pubsub").unwrap();
    let notification =
        pubsub.subtag("publish").unwrap().subtag("item").unwrap().subtag_ns("notification", NS);
    let text = notification.unwrap().to_string();
    assert!(text.contains("message-count") && !text.contains("bob") && !text.contains("Wherefore"), "{text}");
    let options = pubsub.subtag("publish-options").unwrap().to_string();
    assert!(options.contains("eruio234vzxc2kla-91"), "{options}");
    module.reload(r#"{"include_sender": true, "include_body": true}"#, true).unwrap();
    offline(&host, &module, MESSAGE);
    let text = services.lock().unwrap().0[0].to_string();
    assert!(
        text.contains("bob@example.org/x") && text.contains("Wherefore") && text.contains("<value>2</value>")
    );
}

#[test]
fn only_what_concerns_a_person_is_told() {
    let (host, module, services) = server("{}");
    enable(&module, PHONE, "n").unwrap();
    for quiet in [
        "<message type='chat'><active xmlns='http://jabber.org/protocol/chatstates'/></message>",
        "<message type='error'><body>x</body></message>",
        "<message type='headline'><body>x</body></message>",
        "<message type='groupchat'><body>x</body></message>",
        "<message><sent xmlns='urn:xmpp:carbons:2'/><body>x</body></message>",
        "<message><body>x</body><delay xmlns='urn:xmpp:delay' from='example.org' stamp='2026-01-01T00:00:00Z'/></message>",
    ] {
        offline(&host, &module, quiet);
        assert_eq!(told(&services), [""; 0], "{quiet}");
    }
    offline(&host, &module, "<message><encrypted xmlns='urn:xmpp:omemo:2'/></message>");
    assert_eq!(told(&services), ["n"]);
}

#[test]
fn a_session_that_waits_concerns_its_own_app() {
    let (host, module, services) = server("{}");
    for (resource, node) in [("phone", "p"), ("tablet", "t"), ("desk", "d")] {
        host.add_session(&format!("{ALICE}/{resource}"), 0);
        enable(&module, &format!("{ALICE}/{resource}"), node).unwrap();
    }
    receive(&host, &module, PHONE, MESSAGE);
    assert_eq!(told(&services), [""; 0], "it is connected");
    host.detach_session(PHONE);
    receive(&host, &module, PHONE, MESSAGE);
    receive(&host, &module, PHONE, "<presence/>");
    assert_eq!(told(&services), ["p"]);
    module.hook(name::SESSION_SUSPENDED, PHONE, "", &json!({"messages": 3}), "");
    host.run();
    assert_eq!(told(&services), ["p"]);
    module.hook(name::SESSION_SUSPENDED, PHONE, "", &json!({"messages": 0}), "");
    // Nobody knows which app this session is of: those that are not here are told.
    host.add_session("alice@example.org/new", 0);
    host.detach_session("alice@example.org/new");
    host.remove_session("alice@example.org/tablet");
    receive(&host, &module, "alice@example.org/new", MESSAGE);
    let mut nodes = told(&services);
    nodes.sort();
    assert_eq!(nodes, ["p", "t"]);
}

#[test]
fn clients_that_nobody_looks_at_are_told_where_the_options_say_so() {
    let (host, module, services) = server("{}");
    enable(&module, PHONE, "n").unwrap();
    let inactive = || {
        let result = module.hook(name::INACTIVE_PACKET, "bob@example.org/x", PHONE, &json!({}), MESSAGE);
        assert!(matches!(result, HookResult::Continued(_)), "what waits is not decided here");
        host.run();
    };
    inactive();
    assert_eq!(told(&services), [""; 0]);
    module.reload(r#"{"inactive": true}"#, true).unwrap();
    inactive();
    assert_eq!(told(&services), ["n"]);
}

#[test]
fn errors_disable_a_service_and_silence_does_after_a_while() {
    let (host, module, services) = server(r#"{"max_failures": 2}"#);
    enable(&module, PHONE, "n").unwrap();
    services.lock().unwrap().1 = Some(("resource-constraint", "wait"));
    offline(&host, &module, MESSAGE);
    assert_eq!(services_of(&module)[0]["failures"], 1);
    services.lock().unwrap().1 = None;
    offline(&host, &module, MESSAGE);
    assert_eq!(services_of(&module)[0]["failures"], 0, "one answer is enough");
    services.lock().unwrap().1 = Some(("resource-constraint", "wait"));
    offline(&host, &module, MESSAGE);
    offline(&host, &module, MESSAGE);
    assert_eq!(services_of(&module).len(), 0);
    enable(&module, PHONE, "n").unwrap();
    services.lock().unwrap().1 = Some(("item-not-found", "cancel"));
    offline(&host, &module, MESSAGE);
    assert_eq!((services_of(&module).len(), host.counter("disabled")), (0, 2));
    told(&services);
    offline(&host, &module, MESSAGE);
    assert_eq!(told(&services), [""; 0], "who is disabled is told no more");
}

#[test]
fn registrations_are_replaced_disabled_and_bounded() {
    let (host, module, services) = server(r#"{"max_registrations": 2}"#);
    for node in ["a", "a", "b", "c"] {
        enable(&module, PHONE, node).unwrap();
    }
    let nodes: Vec<Value> = services_of(&module).iter().map(|row| row["node"].clone()).collect();
    assert_eq!(nodes, ["b", "c"], "the oldest goes");
    set(&module, PHONE, &format!("<disable xmlns='{NS}' jid='push.example.org' node='b'/>")).unwrap();
    set(&module, PHONE, &format!("<disable xmlns='{NS}' jid='other.example.org'/>")).unwrap();
    assert_eq!(services_of(&module).len(), 1);
    set(&module, PHONE, &format!("<disable xmlns='{NS}' jid='push.example.org'/>")).unwrap();
    offline(&host, &module, MESSAGE);
    assert_eq!((services_of(&module).len(), told(&services).len()), (0, 0));
    enable(&module, PHONE, "n").unwrap();
    let old =
        |days: i64| module.command("delete_old_push_services", &json!({"host": "example.org", "days": days}));
    assert_eq!((old(1), old(0)), (Ok(json!(0)), Ok(json!(1))));
}

#[test]
fn registrations_survive_a_swap_and_a_restart_and_go_with_the_account() {
    let (host, old, services) = server("{}");
    enable(&old, PHONE, "n").unwrap();
    offline(&host, &old, MESSAGE);
    let new = host.start_swap::<Push>("{}");
    let (schema, state) = old.export_state().unwrap();
    new.import_state(schema, &state).unwrap();
    assert!(new.import_state(2, &state).is_err());
    old.stop(StopReason::Swap);
    told(&services);
    offline(&host, &new, MESSAGE);
    assert!(services.lock().unwrap().0[0].to_string().contains("<value>2</value>"));
    let available = json!({"available": true, "was_available": false, "priority": 0});
    new.hook(name::PRESENCE_CHANGED, PHONE, "", &available, "<presence/>");
    told(&services);
    offline(&host, &new, MESSAGE);
    assert!(services.lock().unwrap().0[0].to_string().contains("<value>1</value>"));
    drop(new);
    let again = host.start::<Push>("{}");
    assert_eq!(services_of(&again).len(), 1);
    again.hook(name::USER_REMOVED, ALICE, "", &json!({}), "");
    assert_eq!((services_of(&again).len(), host.stored("registrations", ALICE)), (0, None));
}

#[test]
fn wrong_requests_are_refused() {
    let (_host, module, _) = server("{}");
    let foreign =
        module.iq_set("eve@example.org/x", ALICE, &format!("<enable xmlns='{NS}' jid='push.example.org'/>"));
    assert_eq!(condition(foreign), Condition::Forbidden);
    let get = module.iq_get(PHONE, ALICE, &format!("<enable xmlns='{NS}' jid='push.example.org'/>"));
    assert_eq!(condition(get), Condition::BadRequest);
    let form = |kind: &str, fields: &str| {
        format!(
            "<enable xmlns='{NS}' jid='p.example'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'>\
             <value>{kind}</value></field>{fields}</x></enable>"
        )
    };
    let options = "http://jabber.org/protocol/pubsub#publish-options";
    let long = format!("<field var='a'><value>{}</value></field>", "x".repeat(10_000));
    for (payload, expected) in [
        (format!("<enable xmlns='{NS}'/>"), Condition::BadRequest),
        (format!("<enable xmlns='{NS}' jid='a b'/>"), Condition::JidMalformed),
        (
            format!("<enable xmlns='{NS}' jid='p.example' node='{}'/>", "x".repeat(2000)),
            Condition::BadRequest,
        ),
        (format!("<disable xmlns='{NS}'/>"), Condition::BadRequest),
        (format!("<other xmlns='{NS}' jid='p.example'/>"), Condition::BadRequest),
        (form("other", ""), Condition::BadRequest),
        (form(options, &"<field var='a'/>".repeat(30)), Condition::PolicyViolation),
        (form(options, &long), Condition::PolicyViolation),
    ] {
        assert_eq!(condition(set(&module, PHONE, &payload)), expected, "{payload:.120}");
    }
    assert_eq!(services_of(&module).len(), 0);
}

#[test]
fn without_a_service_no_stanza_is_looked_at() {
    let (host, module, _) = server("{}");
    // Removed accounts are heard of in any case.
    let hooks = || host.registered(moult_plugin_api::abi::v1::registration::HOOK).len();
    assert_eq!(hooks(), 1);
    enable(&module, PHONE, "n").unwrap();
    assert_eq!(hooks(), 6);
    set(&module, PHONE, &format!("<disable xmlns='{NS}' jid='push.example.org'/>")).unwrap();
    assert_eq!(hooks(), 1);
}
