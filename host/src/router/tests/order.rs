//! The order of each pair of sender and receiver, also when some stanzas have to wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::testing::{Bench, passed, stanza};
use crate::plugin::call::Dispatch;
use crate::plugin::hook::HookPoint;

fn ids(stanzas: &[crate::stanza::Stanza]) -> Vec<usize> {
    stanzas.iter().map(|stanza| stanza.id().unwrap().parse().unwrap()).collect()
}

/// Every third stanza waits for a while in the hook.
fn uneven(bench: &Bench, point: HookPoint) {
    let seen = Arc::new(AtomicUsize::new(0));
    bench.modules.on_hook(point, move |call| {
        if !seen.fetch_add(1, Ordering::Relaxed).is_multiple_of(3) {
            return Dispatch::Ready(passed(call));
        }
        Dispatch::Later(Box::pin(async move {
            for _ in 0..5 {
                tokio::task::yield_now().await;
            }
            passed(call)
        }))
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_modules_send_stays_in_order_behind_a_slow_hook() {
    const COUNT: usize = 300;
    let bench = Bench::new();
    uneven(&bench, HookPoint::UserReceivePacket);
    let mut juliet = bench.bind("juliet@b.example/y").await;
    for id in 0..COUNT {
        bench
            .router
            .inject(stanza(&format!("<message from='echo.a.example' to='juliet@b.example/y' id='{id}'/>")))
            .unwrap();
    }
    let mut got = Vec::new();
    while got.len() < COUNT {
        got.extend(ids(&juliet.wait().await));
    }
    assert_eq!(got, (0..COUNT).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_a_client_sends_stays_in_order_behind_a_slow_hook() {
    let bench = Bench::new();
    uneven(&bench, HookPoint::UserSendPacket);
    let romeo = bench.bind("romeo@a.example/x").await;
    let mut juliet = bench.bind("juliet@b.example/y").await;
    for id in 0..30 {
        romeo.send(&format!("<message to='juliet@b.example/y' id='{id}'/>")).await;
    }
    assert_eq!(ids(&juliet.got()), (0..30).collect::<Vec<_>>());
}

#[tokio::test]
async fn nothing_is_awaited_where_nothing_is_hooked() {
    let bench = Bench::new();
    let romeo = bench.bind("romeo@a.example/x").await;
    let _juliet = bench.bind("juliet@b.example/y").await;
    let session = romeo.session.as_ref().unwrap();
    let say = stanza("<message from='romeo@a.example/x' to='juliet@b.example/y'/>");
    assert!(bench.router.from_session(session, say).is_done());
}
