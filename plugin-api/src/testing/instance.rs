//! An instance under test, and everything that can happen to it.

use super::ops::domain;
use super::outcome::{HookResult, IqResult, Leftovers, Pending, StartFailure, flow, iq_result, outcome};
use super::run::{Running, assert_sound, blank};
use super::side::Side;
use super::world::{FakeHost, Registered};
use crate::abi::v1::{Call, call, registration, reply, status, target};
use crate::glue::caller::{Answered, Caller};
use crate::sdk::element::parse_element;
use crate::sdk::migrate::Step;
use crate::sdk::{
    CommandError, Condition, Flow, HttpHead, HttpResponse, Jid, Module, Reload, Stop, StopReason,
};
use abi_stable::std_types::{RSlice, RStr};
use serde_json::Value;
use std::sync::Arc;

/// A started instance. Dropping it ends it without the call to `stop`.
pub struct Instance {
    host: FakeHost,
    id: u64,
}

impl FakeHost {
    /// Starts an instance with these options (a JSON object). Panics when it does not run.
    pub fn start<M: Module>(&self, options: &str) -> Instance {
        self.try_start::<M>(options).unwrap_or_else(|failure| panic!("the module did not start: {failure:?}"))
    }

    /// Starts an instance.
    pub fn try_start<M: Module>(&self, options: &str) -> Result<Instance, StartFailure> {
        self.begin_instance::<M>(options, false)
    }

    /// Starts an instance that is to take over from another generation: hand it the state with
    /// [`Instance::import_state`], then [`Instance::stop`] the old one.
    pub fn start_swap<M: Module>(&self, options: &str) -> Instance {
        self.begin_instance::<M>(options, true)
            .unwrap_or_else(|failure| panic!("the module did not start: {failure:?}"))
    }

    fn begin_instance<M: Module>(&self, options: &str, swap: bool) -> Result<Instance, StartFailure> {
        let id = self.world().id();
        let module = std::any::type_name::<M>().split("::").next().unwrap_or_default().to_owned();
        let side = Arc::new(Side { host: self.clone(), instance: id });
        let caller =
            Caller::linked::<M>(&module, self.vhost(), options, id, side).unwrap_or_else(|answered| {
                panic!("the instance was not created: {}", answered.text);
            });
        self.world().instances.insert(id, Running { module, idle_at: None, caller });
        let instance = Instance { host: self.clone(), id };
        let answered = instance.call(Call { number: i64::from(swap), ..blank(call::START) });
        match answered.code {
            reply::START_RUNNING | reply::START_RUNNING_AFTER => {
                self.note_flow(id, &answered);
                Ok(instance)
            }
            reply::START_IGNORE => Err(StartFailure::Ignored),
            _ => Err(StartFailure::Stopped(answered.text)),
        }
    }
}

impl Instance {
    /// The host's number for it.
    pub fn id(&self) -> u64 {
        self.id
    }

    fn call(&self, call: Call<'_>) -> Answered {
        let answered = self.host.call(self.id, call);
        assert_sound(&answered);
        answered
    }

    fn find(&self, kinds: &[u32], fits: impl Fn(&Registered) -> bool) -> Option<Registered> {
        let world = self.host.world();
        let mut own =
            world.registrations.values().filter(|r| r.instance == self.id && kinds.contains(&r.kind));
        own.find(|r| fits(r)).cloned()
    }

    /// An IQ get with this payload.
    pub fn iq_get(&self, from: &str, to: &str, payload: &str) -> IqResult {
        self.iq("get", from, to, payload)
    }

    /// An IQ set with this payload.
    pub fn iq_set(&self, from: &str, to: &str, payload: &str) -> IqResult {
        self.iq("set", from, to, payload)
    }

    fn iq(&self, kind: &str, from: &str, to: &str, payload: &str) -> IqResult {
        let mut pending = self.begin_iq(kind, from, to, payload);
        if let Err(task) = pending.task {
            pending.task = Ok(self.host.finish(task));
        }
        let Ok(answered) = &pending.task else { unreachable!("it was just finished") };
        assert_sound(answered);
        iq_result(answered)
    }

    /// Begins an IQ without waiting for its answer; `kind` is `get` or `set`.
    pub fn begin_iq(&self, kind: &str, from: &str, to: &str, payload: &str) -> Pending {
        let tree = parse_element(payload).expect("the payload is an element");
        let ns = tree.ns().unwrap_or_default().to_owned();
        let account = Jid::parse(to).is_ok_and(|to| to.localpart().is_some());
        let whose = if account { target::BARE } else { target::SERVER };
        let found = self.find(&[registration::IQ], |r| r.name == ns && r.target == whose);
        let Some(Registered { handler, .. }) = found else {
            let text = Condition::ServiceUnavailable.name().to_owned();
            let unhandled = Answered { code: reply::IQ_ERROR, number: 2, text, ..Answered::default() };
            return Pending { host: self.host.clone(), task: Ok(unhandled) };
        };
        let stanza = format!("<iq type='{kind}' id='test' from='{from}' to='{to}'>{payload}</iq>");
        let task = self.host.begin_call(
            self.id,
            Call {
                handler,
                number: i64::from(kind == "set"),
                from: RStr::from_str(from),
                to: RStr::from_str(to),
                id: RStr::from_str("test"),
                name: RStr::from_str(&ns),
                body: RSlice::from_slice(stanza.as_bytes()),
                ..blank(call::IQ)
            },
        );
        Pending { host: self.host.clone(), task }
    }

    /// A stanza for a domain that the module registered.
    pub fn stanza(&self, from: &str, to: &str, stanza: &str) -> Flow {
        let name = parse_element(stanza).expect("a stanza is an element").name().to_owned();
        let host = domain(Jid::parse(to).expect("a JID").domain()).expect("a domain");
        let route = [registration::ROUTE_LOCAL, registration::ROUTE_GLOBAL];
        let route =
            self.find(&route, |r| r.name == host).unwrap_or_else(|| panic!("nobody has the domain {host}"));
        let answered = self.call(Call {
            handler: route.handler,
            from: RStr::from_str(from),
            to: RStr::from_str(to),
            name: RStr::from_str(&name),
            body: RSlice::from_slice(stanza.as_bytes()),
            ..blank(call::STANZA)
        });
        self.host.note_flow(self.id, &answered);
        flow(&answered)
    }

    /// Runs a hook's handlers of this instance in their order.
    pub fn hook(&self, name: &str, from: &str, to: &str, args: &Value, body: &str) -> HookResult {
        let mut handlers: Vec<_> = {
            let world = self.host.world();
            let own =
                |r: &&Registered| r.instance == self.id && r.kind == registration::HOOK && r.name == name;
            world.registrations.values().filter(own).map(|r| (r.sequence, r.handler)).collect()
        };
        handlers.sort_by_key(|(sequence, _)| *sequence);
        let (args, mut body) = (args.to_string(), body.as_bytes().to_vec());
        for (_, handler) in handlers {
            let answered = self.call(Call {
                handler,
                from: RStr::from_str(from),
                to: RStr::from_str(to),
                name: RStr::from_str(name),
                args: RStr::from_str(&args),
                body: RSlice::from_slice(&body),
                ..blank(call::HOOK)
            });
            let new = (!answered.body.is_empty()).then_some(answered.body);
            match answered.code {
                reply::HOOK_STOP => return HookResult::Stopped { reason: answered.text, body: new },
                reply::HOOK_CONTINUE => body = new.unwrap_or(body),
                code => panic!("a hook answered {code}: {}", answered.text),
            }
        }
        HookResult::Continued(body)
    }

    /// Runs a command of the module.
    pub fn command(&self, name: &str, args: &Value) -> Result<Value, CommandError> {
        let found = self.find(&[registration::COMMAND], |r| r.name == name);
        let Some(Registered { handler, .. }) = found else {
            return Err(CommandError::not_found(format!("there is no command {name}")));
        };
        self.ask(Call { handler, ..blank(call::COMMAND) }, name, args)
    }

    /// Asks as another module does.
    pub fn request(&self, method: &str, args: &Value) -> Result<Value, CommandError> {
        self.ask(blank(call::REQUEST), method, args)
    }

    /// Tells as another module does.
    pub fn cast(&self, method: &str, args: &Value) {
        let args = args.to_string();
        self.call(Call { name: RStr::from_str(method), args: RStr::from_str(&args), ..blank(call::CAST) });
    }

    fn ask(&self, call: Call<'_>, name: &str, args: &Value) -> Result<Value, CommandError> {
        let args = args.to_string();
        let (from, name, args) = (RStr::from_str("test"), RStr::from_str(name), RStr::from_str(&args));
        let answered = self.call(Call { from, name, args, ..call });
        if answered.code == reply::COMMAND_OK {
            return Ok(serde_json::from_slice(&answered.body).expect("a command answers JSON"));
        }
        Err(CommandError::new(u16::try_from(answered.number).unwrap_or(500), answered.text))
    }

    /// An HTTP request; the handler of the longest matching path answers, 404 when there is none.
    pub fn http(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> HttpResponse {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let below = |r: &Registered| {
            path.strip_prefix(&r.name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let found = {
            let world = self.host.world();
            let own = world
                .registrations
                .values()
                .filter(|r| r.instance == self.id && r.kind == registration::HTTP);
            own.filter(|r| below(r)).max_by_key(|r| r.name.len()).map(|r| r.handler)
        };
        let Some(handler) = found else { return HttpResponse::text(404, "nobody has this path") };
        let headers = headers.iter().map(|(n, v)| (n.to_ascii_lowercase(), (*v).to_owned())).collect();
        let args = serde_json::json!(HttpHead { query: query.to_owned(), headers }).to_string();
        let answered = self.call(Call {
            handler,
            from: RStr::from_str("127.0.0.1"),
            id: RStr::from_str(method),
            name: RStr::from_str(path),
            args: RStr::from_str(&args),
            body: RSlice::from_slice(body.as_bytes()),
            ..blank(call::HTTP)
        });
        assert_eq!(answered.code, reply::HTTP_RESPONSE, "the HTTP handler failed: {}", answered.text);
        let headers = serde_json::from_str(&answered.extra).expect("headers are a JSON object");
        HttpResponse {
            status: u16::try_from(answered.number).expect("a status"),
            headers,
            body: answered.body,
        }
    }

    /// The server is up.
    pub fn started(&self) -> Result<(), Stop> {
        outcome(&self.call(blank(call::STARTED)))
    }

    /// New options.
    pub fn reload(&self, options: &str, changed: bool) -> Result<Reload, Stop> {
        let answered = self.call(Call {
            number: i64::from(changed),
            args: RStr::from_str(options),
            ..blank(call::RELOAD)
        });
        match answered.status {
            status::UNSUPPORTED => Ok(Reload::Restart),
            _ => outcome(&answered).map(|()| Reload::Done),
        }
    }

    /// The server ends.
    pub fn terminated(&self, error: bool) {
        self.call(Call { number: i64::from(error), ..blank(call::TERMINATED) });
    }

    /// The state and its schema; `None` for a module without.
    pub fn export_state(&self) -> Option<(u32, Vec<u8>)> {
        let answered = self.call(blank(call::EXPORT_STATE));
        if answered.status == status::UNSUPPORTED {
            return None;
        }
        assert_eq!(answered.code, reply::STATE, "the export failed: {}", answered.text);
        Some((u32::try_from(answered.number).expect("a schema"), answered.body))
    }

    /// Hands state over.
    pub fn import_state(&self, schema: u32, bytes: &[u8]) -> Result<(), Stop> {
        let body = RSlice::from_slice(bytes);
        outcome(&self.call(Call { number: schema.into(), body, ..blank(call::IMPORT_STATE) }))
    }

    /// Brings the stores forward from that schema, batch by batch; gives the number of batches.
    pub fn migrate(&self, from: u32) -> Result<usize, Stop> {
        let (mut cursor, mut batches) = (String::new(), 0);
        loop {
            let args = serde_json::json!({ "cursor": cursor }).to_string();
            let args = RStr::from_str(&args);
            let answered = self.call(Call { number: from.into(), args, ..blank(call::MIGRATE) });
            outcome(&answered)?;
            batches += 1;
            let step: Step = serde_json::from_slice(&answered.body).expect("a batch says how far it came");
            match step.next {
                Some(next) => cursor = next,
                None => return Ok(batches),
            }
        }
    }

    /// Stops and ends the instance; everything it registered is undone.
    pub fn stop(self, reason: StopReason) -> Leftovers {
        let name = match reason {
            StopReason::Unload => "unload",
            StopReason::Swap => "swap",
            StopReason::Shutdown => "shutdown",
            StopReason::Failed => "failed",
            StopReason::Restart => "restart",
            StopReason::Other => "other",
        };
        self.host.run();
        self.call(Call { name: RStr::from_str(name), ..blank(call::STOP) });
        self.host.run();
        self.host.end(self.id)
    }
}

impl FakeHost {
    /// Undoes everything of an instance and ends it.
    fn end(&self, instance: u64) -> Leftovers {
        let (running, tasks, leftovers) = {
            let mut world = self.world();
            let mut left = Leftovers::default();
            let before = world.registrations.len();
            world.registrations.retain(|_, r| r.instance != instance);
            left.registrations = before - world.registrations.len();
            let ids: Vec<u64> =
                world.tasks.iter().filter(|(_, t)| t.instance == instance).map(|(id, _)| *id).collect();
            left.tasks = ids.len();
            let tasks: Vec<_> = ids.iter().filter_map(|id| world.tasks.remove(id)).collect();
            // What the tasks had begun is theirs to cancel; what remains was forgotten before.
            left.operations =
                world.ops.values().filter(|op| op.instance == instance && op.waiter.is_none()).count();
            (world.instances.remove(&instance), tasks, left)
        };
        drop(tasks);
        self.world().ops.retain(|_, op| op.instance != instance);
        drop(running);
        leftovers
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.host.end(self.id);
    }
}
