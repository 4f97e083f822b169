use super::*;
use moult_plugin_api::abi::v1::registration;
use moult_plugin_api::hooks::name;
use moult_plugin_api::testing::{FakeHost, Instance};

const ME: &str = "romeo@x.org/garden";
const THERE: &str = "vjud.x.org";

fn card(family: &str, given: &str) -> String {
    format!("<vCard xmlns='vcard-temp'><N><FAMILY>{family}</FAMILY><GIVEN>{given}</GIVEN></N></vCard>")
}

/// With juliet and tybalt Capulet and romeo Montague in it.
fn server(options: &str) -> (FakeHost, Instance) {
    let host = FakeHost::new("x.org");
    let module = host.start::<Directory>(options);
    for (user, family) in [("juliet", "Capulet"), ("tybalt", "Capulet"), ("romeo", "Montague")] {
        set(&module, user, &card(family, user));
    }
    (host, module)
}

fn set(module: &Instance, user: &str, card: &str) {
    module.request("card", &json!({"account": format!("{user}@x.org"), "card": card})).unwrap();
}

fn ask(host: &FakeHost, module: &Instance, from: &str, kind: &str, payload: &str) -> Element {
    host.take_routed();
    module.stanza(from, THERE, &format!("<iq type='{kind}' id='1'>{payload}</iq>"));
    host.run();
    let answer = host.take_routed().remove(0);
    assert_eq!((answer.from.as_str(), answer.to.as_str()), (THERE, from));
    answer.element()
}

fn search(host: &FakeHost, module: &Instance, content: &str) -> Element {
    ask(host, module, ME, "set", &format!("<query xmlns='jabber:iq:search'>{content}</query>"))
}

fn jids(answer: &Element) -> Vec<&str> {
    answer.subtag("query").unwrap().elements().map(|item| item.attr_s("jid")).collect()
}

fn condition(answer: &Element) -> Condition {
    StanzaError::from_element(answer.subtag("error").expect("an error")).condition
}

fn form(fields: &[(&str, &str)]) -> String {
    let field = |(var, value): &(&str, &str)| format!("<field var='{var}'><value>{value}</value></field>");
    let fields: String = fields.iter().map(field).collect();
    format!("<x xmlns='jabber:x:data' type='submit'>{fields}</x>")
}

#[test]
fn a_client_learns_what_it_can_search_for() {
    let (host, module) = server("{}");
    let answer = ask(&host, &module, ME, "get", "<query xmlns='jabber:iq:search'/>");
    let query = answer.subtag("query").unwrap();
    let plain: Vec<_> = query.elements().map(Element::name).collect();
    assert_eq!(plain, ["instructions", "first", "last", "nick", "email", "x"]);
    let form = query.subtag("x").unwrap();
    assert_eq!(
        (form.attr_s("type"), form.subtag("field").unwrap().subtag_text("value")),
        ("form", "jabber:iq:search".to_owned())
    );
    let info = ask(&host, &module, ME, "get", "<query xmlns='http://jabber.org/protocol/disco#info'/>");
    let identity = info.subtag("query").unwrap().subtag("identity").unwrap();
    assert_eq!((identity.attr_s("category"), identity.attr_s("type")), ("directory", "user"));
    assert_eq!(host.registered(registration::ROUTE_GLOBAL), [THERE]);
}

#[test]
fn searches_without_a_form() {
    let (host, module) = server("{}");
    let answer = search(&host, &module, "<last>capulet</last>");
    assert_eq!(jids(&answer), ["juliet@x.org", "tybalt@x.org"]);
    let item = answer.subtag("query").unwrap().subtag("item").unwrap();
    assert_eq!((item.subtag_text("first"), item.subtag_text("last")), ("juliet".into(), "Capulet".into()));
    assert_eq!(jids(&search(&host, &module, "<last>cap*</last><first>T*</first>")), ["tybalt@x.org"]);
    assert_eq!(jids(&search(&host, &module, "<last>nobody</last>")), Vec::<&str>::new());
    for everything in ["", "<last/>", "<last>*</last>", "<user>x</user>"] {
        assert_eq!(condition(&search(&host, &module, everything)), Condition::NotAcceptable, "{everything}");
    }
}

#[test]
fn searches_by_form() {
    let (host, module) = server(r#"{"allow_return_all": true}"#);
    let answer = search(&host, &module, &form(&[("FORM_TYPE", "jabber:iq:search"), ("user", "*o")]));
    let result = answer.subtag("query").unwrap().subtag("x").unwrap();
    assert_eq!(result.attr_s("type"), "result");
    let columns = result.subtag("reported").unwrap().elements().map(|field| field.attr_s("var"));
    let columns: Vec<_> = columns.collect();
    let row = result.subtag("item").unwrap();
    assert_eq!(row.elements().map(|field| field.attr_s("var")).collect::<Vec<_>>(), columns);
    assert_eq!(row.subtag("field").unwrap().subtag_text("value"), "romeo@x.org");
    let all = search(&host, &module, &form(&[]));
    let all = all.subtag("query").unwrap().subtag("x").unwrap();
    assert_eq!(all.elements().filter(|row| row.name() == "item").count(), 3);
    assert_eq!(
        search(&host, &module, &form(&[("last", "none")])).subtag("query").unwrap().children().len(),
        0
    );
    assert_eq!(condition(&search(&host, &module, &form(&[("FORM_TYPE", "other")]))), Condition::BadRequest);
    let cancelled = "<x xmlns='jabber:x:data' type='cancel'/>";
    assert_eq!(search(&host, &module, cancelled).attr("type"), Some("result"));
    let wrong = "<x xmlns='jabber:x:data' type='result'/>";
    assert_eq!(condition(&search(&host, &module, wrong)), Condition::BadRequest);
}

#[test]
fn results_and_the_directory_are_bounded() {
    let (host, module) = server(r#"{"matches": 1, "max_entries": 3}"#);
    assert_eq!(jids(&search(&host, &module, "<last>capulet</last>")), ["juliet@x.org"]);
    set(&module, "mercutio", &card("Escalus", "mercutio"));
    assert_eq!(host.counter("left_out"), 1);
    assert_eq!(jids(&search(&host, &module, "<last>escalus</last>")), Vec::<&str>::new());
    set(&module, "tybalt", &card("Cat", "tybalt"));
    assert_eq!(
        jids(&search(&host, &module, "<last>cat</last>")),
        ["tybalt@x.org"],
        "who is there may change"
    );
    assert_eq!(module.reload(r#"{"max_entries": 4}"#, true).unwrap(), Reload::Done);
    set(&module, "mercutio", &card("Escalus", "mercutio"));
    assert_eq!(jids(&search(&host, &module, "<last>escalus</last>")), ["mercutio@x.org"]);
    assert_eq!(module.reload(r#"{"host": "search.@HOST@"}"#, true).unwrap(), Reload::Restart);
}

#[test]
fn users_decide_whether_they_are_found() {
    let (host, module) = server("{}");
    let register = |from: &str, kind: &str, content: &str| {
        ask(&host, &module, from, kind, &format!("<query xmlns='jabber:iq:register'>{content}</query>"))
    };
    let is_registered =
        |from: &str| register(from, "get", "").subtag("query").unwrap().subtag("registered").is_some();
    let found = || jids(&search(&host, &module, "<last>montague</last>")).len();
    assert!(is_registered(ME));
    register(ME, "set", "<remove/>");
    assert_eq!((found(), is_registered(ME)), (0, false));
    set(&module, "romeo", &card("Montague", "another"));
    assert_eq!(found(), 0, "another vCard changes no mind");
    register(ME, "set", "");
    assert_eq!(found(), 1);
    // Where one has to ask for it, who has not asked is not found.
    module.reload(r#"{"opt_in": true}"#, true).unwrap();
    assert_eq!((found(), is_registered("juliet@x.org/a")), (1, false));
    assert_eq!(jids(&search(&host, &module, "<last>capulet</last>")), Vec::<&str>::new());
    assert_eq!(condition(&register("a@far.org/x", "set", "")), Condition::Forbidden);
}

#[test]
fn strangers_and_nonsense_are_refused() {
    let (host, module) = server("{}");
    let query = "<query xmlns='jabber:iq:search'><last>capulet</last></query>";
    for from in ["a@far.org/x", "x.org", "far.org"] {
        assert_eq!(condition(&ask(&host, &module, from, "set", query)), Condition::Forbidden, "{from}");
    }
    for (kind, payload, expected) in [
        ("set", "<query xmlns='http://jabber.org/protocol/disco#info'/>", Condition::NotAllowed),
        ("get", "<query xmlns='http://jabber.org/protocol/disco#info' node='n'/>", Condition::ItemNotFound),
        ("get", "<query xmlns='urn:unknown'/>", Condition::ServiceUnavailable),
        ("get", "<other xmlns='jabber:iq:search'/>", Condition::ServiceUnavailable),
    ] {
        assert_eq!(condition(&ask(&host, &module, ME, kind, payload)), expected, "{payload}");
    }
    module.stanza(ME, THERE, "<message><body>hello</body></message>");
    module.stanza(ME, THERE, "<presence/>");
    module.stanza(ME, THERE, "<iq type='result' id='1'/>");
    host.run();
    assert_eq!(host.take_routed(), []);
    module.reload(r#"{"public": true}"#, true).unwrap();
    assert_eq!(jids(&ask(&host, &module, "a@far.org/x", "set", query)).len(), 2);
}

#[test]
fn who_has_no_card_and_who_is_gone_is_not_found() {
    let (host, module) = server("{}");
    set(&module, "juliet", "");
    module.hook(name::USER_REMOVED, "tybalt@x.org", "", &json!({}), "");
    assert_eq!(jids(&search(&host, &module, "<last>capulet</last>")), Vec::<&str>::new());
}

#[test]
fn what_was_set_before_is_read_at_the_start_and_by_command() {
    let host = FakeHost::new("x.org");
    host.answer_requests(|module, method, args| {
        assert_eq!((module, method), ("mod_vcard", "cards"));
        let one = |user: &str| json!([{"account": format!("{user}@x.org"), "card": card("Capulet", user)}]);
        Ok(match args["after"].as_str().unwrap() {
            "" => json!({"cards": one("juliet"), "next": "juliet@x.org"}),
            _ => json!({"cards": one("tybalt"), "next": ""}),
        })
    });
    let module = host.start::<Directory>("{}");
    module.started().unwrap();
    host.run();
    assert_eq!(jids(&search(&host, &module, "<last>capulet</last>")), ["juliet@x.org", "tybalt@x.org"]);
    assert_eq!(module.command("vjud_rebuild", &json!({"host": "x.org"})).unwrap(), json!(2));
    host.answer_requests(|_, _, _| Err(("item-not-found".into(), String::new())));
    assert_eq!(module.command("vjud_rebuild", &json!({"host": "x.org"})).unwrap(), json!(0));
    host.answer_requests(|_, _, _| Ok(json!("nonsense")));
    assert_eq!(module.command("vjud_rebuild", &json!({"host": "x.org"})).unwrap_err().code, 500);
}

#[test]
fn both_generations_of_a_swap_see_what_the_other_one_wrote() {
    let (host, old) = server("{}");
    assert!(old.export_state().is_none());
    assert_eq!(jids(&search(&host, &old, "<last>cap*</last>")).len(), 2);
    let new = host.start_swap::<Directory>("{}");
    new.started().unwrap();
    set(&new, "juliet", &card("Montague", "juliet"));
    set(&old, "tybalt", "");
    assert!(old.stop(StopReason::Swap).is_clean());
    assert_eq!(jids(&search(&host, &new, "<last>montague</last>")), ["juliet@x.org", "romeo@x.org"]);
    assert_eq!(jids(&search(&host, &new, "<last>cap*</last>")), Vec::<&str>::new());
    let back = host.start_swap::<Directory>("{}");
    assert_eq!(jids(&search(&host, &back, "<last>montague</last>")).len(), 2);
}
