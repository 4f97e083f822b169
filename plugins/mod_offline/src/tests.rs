use super::*;
use moult_plugin_api::hooks::name;
use moult_plugin_api::serde_json::json;
use moult_plugin_api::testing::{FakeHost, HookResult, Instance};

const ME: &str = "romeo@example.org";
const HERE: &str = "romeo@example.org/orchard";
const YOU: &str = "juliet@example.org/balcony";

fn server(options: &str) -> (FakeHost, Instance) {
    let host = FakeHost::new("example.org");
    host.add_account(ME, "secret");
    let module = host.start::<Offline>(options);
    (host, module)
}

fn send(module: &Instance, content: &str) -> bool {
    let stanza = format!("<message from='{YOU}' to='{ME}' type='chat'>{content}</message>");
    matches!(module.hook(name::OFFLINE_MESSAGE, YOU, ME, &json!({}), &stanza), HookResult::Stopped { .. })
}

fn say(module: &Instance, body: &str) -> bool {
    send(module, &format!("<body>{body}</body>"))
}

fn presence(module: &Instance, args: moult_plugin_api::serde_json::Value) {
    module.hook(name::PRESENCE_CHANGED, HERE, "", &args, "<presence/>");
}

fn log_in(host: &FakeHost, module: &Instance) {
    host.add_session(HERE, 0);
    presence(module, json!({"available": true}));
}

fn bodies(host: &FakeHost) -> Vec<String> {
    let delivered = host.take_delivered();
    assert!(delivered.iter().all(|delivery| delivery.session == HERE));
    delivered.iter().map(|delivery| delivery.stanza.subtag_text("body")).collect()
}

fn count(module: &Instance) -> u64 {
    let answer = module.command("get_offline_count", &json!({"user": "romeo", "host": "example.org"}));
    answer.unwrap().as_u64().unwrap()
}

#[test]
fn messages_are_delivered_once_in_order_with_their_time() {
    let (host, module) = server("{}");
    let many: Vec<String> = (0..PAGE * 2 + 7).map(|n| n.to_string()).collect();
    for body in &many {
        assert!(say(&module, body));
    }
    assert_eq!(count(&module), many.len() as u64);
    host.add_session(HERE, 0);
    presence(&module, json!({"available": true}));
    let delivered = host.take_delivered();
    let delay = delivered[0].stanza.subtag_ns("delay", DELAY).unwrap();
    assert_eq!(delay.attr_s("from"), "example.org");
    assert!(delay.attr_s("stamp").ends_with('Z'));
    let bodies: Vec<String> = delivered.iter().map(|d| d.stanza.subtag_text("body")).collect();
    assert_eq!(bodies, many);
    assert_eq!(count(&module), 0);
    presence(&module, json!({"available": true}));
    assert_eq!(host.take_delivered(), []);
}

#[test]
fn only_a_resource_that_begins_to_take_messages_gets_them() {
    let (host, module) = server("{}");
    assert!(say(&module, "hi"));
    host.add_session(HERE, -1);
    presence(&module, json!({"available": true, "priority": -1}));
    presence(&module, json!({"available": false, "was_available": true}));
    presence(&module, json!({"available": true, "was_available": true, "was_priority": 0, "priority": 5}));
    assert_eq!(bodies(&host), Vec::<String>::new());
    presence(&module, json!({"available": true, "was_available": true, "was_priority": -1, "priority": 0}));
    assert_eq!(bodies(&host), ["hi"]);
}

#[test]
fn what_cannot_be_delivered_stays() {
    let (host, module) = server("{}");
    assert!(say(&module, "1") && say(&module, "2"));
    // The session has ended before its messages came.
    presence(&module, json!({"available": true}));
    assert_eq!(count(&module), 2);
    log_in(&host, &module);
    assert_eq!(bodies(&host), ["1", "2"]);
}

#[test]
fn a_message_that_comes_during_the_login_is_not_left_behind() {
    let (host, module) = server("{}");
    log_in(&host, &module);
    assert!(say(&module, "late"), "the router had seen nobody when it came");
    assert_eq!(bodies(&host), ["late"]);
    assert_eq!(count(&module), 0);
}

#[test]
fn a_message_that_comes_back_keeps_its_first_time() {
    let (host, module) = server("{}");
    let delay = "<delay xmlns='urn:xmpp:delay' from='example.org' stamp='2026-01-01T00:00:00Z'/>";
    assert!(send(&module, &format!("<body>again</body>{delay}")));
    log_in(&host, &module);
    let message = host.take_delivered().remove(0).stanza;
    let stamps: Vec<&str> = message.elements().filter_map(|child| child.attr("stamp")).collect();
    assert_eq!(stamps, ["2026-01-01T00:00:00Z"]);
}

#[test]
fn the_number_is_limited_and_what_is_not_for_later_is_not_kept() {
    let (host, module) = server(r#"{"max_messages": 2}"#);
    let composing = "<composing xmlns='http://jabber.org/protocol/chatstates'/>";
    assert!(send(&module, composing), "swallowed");
    assert!(!send(&module, "<body>secret</body><no-store xmlns='urn:xmpp:hints'/>"), "given back");
    assert!(send(&module, "<body>mortal</body><x xmlns='jabber:x:expire' seconds='-1'/>"));
    assert!(say(&module, "1"));
    assert!(!say(&module, "2"), "given back");
    assert_eq!((count(&module), host.counter("refused")), (2, 1));
    log_in(&host, &module);
    assert_eq!(bodies(&host), ["1"], "the mortal one is dead");
}

#[test]
fn old_messages_are_given_up() {
    let (host, module) = server(r#"{"expire_days": 1}"#);
    assert!(say(&module, "new"));
    host.advance(PURGE_INTERVAL);
    assert_eq!(module.command("delete_expired_messages", &json!({})).unwrap(), 0);
    assert_eq!(module.command("delete_old_messages", &json!({"days": 1})).unwrap(), 0);
    assert!(module.command("delete_old_messages", &json!({"days": "many"})).is_err());
    assert_eq!(count(&module), 1, "it is young");
    let nobody = json!({"user": "nobody", "host": "example.org"});
    assert_eq!(module.command("get_offline_count", &nobody).unwrap_err().code, 404);
}

#[test]
fn messages_survive_a_swap_and_go_with_the_account() {
    let (host, old) = server("{}");
    assert!(say(&old, "kept"));
    let (schema, state) = old.export_state().unwrap();
    let new = host.start_swap::<Offline>("{}");
    new.import_state(schema, &state).unwrap();
    assert!(new.import_state(2, &state).is_err());
    assert!(old.stop(StopReason::Swap).is_clean());
    assert_eq!(count(&new), 1);
    new.hook(name::USER_REMOVED, ME, "", &json!({}), "");
    assert_eq!(count(&new), 0);
}
