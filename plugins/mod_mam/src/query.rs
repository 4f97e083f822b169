//! What a client asks for: the form of XEP-0313 and the paging of XEP-0059.

use crate::NS;
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::datetime::parse_date_time;
use moult_plugin_api::sdk::store::Query;

/// XEP-0059.
pub const RSM: &str = "http://jabber.org/protocol/rsm";

/// Messages that one request may name.
pub const MAX_IDS: usize = 200;

/// A request for messages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Repeated in every result.
    pub queryid: Option<String>,
    /// Only messages with this address.
    pub with: Option<Jid<'static>>,
    start_ms: Option<i64>,
    end_ms: Option<i64>,
    after: String,
    before: String,
    /// Only what lies between these two, whichever way is paged (4.1.3).
    after_id: String,
    before_id: String,
    /// Only these (4.1.4).
    pub ids: Vec<String>,
    /// Whether the page is sent from its end (4.3.1).
    pub is_flipped: bool,
    /// The last page instead of the first.
    last: bool,
    /// At most so many, where the client says.
    pub max: Option<usize>,
}

/// The fields that can be asked by (XEP-0313 4.1.5).
pub fn form() -> Element {
    let field = |var: &str, kind: &str| Element::new("field").with_attr("var", var).with_attr("type", kind);
    let form_type = field("FORM_TYPE", "hidden").with_child(Element::new("value").with_text(NS));
    let form = Element::new("x")
        .with_ns(ns::DATA_FORMS)
        .with_attr("type", "form")
        .with_child(form_type)
        .with_child(field("with", "jid-single"))
        .with_child(field("start", "text-single"))
        .with_child(field("end", "text-single"))
        .with_child(field("before-id", "text-single"))
        .with_child(field("after-id", "text-single"))
        .with_child(field("ids", "list-multi").with_child(open_list()));
    Element::new("query").with_ns(NS).with_child(form)
}

/// Any text may be given (XEP-0122).
fn open_list() -> Element {
    Element::new("validate")
        .with_ns("http://jabber.org/protocol/xdata-validate")
        .with_attr("datatype", "xs:string")
        .with_child(Element::new("open"))
}

impl Wanted {
    pub fn read(query: &Element) -> Result<Self, StanzaError> {
        let mut wanted = Self { queryid: query.attr("queryid").map(str::to_owned), ..Self::default() };
        if let Some(form) = query.subtag_ns("x", ns::DATA_FORMS) {
            wanted.read_form(form)?;
        }
        if let Some(set) = query.subtag_ns("set", RSM) {
            wanted.read_paging(set)?;
        }
        wanted.is_flipped = query.subtag("flip-page").is_some();
        Ok(wanted)
    }

    fn read_form(&mut self, form: &Element) -> Result<(), StanzaError> {
        for field in form.elements().filter(|e| e.name() == "field") {
            let value = field.subtag_text("value");
            match field.attr_s("var") {
                "FORM_TYPE" if value == NS => {}
                "FORM_TYPE" => return Err(StanzaError::bad_request("this is the form of something else")),
                "with" => {
                    let with = Jid::parse(value.trim());
                    self.with =
                        Some(with.map_err(|e| StanzaError::bad_request(format!("`with` is no JID: {e}")))?);
                }
                "start" => self.start_ms = Some(time("start", &value)?),
                "end" => self.end_ms = Some(time("end", &value)?),
                "before-id" => value.trim().clone_into(&mut self.before_id),
                "after-id" => value.trim().clone_into(&mut self.after_id),
                "ids" => self.ids = ids(field)?,
                other => {
                    let text = format!("there is no field \"{other}\"");
                    return Err(StanzaError::new(Condition::FeatureNotImplemented, text));
                }
            }
        }
        Ok(())
    }

    fn read_paging(&mut self, set: &Element) -> Result<(), StanzaError> {
        if set.subtag("index").is_some() {
            let text = "pages are not addressed by number";
            return Err(StanzaError::new(Condition::FeatureNotImplemented, text));
        }
        if let Some(max) = set.subtag("max") {
            let max = max.text().trim().parse();
            self.max = Some(max.map_err(|_| StanzaError::bad_request("`max` is a number"))?);
        }
        self.after = set.subtag_text("after").trim().to_owned();
        if let Some(before) = set.subtag("before") {
            self.last = true;
            before.text().trim().clone_into(&mut self.before);
        }
        Ok(())
    }

    /// The two ids that bound the range on each side: that of the page and that of the form.
    pub fn bounds(&self) -> [[&str; 2]; 2] {
        [[&self.after, &self.after_id], [&self.before, &self.before_id]]
    }

    /// The range, once it is known which of two bounds is the narrower one.
    pub fn set_bounds(&mut self, after: String, before: String) {
        (self.after, self.before) = (after, before);
    }

    /// Whether the last page is wanted instead of the first.
    pub fn is_last(&self) -> bool {
        self.last
    }

    /// As the archive is asked.
    pub fn to_query(&self, limit: usize) -> Query {
        Query {
            with: self.with.as_ref().map(|with| with.bare().as_str().to_owned()).unwrap_or_default(),
            start_ms: self.start_ms,
            end_ms: self.end_ms,
            after: self.after.clone(),
            before: self.before.clone(),
            limit: Some(limit),
            reverse: self.last,
        }
    }
}

fn ids(field: &Element) -> Result<Vec<String>, StanzaError> {
    let values = field.elements().filter(|child| child.name() == "value");
    let mut ids: Vec<String> = values.map(|value| value.text().trim().to_owned()).collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.is_empty() || ids.len() > MAX_IDS {
        let text = format!("`ids` names 1 to {MAX_IDS} messages");
        return Err(StanzaError::bad_request(text));
    }
    Ok(ids)
}

fn time(name: &str, text: &str) -> Result<i64, StanzaError> {
    parse_date_time(text)
        .ok_or_else(|| StanzaError::bad_request(format!("`{name}` is no point in time of XEP-0082")))
}
