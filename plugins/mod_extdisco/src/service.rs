//! One service: read from the configuration, shown to a client.

use moult_plugin_api::base64::Engine;
use moult_plugin_api::base64::engine::general_purpose::STANDARD;
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::datetime::date_time;
use moult_plugin_api::sdk::digest::hmac_sha1;
use std::fmt;
use std::time::Duration;

/// A service as it was configured.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Service {
    pub kind: String,
    pub host: String,
    /// Empty where none was given.
    pub port: String,
    transport: String,
    name: String,
    restricted: bool,
    username: String,
    password: String,
}

/// What is shared with TURN servers.
pub struct Secret {
    pub secret: String,
    pub lifetime: Duration,
}

/// The secret stays one.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({:?})", self.lifetime)
    }
}

impl Service {
    /// Reads `turn:turn.example.org:3478?transport=udp`.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::read(text).map_err(|why| format!("the service \"{text}\" {why}"))
    }

    fn read(text: &str) -> Result<Self, String> {
        let (place, more) = text.split_once('?').map_or((text, None), |(place, more)| (place, Some(more)));
        let (kind, place) = place.split_once(':').ok_or("has no host")?;
        let (host, port) = host_and_port(place);
        if kind.is_empty() || host.is_empty() {
            return Err("needs a type and a host: type:host:port".into());
        }
        if !port.is_empty() && port.parse::<u16>().is_err() {
            return Err(format!("has the port {port}, which is none"));
        }
        let (kind, host, port) = (kind.to_owned(), host.to_owned(), port.to_owned());
        let mut service = Self { kind, host, port, ..Self::default() };
        for pair in more.into_iter().flat_map(|more| more.split('&')) {
            let (key, value) =
                pair.split_once('=').ok_or_else(|| format!("says \"{pair}\" without a value"))?;
            service.set(key, decoded(value)?)?;
        }
        Ok(service)
    }

    fn set(&mut self, key: &str, value: String) -> Result<(), String> {
        match key {
            "transport" => self.transport = value,
            "name" => self.name = value,
            "username" => self.username = value,
            "password" => self.password = value,
            "restricted" => self.restricted = matches!(value.as_str(), "1" | "true"),
            other => return Err(format!("says \"{other}\", which is not known")),
        }
        Ok(())
    }

    /// As `user` is shown it. Only TURN is known to understand credentials made from a secret.
    pub fn to_element(&self, secret: Option<&Secret>, user: &str, now: Duration) -> Element {
        let mut element =
            Element::new("service").with_attr("type", &*self.kind).with_attr("host", &*self.host);
        let made =
            secret.filter(|_| matches!(self.kind.as_str(), "turn" | "turns") && self.username.is_empty());
        let mut set = |name: &str, value: &str| {
            if !value.is_empty() {
                element.set_attr(name, value);
            }
        };
        set("port", &self.port);
        set("transport", &self.transport);
        set("name", &self.name);
        if self.restricted || made.is_some() {
            set("restricted", "true");
        }
        match made {
            Some(secret) => {
                let until = now + secret.lifetime;
                let username = format!("{}:{user}", until.as_secs());
                set("username", &username);
                set("password", &STANDARD.encode(hmac_sha1(secret.secret.as_bytes(), username.as_bytes())));
                set("expires", &date_time(until));
            }
            None => {
                set("username", &self.username);
                set("password", &self.password);
            }
        }
        element
    }
}

/// `host`, `host:port`, `[address]`, `[address]:port`.
fn host_and_port(place: &str) -> (&str, &str) {
    if let Some((address, rest)) = place.strip_prefix('[').and_then(|place| place.split_once(']')) {
        return (address, rest.strip_prefix(':').unwrap_or(rest));
    }
    place.rsplit_once(':').unwrap_or((place, ""))
}

/// Percent-encoding undone.
fn decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes().iter();
    while let Some(&byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|&b| char::from(b).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(format!("has a broken percent sign in \"{text}\""));
        };
        bytes.push(u8::try_from(high * 16 + low).unwrap_or_default());
    }
    String::from_utf8(bytes).map_err(|_| format!("has \"{text}\", which is no UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_the_one_a_turn_server_computes() {
        let secret = Secret { secret: "north".into(), lifetime: Duration::from_secs(60) };
        let service = Service::parse("turn:a:3478").unwrap();
        let element = service.to_element(Some(&secret), "alice", Duration::from_secs(40));
        // printf '100:alice' | openssl dgst -sha1 -hmac north -binary | base64
        assert_eq!(
            (element.attr_s("username"), element.attr_s("password")),
            ("100:alice", "KMX9hA0WE2BG7hAYzaeoZPifwmU=")
        );
    }
}
