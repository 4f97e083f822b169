use super::*;
use moult_plugin_api::hooks::name;
use moult_plugin_api::sdk::element::parse_element;
use moult_plugin_api::serde_json::json;
use moult_plugin_api::testing::{FakeHost, HookResult, Instance, IqResult};

const ALICE: &str = "alice@example.org/x";
const BOB: &str = "bob@example.org/y";

fn server(options: &str) -> (FakeHost, Instance) {
    let host = FakeHost::new("example.org");
    for user in ["alice", "bob"] {
        host.add_account(&format!("{user}@example.org"), "secret");
    }
    let module = host.start::<Mam>(options);
    (host, module)
}

fn chat(body: &str) -> String {
    format!("<message type='chat' id='{body}'><body>{body}</body></message>")
}

fn passed(result: HookResult) -> Element {
    match result {
        HookResult::Continued(bytes) => parse_element(std::str::from_utf8(&bytes).unwrap()).unwrap(),
        stopped => panic!("{stopped:?}"),
    }
}

fn send(module: &Instance, from: &str, to: &str, message: &str) -> Element {
    passed(module.hook(name::USER_SEND_PACKET, from, to, &json!({}), message))
}

fn receive(module: &Instance, from: &str, to: &str, message: &str) -> Element {
    passed(module.hook(name::FILTER_PACKET, from, to, &json!({}), message))
}

/// Both hooks, as a message between two users of the server meets them.
fn talk(module: &Instance, from: &str, to: &str, body: &str) -> Element {
    let sent = send(module, from, to, &chat(body));
    receive(module, from, to, &sent.to_string())
}

fn ids(message: &Element) -> Vec<(String, String)> {
    let ids = message.elements().filter(|e| e.is("stanza-id", STANZA_ID));
    ids.map(|e| (e.attr_s("by").to_owned(), e.attr_s("id").to_owned())).collect()
}

fn query(module: &Instance, from: &str, content: &str) -> IqResult {
    let query = format!("<query xmlns='{NS}' queryid='q1'>{content}</query>");
    module.iq_set(from, "alice@example.org", &query)
}

fn field(var: &str, value: &str) -> String {
    format!("<field var='{var}'><value>{value}</value></field>")
}

fn form(fields: &str) -> String {
    format!("<x xmlns='jabber:x:data' type='submit'>{}{fields}</x>", field("FORM_TYPE", NS))
}

fn rsm(content: &str) -> String {
    format!("<set xmlns='http://jabber.org/protocol/rsm'>{content}</set>")
}

/// The bodies of a page, and its end.
fn page(host: &FakeHost, module: &Instance, content: &str) -> (Vec<String>, Element) {
    host.take_routed();
    let fin = query(module, ALICE, content).unwrap().unwrap();
    let results = host.take_routed();
    let bodies = results.iter().map(|routed| {
        assert_eq!((routed.from.as_str(), routed.to.as_str()), ("alice@example.org", ALICE));
        let element = routed.element();
        let result = element.subtag_ns("result", NS).unwrap();
        assert_eq!(result.attr_s("queryid"), "q1");
        let forwarded = result.subtag_ns("forwarded", "urn:xmpp:forward:0").unwrap();
        assert!(forwarded.subtag_ns("delay", "urn:xmpp:delay").unwrap().attr_s("stamp").ends_with('Z'));
        forwarded.subtag_ns("message", ns::CLIENT).unwrap().subtag_text("body")
    });
    (bodies.collect(), fin)
}

/// The ids of everything in the archive, in order.
fn stored_ids(host: &FakeHost, module: &Instance) -> Vec<String> {
    host.take_routed();
    query(module, ALICE, "").unwrap();
    let results = host.take_routed();
    results
        .iter()
        .map(|routed| routed.element().subtag_ns("result", NS).unwrap().attr_s("id").to_owned())
        .collect()
}

fn edge(fin: &Element, name: &str) -> String {
    fin.subtag("set").unwrap().subtag_text(name)
}

fn condition(result: IqResult) -> Condition {
    result.unwrap_err().condition
}

#[test]
fn a_message_is_in_both_archives_and_carries_the_recipients_id() {
    let (host, module) = server("{}");
    let delivered = talk(&module, ALICE, "bob@example.org", "hello");
    let [(by, id)] = ids(&delivered).try_into().unwrap();
    assert_eq!(by, "bob@example.org");
    let count =
        |user| module.command("get_mam_count", &json!({"user": user, "host": "example.org"})).unwrap();
    assert_eq!((count("alice"), count("bob")), (json!(1), json!(1)));
    let (bodies, fin) = page(&host, &module, "");
    assert_eq!(bodies, ["hello"]);
    assert!(fin.is("fin", NS) && fin.attr_s("complete") == "true");
    assert_ne!(edge(&fin, "first"), id);
    assert_eq!(edge(&fin, "first"), edge(&fin, "last"));
}

#[test]
fn ids_in_the_archives_name_are_taken_out_and_others_stay() {
    let (_host, module) = server("{}");
    let stanza_id = |by: &str| format!("<stanza-id xmlns='{STANZA_ID}' by='{by}' id='forged'/>");
    let forged = format!(
        "<message type='chat'><body>x</body>{}{}</message>",
        stanza_id("Bob@example.org"),
        stanza_id("room@muc")
    );
    let bys = |message: &Element| ids(message).into_iter().map(|(by, _)| by).collect::<Vec<_>>();
    let delivered = receive(&module, "room@muc/n", BOB, &forged);
    assert_eq!(bys(&delivered), ["room@muc", "bob@example.org"]);
    assert_ne!(ids(&delivered)[1].1, "forged");
    // Also where nothing is stored.
    let unstored = forged.replace("<body>x</body>", "");
    assert_eq!(bys(&receive(&module, "room@muc/n", BOB, &unstored)), ["room@muc"]);
    let untouched =
        "<message type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>";
    assert_eq!(
        module.hook(name::FILTER_PACKET, ALICE, BOB, &json!({}), untouched),
        HookResult::Continued(untouched.into())
    );
}

#[test]
fn only_conversations_are_archived() {
    let (host, module) = server("{}");
    for (message, is_archived) in [
        ("<message><body>x</body></message>", true),
        ("<message type='chat'><body>x</body></message>", true),
        ("<message type='chat'><received xmlns='urn:xmpp:receipts' id='1'/></message>", true),
        ("<message type='chat'><store xmlns='urn:xmpp:hints'/></message>", true),
        ("<message type='chat'><body>x</body><no-store xmlns='urn:xmpp:hints'/></message>", false),
        ("<message type='chat'><body>x</body><no-permanent-store xmlns='urn:xmpp:hints'/></message>", false),
        ("<message type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>", false),
        ("<message type='groupchat'><body>x</body></message>", false),
        ("<message type='headline'><body>x</body></message>", false),
        ("<message type='error'><body>x</body></message>", false),
        ("<message><body xmlns='urn:other'>x</body></message>", false),
        ("<presence/>", false),
    ] {
        assert_eq!(!ids(&send(&module, ALICE, BOB, message)).is_empty(), is_archived, "{message}");
    }
    assert_eq!(page(&host, &module, "").0.len(), 4);
}

#[test]
fn a_message_to_oneself_is_archived_once_and_one_to_nobody_never() {
    let (host, module) = server("{}");
    talk(&module, ALICE, "alice@example.org", "note");
    assert_eq!(page(&host, &module, "").0, ["note"]);
    receive(&module, BOB, "nobody@example.org", &chat("lost"));
    let count = module.command("get_mam_count", &json!({"user": "nobody", "host": "example.org"})).unwrap();
    assert_eq!(count, json!(0));
}

#[test]
fn pages_follow_each_other_in_both_directions() {
    let (host, module) = server(r#"{"max_page": 4}"#);
    for number in 0..10 {
        talk(&module, ALICE, BOB, &number.to_string());
    }
    let (first, fin) = page(&host, &module, &rsm("<max>3</max>"));
    assert_eq!((first, fin.attr("complete")), (["0", "1", "2"].map(str::to_owned).to_vec(), None));
    let (next, _) = page(&host, &module, &rsm(&format!("<max>3</max><after>{}</after>", edge(&fin, "last"))));
    assert_eq!(next, ["3", "4", "5"]);
    let (last, fin) = page(&host, &module, &rsm("<max>3</max><before/>"));
    assert_eq!(last, ["7", "8", "9"]);
    let (before, fin) = page(&host, &module, &rsm(&format!("<before>{}</before>", edge(&fin, "first"))));
    assert_eq!(before, ["3", "4", "5", "6"]);
    let (rest, fin) = page(&host, &module, &rsm(&format!("<before>{}</before>", edge(&fin, "first"))));
    assert_eq!((rest.len(), fin.attr_s("complete")), (3, "true"));
    // More than the server gives, and nothing but the number.
    assert_eq!(page(&host, &module, &rsm("<max>1000</max>")).0.len(), 4);
    let (none, fin) = page(&host, &module, &rsm("<max>0</max>"));
    assert_eq!((none.len(), edge(&fin, "count")), (0, "10".to_owned()));
}

#[test]
fn messages_are_found_by_correspondent_and_by_time() {
    let (host, module) = server("{}");
    for (peer, body) in [("bob@example.org/y", "1"), ("eve@other/z", "2"), ("bob@example.org/w", "3")] {
        talk(&module, ALICE, peer, body);
    }
    let with = |jid: &str| page(&host, &module, &form(&field("with", jid))).0;
    assert_eq!(with("Bob@example.org"), ["1", "3"]);
    assert_eq!(with("bob@example.org/w"), ["3"]);
    assert_eq!(with("nobody@other"), [""; 0]);
    let between =
        |start: &str, end: &str| page(&host, &module, &form(&(field("start", start) + &field("end", end)))).0;
    assert_eq!(between("2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z").len(), 3);
    assert_eq!(between("2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z").len(), 0);
}

#[test]
fn single_messages_ranges_between_ids_and_flipped_pages_are_given() {
    let (host, module) = server("{}");
    for number in 0..6 {
        talk(&module, ALICE, BOB, &number.to_string());
        host.advance(std::time::Duration::from_secs(1));
    }
    let all = |content: &str| page(&host, &module, content);
    let ids: Vec<String> = stored_ids(&host, &module);
    let bodies = |content: &str| all(content).0;
    let ranged = form(&(field("after-id", &ids[0]) + &field("before-id", &ids[5])));
    assert_eq!(bodies(&ranged), ["1", "2", "3", "4"]);
    assert_eq!(bodies(&format!("{ranged}{}", rsm("<max>2</max>"))), ["1", "2"]);
    let next = format!("{ranged}{}", rsm(&format!("<max>9</max><after>{}</after>", ids[2])));
    assert_eq!(bodies(&next), ["3", "4"], "both bounds hold");
    let back = format!("{ranged}{}", rsm("<max>2</max><before/>"));
    assert_eq!(bodies(&back), ["3", "4"]);
    assert_eq!(bodies(&format!("{ranged}<flip-page/>")), ["4", "3", "2", "1"]);

    let of = |some: &[&str]| {
        let values: String = some.iter().map(|id| format!("<value>{id}</value>")).collect();
        form(&format!("<field var='ids'>{values}</field>"))
    };
    let (named, fin) = all(&of(&[&ids[4], &ids[1], &ids[4]]));
    assert_eq!((named, fin.attr("complete")), (vec!["1".to_owned(), "4".to_owned()], Some("true")));
    let first = format!("{}{}", of(&[&ids[4], &ids[1]]), rsm("<max>1</max>"));
    assert_eq!(bodies(&first), ["1"]);
    for (content, expected) in [
        (of(&["nonsense"]), Condition::ItemNotFound),
        (of(&[&ids[1], "nonsense"]), Condition::ItemNotFound),
        (of(&[]), Condition::BadRequest),
        (format!("{ranged}{}", rsm("<after>nonsense</after>")), Condition::ItemNotFound),
    ] {
        assert_eq!(condition(query(&module, ALICE, &content)), expected, "{content}");
    }
}

#[test]
fn the_metadata_name_the_first_and_the_last_message() {
    let (host, module) = server("{}");
    let metadata =
        |from: &str| module.iq_get(from, "alice@example.org", &format!("<metadata xmlns='{NS}'/>"));
    assert_eq!(metadata(ALICE).unwrap().unwrap().elements().count(), 0);
    for number in 0..3 {
        talk(&module, ALICE, BOB, &number.to_string());
    }
    let ids = stored_ids(&host, &module);
    let answer = metadata(ALICE).unwrap().unwrap();
    let edges: Vec<_> = answer.elements().map(|edge| (edge.name(), edge.attr_s("id"))).collect();
    assert_eq!(edges, [("start", ids[0].as_str()), ("end", ids[2].as_str())]);
    assert!(answer.elements().all(|edge| edge.attr_s("timestamp").ends_with('Z')));
    assert_eq!(condition(metadata(BOB)), Condition::Forbidden);
}

#[test]
fn a_full_jid_is_looked_for_page_after_page() {
    let (host, module) = server(r#"{"max_page": 2}"#);
    for number in 0..9 {
        let resource = if number % 4 == 0 { "wanted" } else { "other" };
        talk(&module, ALICE, &format!("bob@example.org/{resource}"), &number.to_string());
    }
    let wanted = form(&field("with", "bob@example.org/wanted"));
    let (bodies, fin) = page(&host, &module, &wanted);
    assert_eq!((bodies.as_slice(), fin.attr("complete")), (["0", "4"].map(str::to_owned).as_slice(), None));
    let (bodies, fin) = page(&host, &module, &(wanted + &rsm("<before/>")));
    assert_eq!((bodies.as_slice(), fin.attr("complete")), (["4", "8"].map(str::to_owned).as_slice(), None));
}

#[test]
fn bad_requests_are_refused_with_the_conditions_of_the_xep() {
    let (_host, module) = server("{}");
    assert_eq!(condition(query(&module, BOB, "")), Condition::Forbidden);
    for (content, expected) in [
        (form(&field("with", "a@b@c")), Condition::BadRequest),
        (form(&field("start", "yesterday")), Condition::BadRequest),
        (form(&field("colour", "blue")), Condition::FeatureNotImplemented),
        (format!("<x xmlns='jabber:x:data'>{}</x>", field("FORM_TYPE", "urn:other")), Condition::BadRequest),
        (rsm("<max>many</max>"), Condition::BadRequest),
        (rsm("<max>-1</max>"), Condition::BadRequest),
        (rsm("<index>3</index>"), Condition::FeatureNotImplemented),
    ] {
        assert_eq!(condition(query(&module, ALICE, &content)), expected, "{content}");
    }
    let other = format!("<other xmlns='{NS}'/>");
    assert_eq!(condition(module.iq_set(ALICE, "alice@example.org", &other)), Condition::BadRequest);
    assert_eq!(condition(module.iq_get(BOB, "alice@example.org", &other)), Condition::Forbidden);
}

#[test]
fn the_form_names_the_fields() {
    let (_host, module) = server("{}");
    let answer =
        module.iq_get(ALICE, "alice@example.org", &format!("<query xmlns='{NS}'/>")).unwrap().unwrap();
    let form = answer.subtag_ns("x", ns::DATA_FORMS).unwrap();
    let fields: Vec<_> = form.elements().map(|field| field.attr_s("var")).collect();
    assert_eq!(fields, ["FORM_TYPE", "with", "start", "end", "before-id", "after-id", "ids"]);
}

#[test]
fn users_choose_whose_messages_are_archived() {
    let (host, module) = server("{}");
    host.set_contacts("alice@example.org", &[("bob@example.org", Subscription::Both)]);
    let choose = |default: &str, lists: &str| {
        let prefs = format!("<prefs xmlns='{NS}' default='{default}'>{lists}</prefs>");
        module.iq_set(ALICE, "alice@example.org", &prefs)
    };
    let is_archived = |peer: &str| !ids(&send(&module, ALICE, peer, &chat("x"))).is_empty();
    assert!(is_archived(BOB));
    choose("never", "<always><jid>eve@other</jid></always>").unwrap();
    assert!(!is_archived(BOB) && is_archived("eve@other/z"));
    choose("roster", "<never><jid>carol@other</jid></never>").unwrap();
    assert!(is_archived(BOB) && !is_archived("eve@other/z"));
    let prefs =
        module.iq_get(ALICE, "alice@example.org", &format!("<prefs xmlns='{NS}'/>")).unwrap().unwrap();
    assert_eq!(
        (prefs.attr_s("default"), prefs.subtag("never").unwrap().subtag_text("jid")),
        ("roster", "carol@other".into())
    );
    assert_eq!(condition(choose("sometimes", "")), Condition::BadRequest);
    assert_eq!(condition(choose("always", "<always><jid>a@b@c</jid></always>")), Condition::JidMalformed);
    let many: String = (0..501).map(|n| format!("<jid>u{n}@b</jid>")).collect();
    assert_eq!(condition(choose("always", &format!("<never>{many}</never>"))), Condition::ResourceConstraint);
    // The choice is known to the next generation.
    let new = host.start_swap::<Mam>("{}");
    assert!(ids(&send(&new, ALICE, "eve@other/z", &chat("x"))).is_empty());
}

#[test]
fn the_servers_default_holds_for_who_has_not_chosen() {
    let (_host, module) = server(r#"{"default": "never"}"#);
    assert!(ids(&send(&module, ALICE, BOB, &chat("x"))).is_empty());
    assert_eq!(module.reload("{}", true), Ok(Reload::Done));
    assert!(!ids(&send(&module, ALICE, BOB, &chat("x"))).is_empty());
}

#[test]
fn archives_go_with_their_accounts_and_by_command() {
    let (host, module) = server("{}");
    host.grant("commands");
    talk(&module, ALICE, BOB, "hello");
    let bob = json!({"user": "bob", "host": "example.org"});
    module.hook(name::USER_REMOVED, "alice@example.org", "", &json!({}), "");
    assert_eq!(page(&host, &module, "").0, [""; 0]);
    assert_eq!(module.command("get_mam_count", &bob).unwrap(), json!(1));
    let old = |kind: &str, days: i64| {
        module.command("delete_old_mam_messages", &json!({"type": kind, "days": days, "host": "example.org"}))
    };
    assert_eq!(old("all", 1).unwrap(), json!(0));
    assert_eq!(old("groupchat", 0).unwrap(), json!(0));
    assert_eq!(old("other", 0).unwrap_err().code, 400);
    assert_eq!(old("all", -1).unwrap_err().code, 400);
    assert_eq!(module.command("remove_mam_for_user", &bob).unwrap(), json!(1));
    assert_eq!(module.command("get_mam_count", &bob).unwrap(), json!(0));
}

#[test]
fn without_a_vhost_the_command_goes_to_all_of_them() {
    let (host, module) = server("{}");
    host.grant("commands");
    host.answer_commands(|name, args| match (name, args["host"].as_str()) {
        ("registered_vhosts", _) => Ok(json!(["example.org", "example.com", "bare.example"])),
        ("delete_old_mam_messages", Some("example.org")) => Ok(json!(3)),
        ("delete_old_mam_messages", Some("example.com")) => Ok(json!(4)),
        _ => Err(("item-not-found".into(), "no such module there".into())),
    });
    let deleted = module.command("delete_old_mam_messages", &json!({"type": "chat", "days": 30})).unwrap();
    assert_eq!(deleted, json!(7));
}

#[test]
fn what_is_old_enough_is_deleted_by_itself() {
    let (host, module) = server(r#"{"retention": 1}"#);
    talk(&module, ALICE, BOB, "hello");
    let stored = now_ms();
    while now_ms() <= stored + 1 {
        std::hint::spin_loop();
    }
    host.advance(PURGE_INTERVAL);
    assert_eq!(page(&host, &module, "").0, [""; 0]);
    let (host, module) = server(r#"{"retention": 0}"#);
    talk(&module, ALICE, BOB, "hello");
    host.advance(PURGE_INTERVAL * 48);
    assert_eq!(page(&host, &module, "").0, ["hello"]);
}
