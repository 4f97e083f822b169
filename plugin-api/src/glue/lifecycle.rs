//! The calls that concern an instance as a whole: from START to STOP, its state, and what others ask of it.

use super::answer::{self, millis};
use super::instance::{Instance, Running};
use super::reply::Reply;
use crate::abi::v1::{Call, call, reply as code, status};
use crate::sdk::handler::Answer;
use crate::sdk::migrate::{Begin, Step};
use crate::sdk::{Migrated, Migration, Module, ModuleOptions, Reload, Request, Started, Stop, StopReason};
use crate::warn;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// Carries one out.
pub(super) fn call<M: Module>(instance: &Instance<M>, call: &Call<'_>, reply: &Reply<'_>) -> i32 {
    if call.kind == call::START {
        return start(instance, call, reply);
    }
    let module = match instance.module.get() {
        Some(running) => &*running.module,
        // An instance that was ignored or failed has nothing to stop and nothing to hear.
        None if matches!(call.kind, call::STOP | call::STARTED | call::TERMINATED | call::CAST) => {
            return status::DONE;
        }
        None => return reply.fail("the instance has not started"),
    };
    match call.kind {
        call::STARTED => finish(module.on_started(), reply),
        call::RELOAD => reload(instance, module, call, reply),
        call::TERMINATED => {
            module.on_terminated(call.number == 1);
            status::DONE
        }
        call::STOP => {
            module.stop(StopReason::from_name(call.name.as_str()));
            status::DONE
        }
        call::EXPORT_STATE => export(module, reply),
        call::IMPORT_STATE => import(module, call, reply),
        call::MIGRATE => migrate(module, call, reply),
        call::IDLE => answer::write(Answer::Flow(module.on_idle()), reply),
        call::REQUEST => answer::write(Answer::Command(module.on_request(&Request::borrowed(call))), reply),
        call::CAST => {
            module.on_cast(&Request::borrowed(call));
            status::DONE
        }
        _ => status::UNSUPPORTED,
    }
}

fn finish(result: Result<(), Stop>, reply: &Reply<'_>) -> i32 {
    match result {
        Ok(()) => status::DONE,
        Err(why) => reply.fail(&why.0),
    }
}

fn start<M: Module>(instance: &Instance<M>, call: &Call<'_>, reply: &Reply<'_>) -> i32 {
    let Some(options) = instance.options.lock().unwrap_or_else(PoisonError::into_inner).take() else {
        return reply.fail("the instance was started twice");
    };
    instance.host.set_swap(call.number == 1);
    let started =
        M::Options::read(&options).map_err(Stop).and_then(|options| M::start(&instance.host, options));
    match started {
        Ok(Started::Running(module)) => run(instance, module, None, reply),
        Ok(Started::RunningAfter(module, idle)) => run(instance, module, Some(idle), reply),
        Ok(Started::Ignore) => reply.finish(code::START_IGNORE, 0, "", ""),
        Err(why) => reply.finish(code::START_STOP, 0, &why.0, ""),
    }
    status::DONE
}

fn run<M: Module>(instance: &Instance<M>, module: M, idle: Option<Duration>, reply: &Reply<'_>) {
    let module = Arc::new(module);
    let running = Running { any: Arc::clone(&module) as _, module };
    if instance.module.set(running).is_err() {
        reply.fail("the instance was started twice");
        return;
    }
    match idle {
        None => reply.finish(code::START_RUNNING, 0, "", ""),
        Some(idle) => reply.finish(code::START_RUNNING_AFTER, millis(idle), "", ""),
    }
}

fn reload<M: Module>(instance: &Instance<M>, module: &M, call: &Call<'_>, reply: &Reply<'_>) -> i32 {
    let (options, changed) = (M::Options::read(call.args.as_str()).map_err(Stop), call.number == 1);
    let reloaded = options.and_then(|options| module.on_reload(options, changed));
    if changed && !M::RELOADS && matches!(reloaded, Ok(Reload::Done)) {
        warn!(
            instance.host,
            "it took changed options, but does not say so beforehand: const RELOADS: bool = true"
        );
    }
    match reloaded {
        Ok(Reload::Done) => status::DONE,
        Ok(Reload::Restart) => status::UNSUPPORTED,
        Err(why) => reply.fail(&why.0),
    }
}

fn export<M: Module>(module: &M, reply: &Reply<'_>) -> i32 {
    let Some((schema, bytes)) = module.export_state() else { return status::UNSUPPORTED };
    if !reply.write(&bytes) {
        return reply.fail(&format!("the state of {} bytes is larger than the server takes", bytes.len()));
    }
    reply.finish(code::STATE, schema.into(), "", "");
    status::DONE
}

fn import<M: Module>(module: &M, call: &Call<'_>, reply: &Reply<'_>) -> i32 {
    match u32::try_from(call.number) {
        Ok(schema) => finish(module.import_state(schema, call.body.as_slice()), reply),
        Err(_) => reply.fail(&format!("{} is no number of a state schema", call.number)),
    }
}

fn migrate<M: Module>(module: &M, call: &Call<'_>, reply: &Reply<'_>) -> i32 {
    let Ok(from) = u32::try_from(call.number) else {
        return reply.fail(&format!("{} is no number of a store schema", call.number));
    };
    let Begin { cursor } = match serde_json::from_str(call.args.as_str()) {
        Ok(begin) => begin,
        Err(error) => return reply.fail(&format!("the arguments of a migration cannot be read: {error}")),
    };
    let next = match module.migrate(&Migration { from, cursor }) {
        Ok(Migrated::All) => None,
        Ok(Migrated::More(cursor)) => Some(cursor),
        Err(why) => return reply.fail(&why.0),
    };
    let step = serde_json::to_vec(&Step { next }).unwrap_or_default();
    if !reply.write(&step) {
        return reply.fail("the cursor is larger than the server takes");
    }
    reply.finish(code::COMMAND_OK, 0, "", "");
    status::DONE
}
