//! Commands that `moultctl` answers by itself.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use super::cli::{Cli, Request};
use super::{ClientError, Outcome, live, plugin_new, wait};
use crate::command::{ArgKind, Args, CommandSpec, Input, Text, builtin, reference};
use crate::plugin::settings;

const WAIT: Duration = Duration::from_secs(60);

/// Runs one of them.
pub(super) fn run(request: &Request, spec: &CommandSpec, out: &mut dyn Write) -> Outcome {
    let args = Args::parse(spec, Input::Positional(request.args.clone()))
        .map_err(|error| ClientError::Usage(error.message))?;
    match &*spec.name {
        "started" => coded(request, wait::started(&request.socket()?, patience(&args))?, out),
        "stopped" => coded(request, wait::stopped(&request.socket()?, patience(&args))?, out),
        "live" => live::run(request, args.flag("log_only"), out),
        "check_config" => check_config(request, &args, out),
        "plugin" => new_plugin(&args, out),
        "completion" => completion(args.text("shell"), out),
        "man" if args.flag("markdown") => {
            Ok(write!(out, "{}", reference::markdown(&builtin::all())).map(|()| 0)?)
        }
        "man" => man(out),
        other => Err(ClientError::Usage(format!("{other} is not there."))),
    }
}

fn patience(args: &Args) -> Duration {
    args.duration("deadline").unwrap_or(WAIT)
}

/// A bare code is shown to programs only, as the server's commands do it.
fn coded(request: &Request, code: u8, out: &mut dyn Write) -> Outcome {
    if request.json {
        writeln!(out, "{code}")?;
    }
    Ok(code)
}

fn check_config(request: &Request, args: &Args, out: &mut dyn Write) -> Outcome {
    let named = args.optional_text("file").map(PathBuf::from);
    let file = named.or_else(|| request.config_file());
    let file = file.ok_or_else(|| ClientError::Usage("check_config: say which file.".to_owned()))?;
    let report = settings::check_file(&file);
    if report.ok {
        match request.json {
            true => writeln!(out, "{}", serde_json::json!(report.text))?,
            false => writeln!(out, "{}", report.text)?,
        }
        return Ok(0);
    }
    Err(ClientError::Refused(report.text))
}

fn new_plugin(args: &Args, out: &mut dyn Write) -> Outcome {
    let name = args.text("name");
    let folder = args.optional_text("directory").map_or_else(|| PathBuf::from(name), PathBuf::from);
    let api_path = args.optional_text("api_path").map(Path::new);
    let written = plugin_new::write(name, &folder, api_path, args.flag("stateful"))?;
    for file in written {
        writeln!(out, "{}", file.display())?;
    }
    Ok(0)
}

fn completion(shell: &str, out: &mut dyn Write) -> Outcome {
    let shell: Shell = shell.parse().map_err(ClientError::Usage)?;
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut with_subcommands(), "moultctl", &mut script);
    out.write_all(&script)?;
    Ok(0)
}

fn man(out: &mut dyn Write) -> Outcome {
    let page = Man::new(Cli::command());
    page.render_title(out)?;
    page.render_name_section(out)?;
    page.render_synopsis_section(out)?;
    page.render_description_section(out)?;
    page.render_options_section(out)?;
    write!(out, "{}", reference::man_commands(&builtin::all()))?;
    page.render_extra_section(out)?;
    Ok(0)
}

/// The command line with every command as a subcommand, for completion only: the server parses its arguments itself.
fn with_subcommands() -> clap::Command {
    let mut command = Cli::command().mut_arg("command", |arg| arg.hide(true)).disable_help_subcommand(true);
    for spec in builtin::all() {
        let mut inner = clap::Command::new(static_text(&spec.name)).about(spec.summary.to_string());
        for arg in &spec.args {
            inner = inner.arg(completion_arg(arg));
        }
        command = command.subcommand(inner);
    }
    command
}

fn completion_arg(arg: &crate::command::ArgSpec) -> clap::Arg {
    let name = static_text(&arg.name);
    let completed = clap::Arg::new(name).help(arg.doc.to_string());
    match &arg.kind {
        ArgKind::Flag => {
            // A few bytes, once, in a process that ends after it has printed the script.
            let long: &'static str = name.replace('_', "-").leak();
            completed.long(long).action(clap::ArgAction::SetTrue)
        }
        ArgKind::Choice(choices) => {
            completed.value_parser(choices.iter().map(static_text).collect::<Vec<_>>())
        }
        ArgKind::List => completed.num_args(0..),
        ArgKind::String if matches!(&*arg.name, "file" | "out") => {
            completed.value_hint(clap::ValueHint::FilePath)
        }
        _ => completed,
    }
}

/// The specs that are written in the source hold borrowed texts only.
fn static_text(text: &Text) -> &'static str {
    match text {
        Text::Borrowed(text) => text,
        Text::Owned(_) => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl Fn(&mut dyn Write) -> Outcome) -> String {
        let mut out = Vec::new();
        assert_eq!(write(&mut out).unwrap(), 0);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_shell_completes_commands_flags_and_choices() {
        for shell in ["bash", "zsh", "fish"] {
            let script = text(|out| completion(shell, out));
            for word in ["update_list", "set_loglevel", "dry-run", "socket"] {
                assert!(script.contains(word), "{word} is not in the script for {shell}");
            }
        }
    }

    #[test]
    fn the_man_page_has_options_and_commands() {
        let page = text(|out| man(out));
        for part in [
            ".TH moultctl 1",
            "SH SYNOPSIS",
            "\\-\\-socket",
            "COMMANDS: MODULES",
            "\\fBrollback\\fR",
            "Exit codes",
        ] {
            assert!(page.contains(part), "{part} is not in\n{page}");
        }
    }

    #[test]
    fn the_subcommands_are_well_formed() {
        with_subcommands().debug_assert();
    }
}
