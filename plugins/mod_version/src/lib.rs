//! Software version (XEP-0092): name, version and, unless the operator hides it, the operating system.

use moult_plugin_api::prelude::*;
use std::fs;

module_options! {
    /// Options of mod_version.
    pub struct Options {
        /// Whether to tell the operating system.
        show_os: bool = true;
        /// The name of the software.
        name: String = "Moult";
        /// The version to tell instead of the real one.
        version: Option<String> = null;
    }
}

/// The module on one vhost: the answer never changes, so it is kept as it is sent.
#[derive(Debug)]
pub struct Version {
    answer: Element,
}

impl Module for Version {
    type Options = Options;

    fn start(host: &Host, options: Options) -> Result<Started<Self>, Stop> {
        host.on_iq(ns::VERSION, Self::answer)?;
        Started::running(Self { answer: query(&options) })
    }
}

impl Version {
    fn answer(&self, iq: &Iq<'_>) -> Result<Element, StanzaError> {
        iq.require_get()?;
        Ok(self.answer.clone())
    }
}

fn query(options: &Options) -> Element {
    let version = options.version.as_deref().unwrap_or(env!("CARGO_PKG_VERSION"));
    let query = Element::new("query")
        .with_ns(ns::VERSION)
        .with_child(Element::new("name").with_text(&*options.name))
        .with_child(Element::new("version").with_text(version));
    match operating_system().filter(|_| options.show_os) {
        Some(os) => query.with_child(Element::new("os").with_text(os)),
        None => query,
    }
}

/// Such as `Linux 6.1.0`; nothing where the system does not say.
fn operating_system() -> Option<String> {
    let read = |name: &str| fs::read_to_string(format!("/proc/sys/kernel/{name}")).ok();
    Some(format!("{} {}", read("ostype")?.trim(), read("osrelease")?.trim()))
}

export_module! {
    module: Version,
    xeps: ["0092" "1.1"],
}

#[cfg(test)]
mod tests {
    use super::*;
    use moult_plugin_api::testing::FakeHost;

    fn ask(options: &str) -> Element {
        let host = FakeHost::new("example.org");
        let module = host.start::<Version>(options);
        module
            .iq_get("a@example.org/x", "example.org", "<query xmlns='jabber:iq:version'/>")
            .unwrap()
            .unwrap()
    }

    #[test]
    fn it_tells_name_version_and_system() {
        let answer = ask("{}");
        assert!(answer.is("query", ns::VERSION));
        assert_eq!(answer.subtag_text("name"), "Moult");
        assert_eq!(answer.subtag_text("version"), env!("CARGO_PKG_VERSION"));
        assert_eq!(answer.subtag("os").is_some(), operating_system().is_some());
    }

    #[test]
    fn the_operator_decides_what_is_told() {
        let answer = ask(r#"{"show_os": false, "version": "hidden", "name": "A server"}"#);
        assert_eq!(
            (answer.subtag_text("name"), answer.subtag_text("version")),
            ("A server".into(), "hidden".into())
        );
        assert!(answer.subtag("os").is_none());
    }

    #[test]
    fn a_set_is_not_allowed() {
        let host = FakeHost::new("example.org");
        let module = host.start::<Version>("{}");
        let error = module
            .iq_set("a@example.org/x", "example.org", "<query xmlns='jabber:iq:version'/>")
            .unwrap_err();
        assert_eq!(error.condition, Condition::NotAllowed);
    }
}
