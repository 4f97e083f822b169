//! What the stream asks for, and what comes of it.

use std::task::{Context, Poll};
use std::time::Instant;

use super::resuming::Returning;
use super::{Connection, Ongoing};
use crate::listener::hub::Inward;
use crate::session::mailbox;
use crate::stanza::{Stanza, StanzaError};
use crate::stream::io::Piece;
use crate::stream::{Action, BindRequest, Client, LoginOutcome, LoginStep, Taken};

/// What work came to.
enum Done<S> {
    Login(LoginOutcome),
    BeforeLogin(Option<Stanza>),
    Bind(Result<S, StanzaError>),
    Resume(Returning<S>),
    Deliver,
    Farewell,
}

impl<E: Inward> Connection<E> {
    /// Does what the stream asks for, or begins it.
    pub(super) fn act(&mut self, action: Action, now: Instant) {
        match action {
            Action::Deliver(stanza) => self.deliver(stanza),
            Action::Answer(answer) => {
                self.count_received();
                if let Some(answer) = answer {
                    self.send_stanza(answer, now);
                }
            }
            Action::Nonza(nonza) => self.take_nonza(nonza, now),
            Action::StartTls => self.state = super::State::StartingTls,
            Action::Login(step) => self.begin_login(step),
            Action::BeforeLogin(stanza) => {
                let domain = self.stream.domain().unwrap_or_default();
                let id = self.stream.id().unwrap_or_default();
                let work = self.hub.events.before_login(stanza, domain, id, self.peer);
                self.work = Some(Ongoing::BeforeLogin(work));
            }
            Action::Bind(resource) => self.begin_binding(resource),
            Action::Resume { previous, handled } => self.begin_resuming(&previous, handled),
            Action::PeerClosed => self.close(None, now),
            Action::Failed => self.await_peers_end(now),
            Action::Closed => {}
        }
    }

    /// Looks after the work in progress. Whether it is done.
    pub(super) fn poll_work(&mut self, context: &mut Context<'_>, now: Instant) -> bool {
        let Some(work) = &mut self.work else { return false };
        let polled = match work {
            Ongoing::Login(work) => work.as_mut().poll(context).map(Done::Login),
            Ongoing::BeforeLogin(work) => work.as_mut().poll(context).map(Done::BeforeLogin),
            Ongoing::Bind(work) => work.as_mut().poll(context).map(Done::Bind),
            Ongoing::Resume(work) => work.as_mut().poll(context).map(Done::Resume),
            Ongoing::Deliver(work) => work.as_mut().poll(context).map(|()| Done::Deliver),
            Ongoing::Farewell(work) => work.as_mut().poll(context).map(|()| Done::Farewell),
        };
        let Poll::Ready(done) = polled else { return false };
        self.work = None;
        self.take_up(done, now);
        true
    }

    fn take_up(&mut self, done: Done<E::Session>, now: Instant) {
        let mut out = String::new();
        let action = match done {
            Done::Login(outcome) => {
                if let (Some(end), Some(domain)) = (outcome.end(), self.stream.domain()) {
                    self.hub.events.login_ended(end, domain, self.stream.mechanism(), self.peer);
                }
                let reply = self.login.finish(outcome);
                self.stream.login_replied(reply, &self.hub.events, &mut out)
            }
            Done::BeforeLogin(reply) => {
                self.stream.before_login_replied(reply.as_ref(), &self.hub.events, &mut out)
            }
            Done::Bind(outcome) => {
                self.finish_binding(outcome, &mut out);
                None
            }
            Done::Resume(returning) => {
                self.finish_resuming(returning, now);
                None
            }
            Done::Deliver => {
                self.count_received();
                None
            }
            Done::Farewell => {
                self.deadlines.farewell = None;
                None
            }
        };
        self.outgoing.push(Piece::Text(out));
        if self.stream.is_logged_in() {
            self.permit.logged_in();
        }
        if let Some(action) = action {
            self.act(action, now);
        }
    }

    fn deliver(&mut self, stanza: Stanza) {
        let Some(session) = &self.session else { return };
        match self.hub.events.deliver(session, stanza) {
            Taken::Done => self.count_received(),
            Taken::Later(work) => self.work = Some(Ongoing::Deliver(work)),
            Taken::TooLate => {}
        }
    }

    fn begin_login(&mut self, step: LoginStep) {
        let Some(offer) = self.stream.offer() else { return };
        let context = self.hub.events.login_context(self.peer);
        self.work = Some(Ongoing::Login(self.login.take_step(step, offer, context)));
    }

    fn begin_binding(&mut self, resource: Option<String>) {
        let Some(account) = self.stream.jid() else { return };
        let (outbox, mailbox) = mailbox::mailbox(self.settings.mailbox);
        let request = BindRequest { account: account.clone(), resource, outbox, client: self.client() };
        self.mailbox = Some(mailbox);
        self.work = Some(Ongoing::Bind(self.hub.events.bind(request)));
    }

    /// What negotiation has told of the client; it is forgotten once a resource is bound.
    pub(super) fn client(&self) -> Client {
        Client {
            peer: self.peer,
            via: self.via,
            mechanism: self.stream.mechanism().to_owned(),
            tls: self.stream.tls().map(|tls| format!("{} {}", tls.version, tls.cipher)),
            stream_id: self.stream.id().unwrap_or_default().to_owned(),
        }
    }

    fn finish_binding(&mut self, outcome: Result<E::Session, StanzaError>, out: &mut String) {
        let bound = match outcome {
            Ok(session) => {
                let jid = self.hub.events.full_jid(&session);
                tracing::info!(stream = self.stream.id(), %jid, peer = %self.peer, "session bound");
                // Kept even if the stream has ended meanwhile: a session that began has to be ended.
                self.session = Some(session);
                self.deadlines.negotiation = None;
                Ok(jid)
            }
            Err(error) => {
                tracing::debug!(stream = self.stream.id(), peer = %self.peer, %error, "no resource bound");
                self.mailbox = None;
                Err(error)
            }
        };
        self.stream.bound(bound, out);
    }
}
