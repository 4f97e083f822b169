use super::*;
use moult_plugin_api::hooks::{OfferedArg, OfferedCommand, name};
use moult_plugin_api::serde_json::{self, Value, json};
use moult_plugin_api::testing::{FakeHost, HookResult, Instance, IqResult};
use std::sync::Mutex;

const ADMIN: &str = "admin@example.org/x";
const ALICE: &str = "alice@example.org/x";
const FORM: &str = "jabber:x:data";

fn arg(name: &str, kind: &str) -> OfferedArg {
    OfferedArg { name: name.into(), kind: kind.into(), doc: format!("The {name}."), ..OfferedArg::default() }
}

fn command(name: &str, args: Vec<OfferedArg>) -> OfferedCommand {
    OfferedCommand { name: name.into(), summary: format!("Does {name}."), args }
}

type Ran = Arc<Mutex<Vec<(String, Value)>>>;

fn server(options: &str) -> (FakeHost, Instance, Ran) {
    let host = FakeHost::new("example.org");
    host.grant("commands");
    let secret = OfferedArg { secret: true, ..arg("password", "string") };
    let optional = OfferedArg { optional: true, ..arg("loud", "flag") };
    let choice = OfferedArg { choices: vec!["soft".into(), "brutal".into()], ..arg("purge", "choice") };
    let commands = vec![
        command("status", vec![]),
        command("register", vec![arg("user", "user"), arg("host", "host"), secret]),
        command("unregister", vec![arg("user", "user"), arg("host", "host")]),
        command("update", vec![arg("modules", "list"), choice, optional, arg("times", "integer")]),
        command("connected_users", vec![OfferedArg { optional: true, ..arg("host", "host") }]),
        command("rows", vec![]),
    ];
    host.offer_commands(ADMIN, commands);
    let ran = Ran::default();
    let seen = Arc::clone(&ran);
    host.answer_commands(move |name, args| {
        seen.lock().unwrap().push((name.to_owned(), args.clone()));
        match (name, args["user"].as_str()) {
            ("status", _) => Ok(json!({"phase": "running", "vhosts": ["a", "b"]})),
            ("rows", _) => {
                Ok(json!([{"jid": "a@b", "n": 1}, {"jid": "c@d", "n": 2}, {"jid": "e@f", "x": "y"}]))
            }
            ("connected_users", _) => Ok(json!(["a@b/x", "c@d/y"])),
            ("register", Some("taken")) => Err(("conflict".into(), "It exists already.".into())),
            ("register", Some("")) => Err(("bad-request".into(), "user: a name is needed".into())),
            _ => Ok(json!(0)),
        }
    });
    let module = host.start::<AdHoc>(options);
    (host, module, ran)
}

fn send(module: &Instance, from: &str, attributes: &str, content: &str) -> IqResult {
    module.iq_set(from, "example.org", &format!("<command xmlns='{NS}' {attributes}>{content}</command>"))
}

fn execute(module: &Instance, node: &str, content: &str) -> Element {
    send(module, ADMIN, &format!("node='{node}' action='execute'"), content).unwrap().unwrap()
}

fn submit(fields: &[(&str, &[&str])]) -> String {
    let fields: String = fields
        .iter()
        .map(|(name, values)| {
            let values: String = values.iter().map(|value| format!("<value>{value}</value>")).collect();
            format!("<field var='{name}'>{values}</field>")
        })
        .collect();
    format!("<x xmlns='{FORM}' type='submit'>{fields}</x>")
}

fn condition(result: IqResult) -> Condition {
    result.unwrap_err().condition
}

fn items(module: &Instance, from: &str, node: &str) -> Vec<String> {
    let result = module.hook(name::DISCO_ITEMS, from, "example.org", &json!({"node": node}), "{}");
    let HookResult::Continued(bytes) = result else { panic!("{result:?}") };
    let answer: ItemsAnswer = serde_json::from_slice(&bytes).unwrap();
    answer.items.into_iter().map(|item| item.node).collect()
}

#[test]
fn everybody_sees_the_commands_they_may_call() {
    let (_host, module, _) = server("{}");
    let nodes = items(&module, ADMIN, NS);
    for node in [
        "status",
        "register",
        "http://jabber.org/protocol/admin#add-user",
        "http://jabber.org/protocol/admin#delete-user",
    ] {
        assert!(nodes.iter().any(|other| other == node), "{node}");
    }
    assert!(!nodes.iter().any(|node| node.ends_with("#announce")));
    assert_eq!(items(&module, ALICE, NS), [""; 0]);
    assert_eq!(items(&module, ADMIN, "other"), [""; 0]);
}

#[test]
fn a_command_is_described_to_who_may_call_it() {
    let (_host, module, _) = server("{}");
    let info = |from: &str, node: &str| {
        let result = module.hook(name::DISCO_INFO, from, "example.org", &json!({"node": node}), "{}");
        let HookResult::Continued(bytes) = result else { panic!("{result:?}") };
        serde_json::from_slice::<InfoAnswer>(&bytes).unwrap()
    };
    let of_list = info(ADMIN, NS);
    assert_eq!(
        (of_list.identities[0].category.as_str(), of_list.identities[0].kind.as_str()),
        ("automation", "command-list")
    );
    let of_command = info(ADMIN, "status");
    assert_eq!(
        (of_command.identities[0].kind.as_str(), of_command.identities[0].name.as_str()),
        ("command-node", "Does status.")
    );
    assert!(of_command.features.iter().any(|feature| feature == FORM));
    assert!(info(ALICE, "status").identities.is_empty() && info(ADMIN, "").identities.is_empty());
}

#[test]
fn a_command_without_arguments_runs_at_once() {
    let (_host, module, ran) = server("{}");
    let answer = execute(&module, "status", "");
    assert_eq!((answer.attr_s("status"), answer.attr_s("node")), ("completed", "status"));
    assert!(!answer.attr_s("sessionid").is_empty());
    let form = answer.subtag_ns("x", FORM).unwrap();
    let fields: Vec<_> = form.elements().map(|f| (f.attr_s("var"), f.elements().count())).collect();
    assert_eq!((form.attr_s("type"), fields), ("result", vec![("phase", 1), ("vhosts", 2)]));
    assert_eq!(*ran.lock().unwrap(), [("status".to_owned(), json!({}))]);
}

#[test]
fn a_command_with_arguments_asks_for_them_first() {
    let (_host, module, ran) = server("{}");
    let answer = execute(&module, "update", "");
    assert_eq!(answer.attr_s("status"), "executing");
    assert!(answer.subtag("actions").unwrap().subtag("complete").is_some());
    let form = answer.subtag_ns("x", FORM).unwrap();
    let fields: Vec<_> = form.elements().filter(|e| e.name() == "field").collect();
    let kinds: Vec<_> =
        fields.iter().map(|f| (f.attr_s("var"), f.attr_s("type"), f.subtag("required").is_some())).collect();
    assert_eq!(
        kinds,
        [
            ("modules", "text-multi", true),
            ("purge", "list-single", true),
            ("loud", "boolean", false),
            ("times", "text-single", true)
        ]
    );
    assert_eq!(fields[1].elements().filter(|e| e.name() == "option").count(), 2);
    assert!(ran.lock().unwrap().is_empty());
    let content = submit(&[
        ("modules", &["mod_a", "", "mod_b"]),
        ("purge", &["soft"]),
        ("loud", &["1"]),
        ("times", &["2"]),
    ]);
    let session = answer.attr_s("sessionid");
    let done =
        send(&module, ADMIN, &format!("node='update' sessionid='{session}'"), &content).unwrap().unwrap();
    assert_eq!((done.attr_s("status"), done.attr_s("sessionid")), ("completed", session));
    assert_eq!(done.subtag_text("note"), "Done.");
    let expected = json!({"modules": ["mod_a", "mod_b"], "purge": "soft", "loud": true, "times": 2});
    assert_eq!(*ran.lock().unwrap(), [("update".to_owned(), expected)]);
}

#[test]
fn secrets_are_not_shown_and_the_vhost_is_proposed() {
    let (_host, module, _) = server("{}");
    let answer = execute(&module, "register", "");
    let form = answer.subtag_ns("x", FORM).unwrap();
    let field = |name: &str| form.elements().find(|f| f.attr_s("var") == name).unwrap();
    assert_eq!(field("password").attr_s("type"), "text-private");
    assert_eq!(field("host").subtag_text("value"), "example.org");
}

#[test]
fn what_went_wrong_is_told_by_whose_fault_it_was() {
    let (_host, module, _) = server("{}");
    let register = |user: &str| {
        let form = submit(&[("user", &[user]), ("host", &["example.org"]), ("password", &["x"])]);
        send(&module, ADMIN, "node='register'", &form)
    };
    let answer = register("taken").unwrap().unwrap();
    let note = answer.subtag("note").unwrap();
    assert_eq!((note.attr_s("type"), note.text().as_str()), ("error", "It exists already."));
    assert_eq!(condition(register("")), Condition::BadRequest);
    assert_eq!(condition(send(&module, ALICE, "node='status'", "")), Condition::Forbidden);
}

#[test]
fn bad_requests_are_refused() {
    let (_host, module, ran) = server("{}");
    let wrong_form = format!("<x xmlns='{FORM}' type='result'/>");
    let huge = submit(&[("modules", &["m"; 1001])]);
    for (attributes, content, expected) in [
        ("node='status' action='prev'", "", Condition::BadRequest),
        ("node='status' action='dance'", "", Condition::BadRequest),
        ("node='status' sessionid=''", "", Condition::BadRequest),
        (&format!("node='status' sessionid='{}'", "x".repeat(129)), "", Condition::BadRequest),
        ("node='update'", &wrong_form, Condition::BadRequest),
        ("node='update'", &huge, Condition::PolicyViolation),
    ] {
        assert_eq!(condition(send(&module, ADMIN, attributes, content)), expected, "{attributes}");
    }
    let other = module.iq_set(ADMIN, "example.org", &format!("<other xmlns='{NS}'/>"));
    assert_eq!(condition(other), Condition::BadRequest);
    let get = module.iq_get(ADMIN, "example.org", &format!("<command xmlns='{NS}' node='status'/>"));
    assert_eq!(condition(get), Condition::NotAllowed);
    assert!(ran.lock().unwrap().is_empty());
    let canceled = send(&module, ADMIN, "node='update' action='cancel' sessionid='s'", "").unwrap().unwrap();
    assert_eq!(canceled.attr_s("status"), "canceled");
}

#[test]
fn tables_and_lists_are_shown_and_cut() {
    let (_host, module, _) = server(r#"{"max_rows": 2}"#);
    let answer = execute(&module, "rows", "");
    assert_eq!(answer.subtag_text("note"), "1 more are not shown.");
    let form = answer.subtag_ns("x", FORM).unwrap();
    let reported: Vec<_> = form.subtag("reported").unwrap().elements().map(|f| f.attr_s("var")).collect();
    assert_eq!(reported, ["jid", "n"]);
    let items: Vec<_> = form.elements().filter(|e| e.name() == "item").collect();
    assert_eq!((items.len(), items[1].elements().next().unwrap().subtag_text("value").as_str()), (2, "c@d"));
    let list = execute(&module, "connected_users", &submit(&[]));
    let field = list.subtag_ns("x", FORM).unwrap().subtag("field").unwrap();
    assert_eq!((field.attr_s("type"), field.elements().count()), ("text-multi", 2));
}

const ADD: &str = "http://jabber.org/protocol/admin#add-user";
const DELETE: &str = "http://jabber.org/protocol/admin#delete-user";

#[test]
fn service_administration_is_the_same_commands_with_other_forms() {
    let (_host, module, ran) = server("{}");
    let form = execute(&module, ADD, "").subtag_ns("x", FORM).unwrap().clone();
    let names: Vec<_> = form.elements().filter(|e| e.name() == "field").map(|f| f.attr_s("var")).collect();
    assert_eq!(names, ["FORM_TYPE", "accountjid", "password", "password-verify"]);
    let add = |jid: &str, again: &str| {
        let form = submit(&[("accountjid", &[jid]), ("password", &["pw"]), ("password-verify", &[again])]);
        send(&module, ADMIN, &format!("node='{ADD}'"), &form)
    };
    assert_eq!(condition(add("new@example.org", "other")), Condition::BadRequest);
    assert_eq!(condition(add("example.org", "pw")), Condition::BadRequest);
    assert_eq!(add("new@example.org", "pw").unwrap().unwrap().attr_s("status"), "completed");
    let two = submit(&[("accountjids", &["a@example.org", "b@example.org"])]);
    assert_eq!(execute(&module, DELETE, &two).attr_s("status"), "completed");
    assert_eq!(
        condition(send(&module, ADMIN, &format!("node='{DELETE}'"), &submit(&[]))),
        Condition::BadRequest
    );
    let account = |user: &str| json!({"user": user, "host": "example.org"});
    assert_eq!(
        *ran.lock().unwrap(),
        [
            ("register".to_owned(), json!({"user": "new", "host": "example.org", "password": "pw"})),
            ("unregister".to_owned(), account("a")),
            ("unregister".to_owned(), account("b"))
        ]
    );
    assert_eq!(condition(send(&module, ALICE, &format!("node='{ADD}'"), "")), Condition::Forbidden);
}

#[test]
fn commands_of_another_xep_are_handed_to_their_module() {
    let (host, module, _) = server("{}");
    host.answer_requests(|to, method, args| {
        assert_eq!((to, method, &args["from"]), ("mod_invites", "adhoc", &json!(ALICE)));
        let command = args["command"].as_str().unwrap();
        match command.contains("#invite") {
            true => Ok(json!({"command": format!("<command xmlns='{NS}' status='completed'/>")})),
            false if command.contains("#none") => Err(("item-not-found".into(), "no such module".into())),
            false if command.contains("#odd") => Ok(json!({"command": "<"})),
            false => Ok(json!({"error": "forbidden", "text": "not you"})),
        }
    });
    let run = |node: &str| send(&module, ALICE, &format!("node='urn:xmpp:invite#{node}'"), "");
    assert_eq!(run("invite").unwrap().unwrap().attr_s("status"), "completed");
    assert_eq!(condition(run("create-account")), Condition::Forbidden);
    assert_eq!(condition(run("none")), Condition::ItemNotFound);
    assert_eq!(condition(run("odd")), Condition::InternalServerError);
}
