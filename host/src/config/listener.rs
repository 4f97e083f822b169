//! `[[listener]]`: the sockets to accept on.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::Serialize;
use serde::ser::SerializeStruct;

use super::reader::{Section, nearest, one_of};
use super::{Shaper, defaults};

/// One `[[listener]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// What is spoken there.
    pub kind: ListenerKind,
    /// Address and port.
    pub address: SocketAddr,
    /// The name of the shaper of its connections, if they have one.
    pub shaper: Option<String>,
}

/// What a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ListenerKind {
    /// Client streams with STARTTLS (RFC 6120).
    C2s,
    /// Client streams under direct TLS (XEP-0368).
    C2sTls,
    /// Health, metrics, admin API, paths of modules.
    Http,
}

impl Serialize for Listener {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut fields = to.serialize_struct("listener", 4)?;
        fields.serialize_field("kind", &self.kind)?;
        fields.serialize_field("address", &self.address.ip())?;
        fields.serialize_field("port", &self.address.port())?;
        if let Some(shaper) = &self.shaper {
            fields.serialize_field("shaper", shaper)?;
        }
        fields.end()
    }
}

impl Listener {
    /// Reads `[[listener]]`; the defaults where the file has none.
    pub(super) fn read_all(root: &Section<'_>, shapers: &BTreeMap<String, Shaper>) -> Vec<Listener> {
        let Some(sections) = root.array("listener") else { return defaults::listeners() };
        let mut listeners: Vec<Listener> = Vec::with_capacity(sections.len());
        for section in sections {
            let (context, line) = (section.context, section.line);
            let Some(listener) = Listener::read(section, shapers) else { continue };
            if let Some(other) = listeners.iter().find(|other| same_socket(other.address, listener.address)) {
                let message = format!(
                    "[[listener]]: {} is taken by another listener already, of kind \"{}\".",
                    listener.address,
                    other.kind.name()
                );
                context.error(line, message);
            }
            listeners.push(listener);
        }
        listeners
    }

    fn read(section: Section<'_>, shapers: &BTreeMap<String, Shaper>) -> Option<Listener> {
        let kind = ListenerKind::read(&section);
        let ip = read_ip(&section, kind);
        let port = section.number("port", kind.map_or(0, ListenerKind::default_port), 0..=u16::MAX);
        let shaper = read_shaper(&section, shapers);
        section.finish();
        Some(Listener { kind: kind?, address: SocketAddr::new(ip?, port), shaper })
    }
}

impl ListenerKind {
    const ALL: [(&'static str, ListenerKind); 3] =
        [("c2s", ListenerKind::C2s), ("c2s_tls", ListenerKind::C2sTls), ("http", ListenerKind::Http)];

    /// Its word in the file.
    pub fn name(self) -> &'static str {
        ListenerKind::ALL.iter().find(|(_, kind)| *kind == self).map_or("c2s", |(name, _)| name)
    }

    fn default_port(self) -> u16 {
        match self {
            ListenerKind::C2s => defaults::C2S_PORT,
            ListenerKind::C2sTls => defaults::C2S_TLS_PORT,
            ListenerKind::Http => defaults::HTTP_PORT,
        }
    }

    fn read(section: &Section<'_>) -> Option<ListenerKind> {
        let choices = ListenerKind::ALL.map(|(name, kind)| (name, Some(kind)));
        if !section.has("kind") {
            let kinds = one_of(ListenerKind::ALL.iter().map(|(name, _)| *name));
            section.context.error(section.line, format!("{} lacks \"kind\", {kinds}.", section.name));
        }
        section.choice("kind", None, &choices)
    }
}

fn read_ip(section: &Section<'_>, kind: Option<ListenerKind>) -> Option<IpAddr> {
    let Some((text, line)) = section.text("address") else {
        let everywhere = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let absent = !section.has("address");
        return absent.then_some(if kind == Some(ListenerKind::Http) {
            Ipv4Addr::LOCALHOST.into()
        } else {
            everywhere
        });
    };
    let ip = text.parse().ok();
    if ip.is_none() {
        let message = format!(
            "{} must be an IPv4 or IPv6 address without port, not \"{text}\".",
            section.key("address")
        );
        section.context.error(line, message);
    }
    ip
}

fn read_shaper(section: &Section<'_>, shapers: &BTreeMap<String, Shaper>) -> Option<String> {
    let (name, line) = section.text("shaper")?;
    if !shapers.contains_key(name) {
        let hint = nearest(name, shapers.keys().map(String::as_str));
        let message = format!("{}: there is no [shaper.{name}].{hint}", section.key("shaper"));
        section.context.error(line, message);
    }
    Some(name.to_owned())
}

/// Whether the second of two sockets could not be bound. Port 0 asks the system for a free one each time.
fn same_socket(one: SocketAddr, other: SocketAddr) -> bool {
    let same_family = one.is_ipv4() == other.is_ipv4();
    let overlap = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && same_family && overlap
}
