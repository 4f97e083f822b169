//! The services on an assembled server, asked as a module would ask.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use moult_plugin_api::hooks::OfferedCommand;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::server::fixture::{Fixture, PATIENCE, received, server};
use crate::session::{BoundSession, Delivery};
use crate::stanza::Jid;

fn origin(module: &str, vhost: &str) -> Origin {
    Origin { module: module.into(), version: "1.0.0".into(), vhost: vhost.into(), generation: 1 }
}

struct Asking {
    server: Fixture,
    services: Services,
    origin: Origin,
}

impl Asking {
    async fn new() -> Self {
        let server = server().await;
        let services = Services::new(&server.shared);
        Self { server, services, origin: origin("mod_test", "example.org") }
    }

    fn begin(&self, kind: u32, number: i64, args: Value, body: &[u8]) -> BoxFuture<Answer> {
        let request = OpRequest { kind, number, args, body: body.to_vec() };
        self.services.start_op(&self.origin, request)
    }

    async fn ask(&self, kind: u32, args: Value, body: &[u8]) -> Answer {
        let answer = self.begin(kind, 0, args, body);
        tokio::time::timeout(PATIENCE, answer).await.expect("every operation ends")
    }

    async fn json(&self, kind: u32, args: Value, body: &[u8]) -> Value {
        serde_json::from_str(&self.ask(kind, args, body).await.unwrap().text).unwrap()
    }

    async fn condition(&self, kind: u32, args: Value) -> &'static str {
        self.ask(kind, args, b"").await.unwrap_err().condition
    }
}

#[tokio::test]
async fn values_are_kept_by_key_and_listed_in_order() {
    let asking = Asking::new().await;
    for key in ["b", "a2", "a1"] {
        let args = json!({"store": "s", "key": key});
        assert_eq!(asking.ask(op::KEYVAL_SET, args, key.as_bytes()).await.unwrap().number, 0);
    }
    let got = asking.ask(op::KEYVAL_GET, json!({"store": "s", "key": "b"}), b"").await.unwrap();
    assert_eq!((got.number, got.body.as_slice()), (1, b"b".as_slice()));
    let keys = json!({"store": "s", "prefix": "a", "after": "", "limit": 9});
    assert_eq!(asking.json(op::KEYVAL_KEYS, keys, b"").await, json!(["a1", "a2"]));
    let rest = json!({"store": "s", "prefix": "", "after": "a1", "limit": 1});
    assert_eq!(asking.json(op::KEYVAL_KEYS, rest, b"").await, json!(["a2"]));
    asking.ask(op::KEYVAL_DELETE, json!({"store": "s", "key": "b"}), b"").await.unwrap();
    assert_eq!(asking.ask(op::KEYVAL_GET, json!({"store": "s", "key": "b"}), b"").await.unwrap().number, 0);
}

#[tokio::test]
async fn nobody_reads_the_store_of_another_module_vhost_or_name() {
    let mut asking = Asking::new().await;
    asking.ask(op::KEYVAL_SET, json!({"store": "s", "key": "k"}), b"mine").await.unwrap();
    let mut found = 0;
    for (module, vhost, store) in [
        ("mod_other", "example.org", "s"),
        ("mod_test", "other.example", "s"),
        ("mod_test", "global", "s"),
        ("mod_test", "example.org", ""),
        ("mod_test", "example.org", "s"),
    ] {
        asking.origin = origin(module, vhost);
        found += asking.ask(op::KEYVAL_GET, json!({"store": store, "key": "k"}), b"").await.unwrap().number;
    }
    assert_eq!(found, 1);
}

#[tokio::test]
async fn fields_of_a_map_change_together() {
    let asking = Asking::new().await;
    let key = |more: Value| {
        let mut args = json!({"store": "s", "key": "k"});
        args.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        args
    };
    let set = json!({"set": {"a": STANDARD.encode("1"), "b": STANDARD.encode("2")}, "delete": []});
    asking.ask(op::MAP_UPDATE, key(set), b"").await.unwrap();
    let change = json!({"set": {"c": STANDARD.encode("3")}, "delete": ["a"]});
    asking.ask(op::MAP_UPDATE, key(change), b"").await.unwrap();
    let expected = json!({"b": STANDARD.encode("2"), "c": STANDARD.encode("3")});
    assert_eq!(asking.json(op::MAP_ALL, key(json!({})), b"").await, expected);
    let bad = key(json!({"set": {"d": STANDARD.encode("4"), "e": "?"}, "delete": []}));
    assert_eq!(asking.condition(op::MAP_UPDATE, bad).await, "bad-request");
    assert_eq!(asking.json(op::MAP_ALL, key(json!({})), b"").await, expected, "nothing of it was done");
    let got = asking.ask(op::MAP_GET, key(json!({"field": "c"})), b"").await.unwrap();
    assert_eq!((got.number, got.body.as_slice()), (1, b"3".as_slice()));
    asking.ask(op::MAP_DELETE, key(json!({})), b"").await.unwrap();
    assert_eq!(asking.json(op::MAP_ALL, key(json!({})), b"").await, json!({}));
}

async fn filled_archive() -> (Asking, Vec<String>) {
    let asking = Asking::new().await;
    let mut ids = Vec::new();
    for at in 1..=5 {
        let with = if at % 2 == 0 { "even" } else { "odd" };
        let args = json!({"store": "log", "key": "ann", "with": with, "at_ms": at});
        let id = asking.json(op::ARCHIVE_APPEND, args, &[at]).await;
        ids.push(id.as_str().unwrap().to_owned());
    }
    (asking, ids)
}

fn query(more: Value) -> Value {
    let mut args = json!({"store": "log", "key": "ann", "with": "", "after": "", "before": "", "limit": null,
                          "start_ms": null, "end_ms": null, "reverse": false});
    args.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    args
}

fn times(page: &Value) -> Vec<i64> {
    page["items"].as_array().unwrap().iter().map(|item| item["at_ms"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn an_archive_is_read_in_pages_in_the_order_of_time() {
    let (asking, ids) = filled_archive().await;
    let (first, last) = (&ids[0], &ids[4]);
    let cases = [
        (json!({}), vec![1, 2, 3, 4, 5], true),
        (json!({"limit": 2}), vec![1, 2], false),
        (json!({"limit": 2, "reverse": true}), vec![4, 5], false),
        (json!({"limit": 2, "after": first}), vec![2, 3], false),
        (json!({"limit": 9, "before": last, "reverse": true}), vec![1, 2, 3, 4], true),
        (json!({"with": "even"}), vec![2, 4], true),
        (json!({"start_ms": 2, "end_ms": 3}), vec![2, 3], true),
    ];
    for (asked, expected, complete) in cases {
        let page = asking.json(op::ARCHIVE_QUERY, query(asked.clone()), b"").await;
        assert_eq!((times(&page), &page["complete"]), (expected, &json!(complete)), "{asked}");
    }
    let page = asking.json(op::ARCHIVE_QUERY, query(json!({"limit": 1})), b"").await;
    let expected = json!({"id": ids[0], "with": "odd", "at_ms": 1, "body": STANDARD.encode([1])});
    assert_eq!(page["items"], json!([expected]));
    let counted = asking.json(op::ARCHIVE_QUERY, query(json!({"limit": 0})), b"").await;
    assert_eq!((&counted["count"], &counted["items"]), (&json!(5), &json!([])));
    let unknown = query(json!({"after": "000000000000000000000000"}));
    assert_eq!(asking.condition(op::ARCHIVE_QUERY, unknown).await, "item-not-found");
}

#[tokio::test]
async fn what_is_older_is_removed_from_an_archive() {
    let (asking, _) = filled_archive().await;
    let gone = asking.ask(op::ARCHIVE_DELETE, json!({"store": "log", "key": "", "before_ms": 3}), b"").await;
    assert_eq!(gone.unwrap().number, 2);
    let gone =
        asking.ask(op::ARCHIVE_DELETE, json!({"store": "log", "key": "bob", "before_ms": 9}), b"").await;
    assert_eq!(gone.unwrap().number, 0);
    assert_eq!(times(&asking.json(op::ARCHIVE_QUERY, query(json!({})), b"").await), [3, 4, 5]);
}

#[tokio::test]
async fn a_module_with_too_many_store_operations_is_refused_and_others_are_not() {
    let mut asking = Asking::new().await;
    let args = || json!({"store": "s", "key": "k"});
    let under_way: Vec<_> =
        (0..STORE_OPS_PER_MODULE).map(|_| asking.begin(op::KEYVAL_GET, 0, args(), b"")).collect();
    assert_eq!(asking.condition(op::KEYVAL_GET, args()).await, "resource-constraint");
    asking.origin = origin("mod_test", "other.example");
    assert_eq!(asking.condition(op::KEYVAL_GET, args()).await, "resource-constraint", "the same module");
    asking.origin = origin("mod_modest", "example.org");
    asking.ask(op::KEYVAL_GET, args(), b"").await.unwrap();
    drop(under_way);
    asking.origin = origin("mod_test", "example.org");
    asking.ask(op::KEYVAL_GET, args(), b"").await.unwrap();
}

#[tokio::test]
async fn arguments_that_make_no_sense_are_the_modules_fault() {
    let asking = Asking::new().await;
    let cases = [
        (op::KEYVAL_GET, json!({"store": 1, "key": "k"}), "bad-request"),
        (op::KEYVAL_GET, json!({"store": "s".repeat(200), "key": "k"}), "bad-request"),
        (op::KEYVAL_SET, json!({"store": "s", "key": "k".repeat(5000)}), "not-acceptable"),
        (op::ARCHIVE_APPEND, json!({"store": "s", "key": "k", "at_ms": i64::MAX}), "bad-request"),
        (op::SESSIONS_OF, json!({}), "bad-request"),
        (op::SESSIONS_OF, json!({"jid": "@"}), "jid-malformed"),
        (op::SESSIONS_ALL, json!({"host": "nowhere.example"}), "item-not-found"),
        (op::ACCOUNT_EXISTS, json!({"jid": "a@nowhere.example"}), "item-not-found"),
        (op::ACCOUNT_CREATE, json!({"jid": "example.org", "password": "x"}), "jid-malformed"),
        (op::SEND_IQ, json!({}), "bad-request"),
        (op::COMMAND, json!({"args": {}}), "bad-request"),
        (9999, json!({}), "feature-not-implemented"),
    ];
    for (kind, args, condition) in cases {
        assert_eq!(asking.condition(kind, args.clone()).await, condition, "{kind} {args}");
    }
}

#[tokio::test]
async fn sessions_are_shown_with_their_presence_and_in_pages() {
    let asking = Asking::new().await;
    let (ann, _mailbox) = asking.server.bind("ann@example.org/phone").await;
    let _bob = asking.server.bind("bob@example.org/desk").await;
    let presence = b"<presence><show>away</show><priority>5</priority></presence>";
    let presence = Stanza::parse(presence).unwrap().with_from(ann.full_jid());
    asking.server.shared.router.from_session(&ann, presence).await;
    let of = asking.json(op::SESSIONS_OF, json!({"jid": "ann@example.org"}), b"").await;
    let ann_shown = json!({
        "jid": "ann@example.org/phone", "priority": 5, "show": "away", "available": true, "detached": false
    });
    assert_eq!(of, json!([ann_shown]));
    let of = asking.json(op::SESSIONS_OF, json!({"jid": "bob@example.org/any"}), b"").await;
    assert_eq!((&of[0]["available"], &of[0]["show"]), (&json!(false), &json!("")));
    let all = |after: &str| json!({"host": "example.org", "after": after, "limit": 1});
    assert_eq!(asking.json(op::SESSIONS_ALL, all(""), b"").await, json!(["ann@example.org/phone"]));
    let after = all("ann@example.org/phone");
    assert_eq!(asking.json(op::SESSIONS_ALL, after, b"").await, json!(["bob@example.org/desk"]));
}

#[tokio::test]
async fn accounts_are_made_changed_and_removed_on_the_own_vhost() {
    let mut asking = Asking::new().await;
    let ann = || json!({"jid": "ann@example.org", "password": "secret"});
    let exists = json!({"jid": "ann@example.org"});
    asking.ask(op::ACCOUNT_CREATE, ann(), b"").await.unwrap();
    assert_eq!(asking.ask(op::ACCOUNT_EXISTS, exists.clone(), b"").await.unwrap().number, 1);
    assert_eq!(asking.condition(op::ACCOUNT_CREATE, ann()).await, "conflict");
    let empty = json!({"jid": "ann@example.org", "password": ""});
    assert_eq!(asking.condition(op::ACCOUNT_SET_PASSWORD, empty).await, "not-acceptable");
    asking.ask(op::ACCOUNT_SET_PASSWORD, ann(), b"").await.unwrap();

    asking.origin = origin("mod_test", "other.example");
    assert_eq!(asking.condition(op::ACCOUNT_REMOVE, exists.clone()).await, "forbidden");
    assert_eq!(asking.ask(op::ACCOUNT_EXISTS, exists.clone(), b"").await.unwrap().number, 1);

    asking.origin = origin("mod_test", "global");
    let (_session, mut mailbox) = asking.server.bind("ann@example.org/phone").await;
    asking.ask(op::ACCOUNT_REMOVE, exists.clone(), b"").await.unwrap();
    assert!(matches!(&received(&mut mailbox).await[..], [Delivery::Close(_)]));
    assert_eq!(asking.condition(op::ACCOUNT_REMOVE, exists).await, "item-not-found");
}

#[tokio::test]
async fn an_account_is_removed_also_if_nobody_waits_for_it() {
    let asking = Asking::new().await;
    let ann = json!({"jid": "ann@example.org", "password": "secret"});
    asking.ask(op::ACCOUNT_CREATE, ann.clone(), b"").await.unwrap();
    let (_session, mut mailbox) = asking.server.bind("ann@example.org/phone").await;
    drop(asking.begin(op::ACCOUNT_REMOVE, 0, ann, b""));
    assert!(matches!(&received(&mut mailbox).await[..], [Delivery::Close(_)]));
}

/// Answers the one request in the mailbox with a result; gives the request.
async fn answer_one(
    asking: &Asking,
    session: &BoundSession,
    mailbox: &mut crate::session::MailboxReceiver,
) -> Stanza {
    let deliveries = received(mailbox).await;
    let [Delivery::Stanza(request)] = &deliveries[..] else { panic!("{deliveries:?}") };
    let result = request.iq_result(b"<pong xmlns='urn:x'/>").unwrap();
    asking.server.shared.router.from_session(session, result).await;
    request.clone()
}

#[tokio::test]
async fn a_request_gets_its_answer_and_an_id_that_the_module_need_not_make() {
    let asking = Asking::new().await;
    let (ann, mut mailbox) = asking.server.bind("ann@example.org/phone").await;
    let request = b"<iq type='get' to='ann@example.org/phone'><ping xmlns='urn:xmpp:ping'/></iq>";
    let answer = asking.begin(op::SEND_IQ, 20_000, json!({}), request);
    let sent = answer_one(&asking, &ann, &mut mailbox).await;
    assert_eq!(sent.from().map(Jid::as_str), Some("example.org"), "the vhost asks where nobody is named");
    assert_eq!(sent.id().map(|id| id.len()), Some(16));
    let reply = Stanza::parse(&answer.await.unwrap().body).unwrap();
    assert_eq!((reply.id(), reply.payload().unwrap().name), (sent.id(), "pong"));

    let own =
        b"<iq type='set' id='x1' from='bot@example.org/b' to='ann@example.org/phone'><q xmlns='u'/></iq>";
    let answer = asking.begin(op::SEND_IQ, 20_000, json!({}), own);
    let sent = answer_one(&asking, &ann, &mut mailbox).await;
    assert_eq!((sent.id().as_deref(), sent.from().map(Jid::as_str)), (Some("x1"), Some("bot@example.org/b")));
    answer.await.unwrap();
}

#[tokio::test]
async fn a_request_that_nobody_answers_ends_at_its_deadline() {
    let asking = Asking::new().await;
    let _ann = asking.server.bind("ann@example.org/phone").await;
    let request = b"<iq type='get' to='ann@example.org/phone'><ping xmlns='urn:xmpp:ping'/></iq>";
    let error = asking.begin(op::SEND_IQ, 50, json!({}), request).await.unwrap_err();
    assert_eq!(error.condition, "remote-server-timeout");
    assert!(error.text.contains("ann@example.org/phone"), "{error}");
}

#[tokio::test]
async fn a_module_runs_commands_but_not_those_of_the_control_socket() {
    let asking = Asking::new().await;
    let register =
        json!({"name": "register", "args": {"user": "bob", "host": "example.org", "password": "x"}});
    asking.ask(op::COMMAND, register.clone(), b"").await.unwrap();
    assert_eq!(asking.json(op::COMMAND, json!({"name": "registered_vhosts"}), b"").await[0], "example.org");
    for (args, condition) in [
        (register, "conflict"),
        (json!({"name": "stop"}), "forbidden"),
        (json!({"name": "nothing"}), "item-not-found"),
        (json!({"name": "check_account", "args": {"user": "a"}}), "bad-request"),
    ] {
        assert_eq!(asking.condition(op::COMMAND, args.clone()).await, condition, "{args}");
    }
}

#[tokio::test]
async fn a_command_as_somebody_is_run_with_what_that_one_may_do() {
    let asking = Asking::new().await;
    let shared = &asking.server.shared;
    let mut config = (*shared.config()).clone();
    config.server.admins = vec!["root@example.org".into()];
    let vhost = config.vhosts.get_mut("other.example").unwrap();
    vhost.admins = vec!["boss@other.example".into()];
    shared.config.store(Arc::new(config));
    let run = |jid: &str, name: &str, args: Value| {
        asking.ask(op::COMMAND, json!({"name": name, "args": args, "as": jid}), b"")
    };
    let users = |host: &str| json!({ "host": host });
    for (jid, name, args, expected) in [
        ("root@example.org/x", "registered_users", users("example.org"), None),
        ("root@example.org", "stop", json!({}), Some("forbidden")),
        ("boss@other.example", "registered_users", users("OTHER.example"), None),
        ("boss@other.example", "registered_users", users("example.org"), Some("forbidden")),
        ("boss@other.example", "status", json!({}), Some("forbidden")),
        ("ann@example.org", "registered_users", users("example.org"), Some("forbidden")),
        ("not a jid", "status", json!({}), Some("jid-malformed")),
    ] {
        let condition = run(jid, name, args).await.err().map(|error| error.condition);
        assert_eq!(condition, expected, "{jid} {name}");
    }
    let mut offered = BTreeMap::new();
    for jid in ["root@example.org", "boss@other.example", "ann@example.org"] {
        let commands = asking.json(op::COMMANDS_FOR, json!({ "as": jid }), b"").await;
        let names: BTreeSet<String> = serde_json::from_value::<Vec<OfferedCommand>>(commands)
            .unwrap()
            .into_iter()
            .map(|command| command.name)
            .collect();
        offered.insert(jid, names);
    }
    let has = |jid: &str, name: &str| offered[jid].contains(name);
    assert!(has("root@example.org", "status") && has("root@example.org", "register"));
    assert!(!has("root@example.org", "stop"));
    assert!(has("boss@other.example", "register") && !has("boss@other.example", "status"));
    assert!(offered["ann@example.org"].is_empty());
}

#[tokio::test]
async fn a_stanza_of_a_module_is_routed_or_refused_with_a_reason() {
    let asking = Asking::new().await;
    let (_ann, mut mailbox) = asking.server.bind("ann@example.org/phone").await;
    let stanza = |xml: &str| Stanza::parse(xml.as_bytes()).unwrap();
    let message = stanza("<message from='example.org' to='ann@example.org/phone'><body>x</body></message>");
    asking.services.route(&asking.origin, message.clone()).unwrap();
    assert!(matches!(&received(&mut mailbox).await[..], [Delivery::Stanza(_)]));
    let nowhere = asking.services.route(&asking.origin, stanza("<message to='a@b'/>")).unwrap_err();
    assert_eq!(nowhere.condition, "jid-malformed");
    let circle = asking.services.route(&asking.origin, message.with_hops(u8::MAX)).unwrap_err();
    assert_eq!(circle.condition, "policy-violation");
}

#[tokio::test]
async fn without_a_server_every_operation_says_so() {
    let Asking { server, services, origin } = Asking::new().await;
    let Fixture { shared, table, .. } = server;
    drop(table);
    let weak = Arc::downgrade(&shared);
    drop(shared);
    let deadline = std::time::Instant::now() + PATIENCE;
    while weak.strong_count() > 0 {
        assert!(std::time::Instant::now() < deadline, "something keeps the server alive");
        tokio::task::yield_now().await;
    }
    let request = OpRequest { kind: op::SESSIONS_OF, number: 0, args: json!({}), body: Vec::new() };
    assert_eq!(services.start_op(&origin, request).await.unwrap_err().condition, "service-unavailable");
}
