use super::*;
use moult_plugin_api::hooks::name;
use moult_plugin_api::testing::{FakeHost, Instance, StartFailure};

fn server(options: &str) -> (FakeHost, Instance) {
    let host = FakeHost::new("example.org");
    let module = host.start::<Reports>(options);
    (host, module)
}

fn report(module: &Instance, reporter: &str, jid: &str, report: &str) -> bool {
    let args = json!({"reporter": reporter, "jid": jid, "report": report});
    module.request("report", &args).unwrap()["kept"] == true
}

fn spam(text: &str) -> String {
    format!("<report xmlns='{NS}' reason='urn:xmpp:reporting:spam'><text>{text}</text></report>")
}

fn list(module: &Instance) -> Vec<Value> {
    let list = module.command("list_reports", &json!({"host": "example.org"})).unwrap();
    list.as_array().unwrap().clone()
}

#[test]
fn a_report_is_kept_as_it_was_meant() {
    let (_host, module) = server(r#"{"text_length": 5}"#);
    let full = format!(
        "<report xmlns='{NS}' reason='urn:xmpp:reporting:abuse'><text xml:lang='en'> never came trouble </text>\
         <report-origin/><stanza-id xmlns='urn:xmpp:sid:0' by='romeo@example.net' id='1'/>\
         <stanza-id xmlns='urn:xmpp:sid:0' by='' id='2'/><stanza-id xmlns='other' by='a@b' id='3'/></report>"
    );
    assert!(report(&module, "juliet@example.org/chamber", "romeo@example.net", &full));
    let [row] = list(&module).try_into().unwrap();
    assert_eq!((&row["reporter"], &row["jid"]), (&json!("juliet@example.org"), &json!("romeo@example.net")));
    assert_eq!((&row["reason"], &row["text"]), (&json!("abuse"), &json!("never")));
    assert_eq!((&row["report_origin"], &row["third_party"]), (&json!(true), &json!(false)));
    assert_eq!(row["messages"], json!([{"by": "romeo@example.net", "id": "1"}]));
}

#[test]
fn what_is_no_report_is_not_kept() {
    let (host, module) = server("{}");
    for wrong in [
        format!("<report xmlns='{NS}'/>"),
        format!("<report xmlns='{NS}' reason=''/>"),
        format!("<report xmlns='{NS}' reason='{}'/>", "x".repeat(1000)),
        "<report xmlns='urn:xmpp:reporting:0' reason='urn:xmpp:reporting:spam'/>".to_owned(),
        "no element".to_owned(),
    ] {
        assert!(!report(&module, "juliet@example.org", "romeo@example.net", &wrong), "{wrong}");
    }
    assert!(!report(&module, "juliet@example.org", "not a jid", &spam("")));
    assert_eq!((list(&module).len(), host.counter("malformed")), (0, 6));
    assert_eq!(module.request("other", &json!({})).unwrap_err().code, 404);
    assert_eq!(module.request("report", &json!({"jid": 1})).unwrap_err().code, 400);
}

#[test]
fn as_many_are_kept_as_the_options_say() {
    let (host, module) = server(r#"{"per_hour": 3, "max_reports": 4}"#);
    let kept: Vec<bool> =
        (0..4).map(|n| report(&module, "a@example.org", &format!("s{n}@x"), &spam(""))).collect();
    assert_eq!(kept, [true, true, true, false]);
    assert!(
        report(&module, "b@example.org", "s4@x", &spam(""))
            && report(&module, "b@example.org", "s5@x", &spam(""))
    );
    let reported: Vec<Value> = list(&module).iter().map(|row| row["jid"].clone()).collect();
    assert_eq!(reported, ["s5@x", "s4@x", "s2@x", "s1@x"], "newest first, the oldest is gone");
    assert_eq!((host.counter("kept"), host.counter("too_many")), (5, 1));
}

#[test]
fn reports_are_deleted_by_command_and_with_their_author() {
    let (_host, module) = server("{}");
    for author in ["a@example.org", "b@example.org"] {
        assert!(report(&module, author, "s@x", &spam(author)));
    }
    let id = list(&module)[0]["id"].clone();
    let delete = |id: &Value| module.command("delete_report", &json!({"host": "example.org", "id": id}));
    delete(&id).unwrap();
    assert_eq!(delete(&id).unwrap_err().code, 404);
    assert_eq!(list(&module)[0]["reporter"], "a@example.org");
    module.hook(name::USER_REMOVED, "a@example.org", "", &json!({}), "");
    assert_eq!(list(&module).len(), 0);
    assert!(report(&module, "b@example.org", "s@x", &spam("")));
    let old = module.command("delete_old_reports", &json!({"host": "example.org", "days": 1})).unwrap();
    assert_eq!((old, list(&module).len()), (json!(0), 1));
    assert_eq!(module.command("delete_old_reports", &json!({"days": -1})).unwrap_err().code, 400);
}

#[test]
fn administrators_are_told() {
    let (host, module) = server(r#"{"notify": ["admin@example.org"]}"#);
    report(&module, "a@example.org", "s@x", &spam("cheap pills"));
    let told = host.take_routed().remove(0);
    assert_eq!((told.from.as_str(), told.to.as_str()), ("example.org", "admin@example.org"));
    assert!(told.element().subtag_text("body").contains("cheap pills"));
    assert!(module.reload(r#"{"notify": ["not a jid"]}"#, true).is_err());
    assert_eq!(module.reload(r#"{"notify": []}"#, true), Ok(Reload::Done));
    report(&module, "a@example.org", "s@x", &spam(""));
    assert_eq!(host.take_routed(), []);
    let failure = FakeHost::new("example.org").try_start::<Reports>(r#"{"notify": ["a b"]}"#).err();
    assert!(matches!(failure, Some(StartFailure::Stopped(why)) if why.contains("notify")));
}
