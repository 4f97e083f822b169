use crate::hooks::{InfoAnswer, name};
use crate::prelude::*;
use crate::sdk::hooks::{AuthResultNotice, Collecting, Notice};
use crate::testing::{FakeHost, HookResult, Instance};
use serde_json::{Value, json};
use std::sync::Arc;

struct Hooked {
    host: Host,
}

impl Module for Hooked {
    type Options = ();

    fn start(host: &Host, (): ()) -> Result<Started<Self>, Stop> {
        host.on_user_send_packet(90, Self::last)?;
        host.on_user_send_packet(10, Self::first)?;
        host.on_user_send_packet(50, Self::middle)?;
        host.on_offline_message(50, |_: &Hooked, stanza: &Stanza<'_>| match stanza.type_attr().as_deref() {
            Some("chat") => Taken::Yes,
            _ => Taken::No,
        })?;
        host.on_local_packet(0, deferred(Self::kept))?;
        host.on_inactive_packet(0, |_: &Hooked, stanza: &Stanza<'_>| match stanza.type_attr().as_deref() {
            Some("groupchat") => Urgency::Later,
            Some("headline") => Urgency::Never,
            _ => Urgency::Unknown,
        })?;
        host.on_session_opened(0, |this: &Hooked, notice: &Notice<'_, crate::hooks::SessionOpened>| {
            info!(this.host.about(&notice.jid), "from {}", notice.what.ip);
        })?;
        host.on_c2s_auth_result(0, Self::auth)?;
        host.on_disco_info(0, Self::info)?;
        Started::running(Self { host: host.clone() })
    }
}

fn tagged(stanza: &Stanza<'_>, tag: &str) -> Result<Element, StanzaError> {
    Ok(stanza.element()?.clone().with_child(Element::new(tag)))
}

impl Hooked {
    fn first(&self, stanza: &Stanza<'_>) -> Packet {
        tagged(stanza, "first").map_or_else(|e| Packet::Drop(e.to_string()), |e| Packet::replace(&e))
    }

    fn middle(&self, stanza: &Stanza<'_>) -> Packet {
        match stanza.id().as_deref() {
            Some("drop") => Packet::Drop("unwanted".into()),
            Some("stop") => Packet::pass_and_stop(stanza),
            _ => Packet::Pass,
        }
    }

    fn kept(self: &Arc<Self>, stanza: &Stanza<'_>) -> Soon<Taken> {
        if stanza.bytes() != b"<message id='keep'/>" {
            return Taken::No.into();
        }
        let this = Arc::clone(self);
        Soon::later(async move {
            let kept = this.host.keyval("kept").set("last", b"1").await;
            if kept.is_ok() { Taken::Yes } else { Taken::No }
        })
    }

    async fn last(self: Arc<Self>, stanza: Stanza<'static>) -> Packet {
        tagged(&stanza, "last").map_or(Packet::Pass, |e| Packet::replace(&e))
    }

    fn auth(&self, notice: &AuthResultNotice<'_>) -> Chain {
        self.host.count(if notice.what.success { "logins" } else { "failures" }, 1);
        if notice.what.success { Chain::Continue } else { Chain::Stop("seen".into()) }
    }

    fn info(&self, question: &Collecting<'_, InfoAnswer>) -> InfoAnswer {
        let mut answer = question.answer.clone();
        answer.features.push(format!("urn:of:{}:{}", question.to, question.node));
        answer
    }
}

fn send(module: &Instance, stanza: &str) -> HookResult {
    module.hook(name::USER_SEND_PACKET, "a@example.org/x", "b@example.org", &json!({}), stanza)
}

#[test]
fn lower_sequence_numbers_run_first_and_see_what_the_others_made() {
    let host = FakeHost::new("example.org");
    let module = host.start::<Hooked>("{}");
    assert_eq!(
        send(&module, "<message/>"),
        HookResult::Continued(b"<message><first/><last/></message>".to_vec())
    );
}

#[test]
fn a_chain_ends_with_or_without_the_stanza() {
    let host = FakeHost::new("example.org");
    let module = host.start::<Hooked>("{}");
    let stopped = |reason: &str, body: Option<&str>| HookResult::Stopped {
        reason: reason.into(),
        body: body.map(|b| b.as_bytes().to_vec()),
    };
    assert_eq!(send(&module, "<message id='drop'/>"), stopped("unwanted", None));
    assert_eq!(
        send(&module, "<message id='stop'/>"),
        stopped("", Some("<message id='stop'><first/></message>"))
    );
    let offline =
        |s: &str| module.hook(name::OFFLINE_MESSAGE, "a@example.org/x", "b@example.org", &Value::Null, s);
    assert_eq!(offline("<message type='chat'/>"), stopped("taken", None));
    assert_eq!(offline("<message/>"), HookResult::Continued(b"<message/>".to_vec()));
}

#[test]
fn notices_are_typed() {
    let host = FakeHost::new("example.org");
    let module = host.start::<Hooked>("{}");
    module.hook(name::SESSION_OPENED, "a@example.org/x", "", &json!({"ip": "::1", "of_later": 1}), "");
    assert!(host.has_logged("a@example.org/x: from ::1"));
    module.hook(name::C2S_AUTH_RESULT, "", "", &json!({"success": true}), "");
    module.hook(name::C2S_AUTH_RESULT, "", "", &json!({"success": false}), "");
    assert_eq!((host.counter("logins"), host.counter("failures")), (1, 1));
}

#[test]
fn discovery_hooks_extend_the_answer() {
    let host = FakeHost::new("example.org");
    let module = host.start::<Hooked>("{}");
    let so_far = r#"{"features":["urn:x"],"identities":[]}"#;
    let result =
        module.hook(name::DISCO_INFO, "a@example.org/x", "example.org", &json!({"node": "n"}), so_far);
    let HookResult::Continued(body) = result else { panic!("{result:?}") };
    let answer: InfoAnswer = serde_json::from_slice(&body).unwrap();
    assert_eq!(answer.features, ["urn:x", "urn:of:example.org:n"]);
}

#[test]
fn a_deferred_handler_answers_at_once_or_later() {
    let host = FakeHost::new("example.org");
    let module = host.start::<Hooked>("{}");
    let local = |stanza| module.hook(name::LOCAL_PACKET, "a@b/c", "example.org", &json!({}), stanza);
    assert_eq!(local("<message/>"), HookResult::Continued(b"<message/>".to_vec()));
    assert_eq!(host.stored("kept", "last"), None);
    assert!(matches!(local("<message id='keep'/>"), HookResult::Stopped { .. }));
    assert_eq!(host.stored("kept", "last").as_deref(), Some(b"1".as_slice()));
}

#[test]
fn a_handler_says_what_can_wait_for_an_inactive_client() {
    let host = FakeHost::new("example.org");
    let module = host.start::<Hooked>("{}");
    let judge =
        |stanza: &str| module.hook(name::INACTIVE_PACKET, "a@b/c", "d@example.org/e", &json!({}), stanza);
    for (stanza, expected) in
        [("<message type='groupchat'/>", "later"), ("<message type='headline'/>", "never")]
    {
        assert!(matches!(judge(stanza), HookResult::Stopped { reason, body: None } if reason == expected));
    }
    assert!(matches!(judge("<message type='chat'/>"), HookResult::Continued(_)));
}
