use super::*;
use moult_plugin_api::hooks::name;
use moult_plugin_api::serde_json::json;
use moult_plugin_api::testing::{FakeHost, Instance, IqResult};

const ALICE: &str = "alice@example.org/x";

fn server(options: &str) -> (FakeHost, Instance) {
    let host = FakeHost::new("example.org");
    host.add_account("alice@example.org", "old password");
    let module = host.start::<Register>(options);
    (host, module)
}

fn set(module: &Instance, from: &str, content: &str) -> IqResult {
    module.iq_set(from, "example.org", &format!("<query xmlns='jabber:iq:register'>{content}</query>"))
}

fn change(module: &Instance, from: &str, user: &str, password: &str) -> IqResult {
    set(module, from, &format!("<username>{user}</username><password>{password}</password>"))
}

fn condition(result: IqResult) -> Condition {
    result.expect_err("an error").condition
}

#[test]
fn a_user_sees_what_is_registered_but_no_password() {
    let (_host, module) = server("{}");
    let query = module.iq_get(ALICE, "example.org", "<query xmlns='jabber:iq:register'/>").unwrap().unwrap();
    assert!(query.subtag("registered").is_some());
    assert_eq!(
        (query.subtag_text("username"), query.subtag_text("password")),
        ("alice".into(), String::new())
    );
}

#[test]
fn a_password_is_changed_by_its_owner_alone() {
    let (host, module) = server("{}");
    assert_eq!(change(&module, ALICE, "Alice", "new password"), Ok(None));
    assert_eq!(host.password("alice@example.org").as_deref(), Some("new password"));
    assert_eq!(condition(change(&module, ALICE, "bob", "new password")), Condition::NotAllowed);
    assert_eq!(
        condition(change(&module, "eve@elsewhere/x", "eve", "new password")),
        Condition::RegistrationRequired
    );
    assert_eq!(condition(change(&module, ALICE, "alice", "short")), Condition::NotAcceptable);
    assert_eq!(condition(set(&module, ALICE, "<username>alice</username>")), Condition::BadRequest);
}

#[test]
fn who_asks_an_account_means_its_own() {
    let (host, module) = server("{}");
    host.add_account("bob@example.org", "his password");
    let query = "<query xmlns='jabber:iq:register'><username>alice</username>\
                 <password>new password</password></query>";
    assert_eq!(module.iq_set(ALICE, "alice@example.org", query), Ok(None));
    assert_eq!(host.password("alice@example.org").as_deref(), Some("new password"));
    let others = query.replace("alice", "bob");
    for asked in [query, &others, "<query xmlns='jabber:iq:register'><remove/></query>"] {
        let refused = condition(module.iq_set(ALICE, "bob@example.org", asked));
        assert_eq!(refused, Condition::ServiceUnavailable, "{asked}");
    }
    assert_eq!(host.password("bob@example.org").as_deref(), Some("his password"));
}

#[test]
fn a_cancelled_account_is_told_before_it_ends() {
    let (host, module) = server("{}");
    host.add_session(ALICE, 0);
    assert_eq!(condition(set(&module, ALICE, "<remove/><x/>")), Condition::BadRequest);
    // The handler answers by routing the result itself.
    assert_eq!(condition(set(&module, ALICE, "<remove/>")), Condition::UndefinedCondition);
    let sent = &host.routed()[0];
    assert_eq!((sent.to.as_str(), sent.element().attr_s("type")), (ALICE, "result"));
    assert_eq!(host.password("alice@example.org"), None);
    assert_eq!(condition(set(&module, ALICE, "<remove/>")), Condition::ItemNotFound);
}

#[test]
fn cancelling_can_be_forbidden() {
    let (host, module) = server(r#"{"allow_cancel": false}"#);
    assert_eq!(condition(set(&module, ALICE, "<remove/>")), Condition::NotAllowed);
    assert!(host.password("alice@example.org").is_some());
}

#[test]
fn changes_are_limited_per_address_and_time() {
    let (host, module) = server(r#"{"limit": 2}"#);
    host.add_account("bob@example.org", "old password");
    for jid in [ALICE, "bob@example.org/y"] {
        module.hook(name::SESSION_OPENED, jid, "", &json!({"ip": "192.0.2.7"}), "");
    }
    assert_eq!(change(&module, ALICE, "alice", "password 1"), Ok(None));
    assert_eq!(change(&module, "bob@example.org/y", "bob", "password 2"), Ok(None));
    assert_eq!(condition(change(&module, ALICE, "alice", "password 3")), Condition::ResourceConstraint);
    host.advance(Duration::from_secs(600));
    assert_eq!(change(&module, ALICE, "alice", "password 4"), Ok(None));
    assert_eq!(host.password("alice@example.org").as_deref(), Some("password 4"));
}

#[test]
fn limits_hold_over_a_swap() {
    let (host, old) = server(r#"{"limit": 1}"#);
    assert_eq!(change(&old, ALICE, "alice", "password 1"), Ok(None));
    let (schema, state) = old.export_state().unwrap();
    let new = host.start_swap::<Register>(r#"{"limit": 1}"#);
    new.import_state(schema, &state).unwrap();
    old.stop(StopReason::Swap);
    assert_eq!(condition(change(&new, ALICE, "alice", "password 2")), Condition::ResourceConstraint);
    assert!(new.import_state(2, &state).is_err());
}

#[test]
fn strangers_make_accounts_only_where_registration_is_open() {
    const STRANGER: &str = "192.0.2.7";
    let (host, closed) = server("{}");
    let form = "<query xmlns='jabber:iq:register'/>";
    assert_eq!(condition(closed.iq_get(STRANGER, "example.org", form)), Condition::NotAllowed);
    assert_eq!(condition(change(&closed, STRANGER, "bob", "a password")), Condition::NotAllowed);
    closed.stop(StopReason::Unload);

    let open = host.start::<Register>(r#"{"open": true, "limit": 3}"#);
    let form = open.iq_get(STRANGER, "example.org", form).unwrap().unwrap();
    assert!(form.subtag("username").is_some() && form.subtag("registered").is_none());
    assert_eq!(condition(change(&open, STRANGER, "bob", "short")), Condition::NotAcceptable);
    assert_eq!(condition(change(&open, STRANGER, "b@d/x", "a password")), Condition::JidMalformed);
    assert_eq!(condition(set(&open, STRANGER, "<remove/>")), Condition::RegistrationRequired);
    assert_eq!(change(&open, STRANGER, "bob", "a password"), Ok(None));
    assert_eq!(host.password("bob@example.org").as_deref(), Some("a password"));
    assert_eq!(condition(change(&open, STRANGER, "alice", "a password")), Condition::Conflict);
    assert_eq!(change(&open, STRANGER, "carol", "a password"), Ok(None));
    assert_eq!(condition(change(&open, STRANGER, "dave", "a password")), Condition::ResourceConstraint);
    assert_eq!(change(&open, "[2001:db8::1]", "dave", "a password"), Ok(None));
}

#[test]
fn whoever_is_invited_registers_where_registration_is_closed() {
    let (host, module) = server("{}");
    let asked = std::sync::Arc::new(Mutex::new(Vec::new()));
    let noted = std::sync::Arc::clone(&asked);
    host.answer_requests(move |to, method, args| {
        assert_eq!(to, "mod_invites");
        noted.lock().unwrap().push(format!("{method} {} {}", args["account"], args["made"]));
        let claim = match args["account"].as_str() {
            Some("reserved@example.org") => "reserved",
            Some("other@example.org") => "other-name",
            Some("late@example.org") => "used",
            Some("stranger@example.org") => "none",
            _ => "claimed",
        };
        Ok(json!({"invited": args["stream"] == "192.0.2.7/s1", "claim": claim}))
    });
    let query = "<query xmlns='jabber:iq:register'/>";
    assert!(module.iq_get("192.0.2.7/s1", "example.org", query).is_ok());
    assert_eq!(condition(module.iq_get("192.0.2.7/s2", "example.org", query)), Condition::NotAllowed);
    for (user, wrong) in [
        ("reserved", Condition::Conflict),
        ("other", Condition::NotAcceptable),
        ("late", Condition::NotAllowed),
        ("stranger", Condition::NotAllowed),
    ] {
        assert_eq!(condition(change(&module, "192.0.2.7/s1", user, "a password")), wrong, "{user}");
    }
    asked.lock().unwrap().clear();
    assert_eq!(condition(change(&module, "192.0.2.7/s1", "new", "short")), Condition::NotAcceptable);
    assert_eq!(change(&module, "192.0.2.7/s1", "new", "a password"), Ok(None));
    assert_eq!(host.password("new@example.org").as_deref(), Some("a password"));
    let asked = asked.lock().unwrap();
    let told: Vec<&String> = asked.iter().filter(|line| line.starts_with("registered")).collect();
    assert_eq!(told, [r#"registered "new@example.org" false"#, r#"registered "new@example.org" true"#]);
}
