//! The service's domain: discovery, and requests for slots (XEP-0363 section 5).

use crate::naming::is_name;
use crate::slots::{Slot, is_media_type};
use crate::{NS, Upload};
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::ErrorType;
use moult_plugin_api::sdk::datetime::{date_time_ms, now_ms};
use std::sync::Arc;

/// An error with the element that XEP-0363 puts beside the condition.
struct Refusal {
    error: StanzaError,
    more: Option<Element>,
}

impl From<StanzaError> for Refusal {
    fn from(error: StanzaError) -> Self {
        Self { error, more: None }
    }
}

impl From<HostError> for Refusal {
    fn from(error: HostError) -> Self {
        StanzaError::from(error).into()
    }
}

impl Upload {
    /// One at a time and in order, so that nobody gets past the quota by asking twice at once.
    pub(crate) async fn stanza(self: Arc<Self>, stanza: Stanza<'static>) -> Flow {
        let kind = stanza.type_attr().unwrap_or_default();
        if stanza.name() != "iq" || !matches!(kind.as_str(), "get" | "set") {
            return Flow::Continue;
        }
        let answered = match self.answer(&stanza, kind == "get").await {
            Ok(payload) => reply(&stanza, "result").with_child(payload),
            Err(Refusal { error, more }) => {
                let error = error.to_element().with_children(more);
                reply(&stanza, "error").with_child(error)
            }
        };
        if let Err(error) = self.host.route_element(stanza.to(), stanza.from(), &answered) {
            debug!(self.host.about(stanza.from()), "an answer was not sent: {error}");
        }
        Flow::Continue
    }

    async fn answer(&self, stanza: &Stanza<'_>, get: bool) -> Result<Element, Refusal> {
        let iq = stanza.element()?;
        let payload =
            iq.elements().next().ok_or_else(|| StanzaError::bad_request("a request has a payload"))?;
        if !get {
            return Err(StanzaError::not_allowed("everything here is asked for by a get").into());
        }
        if stanza.to().localpart().is_some() {
            return Err(StanzaError::new(Condition::ServiceUnavailable, "").into());
        }
        match (payload.name(), payload.ns().unwrap_or_default()) {
            ("query", ns::DISCO_INFO) if payload.attr_s("node").is_empty() => Ok(self.info()),
            ("query", ns::DISCO_ITEMS) if payload.attr_s("node").is_empty() => {
                Ok(Element::new("query").with_ns(ns::DISCO_ITEMS))
            }
            ("query", ns::DISCO_INFO | ns::DISCO_ITEMS) => {
                Err(StanzaError::item_not_found("there is no such node").into())
            }
            ("ping", ns::PING) => Ok(Element::new("ping").with_ns(ns::PING)),
            ("request", NS) => self.slot(stanza.from(), payload).await,
            _ => Err(StanzaError::new(Condition::ServiceUnavailable, "").into()),
        }
    }

    fn info(&self) -> Element {
        let feature = |var: &str| Element::new("feature").with_attr("var", var);
        let identity = Element::new("identity")
            .with_attr("category", "store")
            .with_attr("type", "file")
            .with_attr("name", self.options.get().name.as_str());
        let field = |var: &str, value: &str| {
            Element::new("field").with_attr("var", var).with_child(Element::new("value").with_text(value))
        };
        let form = Element::new("x")
            .with_ns(ns::DATA_FORMS)
            .with_attr("type", "result")
            .with_child(field("FORM_TYPE", NS).with_attr("type", "hidden"))
            .with_child(field("max-file-size", &self.options.get().max_size.to_string()));
        Element::new("query")
            .with_ns(ns::DISCO_INFO)
            .with_child(identity)
            .with_children([ns::DISCO_INFO, ns::DISCO_ITEMS, ns::PING, NS].map(feature))
            .with_child(form)
    }

    async fn slot(&self, asker: &Jid<'_>, request: &Element) -> Result<Element, Refusal> {
        if asker.domain() != self.host.vhost() || asker.localpart().is_none() {
            return Err(StanzaError::forbidden("files are taken from users of this server").into());
        }
        let name = request.attr_s("filename");
        if !is_name(name) {
            return Err(StanzaError::bad_request("a file has a name without slashes").into());
        }
        let size = request.attr_s("size").parse::<u64>().ok().filter(|size| *size > 0);
        let size = size.ok_or_else(|| StanzaError::bad_request("a file has a size in bytes"))?;
        let kind = request.attr_s("content-type");
        if !is_media_type(kind) {
            return Err(StanzaError::bad_request("the content type is none").into());
        }
        if size > self.options.get().max_size {
            return Err(self.too_large());
        }
        let owner = asker.bare().as_str().to_owned();
        let (bytes, files) = self.used(&owner).await?;
        if bytes.saturating_add(size) > self.options.get().quota || files >= self.options.get().max_files {
            return Err(self.full());
        }
        let slot =
            Slot { owner, name: name.to_owned(), size, kind: kind.to_owned(), at: now_ms(), stored: false };
        let url = self.make(&slot).await?;
        let place = |element: &str| Element::new(element).with_attr("url", url.as_str());
        Ok(Element::new("slot").with_ns(NS).with_child(place("put")).with_child(place("get")))
    }

    fn too_large(&self) -> Refusal {
        let limit = Element::new("max-file-size").with_text(self.options.get().max_size.to_string());
        let more = Element::new("file-too-large").with_ns(NS).with_child(limit);
        let error = StanzaError::new(Condition::NotAcceptable, "The file is too large.");
        Refusal { error, more: Some(more) }
    }

    /// XEP-0363 5: when a later try may do better. Unused slots go first, files when they are old.
    fn full(&self) -> Refusal {
        let lifetime = i64::try_from(self.options.get().slot_lifetime.as_millis()).unwrap_or(i64::MAX);
        let later = date_time_ms(now_ms().saturating_add(lifetime));
        let mut error = StanzaError::new(Condition::ResourceConstraint, "You keep as much as you may.");
        error.kind = ErrorType::Wait;
        Refusal { error, more: Some(Element::new("retry").with_ns(NS).with_attr("stamp", later)) }
    }
}

fn reply(stanza: &Stanza<'_>, kind: &str) -> Element {
    Element::new("iq").with_attr("type", kind).with_attr("id", stanza.id().unwrap_or_default())
}
