//! Last activity (XEP-0012): how long ago somebody was there, and how long the server has been up.
//!
//! The moment is stored when an account's session ends or says it is unavailable. Only the owner and those who may see the
//! owner's presence learn it (XEP-0012, security considerations); everybody else is refused, as the XEP wants. Somebody who
//! is there was there zero seconds ago. What is stored of an account goes with the account.

use moult_plugin_api::hooks::{AccountArgs, PresenceChanged, SessionClosed};
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::datetime::now_ms;
use moult_plugin_api::sdk::hooks::Notice;
use moult_plugin_api::sdk::store::KeyVal;
use moult_plugin_api::serde::{Deserialize, Serialize};
use moult_plugin_api::serde_json::{Value, json};
use std::sync::Arc;

/// XEP-0012.
const NS: &str = "jabber:iq:last";
/// The longest status that is kept, in characters.
const MAX_STATUS: usize = 1000;

/// The module on one vhost.
#[derive(Debug)]
pub struct Last {
    host: Host,
}

/// When an account was last there, in seconds since 1970, and what it said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(crate = "moult_plugin_api::serde", default)]
struct Seen {
    at: i64,
    status: String,
}

#[derive(Deserialize)]
#[serde(crate = "moult_plugin_api::serde")]
struct Wanted {
    user: String,
    host: String,
    #[serde(default)]
    timestamp: i64,
    #[serde(default)]
    status: String,
}

impl Module for Last {
    type Options = ();

    fn start(host: &Host, (): ()) -> Result<Started<Self>, Stop> {
        host.on_iq(IqSpec::new(NS).parallel_n(4), Self::of_server)?;
        host.on_iq(IqSpec::new(NS).on_accounts().parallel_n(16), Self::of_account)?;
        host.on_presence_changed(50, Self::presence)?;
        host.on_session_closed(50, Self::closed)?;
        host.on_user_removed(50, Self::removed)?;
        let get = CommandSpec::new("get_last", "Tells when a user was last there")
            .arg("user", "user", "Who")
            .arg("host", "host", "On which vhost");
        host.command(&get.result("Time in seconds since 1970 and status").tag("last"), Self::command_get)?;
        let set = CommandSpec::new("set_last", "Sets when a user was last there")
            .arg("user", "user", "Who")
            .arg("host", "host", "On which vhost")
            .arg("timestamp", "integer", "Seconds since 1970")
            .arg("status", "string", "What the user said");
        host.command(&set.tag("last"), Self::command_set)?;
        Started::running(Self { host: host.clone() })
    }
}

impl Last {
    fn store(&self) -> KeyVal {
        self.host.keyval("last")
    }

    async fn of_server(self: Arc<Self>, iq: Iq<'static>) -> Result<Element, StanzaError> {
        iq.require_get()?;
        let uptime = self.host.run_command("stats", &json!({"name": "uptimeseconds"})).await?;
        Ok(seconds_ago(uptime.as_i64().unwrap_or_default()))
    }

    async fn of_account(self: Arc<Self>, iq: Iq<'static>) -> Result<Element, StanzaError> {
        iq.require_get()?;
        let (asker, owner) = (iq.from().bare(), iq.to().bare());
        if asker != owner && !self.may_see(&asker, &owner).await {
            return Err(StanzaError::forbidden("only who sees the presence learns the last activity"));
        }
        if self.host.sessions_of(&owner).await?.iter().any(|session| session.available) {
            return Ok(seconds_ago(0));
        }
        let seen: Option<Seen> = self.store().get_json(owner.as_str()).await?;
        let seen = seen.ok_or_else(|| StanzaError::item_not_found("nobody has been there yet"))?;
        let answer = seconds_ago((now_ms() / 1000 - seen.at).max(0));
        Ok(if seen.status.is_empty() { answer } else { answer.with_text(seen.status) })
    }

    async fn may_see(&self, asker: &Jid<'_>, owner: &Jid<'_>) -> bool {
        let contacts = self.host.contacts_of(owner).await.unwrap_or_default();
        contacts.iter().any(|contact| *asker == contact.jid.as_str() && contact.subscription.has_from())
    }

    async fn presence(self: Arc<Self>, presence: Notice<'static, PresenceChanged>) {
        if !presence.what.available && presence.what.was_available {
            self.note(&presence.jid).await;
        }
    }

    async fn closed(self: Arc<Self>, session: Notice<'static, SessionClosed>) {
        self.note(&session.jid).await;
    }

    /// An account that was removed ends its sessions as well: nothing is stored for it any more.
    async fn note(&self, jid: &Jid<'_>) {
        if !self.host.account_exists(jid).await.unwrap_or(true) {
            return;
        }
        let seen = Seen { at: now_ms() / 1000, status: String::new() };
        if let Err(error) = self.store().set_json(jid.bare().as_str(), &seen).await {
            warn!(self.host.about(jid), "the last activity was not stored: {error}");
        }
    }

    async fn removed(self: Arc<Self>, account: Notice<'static, AccountArgs>) {
        if let Err(error) = self.store().delete(account.jid.as_str()).await {
            error!(self.host.about(&account.jid), "the last activity of a removed account stays: {error}");
        }
    }

    async fn command_get(self: Arc<Self>, request: Request<'static>) -> Result<Value, CommandError> {
        let account = self.account(&request.args()?).await?;
        if self.host.sessions_of(&account).await?.iter().any(|session| session.available) {
            return Ok(json!({"timestamp": now_ms() / 1000, "status": "ONLINE"}));
        }
        let seen: Option<Seen> = self.store().get_json(account.as_str()).await?;
        let seen = seen.ok_or_else(|| CommandError::not_found(format!("{account} has never been there.")))?;
        Ok(json!({"timestamp": seen.at, "status": seen.status}))
    }

    async fn command_set(self: Arc<Self>, request: Request<'static>) -> Result<(), CommandError> {
        let wanted: Wanted = request.args()?;
        let account = self.account(&wanted).await?;
        if wanted.timestamp < 0 {
            return Err(CommandError::bad_request("A time before 1970 cannot be set."));
        }
        let status = wanted.status.chars().take(MAX_STATUS).collect();
        Ok(self.store().set_json(account.as_str(), &Seen { at: wanted.timestamp, status }).await?)
    }

    async fn account(&self, wanted: &Wanted) -> Result<Jid<'static>, CommandError> {
        let account = Jid::parse(&format!("{}@{}", wanted.user, wanted.host))
            .map_err(|error| CommandError::bad_request(format!("This is no account: {error}.")))?;
        if self.host.account_exists(&account).await? {
            Ok(account)
        } else {
            Err(CommandError::not_found(format!("There is no account {account}.")))
        }
    }
}

fn seconds_ago(seconds: i64) -> Element {
    Element::new("query").with_ns(NS).with_attr("seconds", seconds.to_string())
}

export_module! {
    module: Last,
    capabilities: ["commands"],
    needs_minor: 1,
    xeps: ["0012" "2.0"],
}

#[cfg(test)]
mod tests {
    use super::*;
    use moult_plugin_api::hooks::name;
    use moult_plugin_api::testing::{FakeHost, Instance, IqResult};

    const ALICE: &str = "alice@example.org/x";
    const BOB: &str = "bob@example.org/x";

    fn server() -> (FakeHost, Instance) {
        let host = FakeHost::new("example.org");
        host.add_account("alice@example.org", "secret");
        host.grant("commands");
        host.answer_commands(|_, _| Ok(json!(3600)));
        let module = host.start::<Last>("{}");
        (host, module)
    }

    fn ask(module: &Instance, from: &str, to: &str) -> IqResult {
        module.iq_get(from, to, &format!("<query xmlns='{NS}'/>"))
    }

    fn seconds(result: IqResult) -> i64 {
        result.unwrap().unwrap().attr_s("seconds").parse().unwrap()
    }

    fn left(module: &Instance) {
        module.hook(
            name::PRESENCE_CHANGED,
            ALICE,
            "",
            &json!({"available": false, "was_available": true}),
            "",
        );
    }

    #[test]
    fn an_owner_learns_when_the_last_client_left() {
        let (host, module) = server();
        assert_eq!(ask(&module, ALICE, "alice@example.org").unwrap_err().condition, Condition::ItemNotFound);
        left(&module);
        assert!(seconds(ask(&module, ALICE, "alice@example.org")) < 60);
        host.store("last", "alice@example.org", br#"{"at": 1000000000}"#);
        assert!(seconds(ask(&module, ALICE, "alice@example.org")) > 700_000_000);
        host.add_session(ALICE, 0);
        assert_eq!(seconds(ask(&module, ALICE, "alice@example.org")), 0);
    }

    #[test]
    fn who_does_not_see_the_presence_is_refused() {
        let (host, module) = server();
        left(&module);
        for subscription in [Subscription::None, Subscription::To] {
            host.set_contacts("alice@example.org", &[("bob@example.org", subscription)]);
            assert_eq!(ask(&module, BOB, "alice@example.org").unwrap_err().condition, Condition::Forbidden);
        }
        host.set_contacts("alice@example.org", &[("bob@example.org", Subscription::From)]);
        assert!(ask(&module, BOB, "alice@example.org").is_ok());
        assert_eq!(
            ask(&module, "eve@elsewhere/x", "alice@example.org").unwrap_err().condition,
            Condition::Forbidden
        );
    }

    #[test]
    fn the_server_tells_how_long_it_has_been_up() {
        let (_host, module) = server();
        assert_eq!(seconds(ask(&module, ALICE, "example.org")), 3600);
        let set = module.iq_set(ALICE, "example.org", &format!("<query xmlns='{NS}'/>"));
        assert_eq!(set.unwrap_err().condition, Condition::NotAllowed);
        let set = module.iq_set(ALICE, "alice@example.org", &format!("<query xmlns='{NS}'/>"));
        assert_eq!(set.unwrap_err().condition, Condition::NotAllowed);
    }

    #[test]
    fn a_session_that_never_was_available_counts_too_and_goes_with_the_account() {
        let (host, module) = server();
        module.hook(name::SESSION_CLOSED, ALICE, "", &json!({}), "");
        assert!(host.stored("last", "alice@example.org").is_some());
        let again = host.start_swap::<Last>("{}");
        assert!(module.stop(StopReason::Swap).is_clean());
        assert!(ask(&again, ALICE, "alice@example.org").is_ok());
        again.hook(name::USER_REMOVED, "alice@example.org", "", &json!({}), "");
        assert_eq!(host.stored("last", "alice@example.org"), None);
        again.hook(name::SESSION_CLOSED, "removed@example.org/x", "", &json!({}), "");
        assert_eq!(host.stored("last", "removed@example.org"), None);
    }

    #[test]
    fn an_administrator_reads_and_sets_it() {
        let (host, module) = server();
        let alice = json!({"user": "alice", "host": "example.org"});
        assert_eq!(module.command("get_last", &alice).unwrap_err().code, 404);
        let set = |timestamp: i64, user: &str| {
            let args = json!({"user": user, "host": "example.org", "timestamp": timestamp, "status": "gone fishing"});
            module.command("set_last", &args)
        };
        assert!(set(1_000_000_000, "alice").is_ok());
        let seen = module.command("get_last", &alice).unwrap();
        assert_eq!(seen, json!({"timestamp": 1_000_000_000, "status": "gone fishing"}));
        assert_eq!(ask(&module, ALICE, "alice@example.org").unwrap().unwrap().text(), "gone fishing");
        assert_eq!(set(-1, "alice").unwrap_err().code, 400);
        assert_eq!(set(1, "nobody").unwrap_err().code, 404);
        host.add_session(ALICE, 0);
        assert_eq!(module.command("get_last", &alice).unwrap()["status"], "ONLINE");
    }
}
