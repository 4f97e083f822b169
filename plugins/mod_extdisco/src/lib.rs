//! External service discovery (XEP-0215): which STUN and TURN servers, or other services, clients may use.
//!
//! Services are told in the configuration, each as one text in the manner of a URI. TURN services get short-lived credentials
//! made from a secret that they share with this server (the «TURN REST API» that coturn, eturnal and others understand), so
//! nothing is kept. Only users of the vhost are answered.

mod service;

use moult_plugin_api::prelude::*;
use service::{Secret, Service};
use std::time::{Duration, SystemTime};

/// XEP-0215.
const NS: &str = "urn:xmpp:extdisco:2";

module_options! {
    /// Options of mod_extdisco.
    pub struct Options {
        /// Services, such as "stun:stun.example.org:3478" or "turn:turn.example.org:3478?transport=udp". More about one may
        /// follow behind the "?": transport, name, username, password, and restricted=1 for one that wants credentials.
        services: Vec<String> = [], max 64;
        /// What this server shares with the TURN servers; TURN services then get credentials made from it.
        secret: Option<String> = null;
        /// How long such credentials hold.
        credentials_lifetime: Duration = "12h", min 60000, max 2592000000;
    }
}

/// The module on one vhost.
#[derive(Debug)]
pub struct ExternalServices {
    host: Host,
    services: Vec<Service>,
    secret: Option<Secret>,
}

impl Module for ExternalServices {
    type Options = Options;

    fn start(host: &Host, options: Options) -> Result<Started<Self>, Stop> {
        let services: Result<Vec<Service>, String> =
            options.services.iter().map(|text| Service::parse(&host.expand(text))).collect();
        let services = services.map_err(Stop::new)?;
        if services.is_empty() {
            info!(host, "no services are configured: the module has nothing to do");
            return Ok(Started::Ignore);
        }
        let lifetime = options.credentials_lifetime;
        let secret = options.secret.filter(|secret| !secret.is_empty());
        let secret = secret.map(|secret| Secret { secret, lifetime });
        host.on_iq(IqSpec::new(NS).no_queue(), Self::answer)?;
        Started::running(Self { host: host.clone(), services, secret })
    }
}

impl ExternalServices {
    fn answer(&self, iq: &Iq<'_>) -> Result<Element, StanzaError> {
        iq.require_get()?;
        if iq.from().domain() != self.host.vhost() {
            return Err(StanzaError::forbidden("services are for users of this server"));
        }
        let payload = iq.payload()?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        match payload.name() {
            "services" => Ok(self.list(payload.attr("type"), iq, now)),
            "credentials" => self.credentials(payload, iq, now),
            _ => Err(StanzaError::bad_request("this asks neither for services nor for credentials")),
        }
    }

    fn list(&self, kind: Option<&str>, iq: &Iq<'_>, now: Duration) -> Element {
        let list = Element::new("services").with_ns(NS);
        let list = match kind {
            Some(kind) => list.with_attr("type", kind),
            None => list,
        };
        let wanted = self.services.iter().filter(|service| kind.is_none_or(|kind| service.kind == kind));
        list.with_children(wanted.map(|service| self.shown(service, iq, now)))
    }

    /// XEP-0215 3.3: credentials of the one service that is named by host and type, and by port where several have both.
    fn credentials(&self, asked: &Element, iq: &Iq<'_>, now: Duration) -> Result<Element, StanzaError> {
        let wanted =
            asked.subtag("service").ok_or_else(|| StanzaError::bad_request("a service is missing"))?;
        let (Some(host), Some(kind)) = (wanted.attr("host"), wanted.attr("type")) else {
            return Err(StanzaError::bad_request("a service is named by its host and type"));
        };
        let fits = |service: &&Service| {
            service.host == host
                && service.kind == kind
                && wanted.attr("port").is_none_or(|port| service.port == port)
        };
        let found: Vec<Element> = self
            .services
            .iter()
            .filter(fits)
            .map(|service| self.shown(service, iq, now))
            .filter(|service| service.attr("username").is_some())
            .collect();
        if found.is_empty() {
            return Err(StanzaError::item_not_found("there are no credentials for this service"));
        }
        Ok(Element::new("credentials").with_ns(NS).with_children(found))
    }

    fn shown(&self, service: &Service, iq: &Iq<'_>, now: Duration) -> Element {
        service.to_element(self.secret.as_ref(), iq.from().localpart().unwrap_or_default(), now)
    }
}

export_module! {
    module: ExternalServices,
    xeps: ["0215" "1.0.0"],
}

#[cfg(test)]
mod tests {
    use super::*;
    use moult_plugin_api::testing::{FakeHost, Instance, IqResult, StartFailure};

    const ALICE: &str = "alice@example.org/x";
    const OPTIONS: &str = r#"{"secret": "s3cret", "services": ["stun:stun.@HOST@:3478",
        "turn:turn.example.org:3478?transport=udp", "turns:[2001:db8::1]:5349?transport=tcp&name=Over%20TLS",
        "ftp:files.example.org?username=guest&password=p%26w"]}"#;

    fn server() -> (FakeHost, Instance) {
        let host = FakeHost::new("example.org");
        let module = host.start::<ExternalServices>(OPTIONS);
        (host, module)
    }

    fn ask(module: &Instance, from: &str, payload: &str) -> IqResult {
        module.iq_get(from, "example.org", payload)
    }

    fn services(module: &Instance, attributes: &str) -> Vec<Element> {
        let answer = ask(module, ALICE, &format!("<services xmlns='{NS}' {attributes}/>")).unwrap().unwrap();
        answer.elements().cloned().collect()
    }

    #[test]
    fn services_are_listed_with_what_was_configured() {
        let (_host, module) = server();
        let all = services(&module, "");
        let kinds: Vec<_> =
            all.iter().map(|s| (s.attr_s("type"), s.attr_s("host"), s.attr_s("port"))).collect();
        assert_eq!(
            kinds,
            [
                ("stun", "stun.example.org", "3478"),
                ("turn", "turn.example.org", "3478"),
                ("turns", "2001:db8::1", "5349"),
                ("ftp", "files.example.org", "")
            ]
        );
        assert_eq!((all[2].attr_s("transport"), all[2].attr_s("name")), ("tcp", "Over TLS"));
        assert_eq!((all[3].attr_s("username"), all[3].attr_s("password")), ("guest", "p&w"));
        assert_eq!(all[0].attr("username"), None);
        assert_eq!(services(&module, "type='turn'").len(), 1);
        assert_eq!(services(&module, "type='other'"), []);
    }

    #[test]
    fn turn_services_get_credentials_that_expire() {
        let (_host, module) = server();
        let turn = &services(&module, "type='turn'")[0];
        assert_eq!(turn.attr_s("restricted"), "true");
        let (until, user) = turn.attr_s("username").split_once(':').unwrap();
        assert!(user == "alice" && until.parse::<u64>().unwrap() > 1_700_000_000);
        assert_eq!(turn.attr_s("password").len(), 28);
        assert!(turn.attr_s("expires").ends_with('Z'));
    }

    #[test]
    fn credentials_are_given_for_one_service() {
        let (_host, module) = server();
        let credentials = |service: &str| {
            ask(&module, ALICE, &format!("<credentials xmlns='{NS}'>{service}</credentials>"))
        };
        let answer = credentials("<service host='turn.example.org' type='turn'/>").unwrap().unwrap();
        assert!(answer.is("credentials", NS) && answer.subtag("service").unwrap().attr("password").is_some());
        let condition = |service: &str| credentials(service).unwrap_err().condition;
        assert_eq!(
            condition("<service host='turn.example.org' type='turn' port='1'/>"),
            Condition::ItemNotFound
        );
        assert_eq!(condition("<service host='stun.example.org' type='stun'/>"), Condition::ItemNotFound);
        assert_eq!(condition("<service type='turn'/>"), Condition::BadRequest);
        assert_eq!(condition(""), Condition::BadRequest);
    }

    #[test]
    fn strangers_and_senseless_requests_are_refused() {
        let (_host, module) = server();
        let all = format!("<services xmlns='{NS}'/>");
        assert_eq!(ask(&module, "eve@elsewhere/x", &all).unwrap_err().condition, Condition::Forbidden);
        assert_eq!(module.iq_set(ALICE, "example.org", &all).unwrap_err().condition, Condition::NotAllowed);
        let other = format!("<other xmlns='{NS}'/>");
        assert_eq!(ask(&module, ALICE, &other).unwrap_err().condition, Condition::BadRequest);
    }

    #[test]
    fn wrong_services_fail_the_start_and_none_is_nothing_to_do() {
        let host = FakeHost::new("example.org");
        assert_eq!(host.try_start::<ExternalServices>("{}").err(), Some(StartFailure::Ignored));
        for text in
            ["turn", "turn:", ":host", "turn:host:port", "turn:host:99999", "turn:host?what=1", "turn:host?x"]
        {
            let options = format!(r#"{{"services": ["{text}"]}}"#);
            let failure = host.try_start::<ExternalServices>(&options).err();
            assert!(
                matches!(&failure, Some(StartFailure::Stopped(why)) if why.contains(text)),
                "{text}: {failure:?}"
            );
        }
    }
}
