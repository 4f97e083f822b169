//! A server that stops under traffic: whatever it took from one client reaches the other, before or after the restart.

use std::collections::BTreeSet;

use base64::Engine as _;
use moult_tests::client::{Incoming, stream_header};
use moult_tests::{Client, Element, Plugin, RawStream, Server};
use rustix::process::Signal;
use tokio::sync::oneshot;

const SM: &str = "xmlns='urn:xmpp:sm:3'";
const ROUNDS: usize = 6;
/// Messages after which the server is told to stop.
const ENOUGH: usize = 40;

/// Sends until the stream ends; the bodies that the server has acknowledged.
async fn send_on(mut alice: Client, round: usize, enough: oneshot::Sender<()>) -> BTreeSet<String> {
    let (mut enough, mut bodies, mut handled) = (Some(enough), Vec::new(), 0);
    loop {
        let body = format!("{round}-{}", bodies.len());
        let stanza =
            format!("<message to='carol@localhost/x' type='chat'><body>{body}</body></message><r {SM}/>");
        bodies.push(body);
        let is_sent = alice.try_send(&stanza).await.is_ok();
        if bodies.len() == ENOUGH
            && let Some(enough) = enough.take()
        {
            enough.send(()).expect("somebody waits");
        }
        // No more than a few are on their way; when the server has stopped listening, its last words are read.
        while !is_sent || bodies.len() - handled > 10 {
            match alice.incoming().await {
                Ok(Incoming::Stanza(stanza)) => handled = acknowledged(&stanza).unwrap_or(handled),
                _ => return bodies.into_iter().take(handled).collect(),
            }
        }
    }
}

fn acknowledged(stanza: &Element) -> Option<usize> {
    assert_ne!(stanza.attr("type"), Some("error"), "{stanza}");
    stanza.attr("h").filter(|_| stanza.name == "a").and_then(|h| h.parse().ok())
}

/// Reads until the stream ends; the bodies in order.
async fn read_on(mut carol: Client) -> Vec<String> {
    let mut bodies = Vec::new();
    while let Ok(Incoming::Stanza(stanza)) = carol.incoming().await {
        bodies.extend(stanza.child_text("body").map(str::to_owned));
    }
    bodies
}

/// Resumes, and reads what the session was still owed: what stands before the answer to a ping.
async fn resume(server: &Server, id: &str, handled: usize) -> String {
    let mut stream: RawStream = server.raw().await;
    stream.open("localhost").await;
    stream.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").await;
    stream.read_until("<proceed").await;
    stream.start_tls(server.login("carol").tls, "localhost").await;
    stream.open("localhost").await;
    let password = moult_tests::server::PASSWORD;
    let data = base64::engine::general_purpose::STANDARD.encode(format!("\0carol\0{password}"));
    let auth = format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{data}</auth>");
    stream.send(auth).await;
    stream.read_until("<success").await;
    stream.send(stream_header("localhost")).await;
    stream.read_until("</stream:features>").await;
    stream.send(format!("<resume {SM} previd='{id}' h='{handled}'/>")).await;
    stream.send("<iq type='get' to='localhost' id='last'><nothing xmlns='urn:nothing'/></iq>").await;
    let heard = stream.read_until("id='last'").await;
    assert!(heard.contains("<resumed "), "{heard}");
    heard
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_taken_from_one_client_reaches_the_other_over_a_stop() {
    // With an archive a message takes its time on its way: it is stored before it goes on.
    let mut server = Server::builder().plugin(&Plugin::built("mod_mam")).start().await;
    for round in 0..ROUNDS {
        let mut carol = server.login("carol").resource("x").connect().await;
        carol.available().await;
        carol.send(format!("<enable {SM} resume='true'/>")).await;
        let enabled = carol.expect("enabled", |element| element.name == "enabled").await;
        let id = enabled.attr("id").expect("the session can be resumed").to_owned();
        let mut alice = server.login("alice").resource("x").connect().await;
        alice.send(format!("<enable {SM}/>")).await;
        alice.expect("enabled", |element| element.name == "enabled").await;
        let (told, enough) = oneshot::channel();
        let (taken, got, ()) = tokio::join!(send_on(alice, round, told), read_on(carol), async {
            enough.await.expect("alice sends enough");
            server.signal(Signal::TERM);
        });
        assert_eq!(server.ended().await, Some(0));
        server = server.restart().await;
        let rest = resume(&server, &id, got.len()).await;
        let is_lost = |body: &&String| !got.contains(body) && !rest.contains(&format!("<body>{body}</body>"));
        let lost: Vec<&String> = taken.iter().filter(is_lost).collect();
        assert!(
            lost.is_empty(),
            "round {round}: of {} taken, {} seen before, lost: {lost:?}",
            taken.len(),
            got.len()
        );
        assert!(taken.len() >= ENOUGH / 2, "{} were taken", taken.len());
        let twice: Vec<&String> =
            got.iter().filter(|body| rest.contains(&format!("<body>{body}</body>"))).collect();
        assert!(twice.is_empty(), "round {round}: twice: {twice:?}");
    }
    server.stop().await;
}
