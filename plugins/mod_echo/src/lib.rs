//! The reference service: every stanza goes back to where it came from.
//!
//! It takes the stanzas for `echo.` and the vhost's name, or for the domains of its option `hosts`, swaps `from` and `to`
//! and sends the same stanza on its way. An IQ get or set is answered by a result with the same payload, because an IQ that
//! asks must be answered and not asked back (RFC 6120 8.2.3); results and errors end here, so that two echoes cannot talk
//! to each other for ever. Changed options move the domains while the service runs.

use moult_plugin_api::prelude::*;
use std::sync::{Mutex, PoisonError};

module_options! {
    /// Options of mod_echo.
    pub struct Options {
        /// Domains this service answers on; @HOST@ stands for the vhost.
        hosts: Vec<String> = ["echo.@HOST@"], min 1;
        /// What service discovery calls it.
        name: String = "Echo";
    }
}

/// The service on one vhost.
#[derive(Debug)]
pub struct Echo {
    host: Host,
    domains: Mutex<Vec<Domain>>,
}

#[derive(Debug)]
struct Domain {
    name: String,
    registrations: [Registration; 2],
}

impl Module for Echo {
    type Options = Options;

    fn start(host: &Host, options: Options) -> Result<Started<Self>, Stop> {
        let names = options.hosts.iter().map(|name| host.expand(name));
        let domains: Result<_, _> = names.map(|name| Domain::register(host, name, &options.name)).collect();
        Started::running(Self { host: host.clone(), domains: Mutex::new(domains?) })
    }

    fn on_reload(&self, options: Options, changed: bool) -> Result<Reload, Stop> {
        if changed {
            self.move_to(&options)?;
        }
        Ok(Reload::Done)
    }
}

impl Service for Echo {
    fn on_stanza(&self, host: &Host, from: &Jid<'_>, to: &Jid<'_>, stanza: &Stanza<'_>) -> Flow {
        let kind = stanza.type_attr().unwrap_or_default();
        let sent = match kind.as_str() {
            "error" | "result" => return Flow::Continue,
            "get" | "set" => result_of(stanza).and_then(|result| Ok(host.route_element(to, from, &result)?)),
            _ => host.route(to, from, stanza.bytes()).map_err(Stop::from),
        };
        if let Err(why) = sent {
            debug!(host.about(from), "the echo was not sent: {}", why.0);
        }
        Flow::Continue
    }
}

fn result_of(stanza: &Stanza<'_>) -> Result<Element, Stop> {
    Ok(stanza.element()?.clone().with_attr("type", "result"))
}

impl Domain {
    fn register(host: &Host, name: String, shown: &str) -> Result<Self, HostError> {
        let route = host.serve::<Echo>(&name)?;
        let item = host.item(&name, shown, "")?;
        Ok(Self { name, registrations: [route, item] })
    }
}

impl Echo {
    /// New domains first, so that a refused one changes nothing; then the old ones that are no longer wanted.
    fn move_to(&self, options: &Options) -> Result<(), HostError> {
        let mut domains = self.domains.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted: Vec<String> = options.hosts.iter().map(|name| self.host.expand(name)).collect();
        let mut added = Vec::new();
        for name in wanted.iter().filter(|name| domains.iter().all(|d| d.name != **name)) {
            match Domain::register(&self.host, name.clone(), &options.name) {
                Ok(domain) => added.push(domain),
                Err(error) => {
                    self.unregister(&added);
                    return Err(error);
                }
            }
        }
        let (kept, gone): (Vec<_>, Vec<_>) = domains.drain(..).partition(|d| wanted.contains(&d.name));
        self.unregister(&gone);
        *domains = kept;
        domains.extend(added);
        Ok(())
    }

    fn unregister(&self, domains: &[Domain]) {
        for registration in domains.iter().flat_map(|d| d.registrations) {
            self.host.unregister(registration);
        }
    }
}

export_module! {
    module: Echo,
    description: "Returns every stanza to its sender",
}
