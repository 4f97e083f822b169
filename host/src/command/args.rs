//! Arguments: from texts in order or from JSON by name to checked values.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{ArgKind, ArgSpec, CommandError, CommandSpec, ErrorKind};
use crate::config::units::parse_duration;
use crate::config::vhost::normalised_domain;
use crate::stanza::Jid;

/// Arguments as a front end received them. Secrets are among them, so there is no `Debug`.
#[derive(Clone)]
pub enum Input {
    /// Texts in order, with `--flags` and `--name=value` anywhere among them; `--` ends those.
    Positional(Vec<String>),
    /// Texts by name, as in the query of a URL.
    Named(Vec<(String, String)>),
    /// A JSON object by name.
    Json(Map<String, Value>),
}

/// Checked arguments by name: every one that is not optional is there, each of its declared kind.
#[derive(Clone, Default, PartialEq)]
pub struct Args(Map<String, Value>);

/// The names alone: a value may be a secret.
impl std::fmt::Debug for Args {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Args {
    /// Checks `input` against the arguments of `spec`.
    pub fn parse(spec: &CommandSpec, input: Input) -> Result<Args, CommandError> {
        let given = match input {
            Input::Json(object) => object,
            Input::Positional(texts) => by_name(spec, texts)?,
            Input::Named(pairs) => from_pairs(spec, pairs)?,
        };
        let mut args = Map::new();
        for (name, value) in given {
            let Some(arg) = spec.args.iter().find(|arg| arg.name == name) else {
                return Err(bad(spec, format!("there is no argument \"{name}\"")));
            };
            if !(value.is_null() && arg.optional) {
                args.insert(name, checked(arg, value).map_err(|want| wrong(spec, arg, &want))?);
            }
        }
        match spec.args.iter().find(|arg| !arg.optional && !args.contains_key(&*arg.name)) {
            Some(missing) => Err(bad(spec, format!("the argument \"{}\" is missing", missing.name))),
            None => Ok(Args(args)),
        }
    }

    /// A text argument; empty where it was left out.
    pub fn text(&self, name: &str) -> &str {
        self.optional_text(name).unwrap_or_default()
    }

    /// A text argument that may have been left out.
    pub fn optional_text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    /// A flag or boolean; false where it was left out.
    pub fn flag(&self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or_default()
    }

    /// A number that may have been left out.
    pub fn integer(&self, name: &str) -> Option<i64> {
        self.0.get(name).and_then(Value::as_i64)
    }

    /// A duration that may have been left out.
    pub fn duration(&self, name: &str) -> Option<Duration> {
        self.0.get(name).and_then(Value::as_u64).map(Duration::from_millis)
    }

    /// A list; empty where it was left out.
    pub fn list(&self, name: &str) -> Vec<String> {
        let items = self.0.get(name).and_then(Value::as_array);
        items.into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
    }

    /// All of them as JSON, for a module.
    pub fn as_json(&self) -> &Map<String, Value> {
        &self.0
    }

    /// An argument given here that `spec` keeps to the local control socket.
    pub fn local_only<'a>(&self, spec: &'a CommandSpec) -> Option<&'a ArgSpec> {
        spec.args.iter().find(|arg| arg.local_only && self.0.contains_key(&*arg.name))
    }

    /// All of them as one line for the audit log, secrets masked, nothing longer than a line should be.
    pub fn masked(&self, spec: &CommandSpec) -> String {
        let shown = self.0.iter().map(|(name, value)| {
            let hidden = spec.args.iter().any(|arg| (arg.secret || arg.private) && arg.name == *name);
            if hidden { format!("{name}=********") } else { format!("{name}={}", shortened(value)) }
        });
        shown.collect::<Vec<_>>().join(" ")
    }
}

/// The longest argument an audit line shows in full.
const AUDIT_LENGTH: usize = 200;

fn shortened(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(AUDIT_LENGTH) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// Gives each text the name of the argument it stands for.
fn by_name(spec: &CommandSpec, texts: Vec<String>) -> Result<Map<String, Value>, CommandError> {
    let mut given = Map::new();
    let mut in_order = Vec::new();
    let mut texts = texts.into_iter();
    while let Some(text) = texts.next() {
        match text.strip_prefix("--") {
            Some("") => in_order.extend(texts.by_ref()),
            Some(option) => {
                let (name, value) = named(spec, option, &mut texts)?;
                if given.insert(name.clone(), value).is_some() {
                    return Err(bad(spec, format!("the argument \"{name}\" is given twice")));
                }
            }
            None => in_order.push(text),
        }
    }
    place(spec, in_order, &mut given)?;
    Ok(given)
}

fn from_pairs(spec: &CommandSpec, pairs: Vec<(String, String)>) -> Result<Map<String, Value>, CommandError> {
    let mut given = Map::new();
    for (name, text) in pairs {
        let value = match spec.args.iter().find(|arg| arg.name == name) {
            Some(arg) => from_text(arg, text),
            None => Value::Null,
        };
        if given.contains_key(&name) {
            return Err(bad(spec, format!("the argument \"{name}\" is given twice")));
        }
        given.insert(name, value);
    }
    Ok(given)
}

/// `--flag`, `--name=value` or `--name value`.
fn named(
    spec: &CommandSpec,
    option: &str,
    rest: &mut impl Iterator<Item = String>,
) -> Result<(String, Value), CommandError> {
    let (name, value) = match option.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (option, None),
    };
    let arg = spec.find_arg(name).ok_or_else(|| bad(spec, format!("there is no option \"--{name}\"")))?;
    let value = match (arg.is_flag(), value) {
        (true, None) => Value::Bool(true),
        (true, Some(_)) => return Err(bad(spec, format!("the option \"--{name}\" takes no value"))),
        (false, Some(value)) => from_text(arg, value),
        (false, None) => {
            let value =
                rest.next().ok_or_else(|| bad(spec, format!("the option \"--{name}\" lacks its value")))?;
            from_text(arg, value)
        }
    };
    Ok((arg.name.to_string(), value))
}

fn place(spec: &CommandSpec, texts: Vec<String>, given: &mut Map<String, Value>) -> Result<(), CommandError> {
    let mut texts = texts.into_iter();
    let open: Vec<_> =
        spec.args.iter().filter(|arg| !arg.is_flag() && !given.contains_key(&*arg.name)).collect();
    for (index, arg) in open.iter().enumerate() {
        let Some(first) = texts.next() else { return Ok(()) };
        let is_last = index + 1 == open.len();
        let value = match arg.kind {
            ArgKind::List if is_last => {
                let all: Vec<String> = std::iter::once(first).chain(texts.by_ref()).collect();
                from_text(arg, all.join(","))
            }
            _ => from_text(arg, first),
        };
        given.insert(arg.name.to_string(), value);
    }
    match texts.next() {
        Some(_) => Err(bad(spec, "there are too many arguments".to_owned())),
        None => Ok(()),
    }
}

/// The JSON form of a text from a command line; what does not fit stays a text and is refused by [`checked`].
fn from_text(arg: &ArgSpec, text: String) -> Value {
    match arg.kind {
        ArgKind::Integer => text.parse::<i64>().map_or(Value::String(text), Value::from),
        ArgKind::Boolean | ArgKind::Flag => text.parse::<bool>().map_or(Value::String(text), Value::from),
        _ => Value::String(text),
    }
}

/// The value as handlers get it, or what it should be.
fn checked(arg: &ArgSpec, value: Value) -> Result<Value, String> {
    let text = value.as_str();
    let jid = |jid: Option<Jid>| jid.map(|jid| Value::from(jid.to_string()));
    match &arg.kind {
        ArgKind::String => text.is_some().then_some(value).ok_or("a text".into()),
        ArgKind::Integer => value.as_i64().map(Value::from).ok_or("a whole number".into()),
        ArgKind::Boolean | ArgKind::Flag => value.as_bool().map(Value::from).ok_or("true or false".into()),
        ArgKind::Jid => jid(text.and_then(|text| Jid::parse(text).ok())).ok_or("a JID".into()),
        ArgKind::User => {
            text.and_then(localpart).map(Value::from).ok_or("the part of a JID before the @".into())
        }
        ArgKind::Host => text.and_then(normalised_domain).map(Value::from).ok_or("a domain".into()),
        ArgKind::Module => {
            text.filter(|text| is_module(text)).map(Value::from).ok_or("a module such as mod_echo".into())
        }
        ArgKind::List => list(&value).ok_or("a list of texts".into()),
        ArgKind::Duration => duration(&value).ok_or("a duration such as 30s".into()),
        ArgKind::Choice(choices) => {
            let found = text.filter(|text| choices.iter().any(|choice| choice == text));
            found.map(Value::from).ok_or_else(|| format!("one of {}", choices.join(", ")))
        }
    }
}

fn localpart(text: &str) -> Option<String> {
    let jid = Jid::from_parts(Some(text), "localhost", None).ok()?;
    jid.localpart().map(str::to_owned)
}

fn is_module(text: &str) -> bool {
    let (id, vhost) = text.split_once('@').map_or((text, None), |(id, vhost)| (id, Some(vhost)));
    moult_plugin_api::manifest::is_module_id(id)
        && vhost.is_none_or(|vhost| normalised_domain(vhost).is_some())
}

fn list(value: &Value) -> Option<Value> {
    match value {
        Value::String(text) => Some(text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect()),
        Value::Array(items) => items.iter().all(Value::is_string).then(|| value.clone()),
        _ => None,
    }
}

fn duration(value: &Value) -> Option<Value> {
    let duration = match value {
        Value::String(text) => parse_duration(text).or_else(|| text.parse().ok().map(Duration::from_secs)),
        other => other.as_u64().map(Duration::from_secs),
    }?;
    u64::try_from(duration.as_millis()).ok().map(Value::from)
}

fn wrong(spec: &CommandSpec, arg: &ArgSpec, want: &str) -> CommandError {
    bad(spec, format!("the argument \"{}\" must be {want}", arg.name))
}

fn bad(spec: &CommandSpec, what: String) -> CommandError {
    CommandError::new(ErrorKind::BadArgument, format!("{}: {what}. Usage: {}", spec.name, spec.usage()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec() -> CommandSpec {
        CommandSpec::new("try", "test", "Tries.")
            .arg("user", ArgKind::User, "Who.")
            .arg("host", ArgKind::Host, "Where.")
            .secret("password", "What for.")
            .optional("count", ArgKind::Integer, "How often.")
            .optional("mode", ArgKind::Choice(vec!["soft".into(), "hard".into()]), "How.")
            .optional("wait", ArgKind::Duration, "How long.")
            .optional("modules", ArgKind::List, "Which.")
            .flag("dry_run", "Whether to look only.")
    }

    fn positional(texts: &[&str]) -> Result<Value, String> {
        let input = Input::Positional(texts.iter().map(|text| (*text).to_owned()).collect());
        Args::parse(&spec(), input).map(|args| Value::Object(args.0)).map_err(|error| error.message)
    }

    fn json(value: Value) -> Result<Value, String> {
        let Value::Object(object) = value else { panic!("an object") };
        Args::parse(&spec(), Input::Json(object))
            .map(|args| Value::Object(args.0))
            .map_err(|error| error.message)
    }

    #[test]
    fn texts_stand_for_arguments_in_order() {
        let expected = json!({"user": "ann", "host": "example.org", "password": "x y", "count": 3});
        assert_eq!(positional(&["Ann", "EXAMPLE.org", "x y", "3"]), Ok(expected));
    }

    #[test]
    fn flags_and_names_may_stand_anywhere() {
        let expected = json!({"user": "a", "host": "b.c", "password": "p", "mode": "hard", "dry_run": true, "wait": 1500});
        assert_eq!(
            positional(&["--dry-run", "a", "--mode=hard", "b.c", "--wait", "1s500ms", "p"]),
            Ok(expected)
        );
    }

    #[test]
    fn what_follows_two_hyphens_is_never_a_flag() {
        let expected = json!({"user": "a", "host": "b.c", "password": "--dry-run"});
        assert_eq!(positional(&["a", "b.c", "--", "--dry-run"]), Ok(expected));
        let minus = json!({"user": "a", "host": "b.c", "password": "p", "count": -1});
        assert_eq!(positional(&["a", "b.c", "p", "-1"]), Ok(minus));
    }

    #[test]
    fn a_list_at_the_end_takes_the_rest() {
        let all = positional(&["a", "b.c", "p", "1", "soft", "5", "mod_a,mod_b", "mod_c"]).unwrap();
        assert_eq!(all["modules"], json!(["mod_a", "mod_b", "mod_c"]));
        assert_eq!(all["wait"], json!(5000));
    }

    #[test]
    fn bad_command_lines_are_refused_with_the_usage() {
        let cases: [(&[&str], &str); 10] = [
            (&["a"], "the argument \"host\" is missing"),
            (&["a@b", "b.c", "p"], "\"user\" must be the part of a JID before the @"),
            (&["a", "b c", "p"], "\"host\" must be a domain"),
            (&["a", "b.c", "p", "many"], "\"count\" must be a whole number"),
            (&["a", "b.c", "p", "1", "loud"], "\"mode\" must be one of soft, hard"),
            (&["a", "b.c", "p", "--wait=soon"], "\"wait\" must be a duration"),
            (&["a", "b.c", "p", "--fast"], "there is no option \"--fast\""),
            (&["a", "b.c", "p", "--mode"], "the option \"--mode\" lacks its value"),
            (&["a", "b.c", "p", "--dry-run=1"], "the option \"--dry-run\" takes no value"),
            (&["a", "b.c", "p", "--mode=soft", "--mode=hard"], "\"mode\" is given twice"),
        ];
        for (texts, expected) in cases {
            let message = positional(texts).unwrap_err();
            assert!(message.starts_with("try: ") && message.contains(expected), "{texts:?}: {message}");
            assert!(message.contains("Usage: try USER HOST PASSWORD [COUNT]"), "{message}");
        }
    }

    #[test]
    fn too_many_texts_are_refused() {
        let short = CommandSpec::new("try", "test", "Tries.").arg("host", ArgKind::Host, "Where.");
        let input = Input::Positional(vec!["a.b".into(), "c.d".into()]);
        let message = Args::parse(&short, input).unwrap_err().message;
        assert_eq!(message, "try: there are too many arguments. Usage: try HOST");
    }

    #[test]
    fn json_arguments_go_by_name_and_keep_their_kind() {
        let given = json!({"user": "a", "host": "b.c", "password": "p", "count": 2, "dry_run": true, "modules": ["x"], "mode": null});
        let expected = json!({"user": "a", "host": "b.c", "password": "p", "count": 2, "dry_run": true, "modules": ["x"]});
        assert_eq!(json(given), Ok(expected));
    }

    #[test]
    fn bad_json_arguments_are_refused() {
        let cases = [
            (json!({"user": "a", "host": "b.c"}), "\"password\" is missing"),
            (json!({"user": "a", "host": "b.c", "password": null}), "\"password\" must be a text"),
            (
                json!({"user": "a", "host": "b.c", "password": "p", "pass": 1}),
                "there is no argument \"pass\"",
            ),
            (
                json!({"user": "a", "host": "b.c", "password": "p", "count": "2"}),
                "\"count\" must be a whole number",
            ),
            (
                json!({"user": "a", "host": "b.c", "password": "p", "modules": [1]}),
                "\"modules\" must be a list of texts",
            ),
            (
                json!({"user": "a", "host": "b.c", "password": "p", "dry_run": "yes"}),
                "\"dry_run\" must be true or false",
            ),
        ];
        for (given, expected) in cases {
            let message = json(given).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn texts_by_name_get_the_kind_of_their_argument() {
        let named = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
            Args::parse(&spec(), Input::Named(pairs))
                .map(|args| Value::Object(args.0))
                .map_err(|error| error.message)
        };
        let good = [("user", "a"), ("host", "b.c"), ("password", "p"), ("count", "2"), ("dry_run", "true")];
        let expected = json!({"user": "a", "host": "b.c", "password": "p", "count": 2, "dry_run": true});
        assert_eq!(named(&good), Ok(expected));
        assert!(named(&[("user", "a"), ("user", "b")]).unwrap_err().contains("\"user\" is given twice"));
        assert!(named(&[("usr", "a")]).unwrap_err().contains("there is no argument \"usr\""));
    }

    #[test]
    fn modules_are_named_with_or_without_a_vhost() {
        let spec = CommandSpec::new("m", "test", "Tries.").arg("module", ArgKind::Module, "Which.");
        let parse = |text: &str| Args::parse(&spec, Input::Positional(vec![text.into()]));
        assert_eq!(parse("mod_echo@example.org").unwrap().text("module"), "mod_echo@example.org");
        for text in ["", "_echo", "mod_echo@", "mod_Echo", "../mod_echo", "mod_echo/x"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_audit_line_masks_secrets_and_stays_short() {
        let long = "x".repeat(500);
        let input =
            Input::Positional(vec!["a".into(), "b.c".into(), "hunter2".into(), format!("--modules={long}")]);
        let line = Args::parse(&spec(), input).unwrap().masked(&spec());
        assert!(line.contains("password=********") && !line.contains("hunter2"), "{line}");
        assert!(line.len() < 300, "{line}");
    }
}
