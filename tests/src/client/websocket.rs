//! A client that speaks XMPP by WebSocket (RFC 7395): blocking, message by message.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tungstenite::protocol::{Message, Role, WebSocket};

use crate::eventually::DEADLINE;

/// One WebSocket to a server.
#[derive(Debug)]
pub struct WebSocketClient(WebSocket<TcpStream>);

/// A request for a WebSocket on this path, with these further headers.
pub fn upgrade_request(path: &str, headers: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: xmpp\r\n{headers}\r\n"
    )
}

impl WebSocketClient {
    /// Connects; an answer that is no upgrade is given back.
    pub fn connect(address: SocketAddr, path: &str, headers: &str) -> Result<Self, String> {
        let failed = |error: std::io::Error| error.to_string();
        let mut socket = TcpStream::connect(address).map_err(failed)?;
        socket.set_read_timeout(Some(DEADLINE)).map_err(failed)?;
        socket.write_all(upgrade_request(path, headers).as_bytes()).map_err(failed)?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte).map_err(failed)?;
            answer.extend(byte);
        }
        let answer = String::from_utf8_lossy(&answer).to_ascii_lowercase();
        let good = answer.starts_with("http/1.1 101 ")
            && answer.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=")
            && answer.contains("sec-websocket-protocol: xmpp");
        if good { Ok(Self(WebSocket::from_raw_socket(socket, Role::Client, None))) } else { Err(answer) }
    }

    /// Sends one message.
    pub fn say(&mut self, text: &str) {
        self.0.send(Message::text(text)).unwrap_or_else(|error| panic!("{text}: {error}"));
    }

    /// The next message.
    pub fn hear(&mut self) -> String {
        loop {
            match self.0.read() {
                Ok(Message::Text(text)) => return text.to_string(),
                Ok(_) => {}
                Err(error) => panic!("nothing more comes: {error}"),
            }
        }
    }

    /// The next message that has these words in it.
    pub fn hear_of(&mut self, words: &str) -> String {
        loop {
            let heard = self.hear();
            if heard.contains(words) {
                return heard;
            }
        }
    }

    /// Opens a stream and gives its features.
    pub fn open(&mut self, domain: &str) -> String {
        self.say(&format!("<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='{domain}' version='1.0'/>"));
        self.hear_of("<stream:features")
    }

    /// Opens a stream, logs in with PLAIN, and opens the next one.
    pub fn log_in(&mut self, domain: &str, user: &str, password: &str) {
        self.open(domain);
        let data = STANDARD.encode(format!("\0{user}\0{password}"));
        self.say(&format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{data}</auth>"));
        let answer = self.hear();
        assert!(answer.starts_with("<success"), "{answer}");
        self.open(domain);
    }

    /// Binds a resource and gives the answer.
    pub fn bind(&mut self, resource: &str) -> String {
        self.say(&format!(
            "<iq xmlns='jabber:client' type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
             <resource>{resource}</resource></bind></iq>"
        ));
        self.hear_of("id='bind'")
    }

    /// Closes the stream and waits for the server to do so.
    pub fn close(mut self) {
        let close = "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>";
        self.say(close);
        while self.hear() != close {}
        while self.0.read().is_ok() {}
    }
}
