use crate::abi::v1::{discipline, registration, target};
use crate::prelude::*;
use crate::sdk::{Discipline, IqHandler};
use crate::testing::FakeHost;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const FROM: &str = "alice@example.org/x";

struct All {
    host: Host,
}

struct Fixed;

impl IqHandler for Fixed {
    fn on_iq(&self, _: &Iq<'_>) -> IqReply {
        "<fixed/>".into()
    }
}

#[derive(Deserialize)]
struct Greet {
    name: String,
    #[serde(default)]
    times: usize,
}

impl Module for All {
    type Options = ();

    fn start(host: &Host, (): ()) -> Result<Started<Self>, Stop> {
        host.on_iq("urn:plain", Self::plain)?;
        host.on_iq(IqSpec::new("urn:async").parallel_n(3), Self::slow)?;
        host.on_iq(IqSpec::new("urn:classic").no_queue().hidden(), Self::classic)?;
        host.on_iq("urn:object", Fixed)?;
        host.on_iq(IqSpec::new("urn:plain").on_accounts(), |_: &All, iq: &Iq<'_>| {
            Element::new("of").with_text(iq.to().as_str())
        })?;
        host.on_iq("urn:empty", |_: &All, _: &Iq<'_>| ())?;
        host.on_iq("urn:ignored", |_: &All, _: &Iq<'_>| IqReply::Ignore)?;
        host.command(&CommandSpec::new("greet", "Says hello").arg("name", "string", "Whom"), Self::greet)?;
        host.command(&CommandSpec::new("greet_slowly", "Says hello"), Self::greet_slowly)?;
        host.on_request("greet", Self::greet_slowly)?;
        host.on_http("/hello", HttpAuth::None, Self::http)?;
        host.on_http("/hello/deep", HttpAuth::Admin, |_: &All, _: &HttpRequest<'_>| {
            HttpResponse::text(200, "deep")
        })?;
        host.on_stanza("talk.example.org", Self::talk)?;
        Started::running(Self { host: host.clone() })
    }
}

impl All {
    fn plain(&self, iq: &Iq<'_>) -> Result<Element, StanzaError> {
        iq.require_get()?;
        match iq.payload()?.text().as_str() {
            "missing" => Err(StanzaError::item_not_found("there is none")),
            text => Ok(Element::new("echo").with_text(text)),
        }
    }

    async fn slow(self: Arc<Self>, iq: Iq<'static>) -> Result<Element, StanzaError> {
        let seconds: u64 = iq.payload()?.text().parse().map_err(|_| StanzaError::bad_request("no number"))?;
        self.host.sleep(Duration::from_secs(seconds)).await?;
        Ok(Element::new("slept").with_text(seconds.to_string()))
    }

    fn classic(&self, from: &Jid<'_>, to: &Jid<'_>, iq: &Iq<'_>) -> String {
        format!("<c from='{from}' to='{to}' id='{}'/>", iq.id())
    }

    fn greet(&self, request: &Request<'_>) -> Result<String, CommandError> {
        let Greet { name, times } = request.args()?;
        if name.is_empty() {
            return Err(CommandError::bad_request("nobody to greet"));
        }
        Ok(format!("Hello, {name}! ").repeat(times.max(1)))
    }

    async fn greet_slowly(self: Arc<Self>, request: Request<'static>) -> Result<Value, CommandError> {
        self.host.sleep(Duration::from_secs(1)).await?;
        Ok(json!({"hello": request.args::<Greet>()?.name}))
    }

    fn http(&self, request: &HttpRequest<'_>) -> HttpResponse {
        let who = request.header("X-Who").unwrap_or("nobody").to_owned();
        HttpResponse::json(200, &json!({"method": request.method, "query": request.query(), "who": who}))
            .header("X-Seen", "1")
    }

    fn talk(&self, stanza: &Stanza<'_>) -> Flow {
        match stanza.element().map(|e| e.subtag_text("body")) {
            Ok(body) if body == "bye" => Flow::Stop("told so".into()),
            Ok(body) if body.is_empty() => Flow::ContinueAfter(Duration::from_secs(1)),
            _ => Flow::Continue,
        }
    }
}

fn started() -> (FakeHost, crate::testing::Instance) {
    let host = FakeHost::new("example.org");
    let module = host.start::<All>("{}");
    (host, module)
}

#[test]
fn plain_handlers_answer_results_and_errors() {
    let (_host, module) = started();
    let get = |payload: &str| module.iq_get(FROM, "example.org", payload);
    assert_eq!(get("<q xmlns='urn:plain'>hi</q>").unwrap().unwrap().text(), "hi");
    let error = get("<q xmlns='urn:plain'>missing</q>").unwrap_err();
    assert_eq!((error.condition, error.text.as_ref()), (Condition::ItemNotFound, "there is none"));
    let set = module.iq_set(FROM, "example.org", "<q xmlns='urn:plain'/>").unwrap_err();
    assert_eq!(set.condition, Condition::NotAllowed);
    assert_eq!(get("<q xmlns='urn:empty'/>"), Ok(None));
    assert_eq!(get("<q xmlns='urn:ignored'/>").unwrap_err().condition, Condition::UndefinedCondition);
    assert_eq!(get("<q xmlns='urn:nobody'/>").unwrap_err().condition, Condition::ServiceUnavailable);
}

#[test]
fn asynchronous_handlers_feel_the_same() {
    let (host, module) = started();
    let slept = module.iq_get(FROM, "example.org", "<q xmlns='urn:async'>7</q>").unwrap().unwrap();
    assert_eq!((slept.text().as_str(), host.now_ms()), ("7", 7000));
    assert_eq!(
        module.iq_get(FROM, "example.org", "<q xmlns='urn:async'>x</q>").unwrap_err().condition,
        Condition::BadRequest
    );
    let mut pending = module.begin_iq("get", FROM, "example.org", "<q xmlns='urn:async'>5</q>");
    host.advance(Duration::from_millis(4999));
    assert!(pending.try_iq().is_none());
    host.advance(Duration::from_millis(1));
    assert_eq!(pending.try_iq().unwrap().unwrap().unwrap().text(), "5");
}

#[test]
fn the_sources_form_and_handler_values_work() {
    let (_host, module) = started();
    let classic = module.iq_get(FROM, "example.org", "<q xmlns='urn:classic'/>").unwrap().unwrap();
    assert_eq!(
        (classic.attr_s("from"), classic.attr_s("to"), classic.attr_s("id")),
        (FROM, "example.org", "test")
    );
    assert_eq!(
        module.iq_get(FROM, "example.org", "<q xmlns='urn:object'/>").unwrap().unwrap().name(),
        "fixed"
    );
}

#[test]
fn accounts_have_handlers_of_their_own() {
    let (_host, module) = started();
    let of = module.iq_get(FROM, "bob@example.org", "<q xmlns='urn:plain'>x</q>").unwrap().unwrap();
    assert_eq!(of.text(), "bob@example.org");
    assert!(module.iq_get(FROM, "bob@example.org", "<q xmlns='urn:empty'/>").is_err());
}

#[test]
fn registrations_say_what_was_asked_for() {
    let (host, _module) = started();
    let iq = |ns: &str| {
        host.registrations().into_iter().find(|r| r.kind == registration::IQ && r.name == ns).unwrap()
    };
    assert_eq!((iq("urn:plain").discipline, iq("urn:plain").target), (discipline::DEFAULT, target::SERVER));
    assert_eq!((iq("urn:async").discipline, iq("urn:async").workers), (discipline::PARALLEL_N, 3));
    assert_eq!(iq("urn:classic").discipline, discipline::NO_QUEUE);
    let features = host.registered(registration::FEATURE);
    assert!(features.contains(&"urn:async".to_owned()) && !features.contains(&"urn:classic".to_owned()));
    assert_eq!(host.disco(Target::Account).features, ["urn:plain"]);
}

#[test]
fn commands_take_typed_arguments() {
    let (_host, module) = started();
    assert_eq!(module.command("greet", &json!({"name": "Ann"})), Ok(json!("Hello, Ann! ")));
    assert_eq!(module.command("greet", &json!({"name": ""})).unwrap_err().text, "nobody to greet");
    assert_eq!(module.command("greet", &json!({})).unwrap_err().code, 400);
    assert_eq!(module.command("greet_slowly", &json!({"name": "Bo"})), Ok(json!({"hello": "Bo"})));
}

#[test]
fn http_requests_find_the_longest_path() {
    let (_host, module) = started();
    let response = module.http("GET", "/hello/x?a=1", &[("X-Who", "me")], "");
    let body: Value = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(body, json!({"method": "GET", "query": "a=1", "who": "me"}));
    assert_eq!(response.headers["x-seen"], "1");
    assert_eq!(module.http("GET", "/hello/deep/er", &[], "").body, b"deep");
    assert_eq!(module.http("GET", "/hellox", &[], "").status, 404);
}

#[test]
fn stanzas_direct_the_flow() {
    let (_host, module) = started();
    let say = |body: &str| {
        module.stanza(FROM, "talk.example.org/r", &format!("<message><body>{body}</body></message>"))
    };
    assert_eq!(say("hi"), Flow::Continue);
    assert_eq!(say(""), Flow::ContinueAfter(Duration::from_secs(1)));
    assert_eq!(say("bye"), Flow::Stop("told so".into()));
}

#[test]
fn a_registration_taken_back_is_gone_and_refusals_are_typed() {
    struct Late(Host);
    impl Module for Late {
        type Options = ();
        fn start(host: &Host, (): ()) -> Result<Started<Self>, Stop> {
            let first = host.on_iq("urn:late", Fixed)?;
            assert_eq!(host.on_iq("urn:late", Fixed).unwrap_err().condition, "conflict");
            assert!(host.unregister(first) && !host.unregister(first));
            assert_eq!(
                host.on_stanza("bad@domain", |_: &Late, _: &Stanza<'_>| ()).unwrap_err().condition,
                "jid-malformed"
            );
            assert!(host.on_iq(IqSpec::new("urn:none").discipline(Discipline::ParallelN(0)), Fixed).is_err());
            assert!(
                host.command(&CommandSpec::new("No-Good", ""), |_: &Late, _: &Request<'_>| Ok(())).is_err()
            );
            assert!(
                host.on_iq("urn:other", |_: &All, _: &Iq<'_>| ())
                    .unwrap_err()
                    .text
                    .contains("another module")
            );
            Started::running(Late(host.clone()))
        }
    }
    let host = FakeHost::new("example.org");
    let module = host.start::<Late>("{}");
    assert_eq!(
        module.iq_get(FROM, "example.org", "<q xmlns='urn:late'/>").unwrap_err().condition,
        Condition::ServiceUnavailable
    );
    assert_eq!(module.stop(StopReason::Unload).registrations, 1, "the feature alone was left");
    let _ = |late: Late| late.0;
}

#[test]
fn timers_fire_in_time_once_or_again_and_again() {
    struct Clock {
        host: Host,
        repeating: Registration,
    }
    impl Module for Clock {
        type Options = ();
        fn start(host: &Host, (): ()) -> Result<Started<Self>, Stop> {
            host.after(Duration::from_secs(3), |this: &Clock, _: &Tick| this.host.count("once", 1))?;
            let repeating = host.every(Duration::from_secs(2), Self::tick)?;
            Started::running(Self { host: host.clone(), repeating })
        }
    }
    impl Clock {
        async fn tick(self: Arc<Self>, tick: Tick) {
            assert_eq!(tick.id, self.repeating.id());
            self.host.count("ticks", 1);
            self.host.sleep(Duration::from_millis(500)).await.unwrap();
            self.host.gauge("ticked", 1);
        }
    }
    let host = FakeHost::new("example.org");
    let module = host.start::<Clock>("{}");
    host.advance(Duration::from_secs(2));
    assert_eq!((host.counter("once"), host.counter("ticks"), host.gauge("ticked")), (0, 1, None));
    host.advance(Duration::from_secs(8));
    assert_eq!((host.counter("once"), host.counter("ticks"), host.gauge("ticked")), (1, 5, Some(1)));
    assert_eq!(module.stop(StopReason::Unload).tasks, 1, "the last tick was still asleep");
}

#[test]
fn a_request_of_another_module_has_its_handler_which_may_wait() {
    let host = FakeHost::new("example.org");
    let module = host.start::<All>("{}");
    let args = json!({"name": "Ann"});
    assert_eq!(module.request("greet", &args), module.command("greet_slowly", &args));
    assert!(module.request("greet", &args).is_ok());
    assert_eq!(module.request("unknown", &args).unwrap_err().code, 404);
}
