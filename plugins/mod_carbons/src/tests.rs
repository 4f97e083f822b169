use super::*;
use moult_plugin_api::hooks::name;
use moult_plugin_api::sdk::element::parse_element;
use moult_plugin_api::serde_json::json;
use moult_plugin_api::testing::{FakeHost, HookResult, Instance, IqResult};

const DESK: &str = "alice@example.org/desk";
const PHONE: &str = "alice@example.org/phone";
const BARE: &str = "alice@example.org";
const BOB: &str = "bob@example.org/x";

fn server() -> (FakeHost, Instance) {
    let host = FakeHost::new("example.org");
    let module = host.start::<Carbons>("{}");
    (host, module)
}

fn set(module: &Instance, from: &str, what: &str) -> IqResult {
    module.iq_set(from, BARE, &format!("<{what} xmlns='{NS}'/>"))
}

/// Two clients that want copies, the desk with the higher priority.
fn two_clients() -> (FakeHost, Instance) {
    let (host, module) = server();
    for (client, priority) in [(DESK, 5), (PHONE, 0)] {
        module.hook(
            name::PRESENCE_CHANGED,
            client,
            "",
            &json!({"available": true, "priority": priority}),
            "<presence/>",
        );
        set(&module, client, "enable").unwrap();
    }
    (host, module)
}

fn send(module: &Instance, from: &str, to: &str, message: &str) -> HookResult {
    module.hook(name::USER_SEND_PACKET, from, to, &json!({}), message)
}

fn receive(module: &Instance, from: &str, to: &str, message: &str) -> HookResult {
    module.hook(name::FILTER_PACKET, from, to, &json!({}), message)
}

/// To whom copies went.
fn copied(host: &FakeHost) -> Vec<String> {
    host.take_routed().into_iter().map(|copy| copy.to).collect()
}

const HELLO: &str = "<message type='chat' id='1'><body>hi</body></message>";

#[test]
fn what_one_client_sends_the_others_see() {
    let (host, module) = two_clients();
    assert_eq!(send(&module, DESK, BOB, HELLO), HookResult::Continued(HELLO.into()));
    let copy = host.take_routed().remove(0);
    assert_eq!((copy.from.as_str(), copy.to.as_str()), (BARE, PHONE));
    let element = copy.element();
    assert_eq!(element.attr_s("type"), "chat");
    let forwarded = element.subtag_ns("sent", NS).unwrap().subtag_ns("forwarded", FORWARD).unwrap();
    let message = forwarded.subtag_ns("message", ns::CLIENT).unwrap();
    assert_eq!((message.attr_s("from"), message.attr_s("to"), message.attr_s("id")), (DESK, BOB, "1"));
    assert_eq!(message.subtag_text("body"), "hi");
}

#[test]
fn what_one_client_gets_the_others_see_once() {
    let (host, module) = two_clients();
    receive(&module, BOB, PHONE, HELLO);
    let copy = host.take_routed().remove(0);
    assert_eq!((copy.from.as_str(), copy.to.as_str()), (BARE, DESK));
    assert!(copy.element().subtag_ns("received", NS).is_some());
    // To the bare JID: the desk has the highest priority and gets the message itself.
    receive(&module, BOB, BARE, HELLO);
    assert_eq!(copied(&host), [PHONE]);
    // To a resource that is gone: as to the bare JID.
    receive(&module, BOB, "alice@example.org/gone", HELLO);
    assert_eq!(copied(&host), [PHONE]);
}

#[test]
fn nothing_is_copied_where_nobody_takes_the_message() {
    let (host, module) = two_clients();
    for (client, priority) in [(DESK, -1), (PHONE, -5)] {
        module.hook(
            name::PRESENCE_CHANGED,
            client,
            "",
            &json!({"available": true, "priority": priority}),
            "<presence/>",
        );
    }
    receive(&module, BOB, BARE, HELLO);
    assert_eq!(copied(&host), [""; 0]);
    receive(&module, BOB, DESK, HELLO);
    assert_eq!(copied(&host), [PHONE]);
}

#[test]
fn only_clients_that_asked_get_copies() {
    let (host, module) = two_clients();
    set(&module, PHONE, "disable").unwrap();
    send(&module, DESK, BOB, HELLO);
    assert_eq!(copied(&host), [""; 0]);
    set(&module, PHONE, "enable").unwrap();
    module.hook(name::SESSION_CLOSED, PHONE, "", &json!({}), "");
    send(&module, DESK, BOB, HELLO);
    assert_eq!(copied(&host), [""; 0]);
}

#[test]
fn only_messages_of_a_conversation_are_copied() {
    let (host, module) = two_clients();
    for (message, sent, received) in [
        (
            "<message type='chat'><active xmlns='http://jabber.org/protocol/chatstates'/></message>",
            true,
            true,
        ),
        ("<message><body>x</body></message>", true, true),
        ("<message><received xmlns='urn:xmpp:receipts' id='1'/></message>", true, true),
        ("<message><event xmlns='http://jabber.org/protocol/pubsub#event'/></message>", false, false),
        ("<message type='groupchat'><body>x</body></message>", false, false),
        ("<message type='headline'><body>x</body></message>", false, false),
        ("<message type='error' from='a@b'><error type='cancel'/></message>", false, true),
        ("<message type='chat'><body>x</body><private xmlns='urn:xmpp:carbons:2'/></message>", false, false),
        ("<message type='chat'><body>x</body><no-copy xmlns='urn:xmpp:hints'/></message>", false, false),
        ("<message type='chat'><received xmlns='urn:xmpp:carbons:2'/></message>", false, false),
        (
            "<message type='chat'><body>x</body><x xmlns='http://jabber.org/protocol/muc#user'/></message>",
            true,
            false,
        ),
        (
            "<message><body>x</body><x xmlns='http://jabber.org/protocol/muc#user'><invite/></x></message>",
            true,
            true,
        ),
        ("<presence/>", false, false),
    ] {
        send(&module, DESK, BOB, message);
        assert_eq!(!copied(&host).is_empty(), sent, "sent: {message}");
        receive(&module, BOB, DESK, message);
        assert_eq!(!copied(&host).is_empty(), received, "received: {message}");
    }
}

#[test]
fn the_mark_private_does_not_reach_the_recipient() {
    let (host, module) = two_clients();
    let private = "<message type='chat'><body>x</body><private xmlns='urn:xmpp:carbons:2'/></message>";
    let HookResult::Continued(bytes) = receive(&module, BOB, DESK, private) else { panic!() };
    let message = parse_element(std::str::from_utf8(&bytes).unwrap()).unwrap();
    assert!(message.subtag("private").is_none() && message.subtag_text("body") == "x");
    assert_eq!(copied(&host), [""; 0]);
}

#[test]
fn a_message_to_the_own_account_is_copied_once() {
    let (host, module) = two_clients();
    send(&module, DESK, BARE, HELLO);
    receive(&module, DESK, BARE, HELLO);
    assert_eq!(copied(&host), [PHONE]);
}

#[test]
fn nobody_enables_copies_for_others() {
    let (host, module) = two_clients();
    let condition = |result: IqResult| result.unwrap_err().condition;
    assert_eq!(condition(set(&module, BOB, "enable")), Condition::Forbidden);
    assert_eq!(condition(set(&module, "alice@elsewhere/x", "enable")), Condition::Forbidden);
    assert_eq!(condition(set(&module, DESK, "other")), Condition::BadRequest);
    let get = module.iq_get(DESK, BARE, &format!("<enable xmlns='{NS}'/>"));
    assert_eq!(condition(get), Condition::NotAllowed);
    receive(&module, DESK, BOB, HELLO);
    assert_eq!(copied(&host), [""; 0]);
}

#[test]
fn who_wants_copies_is_known_after_a_swap() {
    let (host, old) = two_clients();
    let (schema, state) = old.export_state().unwrap();
    let new = host.start_swap::<Carbons>("{}");
    new.import_state(schema, &state).unwrap();
    assert!(new.import_state(9, &state).is_err() && new.import_state(SCHEMA, b"x").is_err());
    old.stop(StopReason::Swap);
    new.started().unwrap();
    receive(&new, BOB, BARE, HELLO);
    assert_eq!(copied(&host), [PHONE]);
}

#[test]
fn a_module_loaded_late_learns_who_is_available() {
    let host = FakeHost::new("example.org");
    host.add_session(DESK, 5);
    host.add_session(PHONE, 0);
    let module = host.start::<Carbons>("{}");
    module.started().unwrap();
    set(&module, PHONE, "enable").unwrap();
    receive(&module, BOB, BARE, HELLO);
    assert_eq!(copied(&host), [PHONE]);
}
