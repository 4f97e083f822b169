//! Accounts with all that belongs to them, out of the server and into another one (XEP-0227); also from ejabberd.

use std::fs;
use std::path::{Path, PathBuf};

use moult_tests::sasl::{Hash, Mechanism};
use moult_tests::{Client, Plugin, Server};
use serde_json::json;

const MODULES: [&str; 6] =
    ["mod_roster", "mod_vcard", "mod_private", "mod_offline", "mod_blocking", "mod_mam"];

async fn server(accounts: &[&str]) -> Server {
    let builder = Server::builder().accounts(accounts);
    MODULES.into_iter().fold(builder, |builder, name| builder.plugin(&Plugin::built(name))).start().await
}

fn recorded(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/ejabberd-23.01").join(name)
}

async fn exported(server: &Server, name: &str) -> String {
    let folder = server.folder().join(name);
    fs::create_dir(&folder).expect("the test folder is writable");
    server.ctl(&["export_piefxis", &folder.display().to_string()]).await;
    let main = fs::read_to_string(folder.join("server-data.xml")).expect("the main file is there");
    assert!(main.contains("<xi:include href='localhost.xml'/>"), "{main}");
    fs::read_to_string(folder.join("localhost.xml")).expect("the vhost's file is there")
}

async fn fill(server: &Server) {
    let mut alice = server.client("alice").await;
    let set = async |client: &mut Client, payload: &str| {
        let jid = client.bare_jid().to_owned();
        let answer = client.set(&jid, payload).await;
        assert_eq!(answer.attr("type"), Some("result"), "{payload}: {answer}");
    };
    let roster = "<query xmlns='jabber:iq:roster'><item jid='carol@example.net' name='C &amp; D'><group>x</group></item></query>";
    set(&mut alice, roster).await;
    set(&mut alice, "<vCard xmlns='vcard-temp'><FN>Älice &lt;</FN><N><GIVEN>A</GIVEN></N></vCard>").await;
    set(&mut alice, "<query xmlns='jabber:iq:private'><a xmlns='urn:a' b='1'><c>t</c></a></query>").await;
    set(
        &mut alice,
        "<query xmlns='jabber:iq:private'><a xmlns='urn:q' xmlns:p='urn:p' p:b='1'><p:c/></a></query>",
    )
    .await;
    set(
        &mut alice,
        "<block xmlns='urn:xmpp:blocking'><item jid='spam.example'/><item jid='x@y.example'/></block>",
    )
    .await;
    set(
        &mut alice,
        "<prefs xmlns='urn:xmpp:mam:2' default='always'><always/><never><jid>n@x</jid></never></prefs>",
    )
    .await;
    let mut bob = server.client("bob").await;
    bob.send("<presence type='subscribe' to='alice@localhost'><status>it is &lt;me&gt;</status></presence>")
        .await;
    bob.send("<presence type='subscribe' to='nobody@example.net'/>").await;
    for number in 0..120 {
        bob.message("alice@localhost", &format!("number {number} <&>")).await;
    }
    bob.received().await;
}

#[tokio::test]
async fn an_export_imported_into_an_empty_server_is_exported_byte_for_byte() {
    let full = server(&["alice", "bob"]).await;
    fill(&full).await;
    let first = exported(&full, "out").await;
    for part in [
        "<scram-credentials",
        "name='C &amp; D'",
        "type='subscribe'",
        "<vCard",
        "urn:q",
        "spam.example",
        "number 119",
        "<archive",
        "<prefs",
    ] {
        assert!(first.contains(part), "{part}: {first}");
    }
    let main = full.folder().join("out/server-data.xml");
    let empty = server(&[]).await;
    let report = empty.ctl_json(&["import_piefxis", &main.display().to_string()]).await;
    assert_eq!(report, json!({"accounts": 2, "failed": 0, "left_out": []}), "{report}");
    let second = exported(&empty, "out").await;
    assert!(first == second, "--- first\n{first}\n--- second\n{second}");

    // Who has been taken over logs in with the former password, and finds what waited.
    let mut alice = empty.client("alice").await;
    alice.available().await;
    assert_eq!(alice.expect_message().await.child_text("body"), Some("number 0 <&>"));
    let last =
        alice.expect("the last message", |stanza| stanza.child_text("body") == Some("number 119 <&>")).await;
    assert!(last.child_ns("delay", "urn:xmpp:delay").is_some(), "{last}");
    full.stop().await;
    empty.stop().await;
}

#[tokio::test]
async fn what_ejabberd_has_exported_is_taken_over() {
    for form in ["plain/20261121-083401.xml", "scram/20261121-083407.xml"] {
        let server = server(&[]).await;
        let report = server.ctl_json(&["import_piefxis", &recorded(form).display().to_string()]).await;
        assert_eq!(report, json!({"accounts": 3, "failed": 0, "left_out": []}), "{form}");
        let login = |user: &str, mechanism: Mechanism| {
            server.login(user).password(&format!("pw <{user}> ä")).mechanism(mechanism)
        };
        let mut romeo = login("romeo", Mechanism::Scram(Hash::Sha1)).connect().await;
        let jid = romeo.bare_jid().to_owned();
        let roster = romeo.get(&jid, "<query xmlns='jabber:iq:roster'/>").await.to_string();
        for part in [
            "jid='juliet@localhost'",
            "subscription='to'",
            "Juliet &amp; co",
            "<group>Verona</group>",
            "lawrence@example.net",
        ] {
            assert!(roster.contains(part), "{part}: {roster}");
        }
        let card = romeo.get(&jid, "<vCard xmlns='vcard-temp'/>").await.to_string();
        assert!(card.contains("Romeo Montague") && card.contains("aGVsbG8="), "{card}");
        let private = romeo
            .get(&jid, "<query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'/></query>")
            .await;
        assert!(private.to_string().contains("orchard@conf.localhost"), "{private}");
        let blocked = romeo.get(&jid, "<blocklist xmlns='urn:xmpp:blocking'/>").await.to_string();
        assert!(blocked.contains("tybalt@localhost") && blocked.contains("spam.example"), "{blocked}");

        let mut juliet = login("juliet", Mechanism::Plain).connect().await;
        juliet.available().await;
        let request = juliet.expect("the request", |stanza| stanza.attr("type") == Some("subscribe")).await;
        assert_eq!(request.attr("from"), Some("tybalt@localhost"));
        for number in 0..3 {
            let message = juliet.expect_message().await;
            assert_eq!(message.child_text("body"), Some(format!("Night {number} & <day>").as_str()));
            let delay = message.child_ns("delay", "urn:xmpp:delay").expect("the time it came");
            assert!(
                delay.attr("stamp").is_some_and(|stamp| stamp.starts_with("2026-11-21T08:34:0")),
                "{message}"
            );
        }
        assert_eq!(juliet.expect_message().await.child_text("subject"), Some("S"));
        server.stop().await;
    }
}

#[tokio::test]
async fn what_cannot_be_taken_over_is_told_and_leaves_nothing_behind() {
    let server = server(&["alice"]).await;
    let file = server.folder().join("in.xml");
    let import = async |text: &str| {
        fs::write(&file, text).expect("the test folder is writable");
        server.try_ctl(&["import_piefxis", &file.display().to_string()]).await
    };
    let user = |content: &str| {
        format!("<server-data xmlns='urn:xmpp:pie:0'><host jid='localhost'>{content}</host></server-data>")
    };
    let there = import(&user(
        "<user name='alice' password='other'><vCard xmlns='vcard-temp'><FN>Other</FN></vCard></user>",
    ))
    .await;
    assert!(
        there.code == 1 && there.stderr.contains("alice@localhost was not taken over: it is there already"),
        "{there:?}"
    );
    let mut alice = server.client("alice").await;
    let card = alice.get("alice@localhost", "<vCard xmlns='vcard-temp'/>").await.to_string();
    assert!(!card.contains("Other"), "{card}");

    // What breaks off in the middle of an account takes back what was stored of it.
    let broken = import(&user(
        "<user name='eve' password='p'><vCard xmlns='vcard-temp'><FN>Eve</FN></vCard><query></user>",
    ))
    .await;
    assert!(broken.code == 1 && broken.stderr.contains("eve@localhost was not taken over"), "{broken:?}");
    server.ctl(&["register", "eve", "localhost", "sesame"]).await;
    let mut eve = server.client("eve").await;
    let card = eve.get("eve@localhost", "<vCard xmlns='vcard-temp'/>").await.to_string();
    assert!(!card.contains("Eve"), "{card}");

    for (text, part) in [
        (user("<user name='@@' password='p'/>"), "cannot be an account"),
        (
            user("<user name='a' password='p'/>").replace("localhost", "elsewhere.example"),
            "is no vhost of this server",
        ),
        ("<!DOCTYPE x><x/>".to_owned(), "document type"),
        ("<x xmlns='urn:x'/>".to_owned(), "no data of users"),
    ] {
        let answer = import(&text).await;
        assert!(answer.code == 1 && answer.stderr.contains(part), "{part}: {answer:?}");
    }
    let strange = user(
        "<user name='frank' password='p'><x xmlns='urn:x'/><x xmlns='urn:x'/></user><user name='grace'/>",
    );
    let answer = import(&strange).await;
    assert_eq!(answer.code, 0, "{answer:?}");
    assert_eq!(answer.stdout.matches("no module keeps it").count(), 1, "{answer:?}");
    assert!(answer.stdout.contains("grace@localhost: it has no password"), "{answer:?}");

    let relative = server.try_ctl(&["import_piefxis", "in.xml"]).await;
    assert!(relative.code != 0 && relative.stderr.contains("absolute"), "{relative:?}");
    let folder = server.folder().join("twice");
    fs::create_dir(&folder).expect("the test folder is writable");
    let folder = folder.display().to_string();
    server.ctl(&["export_piefxis_host", &folder, "localhost"]).await;
    let twice = server.try_ctl(&["export_piefxis_host", &folder, "localhost"]).await;
    assert!(twice.code == 1 && twice.stderr.contains("is there already"), "{twice:?}");
    assert_eq!(fs::read_dir(&folder).expect("it is there").count(), 1, "no unfinished file stays");
    server.stop().await;
}
