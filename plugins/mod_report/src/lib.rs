//! Reports of spam and abuse (XEP-0377): what people say about those whom they block, kept for administrators.
//!
//! A report comes with a blocking command (XEP-0191). mod_blocking blocks as it would without it, and then hands the
//! report over by the request `report`; without this module reports are ignored, and the feature is not announced. A report
//! that is not as the XEP has it changes nothing of the blocking and is not kept. Reports go nowhere: neither to the
//! reported server nor to third parties, whatever their authors agree to; what they agreed to is kept with them.
//!
//! As many are kept as the options say, the oldest goes first; an account may send so many in an hour. They are removed with
//! the account that wrote them. Administrators named in the option `notify` get a message for each.

mod commands;
mod report;

use moult_plugin_api::hooks::AccountArgs;
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::datetime::now_ms;
use moult_plugin_api::sdk::hooks::Notice;
use moult_plugin_api::sdk::store::{Archive, Query};
use moult_plugin_api::serde_json::{self, Value, json};
use report::{Report, Reported};
use std::sync::{Arc, Mutex, PoisonError};

/// XEP-0377.
const NS: &str = "urn:xmpp:reporting:1";
/// The one key of the archive.
const ALL: &str = "reports";
const HOUR_MS: i64 = 3_600_000;
/// Items removed at once.
const PAGE: usize = 100;

module_options! {
    /// Options of mod_report.
    pub struct Options {
        /// Reports that are kept.
        max_reports: u64 = 10000, min 1, max 1000000;
        /// Reports of one account in an hour; more are not kept.
        per_hour: u64 = 20, min 1, max 10000;
        /// The longest text of a report, in characters; of a longer one the beginning is kept.
        text_length: usize = 1000, min 0, max 10000;
        /// Who gets a message for each report: JIDs.
        notify: Vec<String> = [], max 20;
    }
}

/// The module on one vhost.
#[derive(Debug)]
pub struct Reports {
    host: Host,
    options: Live<Settings>,
    /// Held while one report is kept, so that two do not pass a limit together.
    keeping: Mutex<()>,
}

/// The options, read.
#[derive(Debug)]
struct Settings {
    options: Options,
    notify: Vec<Jid<'static>>,
}

impl Settings {
    fn read(options: Options) -> Result<Self, Stop> {
        let parse = |text: &String| {
            Jid::parse(text).map_err(|error| Stop::new(format!("\"{text}\" in notify is no JID: {error}")))
        };
        let notify = options.notify.iter().map(parse).collect::<Result<_, _>>()?;
        Ok(Self { options, notify })
    }
}

impl Module for Reports {
    type Options = Options;
    const RELOADS: bool = true;

    fn start(host: &Host, options: Options) -> Result<Started<Self>, Stop> {
        host.feature(NS, Target::Server)?;
        host.on_user_removed(50, Self::removed)?;
        commands::register(host)?;
        let options = Live::new(Settings::read(options)?);
        Started::running(Self { host: host.clone(), options, keeping: Mutex::default() })
    }

    fn on_reload(&self, options: Options, changed: bool) -> Result<Reload, Stop> {
        if changed {
            self.options.set(Settings::read(options)?);
        }
        Ok(Reload::Done)
    }

    /// `report` with `reporter`, `jid` and the element; answers whether it was kept.
    fn on_request(&self, request: &Request<'_>) -> Result<Value, CommandError> {
        if request.method != "report" {
            return Err(CommandError::not_found(format!(
                "mod_report answers no request '{}'",
                request.method
            )));
        }
        let reported: Reported = request.args()?;
        let limit = self.options.get().options.text_length;
        let Some(report) = Report::read(&reported, limit) else {
            self.host.count("malformed", 1);
            return Ok(json!({"kept": false}));
        };
        let kept = self.keep(&report)?;
        if kept {
            self.notify(&report);
        }
        Ok(json!({ "kept": kept }))
    }
}

impl Reports {
    fn archive(&self) -> Archive {
        self.host.archive("reports")
    }

    /// A request is answered in a thread of the modules, which may wait for the store.
    fn keep(&self, report: &Report) -> Result<bool, CommandError> {
        let _one_at_a_time = self.keeping.lock().unwrap_or_else(PoisonError::into_inner);
        let (options, now) = (self.options.get(), now_ms());
        let count = |query: Query| -> Result<u64, HostError> {
            let query = Query { limit: Some(0), ..query };
            Ok(self.archive().query(ALL, &query).wait()?.count.unwrap_or(0))
        };
        let lately =
            Query { with: report.reporter.clone(), start_ms: Some(now - HOUR_MS), ..Query::default() };
        if count(lately)? >= options.options.per_hour {
            info!(self.host, "{} reports too much; a report was not kept", report.reporter);
            self.host.count("too_many", 1);
            return Ok(false);
        }
        let room = options.options.max_reports;
        let surplus = (count(Query::default())? + 1).saturating_sub(room);
        if surplus > 0 {
            let limit = usize::try_from(surplus).unwrap_or(PAGE).min(PAGE);
            let oldest = Query { limit: Some(limit), ..Query::default() };
            let oldest = self.archive().query(ALL, &oldest).wait()?;
            let ids: Vec<String> = oldest.items.into_iter().map(|item| item.id).collect();
            self.archive().remove(ALL, &ids).wait()?;
        }
        self.archive().append(ALL, &report.reporter, now, &serde_json::to_vec(report)?).wait()?;
        self.host.count("kept", 1);
        Ok(true)
    }

    fn notify(&self, report: &Report) {
        let vhost = Jid::parse(self.host.vhost()).expect("a vhost is a domain");
        for admin in &self.options.get().notify {
            let body = Element::new("body").with_text(report.to_string());
            let message = Element::new("message").with_attr("type", "headline");
            let subject = Element::new("subject").with_text(format!("{} was reported", report.jid));
            let message = message.with_child(subject).with_child(body);
            if let Err(error) = self.host.route_element(&vhost, admin, &message) {
                warn!(self.host.about(admin), "an administrator was not told of a report: {error}");
            }
        }
    }

    async fn removed(self: Arc<Self>, account: Notice<'static, AccountArgs>) {
        if let Err(error) = self.forget(account.jid.as_str()).await {
            error!(self.host.about(&account.jid), "the reports of a removed account stay: {error}");
        }
    }

    async fn forget(&self, reporter: &str) -> Result<(), HostError> {
        loop {
            let query = Query { with: reporter.to_owned(), limit: Some(PAGE), ..Query::default() };
            let page = self.archive().query(ALL, &query).await?;
            let ids: Vec<String> = page.items.iter().map(|item| item.id.clone()).collect();
            self.archive().remove(ALL, &ids).await?;
            if page.complete || ids.is_empty() {
                return Ok(());
            }
        }
    }
}

export_module! {
    module: Reports,
    needs_minor: 1,
    xeps: ["0377" "0.4.1"],
}

#[cfg(test)]
mod tests;
