//! The future of one routing step: ready at once on the fast path, boxed only when somebody must be waited for.

use std::pin::Pin;
use std::task::{Context, Poll};

/// A boxed future of this room.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What remains to be done for a stanza. Without hooks and storage look-ups nothing remains, and awaiting costs nothing.
///
/// Whoever feeds stanzas in order awaits each before the next: that keeps the order of every pair of sender and
/// receiver.
#[must_use = "a stanza that waits for a hook is lost if its routing is dropped"]
pub struct Routing(Option<BoxFuture<()>>);

impl Routing {
    /// Nothing remains.
    pub const fn done() -> Self {
        Self(None)
    }

    /// This remains.
    pub fn later(rest: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Some(Box::pin(rest)))
    }

    /// All of these one after the other.
    pub fn all(steps: impl IntoIterator<Item = Self>) -> Self {
        let mut rest: Vec<Self> = steps.into_iter().filter(|step| !step.is_done()).collect();
        match rest.len() {
            0 => Self::done(),
            1 => rest.remove(0),
            _ => Self::later(async move {
                for step in rest {
                    step.await;
                }
            }),
        }
    }

    /// What remains, to be awaited by somebody else's means.
    pub fn rest(self) -> Option<BoxFuture<()>> {
        self.0
    }

    /// Whether nothing remains.
    pub fn is_done(&self) -> bool {
        self.0.is_none()
    }
}

impl Future for Routing {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Some(rest) = &mut self.0 else { return Poll::Ready(()) };
        let polled = rest.as_mut().poll(context);
        if polled.is_ready() {
            self.0 = None;
        }
        polled
    }
}

impl std::fmt::Debug for Routing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.is_done() { "Routing::done" } else { "Routing::later" })
    }
}
