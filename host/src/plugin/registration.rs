//! What a module registered, in host types. Registrations are data that the host holds under the instance, so that
//! unloading undoes all of them whatever the author forgot.

use super::hook::HookPoint;
use crate::config::Discipline;
use moult_plugin_api::abi::v1::{self, discipline, registration, target};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// To whose JIDs an IQ handler or feature belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IqTarget {
    /// `domain` and `domain/resource`.
    Server,
    /// `user@domain`.
    Bare,
}

/// One argument of a module's command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandArg {
    /// Name.
    pub name: String,
    /// `string`, `integer`, `boolean`, `jid`, `list`, …
    #[serde(default = "default_kind")]
    pub kind: String,
    /// Whether it may be missing.
    #[serde(default)]
    pub optional: bool,
    /// Whether it must never be shown or logged.
    #[serde(default)]
    pub secret: bool,
    /// One sentence.
    #[serde(default)]
    pub doc: String,
}

fn default_kind() -> String {
    "string".into()
}

/// What a module says of a command it offers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandDecl {
    /// One sentence.
    #[serde(default)]
    pub doc: String,
    /// Arguments in order.
    #[serde(default)]
    pub args: Vec<CommandArg>,
    /// What it gives back, for help.
    #[serde(default)]
    pub result: String,
    /// Groups for help and permissions.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// A service discovery identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// XEP-0030 category.
    pub category: String,
    /// XEP-0030 type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Name for people.
    #[serde(default)]
    pub name: String,
}

/// A service discovery item.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Its JID; filled in from the registration's name.
    #[serde(default)]
    pub jid: String,
    /// Name for people.
    #[serde(default)]
    pub name: String,
    /// Node.
    #[serde(default)]
    pub node: String,
}

/// The kinds of registrations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A domain in the LOCAL (`local`) or GLOBAL route table.
    Route {
        /// Only on this node.
        local: bool,
        /// Normalised domain.
        domain: Arc<str>,
    },
    /// An IQ handler; `None` leaves the discipline to the module's option.
    Iq {
        /// Namespace of the payload.
        ns: Arc<str>,
        /// Whose JIDs.
        target: IqTarget,
        /// In what order and where it runs.
        discipline: Option<Discipline>,
    },
    /// A hook function.
    Hook {
        /// Where.
        point: HookPoint,
        /// Lower runs first.
        sequence: i32,
    },
    /// A command.
    Command {
        /// Name in the one command table.
        name: Arc<str>,
        /// The rest.
        decl: CommandDecl,
    },
    /// An HTTP path prefix.
    Http {
        /// Begins with `/`.
        prefix: Arc<str>,
        /// Whether the admin token is needed.
        admin: bool,
        /// The longest body, where the module wants longer ones than `[http] max_body` allows.
        max_body: Option<usize>,
    },
    /// A timer.
    Timer {
        /// After what time.
        interval: Duration,
        /// Again and again.
        repeat: bool,
    },
    /// A feature of the vhost or of its accounts.
    Feature {
        /// Namespace.
        var: Arc<str>,
        /// Whose.
        target: IqTarget,
    },
    /// An identity; `domain` empty for the vhost itself.
    Identity {
        /// The service it belongs to.
        domain: String,
        /// What it says.
        identity: Identity,
    },
    /// An item of the vhost.
    Item(Item),
    /// An element among the stream features.
    StreamFeature {
        /// As XML.
        element: Arc<str>,
        /// `Bare`: of streams that have logged in; `Server`: of those that have not.
        target: IqTarget,
    },
}

impl std::fmt::Display for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            What::Route { local: true, domain } => write!(f, "local route {domain}"),
            What::Route { local: false, domain } => write!(f, "route {domain}"),
            What::Iq { ns, target: IqTarget::Server, .. } => write!(f, "iq {ns} to the server"),
            What::Iq { ns, target: IqTarget::Bare, .. } => write!(f, "iq {ns} to accounts"),
            What::Hook { point, sequence } => write!(f, "hook {point} at {sequence}"),
            What::Command { name, .. } => write!(f, "command {name}"),
            What::Http { prefix, admin, .. } => {
                write!(f, "http {prefix}{}", if *admin { " for admins" } else { "" })
            }
            What::Timer { interval, repeat: true } => write!(f, "timer every {} ms", interval.as_millis()),
            What::Timer { interval, repeat: false } => write!(f, "timer after {} ms", interval.as_millis()),
            What::Feature { var, .. } => write!(f, "feature {var}"),
            What::Identity { identity, .. } => write!(f, "identity {}/{}", identity.category, identity.kind),
            What::Item(item) => write!(f, "item {}", item.jid),
            What::StreamFeature { element, .. } => write!(f, "stream feature {element}"),
        }
    }
}

/// Stream features are sent to everybody who connects.
const LONGEST_STREAM_FEATURE: usize = 4096;

/// One registration of one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// The host's id for it.
    pub id: u64,
    /// The module's number for it.
    pub handler: u64,
    /// What it is.
    pub what: What,
}

/// Reads what came over the boundary; the error is a sentence for the module's author.
pub fn from_abi(what: &v1::Registration<'_>) -> Result<What, String> {
    let name = what.name.as_str();
    match what.kind {
        registration::ROUTE_GLOBAL | registration::ROUTE_LOCAL => {
            Ok(What::Route { local: what.kind == registration::ROUTE_LOCAL, domain: domain(name)? })
        }
        registration::IQ => Ok(What::Iq {
            ns: named(name, "an IQ handler needs a namespace")?,
            target: iq_target(what.target)?,
            discipline: iq_discipline(what.discipline, what.workers)?,
        }),
        registration::HOOK => Ok(What::Hook {
            point: HookPoint::from_name(name).ok_or_else(|| format!("there is no hook '{name}'"))?,
            sequence: what.sequence,
        }),
        registration::COMMAND => {
            Ok(What::Command { name: command_name(name)?, decl: json(what.args.as_str())? })
        }
        registration::HTTP => http(name, what.args.as_str()),
        registration::TIMER => timer(what),
        registration::FEATURE => Ok(What::Feature {
            var: named(name, "a feature needs a namespace")?,
            target: iq_target(what.target)?,
        }),
        registration::IDENTITY => {
            Ok(What::Identity { domain: name.to_owned(), identity: json(what.args.as_str())? })
        }
        registration::ITEM => {
            let item: Item = json(what.args.as_str())?;
            Ok(What::Item(Item { jid: name.to_owned(), ..item }))
        }
        registration::STREAM_FEATURE => {
            Ok(What::StreamFeature { element: stream_feature(name)?, target: iq_target(what.target)? })
        }
        kind => Err(format!("this server knows no registration of kind {kind}")),
    }
}

fn domain(name: &str) -> Result<Arc<str>, String> {
    let jid = crate::stanza::Jid::parse(name).map_err(|e| format!("'{name}' is no domain: {e}"))?;
    if jid.localpart().is_some() || jid.resource().is_some() {
        return Err(format!("'{name}' is no domain: it has a localpart or a resource"));
    }
    Ok(jid.domain().into())
}

fn named(name: &str, otherwise: &str) -> Result<Arc<str>, String> {
    if name.is_empty() { Err(otherwise.to_owned()) } else { Ok(name.into()) }
}

fn command_name(name: &str) -> Result<Arc<str>, String> {
    let good =
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if good { Ok(name.into()) } else { Err(format!("'{name}' is no command name: a-z, 0-9 and _ only")) }
}

fn iq_target(number: u32) -> Result<IqTarget, String> {
    match number {
        target::SERVER => Ok(IqTarget::Server),
        target::BARE => Ok(IqTarget::Bare),
        other => Err(format!("this server knows no target {other}")),
    }
}

fn iq_discipline(number: u32, workers: u32) -> Result<Option<Discipline>, String> {
    match number {
        discipline::DEFAULT => Ok(None),
        discipline::NO_QUEUE => Ok(Some(Discipline::NoQueue)),
        discipline::ONE_QUEUE => Ok(Some(Discipline::OneQueue)),
        discipline::PARALLEL => Ok(Some(Discipline::Parallel)),
        discipline::PARALLEL_N if workers > 0 => Ok(Some(Discipline::ParallelN(workers))),
        discipline::PARALLEL_N => Err("parallel(0) would never answer".into()),
        other => Err(format!("this server knows no discipline {other}")),
    }
}

fn http(name: &str, args: &str) -> Result<What, String> {
    #[derive(Deserialize)]
    struct Http {
        #[serde(default)]
        auth: Option<String>,
        #[serde(default)]
        max_body: Option<usize>,
    }
    if !name.starts_with('/') {
        return Err(format!("the HTTP path '{name}' must begin with '/'"));
    }
    let Http { auth, max_body } = json(args)?;
    let admin = match auth.as_deref() {
        None | Some("admin") => true,
        Some("none") => false,
        Some(other) => return Err(format!("'{other}' is no kind of HTTP authorisation: admin or none")),
    };
    Ok(What::Http { prefix: name.into(), admin, max_body })
}

/// One element that stands for itself: every client of the vhost reads it.
fn stream_feature(text: &str) -> Result<Arc<str>, String> {
    let wrong = |why: &str| format!("'{text}' is no stream feature: {why}");
    if text.len() > LONGEST_STREAM_FEATURE {
        return Err(format!("a stream feature has {LONGEST_STREAM_FEATURE} bytes at most"));
    }
    let around = format!("<message>{text}</message>");
    let parsed = crate::stanza::Stanza::parse(around.as_bytes()).map_err(|e| wrong(&e.to_string()))?;
    let is_one = parsed.child_count() == 1 && text.starts_with('<') && text.ends_with('>');
    match parsed.payload().filter(|_| is_one) {
        Some(payload) if payload.ns != crate::stanza::ns::CLIENT => Ok(text.into()),
        Some(_) => Err(wrong("it needs a namespace of its own")),
        None => Err(wrong("it is not one element")),
    }
}

fn timer(what: &v1::Registration<'_>) -> Result<What, String> {
    if what.interval_ms == 0 {
        return Err("a timer needs an interval of at least one millisecond".into());
    }
    Ok(What::Timer { interval: Duration::from_millis(what.interval_ms), repeat: what.target != 0 })
}

fn json<T: for<'a> Deserialize<'a>>(text: &str) -> Result<T, String> {
    let text = if text.is_empty() { "{}" } else { text };
    serde_json::from_str(text).map_err(|e| format!("its arguments are not what this kind needs: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use moult_plugin_api::abi_stable::std_types::RStr;

    fn registration(kind: u32, name: &'static str, args: &'static str) -> v1::Registration<'static> {
        v1::Registration {
            kind,
            target: 0,
            discipline: 0,
            workers: 0,
            sequence: 0,
            reserved: 0,
            handler: 1,
            interval_ms: 0,
            name: RStr::from_str(name),
            args: RStr::from_str(args),
        }
    }

    #[test]
    fn a_route_is_normalised_and_a_bad_one_explained() {
        let good = from_abi(&registration(registration::ROUTE_GLOBAL, "Echo.Example", "")).unwrap();
        assert_eq!(good, What::Route { local: false, domain: "echo.example".into() });
        assert!(
            from_abi(&registration(registration::ROUTE_GLOBAL, "a@b", "")).unwrap_err().contains("localpart")
        );
        assert!(from_abi(&registration(registration::ROUTE_GLOBAL, "", "")).is_err());
    }

    #[test]
    fn every_bad_registration_has_its_sentence() {
        for (kind, name, args, says) in [
            (registration::IQ, "", "", "namespace"),
            (registration::HOOK, "user_sent", "", "no hook 'user_sent'"),
            (registration::COMMAND, "No-Good", "", "no command name"),
            (registration::HTTP, "api", "", "begin with '/'"),
            (registration::HTTP, "/api", r#"{"auth":"maybe"}"#, "admin or none"),
            (registration::TIMER, "", "", "at least one millisecond"),
            (registration::IDENTITY, "", "{}", "category"),
            (registration::COMMAND, "x", "[", "arguments"),
            (registration::STREAM_FEATURE, "x", "", "not one element"),
            (registration::STREAM_FEATURE, "<x xmlns='a'/><x xmlns='a'/>", "", "not one element"),
            (registration::STREAM_FEATURE, "<x/>", "", "namespace"),
            (registration::STREAM_FEATURE, "<x xmlns='a'>", "", "no stream feature"),
            (registration::STREAM_FEATURE, "</message><x xmlns='a'/><message>", "", "no stream feature"),
            (99, "", "", "kind 99"),
        ] {
            let error = from_abi(&registration(kind, name, args)).unwrap_err();
            assert!(error.contains(says), "{kind} {name}: {error}");
        }
    }

    #[test]
    fn parallel_needs_workers() {
        let mut what = registration(registration::IQ, "urn:x", "");
        what.discipline = discipline::PARALLEL_N;
        assert!(from_abi(&what).is_err());
        what.workers = 3;
        let What::Iq { discipline, .. } = from_abi(&what).unwrap() else { panic!("not an IQ handler") };
        assert_eq!(discipline, Some(Discipline::ParallelN(3)));
    }
}
