use super::*;
use moult_plugin_api::abi::v1::registration;
use moult_plugin_api::hooks::name;
use moult_plugin_api::sdk::element::parse_element;
use moult_plugin_api::serde_json::{self, json};
use moult_plugin_api::testing::{FakeHost, HookResult, Instance};

/// A server that is an `im` server with these features, or does not answer.
fn answers(host: &FakeHost, features: Option<&[&str]>) {
    let features: Option<String> =
        features.map(|all| all.iter().map(|var| format!("<feature var='{var}'/>")).collect());
    host.answer_iqs(move |request| {
        assert_eq!((request.attr("from"), request.attr("to")), (Some("example.org"), Some("example.org")));
        let reply = Element::new("iq").with_attr("id", request.attr_s("id"));
        Some(match &features {
            Some(features) => {
                let query = format!(
                    "<query xmlns='{}'><identity category='server' type='im' name='M'/>{features}</query>",
                    ns::DISCO_INFO
                );
                reply.with_attr("type", "result").with_child(parse_element(&query).unwrap())
            }
            None => {
                let error = StanzaError::new(Condition::ServiceUnavailable, "");
                reply.with_attr("type", "error").with_child(error.to_element())
            }
        })
    });
}

fn announced(host: &FakeHost) -> Vec<Element> {
    let elements = host.registered(registration::STREAM_FEATURE);
    elements.iter().map(|element| parse_element(element).unwrap()).collect()
}

fn nodes(host: &FakeHost) -> [String; 2] {
    let announced = announced(host);
    assert_eq!(announced.len(), 2, "{announced:?}");
    let hash = announced[1].subtag("hash").unwrap();
    [
        format!("{}#{}", announced[0].attr_s("node"), announced[0].attr_s("ver")),
        format!("urn:xmpp:caps#{}.{}", hash.attr_s("algo"), hash.text()),
    ]
}

fn ask(module: &Instance, node: &str) -> Option<InfoAnswer> {
    let args = json!({ "node": node });
    match module.hook(name::DISCO_INFO, "a@example.org/x", "example.org", &args, "{}") {
        HookResult::Continued(body) if body != b"{}" => serde_json::from_slice(&body).ok(),
        _ => None,
    }
}

fn changed(module: &Instance) {
    module.hook(name::MODULES_CHANGED, "example.org", "", &json!({}), "");
}

fn started(host: &FakeHost, options: &str) -> Instance {
    let module = host.start::<Caps>(options);
    module.started().unwrap();
    host.run();
    module
}

#[test]
fn what_discovery_answers_is_announced_and_answered_for() {
    let host = FakeHost::new("example.org");
    answers(&host, Some(&["a", "b"]));
    let module = started(&host, "{}");
    let first = nodes(&host);
    assert!(first[0].starts_with("urn:moult:server#") && first[1].starts_with("urn:xmpp:caps#sha-256."));
    for node in &first {
        assert_eq!(ask(&module, node).unwrap().features, ["a", "b"]);
    }
    answers(&host, Some(&["a", "b", "c"]));
    changed(&module);
    assert!(nodes(&host).iter().all(|node| !first.contains(node)));
    assert_eq!(ask(&module, &nodes(&host)[0]).unwrap().features, ["a", "b", "c"]);
    assert_eq!(ask(&module, &first[0]).unwrap().features, ["a", "b"], "who came before knows that node");
    for unknown in
        ["", "urn:moult:server#", "urn:moult:server", "urn:xmpp:caps#sha-256", "urn:xmpp:caps#sha-256."]
    {
        assert_eq!(ask(&module, unknown), None, "{unknown}");
    }
    // What holds again is announced again.
    answers(&host, Some(&["a", "b"]));
    changed(&module);
    assert_eq!(nodes(&host), first);
}

#[test]
fn nodes_are_kept_within_bounds() {
    let host = FakeHost::new("example.org");
    let module = started(&host, "{}");
    let mut all = Vec::new();
    for number in 0..KEPT + 2 {
        answers(&host, Some(&[&format!("f{number}")]));
        changed(&module);
        all.push(nodes(&host)[0].clone());
    }
    let known: Vec<bool> = all.iter().map(|node| ask(&module, node).is_some()).collect();
    assert_eq!(known, [false, false, true, true, true, true]);
}

#[test]
fn nothing_is_announced_while_nobody_answers() {
    let host = FakeHost::new("example.org");
    answers(&host, Some(&["a"]));
    let module = started(&host, "{}");
    let before = nodes(&host);
    answers(&host, None);
    changed(&module);
    assert_eq!(announced(&host), []);
    answers(&host, Some(&["a"]));
    changed(&module);
    assert_eq!(nodes(&host), before);
}

#[test]
fn a_swap_leaves_no_moment_without_and_a_restart_announces_nothing_old() {
    let host = FakeHost::new("example.org");
    answers(&host, Some(&["a"]));
    let old = started(&host, "{}");
    let before = nodes(&host);
    let new = host.start_swap::<Caps>("{}");
    assert!(old.stop(StopReason::Swap).is_clean());
    assert_eq!(nodes(&host), before);
    assert!(ask(&new, &before[1]).is_some());
    assert!(new.stop(StopReason::Shutdown).is_clean());
    let again = host.start::<Caps>("{}");
    assert_eq!(announced(&host), []);
    assert!(ask(&again, &before[0]).is_some(), "the node is known all the same");
}

#[test]
fn another_node_holds_without_a_restart() {
    let host = FakeHost::new("example.org");
    answers(&host, Some(&["a"]));
    let module = started(&host, "{}");
    assert_eq!(module.reload(r#"{"node": "https://example.org/moult"}"#, true).unwrap(), Reload::Done);
    changed(&module);
    assert!(nodes(&host)[0].starts_with("https://example.org/moult#"));
}

#[test]
fn a_failed_question_is_asked_again_and_takes_nothing_away() {
    let host = FakeHost::new("example.org");
    answers(&host, Some(&["a"]));
    let module = started(&host, "{}");
    let before = nodes(&host);
    host.answer_iqs(|_| None);
    module.hook(name::MODULES_CHANGED, "example.org", "", &json!({}), "");
    host.advance(ANSWER_WITHIN);
    assert_eq!(nodes(&host), before, "nobody knows better");
    answers(&host, Some(&["b"]));
    host.advance(AGAIN_AFTER);
    assert_ne!(nodes(&host), before);
    assert_eq!(host.tasks(), 0);
}
