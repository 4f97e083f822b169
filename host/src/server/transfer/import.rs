//! Accounts into the server, one after the other.
//!
//! An account is made when all of its data are stored, so that nobody logs in before; what modules hold of it is forgotten
//! when that fails, and before it begins, because a server may have died in between. An account that is there already is
//! left as it is.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use moult_plugin_api::hooks::{ImportAnswer, ImportArgs};
use tokio::sync::mpsc;

use super::credentials::{self, Secrets};
use super::document::{self, Piece};
use super::{PIE_SCRAM, Report};
use crate::plugin::call::Modules;
use crate::plugin::hook::HookPoint;
use crate::server::account_life::AccountLife;
use crate::server::shared::Shared;
use crate::stanza::Jid;
use crate::xml::{Element, Limits};

/// Pieces that wait between the reader and the modules.
const WAITING: usize = 4;
/// Of one piece.
const LIMITS: Limits =
    Limits { stanza_bytes: 8 << 20, depth: 256, attributes: 1024, token_bytes: 4 << 20, declarations: 256 };

/// Takes the accounts of a file over. An error ends it: what was taken over before is told in the report.
pub(in crate::server) async fn import(shared: &Arc<Shared>, file: PathBuf) -> (Report, Result<(), String>) {
    let (sender, mut pieces) = mpsc::channel(WAITING);
    let reading = tokio::task::spawn_blocking(move || {
        document::read(&file, &mut |piece| sender.blocking_send(piece).is_ok())
    });
    let mut import = Import::of(shared);
    while let Some(piece) = pieces.recv().await {
        import.take(piece).await;
    }
    let read = reading.await.unwrap_or_else(|error| Err(format!("reading failed: {error}")));
    if let Some(user) = import.user.take() {
        import.give_up(user, "the file ends before its data do").await;
    }
    (import.report, read)
}

struct Import {
    shared: Arc<Shared>,
    modules: Modules,
    host: String,
    user: Option<User>,
    report: Report,
}

/// The account under way.
struct User {
    account: Jid,
    secrets: Secrets,
    /// Elements that nobody takes, each told once.
    strange: HashSet<String>,
    /// Why it is not taken over; its data are not looked at any more.
    failed: Option<String>,
    /// Its data are none of ours to forget.
    is_anothers: bool,
}

impl Import {
    fn of(shared: &Arc<Shared>) -> Self {
        let modules = shared.manager.modules();
        Self {
            shared: Arc::clone(shared),
            modules,
            host: String::new(),
            user: None,
            report: Report::default(),
        }
    }

    async fn take(&mut self, piece: Piece) {
        match piece {
            Piece::Host(host) => {
                if !self.shared.has_vhost(&host) {
                    self.report
                        .note(format!("{host} is no vhost of this server: its accounts are left out."));
                }
                self.host = host;
            }
            Piece::User { name, password } => self.user = self.begin(&name, password).await,
            Piece::Child(xml) => {
                if let Some(mut user) = self.user.take() {
                    if user.failed.is_none() {
                        self.child(&mut user, &xml).await;
                    }
                    self.user = Some(user);
                }
            }
            Piece::EndOfUser => {
                if let Some(user) = self.user.take() {
                    self.end(user).await;
                }
            }
            Piece::Foreign(what) => self.report.note(format!("{what} is not understood and left out.")),
        }
    }

    async fn begin(&mut self, name: &str, password: Option<String>) -> Option<User> {
        let host = self.host.clone();
        if !self.shared.has_vhost(&host) {
            self.report.failed += 1;
            return None;
        }
        let account = match Jid::from_parts(Some(name), &host, None) {
            Ok(account) => account,
            Err(error) => {
                self.report.failed += 1;
                self.report.note(format!("{name}@{host} cannot be an account: {error}."));
                return None;
            }
        };
        let secrets = credentials::of_password(password);
        let mut user = User { account, secrets, strange: HashSet::new(), failed: None, is_anothers: false };
        match AccountLife::of(&self.shared).exists(&user.account).await {
            Ok(false) => self.forget(&user.account).await,
            Ok(true) => {
                user.is_anothers = true;
                user.failed = Some("it is there already, and stays as it is".into());
            }
            Err(error) => {
                user.is_anothers = true;
                user.failed = Some(error.to_string());
            }
        }
        Some(user)
    }

    async fn child(&mut self, user: &mut User, xml: &str) {
        let element = match Element::parse(xml, &LIMITS) {
            Ok(element) => element,
            Err(error) => {
                user.failed = Some(format!("its data cannot be read: {error}"));
                return;
            }
        };
        if element.is("scram-credentials", PIE_SCRAM) {
            match credentials::read(&element) {
                Ok(secrets) => user.secrets.add(secrets),
                Err(why) => self.report.note(format!("{}: {why}.", user.account)),
            }
            return;
        }
        match self.offer(&user.account, &element).await {
            Ok(Some(answer)) if !answer.failed.is_empty() => user.failed = Some(answer.failed),
            Ok(Some(answer)) => {
                for line in answer.left_out {
                    self.report.note(format!("{}: {line}.", user.account));
                }
            }
            Ok(None) => {
                let what = format!("<{}/> of «{}»", element.name(), element.namespace());
                if user.strange.insert(what.clone()) {
                    self.report.note(format!("{}: {what} was left out: no module keeps it.", user.account));
                }
            }
            Err(why) => user.failed = Some(why),
        }
    }

    /// Asks one module after the other; `None` when nobody takes it.
    async fn offer(&self, account: &Jid, element: &Element) -> Result<Option<ImportAnswer>, String> {
        let point = HookPoint::ImportUser;
        let (args, body) = (args(false), element.to_xml());
        for function in self.modules.hook_functions(point, account.domain()) {
            let answer = self.modules.hook_single(point, &function, account, &args, body.as_bytes()).await?;
            if answer.stopped {
                let read = serde_json::from_slice(&answer.body);
                return read.map(Some).map_err(|error| format!("{}: {error}", function.owner()));
            }
        }
        Ok(None)
    }

    async fn end(&mut self, mut user: User) {
        if let Some(why) = user.failed.take() {
            return self.give_up(user, &why).await;
        }
        let life = AccountLife::of(&self.shared);
        let made = match (user.secrets.password.take(), std::mem::take(&mut user.secrets.scram)) {
            (Some(password), _) => life.create(&user.account, &password).await,
            (None, scram) if !scram.is_empty() => life.adopt(&user.account, scram).await,
            (None, _) => {
                self.report.note(format!(
                    "{}: it has no password that can be used, and gets one that nobody knows: change_password gives it another.",
                    user.account
                ));
                life.create(&user.account, &credentials::nobodys()).await
            }
        };
        match made {
            Ok(()) => self.report.done += 1,
            Err(error) => self.give_up(user, &error.to_string()).await,
        }
    }

    async fn give_up(&mut self, user: User, why: &str) {
        self.report.failed += 1;
        self.report.note(format!("{} was not taken over: {}.", user.account, why.trim_end_matches('.')));
        if !user.is_anothers {
            self.forget(&user.account).await;
        }
    }

    /// Whatever modules hold of an account that does not exist.
    async fn forget(&mut self, account: &Jid) {
        let point = HookPoint::ImportUser;
        for function in self.modules.hook_functions(point, account.domain()) {
            if let Err(why) = self.modules.hook_single(point, &function, account, &args(true), b"").await {
                self.report.note(format!("{account}: what is left of its data stays: {why}."));
            }
        }
    }
}

fn args(forget: bool) -> String {
    serde_json::to_string(&ImportArgs { forget }).unwrap_or_default()
}
