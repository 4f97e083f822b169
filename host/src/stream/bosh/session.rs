//! Where HTTP and the task of a connection meet: requests and their holders on one side, a stream on the other.
//!
//! One short lock, held for no call to anybody else.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Waker};
use std::time::Instant;

use tokio::sync::oneshot;

use super::answer::{Speech, Terminal};
use super::request::{Addresses, BoshRequest};
use super::window::{BoshTerms, Holder, Window};
use crate::stream::header::random_id;

/// A client may have so many of its largest requests unread before it counts as one that does not listen.
const MAX_UNREAD: usize = 4;

/// Above this what waits for the client goes out even if the stream is behind with reading: it may be what it waits for.
const MUCH_UNSENT: usize = 32 * 1024;

/// The sessions of the clients that speak BOSH. Each has a connection behind it, whose limits bound their number.
#[derive(Default)]
pub struct BoshSessions(Mutex<HashMap<String, Arc<BoshSession>>>);

/// One session.
pub struct BoshSession {
    sid: String,
    /// The type of all answers, if the client wants another than usual.
    content: Option<String>,
    is_legacy: bool,
    max_unread: usize,
    state: Mutex<State>,
    sessions: Weak<BoshSessions>,
}

/// What is behind the lock.
pub(in crate::stream) struct State {
    window: Window<Waiting>,
    /// What the client has said and the stream has not read, request by request.
    unread: VecDeque<Spoken>,
    unread_bytes: usize,
    addresses: Addresses,
    /// What our header said, until the first answer.
    opened: Option<String>,
    waker: Option<Waker>,
    /// Nothing is taken from the client any more.
    is_over: bool,
}

/// What one request says on the stream.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::stream) struct Spoken {
    pub text: String,
    /// How much came over the wire.
    pub wire: usize,
}

/// An HTTP request that waits for its answer; dropping it means that its client has gone.
pub struct Held {
    answer: oneshot::Receiver<(Arc<str>, Option<Terminal>)>,
    session: Arc<BoshSession>,
    is_answered: bool,
}

/// The answer to an HTTP request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The type that the client wants, if it is another one than usual.
    pub content: Option<String>,
    /// The `<body/>`.
    pub body: Arc<str>,
}

/// The other end of [`Held`].
struct Waiting(oneshot::Sender<(Arc<str>, Option<Terminal>)>);

impl Holder for Waiting {
    fn is_gone(&self) -> bool {
        self.0.is_closed()
    }

    fn answer(self, body: Arc<str>, end: Option<Terminal>) {
        // Whoever has gone may ask for it again.
        let _ = self.0.send((body, end));
    }
}

impl BoshSessions {
    /// No sessions.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Begins a session with this request, which has to be for one. Somebody has to serve it.
    pub fn open(self: &Arc<Self>, request: BoshRequest, terms: &BoshTerms) -> (Arc<BoshSession>, Held) {
        let (sender, answer) = oneshot::channel();
        let sid = random_id();
        let window = Window::open(sid.clone(), &request, terms, Waiting(sender), Instant::now());
        let (addresses, wire) = (request.stream.clone(), request.bytes);
        let header = Spoken { text: addresses.header(), wire };
        let state = State {
            window,
            unread_bytes: wire,
            unread: [header].into(),
            addresses,
            opened: None,
            waker: None,
            is_over: false,
        };
        let session = Arc::new(BoshSession {
            sid: sid.clone(),
            content: request.wishes.content,
            is_legacy: request.wishes.ver.is_none(),
            max_unread: terms.max_body.saturating_mul(MAX_UNREAD),
            state: Mutex::new(state),
            sessions: Arc::downgrade(self),
        });
        self.lock().insert(sid, Arc::clone(&session));
        let held = Held { answer, session: Arc::clone(&session), is_answered: false };
        (session, held)
    }

    /// The session of that id.
    pub fn find(&self, sid: &str) -> Option<Arc<BoshSession>> {
        self.lock().get(sid).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<BoshSession>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BoshSession {
    /// Takes a further request.
    pub fn arrive(self: &Arc<Self>, request: BoshRequest) -> Held {
        let (sender, answer) = oneshot::channel();
        let mut state = self.lock();
        state.arrive(request, Waiting(sender), self.max_unread, Instant::now());
        state.wake();
        drop(state);
        Held { answer, session: Arc::clone(self), is_answered: false }
    }

    /// What the task of the connection sees; it is woken when something changes.
    pub(in crate::stream) fn for_task(&self, context: &Context<'_>) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        match &mut state.waker {
            Some(waker) => waker.clone_from(context.waker()),
            empty => *empty = Some(context.waker().clone()),
        }
        state
    }

    /// The stream is at its end, whether it said so or not.
    pub(in crate::stream) fn end(&self) {
        if let Some(sessions) = self.sessions.upgrade() {
            sessions.lock().remove(&self.sid);
        }
        let mut state = self.lock();
        state.is_over = true;
        state.unread.clear();
        state.waker = None;
        state.window.end(Terminal::RemoteConnectionFailed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock; a poisoned state is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn left(&self) {
        let mut state = self.lock();
        state.window.look_for_listeners(Instant::now());
        state.wake();
    }
}

impl State {
    fn arrive(&mut self, request: BoshRequest, holder: Waiting, max_unread: usize, now: Instant) {
        if self.is_over {
            return holder.answer(Terminal::ItemNotFound.body().into(), Some(Terminal::ItemNotFound));
        }
        match self.window.arrive(request, holder, now) {
            Ok(requests) => requests.into_iter().for_each(|request| self.hear(request)),
            Err((terminal, holder)) => {
                if let Some(holder) = holder {
                    holder.answer(terminal.body().into(), Some(terminal));
                }
                self.fail();
            }
        }
        if self.unread_bytes > max_unread {
            self.window.end(Terminal::PolicyViolation);
            self.fail();
        }
    }

    fn hear(&mut self, request: BoshRequest) {
        if request.restart {
            self.addresses = self.addresses.renewed(&request.stream);
        }
        let wire = request.bytes;
        self.unread_bytes += wire;
        self.unread.push_back(Spoken { text: request.said(&self.addresses), wire });
    }

    /// A request was the end of the session.
    fn fail(&mut self) {
        self.is_over = true;
        self.unread.clear();
        self.window.end(Terminal::OtherRequest);
    }

    fn wake(&mut self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// What the client says next on the stream.
    pub fn read(&mut self) -> Option<Spoken> {
        let spoken = self.unread.pop_front()?;
        self.unread_bytes -= spoken.wire;
        Some(spoken)
    }

    /// Whether nothing more comes from the client.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// We have said all that there is to say.
    pub fn finish(&mut self) {
        self.is_over = true;
    }

    /// Whether the client may be told something now, with so much to say.
    pub fn may_speak(&self, unsent: usize) -> bool {
        self.window.is_listening() && (self.unread.len() <= 1 || unsent > MUCH_UNSENT)
    }

    /// Tells it.
    pub fn say(&mut self, mut speech: Speech, now: Instant) {
        if let Some(opened) = speech.opened.take() {
            self.opened.get_or_insert(opened);
        }
        if speech.is_something() {
            speech.opened.clone_from(&self.opened);
            self.window.say(&speech, now);
        }
    }

    /// Answers what waits for too long, and tells when to look again; `None`: the client is silent for too long.
    ///
    /// A stream that is behind lets requests wait: that is how its client notices.
    pub fn pass_time(&mut self, now: Instant) -> Option<Option<Instant>> {
        let is_behind = self.unread.len() > 1;
        if !is_behind {
            self.window.let_go(now);
        }
        let end = self.window.end_of_silence();
        if end.is_some_and(|end| end <= now) {
            self.is_over = true;
            return None;
        }
        let release = self.window.next_release().filter(|_| !is_behind);
        Some([release, end].into_iter().flatten().min())
    }
}

impl Held {
    /// Waits for the answer, which comes within the time that was agreed on.
    pub async fn answer(mut self) -> Answer {
        let answer = (&mut self.answer).await;
        self.is_answered = true;
        let failed = Terminal::RemoteConnectionFailed;
        let (body, end) = answer.unwrap_or_else(|_| (failed.body().into(), Some(failed)));
        let legacy = end.filter(|_| self.session.is_legacy);
        Answer {
            status: legacy.map_or(200, Terminal::legacy_status),
            content: self.session.content.clone(),
            body,
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.is_answered {
            self.answer.close();
            self.session.left();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::stanza::ns;

    const TERMS: BoshTerms = BoshTerms {
        max_wait: Duration::from_secs(60),
        inactivity: Duration::from_secs(60),
        max_pause: Duration::from_secs(120),
        max_body: 1000,
    };

    fn request(rid: u64, sid: &str, payload: &str) -> BoshRequest {
        let text = format!("<body rid='{rid}' {sid} ver='1.11' xmlns='{}'>{payload}</body>", ns::HTTP_BIND);
        BoshRequest::parse(&text).unwrap()
    }

    fn said(text: &str) -> Speech {
        let mut speech = Speech::default();
        speech.text(text);
        speech
    }

    /// A session whose first request is read and answered.
    fn begun() -> (Arc<BoshSessions>, Arc<BoshSession>) {
        let sessions = BoshSessions::new();
        let (session, mut held) = sessions.open(request(1, "to='a.example'", ""), &TERMS);
        let header = session.lock().read().unwrap();
        assert!(header.text.contains(" to='a.example' version='1.0'"), "{header:?}");
        session.lock().say(said("<a xmlns='x'/>"), Instant::now());
        assert!(told(&mut held).unwrap().contains(&session.sid));
        (sessions, session)
    }

    fn told(held: &mut Held) -> Option<String> {
        held.is_answered = true;
        held.answer.try_recv().ok().map(|(body, _)| body.to_string())
    }

    #[test]
    fn a_stream_that_is_behind_lets_requests_wait_unless_it_has_much_to_say() {
        let (_sessions, session) = begun();
        let mut first = session.arrive(request(2, "sid='s'", "<iq/>"));
        let mut second = session.arrive(request(3, "sid='s'", "<iq/>"));
        let mut state = session.lock();
        assert!(!state.may_speak(1) && state.may_speak(MUCH_UNSENT + 1));
        assert!(state.pass_time(Instant::now()).is_some());
        assert_eq!((told(&mut first), told(&mut second)), (None, None));
        assert_eq!(state.read().unwrap().text, "<iq/>");
        assert!(state.may_speak(1));
        state.pass_time(Instant::now());
        assert!(told(&mut first).is_some() && told(&mut second).is_none());
    }

    #[test]
    fn who_is_answered_and_goes_on_without_being_read_is_given_up() {
        let (_sessions, session) = begun();
        let large = format!("<message>{}</message>", "x".repeat(800));
        let mut last = None;
        for rid in 2..20 {
            last = Some(session.arrive(request(rid, "sid='s'", &large)));
            if session.lock().is_over() {
                break;
            }
            session.lock().say(said("<message/>"), Instant::now());
        }
        assert!(session.lock().is_over() && session.lock().unread_bytes <= 6 * TERMS.max_body);
        assert!(told(&mut last.unwrap()).unwrap().contains("policy-violation"));
    }

    #[test]
    fn the_end_of_the_stream_is_the_end_of_the_session() {
        let (sessions, session) = begun();
        let mut held = session.arrive(request(2, "sid='s'", ""));
        session.end();
        assert!(told(&mut held).unwrap().contains("remote-connection-failed"));
        assert!(sessions.find(&session.sid).is_none());
        let mut late = session.arrive(request(3, "sid='s'", ""));
        assert!(told(&mut late).unwrap().contains("item-not-found"));
    }

    #[test]
    fn a_holder_that_leaves_is_noticed() {
        let (_sessions, session) = begun();
        let held = session.arrive(request(2, "sid='s'", ""));
        assert!(session.lock().may_speak(1));
        drop(held);
        assert!(!session.lock().may_speak(1));
        let (now, patience) = (Instant::now(), TERMS.inactivity + Duration::from_secs(1));
        assert!(session.lock().pass_time(now).is_some());
        assert!(session.lock().pass_time(now + patience).is_none() && session.lock().is_over());
    }
}
