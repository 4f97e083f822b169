use super::*;
use moult_plugin_api::hooks::name;
use moult_plugin_api::sdk::digest::{hex, sha1};
use moult_plugin_api::serde_json::{Value, json};
use moult_plugin_api::testing::{FakeHost, HookResult, Instance, IqResult};

const ALICE: &str = "alice@example.org/x";
const BOB: &str = "bob@example.org/x";
const EMPTY: &str = "<vCard xmlns='vcard-temp'/>";
/// The picture is the text «abc».
const CARD: &str = "<vCard xmlns='vcard-temp'><FN>Alice &amp; co</FN><PHOTO><TYPE>image/png</TYPE><BINVAL>YW\nJj</BINVAL></PHOTO></vCard>";

fn server(options: &str) -> (FakeHost, Instance) {
    let host = FakeHost::new("example.org");
    host.add_account("alice@example.org", "secret");
    let module = host.start::<VCards>(options);
    (host, module)
}

fn set(module: &Instance, from: &str, card: &str) -> IqResult {
    module.iq_set(from, "alice@example.org", card)
}

fn get(module: &Instance, from: &str) -> IqResult {
    module.iq_get(from, "alice@example.org", EMPTY)
}

fn condition(result: IqResult) -> Condition {
    result.expect_err("an error").condition
}

fn photo_in(module: &Instance, presence: &str) -> Option<String> {
    match module.hook(name::USER_SEND_PACKET, ALICE, "", &json!({}), presence) {
        HookResult::Continued(bytes) => {
            let presence = parse_element(std::str::from_utf8(&bytes).unwrap()).unwrap();
            let update: Vec<_> = presence.elements().filter(|e| e.is("x", "vcard-temp:x:update")).collect();
            assert!(update.len() <= 1);
            update.first().map(|x| x.subtag_text("photo"))
        }
        stopped => panic!("{stopped:?}"),
    }
}

#[test]
fn a_vcard_is_set_by_its_owner_and_read_by_everybody() {
    let (_host, module) = server("{}");
    assert_eq!(get(&module, ALICE).unwrap().unwrap().children(), []);
    assert_eq!(set(&module, ALICE, CARD), Ok(None));
    for from in [ALICE, BOB, "eve@elsewhere/x"] {
        assert_eq!(get(&module, from).unwrap().unwrap().subtag_text("FN"), "Alice & co");
    }
    assert_eq!(condition(set(&module, BOB, EMPTY)), Condition::Forbidden);
    assert_eq!(condition(set(&module, ALICE, "<x xmlns='vcard-temp'/>")), Condition::BadRequest);
}

#[test]
fn an_account_without_vcard_looks_to_others_as_if_it_did_not_exist() {
    let (_host, module) = server("{}");
    assert_eq!(condition(get(&module, BOB)), Condition::ServiceUnavailable);
}

#[test]
fn the_size_is_limited() {
    let (_host, module) = server(r#"{"max_size": 1024}"#);
    let long = format!("<vCard xmlns='vcard-temp'><FN>{}</FN></vCard>", "x".repeat(1024));
    assert_eq!(condition(set(&module, ALICE, &long)), Condition::PolicyViolation);
}

#[test]
fn the_server_has_a_vcard_of_its_own() {
    let (_host, module) = server(r#"{"name": "Home", "url": "https://example.org"}"#);
    let card = module.iq_get(ALICE, "example.org", EMPTY).unwrap().unwrap();
    assert_eq!(
        (card.subtag_text("FN"), card.subtag_text("URL")),
        ("Home".into(), "https://example.org".into())
    );
    assert_eq!(condition(module.iq_set(ALICE, "example.org", EMPTY)), Condition::NotAllowed);
}

#[test]
fn the_hash_of_the_picture_is_in_presence_whatever_the_client_says() {
    let (_host, module) = server("{}");
    let hash = hex(&sha1(b"abc"));
    let foreign =
        "<presence><x xmlns='vcard-temp:x:update'><photo>old</photo></x><x xmlns='urn:x'/></presence>";
    assert_eq!(photo_in(&module, "<presence/>"), None);
    assert_eq!(photo_in(&module, foreign).as_deref(), Some("old"));
    set(&module, ALICE, CARD).unwrap();
    for presence in
        ["<presence/>", foreign, "<presence to='room@muc/n'><x xmlns='vcard-temp:x:update'/></presence>"]
    {
        assert_eq!(photo_in(&module, presence).as_deref(), Some(hash.as_str()), "{presence}");
    }
    assert_eq!(photo_in(&module, "<presence type='unavailable'/>"), None);
    set(&module, ALICE, EMPTY).unwrap();
    assert_eq!(photo_in(&module, "<presence/>"), None);
}

#[test]
fn a_picture_that_cannot_be_read_has_no_hash() {
    let (_host, module) = server("{}");
    set(&module, ALICE, "<vCard xmlns='vcard-temp'><PHOTO><BINVAL>%%%</BINVAL></PHOTO></vCard>").unwrap();
    assert_eq!(photo_in(&module, "<presence/>"), None);
}

#[test]
fn without_the_option_no_stanza_is_looked_at() {
    use moult_plugin_api::abi::v1::registration::HOOK;
    let (host, module) = server(r#"{"presence_hash": false}"#);
    assert!(!host.registered(HOOK).iter().any(|hook| hook == name::USER_SEND_PACKET));
    assert_eq!(module.reload(r#"{"presence_hash": false, "name": "New"}"#, true), Ok(Reload::Done));
    assert_eq!(module.reload("{}", true), Ok(Reload::Restart));
}

#[test]
fn vcards_survive_a_swap_and_go_with_the_account() {
    let (host, old) = server("{}");
    set(&old, ALICE, CARD).unwrap();
    let new = host.start_swap::<VCards>("{}");
    assert!(old.stop(StopReason::Swap).is_clean());
    // The new generation learns the hash from the store.
    assert!(photo_in(&new, "<presence/>").is_some());
    new.hook(name::USER_REMOVED, "alice@example.org", "", &json!({}), "");
    assert_eq!(host.stored("vcards", "alice@example.org"), None);
    assert_eq!(photo_in(&new, "<presence/>"), None);
}

#[test]
fn an_administrator_reads_and_sets_fields() {
    let (_host, module) = server("{}");
    let args = |rest: Value| {
        let mut args = json!({"user": "alice", "host": "example.org"});
        args.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        args
    };
    let run = |command: &str, rest: Value| module.command(command, &args(rest));
    assert_eq!(run("get_vcard", json!({"name": "FN"})).unwrap_err().code, 404);
    assert!(run("set_vcard", json!({"name": "FN", "content": "A <b>"})).is_ok());
    assert!(run("set_vcard2", json!({"name": "N", "subname": "FAMILY", "content": "B"})).is_ok());
    assert_eq!(run("get_vcard", json!({"name": "FN"})).unwrap(), "A <b>");
    assert_eq!(run("get_vcard2", json!({"name": "N", "subname": "FAMILY"})).unwrap(), "B");
    assert_eq!(run("set_vcard", json!({"name": "a b", "content": ""})).unwrap_err().code, 400);
    let nobody = json!({"user": "nobody", "host": "example.org", "name": "FN", "content": "x"});
    assert_eq!(module.command("set_vcard", &nobody).unwrap_err().code, 404);
}

#[test]
fn the_users_directory_is_told_and_may_ask_for_everything() {
    use moult_plugin_api::serde_json::{Value, json};
    let host = FakeHost::new("example.org");
    let told = Arc::new(Mutex::new(Vec::<Value>::new()));
    let heard = Arc::clone(&told);
    host.answer_requests(move |module, method, args| {
        assert_eq!((module, method), ("mod_vjud", "card"));
        heard.lock().unwrap().push(args.clone());
        Ok(Value::Null)
    });
    let module = host.start::<VCards>("{}");
    let full = "<vCard xmlns='vcard-temp'><FN>A</FN><PHOTO><BINVAL>AAAA</BINVAL></PHOTO></vCard>";
    let kept = "<vCard xmlns='vcard-temp'><FN>A</FN></vCard>";
    for user in ["a", "b", "c"] {
        let account = format!("{user}@example.org");
        module.iq_set(&format!("{account}/x"), &account, full).unwrap();
    }
    let card = |user: &str| json!({"account": format!("{user}@example.org"), "card": kept});
    assert_eq!(std::mem::take(&mut *told.lock().unwrap()), [card("a"), card("b"), card("c")]);
    let page = module.request("cards", &json!({"after": "", "limit": 2})).unwrap();
    assert_eq!(page, json!({"cards": [card("a"), card("b")], "next": "b@example.org"}));
    let page = module.request("cards", &json!({"after": "b@example.org", "limit": 1000})).unwrap();
    assert_eq!(page, json!({"cards": [card("c")], "next": ""}));
    module.hook("user_removed", "a@example.org", "", &json!({}), "");
    assert_eq!(*told.lock().unwrap(), [json!({"account": "a@example.org", "card": ""})]);
    host.answer_requests(|_, _, _| Err(("remote-server-timeout".into(), String::new())));
    assert!(
        module.iq_set("a@example.org/x", "a@example.org", full).is_ok(),
        "the directory is no reason to refuse a vCard"
    );
    assert!(host.has_logged("was not told"));
}
