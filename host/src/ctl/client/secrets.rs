//! Passwords that must not stand in a process list: `-` in the place of a secret argument asks for it.

use std::io::{self, BufRead, IsTerminal, Write};
use std::process::{Command, Stdio};

use super::ClientError;
use crate::command::{CommandSpec, builtin};

/// Puts what is typed, or the next line of the input, in the place of every secret argument that is `-`.
pub(super) fn ask(command: &str, args: Vec<String>) -> Result<Vec<String>, ClientError> {
    let Some(spec) = builtin::server().into_iter().find(|spec| spec.name == command) else { return Ok(args) };
    let stdin = io::stdin();
    let is_terminal = stdin.is_terminal();
    replace(&spec, args, |name| if is_terminal { type_in(name) } else { read_line(&mut stdin.lock()) })
}

fn replace(
    spec: &CommandSpec,
    mut args: Vec<String>,
    mut ask: impl FnMut(&str) -> io::Result<String>,
) -> Result<Vec<String>, ClientError> {
    let positional = spec.args.iter().filter(|arg| !arg.is_flag());
    let places = args.iter_mut().filter(|text| !text.starts_with("--"));
    for (arg, text) in positional.zip(places).filter(|(arg, text)| arg.secret && *text == "-") {
        *text = ask(&arg.name)
            .map_err(|error| ClientError::Usage(format!("The {} was not given: {error}.", arg.name)))?;
    }
    Ok(args)
}

fn type_in(name: &str) -> io::Result<String> {
    eprint!("{name}: ");
    io::stderr().flush()?;
    let hidden = echo("-echo");
    let line = read_line(&mut io::stdin().lock());
    if hidden {
        echo("echo");
        eprintln!();
    }
    line
}

/// Switches the echo of the terminal by the system's own tool; where there is none, what is typed is seen.
fn echo(mode: &str) -> bool {
    let status = Command::new("stty").arg(mode).stdin(Stdio::inherit()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

fn read_line(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_secret_argument_is_asked_for() {
        let spec = builtin::server().into_iter().find(|spec| spec.name == "register").unwrap();
        let args = ["-", "example.org", "-"].map(str::to_owned).to_vec();
        let asked = replace(&spec, args, |name| Ok(format!("typed {name}"))).unwrap();
        assert_eq!(asked, ["-", "example.org", "typed password"]);
        let given = ["ann", "example.org", "plain"].map(str::to_owned).to_vec();
        assert_eq!(replace(&spec, given.clone(), |_| panic!("nothing to ask")).unwrap(), given);
    }

    #[test]
    fn an_input_that_ends_is_a_usage_error() {
        let spec = builtin::server().into_iter().find(|spec| spec.name == "register").unwrap();
        let args = ["ann", "example.org", "-"].map(str::to_owned).to_vec();
        let error = replace(&spec, args, |_| read_line(&mut io::empty())).unwrap_err();
        assert_eq!(error.exit_code(), 2);
    }
}
