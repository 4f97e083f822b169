//! Help: by name, by tag, by glob, or everything by tag.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::json;

use super::{
    Answer, ArgKind, ArgSpec, CommandError, CommandResult, CommandSpec, ErrorKind, Permission, ResultKind,
    glob,
};

/// The answer to `help` and `help TOPIC`, where the topic is a command, a tag or a glob.
pub fn answer<S: Borrow<CommandSpec>>(specs: &[S], topic: Option<&str>) -> CommandResult {
    let specs: Vec<&CommandSpec> = specs.iter().map(Borrow::borrow).collect();
    let Some(topic) = topic else {
        return Ok(Answer::value(json!(names(&specs))).with_text(by_tag(&specs)));
    };
    if let Some(spec) = specs.iter().find(|spec| spec.name == topic) {
        return Ok(Answer::value(json!(spec)).with_text(one(spec)));
    }
    let fits =
        |spec: &&&CommandSpec| spec.tags.iter().any(|tag| tag == topic) || glob::matches(topic, &spec.name);
    let found: Vec<&CommandSpec> = specs.iter().filter(fits).copied().collect();
    if found.is_empty() {
        let tags: Vec<_> = tags(&specs).into_keys().collect();
        let message = format!("No command has that name, tag or pattern. Tags are {}.", tags.join(", "));
        return Err(CommandError::new(ErrorKind::NotFound, message));
    }
    Ok(Answer::value(json!(names(&found))).with_text(list(&found)))
}

/// Everything about one command.
pub fn one(spec: &CommandSpec) -> String {
    let mut text = format!("{}\n\n{}\n", spec.usage(), spec.summary);
    if !spec.description.is_empty() {
        let _ = writeln!(text, "{}", spec.description);
    }
    if !spec.args.is_empty() {
        text.push('\n');
    }
    let width = spec.args.iter().map(|arg| arg.usage().len()).max().unwrap_or_default();
    for arg in &spec.args {
        let _ = writeln!(text, "  {:width$}  {} ({})", arg.usage(), arg.doc, note(arg));
    }
    let _ = write!(text, "\nAnswer: {}. Tags: {}.", result_name(&spec.result), spec.tags.join(", "));
    if spec.permission == Permission::Local {
        text.push_str(" For the local control socket only.");
    }
    text
}

/// What an argument holds, and how it is written where those before it are left out.
fn note(arg: &ArgSpec) -> String {
    let kind = kind_name(&arg.kind);
    match arg.optional && !arg.is_flag() {
        true => format!("{kind}; also --{}={}", arg.name.replace('_', "-"), arg.name.to_uppercase()),
        false => kind,
    }
}

/// The word for what an argument holds.
pub fn kind_name(kind: &ArgKind) -> String {
    match kind {
        ArgKind::String => "text".into(),
        ArgKind::Integer => "whole number".into(),
        ArgKind::Boolean => "true or false".into(),
        ArgKind::Jid => "JID".into(),
        ArgKind::User => "localpart".into(),
        ArgKind::Host => "domain".into(),
        ArgKind::Module => "module".into(),
        ArgKind::List => "list".into(),
        ArgKind::Duration => "duration".into(),
        ArgKind::Choice(choices) => format!("one of {}", choices.join(", ")),
        ArgKind::Flag => "flag".into(),
    }
}

/// The words for the shape of an answer.
pub fn result_name(kind: &ResultKind) -> String {
    match kind {
        ResultKind::Code => "0 for success".into(),
        ResultKind::Text => "a text".into(),
        ResultKind::Integer => "a number".into(),
        ResultKind::List => "a list".into(),
        ResultKind::Object => "an object".into(),
        ResultKind::Table(columns) if columns.is_empty() => "a table".into(),
        ResultKind::Table(columns) => format!("a table of {}", columns.join(", ")),
    }
}

/// The commands by their first tag.
pub fn tags<'a>(specs: &[&'a CommandSpec]) -> BTreeMap<&'a str, Vec<&'a CommandSpec>> {
    let mut tags: BTreeMap<&str, Vec<&CommandSpec>> = BTreeMap::new();
    for spec in specs {
        tags.entry(spec.tags.first().map_or("other", |tag| &**tag)).or_default().push(spec);
    }
    tags
}

fn names<'a>(specs: &[&'a CommandSpec]) -> Vec<&'a str> {
    specs.iter().map(|spec| &*spec.name).collect()
}

fn by_tag(specs: &[&CommandSpec]) -> String {
    let groups = tags(specs).into_iter().map(|(tag, specs)| format!("{tag}:\n{}", list(&specs)));
    groups.collect::<Vec<_>>().join("\n")
        + "\nhelp COMMAND tells all about one of them; help TAG and help 'GLOB*' list some."
}

fn list(specs: &[&CommandSpec]) -> String {
    let width = specs.iter().map(|spec| spec.name.len()).max().unwrap_or_default();
    specs.iter().map(|spec| format!("  {:width$}  {}\n", spec.name, spec.summary)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn specs() -> Vec<Arc<CommandSpec>> {
        let update = CommandSpec::new("update", "modules", "Updates modules.")
            .arg("modules", ArgKind::List, "Which of them.")
            .flag("force", "Whether to go on.");
        let list = CommandSpec::new("update_list", "modules", "Lists modules.").returns(ResultKind::List);
        vec![Arc::new(update), Arc::new(list), Arc::new(CommandSpec::new("stop", "server", "Stops.").local())]
    }

    fn text(topic: Option<&str>) -> String {
        answer(&specs(), topic).unwrap().text.unwrap()
    }

    #[test]
    fn help_lists_everything_by_tag() {
        assert!(text(None).starts_with(
            "modules:\n  update       Updates modules.\n  update_list  Lists modules.\n\nserver:\n"
        ));
    }

    #[test]
    fn help_about_one_command_tells_all() {
        let update = text(Some("update"));
        assert!(update.starts_with("update MODULES... [--force]\n\nUpdates modules.\n"), "{update}");
        assert!(update.contains("  [--force]   Whether to go on. (flag)"), "{update}");
        assert!(text(Some("stop")).ends_with("For the local control socket only."));
    }

    #[test]
    fn help_by_tag_and_by_glob() {
        assert_eq!(answer(&specs(), Some("modules")).unwrap().value, json!(["update", "update_list"]));
        assert_eq!(answer(&specs(), Some("*_list")).unwrap().value, json!(["update_list"]));
        let unknown = answer(&specs(), Some("nothing")).unwrap_err();
        assert!(unknown.kind.exit_code() == 1 && unknown.message.contains("Tags are modules, server."));
    }
}
