use super::*;
use moult_plugin_api::hooks::{OfferedCommand, name};
use moult_plugin_api::testing::{FakeHost, HookResult, Instance};
use std::time::Duration;

const ADMIN: &str = "admin@example.org/x";
const ALICE: &str = "alice@example.org/x";

fn server(options: &str) -> (FakeHost, Instance) {
    let host = FakeHost::new("example.org");
    host.grant("commands");
    host.answer_commands(|name, _| match name {
        "registered_users" => Ok(json!((0..450).map(|n| format!("user{n}")).collect::<Vec<_>>())),
        _ => Ok(json!(1)),
    });
    host.add_session(ALICE, 0);
    host.add_session("bob@example.org/y", -1);
    let module = host.start::<Announce>(options);
    (host, module)
}

fn announce(module: &Instance, command: &str) -> Result<Value, CommandError> {
    module.command(command, &json!({"host": "example.org", "subject": "Note", "body": "At noon <we> stop."}))
}

fn recipients(host: &FakeHost) -> Vec<String> {
    host.advance(Duration::from_secs(1));
    host.take_routed().into_iter().map(|sent| sent.to).collect()
}

fn available(module: &Instance, jid: &str, priority: i8) {
    let args = json!({"available": true, "priority": priority});
    module.hook(name::PRESENCE_CHANGED, jid, "", &args, "<presence/>");
}

#[test]
fn everybody_gets_an_announcement_to_all() {
    let (host, module) = server("{}");
    assert_eq!(announce(&module, "announce_send_all").unwrap(), json!(450));
    host.advance(Duration::from_millis(1));
    // In portions.
    assert_eq!(host.routed().len(), 200);
    host.advance(Duration::from_secs(1));
    let sent = host.take_routed();
    assert_eq!(sent.len(), 450);
    assert_eq!((sent[449].from.as_str(), sent[449].to.as_str()), ("example.org", "user449@example.org"));
    let message = sent[0].element();
    assert_eq!((message.attr_s("type"), message.subtag_text("subject").as_str()), ("normal", "Note"));
    assert_eq!(message.subtag_text("body"), "At noon <we> stop.");
}

#[test]
fn who_is_online_gets_an_announcement_to_them() {
    let (host, module) = server("{}");
    assert_eq!(announce(&module, "announce_send_online").unwrap(), json!(2));
    assert_eq!(recipients(&host), [ALICE, "bob@example.org/y"]);
}

#[test]
fn the_message_of_the_day_is_seen_once() {
    let (host, module) = server("{}");
    assert_eq!(announce(&module, "announce_motd_set_online").unwrap(), json!(2));
    assert_eq!(recipients(&host).len(), 2);
    available(&module, ALICE, 0);
    available(&module, "carol@example.org/z", -1);
    assert_eq!(recipients(&host), [""; 0]);
    available(&module, "carol@example.org/z", 0);
    available(&module, "carol@example.org/w", 0);
    assert_eq!(recipients(&host), ["carol@example.org/z"]);
    // A new one is seen again, by those who log in.
    announce(&module, "announce_motd_update").unwrap();
    assert_eq!(recipients(&host), [""; 0]);
    available(&module, ALICE, 0);
    assert_eq!(recipients(&host), [ALICE]);
    module.command("announce_motd_delete", &json!({"host": "example.org"})).unwrap();
    available(&module, "dave@example.org/z", 0);
    assert_eq!(recipients(&host), [""; 0]);
}

#[test]
fn what_a_user_has_seen_survives_a_swap_and_goes_with_the_account() {
    let (host, old) = server("{}");
    announce(&old, "announce_motd_update").unwrap();
    available(&old, ALICE, 0);
    let new = host.start_swap::<Announce>("{}");
    let (schema, state) = old.export_state().unwrap();
    new.import_state(schema, &state).unwrap();
    old.stop(StopReason::Swap);
    host.take_routed();
    available(&new, ALICE, 0);
    assert_eq!(recipients(&host), [""; 0]);
    available(&new, "carol@example.org/z", 0);
    assert_eq!(recipients(&host), ["carol@example.org/z"]);
    new.hook(name::USER_REMOVED, "alice@example.org", "", &json!({}), "");
    assert_eq!(host.stored("seen", "alice@example.org"), None);
}

#[test]
fn an_announcement_under_way_is_neither_doubled_nor_lost_by_a_swap() {
    let (host, old) = server("{}");
    announce(&old, "announce_send_all").unwrap();
    host.advance(Duration::from_millis(1));
    let (schema, state) = old.export_state().unwrap();
    let new = host.start_swap::<Announce>("{}");
    new.import_state(schema, &state).unwrap();
    assert!(new.import_state(2, &state).is_err());
    drop(old);
    new.started().unwrap();
    let mut all = recipients(&host);
    assert_eq!(all.len(), 450);
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 450);
}

#[test]
fn a_message_to_an_address_is_a_command_of_its_sender() {
    let (host, module) = server("{}");
    host.offer_commands(
        ADMIN,
        vec![OfferedCommand { name: "announce_send_online".into(), ..OfferedCommand::default() }],
    );
    let send =
        |from: &str, to: &str, message: &str| module.hook(name::LOCAL_PACKET, from, to, &json!({}), message);
    let message = "<message id='1'><subject>Note</subject><body>Hello</body></message>";
    let taken = |result: HookResult| matches!(result, HookResult::Stopped { .. });
    assert!(taken(send(ADMIN, "example.org/announce/online", message)));
    assert_eq!(host.take_routed(), []);
    assert!(taken(send(ALICE, "example.org/announce/online", message)));
    let error = host.take_routed().remove(0);
    assert_eq!((error.from.as_str(), error.to.as_str()), ("example.org/announce/online", ALICE));
    let element = error.element();
    assert_eq!(StanzaError::from_element(element.subtag("error").unwrap()).condition, Condition::Forbidden);
    assert!(taken(send(ADMIN, "example.org/announce/all", message)));
    assert_eq!(host.take_routed().len(), 1);
    for (to, stanza) in [
        ("example.org", message),
        ("example.org/announce/other", message),
        ("example.org/announce/online", "<message type='error'/>"),
        ("example.org/announce/online", "<presence/>"),
    ] {
        assert!(!taken(send(ADMIN, to, stanza)), "{to} {stanza}");
    }
}

#[test]
fn texts_and_recipients_are_limited() {
    let (host, module) = server(r#"{"max_length": 10, "max_waiting": 3}"#);
    let send =
        |body: &str| module.command("announce_send_online", &json!({"host": "example.org", "body": body}));
    assert_eq!(send(" ").unwrap_err().code, 400);
    assert_eq!(send("12345678901").unwrap_err().code, 400);
    assert!(send("1234567890").is_ok());
    assert_eq!(send("second").unwrap_err().code, 503);
    assert_eq!(recipients(&host).len(), 2);
    assert!(send("second").is_ok());
}
