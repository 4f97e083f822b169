use crate::abi::v1::registration;
use crate::prelude::*;
use crate::sdk::Reload;
use crate::testing::{FakeHost, StartFailure};
use serde_json::{Value, json};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

module_options! {
    struct Options {
        outcome: String = "running";
        step: u64 = 1, min 1;
    }
}

/// A counter that goes through everything a module can.
struct Counter {
    host: Host,
    step: Mutex<u64>,
    count: AtomicU64,
}

impl Module for Counter {
    type Options = Options;
    const RELOADS: bool = true;

    fn start(host: &Host, options: Options) -> Result<Started<Self>, Stop> {
        host.feature("urn:counter", Target::Server)?;
        let module = Self {
            host: host.clone(),
            step: Mutex::new(options.step),
            count: AtomicU64::new(u64::from(host.is_swap())),
        };
        match options.outcome.as_str() {
            "running" => Started::running(module),
            "idle" => Started::running_after(module, Duration::from_secs(5)),
            "ignore" => Ok(Started::Ignore),
            "error" => Err("x".parse::<u8>().unwrap_err().into()),
            other => Err(Stop::new(format!("no outcome '{other}'"))),
        }
    }

    fn on_started(&self) -> Result<(), Stop> {
        info!(self.host, "up on {}", self.host.vhost());
        Ok(())
    }

    fn on_reload(&self, options: Options, changed: bool) -> Result<Reload, Stop> {
        if options.outcome != "running" {
            return Ok(Reload::Restart);
        }
        if changed {
            *self.step.lock().unwrap() = options.step;
        }
        Ok(Reload::Done)
    }

    fn on_terminated(&self, error: bool) {
        warn!(self.host, "terminated, error {error}");
    }

    fn stop(&self, reason: StopReason) {
        info!(self.host, "stopped for {reason:?}");
    }

    fn export_state(&self) -> Option<(u32, Vec<u8>)> {
        Some((2, self.count.load(Ordering::SeqCst).to_le_bytes().to_vec()))
    }

    fn import_state(&self, schema: u32, bytes: &[u8]) -> Result<(), Stop> {
        if schema != 2 {
            return Err(Stop::new(format!("schema {schema} is unknown")));
        }
        self.count.store(u64::from_le_bytes(bytes.try_into()?), Ordering::SeqCst);
        Ok(())
    }

    fn on_idle(&self) -> Flow {
        self.count.fetch_add(100, Ordering::SeqCst);
        if self.count.load(Ordering::SeqCst) >= 300 {
            Flow::Stop("idle too often".into())
        } else {
            Flow::ContinueAfter(Duration::from_secs(5))
        }
    }

    fn on_request(&self, request: &Request<'_>) -> Result<Value, CommandError> {
        match &*request.method {
            "next" => Ok(json!(self.count.fetch_add(*self.step.lock().unwrap(), Ordering::SeqCst))),
            other => Err(CommandError::not_found(format!("no method {other}"))),
        }
    }
}

struct Silent;

impl Module for Silent {
    type Options = ();
    fn start(_: &Host, (): ()) -> Result<Started<Self>, Stop> {
        Started::running(Silent)
    }
}

#[test]
fn a_start_has_four_outcomes() {
    let host = FakeHost::new("example.org");
    let running = host.start::<Counter>(r#"{"outcome": "running"}"#);
    assert_eq!(host.registered(registration::FEATURE), ["urn:counter"]);
    running.stop(StopReason::Unload);
    assert_eq!(host.try_start::<Counter>(r#"{"outcome": "ignore"}"#).err(), Some(StartFailure::Ignored));
    let failed = host.try_start::<Counter>(r#"{"outcome": "error"}"#).err();
    assert_eq!(failed, Some(StartFailure::Stopped("invalid digit found in string".into())));
    assert!(host.registrations().is_empty(), "a failed start leaves nothing");
}

#[test]
fn an_idle_instance_is_called_each_time_and_may_stop() {
    let host = FakeHost::new("example.org");
    let module = host.start::<Counter>(r#"{"outcome": "idle"}"#);
    host.advance(Duration::from_millis(4999));
    assert_eq!(module.request("next", &Value::Null), Ok(json!(0)));
    host.advance(Duration::from_millis(1));
    assert_eq!(module.request("next", &Value::Null), Ok(json!(101)));
    host.advance(Duration::from_secs(60));
    assert_eq!(module.request("next", &Value::Null), Ok(json!(302)), "no further call after the stop");
}

#[test]
fn wrong_options_fail_the_start_and_name_the_option() {
    let host = FakeHost::new("example.org");
    let Err(StartFailure::Stopped(reason)) = host.try_start::<Counter>(r#"{"step": "big"}"#) else {
        panic!("it started")
    };
    assert!(reason.starts_with("option `step` does not fit"), "{reason}");
}

#[test]
fn the_lifecycle_reaches_the_module_in_order() {
    let host = FakeHost::new("example.org");
    let module = host.start::<Counter>("{}");
    module.started().unwrap();
    module.terminated(true);
    module.stop(StopReason::Shutdown);
    let lines: Vec<_> = host.logs().into_iter().map(|l| l.message).collect();
    assert_eq!(lines, ["up on example.org", "terminated, error true", "stopped for Shutdown"]);
}

#[test]
fn a_reload_is_taken_or_asks_for_a_restart() {
    let host = FakeHost::new("example.org");
    let module = host.start::<Counter>("{}");
    assert_eq!(module.reload(r#"{"step": 10}"#, true), Ok(Reload::Done));
    module.request("next", &Value::Null).unwrap();
    assert_eq!(module.request("next", &Value::Null), Ok(json!(10)));
    assert_eq!(module.reload(r#"{"outcome": "idle"}"#, true), Ok(Reload::Restart));
    assert!(module.reload(r#"{"step": []}"#, true).unwrap_err().0.contains("step"));
    let silent = host.start::<Silent>("{}");
    assert_eq!(silent.reload("{}", true), Ok(Reload::Restart));
    assert_eq!(silent.reload("{}", false), Ok(Reload::Done));
}

#[test]
fn a_counter_goes_on_in_the_next_generation() {
    let host = FakeHost::new("example.org");
    let old = host.start::<Counter>("{}");
    for _ in 0..5 {
        old.request("next", &Value::Null).unwrap();
    }
    let (schema, bytes) = old.export_state().unwrap();
    let new = host.start_swap::<Counter>("{}");
    new.import_state(schema, &bytes).unwrap();
    old.stop(StopReason::Swap);
    assert_eq!(new.request("next", &Value::Null), Ok(json!(5)));
}

#[test]
fn unknown_state_is_refused_with_a_reason() {
    let host = FakeHost::new("example.org");
    let module = host.start_swap::<Counter>("{}");
    assert_eq!(module.import_state(7, b"").unwrap_err().0, "schema 7 is unknown");
    assert!(module.import_state(2, b"short").is_err());
    assert_eq!(
        module.request("next", &Value::Null),
        Ok(json!(1)),
        "it was started by a swap and is as it was"
    );
    let silent = host.start::<Silent>("{}");
    assert_eq!(silent.export_state(), None);
    assert!(silent.import_state(1, b"").unwrap_err().0.contains("takes over no state"));
}

#[test]
fn requests_and_casts_have_defaults() {
    let host = FakeHost::new("example.org");
    let silent = host.start::<Silent>("{}");
    assert_eq!(silent.request("anything", &json!({})).unwrap_err().code, 404);
    silent.cast("anything", &json!({}));
    let leftovers = silent.stop(StopReason::Unload);
    assert!(leftovers.is_clean() && leftovers.registrations == 0);
}
