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
use crate::session::{AckQueue, Batch, Delivery, MailboxReceiver};
use crate::stanza::StreamErrorCondition;
use crate::stream::{Suspended, Work};

/// How much is taken from the mailbox at once.
const BATCH_BYTES: usize = 64 * 1024;

/// Keeps the session for its client, or ends it if too many are kept already.
pub(super) fn keep<E: Inward>(hub: &Arc<Hub<E>>, kept: Box<Resumable<E::Session>>) {
    let hub = Arc::clone(hub);
    match hub.resumptions.place(hub.settings().management.max_detached) {
        Some(place) => {
            hub.events.detached(&kept.session, &mut kept.queue.iter().map(|unacked| &unacked.stanza));
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
    let over = loop {
        match std::future::poll_fn(|context| next(&mut kept, time.as_mut(), context)).await {
            Next::Claimed(claim) => match claim.send(kept) {
                Ok(()) => return,
                // Who claimed it is gone again.
                Err(back) => kept = back,
            },
            Next::Mail => {
                if let Err(over) = take_in(&mut kept, &hub.settings()) {
                    break over;
                }
            }
            Next::TimeIsOver => break Over::Lost("its client did not come back in time".to_owned()),
        }
    };
    match over {
        Over::Lost(reason) => end(&hub, kept, &reason).await,
        Over::Suspended => within_time(&hub, suspend(&hub, *kept)).await,
    }
    drop(place);
}

/// Why a session cannot be kept any longer.
enum Over {
    Lost(String),
    /// The server stops.
    Suspended,
}

/// Gives the session up for the time in which the server is not there.
pub(super) fn suspend<E: Inward>(hub: &Hub<E>, kept: Resumable<E::Session>) -> Work<()> {
    hub.resumptions.close(&kept.seat, kept.received);
    let Resumable { seat, session, mailbox, queue, received, timeout } = kept;
    drop(mailbox);
    let (id, acknowledged) = (seat.id().to_owned(), queue.acknowledged());
    let left = Suspended { id, received, acknowledged, timeout, stanzas: queue.into_waiting() };
    hub.events.suspend(session, left)
}

impl<E: Inward> Hub<E> {
    /// Keeps a session from before a restart for its client. Needs the runtime on which connections are to run.
    pub fn adopt(self: &Arc<Self>, session: E::Session, mailbox: MailboxReceiver, left: Suspended) {
        let account = self.events.full_jid(&session).bare();
        let Suspended { id, received, acknowledged, timeout, stanzas } = left;
        let seat = self.resumptions.reopen(&id, account);
        let queue = AckQueue::restore(acknowledged, stanzas);
        keep(self, Box::new(Resumable { seat, session, mailbox, queue, received, timeout }));
    }
}

async fn within_time<E: Inward>(hub: &Hub<E>, work: Work<()>) {
    if tokio::time::timeout(hub.settings().farewell_timeout, work).await.is_err() {
        tracing::warn!("the end of a session could not be announced in time");
    }
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
fn take_in<S>(kept: &mut Resumable<S>, settings: &ConnectionSettings) -> Result<(), Over> {
    let mut batch = Batch::new();
    kept.mailbox.drain(&mut batch, BATCH_BYTES);
    let now = SystemTime::now();
    let mut closed = None;
    for delivery in batch {
        match delivery {
            Delivery::Stanza(stanza) => kept.queue.push_delayed(stanza, now),
            Delivery::Close(reason) if reason.condition == StreamErrorCondition::SystemShutdown => {
                closed = Some(Over::Suspended);
            }
            Delivery::Close(reason) => closed = Some(Over::Lost(reason.to_string())),
        }
    }
    if let Some(over) = closed {
        return Err(over);
    }
    // A connection may leave behind what it had sent and what still waited in the mailbox.
    let items = settings.management.queue_items + settings.mailbox.items;
    let bytes = settings.management.queue_bytes + settings.mailbox.bytes;
    if kept.queue.len() > items || kept.queue.bytes() > bytes {
        return Err(Over::Lost(format!(
            "{} stanzas of {} bytes wait for it, which is more than the configured bounds allow",
            kept.queue.len(),
            kept.queue.bytes()
        )));
    }
    Ok(())
}

async fn end<E: Inward>(hub: &Hub<E>, kept: Box<Resumable<E::Session>>, reason: &str) {
    let jid = hub.events.full_jid(&kept.session);
    tracing::info!(%jid, unacknowledged = kept.queue.len(), "session ended, it cannot be resumed: {reason}");
    hub.resumptions.close(&kept.seat, kept.received);
    let Resumable { session, mailbox, queue, .. } = *kept;
    drop(mailbox);
    within_time(hub, hub.events.ended(session, queue.into_stanzas())).await;
}
