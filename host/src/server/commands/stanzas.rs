//! Commands that send stanzas on somebody's behalf.

use std::sync::Arc;

use super::{Handlers, failures};
use crate::command::{Answer, Call, CommandError, CommandResult, ErrorKind};
use crate::server::shared::Shared;
use crate::stanza::{Jid, Stanza};
use crate::xml::Writer;

pub(super) fn add(handlers: Handlers) -> Handlers {
    handlers.on("send_message", send_message).on("send_stanza", send_stanza)
}

async fn send_message(shared: Arc<Shared>, call: Call) -> CommandResult {
    let (subject, body) = (call.args.text("subject"), call.args.text("body"));
    let mut text = String::new();
    let mut writer = Writer::new(&mut text);
    writer.start("message").attribute("type", call.args.text("type"));
    if !subject.is_empty() {
        writer.element("subject", subject);
    }
    writer.element("body", body).end();
    send(&shared, &call, &text)
}

async fn send_stanza(shared: Arc<Shared>, call: Call) -> CommandResult {
    send(&shared, &call, call.args.text("stanza"))
}

/// Routes `text` with the addresses that the call names, whatever it carries itself.
fn send(shared: &Shared, call: &Call, text: &str) -> CommandResult {
    let stanza = Stanza::parse(text.as_bytes())
        .map_err(|fault| CommandError::new(ErrorKind::BadArgument, format!("This is no stanza: {fault}.")))?;
    let (from, to) = (jid(call, "from")?, jid(call, "to")?);
    let routed = shared.router.inject(stanza.readdressed(Some(from), Some(to)));
    routed.map_err(|error| failures::rejected(&error))?;
    Ok(Answer::ok())
}

fn jid(call: &Call, name: &str) -> Result<Jid, CommandError> {
    Jid::parse(call.args.text(name))
        .map_err(|error| CommandError::new(ErrorKind::BadArgument, format!("\"{name}\" is no JID: {error}.")))
}
