//! Which messages are kept (XEP-0160 section 3, RFC 6121 section 8.5.2.2, XEP-0334). Pure.

use moult_plugin_api::prelude::*;

/// XEP-0085.
const CHAT_STATES: &str = "http://jabber.org/protocol/chatstates";
/// XEP-0334.
const HINTS: &str = "urn:xmpp:hints";
/// XEP-0023: how long a message is worth anything.
const EXPIRE: &str = "jabber:x:expire";

/// What becomes of a message for somebody who is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is kept.
    Kept,
    /// It ends here: nobody wants to read later that somebody is typing.
    Dropped,
    /// It goes back to its sender.
    Refused,
}

/// Decides by type, hints and content.
pub fn fate(message: &Element) -> Fate {
    // Not for later: the router gives them back or drops them as the RFC says.
    if matches!(message.attr("type"), Some("groupchat" | "headline" | "error")) {
        return Fate::Refused;
    }
    let hint = |name| message.subtag_ns(name, HINTS).is_some();
    if hint("no-store") {
        return Fate::Refused;
    }
    if hint("store") || message.subtag("body").is_some() {
        return Fate::Kept;
    }
    let is_passing = |child: &Element| child.ns() == Some(CHAT_STATES) || child.name() == "thread";
    if message.elements().next().is_none() {
        Fate::Refused
    } else if message.elements().all(is_passing) {
        Fate::Dropped
    } else {
        Fate::Kept
    }
}

/// When a message that was kept at that time is worth nothing any more, in milliseconds since 1970.
pub fn expires(message: &Element, kept_ms: i64) -> Option<i64> {
    let seconds: i64 = message.subtag_ns("x", EXPIRE)?.attr("seconds")?.parse().ok()?;
    kept_ms.checked_add(seconds.checked_mul(1000)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use moult_plugin_api::sdk::element::parse_element;

    fn message(kind: &str, content: &str) -> Element {
        parse_element(&format!("<message type='{kind}'>{content}</message>")).unwrap()
    }

    #[test]
    fn types_hints_and_content_decide() {
        let composing = "<composing xmlns='http://jabber.org/protocol/chatstates'/>";
        let receipt = "<received xmlns='urn:xmpp:receipts' id='1'/>";
        let body = "<body>Hi</body>";
        for (kind, content, expected) in [
            ("chat", body.to_owned(), Fate::Kept),
            ("normal", body.to_owned(), Fate::Kept),
            ("of no known type", body.to_owned(), Fate::Kept),
            ("groupchat", body.to_owned(), Fate::Refused),
            ("headline", body.to_owned(), Fate::Refused),
            ("error", body.to_owned(), Fate::Refused),
            ("chat", format!("{body}{composing}"), Fate::Kept),
            ("chat", composing.to_owned(), Fate::Dropped),
            ("chat", format!("<thread>t</thread>{composing}"), Fate::Dropped),
            ("chat", receipt.to_owned(), Fate::Kept),
            ("normal", String::new(), Fate::Refused),
            ("chat", format!("{body}<no-store xmlns='urn:xmpp:hints'/>"), Fate::Refused),
            ("chat", format!("{body}<no-permanent-store xmlns='urn:xmpp:hints'/>"), Fate::Kept),
            ("chat", format!("{composing}<store xmlns='urn:xmpp:hints'/>"), Fate::Kept),
        ] {
            assert_eq!(fate(&message(kind, &content)), expected, "{kind} {content}");
        }
    }

    #[test]
    fn a_message_may_say_how_long_it_is_worth_anything() {
        let mortal = message("chat", "<x xmlns='jabber:x:expire' seconds='60'/>");
        assert_eq!(expires(&mortal, 1_000), Some(61_000));
        for content in [
            "",
            "<x xmlns='jabber:x:expire' seconds='soon'/>",
            "<x xmlns='jabber:x:expire' seconds='9223372036854775807'/>",
        ] {
            assert_eq!(expires(&message("chat", content), 1_000), None);
        }
    }
}
