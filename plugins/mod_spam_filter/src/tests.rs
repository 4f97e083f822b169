use super::*;
use moult_plugin_api::hooks::{Subscription, name};
use moult_plugin_api::sdk::element::parse_element;
use moult_plugin_api::serde_json::{from_value, json};
use moult_plugin_api::testing::{FakeHost, HookResult, Instance, StartFailure};

const ALICE: &str = "alice@example.org";
const STRANGER: &str = "mallory@bad.example/x";

fn server(options: &str) -> (FakeHost, Instance) {
    let host = FakeHost::new("example.org");
    host.add_account(ALICE, "secret");
    host.set_contacts(ALICE, &[("friend@bad.example", Subscription::Both)]);
    let module = host.start::<SpamFilter>(options);
    (host, module)
}

fn send(module: &Instance, from: &str, to: &str, stanza: &str) -> HookResult {
    module.hook(name::FILTER_PACKET, from, to, &json!({}), stanza)
}

fn passes(module: &Instance, from: &str, stanza: &str) -> bool {
    matches!(send(module, from, ALICE, stanza), HookResult::Continued(_))
}

fn message(body: &str) -> String {
    format!("<message type='chat' id='7'><body>{body}</body></message>")
}

#[test]
fn listed_senders_reach_only_those_who_know_them() {
    let (host, module) = server(r#"{"blocked": ["bad.example"]}"#);
    assert!(!passes(&module, STRANGER, &message("hello")));
    let sent = host.take_routed().remove(0);
    assert_eq!((sent.from.as_str(), sent.to.as_str()), (ALICE, STRANGER));
    let error = sent.element();
    assert_eq!((error.attr_s("type"), error.attr_s("id")), ("error", "7"));
    assert_eq!(
        StanzaError::from_element(error.subtag("error").unwrap()).condition,
        Condition::PolicyViolation
    );
    assert!(passes(&module, "friend@bad.example/y", &message("hello")));
    for passing in ["<message type='error'/>", "<message type='groupchat'/>", "<iq type='result'/>"] {
        assert!(passes(&module, STRANGER, passing), "{passing}");
    }
    assert!(passes(&module, STRANGER, "<presence type='unsubscribed'/>"));
    host.take_routed();
    for stopped in ["<presence/>", "<presence type='subscribe'/>", "<message/>"] {
        assert!(!passes(&module, STRANGER, stopped), "{stopped}");
    }
    let request = send(&module, STRANGER, "alice@example.org/x", "<iq type='get' id='1'><q xmlns='u'/></iq>");
    assert!(matches!(request, HookResult::Stopped { reason, .. } if reason == "policy-violation"));
    assert_eq!(host.take_routed().len(), 2, "presence vanishes, the host answers requests");
    // What goes elsewhere, and what the server or the account itself says, is not judged.
    for (from, to) in [(STRANGER, "example.org"), (STRANGER, "bob@elsewhere"), ("example.org", ALICE)] {
        assert!(matches!(send(&module, from, to, "<message/>"), HookResult::Continued(_)), "{from} {to}");
    }
}

#[test]
fn texts_are_held_against_patterns_and_may_be_tagged() {
    let options = r#"{"patterns": ["(?i)cheap\\s+pills"], "content_action": "tag"}"#;
    let (host, module) = server(options);
    let HookResult::Continued(bytes) = send(&module, STRANGER, ALICE, &message("CHEAP  pills")) else {
        panic!("a tag stops nothing")
    };
    let tagged = parse_element(std::str::from_utf8(&bytes).unwrap()).unwrap();
    assert_eq!(tagged.subtag_ns("spam", "urn:moult:spam:0").unwrap().attr_s("rule"), "content");
    assert!(module.reload(r#"{"patterns": ["(?i)cheap\\s+pills"], "content_action": "drop"}"#, true).is_ok());
    assert!(!passes(&module, STRANGER, "<presence type='subscribe'><status>cheap pills</status></presence>"));
    assert!(passes(&module, STRANGER, &message("hello")) && passes(&module, STRANGER, "<presence/>"));
    assert!(passes(&module, "friend@bad.example", &message("cheap pills")));
    assert_eq!(host.take_routed(), []);
    assert_eq!((host.counter("matched"), host.counter("dropped")), (2, 1));
}

#[test]
fn a_stranger_sends_so_much_and_no_more() {
    let (host, module) = server(r#"{"rate": 2}"#);
    assert!(passes(&module, STRANGER, &message("1")));
    assert!(passes(&module, "mallory@bad.example/y", "<presence type='subscribe'/>"));
    assert!(!passes(&module, STRANGER, &message("3")));
    assert!(passes(&module, STRANGER, "<iq type='get'/>"), "requests are not counted");
    assert_eq!(host.take_routed().len(), 1);
    for _ in 0..5 {
        assert!(passes(&module, "friend@bad.example", &message("x")));
        assert!(passes(&module, "eve@elsewhere", "<message type='error'/>"));
    }
    // The count goes on over a swap.
    let new = host.start_swap::<SpamFilter>(r#"{"rate": 2}"#);
    let (schema, state) = module.export_state().unwrap();
    new.import_state(schema, &state).unwrap();
    assert!(new.import_state(2, &state).is_err() && new.import_state(1, b"1").is_err());
    module.stop(StopReason::Swap);
    assert!(!passes(&new, STRANGER, &message("4")));
}

#[test]
fn whom_an_account_wrote_to_may_answer() {
    let (_host, module) = server(r#"{"blocked": ["bad.example"]}"#);
    assert!(!passes(&module, STRANGER, &message("hello")));
    send(&module, "alice@example.org/x", "mallory@bad.example", &message("who is there?"));
    assert!(passes(&module, STRANGER, &message("it is me")));
    assert!(!matches!(send(&module, STRANGER, "bob@example.org", "<message/>"), HookResult::Continued(_)));
}

#[test]
fn commands_add_show_and_remove_and_the_store_keeps() {
    let (host, module) = server("{}");
    let run = |module: &Instance, name: &str, list: &str, entry: &str| {
        module.command(name, &json!({"host": "example.org", "list": list, "entry": entry}))
    };
    run(&module, "spam_filter_add", "blocked", "Mallory@Bad.example").unwrap();
    run(&module, "spam_filter_add", "patterns", "lotter(y|ies)").unwrap();
    module.command("add_blocked_domain", &json!({"host": "example.org", "domain": "worse.example"})).unwrap();
    assert!(!passes(&module, STRANGER, &message("hello")));
    assert!(!passes(&module, "x@worse.example", &message("hello")));
    assert!(!passes(&module, "x@good.example", &message("lotteries")));
    for (list, entry) in
        [("blocked", "a b"), ("blocked", ""), ("patterns", "("), ("other", "a@b"), ("allowed", "a@b/c")]
    {
        assert_eq!(run(&module, "spam_filter_add", list, entry).unwrap_err().code, 400, "{list} {entry}");
    }
    assert_eq!(run(&module, "spam_filter_remove", "blocked", "nobody@x").unwrap_err().code, 404);
    let new = host.start_swap::<SpamFilter>("{}");
    drop(module);
    let shown = new.command("spam_filter_list", &json!({"host": "example.org", "list": "blocked"})).unwrap();
    let shown: Vec<String> = from_value(shown).unwrap();
    assert_eq!(shown, ["mallory@bad.example", "worse.example"]);
    let domains = new.command("get_blocked_domains", &json!({"host": "example.org"})).unwrap();
    assert_eq!(domains, json!(["worse.example"]));
    run(&new, "spam_filter_add", "allowed", "x@worse.example").unwrap();
    assert!(passes(&new, "x@worse.example", &message("hello")));
    run(&new, "spam_filter_remove", "blocked", "mallory@bad.example").unwrap();
    assert!(passes(&new, STRANGER, &message("hello")));
    assert_eq!(host.gauge("blocked_entries"), Some(1));
}

#[test]
fn entries_of_commands_are_bounded() {
    let (_host, module) = server(r#"{"max_entries": 1}"#);
    let add = |domain: &str| {
        module.command("add_blocked_domain", &json!({"host": "example.org", "domain": domain}))
    };
    assert!(add("one.example").is_ok());
    assert_eq!(add("two.example").unwrap_err().code, 409);
    assert_eq!(add("a@b").unwrap_err().code, 400);
}

#[test]
fn files_are_read_again_and_a_bad_one_changes_nothing() {
    let path = std::env::temp_dir().join(format!("moult-spam-files-{}", std::process::id()));
    std::fs::write(&path, "bad.example\n").unwrap();
    let (host, module) = server(&json!({"files": [path]}).to_string());
    assert!(!passes(&module, STRANGER, &message("hello")));
    std::fs::write(&path, "worse.example\nno entry\n").unwrap();
    let reread = || module.command("reload_spam_filter_files", &json!({"host": "example.org"}));
    assert_eq!(reread().unwrap(), json!(1));
    assert!(host.has_logged("1 lines of the list"));
    assert!(passes(&module, STRANGER, &message("hello")));
    std::fs::remove_file(&path).unwrap();
    assert_eq!(reread().unwrap_err().code, 400);
    assert!(!passes(&module, "x@worse.example", &message("hello")));
    assert!(module.reload(r#"{"files": ["/nowhere/list"]}"#, true).is_err());
    assert!(!passes(&module, "x@worse.example", &message("hello")), "a refused reload changes nothing");
}

#[test]
fn mistakes_of_the_operator_fail_the_start() {
    for (options, named) in [
        (r#"{"blocked": ["a@b/c"]}"#, "a@b/c"),
        (r#"{"patterns": ["("]}"#, "pattern"),
        (r#"{"files": ["/nowhere/list"]}"#, "/nowhere/list"),
    ] {
        let failure = FakeHost::new("example.org").try_start::<SpamFilter>(options).err();
        assert!(matches!(failure, Some(StartFailure::Stopped(why)) if why.contains(named)), "{options}");
    }
}

#[test]
fn without_a_rule_no_stanza_is_looked_at() {
    let (host, module) = server("{}");
    let hooks = || host.registered(moult_plugin_api::abi::v1::registration::HOOK).len();
    assert_eq!(hooks(), 0);
    module.command("add_blocked_domain", &json!({"host": "example.org", "domain": "worse.example"})).unwrap();
    assert_eq!(hooks(), 1);
    module
        .command("remove_blocked_domain", &json!({"host": "example.org", "domain": "worse.example"}))
        .unwrap();
    assert_eq!(hooks(), 0);
    for (options, expected) in [(r#"{"rate": 5}"#, 1), (r#"{"patterns": ["x"]}"#, 1), ("{}", 0)] {
        module.reload(options, true).unwrap();
        assert_eq!(hooks(), expected, "{options}");
    }
}
