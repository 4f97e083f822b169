//! XMPP ping (XEP-0199).
//!
//! Pings to the server and to accounts are answered. With `send_pings`, sessions that have been silent for a while are
//! pinged themselves, and those that do not answer are logged or ended. What is known of each session, its silence, is
//! handed to the next generation, so a swap neither pings everybody again nor forgets anybody.

mod silence;

use moult_plugin_api::hooks::{SessionClosed, SessionOpened};
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::hooks::Notice;
use moult_plugin_api::serde_json::{self, json};
use silence::Silence;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Pings under way at once; whoever else is due is asked a little later.
const MAX_ASKED: usize = 256;
/// Sessions asked for at a time when the module is loaded into a running server.
const PAGE: usize = 500;
const SCHEMA: u32 = 1;

module_options! {
    /// Options of mod_ping.
    pub struct Options {
        /// Whether to ping silent sessions.
        send_pings: bool = false;
        /// After how much silence to ping a session.
        ping_interval: Duration = "60s", min 1000;
        /// How long to wait for the answer.
        ping_ack_timeout: Duration = "32s", min 1000;
        /// What to do with a session that does not answer.
        timeout_action: String = "none", one_of ["none", "kill"];
    }
}

/// The module on one vhost.
#[derive(Debug)]
pub struct Ping {
    host: Host,
    options: Options,
    /// How long each session has been silent. Empty unless pings are sent.
    silence: Mutex<Silence>,
}

impl Module for Ping {
    type Options = Options;

    fn start(host: &Host, options: Options) -> Result<Started<Self>, Stop> {
        host.on_iq(IqSpec::new(ns::PING).no_queue(), Self::answer)?;
        host.on_iq(IqSpec::new(ns::PING).on_accounts().no_queue(), Self::answer)?;
        if options.send_pings {
            host.on_session_opened(50, Self::opened)?;
            host.on_session_closed(50, Self::closed)?;
            host.on_user_send_packet(100, Self::heard)?;
            host.every(step(&options), Self::tick)?;
        }
        Started::running(Self { host: host.clone(), options, silence: Mutex::default() })
    }

    /// A module that is loaded into a running server learns who is there; one that takes over is told.
    fn on_started(&self) -> Result<(), Stop> {
        if !self.options.send_pings || self.host.is_swap() {
            return Ok(());
        }
        let mut after = String::new();
        loop {
            let page = self.host.sessions(&after, PAGE).wait()?;
            let mut silence = self.silence();
            page.iter().for_each(|jid| silence.heard_from(jid));
            match page.last() {
                Some(last) if page.len() == PAGE => after.clone_from(last),
                _ => return Ok(()),
            }
        }
    }

    fn export_state(&self) -> Option<(u32, Vec<u8>)> {
        let state = serde_json::to_vec(&self.silence().to_state()).expect("texts and numbers are JSON");
        Some((SCHEMA, state))
    }

    fn import_state(&self, schema: u32, bytes: &[u8]) -> Result<(), Stop> {
        if schema != SCHEMA {
            return Err(Stop::new(format!("state of schema {schema} cannot be read")));
        }
        let state = serde_json::from_slice(bytes)?;
        if self.options.send_pings {
            *self.silence() = Silence::from_state(state);
        }
        Ok(())
    }
}

impl Ping {
    fn answer(&self, iq: &Iq<'_>) -> Result<(), StanzaError> {
        iq.require_get()
    }

    fn silence(&self) -> MutexGuard<'_, Silence> {
        self.silence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn opened(&self, session: &Notice<'_, SessionOpened>) {
        self.silence().heard_from(session.jid.as_str());
    }

    fn closed(&self, session: &Notice<'_, SessionClosed>) {
        self.silence().forget(session.jid.as_str());
    }

    fn heard(&self, stanza: &Stanza<'_>) {
        self.silence().heard_from(stanza.from().as_str());
    }

    async fn tick(self: Arc<Self>, _: Tick) {
        let due = {
            let mut silence = self.silence();
            silence.pass(step(&self.options));
            silence.due(self.options.ping_interval, MAX_ASKED)
        };
        for jid in due {
            let this = Arc::clone(&self);
            if let Err(error) = self.host.spawn(async move { this.ping(&jid).await }) {
                debug!(self.host, "a ping was not begun: {error}");
            }
        }
    }

    async fn ping(&self, session: &str) {
        let Ok(jid) = Jid::parse(session) else { return self.silence().forget(session) };
        let request = IqRequest::get(jid.borrowed(), Element::new("ping").with_ns(ns::PING));
        self.host.count("pings", 1);
        match self.host.send_iq(&request, self.options.ping_ack_timeout).await {
            // An error is an answer too: most clients that do not know pings say so.
            Ok(_) => self.silence().answered(session),
            Err(error) if error.condition == "remote-server-timeout" => self.timed_out(&jid).await,
            Err(error) => {
                debug!(self.host.about(&jid), "the ping failed: {error}");
                self.silence().answered(session);
            }
        }
    }

    async fn timed_out(&self, jid: &Jid<'_>) {
        self.host.count("timeouts", 1);
        if self.options.timeout_action != "kill" {
            info!(self.host.about(jid), "no answer to a ping");
            return self.silence().answered(jid.as_str());
        }
        let (Some(user), Some(resource)) = (jid.localpart(), jid.resource()) else { return };
        let reason = "No answer to a ping.";
        let args = json!({"user": user, "host": jid.domain(), "resource": resource, "reason": reason});
        info!(self.host.about(jid), "no answer to a ping: the session is ended");
        if let Err(error) = self.host.run_command("kick_session", &args).await {
            warn!(self.host.about(jid), "the session could not be ended: {error}");
            self.silence().answered(jid.as_str());
        }
    }
}

/// How often silence is measured: a tenth of the interval, which is how late a ping may come.
fn step(options: &Options) -> Duration {
    (options.ping_interval / 10).clamp(Duration::from_millis(100), Duration::from_secs(10))
}

export_module! {
    module: Ping,
    capabilities: ["commands"],
    state: { writes: 1, reads: 1 },
    xeps: ["0199" "2.0"],
}

#[cfg(test)]
mod tests;
