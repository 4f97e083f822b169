use crate::prelude::*;
use crate::sdk::store::{MapChange, Query};
use crate::testing::FakeHost;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

struct Keeper {
    host: Host,
}

impl Module for Keeper {
    type Options = ();

    fn start(host: &Host, (): ()) -> Result<Started<Self>, Stop> {
        let notes = host.keyval("notes");
        notes.set("a", b"1").wait()?;
        notes.set_json("b", &json!({"n": 2})).wait()?;
        assert_eq!(notes.get("a").wait()?, Some(b"1".to_vec()));
        assert_eq!(notes.get_json::<Value>("b").wait()?, Some(json!({"n": 2})));
        assert!(notes.get_json::<u8>("b").wait().is_err());
        assert_eq!(notes.get("c").wait()?, None);
        host.command(&CommandSpec::new("exercise", "Goes through all stores"), Self::exercise)?;
        host.command(&CommandSpec::new("ask", "Asks the server"), Self::ask)?;
        Started::running(Self { host: host.clone() })
    }
}

impl Keeper {
    async fn exercise(self: Arc<Self>, _: Request<'static>) -> Result<Value, CommandError> {
        let notes = self.host.keyval("notes");
        assert_eq!(notes.keys("", "a", 10).await?, ["b"]);
        notes.delete("a").await?;
        assert_eq!(notes.keys("", "", 10).await?, ["b"]);

        let map = self.host.map("roster");
        map.update("ann", &MapChange::new().set("bob", b"\xff\x00").set("cy", b"")).await?;
        map.update("ann", &MapChange::new().delete("cy")).await?;
        assert_eq!(map.get("ann", "bob").await?, Some(b"\xff\x00".to_vec()));
        assert_eq!(map.all("ann").await?.into_keys().collect::<Vec<_>>(), ["bob"]);
        map.delete("ann").await?;
        assert!(map.all("ann").await?.is_empty());
        self.archive().await
    }

    async fn archive(&self) -> Result<Value, CommandError> {
        let archive = self.host.archive("log");
        let mut ids = Vec::new();
        for at in 1..=5 {
            ids.push(archive.append("ann", if at % 2 == 0 { "even" } else { "odd" }, at, &[at as u8]).await?);
        }
        let page = archive.query("ann", &Query { limit: Some(2), ..Query::default() }).await?;
        assert_eq!((page.items.len(), page.count, page.complete), (2, Some(5), false));
        let rest =
            archive.query("ann", &Query { after: page.items[1].id.clone(), ..Query::default() }).await?;
        assert_eq!(rest.items.iter().map(|i| i.at_ms).collect::<Vec<_>>(), [3, 4, 5]);
        assert!(rest.complete);
        let last = archive
            .query("ann", &Query { limit: Some(1), reverse: true, with: "odd".into(), ..Query::default() })
            .await?;
        assert_eq!(
            (last.items[0].id.as_str(), last.items[0].body.as_slice()),
            (ids[4].as_str(), &[5_u8][..])
        );
        assert_eq!(archive.delete("", 3).await?, 2);
        Ok(json!("done"))
    }

    fn ask(&self, _: &Request<'_>) -> Result<Value, CommandError> {
        let ann = Jid::parse("ann@example.org").map_err(|e| CommandError::internal(e.to_string()))?;
        assert!(!self.host.account_exists(&ann).wait()?);
        self.host.create_account(&ann, "secret").wait()?;
        assert_eq!(self.host.create_account(&ann, "secret").wait().unwrap_err().condition, "conflict");
        self.host.set_password(&ann, "better").wait()?;
        let sessions = self.host.sessions_of(&ann).wait()?;
        let all = self.host.sessions("", 10).wait()?;
        let other = self.host.request("mod_x", "m", &json!([1]), Duration::from_secs(1)).wait()?;
        let payload = Element::new("ping").with_ns(ns::PING);
        let iq = IqRequest::get(Jid::parse("ann@example.org/r").unwrap(), payload);
        let pong = self.host.send_iq(&iq, Duration::from_secs(3)).wait()?;
        assert_eq!(pong.result(), Ok(None));
        let denied = self.host.run_command("status", &json!({})).wait().unwrap_err();
        Ok(json!([sessions[0].priority, all, other, denied.condition]))
    }
}

#[test]
fn all_three_stores_do_what_they_say() {
    let host = FakeHost::new("example.org");
    let module = host.start::<Keeper>("{}");
    assert_eq!(module.command("exercise", &json!({})), Ok(json!("done")));
    assert_eq!(host.stored("notes", "b").unwrap(), br#"{"n":2}"#);
    assert!(module.stop(StopReason::Unload).is_clean());
}

#[test]
fn the_server_answers_questions() {
    let host = FakeHost::new("example.org");
    host.add_session("ann@example.org/r", 5);
    host.answer_requests(|module, method, args| Ok(json!([module, method, args])));
    host.answer_iqs(|iq| {
        assert_eq!((iq.attr_s("from"), iq.attr_s("to")), ("example.org", "ann@example.org/r"));
        Some(Element::new("iq").with_attr("type", "result"))
    });
    let module = host.start::<Keeper>("{}");
    let answer = module.command("ask", &json!({})).unwrap();
    assert_eq!(answer, json!([5, ["ann@example.org/r"], ["mod_x", "m", [1]], "forbidden"]));
    assert_eq!(host.password("ann@example.org").as_deref(), Some("better"));
}

#[test]
fn an_iq_that_nobody_answers_times_out_on_the_fake_clock() {
    struct Asker;
    impl Module for Asker {
        type Options = ();
        fn start(host: &Host, (): ()) -> Result<Started<Self>, Stop> {
            let iq = IqRequest::get(Jid::parse("ann@example.org/r")?, Element::new("ping").with_ns(ns::PING));
            let error = host.send_iq(&iq, Duration::from_secs(3)).wait().unwrap_err();
            assert_eq!(error.condition, "remote-server-timeout");
            let error = host.sleep(Duration::from_secs(60)).wait_at_most(Duration::from_secs(1)).unwrap_err();
            assert_eq!(error.condition, "timeout");
            Started::running(Asker)
        }
    }
    let host = FakeHost::new("example.org");
    let module = host.start::<Asker>("{}");
    assert_eq!(host.now_ms(), 4000);
    assert!(module.stop(StopReason::Unload).is_clean());
}
