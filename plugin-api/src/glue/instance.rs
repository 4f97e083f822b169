//! An instance and the functions that the host drives it by.

use super::guard::{contained, guarded};
use super::handlers::Handlers;
use super::reply::Reply;
use super::task::{Task, task_drop, task_poll};
use super::{RawHost, answer, lifecycle, panics};
use crate::abi::v1::{Call, HostRef, InstanceInfo, InstancePtr, ModuleVt, ReplyRef, TaskPtr, call, status};
use crate::sdk::handler::{AnyModule, Outcome};
use crate::sdk::{Host, Module};
use std::sync::{Arc, Mutex, OnceLock};

/// One instance: what lies behind an [`InstancePtr`].
pub(super) struct Instance<M: Module> {
    pub(super) host: Host,
    pub(super) handlers: Arc<Handlers>,
    /// Until `START` takes it.
    pub(super) options: Mutex<Option<String>>,
    pub(super) module: OnceLock<Running<M>>,
}

/// A started module, with and without its type.
pub(super) struct Running<M> {
    pub(super) module: Arc<M>,
    pub(super) any: AnyModule,
}

/// The host calls an instance from several threads at once.
const fn may_be_shared<T: Send + Sync>() {}

/// The table for module `M`; `create` is the export macro's or [`create`] itself.
pub const fn table<M: Module>(
    create: unsafe extern "C" fn(&InstanceInfo<'_>, HostRef, ReplyRef<'_>, &mut InstancePtr) -> i32,
) -> ModuleVt {
    may_be_shared::<Instance<M>>();
    ModuleVt {
        size: size_of::<ModuleVt>() as u32,
        create,
        call: call_instance::<M>,
        task_poll,
        task_drop,
        drop_instance: drop_instance::<M>,
    }
}

/// [`ModuleVt::create`] for module `M`.
///
/// # Safety
/// As the boundary says: `info` and `reply` are valid for this call, `host` until `drop_instance` returns.
pub unsafe extern "C" fn create<M: Module>(
    info: &InstanceInfo<'_>,
    host: HostRef,
    reply: ReplyRef<'_>,
    out: &mut InstancePtr,
) -> i32 {
    let handlers = Arc::new(Handlers::default());
    // SAFETY: promised by the caller; `drop_instance` closes the host's handle before it returns.
    let (raw, reply) = unsafe { (RawHost::new(host), Reply::new(reply)) };
    let host = Host::new::<M>(raw, info, &handlers);
    guarded(&host.clone(), &reply, || {
        panics::add_host(&host);
        let options = Mutex::new(Some(info.options.as_str().to_owned()));
        let instance = Instance::<M> { host, handlers, options, module: OnceLock::new() };
        *out = InstancePtr { ptr: Box::into_raw(Box::new(instance)).cast() };
        status::DONE
    })
}

/// [`ModuleVt::call`] for module `M`.
unsafe extern "C" fn call_instance<M: Module>(
    instance: InstancePtr,
    call: &Call<'_>,
    reply: ReplyRef<'_>,
    task: &mut TaskPtr,
) -> i32 {
    // SAFETY: the host passes what `create` of the same table made and `drop_instance` has not ended; the reply is valid
    // for this call.
    let (instance, reply) = unsafe { (&*instance.ptr.cast::<Instance<M>>(), Reply::new(reply)) };
    guarded(&instance.host, &reply, || match call.kind {
        call::IQ | call::STANZA | call::HOOK | call::COMMAND | call::HTTP => {
            instance.handle(call, &reply, task)
        }
        call::TIMER => instance.fire(call, &reply, task),
        call::REQUEST => match instance.handlers.request(call.name.as_str()) {
            Some(entry) => instance.run(&entry.run, call, &reply, task),
            None => lifecycle::call(instance, call, &reply),
        },
        _ => lifecycle::call(instance, call, &reply),
    })
}

impl<M: Module> Instance<M> {
    #[inline]
    fn handle(&self, call: &Call<'_>, reply: &Reply<'_>, task: &mut TaskPtr) -> i32 {
        match self.handlers.get(call.handler) {
            Some(entry) if entry.kind == call.kind => self.run(&entry.run, call, reply, task),
            _ => unknown(call, reply),
        }
    }

    fn fire(&self, call: &Call<'_>, reply: &Reply<'_>, task: &mut TaskPtr) -> i32 {
        match self.handlers.timer(call.handler) {
            Some(entry) => {
                if entry.once {
                    self.handlers.forget(call.handler);
                }
                self.run(&entry.run, call, reply, task)
            }
            // It was cancelled while this call was on its way.
            None => status::DONE,
        }
    }

    #[inline]
    fn run(
        &self,
        handler: &crate::sdk::handler::HandlerFn,
        call: &Call<'_>,
        reply: &Reply<'_>,
        task: &mut TaskPtr,
    ) -> i32 {
        let Some(running) = self.module.get() else { return reply.fail("the instance has not started") };
        match handler(&running.any, &self.host, call) {
            Outcome::Now(answer) => answer::write(answer, reply),
            Outcome::Later(future) => {
                *task = Task::into_raw(&self.host, call.task_id, future);
                status::PENDING
            }
        }
    }
}

#[cold]
fn unknown(call: &Call<'_>, reply: &Reply<'_>) -> i32 {
    reply.fail(&format!("no handler {} for calls of kind {} was registered", call.handler, call.kind))
}

/// [`ModuleVt::drop_instance`] for module `M`.
unsafe extern "C" fn drop_instance<M: Module>(instance: InstancePtr) {
    // SAFETY: the box was made by `create` of the same table, and this is its last use.
    let instance = unsafe { Box::from_raw(instance.ptr.cast::<Instance<M>>()) };
    let host = instance.host.clone();
    // The module and its handlers end first: their `Drop` may still use the host.
    contained(&host, || drop(instance));
    host.raw().close();
    drop(host);
    panics::sweep_hosts();
}
