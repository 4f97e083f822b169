//! What is hashed: the verification string of XEP-0115 section 5.1, and the input of XEP-0390 section 4.1. Pure.

use moult_plugin_api::base64::Engine;
use moult_plugin_api::base64::engine::general_purpose::STANDARD;
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::{digest, sha};

/// A separator of XEP-0390: after all features, all identities, all forms.
const ALL: u8 = 0x1c;
/// After a form.
const FORM: u8 = 0x1d;
/// After an identity, and after a field of a form.
const ENTRY: u8 = 0x1e;
/// After a text.
const TEXT: u8 = 0x1f;

/// The `ver` of XEP-0115 with SHA-1 of this disco#info answer.
pub fn ver(query: &Element) -> String {
    STANDARD.encode(digest::sha1(verification(query).as_bytes()))
}

/// The hashes of XEP-0390 by name, or nothing where the answer has what that document does not know.
pub fn hashes(query: &Element) -> Vec<(&'static str, String)> {
    let Some(input) = hash_input(query) else { return Vec::new() };
    vec![
        ("sha-256", STANDARD.encode(sha::sha256(&input))),
        ("sha3-256", STANDARD.encode(sha::sha3_256(&input))),
    ]
}

fn children<'a>(parent: &'a Element, name: &'a str) -> impl Iterator<Item = &'a Element> {
    parent.elements().filter(move |child| child.name() == name)
}

fn sorted<T: Ord>(all: impl Iterator<Item = T>) -> Vec<T> {
    let mut all: Vec<T> = all.collect();
    all.sort();
    all
}

fn identity(identity: &Element) -> [&str; 4] {
    ["category", "type", "xml:lang", "name"].map(|name| identity.attr_s(name))
}

/// Each part is followed by `<`.
fn verification(query: &Element) -> String {
    let mut text = String::new();
    let mut add = |part: &str| {
        text.push_str(part);
        text.push('<');
    };
    for parts in sorted(children(query, "identity").map(identity)) {
        add(&parts.join("/"));
    }
    for feature in sorted(children(query, "feature").map(|feature| feature.attr_s("var"))) {
        add(feature);
    }
    for (kind, form) in sorted_forms(query) {
        add(&kind);
        for field in sorted_fields(form) {
            add(field.attr_s("var"));
            sorted(children(field, "value").map(Element::text)).iter().for_each(|value| add(value));
        }
    }
    text
}

/// By type. A form without a hidden FORM_TYPE does not count (section 5.4).
fn sorted_forms(query: &Element) -> Vec<(String, &Element)> {
    let forms = query.elements().filter(|child| child.is("x", ns::DATA_FORMS));
    let mut forms: Vec<_> = forms.filter_map(|form| Some((form_type(form)?, form))).collect();
    forms.sort_by(|a, b| a.0.cmp(&b.0));
    forms
}

fn form_type(form: &Element) -> Option<String> {
    let field = children(form, "field").find(|field| field.attr_s("var") == "FORM_TYPE")?;
    (field.attr_s("type") == "hidden").then(|| field.subtag_text("value"))
}

fn sorted_fields(form: &Element) -> Vec<&Element> {
    let fields = children(form, "field").filter(|field| field.attr_s("var") != "FORM_TYPE");
    let mut fields: Vec<_> = fields.collect();
    fields.sort_by_key(|field| field.attr_s("var"));
    fields
}

fn hash_input(query: &Element) -> Option<Vec<u8>> {
    let is_form = |child: &Element| child.is("x", ns::DATA_FORMS);
    let is_known = |child: &Element| matches!(child.name(), "identity" | "feature") || is_form(child);
    let is_plain = |form: &Element| {
        form_type(form).is_some() && form.subtag("reported").is_none() && form.subtag("item").is_none()
    };
    if !query.elements().all(is_known) || !query.elements().filter(|child| is_form(child)).all(is_plain) {
        return None;
    }
    let features = children(query, "feature").map(|feature| ended(feature.attr_s("var")));
    let identities =
        children(query, "identity").map(|one| followed(identity(one).map(ended).concat(), ENTRY));
    let forms = query.elements().filter(|child| is_form(child)).map(|form| {
        let fields = children(form, "field").map(|field| {
            let values = sorted(children(field, "value").map(|value| ended(&value.text())));
            followed([ended(field.attr_s("var")), values.concat()].concat(), ENTRY)
        });
        followed(sorted(fields).concat(), FORM)
    });
    let parts = [sorted(features), sorted(identities), sorted(forms)];
    Some(parts.map(|part| followed(part.concat(), ALL)).concat())
}

fn ended(text: &str) -> Vec<u8> {
    followed(text.as_bytes().to_vec(), TEXT)
}

fn followed(mut bytes: Vec<u8>, separator: u8) -> Vec<u8> {
    bytes.push(separator);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use moult_plugin_api::sdk::element::parse_element;

    fn query(identities: &str, features: &[&str], form: &str) -> Element {
        let features: String = features.iter().map(|var| format!("<feature var='{var}'/>")).collect();
        let ns = ns::DISCO_INFO;
        parse_element(&format!("<query xmlns='{ns}'>{form}{features}{identities}</query>")).unwrap()
    }

    fn softwareinfo(fields: &[(&str, &[&str])]) -> String {
        let fields: String = fields
            .iter()
            .map(|(var, values)| {
                let values: String = values.iter().map(|value| format!("<value>{value}</value>")).collect();
                format!("<field var='{var}'>{values}</field>")
            })
            .collect();
        format!(
            "<x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'>\
             <value>urn:xmpp:dataforms:softwareinfo</value></field>{fields}</x>"
        )
    }

    const PROTOCOL: &str = "http://jabber.org/protocol/";

    /// Namespaces; one without a colon is below [`PROTOCOL`].
    fn namespaces(vars: &str) -> Vec<String> {
        let whole = |var: &str| if var.contains(':') { var.to_owned() } else { format!("{PROTOCOL}{var}") };
        vars.split_whitespace().map(whole).collect()
    }

    fn of(identities: &str, vars: &str, form: &str) -> Element {
        let vars = namespaces(vars);
        query(identities, &vars.iter().map(String::as_str).collect::<Vec<_>>(), form)
    }

    #[test]
    fn the_examples_of_xep_0115_sections_5_2_and_5_3() {
        let exodus = "<identity category='client' type='pc' name='Exodus 0.9.1'/>";
        let simple = of(exodus, "muc disco#items disco#info caps", "");
        assert_eq!(ver(&simple), "QgayPKawpkPSDYmwT/WM94uAlu0=");
        let psi = "<identity xml:lang='en' category='client' name='Psi 0.11' type='pc'/>\
                   <identity xml:lang='el' category='client' name='Ψ 0.11' type='pc'/>";
        let form = softwareinfo(&[
            ("software_version", &["0.11"]),
            ("ip_version", &["ipv6", "ipv4"]),
            ("os", &["Mac"]),
            ("os_version", &["10.5.1"]),
            ("software", &["Psi"]),
        ]);
        let complex = of(psi, "caps disco#info disco#items muc", &form);
        assert_eq!(ver(&complex), "q07IKJEyjvHSyhy//CH0CxmKi8w=");
        // A form that does not say what it is changes nothing.
        let nameless = format!("{form}<x xmlns='jabber:x:data'><field var='a'><value>b</value></field></x>");
        assert_eq!(ver(&of(psi, "caps disco#info disco#items muc", &nameless)), ver(&complex));
    }

    #[test]
    fn the_simple_example_of_xep_0390() {
        let vars = "si bytestreams chatstates disco#info disco#items urn:xmpp:ping jabber:iq:time jabber:iq:privacy \
                    jabber:iq:version rosterx urn:xmpp:time jabber:x:oob ibb si/profile/file-transfer urn:xmpp:receipts \
                    jabber:iq:roster jabber:iq:last";
        let simple = of("<identity category='client' name='BombusMod' type='mobile'/>", vars, "");
        let expected = [
            ("sha-256", "kzBZbkqJ3ADrj7v08reD1qcWUwNGHaidNUgD7nHpiw8=".to_owned()),
            ("sha3-256", "79mdYAfU9rEdTOcWDO7UEAt6E56SUzk/g6TnqUeuD9Q=".to_owned()),
        ];
        assert_eq!(hashes(&simple), expected);
    }

    #[test]
    fn the_complex_example_of_xep_0390() {
        let vars = "games:board activity activity+notify bytestreams chatstates commands disco#info disco#items evil \
                    feature-neg geoloc geoloc+notify ibb iqibb mood mood+notify rosterx si si/profile/file-transfer tune \
                    http://www.facebook.com/xmpp/messages http://www.xmpp.org/extensions/xep-0084.html#ns-metadata+notify \
                    jabber:iq:avatar jabber:iq:browse jabber:iq:dtcp jabber:iq:filexfer jabber:iq:ibb jabber:iq:inband \
                    jabber:iq:jidlink jabber:iq:last jabber:iq:oob jabber:iq:privacy jabber:iq:roster jabber:iq:time \
                    jabber:iq:version jabber:x:data jabber:x:event jabber:x:oob urn:xmpp:avatar:metadata+notify \
                    urn:xmpp:ping urn:xmpp:receipts urn:xmpp:time";
        let identities = "<identity category='client' name='Tkabber' type='pc' xml:lang='en'/>\
                          <identity category='client' name='Ткаббер' type='pc' xml:lang='ru'/>";
        let form = softwareinfo(&[
            ("software", &["Tkabber"]),
            ("software_version", &["0.11.1-svn-20111216-mod (Tcl/Tk 8.6b2)"]),
            ("os", &["Windows"]),
            ("os_version", &["XP"]),
        ]);
        let expected = [
            ("sha-256", "u79ZroNJbdSWhdSp311mddz44oHHPsEBntQ5b1jqBSY=".to_owned()),
            ("sha3-256", "XpUJzLAc93258sMECZ3FJpebkzuyNXDzRNwQog8eycg=".to_owned()),
        ];
        assert_eq!(hashes(&of(identities, vars, &form)), expected);
    }

    #[test]
    fn what_xep_0390_does_not_know_has_no_hash_there() {
        for content in [
            "<other xmlns='urn:x'/>",
            "<x xmlns='jabber:x:data'><field var='a'/></x>",
            "<x xmlns='jabber:x:data'><field var='FORM_TYPE'><value>not hidden</value></field></x>",
            "<x xmlns='jabber:x:data'><field var='FORM_TYPE' type='hidden'><value>t</value></field><item/></x>",
        ] {
            assert_eq!(hashes(&of("", "caps", content)), [], "{content}");
        }
    }
}
