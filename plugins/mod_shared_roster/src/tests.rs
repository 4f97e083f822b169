use super::*;
use moult_plugin_api::hooks::name;
use moult_plugin_api::serde_json::Value;
use moult_plugin_api::testing::{FakeHost, Instance};
use std::sync::Mutex;

type Told = Arc<Mutex<Vec<(String, Vec<String>)>>>;

/// A vhost with accounts a, b, c, of which a and b have sessions; and what the roster module is told.
fn server(options: &str) -> (FakeHost, Instance, Told) {
    let host = FakeHost::new("x.org");
    host.grant("commands");
    for user in ["a", "b", "c"] {
        host.add_account(&format!("{user}@x.org"), "secret");
    }
    accounts(&host, &["a", "b", "c"]);
    host.add_session("a@x.org/1", 0);
    host.add_session("b@x.org/1", 0);
    let told = Told::default();
    let heard = Arc::clone(&told);
    host.answer_requests(move |module, method, args| {
        assert_eq!((module, method), ("mod_roster", "shared_changed"));
        let contacts =
            args["contacts"].as_array().unwrap().iter().map(|jid| jid.as_str().unwrap().to_owned());
        let account = args["account"].as_str().unwrap().to_owned();
        heard.lock().unwrap().push((account, contacts.collect()));
        Ok(Value::Null)
    });
    let module = host.start::<SharedRoster>(options);
    (host, module, told)
}

fn accounts(host: &FakeHost, users: &'static [&'static str]) {
    host.answer_commands(move |name, args| {
        assert_eq!((name, &args["host"]), ("registered_users", &json!("x.org")));
        Ok(json!(users))
    });
}

fn run(module: &Instance, name: &str, args: Value) -> Result<Value, u16> {
    let mut all = json!({"host": "x.org", "grouphost": "x.org"});
    all.as_object_mut().unwrap().extend(args.as_object().unwrap().clone());
    module.command(name, &all).map_err(|error| error.code)
}

/// A group that displays itself.
fn team(module: &Instance, members: &[&str]) {
    let args = json!({"group": "team", "label": "The team", "description": "Us", "display": ["team"]});
    run(module, "srg_create", args).unwrap();
    for member in members {
        run(module, "srg_user_add", json!({"user": member, "group": "team"})).unwrap();
    }
}

fn shown(module: &Instance, account: &str) -> Vec<String> {
    let answer = module.request("items", &json!({ "account": account })).unwrap();
    let items = answer["items"].as_array().unwrap().iter();
    items
        .map(|item| format!("{} {}", item["jid"].as_str().unwrap(), item["subscription"].as_str().unwrap()))
        .collect()
}

fn version(module: &Instance, account: &str) -> String {
    module.request("items", &json!({ "account": account })).unwrap()["version"].as_str().unwrap().to_owned()
}

fn take(told: &Told) -> Vec<String> {
    let told = std::mem::take(&mut *told.lock().unwrap());
    let told = told.into_iter().map(|(account, contacts)| format!("{account}: {}", contacts.join(" ")));
    told.collect::<std::collections::BTreeSet<String>>().into_iter().collect()
}

#[test]
fn members_are_contacts_and_those_with_sessions_are_told() {
    let (_host, module, told) = server("{}");
    team(&module, &["a", "B"]);
    assert_eq!(shown(&module, "a@x.org"), ["b@x.org both"]);
    assert_eq!(take(&told), ["a@x.org: b@x.org", "b@x.org: a@x.org"]);
    run(&module, "srg_user_add", json!({"user": "c", "group": "team"})).unwrap();
    assert_eq!(take(&told), ["a@x.org: c@x.org", "b@x.org: c@x.org"], "c has no session");
    let before = version(&module, "a@x.org");
    run(&module, "srg_set_info", json!({"group": "team", "key": "label", "value": "Others"})).unwrap();
    assert_eq!(take(&told).len(), 2);
    assert_ne!(version(&module, "a@x.org"), before);
    run(&module, "srg_set_info", json!({"group": "team", "key": "description", "value": "Them"})).unwrap();
    assert_eq!(take(&told), Vec::<String>::new(), "nobody sees that");
    run(&module, "srg_user_del", json!({"user": "a", "group": "team"})).unwrap();
    assert_eq!(take(&told), ["a@x.org: b@x.org c@x.org", "b@x.org: a@x.org"]);
    assert_eq!((shown(&module, "a@x.org"), version(&module, "a@x.org")), (vec![], String::new()));
    run(&module, "srg_delete", json!({"group": "team"})).unwrap();
    assert_eq!(take(&told), ["b@x.org: c@x.org"]);
}

#[test]
fn what_commands_say_is_what_they_did() {
    let (_host, module, _) = server("{}");
    team(&module, &["a", "@all@", "@online@"]);
    run(&module, "srg_add", json!({"group": "other"})).unwrap();
    run(&module, "srg_add_displayed", json!({"group": "team", "add": "other"})).unwrap();
    assert_eq!(run(&module, "srg_list", json!({})), Ok(json!(["other", "team"])));
    assert_eq!(run(&module, "srg_get_displayed", json!({"group": "team"})), Ok(json!(["other", "team"])));
    let members = run(&module, "srg_get_members", json!({"group": "team"}));
    assert_eq!(members, Ok(json!(["@all@", "@online@", "a@x.org"])));
    let info = run(&module, "srg_get_info", json!({"group": "team"})).unwrap();
    let info: Vec<_> =
        info.as_array().unwrap().iter().map(|said| said["value"].as_str().unwrap().to_owned()).collect();
    assert_eq!(info, ["The team", "Us", "other,team", "true", "true"]);
    run(&module, "srg_del_displayed", json!({"group": "team", "del": "team"})).unwrap();
    run(&module, "srg_delete", json!({"group": "other"})).unwrap();
    assert_eq!(run(&module, "srg_get_displayed", json!({"group": "team"})), Ok(json!([])));
    run(&module, "srg_user_del", json!({"user": "@all@", "group": "team"})).unwrap();
    assert_eq!(run(&module, "srg_get_members", json!({"group": "team"})), Ok(json!(["@online@", "a@x.org"])));
}

#[test]
fn what_cannot_be_done_is_refused() {
    let (_host, module, _) = server(r#"{"max_groups": 2, "max_members": 1}"#);
    team(&module, &["a"]);
    for (name, args, code) in [
        ("srg_add", json!({"group": "team"}), 409),
        ("srg_add", json!({"group": ""}), 400),
        ("srg_add", json!({"group": "new\nline"}), 400),
        ("srg_create", json!({"group": "new", "display": ["none"]}), 404),
        ("srg_delete", json!({"group": "none"}), 404),
        ("srg_get_info", json!({"group": "none"}), 404),
        ("srg_set_info", json!({"group": "team", "key": "colour", "value": "red"}), 400),
        ("srg_set_info", json!({"group": "team", "key": "label", "value": "x".repeat(2000)}), 400),
        ("srg_add_displayed", json!({"group": "team", "add": "none"}), 404),
        ("srg_del_displayed", json!({"group": "team", "del": "none"}), 404),
        ("srg_user_add", json!({"user": "nobody", "group": "team"}), 404),
        ("srg_user_add", json!({"user": "a b", "group": "team"}), 400),
        ("srg_user_add", json!({"user": "", "group": "team"}), 400),
        ("srg_user_add", json!({"user": "b", "group": "none"}), 404),
        ("srg_user_add", json!({"user": "b", "group": "team"}), 409),
        ("srg_user_add", json!({"user": "b", "group": "team", "grouphost": "y.org"}), 400),
        ("srg_user_del", json!({"user": "b", "group": "team"}), 404),
    ] {
        assert_eq!(run(&module, name, args.clone()), Err(code), "{name} {args}");
    }
    assert!(run(&module, "srg_add", json!({"group": "second"})).is_ok());
    assert_eq!(run(&module, "srg_add", json!({"group": "third"})), Err(409));
    assert_eq!(module.reload(r#"{"max_groups": 3}"#, true).unwrap(), Reload::Done);
    assert!(run(&module, "srg_add", json!({"group": "third"})).is_ok());
}

#[test]
fn accounts_that_come_and_go_belong_to_all() {
    let (host, module, told) = server("{}");
    team(&module, &["@all@"]);
    assert_eq!(shown(&module, "a@x.org"), ["b@x.org both", "c@x.org both"]);
    take(&told);
    accounts(&host, &["a", "b", "c", "d"]);
    module.hook(name::USER_REGISTERED, "d@x.org", "", &json!({}), "");
    assert_eq!(take(&told), ["a@x.org: d@x.org", "b@x.org: d@x.org"]);
    assert_eq!(shown(&module, "d@x.org").len(), 3);
    accounts(&host, &["a", "c", "d"]);
    host.remove_session("b@x.org/1");
    module.hook(name::USER_REMOVED, "b@x.org", "", &json!({}), "");
    assert_eq!(take(&told), ["a@x.org: b@x.org"]);
    assert_eq!(shown(&module, "a@x.org"), ["c@x.org both", "d@x.org both"]);
}

#[test]
fn a_removed_account_leaves_the_groups_that_name_it() {
    let (host, module, told) = server("{}");
    team(&module, &["a", "b"]);
    take(&told);
    host.remove_session("b@x.org/1");
    module.hook(name::USER_REMOVED, "b@x.org", "", &json!({}), "");
    assert_eq!(take(&told), ["a@x.org: b@x.org"]);
    assert_eq!(run(&module, "srg_get_members", json!({"group": "team"})), Ok(json!(["a@x.org"])));
}

#[test]
fn who_is_online_is_told_of_who_comes_first_and_goes_last() {
    let (host, module, told) = server("{}");
    let opened = |session: &str| {
        host.add_session(session, 0);
        module.hook(name::SESSION_OPENED, session, "", &json!({}), "");
        host.run();
        take(&told)
    };
    let closed = |session: &str| {
        host.remove_session(session);
        module.hook(name::SESSION_CLOSED, session, "", &json!({}), "");
        host.run();
        take(&told)
    };
    assert_eq!(opened("c@x.org/0"), Vec::<String>::new(), "no group wants to know");
    closed("c@x.org/0");
    team(&module, &["@online@"]);
    take(&told);
    assert_eq!(shown(&module, "a@x.org"), ["b@x.org both"]);
    assert_eq!(opened("c@x.org/1"), ["a@x.org: c@x.org", "b@x.org: c@x.org"]);
    assert_eq!(opened("c@x.org/2"), Vec::<String>::new());
    assert_eq!(shown(&module, "c@x.org"), ["a@x.org both", "b@x.org both"]);
    assert_eq!(closed("c@x.org/1"), Vec::<String>::new());
    assert_eq!(closed("c@x.org/2"), ["a@x.org: c@x.org", "b@x.org: c@x.org"]);
    assert_eq!(shown(&module, "c@x.org"), Vec::<String>::new());
}

#[test]
fn groups_are_bounded_in_rosters_and_survive_a_swap_there_and_back() {
    let (host, old, _) = server(r#"{"max_contacts": 1}"#);
    team(&old, &["a", "b", "c"]);
    assert_eq!(shown(&old, "a@x.org"), ["b@x.org both"]);
    assert!(old.export_state().is_none());
    let new = host.start_swap::<SharedRoster>("{}");
    // What the old generation still does is seen by the new one, and the other way round.
    run(&old, "srg_user_del", json!({"user": "b", "group": "team"})).unwrap();
    assert_eq!(shown(&new, "a@x.org"), ["c@x.org both"]);
    assert!(old.stop(StopReason::Swap).is_clean());
    run(&new, "srg_user_add", json!({"user": "b", "group": "team"})).unwrap();
    let back = host.start_swap::<SharedRoster>("{}");
    assert_eq!(shown(&back, "a@x.org"), ["b@x.org both", "c@x.org both"]);
}

#[test]
fn a_roster_module_that_is_not_there_or_fails_stops_nothing() {
    let (host, module, _) = server("{}");
    host.answer_requests(|_, _, _| Err(("item-not-found".into(), String::new())));
    team(&module, &["a", "b"]);
    assert!(!host.has_logged("was not told"));
    host.answer_requests(|_, _, _| Err(("remote-server-timeout".into(), String::new())));
    run(&module, "srg_user_add", json!({"user": "c", "group": "team"})).unwrap();
    assert!(host.has_logged("was not told"));
    assert_eq!(module.request("items", &json!({})).unwrap_err().code, 400);
}

#[test]
fn after_a_swap_the_roster_module_looks_at_every_session_if_it_matters_who_is_online() {
    let (host, old, _) = server("{}");
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&asked);
    host.answer_requests(move |_, method, _| {
        heard.lock().unwrap().push(method.to_owned());
        Ok(Value::Null)
    });
    let swap = || {
        let new = host.start_swap::<SharedRoster>("{}");
        asked.lock().unwrap().clear();
        new.started().unwrap();
        host.run();
        (new, asked.lock().unwrap().clone())
    };
    team(&old, &["a"]);
    let (new, methods) = swap();
    assert_eq!(methods, Vec::<String>::new());
    run(&new, "srg_user_add", json!({"user": "@online@", "group": "team"})).unwrap();
    assert_eq!(swap().1, ["shared_compare"]);
}
