use super::*;
use moult_plugin_api::hooks::{InfoAnswer, ItemsAnswer, OfferedCommand, name};
use moult_plugin_api::sdk::element::parse_element;
use moult_plugin_api::serde_json::{from_slice, json};
use moult_plugin_api::testing::{FakeHost, HookResult, Instance, IqResult};

const ROMEO: &str = "romeo@example.org";
const STREAM: &str = "192.0.2.7/stream-1";
const COMMANDS: &str = "http://jabber.org/protocol/commands";

/// The commands that the module ran.
type Ran = Arc<Mutex<Vec<(String, Value)>>>;

fn server(options: &str) -> (FakeHost, Instance, Ran) {
    let host = FakeHost::new("example.org");
    host.add_account(ROMEO, "secret");
    host.grant("commands");
    let ran = Ran::default();
    let noted = Arc::clone(&ran);
    host.answer_commands(move |name, args| {
        noted.lock().unwrap().push((name.to_owned(), args.clone()));
        Ok(if name == "get_roster" {
            json!([{"jid": "old@friend.example", "nick": "Old", "groups": ["a", "b"]}])
        } else {
            Value::Null
        })
    });
    let module = host.start::<Invites>(options);
    (host, module, ran)
}

fn generate(module: &Instance) -> String {
    let made = module.command("generate_invite", &json!({"host": "example.org"})).unwrap();
    token_of(made["invite_uri"].as_str().unwrap())
}

fn token_of(uri: &str) -> String {
    uri.split("preauth=").nth(1).unwrap().split(';').next().unwrap().to_owned()
}

fn show(module: &Instance, stream: &str, token: &str) -> IqResult {
    module.iq_set(stream, "example.org", &format!("<preauth xmlns='{PARS}' token='{token}'/>"))
}

fn claim(module: &Instance, stream: &str, user: &str) -> String {
    let args = json!({"stream": stream, "account": format!("{user}@example.org")});
    module.request("claim", &args).unwrap()["claim"].as_str().unwrap().to_owned()
}

fn registered(module: &Instance, stream: &str, user: &str, made: bool) {
    let args = json!({"stream": stream, "account": format!("{user}@example.org"), "made": made});
    module.request("registered", &args).unwrap();
}

fn adhoc(module: &Instance, from: &str, node: &str, form: &str) -> Result<Element, String> {
    let command = format!("<command xmlns='{COMMANDS}' node='{node}'>{form}</command>");
    let answer = module.request("adhoc", &json!({"from": from, "session": "s", "command": command})).unwrap();
    match answer["error"].as_str() {
        Some(condition) => Err(condition.to_owned()),
        None => Ok(parse_element(answer["command"].as_str().unwrap()).unwrap()),
    }
}

fn field(command: &Element, name: &str) -> String {
    let form = command.subtag_ns("x", ns::DATA_FORMS).unwrap();
    form.elements().find(|field| field.attr_s("var") == name).unwrap().subtag_text("value")
}

/// A user's invitation: its token.
fn invite(module: &Instance, user: &str) -> String {
    token_of(&field(&adhoc(module, &format!("{user}/x"), "urn:xmpp:invite#invite", "").unwrap(), "uri"))
}

fn subscribe(module: &Instance, from: &str, to: &str, token: &str) -> bool {
    let presence = format!("<presence type='subscribe'><preauth xmlns='{PARS}' token='{token}'/></presence>");
    let args = json!({"direction": "in", "kind": "subscribe"});
    let result = module.hook(name::SUBSCRIPTION_PACKET, from, to, &args, &presence);
    matches!(result, HookResult::Stopped { .. })
}

fn condition(result: IqResult) -> Condition {
    result.expect_err("an error").condition
}

fn rows(module: &Instance) -> Vec<Value> {
    let rows = module.command("list_invites", &json!({"host": "example.org"})).unwrap();
    rows.as_array().unwrap().clone()
}

#[test]
fn a_token_makes_one_account() {
    let (host, module, ran) = server("{}");
    let token = generate(&module);
    assert_eq!(condition(show(&module, STREAM, "unknown")), Condition::ItemNotFound);
    assert_eq!(claim(&module, STREAM, "juliet"), "none");
    for stream in [STREAM, "192.0.2.7/stream-2"] {
        assert_eq!(show(&module, stream, &token), Ok(None), "showing it does not use it");
    }
    assert_eq!(claim(&module, STREAM, "juliet"), "claimed");
    assert_eq!(claim(&module, "192.0.2.7/stream-2", "eve"), "used");
    registered(&module, STREAM, "juliet", false);
    assert_eq!(claim(&module, STREAM, "julia"), "claimed", "it failed, and may be tried again");
    registered(&module, STREAM, "julia", true);
    assert_eq!(claim(&module, "192.0.2.7/stream-2", "eve"), "used");
    assert_eq!(condition(show(&module, "192.0.2.8/3", &token)), Condition::ItemNotFound);
    assert_eq!(claim(&module, STREAM, "another"), "none", "one account per token");
    let [row] = rows(&module).try_into().unwrap();
    assert_eq!((&row["invitee"], &row["valid"]), (&json!("julia@example.org"), &json!(false)));
    host.run();
    assert!(ran.lock().unwrap().is_empty(), "the server is nobody's contact");
}

#[test]
fn a_reserved_name_is_for_its_token_alone() {
    let (_host, module, _) = server("{}");
    let args = json!({"username": "Juliet", "host": "example.org"});
    let made = module.command("generate_invite_with_username", &args).unwrap();
    let uri = made["invite_uri"].as_str().unwrap();
    assert!(uri.starts_with("xmpp:juliet@example.org?register;preauth="), "{uri}");
    assert_eq!(claim(&module, STREAM, "juliet"), "reserved");
    assert_eq!(module.command("generate_invite_with_username", &args).unwrap_err().code, 409);
    let other = generate(&module);
    show(&module, "192.0.2.8/other", &other).unwrap();
    assert_eq!(claim(&module, "192.0.2.8/other", "juliet"), "reserved");
    show(&module, STREAM, &token_of(uri)).unwrap();
    assert_eq!(claim(&module, STREAM, "eve"), "other-name");
    assert_eq!(claim(&module, STREAM, "juliet"), "claimed");
    for (username, code) in [("", 400), ("a b", 400), ("a@b", 400), ("romeo", 409)] {
        let args = json!({"username": username, "host": "example.org"});
        assert_eq!(
            module.command("generate_invite_with_username", &args).unwrap_err().code,
            code,
            "{username}"
        );
    }
}

#[test]
fn tokens_and_streams_go_over_a_swap() {
    let (host, old, _) = server("{}");
    let token = generate(&old);
    show(&old, STREAM, &token).unwrap();
    let new = host.start_swap::<Invites>("{}");
    let (schema, state) = old.export_state().unwrap();
    new.import_state(schema, &state).unwrap();
    assert!(new.import_state(2, &state).is_err());
    old.stop(StopReason::Swap);
    assert_eq!(new.request("invited", &json!({"stream": STREAM})).unwrap()["invited"], true);
    assert_eq!(claim(&new, STREAM, "juliet"), "claimed");
    registered(&new, STREAM, "juliet", true);
    drop(new);
    let again = host.start::<Invites>("{}");
    assert_eq!(
        condition(show(&again, STREAM, &token)),
        Condition::ItemNotFound,
        "the store knows it is used"
    );
}

#[test]
fn users_invite_contacts_who_need_not_be_approved() {
    let (host, module, ran) = server("{}");
    let token = invite(&module, ROMEO);
    for (from, to, token) in [
        ("juliet@capulet.net", ROMEO, "unknown"),
        ("juliet@capulet.net", "paris@example.org", token.as_str()),
        ("juliet@capulet.net", ROMEO, ""),
    ] {
        assert!(!subscribe(&module, from, to, token), "{from} {to} {token}");
    }
    assert!(subscribe(&module, "old@friend.example", ROMEO, &token));
    host.run();
    let ran = ran.lock().unwrap();
    let (command, args) = ran.last().unwrap();
    assert_eq!((command.as_str(), &args["subs"]), ("add_rosteritem", &json!("both")));
    assert_eq!((&args["nick"], &args["groups"]), (&json!("Old"), &json!(["a", "b"])), "what was there stays");
    let said: Vec<String> =
        host.take_routed().iter().map(|sent| sent.element().attr_s("type").to_owned()).collect();
    assert_eq!(said, ["subscribed", "subscribe"]);
    assert!(!subscribe(&module, "tybalt@capulet.net", ROMEO, &token), "a token is good for one");
    assert_eq!(condition(show(&module, STREAM, &invite(&module, ROMEO))), Condition::ItemNotFound);
}

#[test]
fn inviter_and_invited_are_introduced() {
    let (host, module, ran) = server(r#"{"users_create_accounts": true}"#);
    let token = invite(&module, ROMEO);
    show(&module, STREAM, &token).unwrap();
    claim(&module, STREAM, "juliet");
    registered(&module, STREAM, "juliet", true);
    host.run();
    let ran = ran.lock().unwrap();
    let added: Vec<(&str, &str)> = ran
        .iter()
        .filter(|(name, _)| name == "add_rosteritem")
        .map(|(_, args)| (args["localuser"].as_str().unwrap(), args["user"].as_str().unwrap()))
        .collect();
    assert_eq!(added, [("juliet", "romeo"), ("romeo", "juliet")]);
}

#[test]
fn administrators_create_accounts_by_a_form() {
    let (host, module, _) = server("{}");
    let create = "urn:xmpp:invite#create-account";
    assert_eq!(adhoc(&module, "romeo@example.org/x", create, ""), Err("forbidden".to_owned()));
    host.offer_commands(
        ROMEO,
        vec![OfferedCommand { name: "generate_invite".into(), ..OfferedCommand::default() }],
    );
    let asked = adhoc(&module, "romeo@example.org/x", create, "").unwrap();
    assert_eq!(asked.attr_s("status"), "executing");
    let form = |kind: &str, user: &str| {
        format!(
            "<x xmlns='jabber:x:data' type='{kind}'><field var='username'><value>{user}</value></field>\
             <field var='roster-subscription'><value>1</value></field></x>"
        )
    };
    let done = adhoc(&module, "romeo@example.org/x", create, &form("submit", "juliet")).unwrap();
    assert_eq!(field(&done, "FORM_TYPE"), "urn:xmpp:invite#invitation");
    assert!(field(&done, "uri").starts_with("xmpp:juliet@example.org?register;preauth="));
    assert_eq!(rows(&module)[0]["type"], "account_subscription");
    for (form, wrong) in [
        (form("form", "x"), "bad-request"),
        (form("submit", "juliet"), "conflict"),
        (form("submit", "romeo"), "conflict"),
        (form("submit", "a b"), "jid-malformed"),
    ] {
        assert_eq!(adhoc(&module, "romeo@example.org/x", create, &form), Err(wrong.to_owned()), "{form}");
    }
    for (from, node) in [("eve@elsewhere/x", create), ("romeo@example.org/x", "urn:xmpp:invite#other")] {
        assert_eq!(adhoc(&module, from, node, ""), Err("item-not-found".to_owned()));
    }
}

#[test]
fn each_sees_the_commands_that_are_for_it() {
    let (host, module, _) = server("{}");
    let ask = |from: &str| -> Vec<String> {
        let result = module.hook(name::DISCO_ITEMS, from, "example.org", &json!({"node": COMMANDS}), "{}");
        let HookResult::Continued(bytes) = result else { panic!("{result:?}") };
        from_slice::<ItemsAnswer>(&bytes).unwrap().items.into_iter().map(|item| item.node).collect()
    };
    assert_eq!(ask("romeo@example.org/x"), ["urn:xmpp:invite#invite"]);
    assert_eq!(ask("eve@elsewhere/x"), [""; 0]);
    host.offer_commands(
        ROMEO,
        vec![OfferedCommand { name: "generate_invite".into(), ..OfferedCommand::default() }],
    );
    assert_eq!(ask("romeo@example.org/x").len(), 2);
    let info = |node: &str| {
        let result =
            module.hook(name::DISCO_INFO, "romeo@example.org/x", "example.org", &json!({"node": node}), "{}");
        let HookResult::Continued(bytes) = result else { panic!("{result:?}") };
        from_slice::<InfoAnswer>(&bytes).unwrap().identities.len()
    };
    assert_eq!((info("urn:xmpp:invite#invite"), info("urn:xmpp:invite#other")), (1, 0));
    module.reload(r#"{"users_invite": false}"#, true).unwrap();
    assert_eq!(
        adhoc(&module, "romeo@example.org/x", "urn:xmpp:invite#invite", ""),
        Err("forbidden".to_owned())
    );
}

#[test]
fn invitations_are_bounded_and_taken_back() {
    let (host, module, _) = server(r#"{"max_invites": 2, "max_tokens": 3}"#);
    let token = invite(&module, ROMEO);
    invite(&module, ROMEO);
    let third = adhoc(&module, "romeo@example.org/x", "urn:xmpp:invite#invite", "");
    assert_eq!(third, Err("resource-constraint".to_owned()));
    generate(&module);
    assert_eq!(module.command("generate_invite", &json!({"host": "example.org"})).unwrap_err().code, 409);
    let of = json!({"username": "romeo", "host": "example.org"});
    assert_eq!(module.command("expire_invite_tokens", &of), Ok(json!(2)));
    assert!(!subscribe(&module, "juliet@capulet.net", ROMEO, &token));
    assert_eq!(module.command("expire_invite_tokens", &of), Ok(json!(0)));
    assert_eq!(
        module.command("cleanup_expired_invite_tokens", &json!({"host": "example.org"})),
        Ok(json!(2))
    );
    invite(&module, ROMEO);
    module.hook(name::USER_REMOVED, ROMEO, "", &json!({}), "");
    host.run();
    assert_eq!(rows(&module).len(), 1);
}

#[test]
fn only_strangers_show_tokens_and_they_show_one() {
    let (_host, module, _) = server("{}");
    let token = generate(&module);
    assert_eq!(condition(show(&module, "romeo@example.org/x", &token)), Condition::NotAllowed);
    assert_eq!(condition(show(&module, "elsewhere", &token)), Condition::NotAllowed);
    assert_eq!(condition(show(&module, STREAM, "")), Condition::BadRequest);
    let get = module.iq_get(STREAM, "example.org", &format!("<preauth xmlns='{PARS}' token='{token}'/>"));
    assert_eq!(condition(get), Condition::BadRequest);
    let other = module.iq_set(STREAM, "example.org", &format!("<other xmlns='{PARS}' token='{token}'/>"));
    assert_eq!(condition(other), Condition::BadRequest);
    assert_eq!(module.request("claim", &json!({"stream": STREAM, "account": "@"})).unwrap_err().code, 400);
    assert_eq!(module.request("other", &json!({})).unwrap_err().code, 404);
}

#[test]
fn a_page_shows_the_link_of_a_valid_token_alone() {
    let (host, module, _) = server("{}");
    let token = invite(&module, ROMEO);
    let path = format!("/invite/example.org/{token}");
    let page = module.http("GET", &path, &[], "");
    let text = String::from_utf8(page.body).unwrap();
    assert_eq!((page.status, page.headers["referrer-policy"].as_str()), (200, "no-referrer"));
    assert!(text.contains(&format!("href=\"xmpp:{ROMEO}?roster;preauth={token}\"")), "{text}");
    for wrong in ["/invite/example.org", "/invite/example.org/<script>", "/invite/example.org/x/y"] {
        let page = module.http("GET", wrong, &[], "");
        assert_eq!(page.status, 404);
        assert!(!String::from_utf8(page.body).unwrap().contains("<script>"));
    }
    assert_eq!(module.http("POST", &path, &[], "").status, 405);
    assert!(FakeHost::new("example.org").try_start::<Invites>(r#"{"url": "ftp://x"}"#).is_err());
    let moved = module.reload(r#"{"path": "/other"}"#, true);
    assert_eq!(moved, Ok(Reload::Restart));
    drop(host);
}
