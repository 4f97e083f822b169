//! Chains of hook functions on the real server: their order over several modules, who is passed by, who ends them, and what
//! is left of a module that is unloaded.

use moult_tests::chain::{NS, chained, id};
use moult_tests::{Client, Element, Plugin, Server, eventually};

/// Functions of three modules at one hook: the sequence number decides, then the module's id.
const CONFIG: &str = "
    [modules.fixture_chain_a]
    at = ['90', '10']
    [modules.fixture_chain_b]
    at = ['50']
    [modules.fixture_chain_c]
    at = ['50']
";

async fn three_modules(config: &str) -> (Server, Client) {
    let builder =
        ['c', 'a', 'b'].into_iter().fold(Server::builder(), |all, letter| all.plugin(&chained(letter)));
    let server = builder.config(CONFIG).config(config).start().await;
    let alice = server.client("alice").await;
    (server, alice)
}

/// Who has marked the message, in order: `a10 b50`.
fn marks(message: &Element) -> String {
    let seen = message.children.iter().filter(|child| child.is("seen", NS));
    let mark = |mark: &Element| {
        let by = mark.attr("by").unwrap_or_default();
        format!("{}{}", by.trim_start_matches("fixture_chain_"), mark.attr("at").unwrap_or_default())
    };
    seen.map(mark).collect::<Vec<_>>().join(" ")
}

async fn marked(client: &mut Client) -> String {
    let own = client.jid().to_owned();
    client.message(&own, "to myself").await;
    marks(&client.expect_message().await)
}

async fn calls_that_ended(server: &Server, letter: char, how: &str) -> Option<String> {
    let start =
        format!("moult_module_calls_total{{module=\"{}\",vhost=\"localhost\",end=\"{how}\"}} ", id(letter));
    let metrics = server.http_get("/metrics").await.body;
    metrics.lines().find_map(|line| Some(line.strip_prefix(&start)?.to_owned()))
}

#[tokio::test]
async fn functions_run_in_the_order_of_their_sequence_numbers_whichever_module_comes_first() {
    let (server, mut alice) = three_modules("").await;
    assert_eq!(marked(&mut alice).await, "a10 b50 c50 a90");
    // Neither an update nor another load changes a place in the chain.
    server.plugins().install(&chained('b').variant(1));
    server.ctl(&["update", &id('b')]).await;
    assert_eq!(marked(&mut alice).await, "a10 b50 c50 a90");
    server.ctl(&["module_unload", &id('b')]).await;
    assert_eq!(marked(&mut alice).await, "a10 c50 a90");
    server.ctl(&["module_load", &id('b')]).await;
    assert_eq!(marked(&mut alice).await, "a10 b50 c50 a90");
    server.stop().await;
}

#[tokio::test]
async fn a_function_that_panics_is_passed_by_and_counted() {
    let (server, mut alice) = three_modules("[modules.fixture_chain_b]\npanics_at = ['50']").await;
    for _ in 0..3 {
        assert_eq!(marked(&mut alice).await, "a10 c50 a90");
    }
    assert_eq!(calls_that_ended(&server, 'b', "panic").await.as_deref(), Some("3"));
    assert_eq!(calls_that_ended(&server, 'c', "panic").await.as_deref(), Some("0"));
    server.log().expect(&[&id('b'), "stage=\"hook\"", "told to panic at 50"]).await;
    server.stop_with_module_panics().await;
}

#[tokio::test]
async fn a_function_that_ends_the_chain_is_the_last_one() {
    let (server, mut alice) = three_modules("[modules.fixture_chain_b]\nstops_at = ['50']").await;
    assert_eq!(marked(&mut alice).await, "a10 b50", "the message goes on as it is then");
    server.stop().await;

    let (server, mut alice) = three_modules("[modules.fixture_chain_a]\ndrops_at = ['90']").await;
    let own = alice.jid().to_owned();
    alice.message(&own, "to nobody").await;
    assert_eq!(alice.received().await, [], "it ends there, and a message is no request that wants an answer");
    assert_eq!(calls_that_ended(&server, 'a', "error").await.as_deref(), Some("0"));
    server.stop().await;
}

#[tokio::test]
async fn nothing_of_an_unloaded_module_is_left_in_any_table() {
    let config = "[modules.fixture_chain_a]\neverything = true";
    let builder = Server::builder().plugin(&chained('a')).plugin(&Plugin::built("mod_disco"));
    let server = builder.config(CONFIG).config(config).start().await;
    let mut alice = server.client("alice").await;
    let module = id('a');
    assert_eq!(offered(&server, &mut alice).await, [true; 8]);
    assert_eq!(marked(&mut alice).await, "a10 a90");
    eventually("its timer fires", async || own_numbers(&server).await.contains("name=\"ticks\"")).await;

    server.ctl(&["module_unload", &module]).await;
    assert_eq!(offered(&server, &mut alice).await, [false; 8]);
    assert_eq!(marked(&mut alice).await, "");
    assert_eq!(own_numbers(&server).await, "", "neither its timer nor its task runs");
    let metrics = server.http_get("/metrics").await.body;
    assert!(!metrics.contains(&format!("moult_module_generation{{module=\"{module}\"")), "{metrics}");
    assert!(metrics.contains("\nmoult_leaked_registrations_total 0\n"), "{metrics}");

    server.ctl(&["module_load", &module]).await;
    assert_eq!(offered(&server, &mut alice).await, [true; 8], "nobody holds what it had");
    server.stop().await;
}

/// Whether each thing that the module registers is there: to its domain, to the server, to an account, by command, over
/// HTTP, as a feature, as an identity, as an item.
async fn offered(server: &Server, alice: &mut Client) -> [bool; 8] {
    let module = id('a');
    let payload = format!("<ask xmlns='{NS}:{module}'/>");
    let is_answered = |answer: &Element| match answer.error() {
        None => true,
        Some((_, "service-unavailable" | "remote-server-not-found")) => false,
        Some(other) => panic!("{other:?}"),
    };
    let service = format!("{}.localhost", module.replace('_', "-"));
    alice.send(format!("<message to='{service}' id='echo'><body>x</body></message>")).await;
    let route = is_answered(&alice.expect_message().await);
    let by_server = is_answered(&alice.get("localhost", &payload).await);
    let by_account = is_answered(&alice.get("bob@localhost", &payload).await);
    let command = server.try_ctl(&[&module]).await.code == 0;
    let http = server.http_get(&format!("/{module}")).await.status == 200;
    let info =
        alice.get("localhost", "<query xmlns='http://jabber.org/protocol/disco#info'/>").await.to_string();
    let items =
        alice.get("localhost", "<query xmlns='http://jabber.org/protocol/disco#items'/>").await.to_string();
    let feature = info.contains(&format!("{NS}:{module}"));
    let identity = info.contains("generic");
    let item = items.contains("item.localhost") && items.contains(&service);
    assert_eq!(item, items.contains("item.localhost") || items.contains(&service), "{items}");
    [route, by_server, by_account, command, http, feature, identity, item]
}

/// The numbers that the module keeps, in the metrics.
async fn own_numbers(server: &Server) -> String {
    let metrics = server.http_get("/metrics").await.body;
    let start = format!("moult_module_value{{module=\"{}\"", id('a'));
    metrics.lines().filter(|line| line.starts_with(&start)).collect::<Vec<_>>().join("\n")
}
