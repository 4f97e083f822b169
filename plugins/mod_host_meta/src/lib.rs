//! Where clients in browsers find this server (XEP-0156): `/.well-known/host-meta` in XML and `/.well-known/host-meta.json`.
//!
//! One instance answers for all vhosts; the `Host` header says which one is asked about. What it says is put into addresses
//! only, and only if it can be a domain; whoever sends a wrong one is told something about that one.

use moult_plugin_api::prelude::*;
use moult_plugin_api::serde_json::json;

const XML_PATH: &str = "/.well-known/host-meta";
const JSON_PATH: &str = "/.well-known/host-meta.json";
const XRD: &str = "http://docs.oasis-open.org/ns/xri/xrd-1.0";
const WEBSOCKET: &str = "urn:xmpp:alt-connections:websocket";
const BOSH: &str = "urn:xmpp:alt-connections:xbosh";

module_options! {
    /// Options of mod_host_meta.
    pub struct Options {
        /// Where clients find the WebSocket; empty hides it. @HOST@ stands for the domain that is asked about.
        websocket: String = "wss://@HOST@/ws";
        /// Where they find BOSH; empty hides it.
        bosh: String = "https://@HOST@/bosh";
    }
}

/// The module, one for the whole server.
#[derive(Debug)]
pub struct HostMeta {
    links: Vec<(&'static str, String)>,
}

impl Module for HostMeta {
    type Options = Options;

    fn start(host: &Host, options: Options) -> Result<Started<Self>, Stop> {
        let links: Vec<_> = [
            (WEBSOCKET, options.websocket, ["wss://", "ws://"]),
            (BOSH, options.bosh, ["https://", "http://"]),
        ]
        .into_iter()
        .filter(|(_, address, _)| !address.is_empty())
        .collect();
        if let Some((_, wrong, schemes)) = links
            .iter()
            .find(|(_, address, schemes)| !schemes.iter().any(|scheme| address.starts_with(scheme)))
        {
            return Err(Stop::new(format!("\"{wrong}\" has to begin with {} or {}", schemes[0], schemes[1])));
        }
        if links.is_empty() {
            info!(host, "neither WebSocket nor BOSH is configured: the module has nothing to do");
            return Ok(Started::Ignore);
        }
        host.on_http(XML_PATH, HttpAuth::None, Self::xml)?;
        host.on_http(JSON_PATH, HttpAuth::None, Self::json)?;
        Started::running(Self { links: links.into_iter().map(|(rel, address, _)| (rel, address)).collect() })
    }
}

impl HostMeta {
    fn xml(&self, request: &HttpRequest<'_>) -> HttpResponse {
        self.answer(request, XML_PATH, "application/xrd+xml; charset=utf-8", |links| {
            let link = |(rel, href): &(&str, String)| {
                Element::new("Link").with_attr("rel", *rel).with_attr("href", href)
            };
            let xrd = Element::new("XRD").with_ns(XRD).with_children(links.iter().map(link));
            format!("<?xml version='1.0' encoding='utf-8'?>{}", xrd)
        })
    }

    fn json(&self, request: &HttpRequest<'_>) -> HttpResponse {
        self.answer(request, JSON_PATH, "application/json", |links| {
            let links: Vec<_> = links.iter().map(|(rel, href)| json!({ "rel": rel, "href": href })).collect();
            json!({ "links": links }).to_string()
        })
    }

    fn answer(
        &self,
        request: &HttpRequest<'_>,
        path: &str,
        kind: &str,
        write: impl FnOnce(&[(&str, String)]) -> String,
    ) -> HttpResponse {
        if request.path.trim_end_matches('/') != path {
            return HttpResponse::text(404, "There is nothing at this path.");
        }
        if !matches!(&*request.method, "GET" | "HEAD") {
            return HttpResponse::text(405, "This path takes GET.").header("allow", "GET, HEAD");
        }
        let Some(domain) = domain(request) else {
            return HttpResponse::text(400, "The Host header has to name a domain.");
        };
        let links: Vec<(&str, String)> =
            self.links.iter().map(|(rel, address)| (*rel, address.replace("@HOST@", domain))).collect();
        // Section 3 of XEP-0156: scripts of every site may read it.
        HttpResponse::text(200, write(&links))
            .header("content-type", kind)
            .header("access-control-allow-origin", "*")
            .header("vary", "Host")
    }
}

/// The host without its port, if it can be a domain or an address.
fn domain<'a>(request: &'a HttpRequest<'_>) -> Option<&'a str> {
    let host = request.header("host")?;
    let without_port = match host.rsplit_once(':') {
        Some((domain, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => domain,
        _ => host,
    };
    let may = |byte: u8| byte.is_ascii_alphanumeric() || b"-.[]:".contains(&byte);
    (!without_port.is_empty() && without_port.len() <= 255 && without_port.bytes().all(may))
        .then_some(without_port)
}

export_module! {
    module: HostMeta,
    scope: global,
    xeps: ["0156" "1.4.0"],
}

#[cfg(test)]
mod tests {
    use super::*;
    use moult_plugin_api::sdk::element::parse_element;
    use moult_plugin_api::serde_json::Value;
    use moult_plugin_api::testing::{FakeHost, Instance};

    fn module(options: &str) -> Instance {
        FakeHost::new("global").start::<HostMeta>(options)
    }

    fn text(response: &HttpResponse) -> String {
        String::from_utf8(response.body.clone()).unwrap()
    }

    #[test]
    fn both_forms_name_the_addresses_of_the_domain_that_is_asked_about() {
        let module = module(r#"{"bosh": "https://web.@HOST@:5281/bosh"}"#);
        let host = [("Host", "example.org:8443")];
        let response = module.http("GET", XML_PATH, &host, "");
        assert_eq!(response.status, 200);
        assert_eq!(response.headers["content-type"], "application/xrd+xml; charset=utf-8");
        assert_eq!(response.headers["access-control-allow-origin"], "*");
        let xml = text(&response);
        let xrd = parse_element(xml.strip_prefix("<?xml version='1.0' encoding='utf-8'?>").unwrap()).unwrap();
        assert_eq!((xrd.name(), xrd.ns()), ("XRD", Some(XRD)), "{xml}");
        let links: Vec<_> =
            xrd.elements().map(|link| (link.attr("rel").unwrap(), link.attr("href").unwrap())).collect();
        let expected = [(WEBSOCKET, "wss://example.org/ws"), (BOSH, "https://web.example.org:5281/bosh")];
        assert_eq!(links, expected, "{xml}");

        let response = module.http("GET", JSON_PATH, &host, "");
        assert_eq!(response.headers["content-type"], "application/json");
        let value: Value = moult_plugin_api::serde_json::from_slice(&response.body).unwrap();
        assert_eq!(value["links"][0]["rel"], WEBSOCKET);
        assert_eq!(value["links"][1]["href"], expected[1].1);
    }

    #[test]
    fn what_is_not_offered_is_not_named() {
        let asked = |options| text(&module(options).http("GET", XML_PATH, &[("Host", "a.example")], ""));
        let xml = asked("{}");
        assert!(xml.contains("'wss://a.example/ws'") && xml.contains("'https://a.example/bosh'"), "{xml}");
        let xml = asked(r#"{"bosh": ""}"#);
        assert!(xml.contains("wss://a.example/ws") && !xml.contains("xbosh"), "{xml}");
    }

    #[test]
    fn requests_that_make_no_sense_are_refused() {
        let module = module("{}");
        for (method, path, host, status) in [
            ("POST", XML_PATH, "a.example", 405),
            ("GET", "/.well-known/host-meta/x", "a.example", 404),
            ("GET", XML_PATH, "", 400),
            ("GET", XML_PATH, "a'/><b", 400),
            ("GET", JSON_PATH, "a b", 400),
            ("GET", JSON_PATH, "[::1]:5280", 200),
        ] {
            assert_eq!(
                module.http(method, path, &[("Host", host)], "").status,
                status,
                "{method} {path} {host}"
            );
        }
        assert_eq!(module.http("GET", XML_PATH, &[], "").status, 400);
    }

    #[test]
    fn an_address_with_another_scheme_is_a_mistake_and_none_at_all_leaves_nothing_to_do() {
        let host = FakeHost::new("global");
        assert!(host.try_start::<HostMeta>(r#"{"websocket": "https://a.example/ws"}"#).is_err());
        assert!(host.try_start::<HostMeta>(r#"{"websocket": "", "bosh": ""}"#).is_err());
    }
}
