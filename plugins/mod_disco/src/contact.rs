//! Contact addresses of the service (XEP-0157), as a form in the server's information (XEP-0128).

use crate::Options;
use moult_plugin_api::prelude::*;

/// The form; none where no address is configured.
pub fn contact_form(options: &Options) -> Option<Element> {
    let fields = [
        ("abuse-addresses", &options.abuse_addresses),
        ("admin-addresses", &options.admin_addresses),
        ("feedback-addresses", &options.feedback_addresses),
        ("sales-addresses", &options.sales_addresses),
        ("security-addresses", &options.security_addresses),
        ("status-addresses", &options.status_addresses),
        ("support-addresses", &options.support_addresses),
    ];
    if fields.iter().all(|(_, addresses)| addresses.is_empty()) {
        return None;
    }
    let form = Element::new("x").with_ns(ns::DATA_FORMS).with_attr("type", "result");
    let kind = field("FORM_TYPE", &[ns::SERVERINFO.to_owned()]).with_attr("type", "hidden");
    let filled = fields.iter().filter(|(_, addresses)| !addresses.is_empty());
    Some(form.with_child(kind).with_children(filled.map(|(name, addresses)| field(name, addresses))))
}

fn field(name: &str, values: &[String]) -> Element {
    let values = values.iter().map(|value| Element::new("value").with_text(value.as_str()));
    Element::new("field").with_attr("var", name).with_children(values)
}
