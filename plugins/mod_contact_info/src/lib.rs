//! Contact addresses of the service (XEP-0157): a form in the server's information (XEP-0128).
//!
//! mod_disco answers; this module puts the form into the answer by the hook `disco_info`. Addresses are told as they were
//! configured, in the manner of `mailto:abuse@example.org`; changed ones hold without a restart.

use moult_plugin_api::hooks::InfoAnswer;
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::hooks::Collecting;

module_options! {
    /// Options of mod_contact_info.
    pub struct Options {
        /// Where to report abuse: addresses such as "mailto:abuse@example.org".
        abuse_addresses: Vec<String> = [], max 20;
        /// Where to reach the administrators.
        admin_addresses: Vec<String> = [], max 20;
        /// Where to give feedback.
        feedback_addresses: Vec<String> = [], max 20;
        /// Where to reach sales.
        sales_addresses: Vec<String> = [], max 20;
        /// Where to report a vulnerability.
        security_addresses: Vec<String> = [], max 20;
        /// Where the server's state is published.
        status_addresses: Vec<String> = [], max 20;
        /// Where to get help.
        support_addresses: Vec<String> = [], max 20;
    }
}

/// The module on one vhost.
#[derive(Debug)]
pub struct ContactInfo {
    /// As it is put into answers; none where no address is configured.
    form: Live<Option<String>>,
}

impl Module for ContactInfo {
    type Options = Options;
    const RELOADS: bool = true;

    fn start(host: &Host, options: Options) -> Result<Started<Self>, Stop> {
        host.on_disco_info(50, Self::info)?;
        Started::running(Self { form: Live::new(form(&options)?) })
    }

    fn on_reload(&self, options: Options, changed: bool) -> Result<Reload, Stop> {
        if changed {
            self.form.set(form(&options)?);
        }
        Ok(Reload::Done)
    }
}

impl ContactInfo {
    /// The form is about the server, not about a node of it or an account.
    fn info(&self, question: &Collecting<'_, InfoAnswer>) -> Collect<InfoAnswer> {
        match &*self.form.get() {
            Some(form) if question.node.is_empty() && question.to.localpart().is_none() => {
                let mut answer = question.answer.clone();
                answer.forms.push(form.clone());
                Collect::With(answer)
            }
            _ => Collect::Continue,
        }
    }
}

/// An address without a scheme is a mistake that nobody would notice otherwise.
fn form(options: &Options) -> Result<Option<String>, Stop> {
    let fields = [
        ("abuse-addresses", &options.abuse_addresses),
        ("admin-addresses", &options.admin_addresses),
        ("feedback-addresses", &options.feedback_addresses),
        ("sales-addresses", &options.sales_addresses),
        ("security-addresses", &options.security_addresses),
        ("status-addresses", &options.status_addresses),
        ("support-addresses", &options.support_addresses),
    ];
    for (name, addresses) in fields {
        if let Some(wrong) = addresses.iter().find(|address| !is_uri(address)) {
            return Err(Stop::new(format!(
                "\"{wrong}\" among the {name} is no URI such as mailto:a@example.org"
            )));
        }
    }
    let mut filled = fields.iter().filter(|(_, addresses)| !addresses.is_empty()).peekable();
    if filled.peek().is_none() {
        return Ok(None);
    }
    let kind = field("FORM_TYPE", &[ns::SERVERINFO.to_owned()]).with_attr("type", "hidden");
    let form = Element::new("x").with_ns(ns::DATA_FORMS).with_attr("type", "result").with_child(kind);
    let fields = filled.map(|(name, addresses)| field(name, addresses).with_attr("type", "list-multi"));
    Ok(Some(form.with_children(fields).to_string()))
}

fn is_uri(address: &str) -> bool {
    address.split_once(':').is_some_and(|(scheme, rest)| {
        let is_scheme = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
        !scheme.is_empty() && scheme.bytes().all(is_scheme) && !rest.is_empty()
    })
}

fn field(name: &str, values: &[String]) -> Element {
    let values = values.iter().map(|value| Element::new("value").with_text(value.as_str()));
    Element::new("field").with_attr("var", name).with_children(values)
}

export_module! {
    module: ContactInfo,
    needs_minor: 1,
    xeps: ["0157" "1.1.1", "0128" "1.0.1"],
}

#[cfg(test)]
mod tests {
    use super::*;
    use moult_plugin_api::hooks::name;
    use moult_plugin_api::sdk::element::parse_element;
    use moult_plugin_api::serde_json::{from_slice, json};
    use moult_plugin_api::testing::{FakeHost, HookResult, Instance, StartFailure};

    fn forms(module: &Instance, to: &str, node: &str) -> Vec<Element> {
        let result = module.hook(name::DISCO_INFO, "a@example.org/x", to, &json!({"node": node}), "{}");
        let HookResult::Continued(bytes) = result else { panic!("{result:?}") };
        let answer: InfoAnswer = from_slice(&bytes).unwrap();
        answer.forms.iter().map(|form| parse_element(form).unwrap()).collect()
    }

    #[test]
    fn addresses_are_a_form_about_the_server_alone() {
        let host = FakeHost::new("example.org");
        let module = host.start::<ContactInfo>(r#"{"abuse_addresses": ["mailto:a@b", "xmpp:a@b"]}"#);
        let [form] = forms(&module, "example.org", "").try_into().unwrap();
        let fields: Vec<_> = form.elements().collect();
        assert_eq!(
            (fields[0].attr_s("var"), fields[0].subtag_text("value")),
            ("FORM_TYPE", ns::SERVERINFO.into())
        );
        assert_eq!(
            (fields[1].attr_s("var"), fields[1].elements().count(), fields.len()),
            ("abuse-addresses", 2, 2)
        );
        assert!(
            forms(&module, "example.org", "node").is_empty()
                && forms(&module, "a@example.org", "").is_empty()
        );
    }

    #[test]
    fn without_addresses_there_is_no_form_and_new_ones_hold_at_once() {
        let host = FakeHost::new("example.org");
        let module = host.start::<ContactInfo>("{}");
        assert!(forms(&module, "example.org", "").is_empty());
        assert_eq!(
            module.reload(r#"{"status_addresses": ["https://status.example.org"]}"#, true),
            Ok(Reload::Done)
        );
        assert_eq!(forms(&module, "example.org", "").len(), 1);
        assert!(module.reload(r#"{"status_addresses": ["nobody"]}"#, true).is_err());
        assert_eq!(forms(&module, "example.org", "").len(), 1);
    }

    #[test]
    fn what_is_no_address_fails_the_start() {
        for wrong in ["abuse@example.org", ":x", "mailto:", ""] {
            let options = format!(r#"{{"abuse_addresses": ["{wrong}"]}}"#);
            let failure = FakeHost::new("example.org").try_start::<ContactInfo>(&options).err();
            assert!(
                matches!(failure, Some(StartFailure::Stopped(why)) if why.contains("abuse-addresses")),
                "{wrong}"
            );
        }
    }
}
