use crate::abi::v1::{Call, call, registration, reply, status};
use crate::prelude::*;
use crate::testing::run::blank;
use crate::testing::{FakeHost, Instance};
use abi_stable::std_types::{RSlice, RStr};
use std::sync::Arc;

struct Fragile {
    on_drop: bool,
}

/// A payload that panics again when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("second panic");
    }
}

impl Module for Fragile {
    type Options = ();

    fn start(host: &Host, (): ()) -> Result<Started<Self>, Stop> {
        host.on_iq("urn:text", |_: &Fragile, iq: &Iq<'_>| -> IqReply {
            panic!("no answer to {}", iq.from())
        })?;
        host.on_iq("urn:bomb", |_: &Fragile, _: &Iq<'_>| -> IqReply { std::panic::panic_any(Bomb) })?;
        host.on_iq("urn:async", |_: Arc<Fragile>, _: Iq<'static>| async {
            if true {
                panic!("in a poll")
            }
        })?;
        host.on_iq("urn:fine", |_: &Fragile, _: &Iq<'_>| "<fine/>")?;
        Started::running(Self { on_drop: true })
    }

    fn stop(&self, _: StopReason) {
        panic!("in stop");
    }
}

impl Drop for Fragile {
    fn drop(&mut self) {
        assert!(!self.on_drop, "in drop");
    }
}

fn ask(host: &FakeHost, module: &Instance, ns: &str) -> crate::glue::caller::Answered {
    let handler = host
        .registrations()
        .into_iter()
        .find(|r| r.kind == registration::IQ && r.name == ns)
        .unwrap()
        .handler;
    let (from, body) = (RStr::from_str("a@b/c"), RSlice::from_slice(b"<iq/>"));
    host.call(module.id(), Call { handler, from, body, ..blank(call::IQ) })
}

#[test]
fn a_panic_becomes_a_status_a_text_and_a_log_line() {
    let host = FakeHost::new("example.org");
    let module = host.start::<Fragile>("{}");
    let answered = ask(&host, &module, "urn:text");
    assert_eq!((answered.status, answered.code), (status::PANIC, reply::FAILED));
    assert_eq!(answered.text, "no answer to a@b/c");
    assert!(host.has_logged("panicked: no answer to a@b/c"));
    assert_eq!(ask(&host, &module, "urn:fine").body, b"<fine/>", "the instance can still be asked");
}

#[test]
fn a_payload_that_panics_in_its_drop_is_survived() {
    let host = FakeHost::new("example.org");
    let module = host.start::<Fragile>("{}");
    let answered = ask(&host, &module, "urn:bomb");
    assert_eq!((answered.status, answered.text.as_str()), (status::PANIC, "a panic without a text"));
}

#[test]
fn a_panic_in_a_task_ends_that_task_alone() {
    let host = FakeHost::new("example.org");
    let module = host.start::<Fragile>("{}");
    assert_eq!(ask(&host, &module, "urn:async").text, "in a poll");
    assert_eq!(host.tasks(), 0);
    assert_eq!(ask(&host, &module, "urn:fine").status, status::DONE);
}

#[test]
fn a_panic_in_drop_stays_inside() {
    let host = FakeHost::new("example.org");
    drop(host.start::<Fragile>("{}"));
    assert!(host.has_logged("panicked: in drop"));
    assert!(host.registrations().is_empty());
}

#[test]
#[should_panic(expected = "the module panicked: in stop")]
fn a_panic_of_the_module_fails_the_test() {
    let host = FakeHost::new("example.org");
    host.start::<Fragile>("{}").stop(StopReason::Unload);
}

#[test]
fn calls_that_make_no_sense_are_answered() {
    let host = FakeHost::new("example.org");
    let module = host.start::<Fragile>("{}");
    let unknown = host.call(module.id(), Call { handler: 999, ..blank(call::IQ) });
    assert_eq!((unknown.status, unknown.code), (status::ERROR, reply::FAILED));
    assert_eq!(host.call(module.id(), blank(77)).status, status::UNSUPPORTED);
    assert!(host.call(module.id(), blank(call::START)).text.contains("twice"));
}
