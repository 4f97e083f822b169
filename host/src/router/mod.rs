//! Where one stanza goes (RFC 6120 section 10, RFC 6121 section 8).

mod routing;

use std::sync::Arc;

pub use routing::{BoxFuture, Routing};

use crate::session::{BindError, BindRequest, BoundSession, Session, Sessions};
use crate::stanza::Stanza;

/// The router. Cheap to clone.
#[derive(Clone)]
pub struct Router {
    inner: Arc<Inner>,
}

struct Inner {
    sessions: Sessions,
}

impl Router {
    /// The sessions it delivers to.
    pub fn sessions(&self) -> &Sessions {
        &self.inner.sessions
    }

    /// Binds a resource: announces the end of a session that had to go for it, then the beginning of the new one.
    pub async fn bind(&self, request: BindRequest) -> Result<BoundSession, BindError> {
        Ok(self.inner.sessions.bind(request)?.session)
    }

    /// Routes a stanza that came from a bound session's stream, stamped with its full JID. The caller awaits the
    /// routing before it gives the next stanza of the same session.
    pub fn from_session(&self, _session: &Arc<Session>, _stanza: Stanza) -> Routing {
        Routing::done()
    }

    /// Ends a session: takes it out of the table, tells who must be told, and routes again what its connection never
    /// took. `unsent` is what the connection took out of the mailbox and could not write, in order.
    pub async fn end_session(&self, session: BoundSession, _unsent: Vec<Stanza>) {
        session.unbind();
    }

    /// Routes a stanza of a module or a command, with `from` and `to` as it wants them.
    pub fn route(&self, _stanza: Stanza) -> Routing {
        Routing::done()
    }
}
