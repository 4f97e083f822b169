//! The command line of `moultctl`, and which socket it means.

use std::path::{Path, PathBuf};

use clap::Parser;

use super::ClientError;
use crate::config::{Config, Server, defaults};

/// Controls a running moultd.
#[derive(Debug, Parser)]
#[command(name = "moultctl", version, disable_help_subcommand = true)]
#[command(
    after_help = "`moultctl help` lists the commands. Exit codes: 0 ok, 1 error, 2 usage, 3 no connection."
)]
pub(super) struct Cli {
    /// The control socket of the server; by default the one that the configuration names
    #[arg(long, value_name = "PATH", env = "MOULT_SOCKET")]
    pub socket: Option<PathBuf>,
    /// The configuration of the server
    #[arg(long, value_name = "FILE", env = "MOULT_CONFIG")]
    pub config: Option<PathBuf>,
    /// Print the bare answer as JSON
    #[arg(long)]
    pub json: bool,
    /// The command and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// One command line, taken apart.
#[derive(Debug)]
pub(super) struct Request {
    pub name: String,
    pub args: Vec<String>,
    pub json: bool,
    pub socket: Option<PathBuf>,
    pub config: Option<PathBuf>,
}

impl Cli {
    /// Takes the command apart; `--json` may stand behind it as well.
    pub fn request(self) -> Result<Request, ClientError> {
        let mut words = self.command.into_iter();
        let name = words.next().filter(|name| !name.starts_with('-'));
        let name = name.ok_or_else(|| {
            ClientError::Usage("Say which command: moultctl [--socket PATH] [--config FILE] [--json] COMMAND ARGS..., or moultctl help.".into())
        })?;
        let mut request = Request {
            name,
            args: words.collect(),
            json: self.json,
            socket: self.socket,
            config: self.config,
        };
        let options = request.args.iter().position(|arg| arg == "--").unwrap_or(request.args.len());
        if let Some(at) = request.args[..options].iter().position(|arg| arg == "--json") {
            request.args.remove(at);
            request.json = true;
        }
        Ok(request)
    }
}

impl Request {
    /// The socket: `--socket`, else what the configuration names, else the default place.
    pub fn socket(&self) -> Result<PathBuf, ClientError> {
        if let Some(socket) = &self.socket {
            return Ok(socket.clone());
        }
        match self.config_file() {
            Some(file) => {
                Config::control_socket(&file).map_err(|errors| ClientError::Refused(errors.to_string()))
            }
            None => Ok(Server::default().control_socket),
        }
    }

    /// The configuration: `--config`, else the default place where one is there.
    pub fn config_file(&self) -> Option<PathBuf> {
        let default = || Some(PathBuf::from(defaults::CONFIG_FILE)).filter(|path| Path::exists(path));
        self.config.clone().or_else(default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(words: &[&str]) -> Result<Request, ClientError> {
        Cli::try_parse_from(std::iter::once("moultctl").chain(words.iter().copied())).unwrap().request()
    }

    #[test]
    fn options_of_moultctl_stand_before_the_command_and_json_also_behind_it() {
        let request =
            request(&["--socket", "/s", "update", "--all", "-1", "--json", "--", "--json"]).unwrap();
        assert_eq!((request.name.as_str(), request.json), ("update", true));
        assert_eq!(request.args, ["--all", "-1", "--", "--json"]);
        assert_eq!(request.socket().unwrap(), Path::new("/s"));
    }

    #[test]
    fn a_line_without_a_command_is_a_usage_error() {
        assert_eq!(request(&[]).unwrap_err().exit_code(), 2);
        assert_eq!(request(&["--jsno", "status"]).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn the_configuration_names_the_socket() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("moult.toml");
        std::fs::write(&file, "[server]\ncontrol_socket = \"ctl\"\n").unwrap();
        let request = request(&["--config", file.to_str().unwrap(), "status"]).unwrap();
        assert_eq!(request.socket().unwrap(), folder.path().join("ctl"));
    }
}
