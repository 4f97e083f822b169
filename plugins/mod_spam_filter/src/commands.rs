//! The commands: lists are shown, and entries come and go, while the server runs. What they say is in the store.

use crate::SpamFilter;
use crate::rules::{Fixed, List, key, store};
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::datetime::{date_time_ms, now_ms};
use moult_plugin_api::serde::Deserialize;
use std::sync::Arc;

#[derive(Deserialize)]
#[serde(crate = "moult_plugin_api::serde")]
struct ListArgs {
    list: String,
}

#[derive(Deserialize)]
#[serde(crate = "moult_plugin_api::serde")]
struct EntryArgs {
    list: String,
    entry: String,
}

#[derive(Deserialize)]
#[serde(crate = "moult_plugin_api::serde")]
struct DomainArgs {
    domain: String,
}

pub fn register(host: &Host) -> Result<(), HostError> {
    let spec =
        |name: &str, doc: &str| CommandSpec::new(name, doc).tag("spam").arg("host", "host", "On which vhost");
    let lists = "\"blocked\", \"allowed\" or \"patterns\"";
    host.command(
        &spec("spam_filter_list", "Shows what commands added to a list of the spam filter")
            .arg("list", "string", lists)
            .result("The entries"),
        SpamFilter::list,
    )?;
    let entry = |name: &str, doc: &str| {
        spec(name, doc).arg("list", "string", lists).arg(
            "entry",
            "string",
            "A bare JID, a domain, the SHA-256 of one, or a regular expression",
        )
    };
    host.command(&entry("spam_filter_add", "Adds an entry to a list of the spam filter"), SpamFilter::add)?;
    host.command(
        &entry("spam_filter_remove", "Removes an entry from a list of the spam filter"),
        SpamFilter::remove,
    )?;
    let domain = |name: &str, doc: &str| spec(name, doc).arg("domain", "string", "The domain");
    host.command(
        &domain("add_blocked_domain", "Blocks a domain by the spam filter"),
        SpamFilter::add_domain,
    )?;
    host.command(
        &domain("remove_blocked_domain", "Takes a domain out of the spam filter's list"),
        SpamFilter::remove_domain,
    )?;
    host.command(
        &spec("get_blocked_domains", "Shows the domains that commands blocked").result("The domains"),
        SpamFilter::domains,
    )?;
    host.command(
        &spec("reload_spam_filter_files", "Reads the files of the spam filter again")
            .result("How many entries they and the options have with those of commands"),
        SpamFilter::reread,
    )?;
    Ok(())
}

impl SpamFilter {
    async fn list(self: Arc<Self>, request: Request<'static>) -> Result<Vec<String>, CommandError> {
        let ListArgs { list } = request.args()?;
        let list = list_of(&list)?;
        let rules = self.rules.get();
        let entries = rules.added.iter().filter(|(of, _)| *of == list).map(|(_, entry)| entry.clone());
        Ok(entries.collect())
    }

    async fn domains(self: Arc<Self>, _: Request<'static>) -> Result<Vec<String>, CommandError> {
        let rules = self.rules.get();
        let is_domain = |entry: &str| !entry.contains('@') && entry.len() != 64;
        let blocked = rules.added.iter().filter(|(list, entry)| *list == List::Blocked && is_domain(entry));
        Ok(blocked.map(|(_, entry)| entry.clone()).collect())
    }

    async fn add(self: Arc<Self>, request: Request<'static>) -> Result<(), CommandError> {
        let EntryArgs { list, entry } = request.args()?;
        self.put(list_of(&list)?, &entry).await
    }

    async fn remove(self: Arc<Self>, request: Request<'static>) -> Result<(), CommandError> {
        let EntryArgs { list, entry } = request.args()?;
        self.take(list_of(&list)?, &entry).await
    }

    async fn add_domain(self: Arc<Self>, request: Request<'static>) -> Result<(), CommandError> {
        let DomainArgs { domain } = request.args()?;
        self.put(List::Blocked, is_domain(&domain)?).await
    }

    async fn remove_domain(self: Arc<Self>, request: Request<'static>) -> Result<(), CommandError> {
        let DomainArgs { domain } = request.args()?;
        self.take(List::Blocked, is_domain(&domain)?).await
    }

    /// The store first: what is acknowledged holds.
    async fn put(&self, list: List, text: &str) -> Result<(), CommandError> {
        let _turn = self.turns.take("").await;
        let entry = list.entry(text);
        let entry = entry
            .ok_or_else(|| CommandError::bad_request(format!("\"{text}\" is no entry of that list.")))?;
        let mut added = self.rules.get().added.clone();
        if added.len() >= self.options.get().max_entries {
            return Err(CommandError::new(409, "The lists are full: remove an entry first."));
        }
        added.insert((list, entry.clone()));
        let rules = self.rules.get().with_added(added).map_err(|why| CommandError::bad_request(why.0))?;
        store(&self.host).set(&key(list, &entry), date_time_ms(now_ms()).as_bytes()).await?;
        Ok(self.take_over(rules)?)
    }

    async fn take(&self, list: List, text: &str) -> Result<(), CommandError> {
        let _turn = self.turns.take("").await;
        let missing =
            || CommandError::not_found(format!("\"{text}\" was not added to that list by a command."));
        let entry = list.entry(text).ok_or_else(missing)?;
        let mut added = self.rules.get().added.clone();
        if !added.remove(&(list, entry.clone())) {
            return Err(missing());
        }
        let rules = self.rules.get().with_added(added).map_err(|why| CommandError::internal(why.0))?;
        store(&self.host).delete(&key(list, &entry)).await?;
        Ok(self.take_over(rules)?)
    }

    async fn reread(self: Arc<Self>, _: Request<'static>) -> Result<usize, CommandError> {
        let _turn = self.turns.take("").await;
        let fixed = Fixed::read(&self.host, &self.options.get());
        let rules = fixed.and_then(|fixed| self.rules.get().with_fixed(fixed));
        let rules = rules.map_err(|why| CommandError::bad_request(format!("Nothing changed: {}.", why.0)))?;
        let count = rules.len();
        self.take_over(rules)?;
        Ok(count)
    }
}

fn list_of(name: &str) -> Result<List, CommandError> {
    let list = List::from_name(name);
    list.ok_or_else(|| CommandError::bad_request("The lists are blocked, allowed and patterns."))
}

fn is_domain(text: &str) -> Result<&str, CommandError> {
    let is_domain = Jid::parse(text).is_ok_and(|jid| jid.localpart().is_none() && jid.is_bare());
    if is_domain { Ok(text) } else { Err(CommandError::bad_request(format!("\"{text}\" is no domain."))) }
}
