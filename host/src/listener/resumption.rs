//! Sessions that may outlive their connections (XEP-0198 section 5).
//!
//! A session belongs to exactly one holder: the connection that serves it, or a keeper that waits for its client. Each
//! has a [`Seat`] under the id that its client was told. Who resumes puts a claim on the seat; the holder finds it there
//! and hands over everything at once, as one value. So there is no moment at which two connections write to one client,
//! and none at which the session is nowhere.
//!
//! Ids of sessions that have ended are remembered for a while, with the number of stanzas that were handled, so that a
//! client that comes too late knows what has arrived.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use crate::session::{AckQueue, MailboxReceiver};
use crate::stanza::Jid;

/// Ended sessions that are remembered.
const REMEMBERED: usize = 10_000;

/// Everything that makes a session go on with another connection.
pub(super) struct Resumable<S> {
    pub seat: Arc<Seat<S>>,
    pub session: S,
    pub mailbox: MailboxReceiver,
    pub queue: AckQueue,
    /// Stanzas of the client that were handled, modulo 2^32.
    pub received: u32,
    /// How long the session waits for its client.
    pub timeout: Duration,
}

/// Where a claim on the session is put down.
pub(super) type Claim<S> = oneshot::Sender<Box<Resumable<S>>>;

/// The place of one session, whoever holds it.
pub(super) struct Seat<S> {
    id: Arc<str>,
    account: Jid,
    state: Mutex<SeatState<S>>,
}

struct SeatState<S> {
    claim: Option<Claim<S>>,
    holder: Option<Waker>,
}

impl<S> Seat<S> {
    /// The id that the client resumes by.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// For the holder: the latest claim that somebody still waits for. Otherwise the task is woken when one comes.
    pub fn poll_claim(&self, context: &mut Context<'_>) -> Poll<Claim<S>> {
        let mut state = self.lock();
        match state.claim.take() {
            Some(claim) if !claim.is_closed() => Poll::Ready(claim),
            _ => {
                state.holder = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// An earlier claim that was not met yet is given up for this one: its connection is older.
    fn claim(&self) -> oneshot::Receiver<Box<Resumable<S>>> {
        let (claim, receiver) = oneshot::channel();
        let mut state = self.lock();
        state.claim = Some(claim);
        let holder = state.holder.take();
        drop(state);
        if let Some(holder) = holder {
            holder.wake();
        }
        receiver
    }

    fn lock(&self) -> MutexGuard<'_, SeatState<S>> {
        // Nothing panics while it holds the lock; a poisoned state is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why there is nothing to resume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotFound {
    /// How many stanzas of the client were handled, if the session is remembered.
    pub handled: Option<u32>,
}

/// All seats.
pub(super) struct Resumptions<S> {
    state: Mutex<State<S>>,
    detached: AtomicUsize,
    emptied: Notify,
}

struct State<S> {
    seats: HashMap<Arc<str>, Arc<Seat<S>>>,
    ended: HashMap<Arc<str>, (Jid, u32)>,
    order: VecDeque<Arc<str>>,
}

/// A session's place among those that wait for their clients; its drop gives the place back.
pub(super) struct Place<S>(Arc<Resumptions<S>>);

impl<S> Resumptions<S> {
    pub fn new() -> Arc<Self> {
        let state = State { seats: HashMap::new(), ended: HashMap::new(), order: VecDeque::new() };
        Arc::new(Self { state: Mutex::new(state), detached: AtomicUsize::new(0), emptied: Notify::new() })
    }

    /// A seat for a session of this account (a bare JID), under an id that nobody can guess.
    pub fn open(&self, account: Jid) -> Arc<Seat<S>> {
        self.reopen(&random_id(), account)
    }

    /// A seat under an id that a client knows from before a restart.
    pub fn reopen(&self, id: &str, account: Jid) -> Arc<Seat<S>> {
        let id: Arc<str> = id.into();
        let state = Mutex::new(SeatState { claim: None, holder: None });
        let seat = Arc::new(Seat { id: Arc::clone(&id), account, state });
        self.lock().seats.insert(id, Arc::clone(&seat));
        seat
    }

    /// Claims the session with this id for its own account; nobody else learns that it exists. The receiver fails if
    /// the session ends or somebody else claims it meanwhile.
    pub fn claim(&self, id: &str, account: &Jid) -> Result<oneshot::Receiver<Box<Resumable<S>>>, NotFound> {
        let state = self.lock();
        match state.seats.get(id).filter(|seat| seat.account.same_bare(account)) {
            Some(seat) => {
                let seat = Arc::clone(seat);
                drop(state);
                Ok(seat.claim())
            }
            None => {
                let ended = state.ended.get(id).filter(|(owner, _)| owner.same_bare(account));
                Err(NotFound { handled: ended.map(|(_, handled)| *handled) })
            }
        }
    }

    /// The session has ended, having handled so many stanzas.
    pub fn close(&self, seat: &Seat<S>, handled: u32) {
        let mut state = self.lock();
        if state.seats.remove(seat.id()).is_none() {
            return;
        }
        if state.order.len() >= REMEMBERED
            && let Some(oldest) = state.order.pop_front()
        {
            state.ended.remove(&oldest);
        }
        state.order.push_back(Arc::clone(&seat.id));
        state.ended.insert(Arc::clone(&seat.id), (seat.account.clone(), handled));
    }

    /// A place among the sessions that wait, if there is one left.
    pub fn place(self: &Arc<Self>, at_most: usize) -> Option<Place<S>> {
        let taken = self.detached.fetch_add(1, Ordering::AcqRel);
        let place = Place(Arc::clone(self));
        (taken < at_most).then_some(place)
    }

    /// How many sessions wait for their clients.
    pub fn detached(&self) -> usize {
        self.detached.load(Ordering::Acquire)
    }

    /// Waits until none waits any more.
    pub async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.detached() == 0 {
                return;
            }
            emptied.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<S>> {
        // Nothing panics while it holds the lock; a poisoned state is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Drop for Place<S> {
    fn drop(&mut self) {
        if self.0.detached.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.emptied.notify_waiters();
        }
    }
}

fn random_id() -> String {
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random)
        .expect("the operating system's random source does not fail after start");
    format!("{:032x}", u128::from_be_bytes(random))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{MailboxLimits, mailbox::mailbox};

    fn jid(text: &str) -> Jid {
        Jid::parse(text).unwrap()
    }

    fn kept(seat: &Arc<Seat<&'static str>>) -> Box<Resumable<&'static str>> {
        let (_, mailbox) = mailbox(MailboxLimits::default());
        let (queue, timeout) = (AckQueue::default(), Duration::from_secs(1));
        Box::new(Resumable { seat: Arc::clone(seat), session: "s", mailbox, queue, received: 7, timeout })
    }

    async fn next_claim(seat: &Seat<&'static str>) -> Claim<&'static str> {
        std::future::poll_fn(|context| seat.poll_claim(context)).await
    }

    #[tokio::test]
    async fn the_holder_hands_over_to_the_latest_claim() {
        let resumptions = Resumptions::new();
        let seat = resumptions.open(jid("juliet@a.example"));
        let first = resumptions.claim(seat.id(), &jid("juliet@a.example")).unwrap();
        let second = resumptions.claim(seat.id(), &jid("juliet@a.example/x")).unwrap();
        assert!(first.await.is_err());
        assert!(next_claim(&seat).await.send(kept(&seat)).is_ok());
        assert_eq!(second.await.unwrap().received, 7);
    }

    #[tokio::test]
    async fn a_claim_that_was_given_up_is_not_seen_and_the_next_one_wakes() {
        let resumptions = Resumptions::new();
        let seat = resumptions.open(jid("juliet@a.example"));
        drop(resumptions.claim(seat.id(), &jid("juliet@a.example")).unwrap());
        let holder = Arc::clone(&seat);
        let waiting = tokio::spawn(async move { next_claim(&holder).await.send(kept(&holder)).is_ok() });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        let claim = resumptions.claim(seat.id(), &jid("juliet@a.example")).unwrap();
        assert_eq!(claim.await.unwrap().session, "s");
        assert!(waiting.await.unwrap());
    }

    #[test]
    fn others_learn_nothing_and_the_owner_learns_what_was_handled() {
        let resumptions: Arc<Resumptions<()>> = Resumptions::new();
        let seat = resumptions.open(jid("juliet@a.example"));
        let lost = |id: &str, account: &str| resumptions.claim(id, &jid(account)).err();
        assert_eq!(lost(seat.id(), "romeo@a.example"), Some(NotFound { handled: None }));
        assert_eq!(lost("unknown", "juliet@a.example"), Some(NotFound { handled: None }));
        assert_eq!(lost(seat.id(), "juliet@a.example"), None);
        resumptions.close(&seat, 5);
        resumptions.close(&seat, 6);
        assert_eq!(lost(seat.id(), "juliet@a.example"), Some(NotFound { handled: Some(5) }));
        assert_eq!(lost(seat.id(), "romeo@a.example"), Some(NotFound { handled: None }));
    }

    #[test]
    fn only_so_many_ended_sessions_are_remembered() {
        let resumptions: Arc<Resumptions<()>> = Resumptions::new();
        let account = jid("juliet@a.example");
        let first = resumptions.open(account.clone());
        resumptions.close(&first, 1);
        for _ in 0..REMEMBERED {
            let seat = resumptions.open(account.clone());
            resumptions.close(&seat, 1);
        }
        assert_eq!(resumptions.claim(first.id(), &account).err(), Some(NotFound { handled: None }));
        assert_eq!(resumptions.lock().ended.len(), REMEMBERED);
    }

    #[tokio::test]
    async fn places_are_counted_and_come_back() {
        let resumptions: Arc<Resumptions<()>> = Resumptions::new();
        let place = resumptions.place(1).unwrap();
        assert!(resumptions.place(1).is_none());
        assert_eq!(resumptions.detached(), 1);
        drop(place);
        resumptions.emptied().await;
        assert!(resumptions.place(1).is_some());
    }
}
