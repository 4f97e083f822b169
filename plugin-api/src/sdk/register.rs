//! Registrations. They are data that the host holds under the instance: whatever a module leaves behind is undone when
//! the instance ends. Most are made in [`Module::start`]; they serve from the moment the instance is published.

use super::command::{CommandEvent, CommandSpec};
use super::flow::{Service, StanzaEvent};
use super::handler::{Handler, Outcome, RawHandler};
use super::hooks::{self, Hook};
use super::http::{HttpAuth, HttpEvent, HttpSpec};
use super::iq::{IqEvent, IqSpec};
use super::timer::TimerEvent;
use super::{Element, Flow, Host, HostError, Jid, Module, Target};
use crate::abi::v1::{self, call, registration};
use crate::glue::Entry;
use crate::hooks::Identity;
use abi_stable::std_types::RStr;
use std::time::Duration;

/// A registration made, to take it back with [`Host::unregister`]. Dropping it changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registration {
    id: u64,
    handler: u64,
}

impl Registration {
    /// The host's number for it.
    pub fn id(&self) -> u64 {
        self.id
    }
}

fn what<'a>(kind: u32, name: &'a str, args: &'a str) -> v1::Registration<'a> {
    v1::Registration {
        kind,
        target: 0,
        discipline: 0,
        workers: 0,
        sequence: 0,
        reserved: 0,
        handler: 0,
        interval_ms: 0,
        name: RStr::from_str(name),
        args: RStr::from_str(args),
    }
}

impl Host {
    fn register_plain(&self, what: &v1::Registration<'_>) -> Result<Registration, HostError> {
        Ok(Registration { id: self.raw().register(what)?, handler: 0 })
    }

    fn register(
        &self,
        call: u32,
        mut what: v1::Registration<'_>,
        handler: RawHandler,
    ) -> Result<Registration, HostError> {
        if handler.module.is_some_and(|module| module != self.module_type()) {
            return Err(HostError::new("bad-request", "this handler belongs to another module type"));
        }
        let handlers = self.handlers().ok_or_else(HostError::gone)?;
        let timer = call == call::TIMER;
        let entry = Entry { kind: call, once: timer && what.target == 0, run: handler.run };
        what.handler = if timer {
            handlers.add_timer(entry)
        } else {
            let full =
                || HostError::new("resource-constraint", "this instance has made too many registrations");
            handlers.add(entry).ok_or_else(full)?
        };
        match self.raw().register(&what) {
            Ok(id) => Ok(Registration { id, handler: what.handler }),
            Err(error) => {
                handlers.forget(what.handler);
                Err(error)
            }
        }
    }

    /// Takes a registration back; calls that are under way still come.
    pub fn unregister(&self, registration: Registration) -> bool {
        if let Some(handlers) = self.handlers() {
            handlers.forget(registration.handler);
        }
        self.raw().unregister(registration.id)
    }

    /// Answers IQs of a namespace (`add_iq_handler`): a plain namespace, or an [`IqSpec`] that says whose JIDs and in what
    /// order. The namespace is announced as a feature unless the spec hides it.
    pub fn on_iq<M, K>(
        &self,
        spec: impl Into<IqSpec>,
        handler: impl Handler<IqEvent, M, K>,
    ) -> Result<Registration, HostError> {
        let spec = spec.into();
        let (discipline, workers) = spec.discipline.numbers();
        let mut iq = what(registration::IQ, &spec.ns, "");
        (iq.target, iq.discipline, iq.workers) = (spec.target.number(), discipline, workers);
        let registered = self.register(call::IQ, iq, handler.into_raw())?;
        if spec.announced {
            self.feature(&spec.ns, spec.target)?;
        }
        Ok(registered)
    }

    /// Takes stanzas for a domain with the module's [`Service::on_stanza`] (`register_route`). The host normalises the
    /// domain; one that somebody else has is refused.
    pub fn serve<M: Service>(&self, domain: &str) -> Result<Registration, HostError> {
        self.route_to::<M>(registration::ROUTE_GLOBAL, domain)
    }

    /// The same on this node alone (`register_local_route`).
    pub fn serve_locally<M: Service>(&self, domain: &str) -> Result<Registration, HostError> {
        self.route_to::<M>(registration::ROUTE_LOCAL, domain)
    }

    fn route_to<M: Service>(&self, kind: u32, domain: &str) -> Result<Registration, HostError> {
        let handler = RawHandler {
            module: Some(std::any::TypeId::of::<M>()),
            run: Box::new(|module, host, call| {
                let (from, to) = (Jid::trusted(call.from.as_str()), Jid::trusted(call.to.as_str()));
                let flow = match (module.downcast_ref::<M>(), <StanzaEvent as super::Event>::read(host, call))
                {
                    (Some(module), Ok(stanza)) => module.on_stanza(host, &from, &to, &stanza),
                    _ => Flow::Continue,
                };
                Outcome::Now(flow.into())
            }),
        };
        self.register(call::STANZA, what(kind, domain, ""), handler)
    }

    /// Takes stanzas for a domain with a function of its own, plain or `async`.
    pub fn on_stanza<M, K>(
        &self,
        domain: &str,
        handler: impl Handler<StanzaEvent, M, K>,
    ) -> Result<Registration, HostError> {
        self.register(call::STANZA, what(registration::ROUTE_GLOBAL, domain, ""), handler.into_raw())
    }

    /// Offers a command in the server's command table.
    pub fn command<M, K>(
        &self,
        spec: &CommandSpec,
        handler: impl Handler<CommandEvent, M, K>,
    ) -> Result<Registration, HostError> {
        let args = json(spec)?;
        self.register(call::COMMAND, what(registration::COMMAND, &spec.name, &args), handler.into_raw())
    }

    /// Answers what other modules ask by that method (see [`Host::request`]). The function may be `async`; methods without
    /// one go to [`Module::on_request`]. Made in [`Module::start`].
    pub fn on_request<M, K>(
        &self,
        method: &str,
        handler: impl Handler<CommandEvent, M, K>,
    ) -> Result<(), HostError> {
        let handler = handler.into_raw();
        if handler.module.is_some_and(|module| module != self.module_type()) {
            return Err(HostError::new("bad-request", "this handler belongs to another module type"));
        }
        let handlers = self.handlers().ok_or_else(HostError::gone)?;
        handlers.add_request(method, Entry { kind: call::REQUEST, once: false, run: handler.run });
        Ok(())
    }

    /// Serves an HTTP path and everything below it.
    pub fn on_http<M, K>(
        &self,
        path: &str,
        auth: HttpAuth,
        handler: impl Handler<HttpEvent, M, K>,
    ) -> Result<Registration, HostError> {
        self.register(call::HTTP, what(registration::HTTP, path, auth.args()), handler.into_raw())
    }

    /// The same with more to say about the path: see [`HttpSpec`].
    pub fn on_http_path<M, K>(
        &self,
        spec: &HttpSpec,
        handler: impl Handler<HttpEvent, M, K>,
    ) -> Result<Registration, HostError> {
        let args = spec.args();
        self.register(call::HTTP, what(registration::HTTP, &spec.path, &args), handler.into_raw())
    }

    /// Calls a function again and again.
    pub fn every<M, K>(
        &self,
        interval: Duration,
        handler: impl Handler<TimerEvent, M, K>,
    ) -> Result<Registration, HostError> {
        self.timer(interval, 1, handler.into_raw())
    }

    /// Calls a function once.
    pub fn after<M, K>(
        &self,
        delay: Duration,
        handler: impl Handler<TimerEvent, M, K>,
    ) -> Result<Registration, HostError> {
        self.timer(delay, 0, handler.into_raw())
    }

    fn timer(&self, interval: Duration, repeat: u32, handler: RawHandler) -> Result<Registration, HostError> {
        let mut timer = what(registration::TIMER, "", "");
        timer.target = repeat;
        timer.interval_ms = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX).max(1);
        self.register(call::TIMER, timer, handler)
    }

    /// Announces a feature of the vhost or of its accounts.
    pub fn feature(&self, ns: &str, target: Target) -> Result<Registration, HostError> {
        let mut feature = what(registration::FEATURE, ns, "");
        feature.target = target.number();
        self.register_plain(&feature)
    }

    /// Announces an element among the stream features: to clients that have logged in (`Target::Account`), or to those that
    /// have not (`Target::Server`). Since API 1.2.
    pub fn stream_feature(&self, element: &Element, target: Target) -> Result<Registration, HostError> {
        let element = element.to_string();
        let mut feature = what(registration::STREAM_FEATURE, &element, "");
        feature.target = target.number();
        self.register_plain(&feature)
    }

    /// Announces an identity, of the vhost when `domain` is empty.
    pub fn identity(
        &self,
        domain: &str,
        category: &str,
        kind: &str,
        name: &str,
    ) -> Result<Registration, HostError> {
        let identity = Identity { category: category.into(), kind: kind.into(), name: name.into() };
        self.register_plain(&what(registration::IDENTITY, domain, &json(&identity)?))
    }

    /// Announces an item of the vhost.
    pub fn item(&self, jid: &str, name: &str, node: &str) -> Result<Registration, HostError> {
        let args = json(&serde_json::json!({ "name": name, "node": node }))?;
        self.register_plain(&what(registration::ITEM, jid, &args))
    }

    /// Hooks in at `H`; the functions named after each hook read better.
    pub fn hook<H: Hook, M, K>(
        &self,
        sequence: i32,
        handler: impl Handler<H, M, K>,
    ) -> Result<Registration, HostError> {
        let mut hook = what(registration::HOOK, H::NAME, "");
        hook.sequence = sequence;
        self.register(call::HOOK, hook, handler.into_raw())
    }
}

fn json(value: &impl serde::Serialize) -> Result<String, HostError> {
    serde_json::to_string(value).map_err(|e| HostError::new("bad-request", e.to_string()))
}

macro_rules! hook_functions {
    ($($(#[$doc:meta])* $name:ident: $event:ident;)+) => {
        /// One function per hook; lower sequence numbers run first.
        impl Host {
            $(
                $(#[$doc])*
                pub fn $name<M: Module, K>(
                    &self,
                    sequence: i32,
                    handler: impl Handler<hooks::$event, M, K>,
                ) -> Result<Registration, HostError> {
                    self.hook::<hooks::$event, M, K>(sequence, handler)
                }
            )+
        }
    };
}

hook_functions! {
    /// A stanza from a bound session, before routing.
    on_user_send_packet: UserSendPacketEvent;
    /// A stanza about to enter a session's mailbox.
    on_user_receive_packet: UserReceivePacketEvent;
    /// Every routed stanza.
    on_filter_packet: FilterPacketEvent;
    /// A resource was bound.
    on_session_opened: SessionOpenedEvent;
    /// A session ended.
    on_session_closed: SessionClosedEvent;
    /// A session's broadcast presence was set or unset.
    on_presence_changed: PresenceChangedEvent;
    /// A subscription stanza between bare JIDs.
    on_subscription_packet: SubscriptionPacketEvent;
    /// A message that no resource took.
    on_offline_message: OfflineMessageEvent;
    /// A stanza about to enter the mailbox of a session whose client is inactive (XEP-0352, since 1.1).
    on_inactive_packet: InactivePacketEvent;
    /// A message or presence to the vhost itself.
    on_local_packet: LocalPacketEvent;
    /// Information of an entity is collected.
    on_disco_info: DiscoInfoEvent;
    /// Items of an entity are collected.
    on_disco_items: DiscoItemsEvent;
    /// The contacts of an account are collected (since 1.1).
    on_contacts: ContactsEvent;
    /// An account was made.
    on_user_registered: UserRegisteredEvent;
    /// An account was removed.
    on_user_removed: UserRemovedEvent;
    /// The connection of a session is lost and the session waits for its client (since 1.2).
    on_session_suspended: SessionSuspendedEvent;
    /// Other modules, registrations or options hold from now on (since 1.2).
    on_modules_changed: ModulesChangedEvent;
    /// What is kept of an account is written out (since 1.2).
    on_export_user: ExportUserEvent;
    /// An element of an account's data is read in (since 1.2).
    on_import_user: ImportUserEvent;
    /// An authentication ended, well or badly.
    on_c2s_auth_result: AuthResultEvent;
}
