//! Commands.

use super::*;

#[test]
fn an_administrator_changes_rosters_by_command() {
    let (host, module) = server("{}");
    let item = |rest: Value| {
        let mut args = json!({
            "localuser": "romeo", "localhost": "example.org", "user": "juliet", "host": "far.example",
        });
        args.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        args
    };
    let add = |subs: &str| {
        module.command("add_rosteritem", &item(json!({"nick": "J", "groups": ["a;b", "a"], "subs": subs})))
    };
    assert_eq!(add("sideways").unwrap_err().code, 400);
    assert!(add("both").is_ok());
    assert_eq!(seen(&host), expect(&["both"], &[], &[], &[Subscription::Both]));
    let account = json!({"user": "romeo", "host": "example.org"});
    let roster = module.command("get_roster", &account).unwrap();
    assert_eq!(
        roster,
        json!([{"jid": YOU, "nick": "J", "subscription": "both", "pending": "none", "groups": ["a", "b"]}])
    );
    assert!(module.command("delete_rosteritem", &item(json!({}))).is_ok());
    assert_eq!(seen(&host), expect(&["remove"], &[], &[], &[Subscription::None]));
    assert_eq!(module.command("delete_rosteritem", &item(json!({}))).unwrap_err().code, 404);
    let nobody = json!({"user": "nobody", "host": "example.org"});
    assert_eq!(module.command("get_roster", &nobody).unwrap_err().code, 404);
}

fn add(module: &Instance, contact: &str, subs: &str) {
    let (user, host) = contact.split_once('@').unwrap_or(("", contact));
    let args = json!({"localuser": "romeo", "localhost": "example.org", "user": user, "host": host, "nick": "",
                      "groups": [], "subs": subs});
    module.command("add_rosteritem", &args).unwrap();
}

#[test]
fn what_clients_may_not_do_administrators_may_not_either() {
    let (_host, module) = server(r#"{"max_items": 1, "max_groups": 1, "group_length": 3, "name_length": 3}"#);
    let try_add = |contact: &str, nick: &str, groups: Value| {
        let args = json!({"localuser": "romeo", "localhost": "example.org", "user": contact, "host": "x", "nick": nick,
                          "groups": groups, "subs": "none"});
        module.command("add_rosteritem", &args).map_err(|error| error.code)
    };
    assert_eq!(try_add("a", "long", json!([])), Err(400));
    assert_eq!(try_add("a", "", json!(["a", "b"])), Err(400));
    assert_eq!(try_add("a", "", json!(["long"])), Err(400));
    assert_eq!(try_add("a b", "", json!([])), Err(400));
    assert!(try_add("a", "", json!(["a"])).is_ok());
    assert_eq!(try_add("b", "", json!([])), Err(409));
}

#[test]
fn contacts_are_found_and_deleted_by_a_filter() {
    let (host, module) = server("{}");
    host.grant("commands");
    host.answer_commands(|name, _| {
        assert_eq!(name, "registered_vhosts");
        Ok(json!(["example.org", "other.org", "third.org"]))
    });
    let mut vhosts = vec!["has none", "other.org"];
    host.answer_requests(move |_, method, args| {
        if method == "items" {
            return Err(("item-not-found".into(), String::new()));
        }
        assert_eq!((method, &args["filter"]["action"]), ("process_rosteritems", &json!("list")));
        match vhosts.pop() {
            Some("other.org") => Ok(json!([{"user": "a@other.org", "contact": "b@icq.org"}])),
            _ => Err(("item-not-found".into(), String::new())),
        }
    });
    for (contact, subs) in [("a@icq.org", "both"), ("icq.org", "to"), ("b@far.org", "both")] {
        add(&module, contact, subs);
    }
    let args = |action: &str, contacts: &str| json!({"action": action, "subs": "any", "asks": "any", "users": "any", "contacts": contacts});
    let row = |user: &str, contact: &str| json!({"user": user, "contact": contact});
    let list = module.command("process_rosteritems", &args("list", "*icq*:*@*icq*"));
    assert_eq!(
        list.unwrap(),
        json!([row(ME, "a@icq.org"), row(ME, "icq.org"), row("a@other.org", "b@icq.org")])
    );
    host.answer_commands(|_, _| Ok(json!(["example.org"])));
    host.take_delivered();
    let deleted = module.command("process_rosteritems", &args("delete", "*@*icq*"));
    assert_eq!(deleted.unwrap(), json!([row(ME, "a@icq.org")]));
    assert_eq!(seen(&host).pushes, ["remove"]);
    let wrong = module.command("process_rosteritems", &args("remove", "any"));
    assert_eq!(wrong.unwrap_err().code, 400);
}

#[test]
fn a_roster_from_a_file_is_given_to_a_user() {
    let (_host, module) = server("{}");
    let file = std::env::temp_dir().join(format!("moult-roster-{}.json", std::process::id()));
    std::fs::write(
        &file,
        r#"[["juliet", "far.example", "Friends", "Juliet"], ["romeo", "example.org", "", ""]]"#,
    )
    .unwrap();
    let args = json!({"file": file.to_str().unwrap(), "user": "romeo", "host": "example.org"});
    module.command("push_roster", &args).unwrap();
    std::fs::remove_file(&file).unwrap();
    let expected =
        "<item jid='juliet@far.example' name='Juliet' subscription='both'><group>Friends</group></item>";
    assert_eq!(items(&module), [expected], "nobody is a contact of his own");
    assert_eq!(module.command("push_roster", &args).unwrap_err().code, 400);
}
