//! Service administration (XEP-0133): the names and forms of that XEP for commands of the table.

use crate::form::{Submitted, empty, field, value};
use moult_plugin_api::prelude::*;
use moult_plugin_api::serde_json::{Map, Value};

const PREFIX: &str = "http://jabber.org/protocol/admin#";

/// What a form asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asks {
    /// Nothing but to be sent.
    Nothing,
    /// One account.
    Account,
    /// Several accounts, for each of which the command is run.
    Accounts,
    /// One account and a password, twice.
    AccountAndPasswordTwice,
    /// One account and a password.
    AccountAndPassword,
    /// A text of several lines.
    Announcement,
}

/// A task of XEP-0133 and the command that does it.
#[derive(Debug)]
pub struct Task {
    id: &'static str,
    pub name: &'static str,
    pub command: &'static str,
    asks: Asks,
    /// Further arguments of the command.
    fixed: &'static [(&'static str, &'static str)],
}

const fn task(id: &'static str, name: &'static str, command: &'static str, asks: Asks) -> Task {
    Task { id, name, command, asks, fixed: &[] }
}

/// In the order of the XEP.
pub const ALL: &[Task] = &[
    task("add-user", "Add User", "register", Asks::AccountAndPasswordTwice),
    task("delete-user", "Delete User", "unregister", Asks::Accounts),
    task("end-user-session", "End User Session", "kick_user", Asks::Accounts),
    task("change-user-password", "Change User Password", "change_password", Asks::AccountAndPassword),
    task("get-user-lastlogin", "Get User Last Login Time", "get_last", Asks::Account),
    task("user-stats", "Get User Statistics", "user_sessions_info", Asks::Account),
    Task {
        fixed: &[("name", "registeredusers")],
        ..task("get-registered-users-num", "Get Number of Registered Users", "stats_host", Asks::Nothing)
    },
    Task {
        fixed: &[("name", "onlineusers")],
        ..task("get-online-users-num", "Get Number of Online Users", "stats_host", Asks::Nothing)
    },
    task("get-registered-users-list", "Get List of Registered Users", "registered_users", Asks::Nothing),
    task("get-online-users-list", "Get List of Online Users", "connected_users", Asks::Nothing),
    task("announce", "Send Announcement to Online Users", "announce_send_online", Asks::Announcement),
    task("set-motd", "Set Message of the Day", "announce_motd_set_online", Asks::Announcement),
    task("edit-motd", "Edit Message of the Day", "announce_motd_update", Asks::Announcement),
    task("delete-motd", "Delete Message of the Day", "announce_motd_delete", Asks::Nothing),
];

/// The task of a node.
pub fn find(node: &str) -> Option<&'static Task> {
    let id = node.strip_prefix(PREFIX)?;
    ALL.iter().find(|task| task.id == id)
}

impl Task {
    pub fn node(&self) -> String {
        format!("{PREFIX}{}", self.id)
    }

    pub fn form(&self) -> Element {
        let required = |field: Element| field.with_child(Element::new("required"));
        let account = || required(field("accountjid", "jid-single", "The Jabber ID of the account"));
        let password = |name: &str, label: &str| required(field(name, "text-private", label));
        let fields = match self.asks {
            Asks::Nothing => vec![],
            Asks::Account => vec![account()],
            Asks::Accounts => {
                vec![required(field("accountjids", "jid-multi", "The Jabber IDs of the accounts"))]
            }
            Asks::AccountAndPassword => vec![account(), password("password", "The password")],
            Asks::AccountAndPasswordTwice => vec![
                account(),
                password("password", "The password"),
                password("password-verify", "The password once more"),
            ],
            Asks::Announcement => vec![
                field("subject", "text-single", "The subject"),
                required(field("announcement", "text-multi", "The text")),
            ],
        };
        let form_type = Element::new("field").with_attr("var", "FORM_TYPE").with_attr("type", "hidden");
        empty(self.name, "Fill in this form.")
            .with_child(form_type.with_child(value("http://jabber.org/protocol/admin")))
            .with_children(fields)
    }

    /// The arguments of the command, once for each account.
    pub fn arguments(&self, form: &Submitted, vhost: &str) -> Result<Vec<Map<String, Value>>, StanzaError> {
        let mut sets = match self.asks {
            Asks::Nothing => vec![of_host(vhost)],
            Asks::Account => vec![of_account(form.one("accountjid"))?],
            Asks::Accounts => accounts(form)?,
            Asks::AccountAndPassword => vec![with_password(form, self.command)?],
            Asks::AccountAndPasswordTwice => {
                if form.one("password") != form.one("password-verify") {
                    return Err(StanzaError::bad_request("the two passwords differ"));
                }
                vec![with_password(form, self.command)?]
            }
            Asks::Announcement => {
                let mut args = of_host(vhost);
                let subject = form.one("subject").unwrap_or_default();
                args.insert("subject".to_owned(), Value::from(subject));
                args.insert("body".to_owned(), Value::from(form.all("announcement").join("\n")));
                vec![args]
            }
        };
        for args in &mut sets {
            args.extend(self.fixed.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))));
        }
        Ok(sets)
    }
}

fn of_host(vhost: &str) -> Map<String, Value> {
    Map::from_iter([("host".to_owned(), Value::from(vhost))])
}

fn of_account(jid: Option<&str>) -> Result<Map<String, Value>, StanzaError> {
    let jid = Jid::parse(jid.unwrap_or_default().trim());
    let jid = jid.map_err(|error| StanzaError::bad_request(format!("the account is no JID: {error}")))?;
    let user =
        jid.localpart().ok_or_else(|| StanzaError::bad_request("an account has a name before the @"))?;
    let mut args = of_host(jid.domain());
    args.insert("user".to_owned(), Value::from(user));
    Ok(args)
}

fn accounts(form: &Submitted) -> Result<Vec<Map<String, Value>>, StanzaError> {
    let all: Result<Vec<_>, _> = form.all("accountjids").iter().map(|jid| of_account(Some(jid))).collect();
    let all = all?;
    if all.is_empty() { Err(StanzaError::bad_request("no account is named")) } else { Ok(all) }
}

/// `register` calls it the password, `change_password` the new one.
fn with_password(form: &Submitted, command: &str) -> Result<Map<String, Value>, StanzaError> {
    let mut args = of_account(form.one("accountjid"))?;
    let name = if command == "change_password" { "newpass" } else { "password" };
    args.insert(name.to_owned(), Value::from(form.one("password").unwrap_or_default()));
    Ok(args)
}
