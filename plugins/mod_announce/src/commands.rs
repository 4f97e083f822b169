//! The commands, and the addresses that stand for them.

use crate::Announce;
use crate::motd::{self, Motd, stanza};
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::digest::random_token;
use moult_plugin_api::serde::Deserialize;
use moult_plugin_api::serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

const SEND_ALL: &str = "announce_send_all";
const SEND_ONLINE: &str = "announce_send_online";
const MOTD_SET: &str = "announce_motd_set_online";
const MOTD_UPDATE: &str = "announce_motd_update";
pub const MOTD_DELETE: &str = "announce_motd_delete";

/// Sessions asked for at once.
const PAGE: usize = 1000;

#[derive(Deserialize)]
#[serde(crate = "moult_plugin_api::serde")]
struct Text {
    #[serde(default)]
    subject: String,
    body: String,
}

/// The command that a resource of the vhost stands for.
pub fn of_address(resource: &str) -> Option<&'static str> {
    match resource.strip_prefix("announce/")? {
        "all" => Some(SEND_ALL),
        "online" => Some(SEND_ONLINE),
        "motd" => Some(MOTD_SET),
        "motd/update" => Some(MOTD_UPDATE),
        "motd/delete" => Some(MOTD_DELETE),
        _ => None,
    }
}

pub fn register(host: &Host) -> Result<(), HostError> {
    let announcement = |name: &str, doc: &str| {
        CommandSpec::new(name, doc)
            .tag("announce")
            .arg("host", "host", "On which vhost")
            .arg("subject", "string", "The subject; may be empty")
            .arg("body", "string", "The text")
            .result("How many are to get it")
    };
    host.command(&announcement(SEND_ALL, "Sends an announcement to all accounts"), Announce::send_all)?;
    host.command(&announcement(SEND_ONLINE, "Sends an announcement to all sessions"), Announce::send_online)?;
    let set = announcement(MOTD_SET, "Sets the message of the day and sends it to all sessions");
    host.command(&set, Announce::motd_set)?;
    let update = announcement(MOTD_UPDATE, "Sets the message of the day for those who log in from now on");
    host.command(&update, Announce::motd_update)?;
    let delete = CommandSpec::new(MOTD_DELETE, "Removes the message of the day").tag("announce");
    host.command(&delete.arg("host", "host", "On which vhost"), Announce::motd_delete)?;
    Ok(())
}

impl Announce {
    async fn send_all(self: Arc<Self>, request: Request<'static>) -> Result<usize, CommandError> {
        let text = self.text(&request)?;
        let users = self.host.run_command("registered_users", &json!({"host": self.host.vhost()})).await?;
        let users = users.as_array().into_iter().flatten().filter_map(Value::as_str);
        let recipients = users.map(|user| format!("{user}@{}", self.host.vhost())).collect();
        self.send(&stanza("normal", &text.subject, &text.body), recipients)
    }

    async fn send_online(self: Arc<Self>, request: Request<'static>) -> Result<usize, CommandError> {
        let text = self.text(&request)?;
        let sessions = self.sessions().await?;
        self.send(&stanza("headline", &text.subject, &text.body), sessions)
    }

    async fn motd_set(self: Arc<Self>, request: Request<'static>) -> Result<usize, CommandError> {
        let motd = self.motd_of(&request)?;
        self.set_motd(Some(motd.clone())).await?;
        let sessions = self.sessions().await?;
        let accounts: BTreeSet<&str> =
            sessions.iter().map(|jid| jid.split_once('/').map_or(jid.as_str(), |(bare, _)| bare)).collect();
        for account in accounts {
            motd::seen(&self.host).set(account, motd.id.as_bytes()).await?;
        }
        self.send(&stanza("headline", &motd.subject, &motd.body), sessions)
    }

    async fn motd_update(self: Arc<Self>, request: Request<'static>) -> Result<usize, CommandError> {
        let motd = self.motd_of(&request)?;
        self.set_motd(Some(motd)).await?;
        Ok(0)
    }

    async fn motd_delete(self: Arc<Self>, _: Request<'static>) -> Result<(), CommandError> {
        Ok(self.set_motd(None).await?)
    }

    fn motd_of(&self, request: &Request<'_>) -> Result<Motd, CommandError> {
        let Text { subject, body } = self.text(request)?;
        let id =
            random_token(12).map_err(|error| CommandError::internal(format!("No random bytes: {error}.")))?;
        Ok(Motd { id, subject, body })
    }

    fn text(&self, request: &Request<'_>) -> Result<Text, CommandError> {
        let text: Text = request.args()?;
        if text.body.trim().is_empty() {
            return Err(CommandError::bad_request("An announcement needs a text."));
        }
        if text.body.chars().count() + text.subject.chars().count() > self.options.get().max_length {
            let text = format!("An announcement has {} characters at most.", self.options.get().max_length);
            return Err(CommandError::bad_request(text));
        }
        Ok(text)
    }

    async fn sessions(&self) -> Result<Vec<String>, HostError> {
        let mut all: Vec<String> = Vec::new();
        loop {
            let after = all.last().cloned().unwrap_or_default();
            let page = self.host.sessions(&after, PAGE).await?;
            let is_last = page.len() < PAGE;
            all.extend(page);
            if is_last {
                return Ok(all);
            }
        }
    }
}
