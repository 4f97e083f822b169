//! Sessions over a restart of the server (XEP-0198 section 5): what a clean stop leaves in the store, and what the next
//! start makes of it.
//!
//! A session that may be resumed is written down when the server stops, with its presence and everything that its client
//! has not acknowledged. The next start binds it again, silently, and keeps it for its client as if the connection had
//! just been lost. The records are removed when they are read: after a kill nothing is resumed twice.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::shared::Shared;
use super::streams::Streams;
use crate::config::ConflictPolicy;
use crate::listener::Hub;
use crate::session::{BindRequest, BoundSession, Ended, SessionInfo};
use crate::stanza::{Jid, Stanza};
use crate::storage::{KeyVal, Space, StorageError};
use crate::stream::Suspended;

/// How many keys are read at once.
const PAGE: u32 = 500;

/// A session as it lies in the store, under the id that its client knows.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    jid: String,
    received: u32,
    acknowledged: u32,
    timeout_s: u64,
    presence: Option<String>,
    directed: Vec<String>,
    interested: bool,
    mechanism: String,
    /// With the moment at which it came, in milliseconds, where the client was away then.
    stanzas: Vec<(String, Option<u64>)>,
}

fn store(shared: &Shared, vhost: &str) -> KeyVal {
    shared.storage.keyval(&Space::core(vhost, "resumption"))
}

/// Takes the session out of the table and writes it down. If that cannot be done, the session just ends.
pub(super) async fn suspend(shared: Arc<Shared>, session: BoundSession, left: Suspended) {
    let ended = session.unbind();
    let jid = ended.session.full_jid().clone();
    match write_down(&shared, &ended, &left).await {
        Ok(()) => {
            tracing::info!(%jid, unacknowledged = left.stanzas.len(), "session kept over the restart");
            shared.router.tell_closed(&ended.session).await;
        }
        Err(error) => {
            tracing::warn!(%jid, %error, "the session cannot be kept over the restart");
            let unsent = left.stanzas.into_iter().map(|(stanza, _)| stanza).collect();
            shared.router.end_unbound(ended, unsent).await;
        }
    }
}

async fn write_down(shared: &Shared, ended: &Ended, left: &Suspended) -> Result<(), StorageError> {
    let now = SystemTime::now();
    let sent = left.stanzas.iter().map(|(stanza, since)| (stanza.as_str().to_owned(), since.map(millis)));
    let waiting = ended.undelivered.iter().map(|stanza| (stanza.as_str().to_owned(), Some(millis(now))));
    let record = Record {
        jid: ended.session.full_jid().to_string(),
        received: left.received,
        acknowledged: left.acknowledged,
        timeout_s: left.timeout.as_secs(),
        presence: ended.farewell.presence.as_ref().map(|presence| presence.stanza.as_str().to_owned()),
        directed: ended.farewell.directed.iter().map(Jid::to_string).collect(),
        interested: ended.session.is_interested(),
        mechanism: ended.session.info().mechanism.clone(),
        stanzas: sent.chain(waiting).collect(),
    };
    let bytes = serde_json::to_vec(&record).unwrap_or_default();
    store(shared, ended.session.vhost()).set(&left.id, &bytes).await
}

/// Binds every session that the last stop has left, before anybody can connect.
pub(super) async fn restore(shared: &Shared, hub: &Arc<Hub<Streams>>) {
    let mut restored = 0;
    for vhost in shared.config().vhosts.keys() {
        match restore_vhost(shared, hub, vhost).await {
            Ok(count) => restored += count,
            Err(error) => tracing::error!(vhost, %error, "sessions from before the restart cannot be read"),
        }
    }
    if restored > 0 {
        tracing::info!(sessions = restored, "sessions from before the restart wait for their clients");
    }
}

async fn restore_vhost(shared: &Shared, hub: &Arc<Hub<Streams>>, vhost: &str) -> Result<usize, StorageError> {
    let store = store(shared, vhost);
    let mut restored = 0;
    loop {
        // What was read is gone, so each page is the first one.
        let page = store.keys("", None, PAGE).await?;
        if page.keys.is_empty() {
            return Ok(restored);
        }
        for id in page.keys {
            let bytes = store.get(&id).await?;
            store.delete(&id).await?;
            let record = bytes.and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok());
            match record {
                Some(record) => restored += usize::from(restore_one(shared, hub, &id, record).await),
                None => tracing::error!(vhost, "a session from before the restart is unreadable; it is lost"),
            }
        }
    }
}

async fn restore_one(shared: &Shared, hub: &Arc<Hub<Streams>>, id: &str, record: Record) -> bool {
    let Ok(jid) = Jid::parse(&record.jid) else { return false };
    let stanza = |(text, since): &(String, Option<u64>)| {
        Some((
            Stanza::parse(text.as_bytes()).ok()?,
            since.map(|since| UNIX_EPOCH + Duration::from_millis(since)),
        ))
    };
    let stanzas: Option<Vec<_>> = record.stanzas.iter().map(stanza).collect();
    let Some(stanzas) = stanzas else {
        tracing::error!(%jid, "a stanza from before the restart is unreadable; the session is lost");
        return false;
    };
    let (outbox, mailbox) = shared.sessions.mailbox();
    let request = BindRequest {
        account: jid.bare(),
        resource: jid.resource().map(str::to_owned),
        policy: ConflictPolicy::ReplaceOld,
        mailbox: outbox,
        info: SessionInfo { mechanism: record.mechanism.clone(), ..SessionInfo::default() },
    };
    let session = match shared.router.bind(request).await {
        Ok(session) => session,
        Err(error) => {
            tracing::error!(%jid, %error, "a session from before the restart cannot be bound again");
            return false;
        }
    };
    if record.interested {
        session.set_interested();
    }
    let presence = record.presence.as_deref().and_then(|text| Stanza::parse(text.as_bytes()).ok());
    let directed: Vec<Jid> = record.directed.iter().filter_map(|jid| Jid::parse(jid).ok()).collect();
    shared.router.restore_presence(&session, presence, &directed);
    let timeout = Duration::from_secs(record.timeout_s);
    let (received, acknowledged) = (record.received, record.acknowledged);
    let left = Suspended { id: id.to_owned(), received, acknowledged, timeout, stanzas };
    hub.adopt(session, mailbox, left);
    true
}

fn millis(moment: SystemTime) -> u64 {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
