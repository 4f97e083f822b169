//! The bounded queue between the router and one connection.
//!
//! Promises: a push never waits; a stanza that is refused comes back to the sender, so that nobody loses it silently;
//! a push onto a queue that already holds something wakes nobody; an empty mailbox owns no buffer beyond its own
//! allocation.
//!
//! There are two bounds. The first holds for stanzas that can be bounced (messages, IQ requests): beyond it they are
//! refused as [`Refusal::Full`] and the caller answers their sender. Presence, results and errors cannot be answered,
//! so they may use a reserve above it. When the reserve is used up as well, or nothing was taken out for
//! [`MailboxLimits::stalled_after`] although the queue was full, the session is closed: a client that missed a result
//! or a presence must not go on as if nothing had happened. Whatever a closed mailbox still holds is given back by
//! [`MailboxSender::seal`] and routed again.
//!
//! It deliberately knows neither JIDs nor sockets.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use smallvec::SmallVec;
use tokio::sync::Notify;

use crate::stanza::{IqType, MessageType, Stanza, StanzaType, StreamError, StreamErrorCondition};
use crate::wake;

/// What one queued stanza costs beside its bytes, so that many tiny stanzas cannot hide behind the byte bound.
const ITEM_OVERHEAD: usize = 128;

/// Bounds of one mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MailboxLimits {
    /// Stanzas that may wait.
    pub items: usize,
    /// Their bytes, each stanza with a small overhead.
    pub bytes: usize,
    /// How long a full mailbox may stay untouched before its session is closed.
    pub stalled_after: Duration,
}

impl Default for MailboxLimits {
    fn default() -> Self {
        Self { items: 1_000, bytes: 1 << 20, stalled_after: Duration::from_secs(30) }
    }
}

impl MailboxLimits {
    /// A quarter more for what cannot be bounced, and room for at least one stanza however large.
    fn reserve(self) -> Self {
        let quarter_more = |bound: usize| bound.saturating_add(bound / 4);
        Self { items: quarter_more(self.items).saturating_add(1), bytes: quarter_more(self.bytes), ..self }
    }
}

/// What a connection takes out of its mailbox.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// To be written.
    Stanza(Stanza),
    /// The last one: end the stream with this error. Nothing follows it.
    Close(StreamError),
}

/// What [`MailboxReceiver::drain`] fills.
pub type Batch = SmallVec<[Delivery; 4]>;

/// Why a push was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The bound is reached: answer the sender with `resource-constraint`.
    Full,
    /// The session is closing or gone: treat the stanza as if the resource did not exist.
    Closed,
}

/// A refused stanza, given back.
#[derive(Debug)]
pub struct Refused {
    /// The stanza.
    pub stanza: Stanza,
    /// The reason.
    pub why: Refusal,
}

/// Marks the copies of one message that went to several resources, so that the last copy that nobody took, and only
/// that one, counts as undelivered.
#[derive(Clone, Debug, Default)]
pub struct SharedCopies(Arc<AtomicBool>);

impl SharedCopies {
    /// Gives up the sender's own hold after the last push. `true`: every copy has come to nothing meanwhile.
    pub fn all_lost(self) -> bool {
        // `into_inner` gives the flag to exactly one holder, the last one.
        Arc::into_inner(self.0).is_some_and(|taken| !taken.into_inner())
    }

    fn mark_taken(self) {
        self.0.store(true, Ordering::Release);
    }
}

#[derive(Debug)]
struct Entry {
    stanza: Stanza,
    copies: Option<SharedCopies>,
}

#[derive(Debug)]
enum Phase {
    Open,
    /// The reason is taken out by the drain that empties the queue.
    Closing(Option<StreamError>),
    /// The connection is gone; nothing is accepted or given out.
    Sealed,
}

#[derive(Debug)]
struct State {
    /// One stanza waits without an allocation: the usual case, and little memory in an idle session.
    queue: SmallVec<[Entry; 1]>,
    bytes: usize,
    waker: Option<Waker>,
    full_since: Option<Instant>,
    /// For those who wait for room; made by the first of them.
    room: Option<Arc<Notify>>,
    phase: Phase,
}

#[derive(Debug)]
struct Shared {
    limits: MailboxLimits,
    state: Mutex<State>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing below panics while it holds the lock; a poisoned state is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The router's end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct MailboxSender(Arc<Shared>);

/// The connection's end. Dropping it seals the mailbox; what it held stays for [`MailboxSender::seal`].
#[derive(Debug)]
pub struct MailboxReceiver(Arc<Shared>);

/// Makes a mailbox.
pub fn mailbox(limits: MailboxLimits) -> (MailboxSender, MailboxReceiver) {
    let state = State {
        queue: SmallVec::new(),
        bytes: 0,
        waker: None,
        full_since: None,
        room: None,
        phase: Phase::Open,
    };
    let shared = Arc::new(Shared { limits, state: Mutex::new(state) });
    (MailboxSender(shared.clone()), MailboxReceiver(shared))
}

impl MailboxSender {
    /// Queues a stanza and wakes the connection if it was waiting.
    pub fn push(&self, stanza: Stanza) -> Result<(), Box<Refused>> {
        self.push_entry(Entry { stanza, copies: None })
    }

    /// Queues one of several copies of the same message.
    pub fn push_copy(&self, stanza: Stanza, copies: &SharedCopies) -> Result<(), Box<Refused>> {
        self.push_entry(Entry { stanza, copies: Some(copies.clone()) })
    }

    fn push_entry(&self, entry: Entry) -> Result<(), Box<Refused>> {
        let mut state = self.0.lock();
        match state.admit(&entry.stanza, &self.0.limits) {
            None => {
                state.bytes += weight(&entry.stanza);
                state.queue.push(entry);
                wake(state);
                Ok(())
            }
            Some(why) => {
                // A refusal may have begun the closing, which the connection must hear of.
                wake(state);
                Err(Box::new(Refused { stanza: entry.stanza, why }))
            }
        }
    }

    /// For whoever was refused because it is full: ready when something was taken out since then, or when it is closed.
    /// Others may have filled it again by then.
    pub async fn moved(&self) {
        let moved = {
            let mut state = self.0.lock();
            if !matches!(state.phase, Phase::Open) || state.full_since.is_none() {
                return;
            }
            Arc::clone(state.room.get_or_insert_default()).notified_owned()
        };
        moved.await;
    }

    /// Asks the connection to close its stream after what is already queued. The first reason counts; says whether it
    /// was this one.
    pub fn close(&self, reason: StreamError) -> bool {
        let mut state = self.0.lock();
        if !matches!(state.phase, Phase::Open) {
            return false;
        }
        state.phase = Phase::Closing(Some(reason));
        wake(state);
        true
    }

    /// Ends the mailbox and gives back, in order, what nobody took: every stanza of its own, and of shared copies the
    /// last one if no other copy was taken.
    pub fn seal(&self) -> Vec<Stanza> {
        let (queue, room) = {
            let mut state = self.0.lock();
            state.phase = Phase::Sealed;
            state.bytes = 0;
            state.waker = None;
            (std::mem::take(&mut state.queue), state.room.take())
        };
        tell(room);
        queue.into_iter().filter_map(Entry::undelivered).collect()
    }

    /// Whether it still accepts stanzas.
    pub fn is_open(&self) -> bool {
        matches!(self.0.lock().phase, Phase::Open)
    }

    /// Stanzas and bytes that wait.
    pub fn backlog(&self) -> (usize, usize) {
        let state = self.0.lock();
        (state.queue.len(), state.bytes)
    }
}

impl MailboxReceiver {
    /// Ready when a drain would give something. Registers the task otherwise.
    pub fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.lock();
        if state.has_delivery() {
            return Poll::Ready(());
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(context.waker()),
            empty => *empty = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// Ready when the session is to be closed, whatever still waits. Registers the task otherwise, which is also woken
    /// by stanzas.
    pub fn poll_closing(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.lock();
        if !matches!(state.phase, Phase::Open) {
            return Poll::Ready(());
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }

    /// Waits until a drain would give something.
    pub fn ready(&mut self) -> impl Future<Output = ()> + Send + '_ {
        std::future::poll_fn(|context| self.poll_ready(context))
    }

    /// Takes stanzas in order until `max_bytes` are exceeded or nothing is left; at least one, if there is one. The
    /// order to close comes last, after the queue is empty. Says whether something is left.
    pub fn drain(&mut self, batch: &mut Batch, max_bytes: usize) -> bool {
        let mut state = self.0.lock();
        let is_left = state.take(batch, max_bytes);
        let room = state.room.take();
        drop(state);
        tell(room);
        is_left
    }
}

impl Drop for MailboxReceiver {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.phase = Phase::Sealed;
        state.waker = None;
        let room = state.room.take();
        drop(state);
        tell(room);
    }
}

impl Entry {
    fn deliver(self) -> Stanza {
        if let Some(copies) = self.copies {
            copies.mark_taken();
        }
        self.stanza
    }

    fn undelivered(self) -> Option<Stanza> {
        let lost = self.copies.is_none_or(SharedCopies::all_lost);
        lost.then_some(self.stanza)
    }
}

impl State {
    /// `None` admits the stanza. May begin the closing.
    fn admit(&mut self, stanza: &Stanza, limits: &MailboxLimits) -> Option<Refusal> {
        if !matches!(self.phase, Phase::Open) {
            return Some(Refusal::Closed);
        }
        if self.fits(stanza, limits) {
            return None;
        }
        let now = Instant::now();
        let since = *self.full_since.get_or_insert(now);
        if now.duration_since(since) >= limits.stalled_after {
            return Some(self.overflow("The client does not read what is sent to it."));
        }
        if can_be_bounced(stanza) {
            return Some(Refusal::Full);
        }
        if self.fits(stanza, &limits.reserve()) {
            return None;
        }
        Some(self.overflow("Too many stanzas wait for the client."))
    }

    /// An empty mailbox takes any stanza: how large one may be is the stream's limit, not ours.
    fn fits(&self, stanza: &Stanza, limits: &MailboxLimits) -> bool {
        self.queue.is_empty()
            || (self.queue.len() < limits.items && self.bytes.saturating_add(weight(stanza)) <= limits.bytes)
    }

    fn overflow(&mut self, text: &str) -> Refusal {
        self.phase = Phase::Closing(Some(StreamError::new(StreamErrorCondition::ResourceConstraint, text)));
        Refusal::Closed
    }

    /// As [`MailboxReceiver::drain`] says.
    fn take(&mut self, batch: &mut Batch, max_bytes: usize) -> bool {
        let count = self.fitting(max_bytes);
        self.full_since = None;
        let mut taken = 0;
        for entry in self.queue.drain(..count) {
            taken += weight(&entry.stanza);
            batch.push(Delivery::Stanza(entry.deliver()));
        }
        self.bytes -= taken;
        if !self.queue.is_empty() {
            return true;
        }
        if self.queue.spilled() {
            self.queue = SmallVec::new();
        }
        if let Phase::Closing(reason) = &mut self.phase
            && let Some(reason) = reason.take()
        {
            batch.push(Delivery::Close(reason));
        }
        false
    }

    fn has_delivery(&self) -> bool {
        !self.queue.is_empty() || matches!(self.phase, Phase::Closing(Some(_)))
    }

    fn fitting(&self, max_bytes: usize) -> usize {
        let mut bytes = 0;
        let fits = |entry: &&Entry| {
            bytes += weight(&entry.stanza);
            bytes <= max_bytes
        };
        let count = self.queue.iter().take_while(fits).count();
        count.max(1).min(self.queue.len())
    }
}

/// Wakes outside the lock.
fn wake(mut state: MutexGuard<'_, State>) {
    let waker = if state.has_delivery() { state.waker.take() } else { None };
    let room = if matches!(state.phase, Phase::Open) { None } else { state.room.take() };
    drop(state);
    tell(room);
    if let Some(waker) = waker {
        wake::wake(waker);
    }
}

/// Those who wait for room look again. Outside the lock, too.
fn tell(room: Option<Arc<Notify>>) {
    if let Some(room) = room {
        room.notify_waiters();
    }
}

pub(super) fn weight(stanza: &Stanza) -> usize {
    stanza.bytes().len() + ITEM_OVERHEAD
}

/// Whether an error reply to this stanza would be lawful and expected.
fn can_be_bounced(stanza: &Stanza) -> bool {
    match stanza.type_() {
        StanzaType::Message(kind) => kind != MessageType::Error,
        StanzaType::Iq(kind) => matches!(kind, IqType::Get | IqType::Set),
        StanzaType::Presence(_) => false,
    }
}
