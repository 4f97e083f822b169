//! [`module_options!`](crate::module_options): options declared once, as a struct, its defaults and its schema.

use crate::sdk::Jid;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::time::Duration;

/// A Rust type that an option can have.
pub trait OptionType: Sized {
    /// The kind in the manifest, as JSON: see [`crate::manifest::OptionKind`].
    const KIND: &'static str;
    /// Reads a validated value. The error completes the sentence «option `x` …».
    fn read(value: Value) -> Result<Self, String>;
}

macro_rules! option_types {
    ($($kind:literal: $($type:ty),+;)+) => {$($(
        impl OptionType for $type {
            const KIND: &'static str = $kind;
            fn read(value: Value) -> Result<Self, String> {
                plain(value)
            }
        }
    )+)+};
}

option_types! {
    "\"bool\"": bool;
    "\"integer\"": u8, u16, u32, u64, usize, i8, i16, i32, i64, isize;
    "\"string\"": String;
    "\"list\"": Vec<String>;
}

fn plain<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_json::from_value(value).map_err(|e| format!("does not fit: {e}"))
}

impl<T: OptionType> OptionType for Option<T> {
    const KIND: &'static str = T::KIND;
    fn read(value: Value) -> Result<Self, String> {
        if value.is_null() { Ok(None) } else { T::read(value).map(Some) }
    }
}

impl OptionType for Jid<'static> {
    const KIND: &'static str = "\"string\"";
    fn read(value: Value) -> Result<Self, String> {
        let text: String = plain(value)?;
        Jid::parse(&text).map_err(|e| format!("is no JID: {e}"))
    }
}

impl OptionType for Duration {
    const KIND: &'static str = "\"duration\"";
    fn read(value: Value) -> Result<Self, String> {
        match &value {
            Value::Number(ms) => ms.as_u64().map(Duration::from_millis),
            Value::String(text) => duration(text),
            _ => None,
        }
        .ok_or_else(|| format!("is no duration: {value}"))
    }
}

/// `250ms`, `30s`, `5m`, `12h`, `7d`.
fn duration(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().ok()?;
    let factor = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(factor).map(Duration::from_millis)
}

/// Takes options out of the JSON object that the host validated.
#[derive(Debug)]
pub struct OptionReader(Map<String, Value>);

impl OptionReader {
    /// Reads the object.
    pub fn parse(json: &str) -> Result<Self, String> {
        match serde_json::from_str(if json.is_empty() { "{}" } else { json }) {
            Ok(map) => Ok(Self(map)),
            Err(e) => Err(format!("the options are no JSON object: {e}")),
        }
    }

    /// One option, or its default where the object is silent. The error is a sentence that names the option.
    pub fn take<T: OptionType>(&mut self, name: &str, default: &str) -> Result<T, String> {
        let value = match self.0.remove(name) {
            Some(value) => value,
            None => serde_json::from_str(default)
                .map_err(|e| format!("the default of option `{name}` is no JSON: {e}"))?,
        };
        T::read(value).map_err(|why| format!("option `{name}` {why}"))
    }
}

/// Declares a module's options once: the struct, the defaults and the schema in the manifest.
///
/// A default is a JSON value. What may follow it, in any order: `min`, `max` (integers, milliseconds, list length),
/// `one_of ["a", "b"]`, `boot_only true`, and `kind` for a kind other than the type's own (`kind "\"size\""`).
///
/// ```
/// moult_plugin_api::module_options! {
///     /// Options of mod_hello.
///     pub struct Options {
///         /// Domains this service answers on.
///         hosts: Vec<String> = ["hello.@HOST@"];
///         /// Longest text that is returned.
///         limit: u32 = 1000, min 1, max 65536;
///         /// What to do with more.
///         excess: String = "cut", one_of ["cut", "refuse"], boot_only true;
///     }
/// }
/// # use moult_plugin_api::sdk::ModuleOptions;
/// let options = Options::read(r#"{"limit": 7}"#).unwrap();
/// assert_eq!((options.limit, options.excess.as_str()), (7, "cut"));
/// ```
#[macro_export]
macro_rules! module_options {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $(
                $(#[doc = $doc:literal])*
                $field:ident : $type:ty = $default:expr $(, $limit:ident $value:expr)*;
            )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone)]
        $vis struct $name {
            $($(#[doc = $doc])* pub $field: $type,)*
        }

        impl $crate::sdk::ModuleOptions for $name {
            const SCHEMA: &'static [$crate::declare::OptionSpec] = &[$({
                #[allow(unused, clippy::needless_update)]
                const BASE: $crate::declare::OptionSpec = $crate::declare::OptionSpec {
                    name: stringify!($field),
                    kind: <$type as $crate::declare::OptionType>::KIND,
                    default: stringify!($default),
                    doc: concat!($($doc, "\n"),*),
                    min: None,
                    max: None,
                    values: &[],
                    boot_only: false,
                };
                $crate::__option_spec!(BASE $(, $limit $value)*)
            }),*];

            fn read(json: &str) -> Result<Self, String> {
                #[allow(unused_mut, unused_variables)]
                let mut reader = $crate::declare::OptionReader::parse(json)?;
                Ok(Self { $($field: reader.take(stringify!($field), stringify!($default))?,)* })
            }
        }

        impl Default for $name {
            fn default() -> Self {
                <Self as $crate::sdk::ModuleOptions>::read("{}").expect("the defaults fit their types")
            }
        }
    };
}

/// One option's schema with its limits.
#[doc(hidden)]
#[macro_export]
macro_rules! __option_spec {
    ($base:expr) => { $base };
    ($base:expr, min $value:expr $(, $limit:ident $more:expr)*) => {
        $crate::__option_spec!($crate::declare::OptionSpec { min: Some($value), ..$base } $(, $limit $more)*)
    };
    ($base:expr, max $value:expr $(, $limit:ident $more:expr)*) => {
        $crate::__option_spec!($crate::declare::OptionSpec { max: Some($value), ..$base } $(, $limit $more)*)
    };
    ($base:expr, one_of $value:expr $(, $limit:ident $more:expr)*) => {
        $crate::__option_spec!($crate::declare::OptionSpec { values: &$value, ..$base } $(, $limit $more)*)
    };
    ($base:expr, boot_only $value:expr $(, $limit:ident $more:expr)*) => {
        $crate::__option_spec!($crate::declare::OptionSpec { boot_only: $value, ..$base } $(, $limit $more)*)
    };
    ($base:expr, kind $value:expr $(, $limit:ident $more:expr)*) => {
        $crate::__option_spec!($crate::declare::OptionSpec { kind: $value, ..$base } $(, $limit $more)*)
    };
}

#[cfg(test)]
mod tests {
    use crate::sdk::ModuleOptions;
    use std::time::Duration;

    module_options! {
        /// All kinds.
        struct Everything {
            /// A list
            /// of "names".
            names: Vec<String> = ["a", "b"], max 5;
            depth: i32 = -3, min -10, max 10, boot_only true;
            pause: Duration = "30s";
            name: Option<String> = null;
            mode: String = "on", one_of ["on", "off"];
            room: u64 = 65536, kind "\"size\"";
        }
    }

    module_options! {
        struct Nothing {}
    }

    #[test]
    fn defaults_hold_where_the_configuration_is_silent() {
        let options = Everything::default();
        assert_eq!(options.names, ["a", "b"]);
        assert_eq!((options.depth, options.pause, options.name), (-3, Duration::from_secs(30), None));
        assert_eq!((options.mode.as_str(), options.room), ("on", 65536));
        Nothing::read("{\"unknown to the module\": 1}").unwrap();
    }

    #[test]
    fn given_values_win_and_wrong_ones_are_named() {
        let options = Everything::read(r#"{"pause": 1500, "name": "x", "names": []}"#).unwrap();
        assert_eq!((options.pause, options.name.as_deref()), (Duration::from_millis(1500), Some("x")));
        let error = Everything::read(r#"{"depth": "deep"}"#).unwrap_err();
        assert!(error.starts_with("option `depth` does not fit"), "{error}");
        assert!(Everything::read("[]").is_err());
    }

    #[test]
    fn the_schema_says_the_same() {
        let schema = Everything::SCHEMA;
        assert_eq!(
            schema.iter().map(|o| o.kind).collect::<Vec<_>>(),
            ["\"list\"", "\"integer\"", "\"duration\"", "\"string\"", "\"string\"", "\"size\""]
        );
        assert_eq!((schema[1].min, schema[1].max, schema[1].boot_only), (Some(-10), Some(10), true));
        assert_eq!(schema[1].default, "-3");
        assert_eq!(schema[4].values, ["on", "off"]);
    }
}
