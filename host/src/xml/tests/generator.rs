//! Streams made from a grammar and then damaged.
//!
//! Everything is decided by a sequence of bytes, so that a random number generator and a shrinking property test can
//! both drive it, and a failure can be repeated.

/// Decisions, taken from bytes; every decision is the first choice once they run out.
pub struct Choices<'b> {
    bytes: std::slice::Iter<'b, u8>,
}

impl<'b> Choices<'b> {
    pub fn new(bytes: &'b [u8]) -> Self {
        Self { bytes: bytes.iter() }
    }

    /// A number below `count`.
    pub fn below(&mut self, count: usize) -> usize {
        let mut byte = || usize::from(self.bytes.next().copied().unwrap_or(0));
        if count <= 256 { byte() % count } else { (byte() * 256 + byte()) % count }
    }

    /// Whether something happens that happens once in `count` times, and never when the bytes have run out.
    pub fn once_in(&mut self, count: usize) -> bool {
        self.below(count) == count - 1
    }

    pub fn of(&mut self, list: &[&'static str]) -> &'static str {
        list[self.below(list.len())]
    }
}

/// A whole stream, or what is left of it.
pub fn stream(choices: &mut Choices<'_>) -> Vec<u8> {
    let mut out = String::new();
    out += choices.of(&[
        "",
        "<?xml version='1.0'?>",
        "<?xml version='1.0' encoding=\"UTF-8\"?>\n",
        "\n",
        "<?xml version='1.0' standalone='yes'?>",
    ]);
    out += choices.of(&[
        "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='a' xml:lang='en'>",
        "<s>",
        "<s xmlns='u' xmlns:p='v' xmlns:q=\"w\">",
        "<p:s xmlns:p='u' xmlns:stream='x&amp;y'>",
    ]);
    for _ in 0..choices.below(4) {
        out += choices.of(&["", " ", "\r\n"]);
        element(choices, &mut out, 0);
    }
    out += choices.of(&["", "</stream:stream>", "</s>", "</p:s >"]);
    let mut bytes = out.into_bytes();
    for _ in 0..choices.below(4) {
        damage(choices, &mut bytes);
    }
    bytes
}

/// Lengths of the pieces in which a stream arrives.
pub fn cuts(choices: &mut Choices<'_>) -> Vec<usize> {
    (0..=choices.below(6)).map(|_| 1 + choices.below(40)).collect()
}

const PREFIXES: &[&str] = &["", "", "", "p:", "q:", "stream:", "xml:", "r:"];
const NAMES: &[&str] = &["a", "message", "b", "名", "x-1.y_", "aé"];
const SPACES: &[&str] = &[" ", " ", "  ", "\n", "\t ", "\r\n"];
const URIS: &[&str] = &["u", "v", "jabber:client", "&#117;", "", "u ", "a&amp;b"];
const TEXTS: &[&str] = &[
    "text",
    " ",
    "é€\u{10348}",
    "&lt;",
    "&#x41;",
    "&amp;amp;",
    "]]",
    ">",
    "\r\n",
    "\t",
    "'\"",
    "&#13;",
    "\r",
];

fn element(choices: &mut Choices<'_>, out: &mut String, depth: usize) {
    let name = format!("{}{}", choices.of(PREFIXES), choices.of(NAMES));
    *out += "<";
    *out += &name;
    for _ in 0..choices.below(5) {
        *out += choices.of(SPACES);
        attribute(choices, out);
    }
    *out += choices.of(&["", "", " "]);
    if choices.once_in(3) {
        *out += "/>";
        return;
    }
    *out += ">";
    if depth < 4 {
        for _ in 0..choices.below(4) {
            content(choices, out, depth);
        }
    }
    *out += "</";
    *out += &name;
    *out += choices.of(&["", "", " "]);
    *out += ">";
}

fn attribute(choices: &mut Choices<'_>, out: &mut String) {
    let values = match choices.below(4) {
        0 => {
            *out += choices.of(PREFIXES);
            *out += choices.of(NAMES);
            TEXTS
        }
        1 => {
            *out += "xmlns";
            URIS
        }
        _ => {
            *out += "xmlns:";
            *out += choices.of(&["p", "q", "r", "stream", "xml"]);
            URIS
        }
    };
    *out += choices.of(&["=", "=", "=", " = "]);
    let quote = choices.of(&["'", "\""]);
    let value = choices.of(values).replace(quote, "");
    *out += &format!("{quote}{value}{quote}");
}

pub fn content(choices: &mut Choices<'_>, out: &mut String, depth: usize) {
    match choices.below(5) {
        0 => *out += choices.of(TEXTS),
        1 => {
            *out += "<![CDATA[";
            *out += choices.of(&["", "x", "<&>", "]]", "]", "\r\n", "é"]);
            *out += "]]>";
        }
        _ => element(choices, out, depth + 1),
    }
}

/// What damage is done with.
const SHARDS: &[&[u8]] = &[
    b"<",
    b">",
    b"/",
    b"'",
    b"\"",
    b"=",
    b" ",
    b":",
    b"&",
    b";",
    b"!",
    b"?",
    b"]",
    b"]]>",
    b"<!--",
    b"-->",
    b"<![CDATA[",
    b"<!DOCTYPE a>",
    b"<?pi?>",
    b"<?xml version='1.0'?>",
    b"&#0;",
    b"&x;",
    b"&#xFFFF;",
    b"&#x10FFFF;",
    b"\0",
    b"\x1F",
    b"\xFF",
    b"\xC3",
    b"\xA9",
    b"\xEF\xBF\xBE",
    b"\xED\xA0\x80",
    b"\xC3\x97",
    b"1",
    b"-",
    b"</a>",
    b"<a",
    b"/>",
    b"xmlns",
    b"xmlns:p=''",
    b" xmlns='u'",
    b"xmlns:xmlns='u'",
    b"p:",
    b"\xE2\x80\xA8",
    b"\x0C",
    b"\xEF\xB7\xB0",
];

fn damage(choices: &mut Choices<'_>, bytes: &mut Vec<u8>) {
    let at = choices.below(bytes.len() + 1);
    let end = (at + 1 + choices.below(12)).min(bytes.len());
    match choices.below(6) {
        0 => drop(bytes.drain(at..end)),
        1 => bytes.truncate(at),
        2 => {
            let copied = bytes[at..end].to_vec();
            let target = choices.below(bytes.len() + 1);
            bytes.splice(target..target, copied);
        }
        3 if at < bytes.len() => bytes[at] ^= 1 << choices.below(8),
        _ => {
            let shard = SHARDS[choices.below(SHARDS.len())];
            bytes.splice(at..at, shard.iter().copied());
        }
    }
}
