//! Commands that the server answers.

use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

use super::cli::Request;
use super::{ClientError, Outcome, connection, secrets};
use crate::command::{CommandSpec, ResultKind, builtin, help as texts, render};

/// Sends the command and prints its answer.
pub(super) fn run(request: &Request, out: &mut dyn Write) -> Outcome {
    let socket = request.socket()?;
    let args = secrets::ask(&request.name, request.args.clone())?;
    let answer = call(&socket, &request.name, &args)?;
    match answer {
        Called::Done { value, text } => {
            print(out, request.json, &value, &text)?;
            Ok(exit_code(&request.name, &value))
        }
        Called::Refused { body, message, exit } => {
            if request.json {
                writeln!(out, "{body}")?;
                return Ok(exit);
            }
            Err(if exit == 2 { ClientError::Usage(message) } else { ClientError::Refused(message) })
        }
    }
}

/// `help`: the server knows the commands of its modules too; without one there is still the server's own.
pub(super) fn help(request: &Request, out: &mut dyn Write) -> Outcome {
    let topic = match request.args.as_slice() {
        [] => None,
        [topic] => Some(topic.as_str()),
        _ => {
            return Err(ClientError::Usage("help: there are too many arguments. Usage: help [TOPIC]".into()));
        }
    };
    let mut specs = builtin::all();
    if let Ok(of_modules) = request.socket().and_then(|socket| module_specs(&socket)) {
        specs.extend(of_modules);
    }
    let answer = texts::answer(&specs, topic).map_err(|error| ClientError::Refused(error.message))?;
    let text = render::render(&ResultKind::Text, &answer);
    print(out, request.json, &answer.value, &text)?;
    Ok(0)
}

/// What the server said.
pub(super) enum Called {
    Done { value: Value, text: String },
    Refused { body: Value, message: String, exit: u8 },
}

/// Calls one command of the server.
pub(super) fn call(socket: &Path, name: &str, args: &[String]) -> Result<Called, ClientError> {
    // Anything else could not be the name of a command, and might change the meaning of the request line.
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Err(ClientError::Usage(format!("There is no command \"{}\".", render::safe(name))));
    }
    let answer =
        connection::send(socket, "POST", &format!("/v1/command/{name}"), Some(&json!({ "args": args })))?;
    let status = answer.status;
    let body = answer.json()?;
    if status == 200 {
        let text = body["text"].as_str().map(render::safe).unwrap_or_default();
        return Ok(Called::Done { value: body["value"].clone(), text });
    }
    let message =
        body["message"].as_str().map_or_else(|| format!("The server answered {status}."), render::safe);
    let exit =
        body["exit"].as_u64().and_then(|exit| u8::try_from(exit).ok()).filter(|exit| *exit != 0).unwrap_or(1);
    Ok(Called::Refused { message: with_details(message, &body["details"]), body, exit })
}

/// The phase of the server, if one answers.
pub(super) fn phase(socket: &Path) -> Result<String, ClientError> {
    let body = connection::send(socket, "GET", "/v1/phase", None)?.json()?;
    Ok(body["phase"].as_str().unwrap_or_default().to_owned())
}

fn module_specs(socket: &Path) -> Result<Vec<CommandSpec>, ClientError> {
    let body = connection::send(socket, "GET", "/v1/commands", None)?.json()?;
    let specs: Vec<CommandSpec> =
        serde_json::from_value(body).map_err(|error| ClientError::Refused(error.to_string()))?;
    let own = builtin::server();
    Ok(specs.into_iter().filter(|spec| own.iter().all(|known| known.name != spec.name)).collect())
}

fn with_details(message: String, details: &Value) -> String {
    if details.is_null() {
        return message;
    }
    let details = crate::command::Answer::value(details.clone());
    format!("{message}\n{}", render::render(&ResultKind::Object, &details))
}

fn print(out: &mut dyn Write, json: bool, value: &Value, text: &str) -> Result<(), ClientError> {
    match (json, text) {
        (true, _) => writeln!(out, "{value}")?,
        (false, "") => {}
        (false, text) => writeln!(out, "{text}")?,
    }
    Ok(())
}

/// A command that answers with a bare code ends with it: `check_account` exits with 1 where there is no account.
fn exit_code(name: &str, value: &Value) -> u8 {
    let is_code = builtin::server().iter().any(|spec| spec.name == name && spec.result == ResultKind::Code);
    u8::from(is_code && value.as_i64() != Some(0))
}
