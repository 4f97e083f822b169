//! What the fake host does when a module calls it.

use super::ops::{FakeOp, State, domain};
use super::world::{FakeHost, LogLine, Registered, Routed, Task};
use crate::abi::v1::{self, level, registration};
use crate::glue::caller::{HostSide, OpStatus, TaskHandle};
use crate::hooks;
use crate::sdk::element::parse_element;
use crate::sdk::{HostError, Level};
use std::time::Duration;

/// The host as one instance sees it.
pub(super) struct Side {
    pub(super) host: FakeHost,
    pub(super) instance: u64,
}

const HOOKS: [&str; 20] = [
    hooks::name::USER_SEND_PACKET,
    hooks::name::USER_RECEIVE_PACKET,
    hooks::name::FILTER_PACKET,
    hooks::name::SESSION_OPENED,
    hooks::name::SESSION_CLOSED,
    hooks::name::PRESENCE_CHANGED,
    hooks::name::SUBSCRIPTION_PACKET,
    hooks::name::OFFLINE_MESSAGE,
    hooks::name::LOCAL_PACKET,
    hooks::name::DISCO_INFO,
    hooks::name::DISCO_ITEMS,
    hooks::name::CONTACTS,
    hooks::name::INACTIVE_PACKET,
    hooks::name::SESSION_SUSPENDED,
    hooks::name::MODULES_CHANGED,
    hooks::name::EXPORT_USER,
    hooks::name::IMPORT_USER,
    hooks::name::USER_REGISTERED,
    hooks::name::USER_REMOVED,
    hooks::name::C2S_AUTH_RESULT,
];

fn refused(condition: &str, text: String) -> HostError {
    HostError { condition: condition.to_owned(), text }
}

/// What the real host refuses is refused here too.
fn checked(what: &v1::Registration<'_>) -> Result<String, HostError> {
    let name = what.name.as_str();
    match what.kind {
        registration::ROUTE_GLOBAL | registration::ROUTE_LOCAL => domain(name),
        registration::HOOK if !HOOKS.contains(&name) => {
            Err(refused("bad-request", format!("there is no hook '{name}'")))
        }
        registration::HTTP if !name.starts_with('/') => {
            Err(refused("bad-request", format!("the HTTP path '{name}' must begin with '/'")))
        }
        registration::COMMAND
            if name.bytes().any(|b| !(b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')) =>
        {
            Err(refused("bad-request", format!("'{name}' is no command name: a-z, 0-9 and _ only")))
        }
        registration::IQ if what.discipline == v1::discipline::PARALLEL_N && what.workers == 0 => {
            Err(refused("bad-request", "parallel(0) would never answer".to_owned()))
        }
        registration::STREAM_FEATURE if parse_element(name).is_err() => {
            Err(refused("bad-request", format!("'{name}' is no element")))
        }
        registration::ROUTE_GLOBAL..=registration::STREAM_FEATURE => Ok(name.to_owned()),
        kind => Err(refused("bad-request", format!("there is no registration of kind {kind}"))),
    }
}

/// Kinds of which one name has one owner.
fn exclusive(kind: u32) -> bool {
    use registration::{COMMAND, HTTP, IQ, ROUTE_GLOBAL, ROUTE_LOCAL};
    matches!(kind, ROUTE_GLOBAL | ROUTE_LOCAL | IQ | COMMAND | HTTP)
}

impl HostSide for Side {
    fn log(&self, number: u32, component: &str, message: &str) {
        let level = match number {
            level::CRITICAL => Level::Critical,
            level::ERROR => Level::Error,
            level::WARNING => Level::Warning,
            level::INFO => Level::Info,
            level::DEBUG => Level::Debug,
            _ => Level::Trace,
        };
        let line = LogLine { level, component: component.to_owned(), message: message.to_owned() };
        self.host.world().logs.push(line);
    }

    fn log_enabled(&self, _: u32) -> bool {
        true
    }

    fn register(&self, what: &v1::Registration<'_>) -> Result<u64, HostError> {
        let name = checked(what)?;
        let mut world = self.host.world();
        let module = world.module_of(self.instance);
        let owner = world
            .registrations
            .values()
            .find(|r| exclusive(r.kind) && r.kind == what.kind && r.name == name && r.target == what.target);
        if let Some(owner) = owner {
            // A generation that is to take over may claim what the one before still has.
            if owner.instance == self.instance || world.module_of(owner.instance) != module {
                return Err(refused(
                    "conflict",
                    format!("'{name}' belongs to {}", world.module_of(owner.instance)),
                ));
            }
        }
        let id = world.id();
        let due_ms = world.now_ms.saturating_add(what.interval_ms);
        let registered = Registered {
            instance: self.instance,
            kind: what.kind,
            target: what.target,
            discipline: what.discipline,
            workers: what.workers,
            sequence: what.sequence,
            interval_ms: what.interval_ms,
            name,
            args: what.args.as_str().to_owned(),
            handler: what.handler,
            due_ms,
        };
        world.registrations.insert(id, registered);
        Ok(id)
    }

    fn unregister(&self, id: u64) -> bool {
        let mut world = self.host.world();
        let own = world.registrations.get(&id).is_some_and(|r| r.instance == self.instance);
        own && world.registrations.remove(&id).is_some()
    }

    fn route(&self, from: &str, to: &str, stanza: &[u8]) -> Result<(), HostError> {
        let text = std::str::from_utf8(stanza)
            .map_err(|_| refused("bad-request", "a stanza is UTF-8".to_owned()))?;
        let element =
            parse_element(text).map_err(|e| refused("bad-request", format!("this is no stanza: {e}")))?;
        if !matches!(element.name(), "message" | "presence" | "iq") {
            return Err(refused("bad-request", format!("<{}/> is no stanza", element.name())));
        }
        let routed = Routed { from: from.to_owned(), to: to.to_owned(), stanza: text.to_owned() };
        self.host.world().routed.push(routed);
        Ok(())
    }

    fn op_start(&self, kind: u32, number: i64, args: &str, body: &[u8]) -> u64 {
        let state = self.host.begin(kind, number, args, body);
        let mut world = self.host.world();
        let id = world.id();
        world.ops.insert(id, FakeOp { instance: self.instance, state, waiter: None });
        id
    }

    fn op_poll(&self, op: u64, task: Option<u64>) -> OpStatus {
        self.host.world().take_answer(op, task)
    }

    /// The clock jumps to the answer, or to the end of the waiting.
    fn op_wait(&self, op: u64, timeout: Duration) -> OpStatus {
        let mut world = self.host.world();
        let until = world.now_ms.saturating_add(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        if let Some(FakeOp { state: State::At(due, _), .. }) = world.ops.get(&op) {
            world.now_ms = world.now_ms.max((*due).min(until));
        }
        world.take_answer(op, None)
    }

    fn op_cancel(&self, op: u64) {
        self.host.world().ops.remove(&op);
    }

    fn task_wake(&self, task: u64) {
        let mut world = self.host.world();
        if world.tasks.contains_key(&task) {
            world.woken.push_back(task);
        }
    }

    fn spawn(&self, task: TaskHandle) -> u64 {
        let mut world = self.host.world();
        let id = world.id();
        world.tasks.insert(id, Task { instance: self.instance, handle: Some(task), awaited: false });
        world.woken.push_back(id);
        id
    }

    fn fatal(&self, message: &str) -> bool {
        let mut world = self.host.world();
        let granted = world.capabilities.iter().any(|c| c == "fatal");
        if granted {
            world.fatal = Some(message.to_owned());
        }
        granted
    }

    fn counter_add(&self, name: &str, delta: u64) {
        *self.host.world().counters.entry(name.to_owned()).or_default() += delta;
    }

    fn gauge_set(&self, name: &str, value: i64) {
        self.host.world().gauges.insert(name.to_owned(), value);
    }
}
