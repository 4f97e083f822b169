//! Turning a connection away with a reason, at next to no cost.
//!
//! The stream is opened and ended without hearing the peer, and the rest is left to the kernel, unless the peer has
//! said something already: closing a socket with unread input would take the reason back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::admission::RefusedBy;
use super::hub::{Hub, Inward, Origin};
use crate::stanza::{StreamError, StreamErrorCondition};
use crate::stream::{Stream, StreamSettings, Via};

/// Refused connections that may linger at the same time; those beyond are closed without a word.
const MAX_LINGERING: usize = 64;

/// How long a refused peer may take to notice.
const LINGER: Duration = Duration::from_secs(2);

/// How much of what it says meanwhile is read and thrown away.
const MAX_DISCARDED: usize = 64 * 1024;

static LINGERING: AtomicUsize = AtomicUsize::new(0);

/// Tells the peer why, and closes. Nothing is said under direct TLS: a handshake would cost more than the peer is worth.
pub(super) fn refuse<E: Inward>(hub: &Arc<Hub<E>>, socket: TcpStream, origin: Origin, why: RefusedBy) {
    tracing::debug!(peer = %origin.peer, ?why, "connection refused");
    if origin.via != Via::Tcp {
        return;
    }
    let Some(place) = Lingering::take() else { return };
    let mut text = String::new();
    Stream::new(StreamSettings::default(), origin.via).close(Some(&error(why)), &hub.events, &mut text);
    tokio::spawn(async move {
        let _ = tokio::time::timeout(LINGER, say(socket, text)).await;
        drop(place);
    });
}

fn error(why: RefusedBy) -> StreamError {
    match why {
        RefusedBy::Address => StreamError::new(
            StreamErrorCondition::PolicyViolation,
            "There are too many connections from your address.",
        ),
        RefusedBy::Total | RefusedBy::Unauthenticated => StreamError::new(
            StreamErrorCondition::ResourceConstraint,
            "This server has as many connections as it can serve; try again later.",
        ),
    }
}

async fn say(mut socket: TcpStream, text: String) {
    if socket.write_all(text.as_bytes()).await.is_err() || socket.shutdown().await.is_err() {
        return;
    }
    let mut discarded = 0;
    while discarded < MAX_DISCARDED && socket.readable().await.is_ok() {
        match socket.try_read(&mut [0; 4096]) {
            Ok(0) => return,
            Ok(read) => discarded += read,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

/// A place among those that linger.
struct Lingering;

impl Lingering {
    fn take() -> Option<Self> {
        let taken = LINGERING.fetch_add(1, Ordering::Relaxed);
        let place = Self;
        (taken < MAX_LINGERING).then_some(place)
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        LINGERING.fetch_sub(1, Ordering::Relaxed);
    }
}
