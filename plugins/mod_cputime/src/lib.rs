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
