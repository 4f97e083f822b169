//! Commands about accounts.

use super::super::{ArgKind, CommandSpec, ResultKind};

const TAG: &str = "accounts";
const USER: &str = "The part of the JID before the @.";
const HOST: &str = "The vhost.";

/// The specs, in the order in which help shows them.
pub(super) fn specs() -> Vec<CommandSpec> {
    vec![
        account("register", "Makes an account.")
            .secret("password", "Its password; - asks for it.")
            .changing(),
        account("unregister", "Removes an account with everything it has, and ends its sessions.").changing(),
        account("change_password", "Sets the password of an account.")
            .secret("newpass", "The new password; - asks for it.")
            .returns(ResultKind::Code)
            .changing(),
        account("check_account", "Tells whether an account exists: 0 yes, 1 no.").returns(ResultKind::Code),
        account("check_password", "Tells whether a password is the account's: 0 yes, 1 no.")
            .secret("password", "The password; - asks for it.")
            .returns(ResultKind::Code),
        account("ban_account", "Ends the sessions of an account, and lets nobody log in to it.")
            .arg("reason", ArgKind::String, "Why; its clients are told.")
            .returns(ResultKind::Code)
            .changing()
            .described("Password and data stay as they are, so that unban_account gives everything back."),
        account(
            "get_ban_details",
            "Shows why an account is banned, and since when; nothing where it is not.",
        )
        .returns(ResultKind::Object),
        account("unban_account", "Lets the user of a banned account log in again.")
            .returns(ResultKind::Code)
            .changing(),
        CommandSpec::new("registered_users", TAG, "Lists the accounts of a vhost.")
            .arg("host", ArgKind::Host, HOST)
            .returns(ResultKind::List),
        CommandSpec::new("registered_vhosts", TAG, "Lists the vhosts.").returns(ResultKind::List),
    ]
}

fn account(name: &'static str, summary: &'static str) -> CommandSpec {
    CommandSpec::new(name, TAG, summary).arg("user", ArgKind::User, USER).arg("host", ArgKind::Host, HOST)
}
