//! Recipients that wait for their announcement.

use crate::Announce;
use moult_plugin_api::prelude::*;
use moult_plugin_api::serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Duration;

/// Recipients of one portion, and the pause behind it.
const PORTION: usize = 200;
const PAUSE: Duration = Duration::from_millis(20);

/// An announcement with those who have not got it yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(crate = "moult_plugin_api::serde")]
struct Announcement {
    /// The stanza, without addresses.
    stanza: String,
    recipients: VecDeque<String>,
}

/// All announcements under way, oldest first.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(crate = "moult_plugin_api::serde", transparent)]
pub struct Queue {
    waiting: VecDeque<Announcement>,
    /// Whether the timer is set.
    #[serde(skip)]
    sending: bool,
}

impl Queue {
    pub fn len(&self) -> usize {
        self.waiting.iter().map(|announcement| announcement.recipients.len()).sum()
    }

    /// Takes the next portion out, of one announcement.
    fn take(&mut self) -> Option<(String, Vec<String>)> {
        while self.waiting.front().is_some_and(|first| first.recipients.is_empty()) {
            self.waiting.pop_front();
        }
        let first = self.waiting.front_mut()?;
        let portion = first.recipients.len().min(PORTION);
        Some((first.stanza.clone(), first.recipients.drain(..portion).collect()))
    }
}

impl Announce {
    /// Puts recipients into the queue; gives how many.
    pub(crate) fn send(&self, stanza: &Element, recipients: Vec<String>) -> Result<usize, CommandError> {
        let count = recipients.len();
        {
            let mut queue = self.queue();
            if queue.len().saturating_add(count) > self.options.get().max_waiting {
                return Err(CommandError::new(503, "Too many recipients of announcements wait already."));
            }
            queue
                .waiting
                .push_back(Announcement { stanza: stanza.to_string(), recipients: recipients.into() });
        }
        self.send_waiting()?;
        Ok(count)
    }

    /// Sets the timer that sends from the queue, unless it is set. A swap comes between two portions, never into one.
    pub(crate) fn send_waiting(&self) -> Result<(), HostError> {
        {
            let mut queue = self.queue();
            if queue.sending || queue.waiting.is_empty() {
                return Ok(());
            }
            queue.sending = true;
        }
        let begun = self.host.after(Duration::from_millis(1), Self::portion);
        if begun.is_err() {
            self.queue().sending = false;
        }
        begun.map(drop)
    }

    /// One portion; then the timer is set again.
    fn portion(&self, _: &Tick) {
        let portion = self.queue().take();
        let Some((stanza, recipients)) = portion else {
            self.queue().sending = false;
            return;
        };
        let Ok(vhost) = Jid::parse(self.host.vhost()) else { return };
        for recipient in &recipients {
            let sent = Jid::parse(recipient).map_err(|e| e.to_string());
            let sent = sent
                .and_then(|to| self.host.route(&vhost, &to, stanza.as_bytes()).map_err(|e| e.to_string()));
            if let Err(error) = sent {
                debug!(self.host, "an announcement to {recipient} was not sent: {error}");
            }
        }
        self.host.count("sent", recipients.len() as u64);
        if let Err(error) = self.host.after(PAUSE, Self::portion) {
            self.queue().sending = false;
            error!(self.host, "announcements wait until the module is started again: {error}");
        }
    }
}
