//! The IQ handler example of the ejabberd guide: `ejabberd:cputime`.
//!
//! A get is answered with the processor time that the server has used, in seconds with three decimals; a set is
//! `not-allowed`.

use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::process_time;

/// Namespace of the query.
pub const NS: &str = "ejabberd:cputime";

/// The module on one vhost.
#[derive(Debug)]
pub struct CpuTime;

impl Module for CpuTime {
    type Options = ();

    fn start(host: &Host, (): ()) -> Result<Started<Self>, Stop> {
        host.on_iq(NS, Self::answer)?;
        Started::running(Self)
    }
}

impl CpuTime {
    fn answer(&self, iq: &Iq<'_>) -> Result<Element, StanzaError> {
        iq.require_get()?;
        let seconds = format!("{:.3}", process_time().as_secs_f64());
        Ok(Element::new("query").with_ns(NS).with_child(Element::new("time").with_text(seconds)))
    }
}

export_module! {
    module: CpuTime,
    description: "Answers how much processor time the server has used (ejabberd:cputime)",
}

#[cfg(test)]
mod tests {
    use super::*;
    use moult_plugin_api::testing::FakeHost;

    const QUERY: &str = "<query xmlns='ejabberd:cputime'/>";

    #[test]
    fn a_get_is_answered_in_seconds_with_three_decimals() {
        let host = FakeHost::new("example.org");
        let module = host.start::<CpuTime>("{}");
        let answer = module.iq_get("a@example.org/x", "example.org", QUERY).unwrap().unwrap();
        assert!(answer.is("query", NS));
        let seconds = answer.subtag_text("time");
        assert_eq!(seconds.split_once('.').map(|(_, decimals)| decimals.len()), Some(3), "{seconds}");
        assert!(seconds.parse::<f64>().unwrap() > 0.0);
    }

    #[test]
    fn a_set_is_not_allowed() {
        let host = FakeHost::new("example.org");
        let module = host.start::<CpuTime>("{}");
        let error = module.iq_set("a@example.org/x", "example.org", QUERY).unwrap_err();
        assert_eq!(error.condition, Condition::NotAllowed);
    }
}
