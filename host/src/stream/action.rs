//! What a stream asks of its driver.

use zeroize::Zeroizing;

use super::management::Nonza;
use crate::stanza::Stanza;

/// The next thing to be done. Until the driver has reported how it ended, the stream takes no more input.
#[derive(Debug)]
pub enum Action {
    /// Flush what was written, then speak TLS. Report with `tls_started`.
    StartTls,
    /// Take a step of the login. Report with `login_replied`.
    Login(LoginStep),
    /// Ask the host about an IQ that came before the login. Report with `before_login_replied`.
    BeforeLogin(Stanza),
    /// Bind a resource, the wanted one if there is one. Report with `bound`.
    Bind(Option<String>),
    /// Hand a stanza inwards. Nothing is to be reported; the next one may wait until this one is taken.
    Deliver(Stanza),
    /// A stanza was taken and needs no way inwards. Write the answer, if there is one; it is a stanza as well.
    Answer(Option<Stanza>),
    /// The client says something beside its stanzas.
    Nonza(Nonza),
    /// Take up an earlier session instead of binding a resource. Report with `resumed`.
    Resume {
        /// The id that it was given.
        previous: String,
        /// How many of its stanzas the client has handled.
        handled: u32,
    },
    /// The peer has closed its side. Write what is still queued for it, then call `close`.
    PeerClosed,
    /// An error and the closing tag were written. Flush, and wait a little for the peer's closing tag.
    Failed,
    /// Both sides are closed. Flush and let the connection go.
    Closed,
}

/// A step of the login, base64 already undone.
#[derive(Debug)]
pub enum LoginStep {
    /// `<auth/>`: forget what was going on and begin.
    Start {
        /// The mechanism's name as the peer wrote it.
        mechanism: String,
        /// The initial response, if there is one.
        initial: Option<Zeroizing<Vec<u8>>>,
    },
    /// `<response/>`.
    Respond(Zeroizing<Vec<u8>>),
    /// `<abort/>`.
    Abort,
}
