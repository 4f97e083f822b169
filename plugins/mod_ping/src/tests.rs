use super::*;
use moult_plugin_api::hooks::name;
use moult_plugin_api::serde_json::Value;
use moult_plugin_api::testing::{FakeHost, Instance};
use std::sync::atomic::{AtomicUsize, Ordering};

const ALICE: &str = "alice@example.org/x";
const PING: &str = "<ping xmlns='urn:xmpp:ping'/>";
const SENDING: &str = r#"{"send_pings": true, "ping_interval": 60000, "ping_ack_timeout": 10000}"#;
const KILLING: &str = r#"{"send_pings": true, "timeout_action": "kill"}"#;

fn opened(module: &Instance, jid: &str) {
    module.hook(name::SESSION_OPENED, jid, "", &json!({}), "");
}

/// A host whose clients answer pings, with the number of them.
fn answering() -> (FakeHost, Arc<AtomicUsize>) {
    let host = FakeHost::new("example.org");
    let pings = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&pings);
    host.answer_iqs(move |iq| {
        assert!(iq.subtag_ns("ping", ns::PING).is_some());
        counted.fetch_add(1, Ordering::SeqCst);
        Some(Element::new("iq").with_attr("type", "result"))
    });
    (host, pings)
}

#[test]
fn pings_to_server_and_accounts_are_answered() {
    let host = FakeHost::new("example.org");
    let module = host.start::<Ping>("{}");
    assert_eq!(module.iq_get(ALICE, "example.org", PING), Ok(None));
    assert_eq!(module.iq_get(ALICE, "alice@example.org", PING), Ok(None));
    assert_eq!(module.iq_set(ALICE, "example.org", PING).unwrap_err().condition, Condition::NotAllowed);
    assert_eq!(host.disco(Target::Server).features, [ns::PING]);
}

#[test]
fn nothing_watches_sessions_unless_pings_are_sent() {
    use moult_plugin_api::abi::v1::registration::{HOOK, TIMER};
    let host = FakeHost::new("example.org");
    let module = host.start::<Ping>("{}");
    assert!(host.registered(HOOK).is_empty() && host.registered(TIMER).is_empty());
    assert!(module.stop(StopReason::Unload).is_clean());
}

#[test]
fn a_silent_session_is_pinged_and_a_talking_one_is_not() {
    let (host, pings) = answering();
    let module = host.start::<Ping>(SENDING);
    opened(&module, ALICE);
    for _ in 0..3 {
        host.advance(Duration::from_secs(50));
        module.hook(name::USER_SEND_PACKET, ALICE, "bob@example.org", &json!({}), "<presence/>");
    }
    assert_eq!(pings.load(Ordering::SeqCst), 0);
    host.advance(Duration::from_secs(60));
    assert_eq!(pings.load(Ordering::SeqCst), 1);
    module.hook(name::SESSION_CLOSED, ALICE, "", &json!({}), "");
    host.advance(Duration::from_secs(600));
    assert_eq!(pings.load(Ordering::SeqCst), 1);
}

#[test]
fn who_does_not_answer_is_logged_or_ended() {
    let host = FakeHost::new("example.org");
    let module = host.start::<Ping>(SENDING);
    opened(&module, ALICE);
    host.advance(Duration::from_secs(71));
    assert!(host.has_logged("alice@example.org/x: no answer to a ping"));
    drop(module);

    host.grant("commands");
    let kicked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&kicked);
    host.answer_commands(move |name, args| {
        seen.lock().unwrap().push((name.to_owned(), args.clone()));
        Ok(Value::Null)
    });
    let module = host.start::<Ping>(KILLING);
    opened(&module, ALICE);
    host.advance(Duration::from_secs(60 + 32 + 1));
    let (name, args) = kicked.lock().unwrap().remove(0);
    assert_eq!(name, "kick_session");
    assert_eq!((&args["user"], &args["resource"]), (&json!("alice"), &json!("x")));
}

#[test]
fn a_module_loaded_late_learns_who_is_there() {
    let (host, pings) = answering();
    for n in 0..=PAGE {
        host.add_session(&format!("user{n}@example.org/x"), 0);
    }
    let module = host.start::<Ping>(SENDING);
    module.started().unwrap();
    host.advance(Duration::from_secs(90));
    assert_eq!(pings.load(Ordering::SeqCst), PAGE + 1);
}

#[test]
fn silence_survives_a_swap() {
    let (host, pings) = answering();
    let old = host.start::<Ping>(SENDING);
    opened(&old, ALICE);
    host.advance(Duration::from_secs(40));
    let (schema, state) = old.export_state().unwrap();
    let new = host.start_swap::<Ping>(SENDING);
    new.import_state(schema, &state).unwrap();
    assert!(old.stop(StopReason::Swap).is_clean());
    new.started().unwrap();
    host.advance(Duration::from_secs(15));
    assert_eq!(pings.load(Ordering::SeqCst), 0);
    // A tenth of the interval late, once for each generation.
    host.advance(Duration::from_secs(17));
    assert_eq!(pings.load(Ordering::SeqCst), 1);
    assert!(new.import_state(9, b"[]").is_err() && new.import_state(SCHEMA, b"nonsense").is_err());
}
