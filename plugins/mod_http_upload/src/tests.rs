use super::*;
use crate::slots::Slot;
use moult_plugin_api::hooks::name;
use moult_plugin_api::sdk::FILE_HEADER;
use moult_plugin_api::sdk::datetime::now_ms;
use moult_plugin_api::serde_json::{self, json};
use moult_plugin_api::testing::{FakeHost, Instance, StartFailure};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

const ALICE: &str = "alice@example.org/x";

/// A folder of one test, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::SeqCst);
        Self(std::env::temp_dir().join(format!("moult-upload-{}-{number}", std::process::id())))
    }

    fn files(&self) -> usize {
        let folders = std::fs::read_dir(&self.0).into_iter().flatten().flatten();
        folders.filter_map(|folder| std::fs::read_dir(folder.path()).ok()).flatten().count()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn server(options: &str) -> (FakeHost, Instance, Folder) {
    let host = FakeHost::new("example.org");
    let folder = Folder::new();
    let module = host.start::<Upload>(&with_folder(&folder, options));
    (host, module, folder)
}

fn with_folder(folder: &Folder, options: &str) -> String {
    let mut options: serde_json::Value = serde_json::from_str(options).unwrap();
    options["docroot"] = json!(folder.0);
    options.to_string()
}

fn ask(host: &FakeHost, module: &Instance, from: &str, kind: &str, payload: &str) -> Element {
    host.take_routed();
    module.stanza(from, "upload.example.org", &format!("<iq type='{kind}' id='1'>{payload}</iq>"));
    host.run();
    let answer = host.take_routed().remove(0);
    assert_eq!((answer.from.as_str(), answer.to.as_str()), ("upload.example.org", from));
    answer.element()
}

fn request(host: &FakeHost, module: &Instance, from: &str, attributes: &str) -> Element {
    ask(host, module, from, "get", &format!("<request xmlns='{NS}' {attributes}/>"))
}

/// The path of a slot for a file.
fn slot(host: &FakeHost, module: &Instance, name: &str, size: usize) -> String {
    let answer =
        request(host, module, ALICE, &format!("filename='{name}' size='{size}' content-type='image/png'"));
    let slot = answer.subtag_ns("slot", NS).unwrap_or_else(|| panic!("{answer}"));
    let (put, get) = (slot.subtag("put").unwrap().attr_s("url"), slot.subtag("get").unwrap().attr_s("url"));
    assert_eq!(put, get);
    put.strip_prefix("http://example.org:5280").unwrap().to_owned()
}

fn condition(answer: &Element) -> Condition {
    StanzaError::from_element(answer.subtag("error").unwrap()).condition
}

fn token(path: &str) -> &str {
    path.split('/').nth(3).unwrap()
}

#[test]
fn a_file_is_put_once_and_got_by_everybody() {
    let (host, module, folder) = server("{}");
    let path = slot(&host, &module, "très bien.png", 5);
    assert!(path.ends_with("/tr%C3%A8s%20bien.png"), "{path}");
    assert_eq!(module.http("GET", &path, &[], "").status, 404);
    assert_eq!(module.http("PUT", &path, &[("Content-Type", "image/png")], "hello").status, 201);
    let got = module.http("GET", &path, &[], "");
    assert_eq!((got.status, got.headers["content-type"].as_str()), (200, "image/png"));
    assert_eq!(std::fs::read(&got.headers[FILE_HEADER]).unwrap(), b"hello");
    assert!(got.headers["content-disposition"].starts_with("inline; filename*=UTF-8''tr%C3%A8s"));
    assert!(got.headers["content-security-policy"].contains("sandbox"));
    assert_eq!(module.http("PUT", &path, &[], "HELLO").status, 403);
    assert_eq!(folder.files(), 1);
}

#[test]
fn what_a_browser_might_run_is_offered_for_saving() {
    let (host, module, _folder) = server("{}");
    let answer = request(&host, &module, ALICE, "filename='a.html' size='1' content-type='text/html'");
    let url = answer.subtag("slot").unwrap().subtag("put").unwrap().attr_s("url").to_owned();
    let path = url.strip_prefix("http://example.org:5280").unwrap();
    assert_eq!(module.http("PUT", path, &[], "x").status, 201);
    assert!(module.http("GET", path, &[], "").headers["content-disposition"].starts_with("attachment"));
}

#[test]
fn a_put_must_be_what_was_announced() {
    let (host, module, folder) = server("{}");
    let path = slot(&host, &module, "a.png", 5);
    for (path, headers, body, status) in [
        (path.as_str(), [].as_slice(), "four", 413),
        (&path, &[], "sixsix", 413),
        (&path, &[("Content-Type", "text/html")], "hello", 415),
        (&path.replace("a.png", "b.png"), &[], "hello", 404),
        ("/upload/example.org/AAAAAAAAAAAAAAAAAAAAAA/a.png", &[], "hello", 404),
        ("/upload/example.org/../../etc/passwd", &[], "hello", 404),
        ("/upload/example.org/%2e%2e/a.png", &[], "hello", 404),
        ("/upload/example.org", &[], "hello", 404),
    ] {
        assert_eq!(module.http("PUT", path, headers, body).status, status, "{path} {body}");
    }
    assert_eq!(module.http("DELETE", &path, &[], "").status, 405);
    assert_eq!(folder.files(), 0);
    let options = module.http("OPTIONS", &path, &[], "");
    assert_eq!((options.status, options.headers["access-control-allow-origin"].as_str()), (204, "*"));
}

#[test]
fn size_number_and_sum_of_files_are_limited() {
    let (host, module, _folder) = server(r#"{"max_size": 2048, "quota": 4096, "max_files": 3}"#);
    let refused = request(&host, &module, ALICE, "filename='a' size='2049'");
    assert_eq!(condition(&refused), Condition::NotAcceptable);
    let limit = refused.subtag("error").unwrap().subtag_ns("file-too-large", NS).unwrap();
    assert_eq!(limit.subtag_text("max-file-size"), "2048");
    for _ in 0..2 {
        slot(&host, &module, "a", 2000);
    }
    let full = request(&host, &module, ALICE, "filename='a' size='97'");
    assert_eq!(condition(&full), Condition::ResourceConstraint);
    assert!(full.subtag("error").unwrap().subtag_ns("retry", NS).is_some());
    slot(&host, &module, "a", 96);
    assert_eq!(
        condition(&request(&host, &module, ALICE, "filename='a' size='1'")),
        Condition::ResourceConstraint
    );
    // Another user has a quota of their own.
    assert!(request(&host, &module, "bob@example.org/x", "filename='a' size='1'").subtag("slot").is_some());
}

#[test]
fn limits_change_without_a_restart_and_places_with_one() {
    let (host, module, folder) = server("{}");
    assert_eq!(module.reload(&with_folder(&folder, r#"{"quota": 1024}"#), true), Ok(Reload::Done));
    let full = request(&host, &module, ALICE, "filename='a' size='1025'");
    assert_eq!(condition(&full), Condition::ResourceConstraint);
    assert_eq!(module.reload(&with_folder(&folder, r#"{"path": "/files"}"#), true), Ok(Reload::Restart));
}

#[test]
fn senseless_requests_and_strangers_are_refused() {
    let (host, module, _folder) = server("{}");
    for attributes in [
        "",
        "filename='a'",
        "size='1'",
        "filename='a/b' size='1'",
        "filename='a' size='0'",
        "filename='a' size='-1'",
        "filename='a' size='1' content-type='a&#10;b'",
    ] {
        assert_eq!(
            condition(&request(&host, &module, ALICE, attributes)),
            Condition::BadRequest,
            "{attributes}"
        );
    }
    let good = "filename='a' size='1'";
    assert_eq!(condition(&request(&host, &module, "eve@elsewhere/x", good)), Condition::Forbidden);
    let set = ask(&host, &module, ALICE, "set", &format!("<request xmlns='{NS}' {good}/>"));
    assert_eq!(condition(&set), Condition::NotAllowed);
    assert_eq!(condition(&ask(&host, &module, ALICE, "get", "")), Condition::BadRequest);
    assert_eq!(
        condition(&ask(&host, &module, ALICE, "get", "<x xmlns='urn:x'/>")),
        Condition::ServiceUnavailable
    );
    module.stanza(ALICE, "upload.example.org", "<iq type='result' id='1'/>");
    module.stanza(ALICE, "upload.example.org", "<message/>");
    host.run();
    assert_eq!(host.routed(), []);
}

#[test]
fn the_service_tells_what_it_is_and_how_large_files_may_be() {
    let (host, module, _folder) = server("{}");
    let info = ask(&host, &module, ALICE, "get", "<query xmlns='http://jabber.org/protocol/disco#info'/>");
    let query = info.subtag("query").unwrap();
    let identity = query.subtag("identity").unwrap();
    assert_eq!((identity.attr_s("category"), identity.attr_s("type")), ("store", "file"));
    assert!(query.elements().any(|e| e.attr("var") == Some(NS)));
    let form = query.subtag_ns("x", ns::DATA_FORMS).unwrap();
    let size = form.elements().find(|f| f.attr_s("var") == "max-file-size").unwrap();
    assert_eq!(size.subtag_text("value"), "10485760");
    let node =
        ask(&host, &module, ALICE, "get", "<query xmlns='http://jabber.org/protocol/disco#info' node='n'/>");
    assert_eq!(condition(&node), Condition::ItemNotFound);
}

fn age(host: &FakeHost, path: &str, by: Duration) {
    let mut slot = Slot::read(&host.stored("slots", token(path)).unwrap()).unwrap();
    slot.at = now_ms() - i64::try_from(by.as_millis()).unwrap();
    host.store("slots", token(path), &serde_json::to_vec(&slot).unwrap());
}

#[test]
fn old_files_and_unused_slots_go() {
    let (host, module, folder) = server(r#"{"expire": 86400000}"#);
    let (kept, old, unused) =
        (slot(&host, &module, "a", 1), slot(&host, &module, "b", 1), slot(&host, &module, "c", 1));
    for path in [&kept, &old] {
        assert_eq!(module.http("PUT", path, &[], "x").status, 201);
    }
    age(&host, &old, Duration::from_secs(90_000));
    age(&host, &unused, Duration::from_secs(600));
    assert_eq!(module.http("PUT", &unused, &[], "x").status, 403);
    host.advance(SWEEP_INTERVAL);
    assert_eq!(folder.files(), 1);
    let status = |path: &str| module.http("GET", path, &[], "").status;
    assert_eq!((status(&kept), status(&old), status(&unused)), (200, 404, 404));
    assert!(host.stored("slots", token(&old)).is_none() && host.stored("slots", token(&unused)).is_none());
}

#[test]
fn a_slot_outlives_a_swap_and_files_go_with_the_account() {
    let (host, old, folder) = server("{}");
    let path = slot(&host, &old, "a", 1);
    let new = host.start_swap::<Upload>(&with_folder(&folder, "{}"));
    assert!(old.stop(StopReason::Swap).is_clean());
    assert_eq!(new.http("PUT", &path, &[], "x").status, 201);
    new.hook(name::USER_REMOVED, "alice@example.org", "", &json!({}), "");
    assert_eq!((folder.files(), new.http("GET", &path, &[], "").status), (0, 404));
}

#[test]
fn a_start_without_a_folder_is_nothing_to_do_and_with_a_wrong_one_fails() {
    let host = FakeHost::new("example.org");
    assert_eq!(host.try_start::<Upload>("{}").err(), Some(StartFailure::Ignored));
    let failure = host.try_start::<Upload>(r#"{"docroot": "/proc/none"}"#).err();
    assert!(matches!(failure, Some(StartFailure::Stopped(why)) if why.contains("/proc/none")));
    let failure = host.try_start::<Upload>(r#"{"docroot": "/tmp", "url": "ftp://x"}"#).err();
    assert!(matches!(failure, Some(StartFailure::Stopped(why)) if why.contains("ftp://x")));
}
