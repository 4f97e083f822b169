//! What the directory knows of an account, and whether a search finds it. Pure.

use moult_plugin_api::prelude::*;
use moult_plugin_api::serde::{Deserialize, Serialize};

/// A field: its name in forms, what it is called, and where a vCard has it.
pub struct Field {
    /// In forms, and of four of them in XEP-0055 itself.
    pub name: &'static str,
    /// For people.
    pub label: &'static str,
    /// Element of the vCard, and element in that.
    place: (&'static str, &'static str),
}

const fn field(name: &'static str, label: &'static str, place: (&'static str, &'static str)) -> Field {
    Field { name, label, place }
}

/// All fields, named as ejabberd names them. The first one is no part of a vCard.
pub const FIELDS: [Field; 12] = [
    field("user", "User", ("", "")),
    field("fn", "Full name", ("FN", "")),
    field("last", "Family name", ("N", "FAMILY")),
    field("first", "Given name", ("N", "GIVEN")),
    field("middle", "Middle name", ("N", "MIDDLE")),
    field("nick", "Nickname", ("NICKNAME", "")),
    field("bday", "Birthday", ("BDAY", "")),
    field("ctry", "Country", ("ADR", "CTRY")),
    field("locality", "City", ("ADR", "LOCALITY")),
    field("email", "Email", ("EMAIL", "USERID")),
    field("orgname", "Organisation", ("ORG", "ORGNAME")),
    field("orgunit", "Unit of it", ("ORG", "ORGUNIT")),
];

/// Those that XEP-0055 has without a form.
pub const PLAIN: [&str; 4] = ["first", "last", "nick", "email"];

/// The longest value that is kept and looked for, in characters.
const LONGEST: usize = 200;

/// An account in the directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(crate = "moult_plugin_api::serde", default)]
pub struct Entry {
    /// As [`FIELDS`], but for the first; nothing where there is no vCard.
    pub values: Vec<String>,
    /// What the account has said about being found.
    pub shown: Option<bool>,
}

impl Entry {
    /// With another vCard; `None`: it has none.
    pub fn with_card(self, card: Option<&Element>) -> Self {
        let values = card.map(|card| FIELDS[1..].iter().map(|field| value(card, field.place)).collect());
        Self { values: values.unwrap_or_default(), ..self }
    }

    /// Whether there is nothing to remember.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty() && self.shown.is_none()
    }

    /// Whether searches may find it.
    pub fn is_shown(&self, opt_in: bool) -> bool {
        !self.values.is_empty() && self.shown.unwrap_or(!opt_in)
    }

    /// The value of a field of this account.
    pub fn value<'a>(&'a self, account: &'a str, name: &str) -> &'a str {
        let index = FIELDS.iter().position(|field| field.name == name);
        match index {
            Some(0) => account.split('@').next().unwrap_or_default(),
            Some(index) => self.values.get(index - 1).map_or("", String::as_str),
            None => "",
        }
    }
}

/// The first one that has something to say: there may be several addresses, of which some have no city.
fn value(card: &Element, (outer, inner): (&str, &str)) -> String {
    let outer = card.elements().filter(|element| element.name() == outer);
    let texts = outer.map(|element| match inner {
        "" => element.text(),
        // Some clients write an address without an element for it.
        inner => element
            .subtag(inner)
            .map_or_else(|| if inner == "USERID" { element.text() } else { String::new() }, Element::text),
    });
    let texts = texts.map(|text| text.trim().chars().take(LONGEST).collect::<String>());
    texts.into_iter().find(|text| !text.is_empty()).unwrap_or_default()
}

/// What is looked for: each of these fields must fit.
#[derive(Clone, Debug, Default)]
pub struct Search(Vec<(&'static str, Pattern)>);

/// A `*` at the beginning or the end stands for any text.
#[derive(Clone, Debug)]
struct Pattern {
    text: String,
    open_start: bool,
    open_end: bool,
}

impl Search {
    /// Adds what a client wrote into a field. What is empty or fits everything is left out.
    pub fn add(&mut self, name: &str, wanted: &str) {
        let Some(field) = FIELDS.iter().find(|field| field.name == name) else { return };
        let wanted: String = wanted.trim().chars().take(LONGEST).collect();
        let wanted = wanted.to_lowercase();
        let text = wanted.trim_matches('*');
        if !text.is_empty() {
            let (open_start, open_end) = (wanted.starts_with('*'), wanted.ends_with('*'));
            self.0.push((field.name, Pattern { text: text.to_owned(), open_start, open_end }));
        }
    }

    /// Whether everybody would be found.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this account is found.
    pub fn finds(&self, account: &str, entry: &Entry) -> bool {
        self.0.iter().all(|(name, pattern)| pattern.fits(&entry.value(account, name).to_lowercase()))
    }
}

impl Pattern {
    fn fits(&self, value: &str) -> bool {
        let text = self.text.as_str();
        match (self.open_start, self.open_end) {
            (false, false) => value == text,
            (false, true) => value.starts_with(text),
            (true, false) => value.ends_with(text),
            (true, true) => value.contains(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use moult_plugin_api::sdk::element::parse_element;

    fn entry() -> Entry {
        let card = "<vCard xmlns='vcard-temp'><FN>Juliet Capulet</FN><N><FAMILY>Capulet</FAMILY><GIVEN> Juliet </GIVEN></N>\
                    <ADR><HOME/></ADR><ADR><LOCALITY>Verona</LOCALITY></ADR><EMAIL>j@capulet.example</EMAIL>\
                    <NICKNAME>Jülchen</NICKNAME><ORG><ORGNAME>House</ORGNAME></ORG></vCard>";
        Entry::default().with_card(Some(&parse_element(card).unwrap()))
    }

    #[test]
    fn a_card_is_read_wherever_it_has_its_values() {
        let values: Vec<_> =
            FIELDS.iter().map(|field| entry().value("juliet@x", field.name).to_owned()).collect();
        let expected = [
            "juliet",
            "Juliet Capulet",
            "Capulet",
            "Juliet",
            "",
            "Jülchen",
            "",
            "",
            "Verona",
            "j@capulet.example",
            "House",
            "",
        ];
        assert_eq!(values, expected);
        let long = format!("<vCard xmlns='vcard-temp'><FN>{}</FN></vCard>", "x".repeat(5000));
        let entry = Entry::default().with_card(Some(&parse_element(&long).unwrap()));
        assert_eq!(entry.value("a@x", "fn").len(), LONGEST);
    }

    #[test]
    fn every_field_must_fit_without_regard_to_case() {
        let finds = |wanted: &[(&str, &str)]| {
            let mut search = Search::default();
            wanted.iter().for_each(|(name, text)| search.add(name, text));
            search.finds("juliet@x", &entry())
        };
        for (name, text, is_found) in [
            ("last", "capulet", true),
            ("last", "CAP*", true),
            ("last", "cap", false),
            ("last", "*let", true),
            ("fn", "*t c*", true),
            ("nick", "JÜL*", true),
            ("user", "juliet", true),
            ("middle", "x", false),
        ] {
            assert_eq!(finds(&[(name, text)]), is_found, "{name} {text}");
        }
        assert!(finds(&[("first", "j*"), ("locality", "verona")]));
        assert!(!finds(&[("first", "j*"), ("locality", "mantua")]));
    }

    #[test]
    fn what_fits_everything_is_no_search() {
        let mut search = Search::default();
        for (name, text) in [("last", "*"), ("last", "  "), ("last", "***"), ("unknown", "x")] {
            search.add(name, text);
        }
        assert!(search.is_empty());
    }

    #[test]
    fn who_is_shown() {
        let of = |shown| Entry { shown, ..entry() };
        let cases = [None, Some(true), Some(false)]
            .map(|shown| [false, true].map(|opt_in| of(shown).is_shown(opt_in)));
        assert_eq!(cases, [[true, false], [true, true], [false, false]]);
        assert!(
            !Entry { shown: Some(true), ..Entry::default() }.is_shown(false),
            "without a card there is nothing to show"
        );
    }
}
