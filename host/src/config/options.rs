//! A module's option schema, and the check of what the file says against it.

use std::time::Duration;

use moult_plugin_api::manifest::{OptionDecl, OptionKind};
use serde_json::{Map, Value};

use super::reader::{duration_of_value, nearest, one_of, size_of_value};
use super::{ConfigError, OptionTable, OptionValue, units};

/// Checks the `options` of `module` against its `schema` and fills in the defaults; every mistake is reported.
///
/// Durations come out as milliseconds and sizes as bytes, whichever way they were written.
pub fn validate(
    module: &str,
    schema: &[OptionDecl],
    options: &OptionTable,
) -> Result<Map<String, Value>, Vec<ConfigError>> {
    let mut errors = Vec::new();
    let mut checked = defaults(schema);
    for (name, option) in options.iter() {
        let fault = match schema.iter().find(|known| known.name == name) {
            None => Err(unknown(module, name, schema)),
            Some(known) => check(known, option).map_err(|want| wrong(module, name, &want, option)),
        };
        match fault {
            Ok(value) => _ = checked.insert(name.to_owned(), value),
            Err(message) => errors.push(ConfigError { location: option.location.clone(), message }),
        }
    }
    if errors.is_empty() { Ok(checked) } else { Err(errors) }
}

/// What holds where the file is silent.
pub fn defaults(schema: &[OptionDecl]) -> Map<String, Value> {
    let given = schema.iter().filter(|known| !known.default.is_null());
    given.map(|known| (known.name.clone(), default_value(known))).collect()
}

/// Puts the name of the vhost in place of `@HOST@` in every text, as ejabberd does.
pub fn substitute_host(options: &mut Map<String, Value>, vhost: &str) {
    for value in options.values_mut() {
        match value {
            Value::String(text) => *text = text.replace(HOST, vhost),
            Value::Array(items) => items.iter_mut().for_each(|item| {
                if let Value::String(text) = item {
                    *text = text.replace(HOST, vhost);
                }
            }),
            _ => {}
        }
    }
}

const HOST: &str = "@HOST@";
/// Keys every module section may have beside the module's own options.
const COMMON_KEYS: [&str; 5] = ["enabled", "isolation", "discipline", "queue_length", "call_deadline"];

fn check(declared: &OptionDecl, option: &OptionValue) -> Result<Value, String> {
    let value = convert(&declared.kind, &option.value, option.secret).ok_or_else(|| wanted(declared))?;
    let measure = match &value {
        Value::Number(number) => number.as_i64(),
        Value::Array(items) => i64::try_from(items.len()).ok(),
        _ => None,
    };
    let too_small = measure.zip(declared.min).is_some_and(|(measure, min)| measure < min);
    let too_large = measure.zip(declared.max).is_some_and(|(measure, max)| measure > max);
    if too_small || too_large { Err(wanted(declared)) } else { Ok(value) }
}

/// A default may be written as in the file, `"30s"`, or as it reaches the module, 30000.
fn default_value(declared: &OptionDecl) -> Value {
    match &declared.default {
        Value::String(text) => {
            let value = toml::Value::String(text.clone());
            convert(&declared.kind, &value, false).unwrap_or_else(|| declared.default.clone())
        }
        other => other.clone(),
    }
}

fn wanted(declared: &OptionDecl) -> String {
    let kind = match &declared.kind {
        OptionKind::String => "a text".to_owned(),
        OptionKind::Integer => "a whole number".to_owned(),
        OptionKind::Bool => "true or false".to_owned(),
        OptionKind::Duration => "a duration such as \"30s\"".to_owned(),
        OptionKind::Size => "a size such as \"64KiB\"".to_owned(),
        OptionKind::List => "a list of texts".to_owned(),
        OptionKind::Enum(names) => one_of(names.iter().map(String::as_str)),
    };
    let bound = |bound: Option<i64>| bound.map(|bound| written(&declared.kind, bound));
    match (bound(declared.min), bound(declared.max)) {
        (None, None) => kind,
        (Some(min), None) => format!("{kind}, at least {min}"),
        (None, Some(max)) => format!("{kind}, at most {max}"),
        (Some(min), Some(max)) => format!("{kind}, from {min} to {max}"),
    }
}

/// The value as it reaches the module. Text from the environment or a secret file is read `leniently`, because there is
/// no other way to write a number there.
fn convert(kind: &OptionKind, value: &toml::Value, leniently: bool) -> Option<Value> {
    let text = value.as_str();
    match kind {
        OptionKind::String => text.map(Value::from),
        OptionKind::Integer => match text.filter(|_| leniently) {
            Some(text) => text.trim().parse::<i64>().ok().map(Value::from),
            None => value.as_integer().map(Value::from),
        },
        OptionKind::Bool => match text.filter(|_| leniently) {
            Some(text) => text.trim().parse::<bool>().ok().map(Value::from),
            None => value.as_bool().map(Value::from),
        },
        OptionKind::Duration => i64::try_from(duration_of_value(value)?.as_millis()).ok().map(Value::from),
        OptionKind::Size => i64::try_from(size_of_value(value)?).ok().map(Value::from),
        OptionKind::List => match text.filter(|_| leniently) {
            Some(text) => Some(text.split(',').map(str::trim).collect()),
            None => value.as_array()?.iter().map(|item| item.as_str().map(Value::from)).collect(),
        },
        OptionKind::Enum(names) => text.filter(|text| names.iter().any(|name| name == text)).map(Value::from),
    }
}

fn written(kind: &OptionKind, bound: i64) -> String {
    let unsigned = u64::try_from(bound).unwrap_or_default();
    match kind {
        OptionKind::Duration => units::format_duration(Duration::from_millis(unsigned)),
        OptionKind::Size => units::format_size(unsigned),
        _ => bound.to_string(),
    }
}

fn unknown(module: &str, name: &str, schema: &[OptionDecl]) -> String {
    let known = schema.iter().map(|option| option.name.as_str()).chain(COMMON_KEYS);
    format!("The module {module} has no option \"{name}\".{}", nearest(name, known))
}

fn wrong(module: &str, name: &str, want: &str, option: &OptionValue) -> String {
    let found = if option.secret { "what is given".to_owned() } else { option.value.to_string() };
    format!("The option \"{name}\" of the module {module} must be {want}, not {found}.")
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::config::Location;

    fn option(name: &str, kind: OptionKind, default: Value) -> OptionDecl {
        OptionDecl {
            name: name.into(),
            kind,
            default,
            doc: String::new(),
            min: None,
            max: None,
            boot_only: false,
        }
    }

    fn schema() -> Vec<OptionDecl> {
        let levels = OptionKind::Enum(vec!["low".into(), "high".into()]);
        vec![
            option("host", OptionKind::String, json!("echo.@HOST@")),
            OptionDecl { min: Some(1), max: Some(10), ..option("count", OptionKind::Integer, json!(3)) },
            option("loud", OptionKind::Bool, json!(false)),
            OptionDecl { min: Some(1000), ..option("interval", OptionKind::Duration, json!("5m")) },
            OptionDecl { max: Some(65_536), ..option("buffer", OptionKind::Size, json!(1024)) },
            OptionDecl { max: Some(2), ..option("hosts", OptionKind::List, Value::Null) },
            option("level", levels, json!("low")),
        ]
    }

    fn table(options: &str) -> OptionTable {
        let file: Arc<Path> = Path::new("moult.toml").into();
        let parsed: toml::Table = options.parse().unwrap();
        let values = parsed.into_iter().map(|(name, value)| {
            (name, OptionValue { value, location: Location { file: file.clone(), line: 7 }, secret: false })
        });
        OptionTable { values: values.collect() }
    }

    fn secret(name: &str, text: &str) -> OptionTable {
        let mut table = table(&format!("{name} = \"{text}\""));
        table.values.values_mut().for_each(|option| option.secret = true);
        table
    }

    #[test]
    fn defaults_hold_where_the_file_is_silent() {
        let checked = validate("mod_x", &schema(), &table("")).unwrap();
        let expected = json!({"host": "echo.@HOST@", "count": 3, "loud": false, "interval": 300_000, "buffer": 1024, "level": "low"});
        assert_eq!(Value::Object(checked), expected);
    }

    #[test]
    fn values_reach_the_module_in_one_unit() {
        let written =
            "interval = \"30s\"\nbuffer = \"64KiB\"\nhosts = [\"a\", \"b\"]\nlevel = \"high\"\nloud = true";
        let checked = validate("mod_x", &schema(), &table(written)).unwrap();
        assert_eq!((&checked["interval"], &checked["buffer"]), (&json!(30_000), &json!(65_536)));
        assert_eq!(
            (&checked["hosts"], &checked["level"], &checked["loud"]),
            (&json!(["a", "b"]), &json!("high"), &json!(true))
        );
        let plain = validate("mod_x", &schema(), &table("interval = 2\nbuffer = 10")).unwrap();
        assert_eq!((&plain["interval"], &plain["buffer"]), (&json!(2_000), &json!(10)));
    }

    #[test]
    fn every_wrong_value_is_named_with_its_place_and_what_is_wanted() {
        let cases = [
            ("host = 5", "must be a text, not 5"),
            ("count = 0", "a whole number, from 1 to 10, not 0"),
            ("count = 11", "from 1 to 10"),
            ("count = \"3\"", "must be a whole number"),
            ("loud = \"yes\"", "true or false"),
            ("interval = \"10ms\"", "at least 1s"),
            ("interval = -1", "a duration"),
            ("buffer = \"1MiB\"", "at most 64KiB"),
            ("hosts = [1]", "a list of texts"),
            ("hosts = [\"a\", \"b\", \"c\"]", "at most 2"),
            ("level = \"mid\"", "one of \"low\", \"high\""),
            ("hsot = \"x\"", "no option \"hsot\". Did you mean \"host\"?"),
            ("enable = true", "Did you mean \"enabled\"?"),
        ];
        for (written, expected) in cases {
            let errors = validate("mod_x", &schema(), &table(written)).unwrap_err();
            let text = errors[0].to_string();
            assert!(text.starts_with("moult.toml:7: ") && text.contains(expected), "{written}: {text}");
        }
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        assert_eq!(validate("mod_x", &schema(), &table("host = 5\nloud = 1\nfoo = 2")).unwrap_err().len(), 3);
    }

    #[test]
    fn a_secret_is_read_leniently_and_never_shown() {
        assert_eq!(validate("mod_x", &schema(), &secret("count", "7")).unwrap()["count"], json!(7));
        assert_eq!(
            validate("mod_x", &schema(), &secret("hosts", "a, b")).unwrap()["hosts"],
            json!(["a", "b"])
        );
        let errors = validate("mod_x", &schema(), &secret("count", "hunter2")).unwrap_err();
        assert!(!errors[0].to_string().contains("hunter2"), "{}", errors[0]);
    }

    #[test]
    fn the_vhost_takes_the_place_of_its_mark() {
        let mut checked = validate("mod_x", &schema(), &table("hosts = [\"a.@HOST@\", \"b\"]")).unwrap();
        substitute_host(&mut checked, "example.org");
        assert_eq!(
            (&checked["host"], &checked["hosts"]),
            (&json!("echo.example.org"), &json!(["a.example.org", "b"]))
        );
    }
}
