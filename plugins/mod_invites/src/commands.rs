//! The commands, by ejabberd's names, and the making of invitations.

use crate::Invites;
use crate::invite::{Invite, Kind, new_token};
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::datetime::{date_time_ms, now_ms};
use moult_plugin_api::serde::{Deserialize, Serialize};
use moult_plugin_api::serde_json::{Value, json};
use std::sync::Arc;

#[derive(Deserialize)]
#[serde(crate = "moult_plugin_api::serde")]
struct UserArgs {
    username: String,
}

/// An invitation as it is listed.
#[derive(Serialize)]
#[serde(crate = "moult_plugin_api::serde")]
struct Row {
    token: String,
    valid: bool,
    created_at: String,
    expires: String,
    r#type: Kind,
    inviter: String,
    invitee: String,
    account_name: String,
    token_uri: String,
    landing_page: String,
}

pub fn register(host: &Host) -> Result<(), HostError> {
    let spec = |name: &str, doc: &str| CommandSpec::new(name, doc).tag("invites");
    let on = |spec: CommandSpec| spec.arg("host", "host", "On which vhost");
    let generate = spec("generate_invite", "Makes an invitation to an account with a name of one's choice");
    host.command(&on(generate).result("The link and the address of its page"), Invites::generate)?;
    let named =
        spec("generate_invite_with_username", "Makes an invitation to an account, and reserves its name")
            .arg("username", "string", "The name of the account");
    host.command(&on(named).result("The link and the address of its page"), Invites::generate_named)?;
    let list = spec("list_invites", "Lists invitations that can be used, were used or expired lately");
    host.command(&on(list).result("The invitations"), Invites::list)?;
    let expire = spec("expire_invite_tokens", "Takes back all invitations of a user that were not used").arg(
        "username",
        "string",
        "Whose invitations",
    );
    host.command(&on(expire).result("How many there were"), Invites::expire)?;
    let cleanup = spec("cleanup_expired_invite_tokens", "Removes invitations that have expired");
    host.command(&on(cleanup).result("How many there were"), Invites::cleanup)?;
    Ok(())
}

impl Invites {
    async fn generate(self: Arc<Self>, _: Request<'static>) -> Result<Value, CommandError> {
        self.for_operator("").await
    }

    async fn generate_named(self: Arc<Self>, request: Request<'static>) -> Result<Value, CommandError> {
        let UserArgs { username } = request.args()?;
        if username.is_empty() {
            return Err(CommandError::bad_request("The name is empty: generate_invite leaves it open."));
        }
        self.for_operator(&username).await
    }

    async fn for_operator(&self, username: &str) -> Result<Value, CommandError> {
        let (token, invite) = self.prepare(Kind::AccountOnly, "", username).map_err(refused)?;
        if let Some(account) = self.account_of(&invite)
            && self.host.account_exists(&account).await?
        {
            return Err(CommandError::new(409, format!("There is an account {account}.")));
        }
        self.store().set_json(&token, &invite).await?;
        self.book().put(&token, invite.clone());
        let uri = invite.uri(self.host.vhost(), &token);
        Ok(json!({"invite_uri": uri, "landing_page": self.landing(&token)}))
    }

    /// The account that an invitation names.
    pub(crate) fn account_of(&self, invite: &Invite) -> Option<Jid<'static>> {
        let named = !invite.username.is_empty();
        Jid::parse(&format!("{}@{}", invite.username, self.host.vhost())).ok().filter(|_| named)
    }

    /// An invitation that is not kept yet.
    pub(crate) fn prepare(
        &self,
        kind: Kind,
        inviter: &str,
        username: &str,
    ) -> Result<(String, Invite), StanzaError> {
        let (options, now) = (self.options.get(), now_ms());
        let username = self.normalised(username)?;
        let book = self.book();
        let full = |text: &'static str| StanzaError::new(Condition::ResourceConstraint, text);
        if book.len() >= options.max_tokens {
            return Err(full("there are too many invitations on this server"));
        }
        if !inviter.is_empty() && book.open(inviter, now) >= options.max_invites {
            return Err(full("you have too many open invitations"));
        }
        if !username.is_empty() && book.reserves(&username, now) {
            return Err(StanzaError::new(Condition::Conflict, "this name is reserved by an invitation"));
        }
        let lifetime = i64::try_from(options.expire.as_millis()).unwrap_or(i64::MAX);
        let invite = Invite {
            kind,
            inviter: inviter.to_owned(),
            username,
            may_register: kind == Kind::RosterOnly && options.users_create_accounts,
            created: now,
            expires: now.saturating_add(lifetime),
            invitee: String::new(),
        };
        Ok((new_token()?, invite))
    }

    /// A localpart, in the form in which it will be registered.
    fn normalised(&self, username: &str) -> Result<String, StanzaError> {
        if username.is_empty() {
            return Ok(String::new());
        }
        let account = Jid::parse(&format!("{username}@{}", self.host.vhost())).ok();
        let account = account.filter(|jid| jid.is_bare() && jid.domain() == self.host.vhost());
        let name = account.as_ref().and_then(Jid::localpart).map(str::to_owned);
        name.ok_or_else(|| StanzaError::new(Condition::JidMalformed, "this is no user name"))
    }

    async fn list(self: Arc<Self>, _: Request<'static>) -> Result<Vec<Row>, CommandError> {
        let (book, now) = (self.book(), now_ms());
        let mut rows: Vec<(i64, Row)> = Vec::with_capacity(book.len());
        for (token, invite) in book.iter() {
            let row = Row {
                token: token.clone(),
                valid: invite.is_valid(now),
                created_at: date_time_ms(invite.created),
                expires: date_time_ms(invite.expires),
                r#type: invite.kind,
                inviter: invite.inviter.clone(),
                invitee: invite.invitee.clone(),
                account_name: invite.username.clone(),
                token_uri: invite.uri(self.host.vhost(), token),
                landing_page: self.landing(token),
            };
            rows.push((invite.created, row));
        }
        rows.sort_by_key(|(created, _)| *created);
        Ok(rows.into_iter().map(|(_, row)| row).collect())
    }

    async fn expire(self: Arc<Self>, request: Request<'static>) -> Result<usize, CommandError> {
        let UserArgs { username } = request.args()?;
        let inviter = format!("{}@{}", self.normalised(&username).map_err(refused)?, self.host.vhost());
        let now = now_ms();
        let open: Vec<(String, Invite)> = {
            let book = self.book();
            let of = book.iter().filter(|(_, invite)| invite.inviter == inviter && invite.is_valid(now));
            of.map(|(token, invite)| (token.clone(), invite.clone())).collect()
        };
        for (token, invite) in &open {
            let expired = Invite { expires: now, ..invite.clone() };
            self.store().set_json(token, &expired).await?;
            self.book().put(token, expired);
        }
        Ok(open.len())
    }

    async fn cleanup(self: Arc<Self>, _: Request<'static>) -> Result<usize, CommandError> {
        Ok(self.remove_expired(now_ms()).await?)
    }
}

fn refused(error: StanzaError) -> CommandError {
    let code = match error.condition {
        Condition::InternalServerError => 500,
        Condition::Conflict | Condition::ResourceConstraint => 409,
        _ => 400,
    };
    CommandError::new(code, error.text)
}
