//! Commands that `moultctl` answers by itself, without a server or around one.

use super::super::{ArgKind, CommandSpec, ResultKind, Text};

const TAG: &str = "moultctl";

/// The specs, in the order in which help shows them.
pub(super) fn specs() -> Vec<CommandSpec> {
    let shells: Vec<Text> = ["bash", "zsh", "fish"].into_iter().map(Text::Borrowed).collect();
    vec![
        CommandSpec::new("started", TAG, "Waits until the server is running.")
            .optional("deadline", ArgKind::Duration, "How long at most; 60s where absent.")
            .returns(ResultKind::Code),
        CommandSpec::new("stopped", TAG, "Waits until no server is there any more.")
            .optional("deadline", ArgKind::Duration, "How long at most; 60s where absent.")
            .returns(ResultKind::Code),
        CommandSpec::new(
            "live",
            TAG,
            "Shows the log of the server and reads commands, and starts one where none is.",
        )
        .flag("log_only", "Whether to show the log only."),
        CommandSpec::new("check_config", TAG, "Checks a configuration file and starts nothing.").optional(
            "file",
            ArgKind::String,
            "The file; that of --config where absent.",
        ),
        CommandSpec::new("plugin", TAG, "Writes the crate of a new module.")
            .arg("action", ArgKind::Choice(vec!["new".into()]), "What to do.")
            .arg("name", ArgKind::String, "The id of the module, such as mod_hello.")
            .optional("directory", ArgKind::String, "Where to write it; a folder of that name where absent.")
            .optional(
                "api_path",
                ArgKind::String,
                "The folder of plugin-api; found from moultctl's own place where absent.",
            )
            .flag("stateful", "Whether it has state, which it hands over to its next build."),
        CommandSpec::new("completion", TAG, "Writes the completion script of a shell.").arg(
            "shell",
            ArgKind::Choice(shells),
            "Which shell.",
        ),
        CommandSpec::new("man", TAG, "Writes the man page, or the reference of all commands as Markdown.")
            .flag("markdown", "Whether to write Markdown."),
    ]
}
