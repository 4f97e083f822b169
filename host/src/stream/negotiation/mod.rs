//! The states of a client's stream, from the server's side.
//!
//! ```text
//! ExpectStreamHeader -> ExpectTlsOrAuth -> (StartTls) -> ExpectStreamHeader          restart under TLS
//!                       ExpectTlsOrAuth -> (Login) -> ExpectSaslResponse -> (Login)
//!                                                     -> ExpectStreamHeader          restart after login
//! ExpectStreamHeader -> ExpectBind -> (Bind) -> Bound -> Closing -> Closed
//!                       ExpectBind -> (Resume) -> Bound
//! ```
//!
//! In parentheses stands what the driver is asked for; meanwhile the state is one of those that begin with `Await`, and
//! no input is taken. A report that comes after the stream was closed is ignored.

mod beside;
mod bound;
mod login;
mod opening;

use std::mem;

use super::features::Offers;
use super::tls::TlsFacts;
use super::{Action, StreamHost, StreamSettings, Via, bind, header, sasl};
use crate::auth::Reply;
use crate::auth::sasl::Offer;
use crate::stanza::{Jid, Stanza, StanzaError, StreamError, StreamErrorCondition};
use crate::xml::{Event, Framer};

/// One client's stream.
pub struct Stream {
    framer: Framer,
    core: Core,
}

/// Everything but the framer, whose events borrow it.
struct Core {
    state: State,
    /// Our header went out since the last restart.
    is_open: bool,
    /// The account once there is one, the full JID once it is bound.
    jid: Option<Jid>,
    /// The language of the stream, for stanzas that name none (RFC 6120 section 8.1.5).
    lang: Option<Box<str>>,
    offers: Offers,
    /// What only negotiation needs; a bound stream does without.
    negotiation: Option<Box<Negotiation>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    ExpectStreamHeader,
    ExpectTlsOrAuth,
    ExpectSaslResponse,
    ExpectBind,
    Bound,
    /// Our closing tag went out, the peer's has not come.
    Closing,
    Closed,
    AwaitTls,
    AwaitLogin,
    AwaitBeforeLogin,
    AwaitBound,
    AwaitResumed,
    /// The peer has closed; the driver writes what is left for it.
    AwaitClose,
}

struct Negotiation {
    settings: StreamSettings,
    via: Via,
    id: String,
    domain: Option<String>,
    tls: Option<TlsFacts>,
    offer: Option<Offer>,
    mechanism: String,
    failed_logins: u32,
    /// The `id` of the bind request.
    bind_id: String,
}

impl Stream {
    /// A stream on which nothing was said.
    pub fn new(settings: StreamSettings, via: Via) -> Self {
        let framer = Framer::new(settings.limits_before_login);
        let offers = Offers { management: settings.management, client_state: settings.client_state };
        let negotiation = Negotiation {
            settings,
            via,
            id: header::random_id(),
            domain: None,
            tls: None,
            offer: None,
            mechanism: String::new(),
            failed_logins: 0,
            bind_id: String::new(),
        };
        let core = Core {
            state: State::ExpectStreamHeader,
            is_open: false,
            jid: None,
            lang: None,
            offers,
            negotiation: Some(Box::new(negotiation)),
        };
        Self { framer, core }
    }

    /// Takes input until something has to be done or nothing is left, and appends what goes to the peer.
    ///
    /// While the stream awaits the outcome of an action the input is left where it is.
    pub fn advance(&mut self, host: &dyn StreamHost, input: &mut &[u8], out: &mut String) -> Option<Action> {
        while !input.is_empty() && self.wants_input() {
            let mut rest = *input;
            let event = self.framer.next(&mut rest);
            let left = rest.len();
            let action = match event {
                Ok(Some(event)) => self.core.take(event, host, out),
                Ok(None) => None,
                Err(_) if self.core.state == State::Closing => {
                    // Its closing tag can no longer be found; the driver waits for the end of the connection.
                    *input = &[];
                    return None;
                }
                Err(error) => self.core.break_off(StreamError::from(&error), host, out),
            };
            *input = &input[input.len() - left..];
            if matches!(action, Some(Action::StartTls)) && !(input.is_empty() && self.framer.is_idle()) {
                return Some(self.core.refuse_tls(out));
            }
            if action.is_some() {
                return action;
            }
        }
        None
    }

    /// Whether input would be looked at.
    pub fn wants_input(&self) -> bool {
        !matches!(
            self.core.state,
            State::Closed
                | State::AwaitTls
                | State::AwaitLogin
                | State::AwaitBeforeLogin
                | State::AwaitBound
                | State::AwaitResumed
                | State::AwaitClose
        )
    }

    /// TLS is being spoken from here on: after STARTTLS, or from the first byte of the connection.
    pub fn tls_started(&mut self, facts: TlsFacts) {
        if let Some(negotiation) = &mut self.core.negotiation {
            negotiation.tls = Some(facts);
        }
        self.restart();
    }

    /// The login has answered.
    pub fn login_replied(&mut self, reply: Reply, host: &dyn StreamHost, out: &mut String) -> Option<Action> {
        if self.core.state != State::AwaitLogin {
            return None;
        }
        match reply {
            Reply::Challenge(data) => {
                sasl::write_challenge(out, &data);
                self.core.state = State::ExpectSaslResponse;
                None
            }
            Reply::Success { localpart, additional } => {
                sasl::write_success(out, additional.as_deref());
                self.log_in(&localpart, host, out)
            }
            Reply::Failure(failure) => self.core.fail_login(failure, host, out),
        }
    }

    /// The host has answered an IQ that came before the login; `None` if nobody wanted it.
    pub fn before_login_replied(
        &mut self,
        reply: Option<&Stanza>,
        host: &dyn StreamHost,
        out: &mut String,
    ) -> Option<Action> {
        if self.core.state != State::AwaitBeforeLogin {
            return None;
        }
        self.core.state = State::ExpectTlsOrAuth;
        match reply {
            Some(reply) => {
                out.push_str(reply.as_str());
                None
            }
            None => self.core.not_authorized("Log in before sending stanzas.", host, out),
        }
    }

    /// A resource was bound, or not.
    pub fn bound(&mut self, outcome: Result<Jid, StanzaError>, out: &mut String) {
        if self.core.state != State::AwaitBound {
            return;
        }
        let id = self.core.negotiation.as_mut().map(|n| mem::take(&mut n.bind_id)).unwrap_or_default();
        match outcome {
            Ok(jid) => {
                bind::write_bound(out, &id, &jid);
                self.core.jid = Some(jid);
                self.core.negotiation = None;
                self.core.state = State::Bound;
            }
            Err(error) => {
                bind::write_refused(out, &id, &error);
                self.core.state = State::ExpectBind;
            }
        }
    }

    /// An earlier session was taken up, with its full JID; or not, and the client may bind a resource instead. What it
    /// is told is up to the driver.
    pub fn resumed(&mut self, outcome: Option<Jid>) {
        if self.core.state != State::AwaitResumed {
            return;
        }
        match outcome {
            Some(jid) => {
                self.core.jid = Some(jid);
                self.core.negotiation = None;
                self.core.state = State::Bound;
            }
            None => self.core.state = State::ExpectBind,
        }
    }

    /// Ends our side: with an error, or in agreement. The peer's closing tag is awaited if it has not come.
    pub fn close(&mut self, error: Option<&StreamError>, host: &dyn StreamHost, out: &mut String) {
        if matches!(self.core.state, State::Closing | State::Closed) {
            return;
        }
        self.core.write_end(error, host, out);
        let peer_has_closed = self.core.state == State::AwaitClose;
        self.core.state = if peer_has_closed { State::Closed } else { State::Closing };
    }

    /// Whether a resource is bound and the stream is open.
    pub fn is_bound(&self) -> bool {
        self.core.state == State::Bound
    }

    /// Whether the peer has proved who it is.
    pub fn is_logged_in(&self) -> bool {
        self.core.jid.is_some()
    }

    /// Whether our closing tag went out.
    pub fn is_closing(&self) -> bool {
        matches!(self.core.state, State::Closing | State::Closed)
    }

    /// Whether both closing tags were seen.
    pub fn is_closed(&self) -> bool {
        self.core.state == State::Closed
    }

    /// The account once it is known, the full JID once it is bound.
    pub fn jid(&self) -> Option<&Jid> {
        self.core.jid.as_ref()
    }

    /// The domain of the last header.
    pub fn domain(&self) -> Option<&str> {
        match &self.core.negotiation {
            Some(negotiation) => negotiation.domain.as_deref(),
            None => self.core.jid.as_ref().map(Jid::domain),
        }
    }

    /// The id of the stream, until a resource is bound.
    pub fn id(&self) -> Option<&str> {
        self.core.negotiation.as_ref().map(|negotiation| negotiation.id.as_str())
    }

    /// What the login has to keep to.
    pub fn offer(&self) -> Option<&Offer> {
        self.core.negotiation.as_ref()?.offer.as_ref()
    }

    /// What TLS agreed on, until a resource is bound.
    pub fn tls(&self) -> Option<&TlsFacts> {
        self.core.negotiation.as_ref()?.tls.as_ref()
    }

    /// The mechanism of the last login, until a resource is bound.
    pub fn mechanism(&self) -> &str {
        self.core.negotiation.as_ref().map_or("", |negotiation| &negotiation.mechanism)
    }

    fn restart(&mut self) {
        self.framer.restart();
        self.core.restart();
    }

    fn log_in(&mut self, localpart: &str, host: &dyn StreamHost, out: &mut String) -> Option<Action> {
        let domain = self.domain().unwrap_or_default();
        let Ok(account) = Jid::from_parts(Some(localpart), domain, None) else {
            let text = "The account's name is not a valid localpart, which is a fault of this server.";
            let error = StreamError::new(StreamErrorCondition::InternalServerError, text);
            return self.core.break_off(error, host, out);
        };
        self.core.jid = Some(account);
        if let Some(negotiation) = &self.core.negotiation {
            self.framer.set_limits(negotiation.settings.limits);
        }
        self.restart();
        None
    }
}

impl Core {
    fn take(&mut self, event: Event<'_>, host: &dyn StreamHost, out: &mut String) -> Option<Action> {
        match event {
            Event::StreamClose => Some(self.peer_closed()),
            _ if self.state == State::Closing => None,
            Event::StreamOpen(header) => self.open(&header, host, out),
            Event::Element(element) => match self.state {
                State::Bound => self.take_stanza(element, host, out),
                State::ExpectBind => self.expect_bind(element, host, out),
                State::ExpectSaslResponse => self.expect_sasl_response(&element, host, out),
                _ => self.expect_tls_or_auth(element, host, out),
            },
        }
    }

    fn peer_closed(&mut self) -> Action {
        if self.state == State::Closing {
            self.state = State::Closed;
            return Action::Closed;
        }
        self.state = State::AwaitClose;
        Action::PeerClosed
    }

    fn restart(&mut self) {
        self.state = State::ExpectStreamHeader;
        self.is_open = false;
        if let Some(negotiation) = &mut self.negotiation {
            negotiation.id = header::random_id();
        }
    }
}
