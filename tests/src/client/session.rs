//! A client with an open stream: send, expect, request.

use std::collections::VecDeque;
use std::io;

use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::eventually::DEADLINE;
use crate::tls::Transport;
use crate::xml::{Element, Piece, Splitter};

/// What a server may send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// A stanza, or an element of the negotiation.
    Stanza(Element),
    /// `<stream:error/>`.
    StreamError(Element),
    /// `</stream:stream>` or the end of the connection.
    Closed,
}

/// A client. Made by [`Login`](super::Login).
#[derive(Debug)]
pub struct Client {
    transport: Transport,
    splitter: Splitter,
    domain: String,
    jid: String,
    /// Received and not asked for yet.
    inbox: VecDeque<Element>,
    last_id: u64,
}

impl Client {
    pub(super) fn over(socket: TcpStream, domain: &str) -> Client {
        Client {
            transport: Transport::plain(socket),
            splitter: Splitter::new(),
            domain: domain.to_owned(),
            jid: String::new(),
            inbox: VecDeque::new(),
            last_id: 0,
        }
    }

    pub(super) fn transport(&mut self) -> &mut Transport {
        &mut self.transport
    }

    pub(super) fn bound(&mut self, jid: String) {
        self.jid = jid;
    }

    pub(super) fn forget_stream(&mut self) {
        self.splitter.restart();
    }

    /// The full JID that the server gave us.
    pub fn jid(&self) -> &str {
        &self.jid
    }

    /// The bare JID of the account.
    pub fn bare_jid(&self) -> &str {
        self.jid.split('/').next().unwrap_or_default()
    }

    /// The bound resource.
    pub fn resource(&self) -> &str {
        self.jid.split_once('/').map(|(_, resource)| resource).unwrap_or_default()
    }

    /// The vhost.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Sends text as it is.
    pub async fn send(&mut self, xml: impl AsRef<str>) {
        let written = timeout(DEADLINE, self.transport.write_all(xml.as_ref().as_bytes())).await;
        let written =
            written.unwrap_or_else(|_| panic!("{} cannot write: the server does not read", self.jid));
        written.unwrap_or_else(|error| panic!("{} cannot write: {error}", self.jid));
    }

    /// The same to a server that may be gone.
    pub async fn try_send(&mut self, xml: &str) -> io::Result<()> {
        let written = timeout(DEADLINE, self.transport.write_all(xml.as_bytes())).await;
        written.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Sends a chat message.
    pub async fn message(&mut self, to: &str, body: &str) {
        let (id, body) = (self.fresh_id(), crate::xml::escape(body));
        self.send(format!("<message to='{to}' type='chat' id='{id}'><body>{body}</body></message>")).await;
    }

    /// Becomes available and waits for the server's own copy of that presence (RFC 6121 section 4.2.2).
    pub async fn available(&mut self) {
        self.available_with("").await;
    }

    /// The same with a priority.
    pub async fn available_with_priority(&mut self, priority: i8) {
        self.available_with(&format!("<priority>{priority}</priority>")).await;
    }

    async fn available_with(&mut self, payload: &str) {
        self.send(format!("<presence>{payload}</presence>")).await;
        let own = self.jid.clone();
        self.expect("the own presence", |stanza| {
            stanza.name == "presence" && stanza.attr("from") == Some(&own) && stanza.attr("type").is_none()
        })
        .await;
    }

    /// Sends an IQ get and waits for its answer.
    pub async fn get(&mut self, to: &str, payload: &str) -> Element {
        self.request("get", to, payload).await
    }

    /// Sends an IQ set and waits for its answer.
    pub async fn set(&mut self, to: &str, payload: &str) -> Element {
        self.request("set", to, payload).await
    }

    async fn request(&mut self, kind: &str, to: &str, payload: &str) -> Element {
        let id = self.fresh_id();
        self.send(format!("<iq type='{kind}' to='{to}' id='{id}'>{payload}</iq>")).await;
        self.answer_to(&id).await
    }

    /// Waits for the result or error with this id.
    pub async fn answer_to(&mut self, id: &str) -> Element {
        self.expect(&format!("the answer to {id}"), |stanza| {
            stanza.name == "iq"
                && stanza.attr("id") == Some(id)
                && matches!(stanza.attr("type"), Some("result" | "error"))
        })
        .await
    }

    /// Waits for the next message.
    pub async fn expect_message(&mut self) -> Element {
        self.expect("a message", |stanza| stanza.name == "message").await
    }

    /// Waits for the next presence.
    pub async fn expect_presence(&mut self) -> Element {
        self.expect("a presence", |stanza| stanza.name == "presence").await
    }

    /// Waits for the first stanza that `wanted` accepts; the others stay in the inbox, in order.
    pub async fn expect(&mut self, what: &str, wanted: impl Fn(&Element) -> bool) -> Element {
        if let Some(position) = self.inbox.iter().position(&wanted) {
            return self.inbox.remove(position).expect("the position was just found");
        }
        loop {
            match self.incoming().await {
                Ok(Incoming::Stanza(stanza)) if wanted(&stanza) => return stanza,
                Ok(Incoming::Stanza(stanza)) => self.inbox.push_back(stanza),
                other => panic!("{} waits for {what} and got {other:?}; unread: {:?}", self.jid, self.inbox),
            }
        }
    }

    /// The next stanza of any kind.
    pub async fn next_stanza(&mut self) -> Element {
        self.expect("any stanza", |_| true).await
    }

    /// Makes a round trip to the server and returns everything that came before its answer.
    ///
    /// What other clients have sent before this call and the server has routed to us is in it.
    pub async fn received(&mut self) -> Vec<Element> {
        let domain = self.domain.clone();
        self.get(&domain, "<query xmlns='urn:moult:test:round-trip'/>").await;
        self.inbox.drain(..).collect()
    }

    /// Waits for the stream error the server ends this stream with, and for the end of the connection.
    pub async fn expect_stream_error(&mut self) -> Element {
        loop {
            match self.incoming().await {
                Ok(Incoming::StreamError(error)) => return error,
                Ok(Incoming::Stanza(stanza)) => self.inbox.push_back(stanza),
                other => panic!("{} waits for a stream error and got {other:?}", self.jid),
            }
        }
    }

    /// Closes the stream as RFC 6120 section 4.4 says and waits for the server's closing tag.
    pub async fn close(self) {
        self.close_and_read().await;
    }

    /// The same; gives what came and was not read before.
    pub async fn close_and_read(mut self) -> Vec<Element> {
        self.send("</stream:stream>").await;
        loop {
            match self.incoming().await {
                Ok(Incoming::Stanza(stanza)) => self.inbox.push_back(stanza),
                Ok(Incoming::Closed) => return self.inbox.into(),
                other => panic!("{} closes its stream and got {other:?}", self.jid),
            }
        }
    }

    /// The next thing on the stream, within the deadline.
    pub async fn incoming(&mut self) -> io::Result<Incoming> {
        timeout(DEADLINE, self.receive()).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// The next thing on the stream, however long it takes. Safe to cancel.
    pub async fn receive(&mut self) -> io::Result<Incoming> {
        let mut buffer = [0u8; 8192];
        loop {
            match self.splitter.next_piece() {
                Some(Piece::Header(_)) => continue,
                Some(Piece::Close) => return Ok(Incoming::Closed),
                Some(Piece::Stanza(bytes)) => return incoming(bytes),
                None => {}
            }
            match self.transport.read(&mut buffer).await {
                Ok(0) => return Ok(Incoming::Closed),
                Ok(count) => self.splitter.push(&buffer[..count]),
                Err(error) => return Err(error),
            }
        }
    }

    /// An id that this client has not used yet.
    pub fn fresh_id(&mut self) -> String {
        self.last_id += 1;
        format!("t{}", self.last_id)
    }
}

fn incoming(bytes: &[u8]) -> io::Result<Incoming> {
    let element = Element::parse(bytes).map_err(io::Error::other)?;
    let is_error = element.is("error", "http://etherx.jabber.org/streams");
    Ok(if is_error { Incoming::StreamError(element) } else { Incoming::Stanza(element) })
}
