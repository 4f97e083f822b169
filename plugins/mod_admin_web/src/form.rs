//! What a browser sends: fields of forms and queries, cookies, and where a request comes from.

use moult_plugin_api::prelude::*;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The longest form that is read.
const MAX_FORM: usize = 64 * 1024;

/// The fields of a form or a query; of a field that comes twice, the first counts.
#[derive(Debug, Default)]
pub struct Fields(BTreeMap<String, String>);

impl Fields {
    /// Those of a query.
    pub fn of_query(request: &HttpRequest<'_>) -> Self {
        Self::parse(request.query().as_bytes())
    }

    /// Those of a form, `application/x-www-form-urlencoded`.
    pub fn of_form(request: &HttpRequest<'_>) -> Self {
        let kind = request.header("content-type").unwrap_or_default();
        match kind.split(';').next().unwrap_or_default().trim() {
            "application/x-www-form-urlencoded" if request.body.len() <= MAX_FORM => {
                Self::parse(&request.body)
            }
            _ => Self::default(),
        }
    }

    fn parse(text: &[u8]) -> Self {
        let mut fields = BTreeMap::new();
        for pair in text.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let mut parts = pair.splitn(2, |byte| *byte == b'=');
            let (name, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            fields.entry(decoded(name, true)).or_insert_with(|| decoded(value, true));
        }
        Self(fields)
    }

    /// One field, empty where it is not there.
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }
}

/// `%XX` undone, and `+` where it stands for a space.
pub fn decoded(text: &[u8], plus: bool) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        let hex = after.get(..2).and_then(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
        match (byte, hex) {
            (b'%', Some(hex)) => {
                bytes.push(hex);
                rest = &after[2..];
            }
            (b'+', _) if plus => bytes.push(b' '),
            (byte, _) => bytes.push(*byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A cookie of the request.
pub fn cookie<'a>(request: &'a HttpRequest<'_>, name: &str) -> Option<&'a str> {
    let cookies = request.header("cookie")?.split(';');
    cookies
        .filter_map(|cookie| cookie.trim().split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

/// Whether the browser says that another site has sent this.
pub fn is_foreign(request: &HttpRequest<'_>) -> bool {
    request.header("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none"))
}

/// Whether the browser speaks TLS, to a proxy that says so.
pub fn is_under_tls(request: &HttpRequest<'_>) -> bool {
    request.header("x-forwarded-proto") == Some("https")
}

/// Whether nobody on the way can read along: TLS, or this machine.
pub fn is_private(request: &HttpRequest<'_>) -> bool {
    is_under_tls(request)
        || request.peer.parse::<IpAddr>().is_ok_and(|peer| peer.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_decoded_and_the_first_of_a_name_counts() {
        let fields = Fields::parse(b"a=1+2&a=3&%62=%C3%BC%26&c&=x&d=%zz%4");
        assert_eq!((fields.get("a"), fields.get("b"), fields.get("c")), ("1 2", "ü&", ""));
        assert_eq!((fields.get("d"), fields.get("nothing")), ("%zz%4", ""));
        assert_eq!(decoded(b"a+b%2Fc%ff", false), "a+b/c\u{fffd}");
    }
}
