//! A client on a blocking socket, with or without TLS.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use base64::Engine;
use rustls::{ClientConnection, StreamOwned};
use rustls_pki_types::ServerName;

use super::{PATIENCE, TestCertificate, open};

/// A raw client. What it hears and nobody has asked for yet is kept.
pub struct Client {
    wire: Wire,
    heard: String,
}

enum Wire {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    Gone,
}

impl Client {
    /// Connects without TLS.
    pub fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        socket.set_nodelay(true).unwrap();
        Self { wire: Wire::Plain(socket), heard: String::new() }
    }

    /// Connects with TLS from the first byte.
    pub fn connect_tls(address: SocketAddr, certificate: &TestCertificate, domain: &str) -> Self {
        let mut client = Self::connect(address);
        client.shake_hands(certificate, domain, &[b"xmpp-client"]);
        client
    }

    /// Says something.
    pub fn say(&mut self, text: &str) {
        self.try_say(text).unwrap();
    }

    /// Says something, if the server still listens.
    pub fn try_say(&mut self, text: &str) -> std::io::Result<()> {
        match &mut self.wire {
            Wire::Plain(socket) => socket.write_all(text.as_bytes()),
            Wire::Tls(stream) => stream.write_all(text.as_bytes()).and_then(|()| stream.flush()),
            Wire::Gone => Err(ErrorKind::NotConnected.into()),
        }
    }

    /// Says something byte by byte, each in a packet (and a TLS record) of its own.
    pub fn say_slowly(&mut self, text: &str) {
        for byte in text.as_bytes().chunks(1) {
            match &mut self.wire {
                Wire::Plain(socket) => socket.write_all(byte).unwrap(),
                Wire::Tls(stream) => stream.write_all(byte).and_then(|()| stream.flush()).unwrap(),
                Wire::Gone => panic!("the client has hung up"),
            }
        }
    }

    /// Listens until it hears that, and gives everything up to there.
    pub fn hear(&mut self, needle: &str) -> String {
        loop {
            if let Some(at) = self.heard.find(needle) {
                let rest = self.heard.split_off(at + needle.len());
                return std::mem::replace(&mut self.heard, rest);
            }
            let more = self.read();
            assert!(more > 0, "the server has hung up before saying {needle}; it said {}", self.heard);
        }
    }

    /// Listens until the server hangs up, and gives everything that it said. A reset counts as an end.
    pub fn hear_the_end(&mut self) -> String {
        while self.read() > 0 {}
        std::mem::take(&mut self.heard)
    }

    /// Listens for the end of the stream, closes the own side, and waits until the server hangs up.
    pub fn hear_until_closed(&mut self) -> String {
        let heard = self.hear("</stream:stream>");
        // The server may have hung up already, which is as good.
        let _ = self.try_say("</stream:stream>");
        heard + &self.hear_the_end()
    }

    /// Whether something comes within that time.
    pub fn hears_within(&mut self, time: Duration) -> bool {
        self.socket().set_read_timeout(Some(time)).unwrap();
        let before = self.heard.len();
        let mut buffer = [0; 4096];
        let read = match &mut self.wire {
            Wire::Plain(socket) => socket.read(&mut buffer),
            Wire::Tls(stream) => stream.read(&mut buffer),
            Wire::Gone => return false,
        };
        self.socket().set_read_timeout(Some(PATIENCE)).unwrap();
        if let Ok(read) = read {
            self.heard.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        }
        self.heard.len() > before
    }

    /// Opens a stream and gives header and features of the answer.
    pub fn open(&mut self, domain: &str) -> String {
        self.say(&open(domain));
        self.hear("</stream:features>")
    }

    /// Opens a stream, starts TLS, opens the next stream.
    pub fn start_tls(&mut self, certificate: &TestCertificate, domain: &str) -> String {
        self.open(domain);
        self.say("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
        self.hear("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
        self.shake_hands(certificate, domain, &[]);
        self.open(domain)
    }

    /// Shakes hands on a socket that was plain.
    pub fn shake_hands(&mut self, certificate: &TestCertificate, domain: &str, alpn: &[&[u8]]) {
        self.try_shake_hands(certificate, domain, alpn).unwrap();
    }

    /// Shakes hands, if the server wants to.
    pub fn try_shake_hands(
        &mut self,
        certificate: &TestCertificate,
        domain: &str,
        alpn: &[&[u8]],
    ) -> std::io::Result<()> {
        let Wire::Plain(mut socket) = std::mem::replace(&mut self.wire, Wire::Gone) else {
            panic!("the socket is not plain");
        };
        let name = ServerName::try_from(domain.to_owned()).unwrap();
        let mut connection = ClientConnection::new(certificate.client_config(alpn), name).unwrap();
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        self.wire = Wire::Tls(Box::new(StreamOwned::new(connection, socket)));
        Ok(())
    }

    /// Logs in and opens the next stream.
    pub fn log_in(&mut self, domain: &str, user: &str, password: &str) {
        self.say(&plain_auth(user, password));
        self.hear("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
        self.open(domain);
    }

    /// Binds a resource and gives the full JID.
    pub fn bind(&mut self, resource: &str) -> String {
        self.say(&bind_request(resource));
        self.hear("<jid>");
        let jid = self.hear("</jid>");
        self.hear("</iq>");
        jid.trim_end_matches("</jid>").to_owned()
    }

    /// Says that it will say no more, without closing the stream.
    pub fn stop_talking(&mut self) {
        self.socket().shutdown(Shutdown::Write).unwrap();
    }

    /// What the TLS session can be bound by (RFC 9266).
    pub fn tls_exporter(&self) -> Vec<u8> {
        let Wire::Tls(stream) = &self.wire else { panic!("no TLS is spoken") };
        let label = b"EXPORTER-Channel-Binding";
        stream.conn.export_keying_material([0; 32], label, Some(&[])).unwrap().to_vec()
    }

    /// The certificate that the server has shown.
    pub fn seen_certificate(&self) -> Vec<u8> {
        let Wire::Tls(stream) = &self.wire else { panic!("no TLS is spoken") };
        stream.conn.peer_certificates().unwrap()[0].to_vec()
    }

    /// Ends TLS without ending the stream.
    pub fn send_close_notify(&mut self) {
        let Wire::Tls(stream) = &mut self.wire else { panic!("no TLS is spoken") };
        stream.conn.send_close_notify();
        stream.flush().unwrap();
    }

    /// Whether TLS is spoken.
    pub fn is_encrypted(&self) -> bool {
        matches!(self.wire, Wire::Tls(_))
    }

    /// Whether TLS was ended properly by the server. To be asked after the end.
    pub fn heard_close_notify(&mut self) -> bool {
        let Wire::Tls(stream) = &mut self.wire else { panic!("no TLS is spoken") };
        matches!(stream.conn.reader().read(&mut [0]), Ok(0))
    }

    /// The socket itself.
    pub fn socket(&self) -> &TcpStream {
        match &self.wire {
            Wire::Plain(socket) => socket,
            Wire::Tls(stream) => &stream.sock,
            Wire::Gone => panic!("the client has hung up"),
        }
    }

    fn read(&mut self) -> usize {
        let mut buffer = [0; 16 * 1024];
        let read = match &mut self.wire {
            Wire::Plain(socket) => socket.read(&mut buffer),
            Wire::Tls(stream) => stream.read(&mut buffer),
            Wire::Gone => Ok(0),
        };
        match read {
            Ok(read) => {
                self.heard.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
                read
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("the server says nothing more; it said {}", self.heard)
            }
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof) => 0,
            Err(error) => panic!("reading failed: {error}"),
        }
    }
}

/// The element that logs in with PLAIN.
pub fn plain_auth(user: &str, password: &str) -> String {
    let data = base64::engine::general_purpose::STANDARD.encode(format!("\0{user}\0{password}"));
    format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{data}</auth>")
}

/// The IQ that binds a resource.
pub fn bind_request(resource: &str) -> String {
    format!(
        "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
         <resource>{resource}</resource></bind></iq>"
    )
}
