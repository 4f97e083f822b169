//! Commands for administrators, with ejabberd's names and order of arguments.

use crate::book::{About, Field};
use crate::groups::Group;
use crate::{SharedRoster, View};
use moult_plugin_api::prelude::*;
use moult_plugin_api::serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The longest id, label or description, in characters.
const LONGEST: usize = 1023;

/// Registers them.
pub(crate) fn register(host: &Host) -> Result<(), HostError> {
    let of_group = |name: &str, doc: &str| {
        CommandSpec::new(name, doc).tag("shared_roster_group").arg("group", "string", "The group's id").arg(
            "host",
            "host",
            "On which vhost",
        )
    };
    host.command(&of_group("srg_add", "Makes a shared roster group"), SharedRoster::create)?;
    let create = of_group("srg_create", "Makes a shared roster group, with what there is to say of it")
        .arg("label", "string", "What it is called in rosters")
        .arg("description", "string", "For administrators")
        .arg(
            "display",
            "list",
            "The groups whose members its members see, itself included where they see each other",
        );
    host.command(&create, SharedRoster::create)?;
    host.command(&of_group("srg_delete", "Deletes a shared roster group"), SharedRoster::delete)?;
    let list = CommandSpec::new("srg_list", "Lists the shared roster groups of a vhost")
        .tag("shared_roster_group")
        .arg("host", "host", "On which vhost")
        .result("Ids");
    host.command(&list, SharedRoster::list)?;
    let info = of_group("srg_get_info", "Tells about a shared roster group").result("Keys and values");
    host.command(&info, SharedRoster::info)?;
    let set = of_group("srg_set_info", "Changes what there is to say of a shared roster group")
        .arg("key", "string", "label or description")
        .arg("value", "string", "What it says");
    host.command(&set, SharedRoster::set_info)?;
    let displayed = of_group("srg_get_displayed", "Lists the groups that a shared roster group displays");
    host.command(&displayed.result("Ids"), SharedRoster::displayed)?;
    let add = of_group("srg_add_displayed", "Has a shared roster group display another one, or itself").arg(
        "add",
        "string",
        "The other group's id",
    );
    host.command(&add, SharedRoster::add_displayed)?;
    let del = of_group("srg_del_displayed", "Has a shared roster group display another one no longer").arg(
        "del",
        "string",
        "The other group's id",
    );
    host.command(&del, SharedRoster::del_displayed)?;
    let members = of_group("srg_get_members", "Lists the members of a shared roster group");
    host.command(&members.result("JIDs, @all@, @online@"), SharedRoster::members)?;
    let of_user = |name: &str, doc: &str| {
        CommandSpec::new(name, doc)
            .tag("shared_roster_group")
            .arg("user", "string", "Who, or @all@ or @online@")
            .arg("host", "host", "On which vhost")
            .arg("group", "string", "The group's id")
            .arg("grouphost", "host", "The group's vhost, which is the same")
    };
    host.command(&of_user("srg_user_add", "Adds a member to a shared roster group"), SharedRoster::user_add)?;
    host.command(
        &of_user("srg_user_del", "Takes a member out of a shared roster group"),
        SharedRoster::user_del,
    )?;
    Ok(())
}

#[derive(Deserialize)]
#[serde(crate = "moult_plugin_api::serde", default)]
#[derive(Default)]
struct Args {
    group: String,
    host: String,
    label: String,
    description: String,
    display: Vec<String>,
    key: String,
    value: String,
    add: String,
    del: String,
    user: String,
    grouphost: String,
}

/// One thing that is said of a group.
#[derive(Serialize)]
#[serde(crate = "moult_plugin_api::serde")]
struct Said {
    key: &'static str,
    value: String,
}

type Done = Result<(), CommandError>;

impl SharedRoster {
    /// The group as it is, or that there is none.
    async fn group(&self, id: &str) -> Result<Group, CommandError> {
        let groups = self.book.groups().await?;
        let group = groups.get(id).cloned();
        group.ok_or_else(|| CommandError::not_found(format!("There is no shared roster group \"{id}\".")))
    }

    async fn before(&self) -> Result<View, CommandError> {
        Ok(self.view().await?)
    }

    async fn create(self: Arc<Self>, request: Request<'static>) -> Done {
        let args: Args = request.args()?;
        check(&args.group, "id")?;
        check_said(&args.label)?;
        check_said(&args.description)?;
        let _turn = self.turns.take("").await;
        let before = self.before().await?;
        if before.groups.contains_key(&args.group) {
            return Err(CommandError::new(409, format!("There is a group \"{}\" already.", args.group)));
        }
        let most = self.options.get().max_groups;
        if before.groups.len() >= most {
            return Err(CommandError::new(409, format!("A vhost has {most} shared roster groups at most.")));
        }
        let known = |id: &String| *id == args.group || before.groups.contains_key(id);
        if let Some(unknown) = args.display.iter().find(|id| !known(id)) {
            return Err(CommandError::not_found(format!("There is no shared roster group \"{unknown}\".")));
        }
        self.book.describe(&args.group, &About { label: args.label, description: args.description }).await?;
        let displayed: Vec<Field> = args.display.into_iter().map(Field::Displayed).collect();
        if !displayed.is_empty() {
            self.book.mark(&args.group, &displayed, true).await?;
        }
        Ok(self.tell_all(&before).await?)
    }

    async fn delete(self: Arc<Self>, request: Request<'static>) -> Done {
        let args: Args = request.args()?;
        let _turn = self.turns.take("").await;
        self.group(&args.group).await?;
        let before = self.before().await?;
        self.book.remove(&args.group).await?;
        // A new group of that name is not to be displayed by those that displayed this one.
        let field = [Field::Displayed(args.group.clone())];
        for (id, _) in before
            .groups
            .iter()
            .filter(|(id, group)| **id != args.group && group.displayed.contains(&args.group))
        {
            self.book.mark(id, &field, false).await?;
        }
        Ok(self.tell_all(&before).await?)
    }

    async fn list(self: Arc<Self>, _: Request<'static>) -> Result<Vec<String>, CommandError> {
        Ok(self.book.groups().await?.keys().cloned().collect())
    }

    async fn info(self: Arc<Self>, request: Request<'static>) -> Result<Vec<Said>, CommandError> {
        let group = self.group(&request.args::<Args>()?.group).await?;
        let displayed: Vec<String> = group.displayed.into_iter().collect();
        let mut said = vec![
            Said { key: "label", value: group.label },
            Said { key: "description", value: group.description },
            Said { key: "displayed_groups", value: displayed.join(",") },
        ];
        let marks = [("all_users", group.all), ("online_users", group.online)];
        said.extend(
            marks.into_iter().filter(|(_, is)| *is).map(|(key, _)| Said { key, value: "true".into() }),
        );
        Ok(said)
    }

    async fn set_info(self: Arc<Self>, request: Request<'static>) -> Done {
        let args: Args = request.args()?;
        check_said(&args.value)?;
        let _turn = self.turns.take("").await;
        let Group { label, description, .. } = self.group(&args.group).await?;
        let about = match args.key.as_str() {
            "label" => About { label: args.value, description },
            "description" => About { label, description: args.value },
            other => {
                let text = format!("\"{other}\" is no key: label or description.");
                return Err(CommandError::bad_request(text));
            }
        };
        let before = self.before().await?;
        self.book.describe(&args.group, &about).await?;
        Ok(self.tell_all(&before).await?)
    }

    async fn displayed(self: Arc<Self>, request: Request<'static>) -> Result<Vec<String>, CommandError> {
        let group = self.group(&request.args::<Args>()?.group).await?;
        Ok(group.displayed.into_iter().collect())
    }

    async fn add_displayed(self: Arc<Self>, request: Request<'static>) -> Done {
        let args: Args = request.args()?;
        let _turn = self.turns.take("").await;
        self.group(&args.add).await?;
        self.mark(&args.group, Field::Displayed(args.add), true).await
    }

    async fn del_displayed(self: Arc<Self>, request: Request<'static>) -> Done {
        let args: Args = request.args()?;
        let _turn = self.turns.take("").await;
        if !self.group(&args.group).await?.displayed.contains(&args.del) {
            let text = format!("The group \"{}\" does not display \"{}\".", args.group, args.del);
            return Err(CommandError::not_found(text));
        }
        self.mark(&args.group, Field::Displayed(args.del), false).await
    }

    async fn members(self: Arc<Self>, request: Request<'static>) -> Result<Vec<String>, CommandError> {
        let group = self.group(&request.args::<Args>()?.group).await?;
        let marks = [("@all@", group.all), ("@online@", group.online)];
        let marks = marks.into_iter().filter(|(_, is)| *is).map(|(mark, _)| mark.to_owned());
        Ok(marks.chain(group.members).collect())
    }

    async fn user_add(self: Arc<Self>, request: Request<'static>) -> Done {
        let args: Args = request.args()?;
        let field = self.member(&args)?;
        if let Field::Member(jid) = &field {
            let account = Jid::parse(jid).map_err(|error| CommandError::bad_request(error.to_string()))?;
            if !self.host.account_exists(&account).await? {
                return Err(CommandError::not_found(format!("There is no account {jid}.")));
            }
        }
        let _turn = self.turns.take("").await;
        let most = self.options.get().max_members;
        if matches!(field, Field::Member(_)) && self.group(&args.group).await?.members.len() >= most {
            return Err(CommandError::new(409, format!("A shared roster group has {most} members at most.")));
        }
        self.mark(&args.group, field, true).await
    }

    async fn user_del(self: Arc<Self>, request: Request<'static>) -> Done {
        let args: Args = request.args()?;
        let field = self.member(&args)?;
        let _turn = self.turns.take("").await;
        let group = self.group(&args.group).await?;
        let is_member = match &field {
            Field::All => group.all,
            Field::Online => group.online,
            Field::Member(jid) => group.members.contains(jid),
            Field::About | Field::Displayed(_) => false,
        };
        if !is_member {
            return Err(CommandError::not_found(format!(
                "{} is no member of \"{}\".",
                args.user, args.group
            )));
        }
        self.mark(&args.group, field, false).await
    }

    /// The member that a command names. The groups of a vhost are of its own accounts; an admin of another one has no say.
    fn member(&self, args: &Args) -> Result<Field, CommandError> {
        if args.host != args.grouphost || args.host != self.host.vhost() {
            let text = format!("The members of a group of {} are accounts of that vhost.", args.grouphost);
            return Err(CommandError::bad_request(text));
        }
        match args.user.as_str() {
            "@all@" => Ok(Field::All),
            "@online@" => Ok(Field::Online),
            user => {
                let jid = Jid::parse(&format!("{}@{}", user.to_lowercase(), args.host));
                let jid = jid.ok().filter(|jid| jid.is_bare() && jid.localpart().is_some());
                let jid = jid.ok_or_else(|| CommandError::bad_request("The user has no lawful JID."))?;
                Ok(Field::Member(jid.as_str().to_owned()))
            }
        }
    }

    async fn mark(&self, id: &str, field: Field, is_set: bool) -> Done {
        self.group(id).await?;
        let before = self.before().await?;
        self.book.mark(id, std::slice::from_ref(&field), is_set).await?;
        match &field {
            Field::Member(jid) => Ok(self.tell_of_member(jid, &before).await?),
            _ => Ok(self.tell_all(&before).await?),
        }
    }
}

fn check(id: &str, what: &str) -> Result<(), CommandError> {
    if id.is_empty() {
        return Err(CommandError::bad_request(format!("The {what} of a group is empty.")));
    }
    check_said(id)
}

fn check_said(text: &str) -> Result<(), CommandError> {
    if text.chars().count() > LONGEST || text.chars().any(char::is_control) {
        let text = format!("{LONGEST} characters at most, and no control characters.");
        return Err(CommandError::bad_request(text));
    }
    Ok(())
}
