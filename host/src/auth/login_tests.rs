//! Accounts and whole logins over a store.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::sasl::*;
use super::test_client::Client;
use super::*;
use crate::storage::{AccountRow, Storage, Timestamp};

const VHOST: &str = "example.org";
/// The fewest that are allowed: tests do not need more.
const ITERATIONS: u32 = 4096;

struct World {
    storage: Storage,
    context: LoginContext,
}

fn options() -> AccountOptions {
    AccountOptions { iterations: ITERATIONS, ..AccountOptions::default() }
}

async fn world_with(options: AccountOptions, limits: LimiterOptions) -> World {
    let storage = Storage::open_in_memory().unwrap();
    let accounts = Accounts::open(storage.clone(), options).await.unwrap();
    let limiter = Arc::new(LoginLimiter::new(limits, Instant::now()));
    World { storage, context: LoginContext { accounts, limiter, address: IpAddr::from([192, 0, 2, 1]) } }
}

async fn world() -> World {
    world_with(options(), LimiterOptions::default()).await
}

fn offer() -> Offer {
    let bindings = ChannelBindings { tls_exporter: Some(vec![7; 32]), tls_server_end_point: None };
    Offer { vhost: VHOST.into(), encrypted: true, bindings, allowed: Mechanism::ALL.to_vec() }
}

impl World {
    fn accounts(&self) -> &Accounts {
        &self.context.accounts
    }

    async fn plain(&self, user: &str, password: &str) -> Reply {
        let message = format!("\0{user}\0{password}");
        Login::start(&self.context, &offer(), "PLAIN", Some(message.as_bytes())).await.1
    }

    /// The server's first message, then its last word.
    async fn scram(&self, mechanism: &str, client: &Client) -> (String, Reply) {
        let first = client.first();
        let (mut login, reply) =
            Login::start(&self.context, &offer(), mechanism, Some(first.as_bytes())).await;
        let Reply::Challenge(challenge) = reply else { return (String::new(), reply) };
        let challenge = String::from_utf8(challenge).unwrap();
        let finished = client.finish(&challenge);
        let reply = login.respond(finished.message.as_bytes()).await;
        (challenge, reply)
    }
}

fn success(localpart: &str) -> Reply {
    Reply::Success { localpart: localpart.into(), additional: None }
}

fn failure(condition: SaslCondition) -> Reply {
    Reply::Failure(condition.into())
}

fn throttled() -> Reply {
    Reply::Failure(SaslCondition::TemporaryAuthFailure.because("Too many failed logins; try again later."))
}

#[tokio::test]
async fn accounts_are_registered_once_checked_changed_and_removed() {
    let world = world().await;
    let accounts = world.accounts();
    accounts.register(VHOST, "Alice", "secret").await.unwrap();
    let error = accounts.register(VHOST, "alice", "other").await.unwrap_err();
    assert_eq!(error.to_string(), "The account alice@example.org exists already.");
    assert!(
        accounts.exists(VHOST, "ALICE").await.unwrap()
            && !accounts.exists("example.com", "alice").await.unwrap()
    );
    assert!(accounts.check_password(VHOST, "alice", "secret").await.unwrap());
    assert!(!accounts.check_password(VHOST, "alice", "Secret").await.unwrap());
    accounts.set_password(VHOST, "alice", "changed").await.unwrap();
    assert!(!accounts.check_password(VHOST, "alice", "secret").await.unwrap());
    assert!(accounts.check_password(VHOST, "alice", "changed").await.unwrap());
    accounts.unregister(VHOST, "alice").await.unwrap();
    assert!(!accounts.check_password(VHOST, "alice", "changed").await.unwrap());
    for error in [
        accounts.unregister(VHOST, "alice").await.unwrap_err(),
        accounts.set_password(VHOST, "alice", "x").await.unwrap_err(),
    ] {
        assert_eq!(error.to_string(), "The account alice@example.org does not exist.");
    }
}

#[tokio::test]
async fn two_registrations_of_one_name_at_once_make_one_account() {
    let world = world().await;
    let register = |password: &'static str| world.accounts().register(VHOST, "alice", password);
    let (one, two) = tokio::join!(register("one"), register("two"));
    assert!(one.is_ok() != two.is_ok());
    let winner = if one.is_ok() { "one" } else { "two" };
    assert!(world.accounts().check_password(VHOST, "alice", winner).await.unwrap());
    assert_eq!(world.accounts().count(VHOST).await.unwrap(), 1);
}

#[tokio::test]
async fn names_and_passwords_that_cannot_be_are_refused() {
    let world = world().await;
    for name in ["", "a b", "a@b", "a/b", "\u{1f600}"] {
        let error = world.accounts().register(VHOST, name, "secret").await.unwrap_err();
        assert!(matches!(error, AuthError::BadName { .. }), "{name}: {error}");
        assert!(!world.accounts().check_password(VHOST, name, "secret").await.unwrap());
    }
    let long = "x".repeat(MAX_PASSWORD_BYTES + 1);
    for password in ["", "\u{ad}", "bell\u{7}", &long] {
        let error = world.accounts().register(VHOST, "alice", password).await.unwrap_err();
        assert!(matches!(error, AuthError::BadPassword), "{password:?}: {error}");
        assert!(!world.accounts().check_password(VHOST, "alice", password).await.unwrap());
    }
    assert_eq!(world.accounts().count(VHOST).await.unwrap(), 0);
}

#[tokio::test]
async fn passwords_are_compared_after_saslprep() {
    let world = world().await;
    world.accounts().register(VHOST, "alice", "I\u{ad}X \u{2168}").await.unwrap();
    for (password, fits) in [("IX IX", true), ("I\u{ad}X\u{a0}\u{2168}", true), ("ix ix", false)] {
        assert_eq!(
            world.accounts().check_password(VHOST, "alice", password).await.unwrap(),
            fits,
            "{password}"
        );
    }
    let (_, reply) = world.scram("SCRAM-SHA-256", &Client::new(Hash::Sha256, "alice", "IX IX")).await;
    assert!(matches!(reply, Reply::Success { .. }), "{reply:?}");
}

#[tokio::test]
async fn accounts_are_listed_by_vhost_in_pages() {
    let world = world().await;
    for name in ["carol", "alice", "bob"] {
        world.accounts().register(VHOST, name, "secret").await.unwrap();
    }
    let page = world.accounts().list(VHOST, None, 2).await.unwrap();
    assert_eq!((page.keys, page.more), (vec!["alice".into(), "bob".into()], true));
    assert_eq!(world.accounts().list(VHOST, Some("bob"), 2).await.unwrap().keys, ["carol"]);
    let counts =
        (world.accounts().count(VHOST).await.unwrap(), world.accounts().count("example.com").await.unwrap());
    assert_eq!(counts, (3, 0));
}

#[tokio::test]
async fn every_mechanism_logs_in_with_the_right_password_only() {
    let world = world().await;
    world.accounts().register(VHOST, "alice", "secret").await.unwrap();
    assert_eq!(world.plain("Alice", "secret").await, success("alice"));
    assert_eq!(world.plain("alice", "wrong").await, failure(SaslCondition::NotAuthorized));
    for (hash, name) in
        [(Hash::Sha1, "SCRAM-SHA-1"), (Hash::Sha256, "SCRAM-SHA-256"), (Hash::Sha512, "SCRAM-SHA-512")]
    {
        for plus in [false, true] {
            let mechanism = if plus { format!("{name}-PLUS") } else { name.into() };
            let client = |password| match plus {
                true => Client::new(hash, "Alice", password).bound("tls-exporter", &[7; 32]),
                false => Client::new(hash, "Alice", password),
            };
            let (_, reply) = world.scram(&mechanism, &client("secret")).await;
            assert!(
                matches!(&reply, Reply::Success { localpart, .. } if localpart == "alice"),
                "{mechanism}: {reply:?}"
            );
            let (_, reply) = world.scram(&mechanism, &client("wrong")).await;
            assert_eq!(reply, failure(SaslCondition::NotAuthorized), "{mechanism}");
        }
    }
}

#[tokio::test]
async fn an_unknown_user_looks_like_a_wrong_password() {
    let world = world().await;
    world.accounts().register(VHOST, "alice", "secret").await.unwrap();
    for (hash, mechanism) in [(Hash::Sha1, "SCRAM-SHA-1"), (Hash::Sha512, "SCRAM-SHA-512")] {
        let mut seen = Vec::new();
        for user in ["alice", "nobody"] {
            let client = Client::new(hash, user, "wrong");
            let [one, two] = [world.scram(mechanism, &client).await, world.scram(mechanism, &client).await];
            let salt = |first: &str| first.split(',').nth(1).unwrap().to_string();
            assert_eq!(salt(&one.0), salt(&two.0), "the salt of {user} stays the same");
            let shape: Vec<_> = one.0.split(',').map(|part| (part[..2].to_string(), part.len())).collect();
            seen.push((shape, one.0.split(',').nth(2).unwrap().to_string(), one.1));
        }
        assert_eq!(seen[0], seen[1]);
    }
    assert_eq!(world.plain("nobody", "wrong").await, world.plain("alice", "wrong").await);
}

#[tokio::test]
async fn a_damaged_row_looks_like_a_wrong_password_too() {
    let world = world().await;
    let row = AccountRow { created: Timestamp(0), credentials: b"{\"SCRAM-SHA-1\":".to_vec() };
    world.storage.accounts().insert(VHOST, "alice", row).await.unwrap();
    assert_eq!(world.plain("alice", "secret").await, failure(SaslCondition::NotAuthorized));
    let (first, reply) = world.scram("SCRAM-SHA-1", &Client::new(Hash::Sha1, "alice", "secret")).await;
    assert!(first.contains(&format!(",i={ITERATIONS}")), "{first}");
    assert_eq!(reply, failure(SaslCondition::NotAuthorized));
}

#[tokio::test]
async fn an_account_from_elsewhere_with_one_hash_function_works_with_that_one() {
    let storage = Storage::open_in_memory().unwrap();
    let old = Accounts::open(storage.clone(), AccountOptions { hashes: vec![Hash::Sha1], ..options() })
        .await
        .unwrap();
    old.register(VHOST, "alice", "secret").await.unwrap();
    let world = world().await;
    let accounts = Accounts::open(storage.clone(), options()).await.unwrap();
    let world = World { storage, context: LoginContext { accounts, ..world.context } };
    assert_eq!(world.plain("alice", "secret").await, success("alice"));
    let (_, reply) = world.scram("SCRAM-SHA-1", &Client::new(Hash::Sha1, "alice", "secret")).await;
    assert!(matches!(reply, Reply::Success { .. }), "{reply:?}");
    let (_, reply) = world.scram("SCRAM-SHA-256", &Client::new(Hash::Sha256, "alice", "secret")).await;
    assert_eq!(reply, failure(SaslCondition::NotAuthorized));
}

#[tokio::test]
async fn too_many_failures_stop_the_right_password_as_well_and_say_nothing_about_it() {
    let limits = LimiterOptions { per_account: 3, per_address: 100, ..LimiterOptions::default() };
    let world = world_with(options(), limits).await;
    world.accounts().register(VHOST, "alice", "secret").await.unwrap();
    world.accounts().register(VHOST, "bob", "secret").await.unwrap();
    for user in ["alice", "nobody"] {
        for _ in 0..3 {
            assert_eq!(world.plain(user, "wrong").await, failure(SaslCondition::NotAuthorized), "{user}");
        }
        assert_eq!(world.plain(user, "secret").await, throttled());
        let (_, reply) = world.scram("SCRAM-SHA-1", &Client::new(Hash::Sha1, user, "secret")).await;
        assert_eq!(reply, throttled());
    }
    assert_eq!(world.plain("bob", "secret").await, success("bob"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passwords_tried_at_once_get_no_more_verdicts_than_the_limit() {
    let limits = LimiterOptions { per_account: 5, per_address: 100, ..LimiterOptions::default() };
    let world = Arc::new(world_with(options(), limits).await);
    world.accounts().register(VHOST, "alice", "secret").await.unwrap();
    let mut tries = tokio::task::JoinSet::new();
    for number in 0..60 {
        let world = world.clone();
        tries.spawn(async move { world.plain("alice", &format!("guess{number}")).await });
    }
    let replies = tries.join_all().await;
    let told = replies.iter().filter(|reply| **reply == failure(SaslCondition::NotAuthorized)).count();
    assert_eq!((told, replies.iter().filter(|reply| **reply == throttled()).count()), (5, 55));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_storm_is_shed_and_scram_goes_on_beside_it() {
    let few = AccountOptions { hashing_threads: 1, hashing_queue: 2, ..options() };
    let world = Arc::new(world_with(few, LimiterOptions::default()).await);
    world.accounts().register(VHOST, "alice", "secret").await.unwrap();
    let mut storm = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let world = world.clone();
        storm.spawn(async move { world.plain("alice", "secret").await });
    }
    let (_, reply) = world.scram("SCRAM-SHA-256", &Client::new(Hash::Sha256, "alice", "secret")).await;
    assert!(matches!(reply, Reply::Success { .. }), "{reply:?}");
    let replies = storm.join_all().await;
    let shed = replies.iter().filter(|reply| **reply == failure(SaslCondition::TemporaryAuthFailure)).count();
    let done = replies.iter().filter(|reply| **reply == success("alice")).count();
    assert!(shed > 0 && done >= 3 && shed + done == 100, "{done} done, {shed} shed");
}

#[tokio::test]
async fn a_store_that_is_closed_for_writing_still_checks_logins() {
    let world = world().await;
    world.accounts().register(VHOST, "alice", "secret").await.unwrap();
    world.storage.close().await.unwrap();
    assert_eq!(world.plain("alice", "secret").await, success("alice"));
    let error = world.accounts().register(VHOST, "bob", "secret").await.unwrap_err();
    assert!(matches!(&error, AuthError::Storage(error) if error.is_resource_constraint()), "{error}");
}

#[tokio::test]
async fn an_aborted_login_is_answered_as_such() {
    let world = world().await;
    let first = Client::new(Hash::Sha1, "alice", "secret").first();
    let (mut login, reply) =
        Login::start(&world.context, &offer(), "SCRAM-SHA-1", Some(first.as_bytes())).await;
    assert!(matches!(reply, Reply::Challenge(_)));
    assert_eq!(login.abort(), failure(SaslCondition::Aborted));
    assert!(matches!(login.respond(b"c=biws,r=x,p=AAAA").await, Reply::Failure(_)));
}

/// Not a proof, but it catches the gross leak: a check that skips the hashing for unknown names is a hundred times faster.
/// On a busy machine it takes more tries until the quickest of both tell what they cost.
#[tokio::test]
async fn checking_an_unknown_name_takes_as_long_as_checking_a_wrong_password() {
    let world =
        world_with(AccountOptions { iterations: 50_000, ..options() }, LimiterOptions::default()).await;
    world.accounts().register(VHOST, "alice", "secret").await.unwrap();
    let mut quickest = [Duration::MAX; 2];
    let ratio = |[known, unknown]: [Duration; 2]| unknown.as_secs_f64() / known.as_secs_f64();
    for tries in 0..100 {
        if tries >= 5 && (0.5..2.0).contains(&ratio(quickest)) {
            break;
        }
        for (user, quickest) in ["alice", "nobody"].into_iter().zip(&mut quickest) {
            let start = Instant::now();
            assert!(!world.accounts().check_password(VHOST, user, "wrong").await.unwrap());
            *quickest = (*quickest).min(start.elapsed());
        }
    }
    assert!((0.5..2.0).contains(&ratio(quickest)), "known and unknown: {quickest:?}");
}
