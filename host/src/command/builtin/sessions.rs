//! Commands about bound sessions, and about stanzas on their behalf.

use super::super::{ArgKind, CommandSpec, ResultKind, Text};

const TAG: &str = "sessions";

/// The specs, in the order in which help shows them.
pub(super) fn specs() -> Vec<CommandSpec> {
    [looking(), acting()].concat()
}

fn looking() -> Vec<CommandSpec> {
    vec![
        CommandSpec::new("connected_users", TAG, "Lists the full JIDs of all sessions.")
            .optional("host", ArgKind::Host, "Only those of this vhost.")
            .returns(ResultKind::List),
        CommandSpec::new("connected_users_number", TAG, "Counts the sessions.").returns(ResultKind::Integer),
        CommandSpec::new("connected_users_info", TAG, "Shows all that is known about all sessions.")
            .returns_table(&[
                "jid",
                "connection",
                "ip",
                "port",
                "priority",
                "status",
                "statustext",
                "uptime",
            ]),
        CommandSpec::new("connected_users_vhost", TAG, "Lists the full JIDs of the sessions of a vhost.")
            .arg("host", ArgKind::Host, "The vhost.")
            .returns(ResultKind::List),
        with_status("status_list", "Lists the sessions with this status.").returns_table(&STATUS_COLUMNS),
        on_host("status_list_host", "Lists the sessions of a vhost with this status.")
            .returns_table(&STATUS_COLUMNS),
        with_status("status_num", "Counts the sessions with this status.").returns(ResultKind::Integer),
        on_host("status_num_host", "Counts the sessions of a vhost with this status.")
            .returns(ResultKind::Integer),
        account("get_presence", "Shows the presence of an account's session of the highest priority.")
            .returns(ResultKind::Object),
        account("user_resources", "Lists the resources of an account's sessions.").returns(ResultKind::List),
        account("num_resources", "Counts the sessions of an account.").returns(ResultKind::Integer),
        account("user_sessions_info", "Shows all that is known about the sessions of an account.")
            .returns_table(&[
                "resource",
                "connection",
                "ip",
                "port",
                "priority",
                "status",
                "statustext",
                "uptime",
            ]),
    ]
}

const STATUS_COLUMNS: [&str; 6] = ["user", "host", "resource", "priority", "status", "statustext"];

/// The words of RFC 6121 4.7.2.1 and those around them, as ejabberd has them.
const STATUSES: [&str; 7] = ["available", "away", "chat", "dnd", "xa", "unavailable", "all"];

fn with_status(name: &'static str, summary: &'static str) -> CommandSpec {
    CommandSpec::new(name, TAG, summary).arg("status", status(), STATUS)
}

fn on_host(name: &'static str, summary: &'static str) -> CommandSpec {
    CommandSpec::new(name, TAG, summary).arg("host", ArgKind::Host, "The vhost.").arg(
        "status",
        status(),
        STATUS,
    )
}

const STATUS: &str = "Which status; all for every one.";

fn status() -> ArgKind {
    ArgKind::Choice(STATUSES.into_iter().map(Text::Borrowed).collect())
}

/// The stream errors by which an operator has occasion to end a session.
const KICK_CONDITIONS: [&str; 6] =
    ["policy-violation", "reset", "conflict", "not-authorized", "resource-constraint", "undefined-condition"];

fn acting() -> Vec<CommandSpec> {
    let types: Vec<Text> =
        ["chat", "normal", "headline", "groupchat"].into_iter().map(Text::Borrowed).collect();
    let conditions: Vec<Text> = KICK_CONDITIONS.into_iter().map(Text::Borrowed).collect();
    vec![
        account("kick_session", "Ends one session.")
            .arg("resource", ArgKind::String, "The resource of the session.")
            .arg("reason", ArgKind::String, "What its client is told.")
            .optional(
                "condition",
                ArgKind::Choice(conditions),
                "The stream error (RFC 6120 4.9.3): policy-violation where it is missing, reset to have it come back at once.",
            )
            .returns(ResultKind::Code)
            .changing(),
        account("kick_user", "Ends all sessions of an account and says how many they were.")
            .returns(ResultKind::Integer)
            .changing(),
        CommandSpec::new("send_message", "stanzas", "Sends a message.")
            .arg("type", ArgKind::Choice(types), "The type of the message.")
            .arg("from", ArgKind::Jid, "Who it comes from.")
            .arg("to", ArgKind::Jid, "Who it goes to.")
            .private("subject", "Its subject; empty for none.")
            .private("body", "Its text.")
            .returns(ResultKind::Code)
            .changing(),
        CommandSpec::new("send_stanza", "stanzas", "Routes a stanza.")
            .arg("from", ArgKind::Jid, "Who it comes from.")
            .arg("to", ArgKind::Jid, "Who it goes to.")
            .private("stanza", "The stanza as XML.")
            .returns(ResultKind::Code)
            .changing(),
    ]
}

fn account(name: &'static str, summary: &'static str) -> CommandSpec {
    CommandSpec::new(name, TAG, summary).arg("user", ArgKind::User, "The part of the JID before the @.").arg(
        "host",
        ArgKind::Host,
        "The vhost.",
    )
}
