//! What a client asks for in a roster set, with the errors of RFC 6121 sections 2.3.3 and 2.5.3.

use crate::Options;
use moult_plugin_api::prelude::*;

/// A roster set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Add a contact, or change its name and groups.
    Set {
        /// Who.
        jid: String,
        /// Its name; empty for none.
        name: String,
        /// Its groups.
        groups: Vec<String>,
    },
    /// Remove a contact.
    Remove {
        /// Who.
        jid: String,
    },
}

/// Reads the payload of a set by this account.
pub fn read(query: &Element, account: &str, limits: &Options) -> Result<Wish, StanzaError> {
    let mut items = query.elements();
    let item = match (items.next(), items.next()) {
        (Some(item), None) if item.name() == "item" => item,
        _ => return Err(StanzaError::bad_request("a roster set has exactly one item")),
    };
    let Some(jid) = item.attr("jid") else {
        return Err(StanzaError::bad_request("a roster item needs a JID"));
    };
    let jid = normalised(jid)
        .ok_or_else(|| StanzaError::new(Condition::JidMalformed, "the JID of the roster item is none"))?;
    if jid == account {
        return Err(StanzaError::not_allowed("nobody is a contact of his own"));
    }
    // Any other value is not for clients to set, and ignored (section 2.1.2.5).
    if item.attr("subscription") == Some("remove") {
        return Ok(Wish::Remove { jid });
    }
    let name = item.attr_s("name").to_owned();
    check_name(&name, limits)?;
    Ok(Wish::Set { jid, name, groups: groups(item, limits)? })
}

fn groups(item: &Element, limits: &Options) -> Result<Vec<String>, StanzaError> {
    let mut groups: Vec<String> = Vec::new();
    for group in item.elements().filter(|child| child.name() == "group") {
        let group = group.text();
        if group.is_empty() {
            return Err(not_acceptable("a group needs a name"));
        }
        if groups.contains(&group) {
            return Err(StanzaError::bad_request("a contact is in each group once"));
        }
        groups.push(group);
    }
    check_groups(&groups, limits)?;
    Ok(groups)
}

/// Whether a contact's name is short enough.
pub fn check_name(name: &str, limits: &Options) -> Result<(), StanzaError> {
    if name.chars().count() > limits.name_length {
        return Err(not_acceptable(format!("a name has {} characters at most", limits.name_length)));
    }
    Ok(())
}

/// Whether a contact's groups are few and their names short enough.
pub fn check_groups(groups: &[String], limits: &Options) -> Result<(), StanzaError> {
    if groups.iter().any(|group| group.chars().count() > limits.group_length) {
        let text = format!("a group's name has {} characters at most", limits.group_length);
        return Err(not_acceptable(text));
    }
    if groups.len() > limits.max_groups {
        return Err(not_acceptable(format!("a contact is in {} groups at most", limits.max_groups)));
    }
    Ok(())
}

fn not_acceptable(text: impl Into<std::borrow::Cow<'static, str>>) -> StanzaError {
    StanzaError::new(Condition::NotAcceptable, text)
}

/// A contact's JID as the server writes it in stanzas: without the case of localpart and domain, which RFC 7622 maps away,
/// so that what the user typed and what the contact sends are the same.
pub fn normalised(jid: &str) -> Option<String> {
    let jid = Jid::parse(jid).ok()?;
    let bare = jid.bare().as_str().to_lowercase();
    Some(match jid.resource() {
        Some(resource) => format!("{bare}/{resource}"),
        None => bare,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use moult_plugin_api::sdk::element::parse_element;

    const ME: &str = "me@x";

    fn wish(content: &str) -> Result<Wish, Condition> {
        let limits = Options { name_length: 5, group_length: 5, max_groups: 2, ..crate::tests::options() };
        let query = parse_element(&format!("<query xmlns='jabber:iq:roster'>{content}</query>")).unwrap();
        read(&query, ME, &limits).map_err(|error| error.condition)
    }

    #[test]
    fn a_set_is_read() {
        let read = wish("<item jid='Ä@X' name='Ann' subscription='both' ask='x'><group>g</group></item>");
        let expected = Wish::Set { jid: "ä@x".into(), name: "Ann".into(), groups: vec!["g".into()] };
        assert_eq!(read, Ok(expected));
        assert_eq!(
            wish("<item jid='a@x/R' subscription='remove'/>"),
            Ok(Wish::Remove { jid: "a@x/R".into() })
        );
    }

    #[test]
    fn every_error_of_the_rfc_has_its_condition() {
        for (content, condition) in [
            ("", Condition::BadRequest),
            ("<item jid='a@x'/><item jid='b@x'/>", Condition::BadRequest),
            ("<thing jid='a@x'/>", Condition::BadRequest),
            ("<item/>", Condition::BadRequest),
            ("<item jid=''/>", Condition::JidMalformed),
            ("<item jid='a@@x'/>", Condition::JidMalformed),
            ("<item jid='ME@x'/>", Condition::NotAllowed),
            ("<item jid='a@x' name='longer'/>", Condition::NotAcceptable),
            ("<item jid='a@x'><group/></item>", Condition::NotAcceptable),
            ("<item jid='a@x'><group>longer</group></item>", Condition::NotAcceptable),
            ("<item jid='a@x'><group>a</group><group>a</group></item>", Condition::BadRequest),
            (
                "<item jid='a@x'><group>a</group><group>b</group><group>c</group></item>",
                Condition::NotAcceptable,
            ),
        ] {
            assert_eq!(wish(content), Err(condition), "{content}");
        }
    }
}
