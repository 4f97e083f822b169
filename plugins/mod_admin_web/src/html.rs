//! Markup. What is written in the source goes in as it is; what comes from anywhere else can only go in escaped, because the
//! one function takes static texts alone and the other one escapes.

use moult_plugin_api::prelude::*;
use moult_plugin_api::serde_json::Value;

/// Markup that is being written.
#[derive(Debug, Default)]
pub struct Html(String);

impl Html {
    /// Markup of the source.
    pub fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Any text, in content or in a quoted attribute.
    pub fn text(&mut self, text: &str) -> &mut Self {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                // Neither HTML nor a terminal into which the page is pasted gets these.
                c if (c.is_control() && c != '\n' && c != '\t') || is_bidi(c) => self.0.push('\u{fffd}'),
                c => self.0.push(c),
            }
        }
        self
    }

    /// A value as people read it.
    pub fn value(&mut self, value: &Value) -> &mut Self {
        self.text(&shown(value))
    }

    /// A part of an address (RFC 3986 2.3), for use inside one.
    pub fn part(&mut self, text: &str) -> &mut Self {
        self.0.push_str(&encoded(text));
        self
    }

    /// `<h2>`.
    pub fn heading(&mut self, text: &str) -> &mut Self {
        self.raw("<h2>").text(text).raw("</h2>")
    }

    /// `<p>`.
    pub fn paragraph(&mut self, text: &str) -> &mut Self {
        self.raw("<p>").text(text).raw("</p>")
    }

    /// Why something was not done: never a blank page.
    pub fn problem(&mut self, failure: &CommandFailure) -> &mut Self {
        let class = if failure.code == 403 { "<p class=\"denied\">" } else { "<p class=\"failed\">" };
        self.raw(class).raw(if failure.code == 403 { "<b>Denied.</b> " } else { "<b>Failed.</b> " });
        self.text(&failure.text).raw("</p>")
    }

    /// A name and a value per row; what is nested is shown with its path.
    pub fn facts(&mut self, value: &Value) -> &mut Self {
        self.raw("<table class=\"facts\">");
        self.rows("", value);
        self.raw("</table>")
    }

    fn rows(&mut self, path: &str, value: &Value) {
        let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        match value {
            Value::Object(object) => object.iter().for_each(|(key, value)| self.rows(&below(key), value)),
            Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
                items.iter().enumerate().for_each(|(n, item)| self.rows(&below(&(n + 1).to_string()), item));
            }
            Value::Null => {}
            other => {
                self.raw("<tr><th>").text(path).raw("</th><td>").value(other).raw("</td></tr>");
            }
        }
    }

    /// What was written.
    pub fn finish(self) -> String {
        self.0
    }
}

fn is_bidi(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A scalar or a list of them on one line.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// Everything but the unreserved characters as `%XX`.
pub fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(byte.into()),
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use moult_plugin_api::serde_json::json;

    #[test]
    fn whatever_comes_from_outside_is_escaped() {
        let mut html = Html::default();
        html.raw("<i>").text("<script>\"x\" & 'y'\u{1b}[2J\u{202e}</script>").raw("</i>");
        let expected =
            "<i>&lt;script&gt;&quot;x&quot; &amp; &#39;y&#39;\u{fffd}[2J\u{fffd}&lt;/script&gt;</i>";
        assert_eq!(html.finish(), expected);
        let mut html = Html::default();
        html.facts(
            &json!({ "<a>": { "b": "<c>" }, "list": ["<d>", 1], "rows": [{ "e": true }], "none": null }),
        );
        let text = html.finish();
        for part in ["<th>&lt;a&gt;.b</th><td>&lt;c&gt;</td>", "<td>&lt;d&gt;, 1</td>", "<th>rows.1.e</th>"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!text.contains("none"));
    }

    #[test]
    fn parts_of_addresses_are_encoded() {
        assert_eq!(encoded("a b/ü\"&?#%+"), "a%20b%2F%C3%BC%22%26%3F%23%25%2B");
    }
}
