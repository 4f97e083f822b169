//! What a client asks for: the form of XEP-0313 and the paging of XEP-0059.

use crate::NS;
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::datetime::parse_date_time;
use moult_plugin_api::sdk::store::Query;

/// XEP-0059.
pub const RSM: &str = "http://jabber.org/protocol/rsm";

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
        .with_child(field("end", "text-single"));
    Element::new("query").with_ns(NS).with_child(form)
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

fn time(name: &str, text: &str) -> Result<i64, StanzaError> {
    parse_date_time(text)
        .ok_or_else(|| StanzaError::bad_request(format!("`{name}` is no point in time of XEP-0082")))
}
