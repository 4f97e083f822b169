//! Commands about the server: its life, configuration, logs, numbers, and the table itself.

use super::super::{ArgKind, CommandSpec, ResultKind, Text};

/// The specs, in the order in which help shows them.
pub(super) fn specs() -> Vec<CommandSpec> {
    [life(), configuration(), store(), logs(), statistics(), table()].concat()
}

fn life() -> Vec<CommandSpec> {
    vec![
        CommandSpec::new(
            "status",
            "server",
            "Shows phase, version, uptime, routers, managers and their counters.",
        )
        .returns(ResultKind::Object),
        CommandSpec::new("stop", "server", "Closes all streams and stops the server.")
            .changing()
            .local()
            .described("Comes back when the stop has begun; `moultctl stopped` waits for its end."),
        CommandSpec::new("restart", "server", "Stops the server and starts it anew in the same process.")
            .changing()
            .local()
            .described(
                "The program is read anew from its file, so this is how a new moultd takes over. Sessions that may be resumed \
                 (XEP-0198) go on. Comes back when the stop has begun; `moultctl started` waits for the new start.",
            ),
        kindly("stop_kindly", "Tells all sessions, waits, and stops the server."),
        kindly("restart_kindly", "Tells all sessions, waits, and restarts the server."),
        CommandSpec::new("clear_cache", "server", "Forgets what is cached of the store.")
            .returns(ResultKind::Code)
            .changing()
            .described("The server caches nothing of its store, so there is nothing to forget: it is here for scripts."),
    ]
}

fn kindly(name: &'static str, summary: &'static str) -> CommandSpec {
    CommandSpec::new(name, "server", summary)
        .arg("delay", ArgKind::Integer, "Seconds to wait.")
        .arg("announcement", ArgKind::String, "What everybody is told; empty for nothing.")
        .changing()
        .local()
        .described("Comes back at once. Another such command takes the place of one that waits; stop and restart do not wait.")
}

fn configuration() -> Vec<CommandSpec> {
    vec![
        CommandSpec::new("reload_config", "config", "Reads the configuration again and makes its differences real.")
            .flag("dry_run", "Whether to list the differences only.")
            .returns_table(&["path", "before", "after", "effect"])
            .changing()
            .described(
                "All or nothing: a file with a mistake changes nothing. Each difference says whether it is applied, \
                 needs a restart of the module or of the server.",
            ),
        CommandSpec::new("dump_config", "config", "Shows the effective configuration, defaults included, secrets masked.")
            .optional("out", ArgKind::String, "A file to write it to; only the local control socket may name one.")
            .locally()
            .described("The answer is TOML and could be used as a configuration file."),
        CommandSpec::new("check_admin_token", "config", "Tells whether a text is the admin token of HTTP: 0 yes, 1 no.")
            .secret("token", "The text; - asks for it.")
            .returns(ResultKind::Code),
    ]
}

fn store() -> Vec<CommandSpec> {
    let saves = |name: &'static str, doc: &'static str| {
        CommandSpec::new(name, "db", doc)
            .arg("file", ArgKind::String, "A new file, by its absolute path.")
            .local()
            .described("All of it is of one moment; the server goes on meanwhile.")
    };
    let replaces = |name: &'static str, doc: &'static str| {
        CommandSpec::new(name, "db", doc)
            .arg("file", ArgKind::String, "The file, by its absolute path.")
            .changing()
            .local()
            .described(
                "Everything in the store is replaced, at once or, where the file cannot be taken, not at all. Sessions \
                 stay; what modules keep in memory is theirs until they are restarted.",
            )
    };
    vec![
        saves("backup", "Writes the store (accounts and the data of modules) into a database file."),
        replaces("restore", "Puts the content of a file made by backup in place of the store's."),
        saves("dump", "Writes the store as text, one JSON object per row."),
        replaces("load", "Puts the content of a file made by dump in place of the store's."),
        CommandSpec::new("export_piefxis", "db", "Writes the accounts of all vhosts with their data into files (XEP-0227).")
            .arg("dir", ArgKind::String, "A folder, by its absolute path.")
            .returns(ResultKind::Object)
            .local()
            .described("server-data.xml includes one file for each vhost. Nothing is overwritten; the files hold secrets."),
        CommandSpec::new("export_piefxis_host", "db", "Writes the accounts of a vhost with their data into a file (XEP-0227).")
            .arg("dir", ArgKind::String, "A folder, by its absolute path.")
            .arg("host", ArgKind::Host, "The vhost.")
            .returns(ResultKind::Object)
            .local()
            .described("The file has the name of the vhost. Nothing is overwritten; the file holds secrets."),
        CommandSpec::new("import_piefxis", "db", "Takes accounts with their data over from a file (XEP-0227).")
            .arg("file", ArgKind::String, "The file, by its absolute path.")
            .returns(ResultKind::Object)
            .changing()
            .local()
            .described(
                "Each account as a whole or not at all; one that is there already stays as it is. What could not be taken \
                 over is listed with its reason.",
            ),
        CommandSpec::new("db_info", "db", "Shows the store's engine, file, sizes and counters.")
            .returns(ResultKind::Object),
    ]
}

fn logs() -> Vec<CommandSpec> {
    vec![
        CommandSpec::new("get_loglevel", "logs", "Shows the level of the log, or that of one module.")
            .optional("module", ArgKind::Module, "Which module; the server where absent."),
        CommandSpec::new(
            "set_loglevel",
            "logs",
            "Sets the level of the log, or that of one module, until the next reload.",
        )
        .arg(
            "level",
            ArgKind::String,
            "none, emergency, alert, critical, error, warning, notice, info, debug; or 0 to 5.",
        )
        .optional("module", ArgKind::Module, "Which module; the server where absent.")
        .returns(ResultKind::Code)
        .changing(),
        CommandSpec::new(
            "reopen_log",
            "logs",
            "Opens the log file again, after something else has moved it away.",
        )
        .returns(ResultKind::Code)
        .changing(),
        CommandSpec::new("rotate_log", "logs", "Moves the log file aside, and begins a new one.")
            .changing()
            .described("The old one gets the time behind its name. Only where [log] has a file."),
    ]
}

fn statistics() -> Vec<CommandSpec> {
    let names = ["registeredusers", "onlineusers", "onlineusersnode", "uptimeseconds", "processes"];
    let names: Vec<Text> = names.into_iter().map(Text::Borrowed).collect();
    vec![
        CommandSpec::new("stats", "statistics", "Shows one number of the server.")
            .arg("name", ArgKind::Choice(names.clone()), "Which number.")
            .returns(ResultKind::Integer),
        CommandSpec::new("stats_host", "statistics", "Shows one number of a vhost.")
            .arg("name", ArgKind::Choice(names[..2].to_vec()), "Which number.")
            .arg("host", ArgKind::Host, "The vhost.")
            .returns(ResultKind::Integer),
        CommandSpec::new("incoming_s2s_number", "statistics", "Counts the streams from other servers.")
            .returns(ResultKind::Integer),
        CommandSpec::new("outgoing_s2s_number", "statistics", "Counts the streams to other servers.")
            .returns(ResultKind::Integer),
    ]
}

fn table() -> Vec<CommandSpec> {
    vec![
        CommandSpec::new(
            "help",
            "help",
            "Lists the commands, or tells about one, about a tag or about a pattern.",
        )
        .optional("topic", ArgKind::String, "A command, a tag, or a pattern with * and ?."),
        CommandSpec::new(
            "can",
            "help",
            "Tells whether the caller, or a JID by XMPP, may call a command, and which rule says so.",
        )
        .arg("command", ArgKind::String, "Which command.")
        .optional("jid", ArgKind::Jid, "Who; the caller where absent. Admins may ask about others.")
        .described("Admins of a vhost may call what names their vhost as its host, which is not asked here."),
    ]
}
