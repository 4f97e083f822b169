//! Statistics gathering (XEP-0039): numbers of the server for those who ask it.
//!
//! Without names in the request the names are listed; a name that is not known, or not offered, carries its error inside
//! the answer, as the XEP says. The numbers are those of the commands `stats` and `stats_host`. Only users of the vhost are
//! answered unless the option `public` says otherwise. Nothing is kept.

use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::process_time;
use moult_plugin_api::serde_json::{Value, json};
use std::sync::Arc;

/// XEP-0039.
const NS: &str = "http://jabber.org/protocol/stats";
/// Names in one request.
const MAX_NAMES: usize = 32;

module_options! {
    /// Options of mod_stats.
    pub struct Options {
        /// What is told, by the names of the XEP.
        names: Vec<String> = [
            "users/online", "users/total", "users/all-hosts/online", "users/all-hosts/total", "time/uptime", "time/cputime"
        ];
        /// Whether users of other servers are answered as well.
        public: bool = false;
    }
}

/// The module on one vhost.
#[derive(Debug)]
pub struct Stats {
    host: Host,
    options: Live<Options>,
}

/// One number: where it comes from and what it counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Number {
    OfHost(&'static str),
    OfServer(&'static str),
    Uptime,
    CpuTime,
}

const NUMBERS: [(&str, &str, Number); 6] = [
    ("users/online", "users", Number::OfHost("onlineusers")),
    ("users/total", "users", Number::OfHost("registeredusers")),
    ("users/all-hosts/online", "users", Number::OfServer("onlineusers")),
    ("users/all-hosts/total", "users", Number::OfServer("registeredusers")),
    ("time/uptime", "seconds", Number::Uptime),
    ("time/cputime", "seconds", Number::CpuTime),
];

impl Module for Stats {
    type Options = Options;
    const RELOADS: bool = true;

    fn start(host: &Host, options: Options) -> Result<Started<Self>, Stop> {
        check(&options)?;
        host.on_iq(IqSpec::new(NS).parallel_n(4), Self::answer)?;
        Started::running(Self { host: host.clone(), options: Live::new(options) })
    }

    fn on_reload(&self, options: Options, changed: bool) -> Result<Reload, Stop> {
        if changed {
            check(&options)?;
            self.options.set(options);
        }
        Ok(Reload::Done)
    }
}

impl Stats {
    async fn answer(self: Arc<Self>, iq: Iq<'static>) -> Result<Element, StanzaError> {
        iq.require_get()?;
        if !self.options.get().public && iq.from().domain() != self.host.vhost() {
            return Err(StanzaError::forbidden("statistics are for users of this server"));
        }
        let query = Element::new("query").with_ns(NS);
        let asked: Vec<&Element> = iq.payload()?.elements().collect();
        if asked.is_empty() {
            let options = self.options.get();
            return Ok(query.with_children(options.names.iter().map(|name| stat(name))));
        }
        if asked.len() > MAX_NAMES {
            let text = format!("a request names {MAX_NAMES} statistics at most");
            return Err(StanzaError::new(Condition::PolicyViolation, text));
        }
        let mut answered = query;
        for element in asked {
            if element.name() != "stat" {
                return Err(StanzaError::bad_request("a query has nothing but <stat/>"));
            }
            answered.push(self.tell(element.attr_s("name")).await);
        }
        Ok(answered)
    }

    async fn tell(&self, name: &str) -> Element {
        let offered = self.options.get().names.iter().any(|offered| offered == name);
        let Some((units, number)) = number(name).filter(|_| offered) else {
            return failed(name, "404", "Not Found");
        };
        match self.value(number).await {
            Ok(value) => stat(name).with_attr("units", units).with_attr("value", value),
            Err(error) => {
                debug!(self.host, "{name} cannot be told: {error}");
                failed(name, "500", "Internal Server Error")
            }
        }
    }

    async fn value(&self, number: Number) -> Result<String, HostError> {
        let vhost = self.host.vhost();
        let value = match number {
            Number::OfHost(name) => {
                self.host.run_command("stats_host", &json!({"name": name, "host": vhost})).await?
            }
            Number::OfServer(name) => self.host.run_command("stats", &json!({"name": name})).await?,
            Number::Uptime => self.host.run_command("stats", &json!({"name": "uptimeseconds"})).await?,
            Number::CpuTime => Value::from(format!("{:.3}", process_time().as_secs_f64())),
        };
        Ok(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    }
}

fn check(options: &Options) -> Result<(), Stop> {
    if let Some(unknown) = options.names.iter().find(|name| number(name).is_none()) {
        return Err(Stop::new(format!(
            "the option `names` names \"{unknown}\", which is no statistic of this module"
        )));
    }
    Ok(())
}

fn number(name: &str) -> Option<(&'static str, Number)> {
    NUMBERS.iter().find(|(known, ..)| *known == name).map(|(_, units, number)| (*units, *number))
}

fn stat(name: &str) -> Element {
    Element::new("stat").with_attr("name", name)
}

fn failed(name: &str, code: &str, text: &str) -> Element {
    stat(name).with_child(Element::new("error").with_attr("code", code).with_text(text))
}

export_module! {
    module: Stats,
    capabilities: ["commands"],
    xeps: ["0039" "0.6.0"],
}

#[cfg(test)]
mod tests {
    use super::*;
    use moult_plugin_api::testing::{FakeHost, Instance, IqResult, StartFailure};

    const ALICE: &str = "alice@example.org/x";

    fn server(options: &str) -> (FakeHost, Instance) {
        let host = FakeHost::new("example.org");
        host.grant("commands");
        host.answer_commands(|name, args| match (name, args["name"].as_str()) {
            ("stats_host", Some("onlineusers")) => Ok(json!(2)),
            ("stats", Some("uptimeseconds")) => Ok(json!(3600)),
            _ => Err(("internal-server-error".into(), "broken".into())),
        });
        let module = host.start::<Stats>(options);
        (host, module)
    }

    fn ask(module: &Instance, from: &str, content: &str) -> IqResult {
        module.iq_get(from, "example.org", &format!("<query xmlns='{NS}'>{content}</query>"))
    }

    #[test]
    fn names_are_listed_and_numbers_are_told() {
        let (_host, module) = server("{}");
        let names = ask(&module, ALICE, "").unwrap().unwrap();
        assert_eq!(names.elements().count(), NUMBERS.len());
        let asked = "<stat name='users/online'/><stat name='time/uptime'/><stat name='time/cputime'/>";
        let answer = ask(&module, ALICE, asked).unwrap().unwrap();
        let values: Vec<_> = answer.elements().map(|s| (s.attr_s("units"), s.attr_s("value"))).collect();
        assert_eq!(values[..2], [("users", "2"), ("seconds", "3600")]);
        assert!(values[2].1.parse::<f64>().is_ok());
    }

    #[test]
    fn an_unknown_or_failing_name_has_its_error_inside_the_answer() {
        let (_host, module) = server(r#"{"names": ["users/total"]}"#);
        let asked = "<stat name='bandwidth/x'/><stat name='users/online'/><stat/><stat name='users/total'/>";
        let answer = ask(&module, ALICE, asked).unwrap().unwrap();
        let codes: Vec<_> = answer.elements().map(|s| s.subtag("error").unwrap().attr_s("code")).collect();
        assert_eq!(codes, ["404", "404", "404", "500"]);
    }

    #[test]
    fn strangers_sets_and_senseless_requests_are_refused() {
        let (_host, module) = server("{}");
        let condition = |result: IqResult| result.unwrap_err().condition;
        assert_eq!(condition(ask(&module, "eve@elsewhere/x", "")), Condition::Forbidden);
        assert_eq!(condition(ask(&module, ALICE, "<other/>")), Condition::BadRequest);
        assert_eq!(
            condition(ask(&module, ALICE, &"<stat name='x'/>".repeat(33))),
            Condition::PolicyViolation
        );
        let set = module.iq_set(ALICE, "example.org", &format!("<query xmlns='{NS}'/>"));
        assert_eq!(condition(set), Condition::NotAllowed);
        let (_host, public) = server(r#"{"public": true}"#);
        assert!(ask(&public, "eve@elsewhere/x", "").is_ok());
    }

    #[test]
    fn a_name_that_is_none_fails_the_start() {
        let failure = FakeHost::new("example.org").try_start::<Stats>(r#"{"names": ["users"]}"#).err();
        assert!(matches!(failure, Some(StartFailure::Stopped(reason)) if reason.contains("\"users\"")));
        let (_host, module) = server("{}");
        assert!(module.reload(r#"{"names": ["users"]}"#, true).is_err());
        assert_eq!(module.reload(r#"{"public": true}"#, true), Ok(Reload::Done));
        assert!(ask(&module, "eve@elsewhere/x", "").is_ok());
    }
}
