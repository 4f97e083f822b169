//! The host as a module sees it.

use super::error::HostError;
use super::handler::{Answer, Nothing};
use super::log::{Logger, SessionLog};
use super::{Jid, Module};
use crate::abi::v1::InstanceInfo;
use crate::glue::task::Task;
use crate::glue::{Handlers, RawHost};
use std::any::TypeId;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

/// A handle to the host, for one instance of a module. It is cheap to clone, may be used from any thread, and may
/// outlive the instance: then everything it does is refused.
///
/// Registrations are in [`register`](super::register), questions to the server in [`ask`](super::ask), stores in
/// [`store`](super::store).
#[derive(Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

struct Inner {
    raw: RawHost,
    module: Box<str>,
    vhost: Box<str>,
    generation: u64,
    module_type: TypeId,
    /// Weak, because handlers may hold hosts.
    handlers: Weak<Handlers>,
    swap: AtomicBool,
}

impl Host {
    pub(crate) fn new<M: Module>(raw: RawHost, info: &InstanceInfo<'_>, handlers: &Arc<Handlers>) -> Self {
        let inner = Inner {
            raw,
            module: info.module.as_str().into(),
            vhost: info.vhost.as_str().into(),
            generation: info.generation,
            module_type: TypeId::of::<M>(),
            handlers: Arc::downgrade(handlers),
            swap: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner) }
    }

    pub(crate) fn raw(&self) -> &RawHost {
        &self.inner.raw
    }

    pub(crate) fn handlers(&self) -> Option<Arc<Handlers>> {
        self.inner.handlers.upgrade()
    }

    pub(crate) fn module_type(&self) -> TypeId {
        self.inner.module_type
    }

    pub(crate) fn set_swap(&self, swap: bool) {
        self.inner.swap.store(swap, Ordering::Relaxed);
    }

    pub(crate) fn downgrade(&self) -> WeakHost {
        WeakHost(Arc::downgrade(&self.inner))
    }

    /// The module's id.
    pub fn module(&self) -> &str {
        &self.inner.module
    }

    /// The vhost this instance serves, or `global`.
    pub fn vhost(&self) -> &str {
        &self.inner.vhost
    }

    /// The number of this generation.
    pub fn generation(&self) -> u64 {
        self.inner.generation
    }

    /// Whether this instance was started to take over from another generation, which may hand its state over.
    pub fn is_swap(&self) -> bool {
        self.inner.swap.load(Ordering::Relaxed)
    }

    /// `@HOST@` in a text replaced by the vhost, as in the option `host = "echo.@HOST@"`.
    pub fn expand(&self, text: &str) -> String {
        text.replace("@HOST@", self.vhost())
    }

    /// Logs under a component of the module.
    pub fn logger(&self, component: &str) -> Logger {
        Logger { host: self.clone(), component: component.to_owned() }
    }

    /// Logs about a session.
    pub fn about<'a>(&'a self, jid: &'a Jid<'a>) -> SessionLog<'a> {
        SessionLog { host: self, jid }
    }

    /// Adds to a counter of the module in the metrics.
    pub fn count(&self, name: &str, delta: u64) {
        self.raw().counter_add(name, delta);
    }

    /// Sets a gauge of the module in the metrics.
    pub fn gauge(&self, name: &str, value: i64) {
        self.raw().gauge_set(name, value);
    }

    /// Sends a stanza on its way; `from` and `to` replace what it carries.
    pub fn route(&self, from: &Jid<'_>, to: &Jid<'_>, stanza: &[u8]) -> Result<(), HostError> {
        self.raw().route(from.as_str(), to.as_str(), stanza)
    }

    /// Sends an element on its way.
    pub fn route_element(
        &self,
        from: &Jid<'_>,
        to: &Jid<'_>,
        stanza: &super::element::Element,
    ) -> Result<(), HostError> {
        self.route(from, to, &stanza.to_bytes())
    }

    /// Has the host drive a future until it is done or this instance is retired.
    pub fn spawn<F>(&self, future: F) -> Result<(), HostError>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let task = Task::into_raw(
            self,
            0,
            Box::pin(async move {
                future.await;
                Answer::from(Nothing)
            }),
        );
        match self.raw().spawn(task) {
            Some(0) => {
                Err(HostError::new("resource-constraint", "the server takes no more tasks of this module"))
            }
            Some(_) => Ok(()),
            None => Err(HostError::gone()),
        }
    }

    /// Ends the whole server at once with a critical line. It returns only when that was refused: without the capability
    /// `fatal`, or at run time, where it fails the swap instead.
    pub fn fatal(&self, message: &str) -> super::Stop {
        self.raw().fatal(message);
        super::Stop::new(message)
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Host({}@{} generation {})", self.module(), self.vhost(), self.generation())
    }
}

/// A handle that does not keep the instance's own one alive.
pub(crate) struct WeakHost(Weak<Inner>);

impl WeakHost {
    pub(crate) fn upgrade(&self) -> Option<Host> {
        self.0.upgrade().map(|inner| Host { inner })
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.0.strong_count() > 0
    }
}
