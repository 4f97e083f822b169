//! A client that speaks BOSH (XEP-0124): each request on a connection of its own, answers taken in their order.

use std::collections::VecDeque;
use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::task::JoinHandle;

use crate::server::{HttpAnswer, exchange};

const BIND: &str = "http://jabber.org/protocol/httpbind";

/// One session with a server.
#[derive(Debug)]
pub struct BoshClient {
    address: SocketAddr,
    headers: String,
    sid: String,
    rid: u64,
    /// Requests whose answers nobody has taken yet, in order.
    unanswered: VecDeque<JoinHandle<HttpAnswer>>,
}

/// The value of an attribute, where the text has it only once.
pub fn value_of<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(&format!(" {name}='"))?;
    rest.split('\'').next()
}

impl BoshClient {
    /// One without a session, which sends these headers with each request.
    pub fn new(address: SocketAddr, headers: &str) -> Self {
        let (sid, unanswered) = (String::new(), VecDeque::new());
        Self { address, headers: headers.to_owned(), sid, rid: 1_000_000, unanswered }
    }

    /// Asks for a session with this beside the usual, and gives the answer.
    pub async fn open(&mut self, domain: &str, wishes: &str) -> HttpAnswer {
        let xmpp = "xmlns:xmpp='urn:xmpp:xbosh' xmpp:version='1.0'";
        let asked = format!("to='{domain}' xml:lang='en' {xmpp} {wishes}");
        let answer = self.ask(&format!("<body rid='{}' {asked} xmlns='{BIND}'/>", self.rid)).await;
        self.sid = value_of(&answer.body, "sid").unwrap_or_default().to_owned();
        answer
    }

    /// A session with a login by PLAIN and a bound resource.
    pub async fn logged_in(address: SocketAddr, user: &str, password: &str, resource: &str) -> Self {
        let mut client = Self::new(address, "");
        let answer = client.open("localhost", "ver='1.11' wait='20' hold='1'").await;
        assert!(answer.body.contains("<mechanism>PLAIN</mechanism>"), "{answer:?}");
        let data = STANDARD.encode(format!("\0{user}\0{password}"));
        client
            .say(&format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{data}</auth>"));
        client.hear_of("<success").await;
        client.send("to='localhost' xmpp:restart='true' xmlns:xmpp='urn:xmpp:xbosh'", "");
        client.hear_of("<stream:features").await;
        client.say(&format!(
            "<iq type='set' id='bind' xmlns='jabber:client'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
             <resource>{resource}</resource></bind></iq>"
        ));
        let bound = client.hear_of("id='bind'").await;
        assert!(bound.contains(&format!("{user}@localhost/{resource}")), "{bound}");
        client
    }

    /// The text of the next request.
    pub fn next(&mut self, attributes: &str, payload: &str) -> String {
        self.rid += 1;
        format!("<body rid='{}' sid='{}' {attributes} xmlns='{BIND}'>{payload}</body>", self.rid, self.sid)
    }

    /// Sends the next request; its answer is heard later.
    pub fn send(&mut self, attributes: &str, payload: &str) {
        let text = self.next(attributes, payload);
        self.unanswered.push_back(self.post(&text));
    }

    /// Says something on the stream.
    pub fn say(&mut self, payload: &str) {
        self.send("", payload);
    }

    /// Sends a text as a request, whatever it is.
    pub fn post(&self, body: &str) -> JoinHandle<HttpAnswer> {
        let request = format!(
            "POST /bosh HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: text/xml; charset=utf-8\r\n\
             {}Content-Length: {}\r\n\r\n{body}",
            self.headers,
            body.len()
        );
        let address = self.address;
        tokio::spawn(async move { exchange(address, &request).await })
    }

    /// Sends a text as a request and gives the answer.
    pub async fn ask(&self, body: &str) -> HttpAnswer {
        self.post(body).await.expect("the request does not panic")
    }

    /// Sees to it that the server has a request to answer: one that asks for nothing, if there is no other.
    pub fn listen(&mut self) {
        if self.unanswered.is_empty() {
            self.send("", "");
        }
    }

    /// The next answer; if there is nothing to wait for, the server is asked for something.
    pub async fn hear(&mut self) -> HttpAnswer {
        self.listen();
        let next = self.unanswered.pop_front().expect("a request was sent");
        next.await.expect("the request does not panic")
    }

    /// The next answer that has these words in it.
    pub async fn hear_of(&mut self, words: &str) -> String {
        loop {
            let answer = self.hear().await;
            if answer.body.contains(words) {
                return answer.body;
            }
            assert!(!answer.body.contains("terminate"), "waiting for {words}: {answer:?}");
        }
    }

    /// Ends the session and waits for the server to agree.
    pub async fn close(mut self) {
        self.send("type='terminate'", "<presence type='unavailable' xmlns='jabber:client'/>");
        while !self.hear().await.body.contains("type='terminate'") {}
    }
}
