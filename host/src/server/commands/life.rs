//! Commands that end the server: for good or to start anew, at once or after a while.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::Handlers;
use crate::command::{Answer, Call, CommandError, CommandResult, ErrorKind, Phase};
use crate::config::Config;
use crate::plugin::settings;
use crate::server::shared::{Ending, Shared};
use crate::stanza::{Jid, Stanza};
use crate::xml::Writer;

/// The longest that anybody may be asked to be patient.
const LONGEST_DELAY: i64 = 7 * 24 * 3600;
/// How long the end of the present phase may take to begin.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) fn add(handlers: Handlers) -> Handlers {
    handlers
        .on("stop", stop)
        .on("restart", restart)
        .on("stop_kindly", stop_kindly)
        .on("restart_kindly", restart_kindly)
}

async fn stop(shared: Arc<Shared>, _: Call) -> CommandResult {
    shared.end(Ending::Asked);
    begun(&shared).await;
    Ok(Answer::value("The server is stopping."))
}

async fn restart(shared: Arc<Shared>, _: Call) -> CommandResult {
    would_start(&shared).await?;
    shared.end(Ending::Restart);
    begun(&shared).await;
    Ok(Answer::value("The server is restarting."))
}

async fn stop_kindly(shared: Arc<Shared>, call: Call) -> CommandResult {
    kindly(&shared, &call, Ending::Asked, "stops")
}

async fn restart_kindly(shared: Arc<Shared>, call: Call) -> CommandResult {
    would_start(&shared).await?;
    kindly(&shared, &call, Ending::Restart, "restarts")
}

/// Whoever asks for the phase after the answer must not be told of the phase before.
async fn begun(shared: &Shared) {
    let mut phase = shared.phase.listen();
    // Where it takes longer, the caller has waited enough all the same.
    let _ = tokio::time::timeout(PATIENCE, phase.wait_for(|phase| *phase == Phase::Stopping)).await;
}

/// A server that would not come back is not sent away.
async fn would_start(shared: &Shared) -> Result<(), CommandError> {
    let file = shared.config_path.clone();
    let checking = tokio::task::spawn_blocking(move || {
        Config::load(&file).and_then(|config| settings::check(&config).map(drop)).map_err(|e| e.to_string())
    });
    match checking.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(mistakes)) => {
            let message = format!("The server goes on, because the configuration has mistakes:\n{mistakes}");
            Err(CommandError::new(ErrorKind::Failed, message))
        }
        Err(_) => Err(CommandError::new(ErrorKind::Bug, "The check of the configuration was cut off.")),
    }
}

fn kindly(shared: &Arc<Shared>, call: &Call, ending: Ending, what: &str) -> CommandResult {
    let seconds = call.args.integer("delay").unwrap_or_default();
    let delay = u64::try_from(seconds).ok().filter(|_| seconds <= LONGEST_DELAY);
    let Some(delay) = delay else {
        let message = format!("{}: the delay must be from 0 to {LONGEST_DELAY} seconds.", call.spec.name);
        return Err(CommandError::new(ErrorKind::BadArgument, message));
    };
    let told = match call.args.text("announcement") {
        "" => 0,
        text => announce(shared, text),
    };
    let later = Arc::downgrade(shared);
    let waiting = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(delay)).await;
        if let Some(shared) = later.upgrade() {
            shared.end(ending);
        }
    });
    let before = shared.kindly.lock().unwrap_or_else(PoisonError::into_inner).replace(waiting.abort_handle());
    if let Some(before) = before {
        before.abort();
    }
    tracing::warn!(delay, sessions = told, "the server {what} after this delay");
    Ok(Answer::value(format!("The server {what} in {delay} s; {told} sessions were told.")))
}

/// Says something to every session, on behalf of its vhost; how many there were.
fn announce(shared: &Shared, text: &str) -> usize {
    let mut stanza = String::new();
    let mut writer = Writer::new(&mut stanza);
    writer.start("message").attribute("type", "headline");
    writer.element("body", text).end();
    let Ok(stanza) = Stanza::parse(stanza.as_bytes()) else { return 0 };
    let mut recipients = Vec::new();
    shared.sessions.for_each(|session| recipients.push(session.full_jid().clone()));
    let sent = recipients.into_iter().filter(|to| {
        let Ok(vhost) = Jid::from_parts(None, to.domain(), None) else { return false };
        shared.router.inject(stanza.readdressed(Some(vhost), Some(to.clone()))).is_ok()
    });
    sent.count()
}
