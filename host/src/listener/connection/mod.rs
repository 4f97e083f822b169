//! The task of one connection.
//!
//! It is a future written by hand, polled whenever its socket, its mailbox, its timer or the work it waits for has
//! something. Everything happens inside that poll, with the thread's buffers, in rounds: look at the clock, finish work,
//! read, write. A round that changes nothing ends the poll; so does a number of rounds, for the sake of the others.

mod acting;
mod client_state;
mod ending;
mod management;
mod reading;
mod resuming;
mod writing;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use super::admission::{Permit, Phase};
use super::deadlines::{Deadlines, Expired, Intervals};
use super::hub::{Hub, Inward, Origin};
use super::settings::ConnectionSettings;
use super::shaper::TokenBucket;
use crate::session::{Held, MailboxReceiver};
use crate::stanza::{Stanza, StanzaError, StreamError, StreamErrorCondition};
use crate::stream::io::{Lent, Outgoing, Piece, Scratch, Transport};
use crate::stream::{LoginDriver, LoginOutcome, Stream, Via, Work};

use management::Managed;
use resuming::Returning;

/// Rounds in one poll before other tasks have their turn.
const MAX_ROUNDS: usize = 4;

/// One client's connection.
pub(super) struct Connection<E: Inward> {
    hub: Arc<Hub<E>>,
    settings: Arc<ConnectionSettings>,
    peer: SocketAddr,
    via: Via,
    transport: Transport,
    stream: Stream,
    login: LoginDriver,
    shaper: Option<TokenBucket>,
    deadlines: Deadlines,
    /// Input that waits for work to be done. Usually none.
    waiting: Vec<u8>,
    outgoing: Outgoing,
    /// Whether the socket has taken everything, TLS's own records included.
    is_flushed: bool,
    /// The stream ends because the server stops.
    is_shutdown: bool,
    /// Whether our side of the connection itself is closed.
    has_said_goodbye: bool,
    /// What the stream has asked for and the next input has to wait for.
    work: Option<Ongoing<E>>,
    mailbox: Option<MailboxReceiver>,
    session: Option<E::Session>,
    /// What only a client with stream management needs.
    managed: Option<Box<Managed<E::Session>>>,
    /// What is held back from a client that nobody looks at; nothing while somebody does.
    held: Option<Box<Held>>,
    state: State,
    /// Dropped last: when it is given back, nothing of this connection is left.
    permit: Permit,
}

/// How far the connection itself is, whatever the stream on it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The peer's STARTTLS is granted; our answer has to be out before TLS begins.
    StartingTls,
    /// Nothing can be read any more.
    Deaf,
    /// Nothing can be read or written any more; what was read before is still handed inwards.
    Broken,
    /// Everything is said; what remains is to wait for the farewells.
    Ending,
}

/// Work in progress.
enum Ongoing<E: Inward> {
    Login(Work<LoginOutcome>),
    BeforeLogin(Work<Option<Stanza>>),
    Bind(Work<Result<E::Session, StanzaError>>),
    Resume(Work<Returning<E::Session>>),
    Deliver(Work<()>),
    Farewell(Work<()>),
}

impl<E: Inward> Connection<E> {
    pub(super) fn new(
        hub: Arc<Hub<E>>,
        permit: Permit,
        transport: Transport,
        origin: Origin,
        shaper: Option<TokenBucket>,
    ) -> Self {
        let settings = hub.settings();
        let now = Instant::now();
        let mut deadlines = Deadlines::new(now, settings.negotiation_timeout);
        if origin.via == Via::DirectTls {
            deadlines.handshake = Some(now + settings.handshake_timeout);
        }
        Self {
            permit,
            peer: origin.peer,
            via: origin.via,
            transport,
            stream: Stream::new(settings.stream.clone(), origin.via),
            login: LoginDriver::default(),
            shaper,
            deadlines,
            waiting: Vec::new(),
            outgoing: Outgoing::default(),
            is_flushed: true,
            is_shutdown: false,
            has_said_goodbye: false,
            work: None,
            mailbox: None,
            session: None,
            managed: None,
            held: None,
            state: State::Open,
            hub,
            settings,
        }
    }

    /// `Ready` when the connection has come to its end.
    fn drive(&mut self, context: &mut Context<'_>, scratch: &mut Scratch) -> Poll<()> {
        for _ in 0..MAX_ROUNDS {
            let now = Instant::now();
            let phase = self.hub.connections.phase();
            if phase >= Phase::Closing && self.heed_shutdown(now) {
                return Poll::Ready(());
            }
            while let Some(expired) = self.deadlines.expired(now, self.silence().as_ref()) {
                self.expire(expired, now);
            }
            let mut has_moved = self.poll_work(context, now);
            has_moved |= self.heed_claim(context, now);
            has_moved |= self.read(context, scratch, now);
            has_moved |= self.write(context, scratch, now);
            if self.state == State::Ending && self.work.is_none() {
                return Poll::Ready(());
            }
            has_moved |= self.end_if_over(context, scratch, now);
            if phase == Phase::Quieting && self.work.is_none() && !has_moved {
                self.permit.is_quiet();
            }
            if !has_moved && self.deadlines.poll_timer(context, self.silence().as_ref()).is_pending() {
                return Poll::Pending;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Silence counts while a resource is bound; before, negotiation has its own deadline.
    fn silence(&self) -> Option<Intervals> {
        let counts = self.state == State::Open && self.stream.is_bound();
        counts.then(|| Intervals { management: self.management_deadline(), ..self.settings.silence() })
    }

    fn expire(&mut self, expired: Expired, now: Instant) {
        tracing::debug!(peer = %self.peer, jid = self.jid(), ?expired, "a deadline has passed");
        match expired {
            Expired::Resume => {}
            Expired::Management => self.management_expired(now),
            Expired::Keepalive => {
                if self.outgoing.is_empty() {
                    self.outgoing.push(Piece::Text(" ".to_owned()));
                }
            }
            Expired::Idle if self.is_resumable() => self.break_off(),
            Expired::Idle => {
                self.fail(StreamErrorCondition::ConnectionTimeout, "Nothing was heard from you.", now)
            }
            Expired::Negotiation if self.transport.is_handshaking() => self.break_off(),
            Expired::Negotiation => {
                self.fail(StreamErrorCondition::ConnectionTimeout, "Negotiation took too long.", now);
            }
            Expired::Handshake | Expired::Write | Expired::Close => self.break_off(),
            Expired::Farewell => {
                tracing::warn!(peer = %self.peer, "the end of a session could not be announced in time");
                self.work = None;
            }
        }
    }

    /// `true`: let go at once.
    fn heed_shutdown(&mut self, now: Instant) -> bool {
        if self.hub.connections.phase() == Phase::Cutting {
            return true;
        }
        if self.transport.is_handshaking() {
            self.break_off();
        } else if !self.stream.is_closing() {
            self.fail(StreamErrorCondition::SystemShutdown, "The server is being stopped.", now);
        }
        false
    }

    /// Ends the stream with an error, after what the peer has still to get.
    fn fail(&mut self, condition: StreamErrorCondition, text: &str, now: Instant) {
        self.close(Some(&StreamError::new(condition, text)), now);
    }

    fn jid(&self) -> Option<&str> {
        self.stream.jid().map(|jid| jid.as_str())
    }
}

/// Nothing in it is pinned in place: what has to be is in a box of its own.
impl<E: Inward> Unpin for Connection<E> {}

impl<E: Inward> Future for Connection<E> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.permit.register(context.waker());
        let mut scratch: Lent = Scratch::lend();
        this.outgoing.borrow_capacity(&mut scratch);
        let polled = this.drive(context, &mut scratch);
        this.outgoing.return_capacity(&mut scratch);
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::LoginContext;
    use crate::auth::sasl::{ChannelBindings, Offer};
    use crate::session::MailboxSender;
    use crate::stanza::Jid;
    use crate::stream::{BindRequest, StreamEvents, StreamHost, Taken};

    /// The smallest way inwards there can be: a session as large as the real one's handle.
    struct Nobody;

    impl StreamHost for Nobody {
        fn serves(&self, _domain: &str) -> bool {
            false
        }

        fn default_domain(&self) -> String {
            String::new()
        }

        fn offers_tls(&self) -> bool {
            false
        }

        fn offer(&self, domain: &str, encrypted: bool, bindings: ChannelBindings) -> Offer {
            Offer { vhost: domain.to_owned(), encrypted, bindings, allowed: Vec::new() }
        }
    }

    impl StreamEvents for Nobody {
        type Session = crate::session::BoundSession;
        type Outbox = MailboxSender;

        fn login_context(&self, _peer: SocketAddr) -> LoginContext {
            unreachable!("nobody logs in")
        }

        fn bind(&self, _request: BindRequest<MailboxSender>) -> Work<Result<Self::Session, StanzaError>> {
            unreachable!("nobody binds")
        }

        fn full_jid(&self, session: &Self::Session) -> Jid {
            session.full_jid().clone()
        }

        fn deliver(&self, _session: &Self::Session, _stanza: Stanza) -> Taken {
            Taken::Done
        }

        fn ended(&self, _session: Self::Session, _unsent: Vec<Stanza>) -> Work<()> {
            Box::pin(std::future::ready(()))
        }
    }

    #[test]
    fn the_future_of_a_connection_is_small() {
        let parts = [
            ("connection", size_of::<Connection<Nobody>>()),
            ("stream", size_of::<Stream>()),
            ("transport", size_of::<Transport>()),
            ("deadlines", size_of::<Deadlines>()),
            ("outgoing", size_of::<Outgoing>()),
        ];
        println!("{parts:?}");
        assert!(parts[0].1 <= 640, "{parts:?}");
    }
}
