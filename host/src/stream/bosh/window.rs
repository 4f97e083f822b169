//! The rules of a session: the order of requests and answers, what is kept to be sent again, and when it is over
//! (XEP-0124 sections 10 to 14). It knows no stream and no HTTP.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::answer::{self, Speech, Terminal};
use super::request::{BoshRequest, Wishes};

/// Requests that are held back at most, whatever the client allows.
const MAX_HOLD: u64 = 4;

/// Who asks for nothing twice within this time asks too often.
const POLLING: Duration = Duration::from_secs(5);

/// How long a client that polls waits for what its request causes: the server's work is no waiting.
const WORK: Duration = Duration::from_millis(250);

/// How often in a row a client that does not poll may ask too soon. A page that is loaded anew takes its session over
/// and asks at once, whatever the page before it has asked; whoever goes on asking does so for no reason.
const MAX_HASTE: u8 = 3;

/// How often a request may be sent again before it is answered.
const MAX_REPEATS: u8 = 10;

/// What the operator allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoshTerms {
    /// The longest time that an answer is held back.
    pub max_wait: Duration,
    /// Silence after which a session ends.
    pub inactivity: Duration,
    /// The longest pause that a client may announce.
    pub max_pause: Duration,
    /// The largest request.
    pub max_body: usize,
}

/// What holds for one session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Agreed {
    pub wait: Duration,
    pub hold: usize,
    pub requests: usize,
    pub inactivity: Duration,
    pub polling: Duration,
    pub max_pause: Duration,
    pub ver: Option<(u32, u32)>,
}

/// Somebody who waits for the answer to a request.
pub(super) trait Holder {
    /// Whether nobody waits any more.
    fn is_gone(&self) -> bool;

    /// Gives the answer.
    fn answer(self, body: Arc<str>, end: Option<Terminal>);
}

/// The requests and answers of one session.
pub(super) struct Window<H> {
    sid: String,
    pub agreed: Agreed,
    /// Every request up to this one has come.
    arrived: u64,
    /// Requests that have overtaken others.
    early: BTreeMap<u64, Early<H>>,
    /// Requests without an answer, in order.
    open: VecDeque<Open<H>>,
    /// Answers that may have to be given again.
    kept: VecDeque<(u64, Arc<str>)>,
    /// The request for the session, as long as it is not answered.
    first: Option<u64>,
    previous: Previous,
    /// How often in a row a request came too soon.
    haste: u8,
    /// How long silence lasts at most, as things are.
    patience: Duration,
    /// Since when no request is held.
    silent_since: Option<Instant>,
}

struct Early<H> {
    request: BoshRequest,
    slot: Slot<H>,
}

struct Open<H> {
    rid: u64,
    until: Instant,
    slot: Slot<H>,
}

struct Slot<H> {
    holder: Option<H>,
    repeats: u8,
}

/// The last request that came in its turn.
struct Previous {
    rid: u64,
    at: Instant,
    was_empty: bool,
    brought_something: bool,
}

impl Agreed {
    /// What the client wants, as far as it is allowed.
    fn on(wishes: &Wishes, terms: &BoshTerms) -> Self {
        let asked = wishes.wait.map_or(terms.max_wait, Duration::from_secs);
        let hold = wishes.hold.unwrap_or(1).min(MAX_HOLD) as usize;
        let polls = asked.is_zero() || hold == 0;
        let (wait, hold) = if polls { (Duration::ZERO, 0) } else { (asked.min(terms.max_wait), hold) };
        Self {
            wait,
            hold,
            requests: hold + 1,
            // Section 12: a client that polls is silent in between.
            inactivity: if polls { terms.inactivity + 2 * POLLING } else { terms.inactivity },
            polling: POLLING,
            max_pause: terms.max_pause,
            ver: wishes.ver,
        }
    }

    fn polls(&self) -> bool {
        self.hold == 0
    }
}

impl<H> Slot<H> {
    fn new(holder: H) -> Self {
        Self { holder: Some(holder), repeats: 0 }
    }
}

impl<H: Holder> Slot<H> {
    fn is_listening(&self) -> bool {
        self.holder.as_ref().is_some_and(|holder| !holder.is_gone())
    }

    fn repeat(&mut self, holder: H) -> Result<(), (Terminal, Option<H>)> {
        self.repeats += 1;
        if self.repeats > MAX_REPEATS {
            return Err((Terminal::PolicyViolation, Some(holder)));
        }
        if let Some(former) = self.holder.replace(holder) {
            former.answer(answer::recoverable().into(), None);
        }
        Ok(())
    }
}

impl<H: Holder> Window<H> {
    /// A session that begins with this request.
    pub fn open(sid: String, request: &BoshRequest, terms: &BoshTerms, holder: H, now: Instant) -> Self {
        let agreed = Agreed::on(&request.wishes, terms);
        let rid = request.rid;
        // The features come at once; a client that polls shall not have to ask for them.
        let until = now + agreed.wait.max(WORK);
        Self {
            sid,
            arrived: rid,
            early: BTreeMap::new(),
            open: [Open { rid, until, slot: Slot::new(holder) }].into(),
            kept: VecDeque::new(),
            first: Some(rid),
            previous: Previous { rid, at: now, was_empty: false, brought_something: true },
            haste: 0,
            patience: agreed.inactivity,
            silent_since: None,
            agreed,
        }
    }

    /// Takes a request. Those whose turn it is now are given back; if the session is over, its holder is.
    pub fn arrive(
        &mut self,
        request: BoshRequest,
        holder: H,
        now: Instant,
    ) -> Result<Vec<BoshRequest>, (Terminal, Option<H>)> {
        let rid = request.rid;
        if let Some((_, body)) = self.kept.iter().find(|(kept, _)| *kept == rid) {
            holder.answer(Arc::clone(body), None);
            self.silent_since = self.silent_since.map(|_| now);
            return Ok(Vec::new());
        }
        let open = self.open.iter_mut().find(|open| open.rid == rid).map(|open| &mut open.slot);
        if let Some(slot) = open.or(self.early.get_mut(&rid).map(|early| &mut early.slot)) {
            slot.repeat(holder)?;
            self.look_for_listeners(now);
            return Ok(Vec::new());
        }
        if let Err(terminal) = self.check_number(&request) {
            return Err((terminal, Some(holder)));
        }
        self.early.insert(rid, Early { request, slot: Slot::new(holder) });
        let mut in_order = Vec::new();
        while let Some(Early { request, slot }) = self.early.remove(&(self.arrived + 1)) {
            let checked = self.check_polling(&request, now);
            self.take_turn(&request, slot, now);
            if let Err(terminal) = checked {
                return Err((terminal, self.open.pop_back().and_then(|open| open.slot.holder)));
            }
            in_order.push(request);
        }
        self.look_for_listeners(now);
        Ok(in_order)
    }

    /// Sections 11 and 14.2.
    fn check_number(&self, request: &BoshRequest) -> Result<(), Terminal> {
        let is_last = request.pause.is_some() || request.terminate;
        let room = self.agreed.requests + usize::from(is_last);
        if request.rid <= self.arrived || request.rid > self.arrived + room as u64 {
            return Err(Terminal::ItemNotFound);
        }
        if self.open.len() + self.early.len() >= room {
            return Err(Terminal::PolicyViolation);
        }
        Ok(())
    }

    /// Sections 11 and 12. A request whose connection broke counts as answered: its client knows of no other answer.
    fn check_polling(&mut self, request: &BoshRequest, now: Instant) -> Result<(), Terminal> {
        let is_soon = now.saturating_duration_since(self.previous.at) < self.agreed.polling;
        let held = self.open.iter().filter(|open| open.slot.is_listening()).count();
        let (is_too_soon, forgiven) = match self.agreed.polls() {
            true => (self.previous.was_empty && !self.previous.brought_something, 0),
            false => (held + 1 >= self.agreed.requests, MAX_HASTE),
        };
        let is_hasty = request.is_empty() && is_soon && is_too_soon;
        self.haste = if is_hasty { self.haste + 1 } else { 0 };
        if self.haste > forgiven { Err(Terminal::PolicyViolation) } else { Ok(()) }
    }

    fn take_turn(&mut self, request: &BoshRequest, slot: Slot<H>, now: Instant) {
        let is_empty = request.is_empty();
        let wait = match self.agreed.polls() {
            true if is_empty => Duration::ZERO,
            true => WORK,
            false => self.agreed.wait,
        };
        self.arrived = request.rid;
        self.previous = Previous { rid: request.rid, at: now, was_empty: is_empty, brought_something: false };
        self.open.push_back(Open { rid: request.rid, until: now + wait, slot });
        self.patience = self.agreed.inactivity;
        if let Some(acknowledged) = request.ack {
            self.kept.retain(|(rid, _)| *rid > acknowledged);
        }
        let pause = request.pause.map(Duration::from_secs).filter(|pause| *pause <= self.agreed.max_pause);
        if let Some(pause) = pause {
            self.release(now);
            self.patience = pause;
        }
    }

    /// Whether there is somebody to speak to.
    pub fn is_listening(&self) -> bool {
        self.open.iter().any(|open| open.slot.is_listening())
    }

    /// Answers the oldest request behind which somebody waits; those before it get an answer that waits for them.
    pub fn say(&mut self, speech: &Speech, now: Instant) {
        while self.open.len() > 1 && self.open.front().is_some_and(|open| !open.slot.is_listening()) {
            self.answer(&Speech::default(), now);
        }
        self.answer(speech, now);
        if speech.end.is_some() {
            self.release(now);
        }
    }

    /// Answers what is held beyond what is allowed, or for longer.
    pub fn let_go(&mut self, now: Instant) {
        while self.open.len() > self.agreed.hold.max(1)
            || self.open.front().is_some_and(|open| open.until <= now)
        {
            self.answer(&Speech::default(), now);
        }
    }

    /// When [`Window::let_go`] has something to do next.
    pub fn next_release(&self) -> Option<Instant> {
        self.open.front().map(|open| open.until)
    }

    /// When the session is over if nothing comes.
    pub fn end_of_silence(&self) -> Option<Instant> {
        self.silent_since.map(|since| since + self.patience)
    }

    /// Ends all waiting with this.
    pub fn end(&mut self, terminal: Terminal) {
        let early = std::mem::take(&mut self.early).into_values().map(|early| early.slot);
        let slots = self.open.drain(..).map(|open| open.slot).chain(early);
        for holder in slots.filter_map(|slot| slot.holder) {
            holder.answer(terminal.body().into(), Some(terminal));
        }
    }

    /// Somebody has gone, or come.
    pub fn look_for_listeners(&mut self, now: Instant) {
        self.silent_since = match self.is_listening() {
            true => None,
            false => Some(self.silent_since.unwrap_or(now)),
        };
    }

    fn release(&mut self, now: Instant) {
        while !self.open.is_empty() {
            self.answer(&Speech::default(), now);
        }
    }

    fn answer(&mut self, speech: &Speech, now: Instant) {
        let Some(open) = self.open.pop_front() else { return };
        let body: Arc<str> = match self.first.take() {
            Some(rid) => answer::opening(&self.sid, rid, &self.agreed, speech).into(),
            None => answer::usual((self.arrived > open.rid).then_some(self.arrived), speech).into(),
        };
        if self.previous.rid == open.rid {
            self.previous.brought_something = !speech.payload.is_empty();
        }
        self.kept.push_back((open.rid, Arc::clone(&body)));
        // One more than there may be requests, for the one that may end or interrupt them.
        while self.kept.len() > self.agreed.requests + 1 {
            self.kept.pop_front();
        }
        if let Some(holder) = open.slot.holder {
            holder.answer(body, speech.end);
        }
        self.look_for_listeners(now);
    }
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
