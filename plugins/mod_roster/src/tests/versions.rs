//! Versions and differences (RFC 6121 section 2.6).

use super::*;

/// What a client with this version gets: the whole roster's version and contacts, or pushes with theirs.
#[derive(Debug, PartialEq, Eq)]
enum Got {
    Nothing,
    All(String, Vec<String>),
    Pushes(Vec<(String, String)>),
}

fn ask(host: &FakeHost, module: &Instance, version: &str) -> Got {
    host.take_delivered();
    host.take_routed();
    let query = format!("<query xmlns='jabber:iq:roster' ver='{version}'/>");
    match module.iq_get(HERE, ME, &query) {
        Ok(None) => Got::Nothing,
        Ok(Some(query)) => {
            let jids = query.elements().map(|item| item.attr_s("jid").to_owned());
            Got::All(query.attr_s("ver").to_owned(), jids.collect())
        }
        Err(error) => {
            // It was answered by hand.
            assert_eq!(error.condition, Condition::UndefinedCondition, "{error:?}");
            let answers = host.take_routed();
            let [answer] = answers.as_slice() else { panic!("{answers:?}") };
            assert_eq!((answer.from.as_str(), answer.to.as_str()), (ME, HERE));
            assert_eq!(
                (answer.element().attr("type"), answer.element().children().len()),
                (Some("result"), 0)
            );
            let pushes = host.take_delivered().into_iter().map(|delivery| {
                assert_eq!(delivery.session, HERE);
                let query = delivery.stanza.subtag("query").unwrap().clone();
                let item = query.subtag("item").unwrap();
                (
                    query.attr_s("ver").to_owned(),
                    format!("{} {}", item.attr_s("jid"), item.attr_s("subscription")),
                )
            });
            Got::Pushes(pushes.collect())
        }
    }
}

/// Adds a contact and gives the version that was pushed.
fn added(host: &FakeHost, module: &Instance, contact: &str) -> String {
    host.take_delivered();
    set(module, &format!("<item jid='{contact}'/>")).unwrap();
    let pushed = host.take_delivered().remove(0).stanza;
    pushed.subtag("query").unwrap().attr_s("ver").to_owned()
}

#[test]
fn who_knows_the_version_gets_nothing_twice() {
    let (host, module) = server("{}");
    assert_eq!(get(&module, " ver=''").unwrap().attr("ver"), Some("0"));
    assert_eq!(get(&module, " ver='0'"), None, "an empty roster has a version too");
    let first = added(&host, &module, "a@x");
    assert_eq!(ask(&host, &module, &first), Got::Nothing);
    assert_eq!(get(&module, "").unwrap().attr("ver"), None, "who does not ask is not told");
    set(&module, "<item jid='a@x'/>").unwrap();
    assert_eq!(host.take_delivered(), [], "what changes nothing is not pushed");
}

#[test]
fn who_knows_an_older_version_gets_the_difference() {
    let (host, module) = server("{}");
    let versions = ["a@x", "b@x", "c@x", "d@x"].map(|contact| added(&host, &module, contact));
    let pushes = |pushes: &[(&String, &str)]| {
        Got::Pushes(pushes.iter().map(|(version, item)| ((*version).clone(), (*item).to_owned())).collect())
    };
    assert_eq!(ask(&host, &module, &versions[2]), pushes(&[(&versions[3], "d@x none")]));
    set(&module, "<item jid='a@x' subscription='remove'/>").unwrap();
    let removed = host.take_delivered().pop().unwrap().stanza;
    let last = removed.subtag("query").unwrap().attr_s("ver").to_owned();
    let expected = pushes(&[(&versions[3], "d@x none"), (&last, "a@x remove")]);
    assert_eq!(ask(&host, &module, &versions[2]), expected);
    assert_eq!(ask(&host, &module, &last), Got::Nothing);
    // More than there is: everything is shorter.
    assert!(
        matches!(ask(&host, &module, &versions[0]), Got::All(version, jids) if version == last && jids.len() == 3)
    );
    for unknown in ["", "nonsense", "1", "99999999999999999", "-1", "1-2"] {
        assert!(matches!(ask(&host, &module, unknown), Got::All(..)), "{unknown}");
    }
}

#[test]
fn the_difference_survives_a_swap_there_and_back() {
    let (host, old) = server("{}");
    let versions = ["a@x", "b@x", "c@x"].map(|contact| added(&host, &old, contact));
    let new = host.start_swap::<Roster>("{}");
    let (schema, state) = old.export_state().unwrap();
    new.import_state(schema, &state).unwrap();
    assert!(old.stop(StopReason::Swap).is_clean());
    let expected = Got::Pushes(vec![(versions[2].clone(), "c@x none".into())]);
    assert_eq!(ask(&host, &new, &versions[1]), expected);
    // A build without the log changes the roster and its version alone.
    let roster = host.map_entries("rosters", ME);
    let version: u64 = String::from_utf8(roster["@version"].clone()).unwrap().parse().unwrap();
    host.store_map("rosters", ME, "@version", (version + 1).to_string().as_bytes());
    assert!(matches!(ask(&host, &new, &versions[1]), Got::All(..)), "what is not known is not guessed");
}

#[test]
fn who_was_away_for_longer_than_is_remembered_gets_everything() {
    let (host, module) = server(r#"{"max_changes": 1}"#);
    let versions = ["a@x", "b@x", "c@x"].map(|contact| added(&host, &module, contact));
    assert!(matches!(ask(&host, &module, &versions[0]), Got::All(..)));
    assert!(matches!(ask(&host, &module, &versions[1]), Got::Pushes(pushes) if pushes.len() == 1));
    assert_eq!(module.reload(r#"{"max_changes": 0}"#, true).unwrap(), Reload::Done);
    added(&host, &module, "d@x");
    assert!(matches!(ask(&host, &module, &versions[2]), Got::All(..)));
}

#[test]
fn versioning_can_be_switched_off() {
    let (_host, module) = server(r#"{"versioning": false}"#);
    assert_eq!(get(&module, " ver='0'").unwrap().attr("ver"), None);
    assert_eq!(module.reload(r#"{"versioning": true}"#, true).unwrap(), Reload::Restart);
}
