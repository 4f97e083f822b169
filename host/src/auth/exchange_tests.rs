//! The SASL core against a client of its own: every mechanism, every rule, every way to be malformed.

use proptest::prelude::*;

use super::sasl::*;
use super::test_client::Client;
use super::{Hash, ScramSecrets};

const EXPORTER: &[u8] = &[0xE0; 32];
const END_POINT: &[u8] = &[0xEE; 48];

const SCRAM: [(Hash, &str); 3] =
    [(Hash::Sha1, "SCRAM-SHA-1"), (Hash::Sha256, "SCRAM-SHA-256"), (Hash::Sha512, "SCRAM-SHA-512")];

fn offer(encrypted: bool, bindings: ChannelBindings) -> Offer {
    Offer { vhost: "example.org".into(), encrypted, bindings, allowed: Mechanism::ALL.to_vec() }
}

fn unbound() -> Offer {
    offer(true, ChannelBindings::default())
}

fn bound() -> Offer {
    offer(
        true,
        ChannelBindings { tls_exporter: Some(EXPORTER.into()), tls_server_end_point: Some(END_POINT.into()) },
    )
}

fn secrets(hash: Hash) -> ScramSecrets {
    ScramSecrets::derive(hash, "pencil", b"sixteen bytes...".to_vec(), 4096)
}

/// Up to server-first.
fn begin(offer: &Offer, mechanism: &str, client: &Client) -> Result<(Exchange, String), SaslFailure> {
    let (mut exchange, step) = Exchange::start(offer, mechanism, Some(client.first().as_bytes()));
    match step {
        Step::NeedSecrets { hash, .. } => match exchange.secrets(secrets(hash)) {
            Step::Challenge(challenge) => Ok((exchange, String::from_utf8(challenge).unwrap())),
            step => panic!("{step:?}"),
        },
        Step::Failure(failure) => Err(failure),
        step => panic!("{step:?}"),
    }
}

/// The whole exchange; the user name of success.
fn run(offer: &Offer, mechanism: &str, client: &Client) -> Result<String, SaslFailure> {
    let (mut exchange, challenge) = begin(offer, mechanism, client)?;
    let finished = client.finish(&challenge);
    match exchange.respond(finished.message.as_bytes()) {
        Step::Success { localpart, additional } => {
            assert_eq!(String::from_utf8(additional.unwrap()).unwrap(), finished.server_final);
            Ok(localpart)
        }
        Step::Failure(failure) => Err(failure),
        step => panic!("{step:?}"),
    }
}

fn condition<T: std::fmt::Debug>(result: Result<T, SaslFailure>) -> SaslCondition {
    result.unwrap_err().condition
}

fn failure(step: Step) -> SaslCondition {
    match step {
        Step::Failure(failure) => failure.condition,
        step => panic!("{step:?}"),
    }
}

#[test]
fn mechanisms_are_offered_as_the_stream_allows_and_in_the_configured_order() {
    let names = |offer: Offer| offer.mechanisms().into_iter().map(Mechanism::name).collect::<Vec<_>>();
    let plus = ["SCRAM-SHA-512-PLUS", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"];
    let scram = ["SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1"];
    assert_eq!(names(offer(false, ChannelBindings::default())), scram);
    assert_eq!(names(unbound()), [&scram[..], &["PLAIN"]].concat());
    assert_eq!(names(bound()), [&plus[..], &scram, &["PLAIN"]].concat());
    assert_eq!(bound().binding_types(), [BindingType::TlsExporter, BindingType::TlsServerEndPoint]);
    assert_eq!(unbound().binding_types(), []);
    let few = Offer { allowed: vec![Mechanism::Plain, Mechanism::ScramSha1], ..bound() };
    assert_eq!((names(few.clone()), few.binding_types()), (vec!["PLAIN", "SCRAM-SHA-1"], vec![]));
}

#[test]
fn binding_data_that_is_empty_is_none() {
    let empty = offer(true, ChannelBindings { tls_exporter: Some(vec![]), tls_server_end_point: None });
    assert_eq!((empty.binding_types(), empty.mechanisms()), (vec![], unbound().mechanisms()));
}

#[test]
fn scram_succeeds_with_the_password_and_fails_with_another() {
    for (hash, mechanism) in SCRAM {
        let client = Client::new(hash, "user", "pencil");
        assert_eq!(run(&unbound(), mechanism, &client).unwrap(), "user");
        let wrong = Client { password: "Pencil".into(), ..client };
        let failure = run(&unbound(), mechanism, &wrong).unwrap_err();
        assert_eq!(failure, SaslCondition::NotAuthorized.into());
    }
}

#[test]
fn scram_plus_succeeds_with_both_kinds_of_binding_and_fails_on_another_channel() {
    for (hash, mechanism) in SCRAM {
        let mechanism = format!("{mechanism}-PLUS");
        for (kind, data) in [("tls-exporter", EXPORTER), ("tls-server-end-point", END_POINT)] {
            let client = Client::new(hash, "user", "pencil").bound(kind, data);
            assert_eq!(run(&bound(), &mechanism, &client).unwrap(), "user");
            let elsewhere = Client::new(hash, "user", "pencil").bound(kind, &[0; 32]);
            assert_eq!(condition(run(&bound(), &mechanism, &elsewhere)), SaslCondition::NotAuthorized);
            let without_data = Client::new(hash, "user", "pencil").bound(kind, &[]);
            assert_eq!(condition(run(&bound(), &mechanism, &without_data)), SaslCondition::NotAuthorized);
        }
    }
}

#[test]
fn the_gs2_flag_has_to_fit_the_mechanism_and_the_offer() {
    let plus = "SCRAM-SHA-256-PLUS";
    let plain = "SCRAM-SHA-256";
    let only_end_point =
        offer(true, ChannelBindings { tls_exporter: None, tls_server_end_point: Some(END_POINT.into()) });
    let without_plus = Offer { allowed: vec![Mechanism::ScramSha256], ..bound() };
    let cases = [
        (bound(), plain, "n,,", None),
        (bound(), plain, "y,,", Some(SaslCondition::NotAuthorized)),
        (unbound(), plain, "y,,", None),
        (without_plus.clone(), plain, "y,,", None),
        (bound(), plain, "p=tls-exporter,,", Some(SaslCondition::MalformedRequest)),
        (unbound(), plain, "p=tls-exporter,,", Some(SaslCondition::MalformedRequest)),
        (bound(), plus, "n,,", Some(SaslCondition::MalformedRequest)),
        (bound(), plus, "y,,", Some(SaslCondition::MalformedRequest)),
        (bound(), plus, "p=tls-unique,,", Some(SaslCondition::NotAuthorized)),
        (bound(), plus, "p=TLS-EXPORTER,,", Some(SaslCondition::NotAuthorized)),
        (only_end_point, plus, "p=tls-exporter,,", Some(SaslCondition::NotAuthorized)),
        (unbound(), plus, "p=tls-exporter,,", Some(SaslCondition::InvalidMechanism)),
        (without_plus, plus, "p=tls-exporter,,", Some(SaslCondition::InvalidMechanism)),
    ];
    for (offer, mechanism, header, expected) in cases {
        let client = Client::new(Hash::Sha256, "user", "pencil").header(header);
        let result = run(&offer, mechanism, &client).map_err(|failure| failure.condition).err();
        assert_eq!(result, expected, "{mechanism} {header}");
    }
}

#[test]
fn a_gs2_header_changed_on_the_way_is_noticed() {
    let client = Client::new(Hash::Sha1, "user", "pencil").header("y,,");
    // The attacker turns the client's `y` into `n` to hide that the client was not offered -PLUS.
    let (mut exchange, step) = Exchange::start(&bound(), "SCRAM-SHA-1", Some(b"n,,n=user,r=clientnonce"));
    assert!(matches!(step, Step::NeedSecrets { .. }));
    let Step::Challenge(challenge) = exchange.secrets(secrets(Hash::Sha1)) else { panic!("no challenge") };
    let finished = client.finish(std::str::from_utf8(&challenge).unwrap());
    assert_eq!(failure(exchange.respond(finished.message.as_bytes())), SaslCondition::NotAuthorized);
}

#[test]
fn only_the_own_bare_jid_may_be_asked_for() {
    let cases = [
        ("", true),
        ("user@example.org", true),
        ("USER@Example.ORG", true),
        ("user", false),
        ("example.org", false),
        ("user@example.org/resource", false),
        ("other@example.org", false),
        ("user@example.com", false),
        ("us er@example.org", false),
        ("@example.org", false),
    ];
    for (authzid, allowed) in cases {
        let header = if authzid.is_empty() { "n,,".into() } else { format!("n,a={authzid},") };
        let client = Client::new(Hash::Sha1, "User", "pencil").header(&header);
        let expected = if allowed { Ok("user".into()) } else { Err(SaslCondition::InvalidAuthzid) };
        let scram = run(&unbound(), "SCRAM-SHA-1", &client).map_err(|failure| failure.condition);
        assert_eq!(scram, expected, "{authzid}");
        let (_, step) =
            Exchange::start(&unbound(), "PLAIN", Some(format!("{authzid}\0User\0pencil").as_bytes()));
        let plain = match step {
            Step::NeedCheck { localpart, .. } => Ok(localpart),
            step => Err(failure(step)),
        };
        assert_eq!(plain, expected, "{authzid}");
    }
}

#[test]
fn names_are_normalised_and_what_cannot_be_one_is_not_authorized() {
    let (_, step) = Exchange::start(&unbound(), "SCRAM-SHA-1", Some("n,,n=JU\u{308}RGEN,r=abc".as_bytes()));
    assert!(matches!(step, Step::NeedSecrets { localpart, .. } if localpart == "j\u{fc}rgen"));
    for name in ["a b", "a@b", "a/b", "a'b", &"a".repeat(2000)] {
        let (_, step) =
            Exchange::start(&unbound(), "SCRAM-SHA-1", Some(format!("n,,n={name},r=abc").as_bytes()));
        assert_eq!(failure(step), SaslCondition::NotAuthorized, "{name}");
        let (_, step) = Exchange::start(&unbound(), "PLAIN", Some(format!("\0{name}\0pencil").as_bytes()));
        assert_eq!(failure(step), SaslCondition::NotAuthorized, "{name}");
    }
}

#[test]
fn a_changed_final_message_is_refused_for_what_was_changed() {
    let client = Client::new(Hash::Sha256, "user", "pencil");
    type Change = fn(&str) -> String;
    let cases: [(Change, SaslCondition); 8] = [
        (|message| message.replace(",r=", ",r=x"), SaslCondition::MalformedRequest),
        (|message| message.replace(",p=", "x,p="), SaslCondition::MalformedRequest),
        (|message| message.replace("c=biws", "c=eSws"), SaslCondition::NotAuthorized),
        (|message| message.replace(",p=", ",x=y,p="), SaslCondition::NotAuthorized),
        (
            |message| message.split(",p=").next().unwrap().to_string() + ",p=AAAA",
            SaslCondition::MalformedRequest,
        ),
        (|message| message.split(",p=").next().unwrap().to_string() + ",p=", SaslCondition::MalformedRequest),
        (|message| message.split(",p=").next().unwrap().to_string(), SaslCondition::MalformedRequest),
        (|_| String::new(), SaslCondition::MalformedRequest),
    ];
    for (number, (change, expected)) in cases.into_iter().enumerate() {
        let (mut exchange, challenge) = begin(&unbound(), "SCRAM-SHA-256", &client).unwrap();
        let message = change(&client.finish(&challenge).message);
        assert_eq!(failure(exchange.respond(message.as_bytes())), expected, "case {number}");
    }
}

#[test]
fn a_final_message_cannot_be_replayed() {
    let client = Client::new(Hash::Sha256, "user", "pencil");
    let (mut exchange, challenge) = begin(&unbound(), "SCRAM-SHA-256", &client).unwrap();
    let message = client.finish(&challenge).message;
    assert!(matches!(exchange.respond(message.as_bytes()), Step::Success { .. }));
    assert_eq!(failure(exchange.respond(message.as_bytes())), SaslCondition::MalformedRequest);
    let (mut exchange, _) = begin(&unbound(), "SCRAM-SHA-256", &client).unwrap();
    assert_eq!(failure(exchange.respond(message.as_bytes())), SaslCondition::MalformedRequest);
}

#[test]
fn after_a_failure_nothing_goes_on() {
    let client = Client::new(Hash::Sha256, "user", "wrong");
    let (mut exchange, challenge) = begin(&unbound(), "SCRAM-SHA-256", &client).unwrap();
    let finished = client.finish(&challenge);
    assert_eq!(failure(exchange.respond(finished.message.as_bytes())), SaslCondition::NotAuthorized);
    let right = Client { password: "pencil".into(), ..client }.finish(&challenge);
    assert_eq!(failure(exchange.respond(right.message.as_bytes())), SaslCondition::MalformedRequest);
    assert_eq!(failure(exchange.secrets(secrets(Hash::Sha256))), SaslCondition::MalformedRequest);
    assert_eq!(failure(exchange.checked(true)), SaslCondition::MalformedRequest);
}

#[test]
fn an_aborted_exchange_is_over() {
    let client = Client::new(Hash::Sha256, "user", "pencil");
    let (mut exchange, challenge) = begin(&unbound(), "SCRAM-SHA-256", &client).unwrap();
    assert_eq!(failure(exchange.abort()), SaslCondition::Aborted);
    let finished = client.finish(&challenge);
    assert_eq!(failure(exchange.respond(finished.message.as_bytes())), SaslCondition::MalformedRequest);
}

#[test]
fn a_client_without_initial_response_is_asked_for_it() {
    let client = Client::new(Hash::Sha1, "user", "pencil");
    let (mut exchange, step) = Exchange::start(&unbound(), "SCRAM-SHA-1", None);
    assert!(matches!(step, Step::Challenge(data) if data.is_empty()));
    assert!(matches!(exchange.respond(client.first().as_bytes()), Step::NeedSecrets { .. }));
    let (mut exchange, step) = Exchange::start(&unbound(), "PLAIN", None);
    assert!(matches!(step, Step::Challenge(data) if data.is_empty()));
    assert!(matches!(exchange.respond(b"\0user\0pencil"), Step::NeedCheck { .. }));
    let (_, step) = Exchange::start(&unbound(), "SCRAM-SHA-1", Some(b""));
    assert_eq!(failure(step), SaslCondition::MalformedRequest);
}

#[test]
fn plain_follows_the_verdict_and_is_refused_without_tls() {
    for (correct, expected) in [(true, Ok("user".into())), (false, Err(SaslCondition::NotAuthorized))] {
        let (mut exchange, step) = Exchange::start(&unbound(), "PLAIN", Some(b"\0User\0pen,=cil"));
        let Step::NeedCheck { localpart, password } = step else { panic!("{step:?}") };
        assert_eq!((&*localpart, &**password), ("user", "pen,=cil"));
        let result = match exchange.checked(correct) {
            Step::Success { localpart, additional: None } => Ok(localpart),
            step => Err(failure(step)),
        };
        assert_eq!(result, expected);
    }
    let (_, step) =
        Exchange::start(&offer(false, ChannelBindings::default()), "PLAIN", Some(b"\0user\0pencil"));
    assert_eq!(failure(step), SaslCondition::EncryptionRequired);
}

#[test]
fn malformed_plain_messages_are_refused() {
    let cases: [&[u8]; 11] = [
        b"",
        b"\0",
        b"\0\0",
        b"user",
        b"user\0pencil",
        b"\0\0pencil",
        b"\0user\0",
        b"\0user\0pencil\0",
        b"\0user\0pen\0cil",
        b"\0us\xffer\0pencil",
        b"\0user\0pen\xffcil",
    ];
    for message in cases {
        let (_, step) = Exchange::start(&unbound(), "PLAIN", Some(message));
        assert_eq!(failure(step), SaslCondition::MalformedRequest, "{}", message.escape_ascii());
    }
}

#[test]
fn an_unknown_mechanism_is_named_so() {
    for name in ["", "scram-sha-1", "SCRAM-SHA-1 ", "SCRAM-SHA-224", "EXTERNAL", "ANONYMOUS", "DIGEST-MD5"] {
        let (_, step) = Exchange::start(&unbound(), name, None);
        assert_eq!(failure(step), SaslCondition::InvalidMechanism, "{name}");
    }
    let few = Offer { allowed: vec![Mechanism::ScramSha512], ..unbound() };
    for name in ["SCRAM-SHA-1", "PLAIN"] {
        assert_eq!(failure(Exchange::start(&few, name, None).1), SaslCondition::InvalidMechanism, "{name}");
    }
}

#[test]
fn base64_is_undone_strictly() {
    assert_eq!(decode("").unwrap(), None);
    assert_eq!(decode("=").unwrap().unwrap().as_slice(), b"");
    assert_eq!(decode("AHVzZXIA").unwrap().unwrap().as_slice(), b"\0user\0");
    for text in ["A", "AA", "AAA", "AB==", "AA==\n", " AA==", "AA=A", "====", "A-__", "\u{e9}", "AA=", "=="] {
        assert_eq!(condition(decode(text)), SaslCondition::IncorrectEncoding, "{text:?}");
    }
    assert_eq!((encode(b""), encode(b"v=1")), (String::new(), "dj0x".into()));
}

#[test]
fn conditions_have_the_names_of_the_rfc() {
    use SaslCondition::*;
    let all = [
        (Aborted, "aborted"),
        (AccountDisabled, "account-disabled"),
        (CredentialsExpired, "credentials-expired"),
        (EncryptionRequired, "encryption-required"),
        (IncorrectEncoding, "incorrect-encoding"),
        (InvalidAuthzid, "invalid-authzid"),
        (InvalidMechanism, "invalid-mechanism"),
        (MalformedRequest, "malformed-request"),
        (MechanismTooWeak, "mechanism-too-weak"),
        (NotAuthorized, "not-authorized"),
        (TemporaryAuthFailure, "temporary-auth-failure"),
    ];
    assert!(all.iter().all(|(condition, name)| condition.name() == *name));
}

/// Bytes that look like something: the alphabet of the messages, and a few that must not be there.
fn messages() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(&b"n,,"[..]),
        Just(&b"y,,"[..]),
        Just(&b"p=tls-exporter,,"[..]),
        Just(&b"n=user"[..]),
        Just(&b"r=abc"[..]),
        Just(&b"a=user@example.org"[..]),
        Just(&b"c=biws"[..]),
        Just(&b",p=AAAA"[..]),
        Just(&b","[..]),
        Just(&b"="[..]),
        Just(&b"\0"[..]),
        Just(&b"\xff"[..]),
        Just(&b"\xc3\xa9"[..]),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    /// Whatever a peer sends in whatever order, without the password it never succeeds, and nothing panics.
    #[test]
    fn nobody_gets_in_by_noise(mechanism in 0..7_usize, sent in prop::collection::vec(messages(), 1..4), noise: Vec<u8>) {
        let (mut exchange, mut step) = Exchange::start(&bound(), Mechanism::ALL[mechanism].name(), sent.first().map(Vec::as_slice));
        for message in sent[1..].iter().chain([&noise]) {
            step = match step {
                Step::Challenge(_) => exchange.respond(message),
                Step::NeedSecrets { hash, .. } => exchange.secrets(secrets(hash)),
                Step::NeedCheck { .. } => exchange.checked(false),
                Step::Success { .. } => panic!("{sent:?} got in"),
                Step::Failure(_) => break,
            };
        }
        assert!(!matches!(step, Step::Success { .. }));
    }

    /// Any name a client may write arrives as itself, normalised.
    #[test]
    fn names_survive_their_escaping(name in "[a-z=,]{1,20}") {
        let client = Client::new(Hash::Sha1, &name, "pencil");
        let (_, step) = Exchange::start(&unbound(), "SCRAM-SHA-1", Some(client.first().as_bytes()));
        assert!(matches!(step, Step::NeedSecrets { localpart, .. } if localpart == name));
    }
}
