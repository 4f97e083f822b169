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
        CommandSpec::new("registered_users", TAG, "Lists the accounts of a vhost.")
            .arg("host", ArgKind::Host, HOST)
            .returns(ResultKind::List),
        CommandSpec::new("registered_vhosts", TAG, "Lists the vhosts.").returns(ResultKind::List),
    ]
}

fn account(name: &'static str, summary: &'static str) -> CommandSpec {
    CommandSpec::new(name, TAG, summary).arg("user", ArgKind::User, USER).arg("host", ArgKind::Host, HOST)
}
