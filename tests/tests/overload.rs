//! Peers that take too much, and resources that run out: each test says which limit holds, and two bystanders who talk to
//! each other and to a module all the while must not notice anything.

use std::time::Duration;

use moult_tests::client::stream_header;
use moult_tests::server::ServerBuilder;
use moult_tests::{Client, Plugin, RawStream, Server, eventually};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

const DOMAIN: &str = "localhost";
const CPU_TIME: &str = "<query xmlns='ejabberd:cputime'/>";

/// Two who were there before the trouble began.
struct Bystanders {
    alice: Client,
    carol: Client,
    rounds: usize,
}

impl Bystanders {
    async fn of(server: &Server) -> Bystanders {
        let (alice, carol) = (server.client("alice").await, server.client("carol").await);
        let mut bystanders = Bystanders { alice, carol, rounds: 0 };
        bystanders.talk().await;
        bystanders
    }

    /// A message arrives, a module answers.
    async fn talk(&mut self) {
        self.rounds += 1;
        let body = format!("round {}", self.rounds);
        self.alice.message(self.carol.jid(), &body).await;
        assert_eq!(self.carol.expect_message().await.child_text("body"), Some(body.as_str()));
        assert_eq!(self.alice.get(DOMAIN, CPU_TIME).await.attr("type"), Some("result"));
    }

    async fn leave(self) {
        self.alice.close().await;
        self.carol.close().await;
    }
}

fn server(limits: &str) -> ServerBuilder {
    let config = format!("[tls]\nrequired = false\n[limits]\n{limits}");
    Server::builder().config(&config).plugin(&Plugin::built("mod_cputime"))
}

#[tokio::test]
async fn a_flood_of_connections_is_refused_beyond_the_limit_and_leaves_no_trace() {
    const ROOM: usize = 30;
    let server = server(&format!("connections_per_address = {}", ROOM + 2)).start().await;
    let mut bystanders = Bystanders::of(&server).await;
    let mut flood = Vec::new();
    for number in 0..300 {
        let mut stream = server.raw().await;
        if number < ROOM {
            stream.open(DOMAIN).await;
        } else {
            let heard = stream.read_to_end().await;
            // Only so many at a time are told why; a flood gets no more than that.
            let is_told = heard.contains("<policy-violation ");
            assert!(is_told || (heard.is_empty() && number > ROOM), "connection {number}: {heard}");
        }
        flood.push(stream);
        if number % 30 == 0 {
            bystanders.talk().await;
        }
    }
    assert!(server.login("bob").try_connect().await.is_err(), "there is no room for anybody");
    drop(flood);
    eventually("there is room again", async || server.login("bob").try_connect().await.is_ok()).await;
    bystanders.talk().await;
    bystanders.leave().await;
    server.stop().await;
}

#[tokio::test]
async fn strangers_who_write_byte_by_byte_or_nothing_or_half_a_handshake_are_let_go_in_time() {
    let server = server("negotiation_timeout = '2s'").start().await;
    let mut bystanders = Bystanders::of(&server).await;
    let listeners = *server.listeners();
    let mut strangers = Vec::new();
    for number in 0..60 {
        strangers.push(tokio::spawn(async move {
            match number % 3 {
                // Longer at it than the whole negotiation may take, and never silent.
                0 => {
                    let mut stream = RawStream::connect(listeners.c2s).await;
                    for byte in stream_header(DOMAIN).bytes() {
                        stream.send([byte]).await;
                        tokio::time::sleep(Duration::from_millis(30)).await;
                    }
                    stream.read_to_end().await
                }
                1 => RawStream::connect(listeners.c2s).await.read_to_end().await,
                _ => {
                    let mut stream = RawStream::connect(listeners.c2s_tls).await;
                    stream.send([0x16, 3, 1, 2, 0, 1]).await;
                    stream.read_to_end().await
                }
            }
        }));
    }
    while strangers.iter().any(|stranger| !stranger.is_finished()) {
        bystanders.talk().await;
    }
    for stranger in strangers {
        let heard = stranger.await.expect("the server has closed");
        assert!(heard.is_empty() || heard.contains("<connection-timeout "), "{heard}");
    }
    bystanders.leave().await;
    server.stop().await;
}

#[tokio::test]
async fn a_user_who_writes_byte_by_byte_is_heard_and_holds_nobody_up() {
    let server = server("").start().await;
    let mut bystanders = Bystanders::of(&server).await;
    let mut bob = server.client("bob").await;
    let message = format!("<message to='{}'><body>slowly</body></message>", bystanders.alice.jid());
    for (number, byte) in message.chars().enumerate() {
        bob.send(byte.to_string()).await;
        if number % 10 == 0 {
            bystanders.talk().await;
        }
    }
    assert_eq!(bystanders.alice.expect_message().await.child_text("body"), Some("slowly"));
    bob.close().await;
    bystanders.leave().await;
    server.stop().await;
}

#[tokio::test]
async fn a_user_who_never_reads_is_let_go_and_the_senders_hear_of_each_message_they_lost() {
    const BODY: usize = 16 * 1024;
    let server = server("mailbox_items = 50\nwrite_timeout = '2s'").start().await;
    let mut bystanders = Bystanders::of(&server).await;
    let bob = server.client("bob").await;
    let mut flooder = server.login("alice").resource("flood").connect().await;
    let body = "x".repeat(BODY);
    let (mut sent, mut refused) = (0, 0);
    // What the kernel takes of it for a peer that does not read is bounded too, but generously.
    while refused == 0 {
        assert!(sent < 3_000, "no limit holds: {sent} messages of {BODY} bytes are waiting somewhere");
        for _ in 0..10 {
            flooder
                .send(format!("<message to='{}' id='f{sent}'><body>{body}</body></message>", bob.jid()))
                .await;
            sent += 1;
        }
        bystanders.talk().await;
        // The answer comes behind all errors for what was sent before.
        let id = flooder.fresh_id();
        flooder.send(format!("<iq type='get' to='{DOMAIN}' id='{id}'>{CPU_TIME}</iq>")).await;
        flooder.answer_to(&id).await;
        let errors = flooder.received().await;
        refused += errors.iter().filter(|stanza| stanza.attr("type") == Some("error")).count();
        assert!(errors.iter().all(|stanza| stanza.to_string().contains("resource-constraint")), "{errors:?}");
    }
    eventually("the session of the one who never reads has ended", async || {
        !server.ctl(&["connected_users"]).await.contains("bob@")
    })
    .await;
    bystanders.talk().await;
    flooder.close().await;
    bystanders.leave().await;
    server.stop().await;
}

#[tokio::test]
async fn a_burst_larger_than_the_mailbox_slows_its_sender_down_and_every_message_is_accounted_for() {
    const BURST: usize = 2_000;
    let server = server("mailbox_items = 20").start().await;
    let mut bystanders = Bystanders::of(&server).await;
    let (mut bob, mut sender) =
        (server.client("bob").await, server.login("alice").resource("burst").connect().await);
    let message = |number: usize| format!("<message to='{}' id='{number}'><body/></message>", bob.jid());
    let burst: String = (0..BURST).map(message).collect();
    sender.send(burst).await;
    let (mut arrived, mut refused) = (Vec::new(), Vec::new());
    while arrived.len() + refused.len() < BURST {
        tokio::select! {
            biased;
            stanza = bob.next_stanza() => arrived.push(number_of(&stanza)),
            stanza = sender.next_stanza() => refused.push(number_of(&stanza)),
        }
    }
    assert!(arrived.is_sorted(), "in order");
    // On a machine that stands still for a while some may come back; none is lost or doubled.
    let mut all = [arrived, refused.clone()].concat();
    all.sort_unstable();
    assert_eq!(all, (0..BURST).collect::<Vec<_>>());
    let counts = &server.ctl_json(&["status"]).await["parts"]["session_manager"];
    assert!(counts["held_up"].as_u64() > Some(0), "{counts}");
    eprintln!("{} of {BURST} came back; {counts}", refused.len());
    bystanders.talk().await;
    for client in [bob, sender] {
        client.close().await;
    }
    bystanders.leave().await;
    server.stop().await;
}

fn number_of(stanza: &moult_tests::Element) -> usize {
    stanza.attr("id").and_then(|id| id.parse().ok()).expect("each has a number")
}

#[tokio::test]
async fn without_descriptors_accepting_pauses_and_sessions_live() {
    let server = server("").start().await;
    let mut bystanders = Bystanders::of(&server).await;
    let before = limit(&server, Resource::Nofile, |open| open + 3);
    let mut waiting = Vec::new();
    for number in 0..40 {
        let mut stream = server.raw().await;
        stream.send(stream_header(DOMAIN)).await;
        waiting.push(stream);
        if number % 10 == 0 {
            bystanders.talk().await;
        }
    }
    let deadline = Duration::from_millis(300);
    let last = waiting.last_mut().expect("there are forty");
    let early = tokio::time::timeout(deadline, last.read_until("</stream:features>")).await;
    assert!(early.is_err(), "there is no descriptor to accept it with");
    set_limit(&server, Resource::Nofile, before);
    for stream in &mut waiting {
        stream.read_until("</stream:features>").await;
    }
    bystanders.talk().await;
    drop(waiting);
    bystanders.leave().await;
    server.stop().await;
}

#[tokio::test]
async fn without_room_on_the_disk_writes_are_refused_and_reads_go_on() {
    let server = server("").plugin(&Plugin::built("mod_register")).start().await;
    let mut bystanders = Bystanders::of(&server).await;
    let before = limit(&server, Resource::Fsize, |_| 1);

    let refused = server.try_ctl(&["register", "dave", DOMAIN, "sesame"]).await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("cannot be written"), "{refused:?}");
    let password = "<query xmlns='jabber:iq:register'><username>alice</username><password>open sesame</password></query>";
    let answer = bystanders.alice.set(DOMAIN, password).await;
    assert!(answer.to_string().contains("resource-constraint"), "{answer}");
    assert_eq!(server.try_ctl(&["check_account", "alice", DOMAIN]).await.code, 0, "reads go on");
    server.client("bob").await.close().await;
    server.plugins().install(&Plugin::built("mod_cputime").variant(1));
    let update = server.try_ctl(&["update", "mod_cputime"]).await;
    assert_eq!(update.code, 1, "no private copy can be written: {update:?}");
    bystanders.talk().await;

    set_limit(&server, Resource::Fsize, before);
    server.ctl(&["register", "dave", DOMAIN, "sesame"]).await;
    server.ctl(&["update", "mod_cputime"]).await;
    bystanders.talk().await;
    bystanders.leave().await;
    server.stop().await;
}

/// Sets a limit of the server, from the number of its open files; gives what held before.
fn limit(server: &Server, resource: Resource, value: impl Fn(u64) -> u64) -> Rlimit {
    let open = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("the server runs").count();
    let before = set_limit(server, resource, getrlimit(resource));
    let lowered = Rlimit { current: Some(value(open as u64)), maximum: before.maximum };
    set_limit(server, resource, lowered);
    before
}

fn set_limit(server: &Server, resource: Resource, limit: Rlimit) -> Rlimit {
    let pid = i32::try_from(server.pid()).ok().and_then(Pid::from_raw);
    prlimit(pid, resource, limit).expect("the server's limits are ours to lower")
}
