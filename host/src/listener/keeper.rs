//! The task that holds a session whose client has lost its connection (XEP-0198 section 5).
//!
//! It takes what comes for the client out of the mailbox, bounded; ends the session when the time is over, when too much
//! has come, or when the session is closed by somebody else; and hands everything over to whoever resumes it.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use tokio::time::Sleep;

use super::hub::{Hub, Inward};
use super::resumption::{Claim, Place, Resumable};
use super::settings::ConnectionSettings;
use crate::session::{Batch, Delivery};

/// How much is taken from the mailbox at once.
const BATCH_BYTES: usize = 64 * 1024;

/// Keeps the session for its client, or ends it if too many are kept already.
pub(super) fn keep<E: Inward>(hub: &Arc<Hub<E>>, kept: Box<Resumable<E::Session>>) {
    let hub = Arc::clone(hub);
    match hub.resumptions.place(hub.settings().management.max_detached) {
        Some(place) => {
            hub.events.detached(&kept.session);
            let (jid, timeout) = (hub.events.full_jid(&kept.session), kept.timeout);
            tracing::info!(%jid, ?timeout, unacknowledged = kept.queue.len(), "session waits for its client");
            tokio::spawn(hold(hub, kept, place));
        }
        None => {
            tokio::spawn(async move { end(&hub, kept, "as many sessions as allowed wait already").await });
        }
    }
}

/// What a keeper waits for.
enum Next<S> {
    Claimed(Claim<S>),
    Mail,
    TimeIsOver,
}

async fn hold<E: Inward>(hub: Arc<Hub<E>>, mut kept: Box<Resumable<E::Session>>, place: Place<E::Session>) {
    let mut time = pin!(tokio::time::sleep(kept.timeout));
    let reason = loop {
        match std::future::poll_fn(|context| next(&mut kept, time.as_mut(), context)).await {
            Next::Claimed(claim) => match claim.send(kept) {
                Ok(()) => return,
                // Who claimed it is gone again.
                Err(back) => kept = back,
            },
            Next::Mail => {
                if let Err(reason) = take_in(&mut kept, &hub.settings()) {
                    break reason;
                }
            }
            Next::TimeIsOver => break "its client did not come back in time".to_owned(),
        }
    };
    end(&hub, kept, &reason).await;
    drop(place);
}

fn next<S>(
    kept: &mut Resumable<S>,
    time: std::pin::Pin<&mut Sleep>,
    context: &mut Context<'_>,
) -> Poll<Next<S>> {
    // Who is here comes before the time that is over: the client may have come at the last moment.
    if let Poll::Ready(claim) = kept.seat.poll_claim(context) {
        return Poll::Ready(Next::Claimed(claim));
    }
    if kept.mailbox.poll_ready(context).is_ready() {
        return Poll::Ready(Next::Mail);
    }
    time.poll(context).map(|()| Next::TimeIsOver)
}

/// Moves what has come into the queue. The error is why the session cannot be kept any longer.
fn take_in<S>(kept: &mut Resumable<S>, settings: &ConnectionSettings) -> Result<(), String> {
    let mut batch = Batch::new();
    kept.mailbox.drain(&mut batch, BATCH_BYTES);
    let now = SystemTime::now();
    let mut closed = None;
    for delivery in batch {
        match delivery {
            Delivery::Stanza(stanza) => kept.queue.push_delayed(stanza, now),
            Delivery::Close(reason) => closed = Some(reason.to_string()),
        }
    }
    if let Some(reason) = closed {
        return Err(reason);
    }
    // A connection may leave behind what it had sent and what still waited in the mailbox.
    let items = settings.management.queue_items + settings.mailbox.items;
    let bytes = settings.management.queue_bytes + settings.mailbox.bytes;
    if kept.queue.len() > items || kept.queue.bytes() > bytes {
        return Err(format!(
            "{} stanzas of {} bytes wait for it, which is more than the configured bounds allow",
            kept.queue.len(),
            kept.queue.bytes()
        ));
    }
    Ok(())
}

async fn end<E: Inward>(hub: &Hub<E>, kept: Box<Resumable<E::Session>>, reason: &str) {
    let jid = hub.events.full_jid(&kept.session);
    tracing::info!(%jid, unacknowledged = kept.queue.len(), "session ended, it cannot be resumed: {reason}");
    hub.resumptions.close(&kept.seat, kept.received);
    let Resumable { session, mailbox, queue, .. } = *kept;
    drop(mailbox);
    let ended = hub.events.ended(session, queue.into_stanzas());
    if tokio::time::timeout(hub.settings().farewell_timeout, ended).await.is_err() {
        tracing::warn!(%jid, "the end of a session could not be announced in time");
    }
}
