//! `[vhost."example.org"]`: what one virtual host does differently.

use std::collections::BTreeMap;

use serde::Serialize;

use super::reader::Section;
use super::server::read_bare_jids;
use super::{Certificate, ModuleSection};
use crate::stanza::Jid;

/// One virtual host.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Vhost {
    /// Its own certificate, if it has one.
    #[serde(rename = "tls", skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Certificate>,
    /// Where clients of this vhost are sent instead of being served (RFC 6120 section 4.9.3.19).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub see_other_host: Option<String>,
    /// Bare JIDs that may call the commands that concern this vhost.
    pub admins: Vec<String>,
    /// Options of modules that differ from those in `[modules]`, by module id.
    pub modules: BTreeMap<String, ModuleSection>,
}

impl Vhost {
    /// Reads every `[vhost."..."]`; the second map has their lines.
    pub(super) fn read_all(root: &Section<'_>) -> (BTreeMap<String, Vhost>, BTreeMap<String, usize>) {
        let (mut vhosts, mut lines) = (BTreeMap::new(), BTreeMap::new());
        for (name, section) in root.sections("vhost") {
            let (context, line) = (section.context, section.line);
            let Some(domain) = normalised_domain(name) else {
                context.error(line, format!("\"{name}\" is not a domain name that a vhost could have."));
                continue;
            };
            if vhosts.contains_key(&domain) {
                context.error(
                    line,
                    format!("The vhost {domain} is configured twice; \"{name}\" is the same name."),
                );
            }
            lines.insert(domain.clone(), line);
            vhosts.insert(domain, Vhost::read(section));
        }
        if vhosts.is_empty() {
            let message = "There is no vhost; add a section such as [vhost.\"example.org\"].";
            root.context.error(0, message.to_owned());
        }
        (vhosts, lines)
    }

    fn read(section: Section<'_>) -> Vhost {
        let tls = section.section("tls");
        let certificate = Certificate::read(&tls, false);
        tls.finish();
        let modules = section.sections("modules").into_iter();
        let vhost = Vhost {
            certificate,
            see_other_host: read_other_host(&section),
            admins: read_bare_jids(&section, "admins"),
            modules: modules.filter_map(|(name, inner)| ModuleSection::read(name, inner, true)).collect(),
        };
        section.finish();
        vhost
    }
}

/// A domain or an address, with a port if need be: `b.example.org:5222`, `[2001:db8::1]:5222`.
fn read_other_host(section: &Section<'_>) -> Option<String> {
    let (text, line) = section.text("see_other_host")?;
    if is_other_host(text) {
        return Some(text.to_owned());
    }
    let key = section.key("see_other_host");
    let message = format!(
        "{key}: \"{text}\" is no other host; write it as \"b.example.org:5222\" or \"[2001:db8::1]:5222\"."
    );
    section.context.error(line, message);
    None
}

fn is_other_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) if address.parse::<std::net::Ipv6Addr>().is_ok() => {
            (None, if rest.is_empty() { Some("0") } else { rest.strip_prefix(':') })
        }
        Some(_) => return false,
        None => {
            let (host, port) = text.split_once(':').unwrap_or((text, "0"));
            (Some(host), Some(port))
        }
    };
    let has_port = port.is_some_and(|port| port.parse::<u16>().is_ok());
    has_port && host.is_none_or(|host| normalised_domain(host).is_some())
}

/// The one spelling of a domain under which it is looked up, or `None` if it is no domain (RFC 7622 section 3.2).
pub fn normalised_domain(domain: &str) -> Option<String> {
    let jid = Jid::parse(domain).ok()?;
    jid.is_domain().then(|| jid.domain().to_owned())
}

/// A bare JID in its normalised form: `localpart@domain`, or a domain.
pub(super) fn bare_jid(text: &str) -> Option<String> {
    let jid = Jid::parse(text).ok()?;
    jid.is_bare().then(|| jid.to_string())
}
