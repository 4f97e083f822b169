//! BOSH (XEP-0124 1.11, XEP-0206 1.4): a stream in HTTP requests and their answers.
//!
//! * [`BoshRequest`] reads what a request says, `answer` writes what an answer says;
//! * `window` keeps the rules: which request comes when, which are held, what is sent again, when silence is the end;
//! * [`BoshSession`] is where the two sides meet: requests arrive at it from HTTP, and the task of the connection reads
//!   and writes it by `io`, as it reads and writes a socket.
//!
//! Promises: requests are taken in the order of their ids whatever order they come in, and answered in that order; each
//! answer is kept until the client can have it for certain, so that a broken request may be sent again; what nobody has
//! fetched stays with the connection and is routed again when the session ends; a client that the stream cannot follow
//! finds its requests held and not its data piled up.
//!
//! Not here, because no client asks for it: several streams in one session (section 16), sequences of keys (section 15),
//! compression. Requests that are sent one behind the other on one connection are looked at one behind the other, which
//! is HTTP's doing: clients have to open two connections (section 11).

mod answer;
mod request;
mod session;
mod window;

pub(super) use answer::Speech;
pub use answer::Terminal;
pub use request::{BadRequest, BoshRequest};
pub use session::{Answer, BoshSession, BoshSessions, Held};
pub use window::BoshTerms;
