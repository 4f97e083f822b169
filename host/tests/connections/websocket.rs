//! XMPP by WebSocket (RFC 7395): the connections behind the upgrade, which belongs to HTTP.

use std::net::{SocketAddr, TcpListener, TcpStream};

use moult_host::stream::Via;
use tungstenite::protocol::{Message, Role, WebSocket};

use crate::support::{DOMAIN, PATIENCE, Server, ServerBuilder, eventually, plain_auth};

const FRAMING: &str = "xmlns='urn:ietf:params:xml:ns:xmpp-framing'";

/// A client of frames on a blocking socket.
struct Client(WebSocket<TcpStream>);

impl Client {
    /// Connected as if an upgrade had been answered.
    fn connect(server: &Server, secure: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let (accepted, peer) = listener.accept().unwrap();
        accepted.set_nonblocking(true).unwrap();
        let _entered = server.runtime.enter();
        let admitted = server.hub.admit(peer, Via::WebSocket { secure }).expect("there is room");
        admitted.serve(Box::new(tokio::net::TcpStream::from_std(accepted).unwrap()));
        Self(WebSocket::from_raw_socket(socket, Role::Client, None))
    }

    fn say(&mut self, text: &str) {
        self.0.send(Message::text(text)).unwrap();
    }

    /// The next message.
    fn hear(&mut self) -> String {
        loop {
            match self.0.read().unwrap() {
                Message::Text(text) => return text.to_string(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn open(&mut self) -> String {
        self.say(&format!("<open {FRAMING} to='{DOMAIN}' version='1.0'/>"));
        self.hear() + &self.hear()
    }

    fn bound(server: &Server) -> Self {
        let mut client = Self::connect(server, true);
        client.open();
        client.say(&plain_auth("juliet", "juliet"));
        assert!(client.hear().starts_with("<success "));
        client.open();
        client.say(
            "<iq xmlns='jabber:client' type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
             <resource>balcony</resource></bind></iq>",
        );
        assert!(client.hear().contains("juliet@moult.example/balcony"));
        client
    }

    /// What comes up to the end of the stream, and that the WebSocket ends after it.
    fn hear_the_end(mut self) -> Vec<String> {
        let mut heard = Vec::new();
        loop {
            match self.0.read() {
                Ok(Message::Text(text)) => heard.push(text.to_string()),
                Ok(Message::Close(_)) => {}
                Ok(_) => {}
                Err(_) => return heard,
            }
        }
    }
}

#[test]
fn a_stream_is_spoken_in_messages_from_open_to_close() {
    let server = Server::start();
    let mut client = Client::connect(&server, true);
    let opened = client.open();
    assert!(opened.starts_with(&format!("<open {FRAMING} from='{DOMAIN}' id='")), "{opened}");
    assert!(opened.contains("<stream:features xmlns:stream='http://etherx.jabber.org/streams'>"), "{opened}");
    assert!(opened.contains("<mechanism>PLAIN</mechanism>") && !opened.contains("starttls"), "{opened}");

    let mut client = Client::bound(&server);
    client.say(
        "<message xmlns='jabber:client' to='juliet@moult.example/balcony'><body>a &lt; b</body></message>",
    );
    assert_eq!(
        client.hear(),
        "<message xmlns='jabber:client' from='juliet@moult.example/balcony' to='juliet@moult.example/balcony'>\
         <body>a &lt; b</body></message>"
    );
    client.say(&format!("<close {FRAMING}/>"));
    assert_eq!(client.hear_the_end(), [format!("<close {FRAMING}/>")]);
    eventually("the session has ended", || server.record.ended.lock().unwrap().len() == 1);
}

#[test]
fn large_messages_and_many_of_them_arrive_whole_and_in_order() {
    let server = Server::start();
    let mut client = Client::bound(&server);
    let body = "x".repeat(50_000);
    let mut reader =
        Client(WebSocket::from_raw_socket(client.0.get_ref().try_clone().unwrap(), Role::Client, None));
    let writing = std::thread::spawn(move || {
        for number in 0..40 {
            client.say(&format!(
                "<message xmlns='jabber:client' to='juliet@moult.example/balcony' id='{number}'><body>{body}</body></message>"
            ));
        }
        client
    });
    for number in 0..40 {
        let heard = reader.hear();
        assert!(heard.contains(&format!("id='{number}'")) && heard.len() > 50_000, "{}", &heard[..200]);
    }
    drop(writing.join().unwrap());
    drop(reader);
    eventually("the session has ended", || server.record.ended.lock().unwrap().len() == 1);
}

#[test]
fn every_violation_is_told_and_ends_the_stream() {
    let server = ServerBuilder::default()
        .with(|settings| {
            settings.stream.limits.stanza_bytes = 100_000;
            settings.close_timeout = std::time::Duration::from_secs(1);
        })
        .start();
    let long = format!("<message xmlns='jabber:client'><body>{}</body></message>", "x".repeat(200_000));
    let cases = [
        (Message::text("<presence xmlns='jabber:client'/><presence xmlns='jabber:client'/>"), "bad-format"),
        (Message::text("<presence xmlns='jabber:client'>"), "not-well-formed"),
        (Message::text("</stream:stream>"), "not-well-formed"),
        (Message::text("<!-- --><presence/>"), "restricted-xml"),
        (Message::text("<x xmlns='urn:x'/>"), "unsupported-stanza-type"),
        (Message::text(format!("<open {FRAMING} to='{DOMAIN}' version='1.0'/>")), "restricted-xml"),
        (Message::text(long), "policy-violation"),
        (Message::binary(b"<presence/>".to_vec()), "bad-format"),
    ];
    for (index, (message, condition)) in cases.into_iter().enumerate() {
        let mut client = Client::bound(&server);
        client.0.send(message).unwrap();
        let heard = client.hear_the_end();
        assert!(heard[0].starts_with("<stream:error xmlns:stream='"), "{index}: {heard:?}");
        assert!(heard[0].contains(&format!("<{condition} ")), "{index}: {heard:?}");
        assert_eq!(heard[1], format!("<close {FRAMING}/>"), "{index}");
        eventually("the session has ended", || server.record.ended.lock().unwrap().len() == index + 1);
    }
}

#[test]
fn without_encryption_nobody_logs_in_where_it_is_required() {
    let server = Server::start();
    let mut client = Client::connect(&server, false);
    client.say(&format!("<open {FRAMING} to='{DOMAIN}' version='1.0'/>"));
    let heard = client.hear_the_end();
    assert!(heard[0].starts_with("<open ") && heard[1].contains("<policy-violation "), "{heard:?}");

    let server = ServerBuilder::without_tls().start();
    let opened = Client::connect(&server, false).open();
    assert!(opened.contains("SCRAM-SHA-256") && !opened.contains("PLAIN<"), "{opened}");
}

#[test]
fn a_shutdown_ends_these_streams_too_and_limits_count_them() {
    let mut server = ServerBuilder::default().with(|settings| settings.limits.total = 2).start();
    let clients = [Client::bound(&server), Client::connect(&server, true)];
    let peer: SocketAddr = "127.0.0.1:1".parse().unwrap();
    assert!(server.hub.admit(peer, Via::WebSocket { secure: true }).is_none());
    server.stop_listening();
    let hub = server.hub.clone();
    let left = server.runtime.spawn(async move { hub.shut_down(PATIENCE).await });
    for client in clients {
        let heard = client.hear_the_end();
        assert!(heard.iter().any(|message| message.contains("<system-shutdown ")), "{heard:?}");
    }
    assert_eq!(server.runtime.block_on(left).unwrap(), 0);
    assert!(server.hub.admit(peer, Via::WebSocket { secure: true }).is_none());
}
