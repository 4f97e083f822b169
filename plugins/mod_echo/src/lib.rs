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
        /// One domain in the place of `hosts`.
        host: Option<String> = null;
        /// What service discovery calls it.
        name: String = "Echo";
    }
}

impl Options {
    fn domains(&self, host: &Host) -> Vec<String> {
        let names = self.host.as_ref().map_or(self.hosts.as_slice(), std::slice::from_ref);
        names.iter().map(|name| host.expand(name)).collect()
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
    shown: String,
    route: Registration,
    item: Registration,
}

impl Module for Echo {
    type Options = Options;
    const RELOADS: bool = true;

    fn start(host: &Host, options: Options) -> Result<Started<Self>, Stop> {
        let names = options.domains(host).into_iter();
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
            "get" | "set" => match stanza.echoed() {
                Ok(result) => host.route(to, from, &result).map_err(Stop::from),
                Err(unreadable) => Err(Stop::from(unreadable)),
            },
            _ => host.route(to, from, stanza.bytes()).map_err(Stop::from),
        };
        if let Err(why) = sent {
            debug!(host.about(from), "the echo was not sent: {}", why.0);
        }
        Flow::Continue
    }
}

impl Domain {
    fn register(host: &Host, name: String, shown: &str) -> Result<Self, HostError> {
        let route = host.serve::<Echo>(&name)?;
        let item = host.item(&name, shown, "")?;
        Ok(Self { name, shown: shown.to_owned(), route, item })
    }

    fn show_as(&mut self, host: &Host, shown: &str) -> Result<(), HostError> {
        if self.shown != shown {
            host.unregister(self.item);
            self.item = host.item(&self.name, shown, "")?;
            shown.clone_into(&mut self.shown);
        }
        Ok(())
    }
}

impl Echo {
    /// New domains first, so that a refused one changes nothing; then the old ones that are no longer wanted.
    fn move_to(&self, options: &Options) -> Result<(), HostError> {
        let mut domains = self.domains.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = options.domains(&self.host);
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
        domains.iter_mut().try_for_each(|domain| domain.show_as(&self.host, &options.name))
    }

    fn unregister(&self, domains: &[Domain]) {
        for domain in domains {
            self.host.unregister(domain.route);
            self.host.unregister(domain.item);
        }
    }
}

export_module! {
    module: Echo,
    description: "Returns every stanza to its sender",
}

#[cfg(test)]
mod tests {
    use super::*;
    use moult_plugin_api::abi::v1::registration;
    use moult_plugin_api::testing::{FakeHost, StartFailure};

    const ALICE: &str = "alice@example.org/x";

    #[test]
    fn a_message_comes_back_as_it_was() {
        let host = FakeHost::new("example.org");
        let echo = host.start::<Echo>("{}");
        let message = "<message type='chat' id='1'><body>hi</body></message>";
        assert_eq!(echo.stanza(ALICE, "echo.example.org", message), Flow::Continue);
        let sent = &host.routed()[0];
        assert_eq!(
            (sent.from.as_str(), sent.to.as_str(), sent.stanza.as_str()),
            ("echo.example.org", ALICE, message)
        );
    }

    #[test]
    fn an_iq_is_answered_with_its_own_payload() {
        let host = FakeHost::new("example.org");
        let echo = host.start::<Echo>("{}");
        echo.stanza(ALICE, "any@echo.example.org/r", "<iq type='get' id='7'><q xmlns='urn:x'>?</q></iq>");
        let sent = &host.routed()[0];
        let result = sent.element();
        assert_eq!((result.attr_s("type"), result.attr_s("id"), sent.to.as_str()), ("result", "7", ALICE));
        assert_eq!(result.subtag_ns("q", "urn:x").unwrap().text(), "?");
    }

    #[test]
    fn answers_are_not_echoed() {
        let host = FakeHost::new("example.org");
        let echo = host.start::<Echo>("{}");
        for stanza in ["<iq type='result' id='1'/>", "<iq type='error' id='1'/>", "<message type='error'/>"] {
            echo.stanza(ALICE, "echo.example.org", stanza);
        }
        assert_eq!(host.routed(), []);
    }

    #[test]
    fn the_domain_is_an_item_of_the_vhost_while_it_runs() {
        let host = FakeHost::new("example.org");
        let echo = host.start::<Echo>(r#"{"name": "Parrot"}"#);
        let items = host.disco(Target::Server).items;
        assert_eq!((items[0].jid.as_str(), items[0].name.as_str()), ("echo.example.org", "Parrot"));
        assert!(echo.stop(StopReason::Unload).is_clean());
        assert_eq!(host.registrations(), []);
    }

    #[test]
    fn changed_hosts_move_the_domains_live() {
        let host = FakeHost::new("example.org");
        let echo = host.start::<Echo>(r#"{"hosts": ["a.@HOST@", "b.@HOST@"]}"#);
        assert_eq!(echo.reload(r#"{"hosts": ["b.@HOST@", "C.example.org"]}"#, true), Ok(Reload::Done));
        assert_eq!(host.registered(registration::ROUTE_GLOBAL), ["b.example.org", "c.example.org"]);
        assert!(echo.reload(r#"{"hosts": ["d.@HOST@", "not@domain"]}"#, true).is_err());
        assert_eq!(host.registered(registration::ROUTE_GLOBAL), ["b.example.org", "c.example.org"]);
        assert_eq!(echo.reload(r#"{"hosts": ["b.@HOST@"], "name": "Parrot"}"#, true), Ok(Reload::Done));
        let items = host.disco(Target::Server).items;
        assert_eq!(
            items.iter().map(|i| (i.jid.as_str(), i.name.as_str())).collect::<Vec<_>>(),
            [("b.example.org", "Parrot")]
        );
    }

    #[test]
    fn one_host_stands_in_the_place_of_the_list() {
        let host = FakeHost::new("example.org");
        let _echo = host.start::<Echo>(r#"{"host": "parrot.@HOST@"}"#);
        assert_eq!(host.registered(registration::ROUTE_GLOBAL), ["parrot.example.org"]);
    }

    #[test]
    fn a_wrong_domain_fails_the_start_and_leaves_nothing() {
        let host = FakeHost::new("example.org");
        let failure = host.try_start::<Echo>(r#"{"hosts": ["ok.@HOST@", "a@b"]}"#).err();
        let Some(StartFailure::Stopped(reason)) = failure else { panic!("{failure:?}") };
        assert!(reason.contains("a@b"), "{reason}");
        assert_eq!(host.registrations(), []);
    }
}
