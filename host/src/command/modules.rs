//! The commands of modules, as the table sees them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::Value;

use super::{
    Answer, ArgKind, ArgSpec, Call, CommandError, CommandProvider, CommandResult, CommandSpec, ErrorKind,
    Permission, ResultKind, Text,
};
use crate::plugin::call::{CommandFailure, Modules};
use crate::plugin::registration::CommandDecl;

impl CommandProvider for Modules {
    fn specs(&self) -> Vec<Arc<CommandSpec>> {
        let snapshot = self.snapshot();
        let specs =
            snapshot.commands().map(|(name, entry)| spec(name, &entry.instance.key().module, &entry.decl));
        specs.map(Arc::new).collect()
    }

    fn spec(&self, name: &str) -> Option<Arc<CommandSpec>> {
        let snapshot = self.snapshot();
        let entry = snapshot.command(name)?;
        Some(Arc::new(spec(name, &entry.instance.key().module, &entry.decl)))
    }

    fn call(&self, call: Call) -> Pin<Box<dyn Future<Output = CommandResult> + Send>> {
        let args = Value::Object(call.args.as_json().clone());
        let running = self.command(&call.spec.name, &call.caller.who, &args);
        Box::pin(async move { running.await.map(Answer::value).map_err(error) })
    }
}

/// A module does not say whether its command changes something, so it counts as one that does.
fn spec(name: &str, module: &str, decl: &CommandDecl) -> CommandSpec {
    let owned = |text: &str| Text::Owned(text.to_owned());
    let tags = decl.tags.iter().map(String::as_str).chain([module]).map(owned).collect();
    let description = match decl.result.as_str() {
        "" => format!("A command of {module}."),
        result => format!("A command of {module}. It gives back: {}", sentence(result)),
    };
    CommandSpec {
        name: owned(name),
        tags,
        summary: sentence(&decl.doc).into(),
        description: description.into(),
        args: decl
            .args
            .iter()
            .map(|arg| {
                let kind = ArgKind::from_name(&arg.kind);
                let spec = ArgSpec::new(arg.name.clone(), kind, sentence(&arg.doc));
                ArgSpec { optional: arg.optional, secret: arg.secret, ..spec }
            })
            .collect(),
        result: ResultKind::Text,
        permission: Permission::Admin,
        changes_state: true,
    }
}

fn sentence(text: &str) -> String {
    if text.is_empty() || text.ends_with(['.', '!', '?']) { text.to_owned() } else { format!("{text}.") }
}

fn error(failure: CommandFailure) -> CommandError {
    let kind = match failure.code {
        400 => ErrorKind::BadArgument,
        401 | 403 => ErrorKind::DeniedArgument,
        404 => ErrorKind::NotFound,
        409 => ErrorKind::Conflict,
        503 => ErrorKind::Busy,
        504 => ErrorKind::Timeout,
        _ => ErrorKind::Failed,
    };
    CommandError::new(kind, failure.text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::registration::CommandArg;

    #[test]
    fn a_declaration_of_a_module_becomes_a_spec() {
        let arg = |name: &str, kind: &str, secret| CommandArg {
            name: name.into(),
            kind: kind.into(),
            optional: false,
            secret,
            doc: "Whom to greet".into(),
        };
        let decl = CommandDecl {
            doc: "Says hello".into(),
            args: vec![arg("who", "jid", false), arg("token", "whatever", true)],
            result: "The greeting".into(),
            tags: vec!["hello".into()],
        };
        let spec = spec("greet", "mod_hello", &decl);
        assert_eq!((spec.usage().as_str(), &*spec.summary), ("greet WHO TOKEN", "Says hello."));
        assert_eq!(spec.tags, ["hello", "mod_hello"]);
        assert_eq!((&spec.args[0].kind, spec.args[1].secret), (&ArgKind::Jid, true));
        assert_eq!(spec.description, "A command of mod_hello. It gives back: The greeting.");
        assert!(spec.changes_state);
    }

    #[test]
    fn failures_keep_whose_fault_they_are() {
        for (code, kind) in
            [(400, ErrorKind::BadArgument), (404, ErrorKind::NotFound), (501, ErrorKind::Failed)]
        {
            assert_eq!(error(CommandFailure { code, text: String::new() }).kind, kind);
        }
    }
}
