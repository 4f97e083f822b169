//! Announcements: to everybody, to who is online, and a message of the day that everybody sees once.
//!
//! An announcement is a command, or a message to `VHOST/announce/all`, `…/online`, `…/motd`, `…/motd/update` or
//! `…/motd/delete`. Such a message runs the command of the same meaning as its sender, so that one permission decides over both.
//!
//! Recipients wait in a queue that is bounded and sent from in portions, so that announcing to many disturbs nobody. What is left of it is
//! handed over when the module is swapped: nobody gets an announcement twice, nobody misses it. The message of the day and who has seen
//! it are in stores.

mod commands;
mod motd;
mod queue;

use motd::Motd;
use moult_plugin_api::hooks::AccountArgs;
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::hooks::Notice;
use moult_plugin_api::serde_json::{self, Value, json};
use queue::Queue;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const SCHEMA: u32 = 1;

module_options! {
    /// Options of mod_announce.
    pub struct Options {
        /// The longest announcement, in characters.
        max_length: usize = 10000, min 1, max 100000;
        /// Recipients that may wait.
        max_waiting: usize = 1000000, min 1, max 10000000;
    }
}

/// The module on one vhost.
#[derive(Debug)]
pub struct Announce {
    host: Host,
    options: Live<Options>,
    queue: Mutex<Queue>,
    motd: Mutex<Option<Arc<Motd>>>,
}

impl Module for Announce {
    type Options = Options;
    const RELOADS: bool = true;

    fn start(host: &Host, options: Options) -> Result<Started<Self>, Stop> {
        host.on_local_packet(50, deferred(Self::message))?;
        host.on_presence_changed(50, deferred(Self::presence))?;
        host.on_user_removed(50, Self::removed)?;
        commands::register(host)?;
        let motd = motd::stored(host).wait()?;
        Started::running(Self {
            host: host.clone(),
            options: Live::new(options),
            queue: Mutex::default(),
            motd: Mutex::new(motd.map(Arc::new)),
        })
    }

    fn on_started(&self) -> Result<(), Stop> {
        Ok(self.send_waiting()?)
    }

    fn export_state(&self) -> Option<(u32, Vec<u8>)> {
        Some((SCHEMA, serde_json::to_vec(&*self.queue()).expect("texts are JSON")))
    }

    fn import_state(&self, schema: u32, bytes: &[u8]) -> Result<(), Stop> {
        if schema != SCHEMA {
            return Err(Stop::new(format!("state of schema {schema} cannot be read")));
        }
        *self.queue() = serde_json::from_slice(bytes)?;
        // The message of the day may have changed since this generation began.
        *self.motd() = motd::stored(&self.host).wait()?.map(Arc::new);
        Ok(())
    }

    fn on_reload(&self, options: Options, changed: bool) -> Result<Reload, Stop> {
        if changed {
            self.options.set(options);
        }
        Ok(Reload::Done)
    }
}

impl Announce {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn motd(&self) -> MutexGuard<'_, Option<Arc<Motd>>> {
        self.motd.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message to an address of announcements is a command of its sender.
    fn message(self: &Arc<Self>, stanza: &Stanza<'_>) -> Soon<Taken> {
        let Some(command) = stanza.to().resource().and_then(commands::of_address) else {
            return Taken::No.into();
        };
        let is_message = stanza.bytes().starts_with(b"<message");
        if !is_message || stanza.type_attr().as_deref() == Some("error") {
            return Taken::No.into();
        }
        let (this, stanza) = (Arc::clone(self), stanza.clone().into_owned());
        Soon::later(async move {
            if let Err(error) = this.run_as(&stanza, command).await {
                this.send_back(&stanza, &error);
            }
            Taken::Yes
        })
    }

    async fn run_as(&self, stanza: &Stanza<'_>, command: &str) -> Result<Value, StanzaError> {
        let message = stanza.element()?;
        let (subject, body) = (message.subtag_text("subject"), message.subtag_text("body"));
        let mut args = json!({"host": self.host.vhost()});
        if command != commands::MOTD_DELETE {
            args["subject"] = Value::from(subject);
            args["body"] = Value::from(body);
        }
        info!(self.host.about(stanza.from()), "asks for {command} by a message");
        Ok(self.host.run_command_as(stanza.from(), command, &args).await?)
    }

    fn send_back(&self, stanza: &Stanza<'_>, error: &StanzaError) {
        let reply = Element::new("message").with_attr("type", "error").with_child(error.to_element());
        let reply = match stanza.id() {
            Some(id) => reply.with_attr("id", id),
            None => reply,
        };
        if let Err(error) = self.host.route_element(stanza.to(), stanza.from(), &reply) {
            debug!(self.host.about(stanza.from()), "an error was not sent: {error}");
        }
    }

    async fn removed(self: Arc<Self>, account: Notice<'static, AccountArgs>) {
        if let Err(error) = motd::seen(&self.host).delete(account.jid.as_str()).await {
            error!(self.host.about(&account.jid), "what a removed account has seen stays: {error}");
        }
    }
}

export_module! {
    module: Announce,
    capabilities: ["commands"],
    state: { writes: 1, reads: 1 },
    needs_minor: 1,
}

#[cfg(test)]
mod tests;
