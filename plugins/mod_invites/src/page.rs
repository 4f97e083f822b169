//! The page of an invitation (XEP-0379 section 3.3): who invites, the link, and where to find a client. It runs no script
//! and loads nothing.

use crate::Invites;
use crate::invite::{Invite, Kind};
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::datetime::now_ms;
use moult_plugin_api::sdk::element::escape;

/// Tokens in addresses must not reach others by a referrer or a cache.
const HEADERS: [(&str, &str); 5] = [
    ("content-type", "text/html; charset=utf-8"),
    ("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    ("referrer-policy", "no-referrer"),
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
];

const STYLE: &str = "body{font-family:sans-serif;max-width:34em;margin:3em auto;padding:0 1em;line-height:1.5}\
     a.go{display:inline-block;padding:.6em 1.2em;border-radius:.4em;background:#205080;color:#fff;text-decoration:none}";

impl Invites {
    pub(crate) fn page(&self, request: &HttpRequest<'_>) -> HttpResponse {
        if !matches!(&*request.method, "GET" | "HEAD") {
            return HttpResponse::text(405, "an invitation is read by GET").header("allow", "GET, HEAD");
        }
        let token = request.path.strip_prefix(&self.path).unwrap_or_default().trim_matches('/');
        let invite = self.book().valid(token, now_ms()).cloned();
        let (status, title, body) = match &invite {
            Some(invite) => (200, self.title(invite), self.body(invite, token)),
            None => (404, "This invitation is not valid".to_owned(), GONE.to_owned()),
        };
        let title = escape(&title);
        let page = format!(
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style></head>\
             <body><h1>{title}</h1>\n{body}</body></html>\n"
        );
        HEADERS.iter().fold(HttpResponse::text(status, page), |page, (name, value)| page.header(name, value))
    }

    fn title(&self, invite: &Invite) -> String {
        let vhost = self.host.vhost();
        match (invite.kind, invite.inviter.is_empty()) {
            (Kind::RosterOnly, _) => format!("{} has invited you to chat", invite.inviter),
            (_, true) => format!("You are invited to an account on {vhost}"),
            (_, false) => format!("{} has invited you to an account on {vhost}", invite.inviter),
        }
    }

    fn body(&self, invite: &Invite, token: &str) -> String {
        let uri = invite.uri(self.host.vhost(), token);
        let (uri, options) = (escape(&uri).into_owned(), self.options.get());
        let clients = escape(&options.clients_url).into_owned();
        let action = if invite.kind == Kind::RosterOnly { "Add the contact" } else { "Make the account" };
        format!(
            "<p><a class=\"go\" href=\"{uri}\">{action}</a></p>\n\
             <p>If this link does not work, you need an XMPP client first. \
             <a href=\"{clients}\">Choose one</a>, install it, and visit this page again.</p>\n\
             <p>XMPP is instant messaging that belongs to no provider: you can pick from many clients and servers. \
             If you do not want this invitation, nothing needs to be done.</p>\n"
        )
    }
}

const GONE: &str = "<p>It was used, has expired, or never was one. Ask for another.</p>\n";
