//! Entity capabilities of the server: XEP-0115 and XEP-0390.
//!
//! What discovery answers about the vhost is hashed and announced on every stream that has logged in, so that clients need not
//! ask for what they know already; the nodes that stand for a hash are answered, the latest ones also after a change
//! (XEP-0390 section 6.1 asks for three). The hash is taken of the very answer that a client would get, whatever module gives
//! it, and anew whenever the server says that other modules or options hold.
//!
//! What was announced lies in the store, so that a swap of this module leaves no moment without it. Nothing is announced
//! while nobody answers discovery.

mod announced;
mod strings;

use announced::{Announced, KEPT};
use moult_plugin_api::hooks::{InfoAnswer, ModulesChanged};
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::Turns;
use moult_plugin_api::sdk::hooks::{Collecting, Notice};
use moult_plugin_api::sdk::store::KeyVal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// XEP-0115.
const CAPS: &str = "http://jabber.org/protocol/caps";
/// XEP-0390.
const CAPS_2: &str = "urn:xmpp:caps";
/// How long the server may take to answer for itself.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// When it is asked again after a failure.
const AGAIN_AFTER: Duration = Duration::from_secs(15);

module_options! {
    /// Options of mod_caps.
    pub struct Options {
        /// What the software is known as: a URI, of which clients make the node that they ask for.
        node: String = "urn:moult:server";
    }
}

/// The module on one vhost.
#[derive(Debug)]
pub struct Caps {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    host: Host,
    options: Live<Options>,
    /// One hash after the other.
    turns: Turns,
    state: Mutex<State>,
    /// A failed question waits to be repeated.
    trying_again: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// Newest first.
    known: Vec<Announced>,
    registered: Vec<Registration>,
}

impl Module for Caps {
    type Options = Options;
    const RELOADS: bool = true;

    fn start(host: &Host, options: Options) -> Result<Started<Self>, Stop> {
        host.feature(CAPS, Target::Server)?;
        host.feature(CAPS_2, Target::Server)?;
        host.on_disco_info(50, Self::node)?;
        host.on_modules_changed(50, Self::modules_changed)?;
        let known = store(host).get_json(KEY).wait()?.unwrap_or_default();
        let inner = Inner {
            host: host.clone(),
            options: Live::new(options),
            turns: Turns::default(),
            state: Mutex::new(State { known, registered: Vec::new() }),
            trying_again: AtomicBool::new(false),
        };
        // After a restart of the server other modules may answer than before it.
        if host.is_swap() {
            inner.announce()?;
        }
        Started::running(Self { inner: Arc::new(inner) })
    }

    fn on_started(&self) -> Result<(), Stop> {
        let inner = Arc::clone(&self.inner);
        Ok(self.inner.host.spawn(inner.refresh())?)
    }

    /// That options have changed is told by the hook `modules_changed` as well.
    fn on_reload(&self, options: Options, _: bool) -> Result<Reload, Stop> {
        self.inner.options.set(options);
        Ok(Reload::Done)
    }
}

const KEY: &str = "announced";

fn store(host: &Host) -> KeyVal {
    host.keyval("caps")
}

impl Caps {
    async fn modules_changed(self: Arc<Self>, _: Notice<'static, ModulesChanged>) {
        Arc::clone(&self.inner).refresh().await;
    }

    /// A node that stands for a hash is the server as it was then.
    fn node(&self, question: &Collecting<'_, InfoAnswer>) -> Collect<InfoAnswer> {
        if question.node.is_empty() || question.to.localpart().is_some() {
            return Collect::Continue;
        }
        let state = self.inner.state();
        let found = state.known.iter().find(|announced| announced.is_node(&question.node));
        found.map_or(Collect::Continue, |announced| Collect::With(announced.info.clone()))
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks what the server is now, and announces it if that is new.
    async fn refresh(self: Arc<Self>) {
        let _turn = self.turns.take("").await;
        let now = match self.ask().await {
            Ok(query) => Announced::of(&query, &self.options.get().node),
            Err(error) if error.condition == Condition::ServiceUnavailable.name() => {
                info!(self.host, "no capabilities are announced, because nobody answers discovery");
                return self.withdraw();
            }
            Err(error) => {
                warn!(self.host, "the capabilities are not known, because discovery failed: {error}");
                return self.try_again();
            }
        };
        let is_new = self.state().known.first() != Some(&now);
        if is_new && let Err(error) = self.remember(now).await {
            error!(self.host, "the capabilities could not be stored: {error}");
        }
        if (is_new || self.state().registered.is_empty())
            && let Err(error) = self.announce()
        {
            error!(self.host, "the capabilities could not be announced: {error}");
        }
    }

    /// What was announced stays meanwhile: that an answer is late does not mean that it would be another one.
    fn try_again(self: &Arc<Self>) {
        if self.trying_again.swap(true, Ordering::Relaxed) {
            return;
        }
        let this = Arc::clone(self);
        let later = async move {
            let slept = this.host.sleep(AGAIN_AFTER).await;
            this.trying_again.store(false, Ordering::Relaxed);
            if slept.is_ok() {
                this.refresh().await;
            }
        };
        if let Err(error) = self.host.spawn(later) {
            debug!(self.host, "it is not tried again: {error}");
        }
    }

    async fn ask(&self) -> Result<Element, HostError> {
        let to = Jid::parse(self.host.vhost())
            .map_err(|error| HostError { condition: "jid-malformed".into(), text: error.to_string() })?;
        let request = moult_plugin_api::sdk::ask::IqRequest::get(
            to.clone(),
            Element::new("query").with_ns(ns::DISCO_INFO),
        );
        let answer = self.host.send_iq(&request.from(to), ANSWER_WITHIN).await?;
        let query = answer.result().map_err(|error| HostError {
            condition: error.condition.name().into(),
            text: error.text.into_owned(),
        })?;
        query.cloned().ok_or_else(|| HostError {
            condition: "item-not-found".into(),
            text: "the answer is empty".into(),
        })
    }

    async fn remember(&self, now: Announced) -> Result<(), HostError> {
        let known = {
            let mut state = self.state();
            state.known.retain(|other| *other != now);
            state.known.insert(0, now);
            state.known.truncate(KEPT);
            state.known.clone()
        };
        store(&self.host).set_json(KEY, &known).await
    }

    /// Puts the newest on the streams in place of what was there.
    fn announce(&self) -> Result<(), HostError> {
        self.withdraw();
        let mut state = self.state();
        let elements = state.known.first().map(Announced::elements).unwrap_or_default();
        for element in elements {
            let registered = self.host.stream_feature(&element, Target::Account)?;
            state.registered.push(registered);
        }
        Ok(())
    }

    fn withdraw(&self) {
        let registered = std::mem::take(&mut self.state().registered);
        for registration in registered {
            self.host.unregister(registration);
        }
    }
}

export_module! {
    module: Caps,
    needs_minor: 2,
    xeps: ["0115" "1.6.0", "0390" "0.3.2"],
}

#[cfg(test)]
mod tests;
