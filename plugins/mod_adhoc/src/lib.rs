//! Ad-hoc commands (XEP-0050): every command of the server, for whoever may call it, by a client's menu.
//!
//! The commands are those of the server's one command table, those of modules included: what a JID sees and may run by XMPP
//! is decided there, by the same permission groups as everywhere, and a denial names the rule that is missing. A command
//! without arguments runs at once; for any other the client gets a form made from the declaration. The commands of service
//! administration (XEP-0133) are the same commands under the names and with the forms of that XEP.
//!
//! A form that comes back carries everything, so nothing is kept between the steps and a swap between them is not felt.

mod administration;
mod command;
mod form;
mod show;

use moult_plugin_api::hooks::{Identity, InfoAnswer, Item, ItemsAnswer};
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::hooks::Collecting;
use std::sync::Arc;

/// XEP-0050.
const NS: &str = "http://jabber.org/protocol/commands";

module_options! {
    /// Options of mod_adhoc.
    pub struct Options {
        /// Rows or lines of an answer that are shown.
        max_rows: usize = 500, min 1, max 10000;
    }
}

/// The module on one vhost.
#[derive(Debug)]
pub struct AdHoc {
    host: Host,
    options: Live<Options>,
}

impl Module for AdHoc {
    type Options = Options;
    const RELOADS: bool = true;

    fn start(host: &Host, options: Options) -> Result<Started<Self>, Stop> {
        host.on_iq(IqSpec::new(NS).parallel_n(8), Self::answer)?;
        host.on_disco_items(50, Self::items)?;
        host.on_disco_info(50, Self::info)?;
        Started::running(Self { host: host.clone(), options: Live::new(options) })
    }

    fn on_reload(&self, options: Options, changed: bool) -> Result<Reload, Stop> {
        if changed {
            self.options.set(options);
        }
        Ok(Reload::Done)
    }
}

impl AdHoc {
    /// The list of commands, for the one who asks (XEP-0050 2.1).
    async fn items(self: Arc<Self>, question: Collecting<'static, ItemsAnswer>) -> Collect<ItemsAnswer> {
        if question.node != NS || question.to.localpart().is_some() {
            return Collect::Continue;
        }
        let mut answer = question.answer.clone();
        match self.nodes(&question.from).await {
            Ok(nodes) => answer.items.extend(nodes.into_iter().map(|(node, name)| Item {
                jid: self.host.vhost().to_owned(),
                name,
                node,
            })),
            Err(error) => warn!(self.host.about(&question.from), "the commands cannot be listed: {error}"),
        }
        Collect::With(answer)
    }

    /// What the list and each command is (XEP-0050 2.2).
    async fn info(self: Arc<Self>, question: Collecting<'static, InfoAnswer>) -> Collect<InfoAnswer> {
        if question.node.is_empty() || question.to.localpart().is_some() {
            return Collect::Continue;
        }
        let (kind, name) = if question.node == NS {
            ("command-list", "Commands".to_owned())
        } else {
            let nodes = self.nodes(&question.from).await.unwrap_or_default();
            match nodes.into_iter().find(|(node, _)| *node == question.node) {
                Some((_, name)) => ("command-node", name),
                None => return Collect::Continue,
            }
        };
        let mut answer = question.answer.clone();
        answer.identities.push(Identity { category: "automation".to_owned(), kind: kind.to_owned(), name });
        answer.features.extend([NS, ns::DATA_FORMS].map(str::to_owned));
        Collect::With(answer)
    }

    /// What this JID may call: node and name of each.
    async fn nodes(&self, caller: &Jid<'_>) -> Result<Vec<(String, String)>, HostError> {
        let offered = self.host.commands_for(caller).await?;
        let administration =
            administration::ALL.iter().filter(|task| offered.iter().any(|c| c.name == task.command));
        let mut nodes: Vec<_> = administration.map(|task| (task.node(), task.name.to_owned())).collect();
        nodes.extend(offered.into_iter().map(|command| (command.name, command.summary)));
        Ok(nodes)
    }
}

export_module! {
    module: AdHoc,
    capabilities: ["commands"],
    needs_minor: 1,
    xeps: ["0050" "1.3.0", "0133" "1.3.1" "partial", "0004" "2.13.1"],
}

#[cfg(test)]
mod tests;
