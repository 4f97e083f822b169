//! Messages that were kept come before those that are sent while they are delivered.

use std::sync::Arc;

use tokio::sync::Notify;

use super::super::testing::{Bench, jid, passed, stanza};
use crate::plugin::call::Dispatch;
use crate::plugin::hook::HookPoint;
use crate::router::Among;

const ROMEO: &str = "romeo@a.example/phone";

#[tokio::test]
async fn what_is_sent_during_a_login_comes_after_what_was_kept() {
    let bench = Arc::new(Bench::new());
    bench.has_account("romeo@a.example");
    let go_on: Arc<Notify> = Arc::default();
    let wait = go_on.clone();
    let router = bench.router.clone();
    bench.modules.on_hook(HookPoint::OfflineMessage, |call| Dispatch::Ready(passed(call)));
    bench.modules.on_hook(HookPoint::PresenceChanged, move |call| {
        let (wait, router) = (wait.clone(), router.clone());
        Dispatch::Later(Box::pin(async move {
            wait.notified().await;
            let kept =
                stanza("<message from='juliet@b.example/y' to='romeo@a.example'><body>kept</body></message>");
            assert_eq!(router.deliver_to(&jid(ROMEO), Among::Available, &kept).await, 1);
            passed(call)
        }))
    });
    let juliet = bench.bind("juliet@b.example/y").await;
    let mut romeo = bench.bind(ROMEO).await;
    let presence = stanza("<presence/>").with_from(&romeo.jid());
    let becoming = bench.router.from_session(romeo.session.as_ref().unwrap(), presence);
    let message = stanza("<message to='romeo@a.example' type='chat'><body>new</body></message>");
    let sending =
        bench.router.from_session(juliet.session.as_ref().unwrap(), message.with_from(&juliet.jid()));
    assert!(!sending.is_done(), "it waits");
    go_on.notify_one();
    tokio::join!(becoming, sending);
    let got: Vec<String> = romeo.got().iter().map(|stanza| stanza.content().to_owned()).collect();
    assert_eq!(got, ["", "<body>kept</body>", "<body>new</body>"]);
    // A session opens once: this presence is told to modules as well, and holds nothing back.
    let presence = stanza("<presence><priority>5</priority></presence>").with_from(&romeo.jid());
    let changing = bench.router.from_session(romeo.session.as_ref().unwrap(), presence);
    juliet.send("<message to='romeo@a.example' type='chat'><body>later</body></message>").await;
    assert_eq!(romeo.got().last().unwrap().content(), "<body>later</body>");
    drop(changing);
}

#[tokio::test]
async fn a_login_that_is_given_up_holds_nothing_back() {
    let bench = Bench::new();
    bench.modules.on_hook(HookPoint::OfflineMessage, |call| Dispatch::Ready(passed(call)));
    bench.modules.on_hook(HookPoint::PresenceChanged, |_| Dispatch::Later(Box::pin(std::future::pending())));
    let juliet = bench.bind("juliet@b.example/y").await;
    let mut romeo = bench.bind(ROMEO).await;
    let presence = stanza("<presence/>").with_from(&romeo.jid());
    drop(bench.router.from_session(romeo.session.as_ref().unwrap(), presence));
    juliet.send("<message to='romeo@a.example' type='chat'><body>new</body></message>").await;
    assert_eq!(romeo.got().last().unwrap().content(), "<body>new</body>");
}
