//! Messages for users who are not there (XEP-0160): kept, and delivered in order at the next login, each with the time at
//! which it came (XEP-0203).
//!
//! Keeping and delivering take turns per account, so a message that comes while its receiver logs in is either delivered
//! with the others or found right after it was kept: none is left behind. A message is removed after a session took it,
//! so a crash between the two delivers it twice rather than not at all. The (empty) state is exported only so that the
//! calls of one generation end before those of the next begin.

mod commands;
pub mod kind;
mod transfer;

use kind::Fate;
use moult_plugin_api::hooks::{AccountArgs, PresenceChanged};
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::Turns;
use moult_plugin_api::sdk::datetime::{date_time_ms, now_ms};
use moult_plugin_api::sdk::element::parse_element;
use moult_plugin_api::sdk::hooks::Notice;
use moult_plugin_api::sdk::store::{Archive, Item, Query};
use std::sync::Arc;
use std::time::Duration;

const SCHEMA: u32 = 1;
/// XEP-0203.
const DELAY: &str = "urn:xmpp:delay";
/// Messages read from the store at a time.
const PAGE: usize = 50;
/// How often messages are looked for that are too old.
const PURGE_INTERVAL: Duration = Duration::from_secs(3600);
const DAY_MS: i64 = 24 * 3600 * 1000;
/// How often, and for how long, a session that took not everything is asked again.
const RETRY_AFTER: Duration = Duration::from_millis(250);
const RETRIES: usize = 240;
/// Later than every message.
const FOR_EVER: i64 = i64::MAX / 1000;

module_options! {
    /// Options of mod_offline.
    pub struct Options {
        /// Messages kept for one account; who sends more gets them back.
        max_messages: usize = 1000, min 1, max 1000000;
        /// After how many days a message is given up; 0 is never.
        expire_days: u32 = 0, min 0, max 36500;
    }
}

/// The module on one vhost.
#[derive(Debug)]
pub struct Offline {
    host: Host,
    options: Options,
    turns: Turns,
}

/// How much of what was kept a session took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivered {
    All,
    Some,
}

impl Module for Offline {
    type Options = Options;

    fn start(host: &Host, options: Options) -> Result<Started<Self>, Stop> {
        host.on_offline_message(50, Self::message)?;
        // Behind the roster: who logs in sees its contacts' requests first.
        host.on_presence_changed(60, deferred(Self::presence))?;
        host.on_user_removed(50, Self::removed)?;
        host.on_export_user(50, Self::export_user)?;
        host.on_import_user(50, Self::import_user)?;
        host.every(PURGE_INTERVAL, Self::purge)?;
        host.feature("msgoffline", Target::Server)?;
        commands::register(host)?;
        Started::running(Self { host: host.clone(), options, turns: Turns::default() })
    }

    fn export_state(&self) -> Option<(u32, Vec<u8>)> {
        Some((SCHEMA, Vec::new()))
    }

    fn import_state(&self, schema: u32, _: &[u8]) -> Result<(), Stop> {
        if schema == SCHEMA {
            Ok(())
        } else {
            Err(Stop::new(format!("state of schema {schema} cannot be read")))
        }
    }
}

impl Offline {
    pub(crate) fn archive(&self) -> Archive {
        self.host.archive("messages")
    }

    async fn message(self: Arc<Self>, stanza: Stanza<'static>) -> Taken {
        match stanza.element().map(kind::fate) {
            Ok(Fate::Kept) => {}
            Ok(Fate::Dropped) => return Taken::Yes,
            Ok(Fate::Refused) | Err(_) => return Taken::No,
        }
        match self.keep(&stanza).await {
            Ok(taken) => taken,
            Err(error) => {
                error!(self.host.about(stanza.to()), "a message could not be kept: {error}");
                Taken::No
            }
        }
    }

    async fn keep(&self, stanza: &Stanza<'static>) -> Result<Taken, HostError> {
        let account = stanza.to().bare();
        let _turn = self.turns.take(account.as_str()).await;
        if self.count(account.as_str()).await? >= self.options.max_messages as u64 {
            self.host.count("refused", 1);
            return Ok(Taken::No);
        }
        let from = stanza.from().bare();
        self.archive().append(account.as_str(), from.as_str(), now_ms(), stanza.bytes()).await?;
        self.host.count("kept", 1);
        // Somebody may have logged in meanwhile, and looked before this message was there.
        if let Some(session) = self.reachable(&account).await?
            && let Err(error) = self.deliver(&session).await
        {
            warn!(self.host.about(&session), "kept messages could not be delivered: {error}");
        }
        Ok(Taken::Yes)
    }

    /// How many messages are kept for an account.
    pub(crate) async fn count(&self, account: &str) -> Result<u64, HostError> {
        let page = self.archive().query(account, &Query { limit: Some(0), ..Query::default() }).await?;
        Ok(page.count.unwrap_or(0))
    }

    /// The session of an account that gets its messages.
    async fn reachable(&self, account: &Jid<'_>) -> Result<Option<Jid<'static>>, HostError> {
        let sessions = self.host.sessions_of(account).await?;
        let open = sessions.into_iter().filter(|session| session.available && session.priority >= 0);
        let best = open.max_by_key(|session| session.priority);
        Ok(best.and_then(|session| Jid::parse(&session.jid).ok()))
    }

    /// XEP-0160 section 3: at the presence with which a resource begins to take messages.
    fn presence(self: &Arc<Self>, notice: &Notice<'_, PresenceChanged>) -> Soon<Chain> {
        let now = &notice.what;
        let took_messages = now.was_available && now.was_priority.is_some_and(|priority| priority >= 0);
        if !now.available || now.priority < 0 || took_messages {
            return Soon::Now(Chain::Continue);
        }
        let (this, session) = (Arc::clone(self), notice.jid.clone().into_owned());
        Soon::later(async move {
            match this.in_turn(&session).await {
                Ok(Delivered::All) => {}
                Ok(Delivered::Some) => this.go_on_later(session),
                Err(error) => {
                    error!(this.host.about(&session), "kept messages could not be delivered: {error}");
                }
            }
            Chain::Continue
        })
    }

    async fn in_turn(&self, session: &Jid<'_>) -> Result<Delivered, HostError> {
        let _turn = self.turns.take(session.bare().as_str()).await;
        self.deliver(session).await
    }

    /// A mailbox is bounded, and a client that was away for long reads as fast as its line allows: what is left follows
    /// as soon as there is room, and stays kept when the session ends before.
    fn go_on_later(self: &Arc<Self>, session: Jid<'static>) {
        let this = Arc::clone(self);
        let spawned = self.host.spawn(async move {
            for _ in 0..RETRIES {
                if this.host.sleep(RETRY_AFTER).await.is_err() {
                    return;
                }
                let here = this.host.sessions_of(&session).await.unwrap_or_default();
                if !here.iter().any(|other| session == *other.jid.as_str()) {
                    return;
                }
                match this.in_turn(&session).await {
                    Ok(Delivered::Some) => {}
                    Ok(Delivered::All) | Err(_) => return,
                }
            }
        });
        if let Err(error) = spawned {
            warn!(self.host, "kept messages wait for the next login: {error}");
        }
    }

    /// Gives a session what is kept for its account, oldest first, as far as it takes it. To be called in turn.
    async fn deliver(&self, session: &Jid<'_>) -> Result<Delivered, HostError> {
        let account = session.bare();
        loop {
            let query = Query { limit: Some(PAGE), ..Query::default() };
            let page = self.archive().query(account.as_str(), &query).await?;
            let mut done = Vec::new();
            for item in &page.items {
                if !self.hand_over(session, item).await? {
                    break;
                }
                done.push(item.id.clone());
            }
            self.archive().remove(account.as_str(), &done).await?;
            if done.len() < page.items.len() {
                return Ok(Delivered::Some);
            }
            if page.complete {
                return Ok(Delivered::All);
            }
        }
    }

    /// Whether this message need not be kept any longer.
    async fn hand_over(&self, session: &Jid<'_>, item: &Item) -> Result<bool, HostError> {
        let text = std::str::from_utf8(&item.body).unwrap_or_default();
        let Ok(mut message) = parse_element(text) else {
            error!(self.host.about(session), "a kept message is unreadable and is given up");
            return Ok(true);
        };
        if kind::expires(&message, item.at_ms).is_some_and(|end| end < now_ms()) {
            return Ok(true);
        }
        self.stamp(&mut message, item.at_ms);
        Ok(self.host.deliver(session, Among::Available, &message).await? > 0)
    }

    /// When it was kept. A message that was kept, delivered to a session that ended, and kept again, says so already.
    fn stamp(&self, message: &mut Element, at_ms: i64) {
        let vhost = self.host.vhost();
        let has_stamp =
            message.elements().any(|child| child.is("delay", DELAY) && child.attr("from") == Some(vhost));
        if !has_stamp {
            let delay = Element::new("delay")
                .with_ns(DELAY)
                .with_attr("from", vhost)
                .with_attr("stamp", date_time_ms(at_ms));
            message.push(delay.with_text("Offline Storage"));
        }
    }

    async fn removed(self: Arc<Self>, notice: Notice<'static, AccountArgs>) {
        let account = notice.jid.bare();
        let _turn = self.turns.take(account.as_str()).await;
        if let Err(error) = self.archive().delete(account.as_str(), FOR_EVER).await {
            error!(self.host.about(&account), "kept messages could not be removed: {error}");
        }
    }

    async fn purge(self: Arc<Self>, _: Tick) {
        match self.purge_expired().await {
            Ok(0) => {}
            Ok(count) => info!(self.host, "{count} kept messages were too old"),
            Err(error) => error!(self.host, "old messages could not be removed: {error}"),
        }
    }

    /// Gives up what is older than the options say.
    pub(crate) async fn purge_expired(&self) -> Result<u64, HostError> {
        match self.options.expire_days {
            0 => Ok(0),
            days => self.older_than(days).await,
        }
    }

    /// Gives up what is older than so many days.
    pub(crate) async fn older_than(&self, days: u32) -> Result<u64, HostError> {
        self.archive().delete("", now_ms() - i64::from(days) * DAY_MS).await
    }
}

export_module! {
    module: Offline,
    needs_minor: 2,
    state: { writes: 1, reads: 1 },
    xeps: ["0160" "1.0.1", "0203" "2.0", "0334" "0.4"],
}

#[cfg(test)]
mod tests;
