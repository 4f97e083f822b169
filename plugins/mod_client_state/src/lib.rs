//! What can wait for a client that nobody looks at (XEP-0352): the policy over the queue that the server keeps.
//!
//! The server holds stanzas back, in order and bounded, and sends all of them before the first that cannot wait, or when the
//! client becomes active. Without this module it goes by its own rules: presence and chat states wait (of one sender only the
//! last is kept), events of nodes wait, everything else goes at once. This module says it for receipts and markers, messages of
//! rooms, and single senders as well, and each of its options is taken over without a restart. On what it has no opinion it
//! leaves to those rules: requests, answers, errors, subscriptions, and one's own presence in a room.

mod policy;

use moult_plugin_api::prelude::*;
use policy::Policy;

module_options! {
    /// Options of mod_client_state.
    pub struct Options {
        /// Presence of contacts: whether it waits.
        presence: String = "later", one_of ["later", "now"];
        /// Chat states: whether they wait, or are of no use to such a client.
        chat_states: String = "later", one_of ["later", "now", "never"];
        /// Receipts and markers of other people's clients.
        receipts: String = "later", one_of ["later", "now"];
        /// Events of nodes that come without a word for people.
        events: String = "later", one_of ["later", "now"];
        /// Messages of rooms.
        groupchat: String = "now", one_of ["later", "now"];
        /// Headlines with a text, as announcements are.
        headlines: String = "now", one_of ["later", "now"];
        /// Senders whose messages never wait: bare JIDs or domains.
        urgent_from: Vec<String> = [], max 1000;
        /// Senders whose messages and presence wait, such as bots: bare JIDs or domains.
        patient_from: Vec<String> = [], max 1000;
        /// Namespaces of elements with which a message never waits.
        urgent: Vec<String> = ["urn:xmpp:jingle-message:0", "urn:xmpp:call-invites:0"], max 100;
    }
}

/// The module on one vhost.
#[derive(Debug)]
pub struct ClientState {
    host: Host,
    policy: Live<Policy>,
}

impl Module for ClientState {
    type Options = Options;
    const RELOADS: bool = true;

    fn start(host: &Host, options: Options) -> Result<Started<Self>, Stop> {
        let policy = Live::new(Policy::read(&options)?);
        host.on_inactive_packet(50, Self::judge)?;
        Started::running(Self { host: host.clone(), policy })
    }

    fn on_reload(&self, options: Options, changed: bool) -> Result<Reload, Stop> {
        if changed {
            self.policy.set(Policy::read(&options)?);
        }
        Ok(Reload::Done)
    }
}

impl ClientState {
    fn judge(&self, stanza: &Stanza<'_>) -> Urgency {
        let urgency = self.policy.get().of(stanza);
        match urgency {
            Urgency::Now => self.host.count("now", 1),
            Urgency::Later => self.host.count("later", 1),
            Urgency::Never => self.host.count("never", 1),
            Urgency::Unknown => {}
        }
        urgency
    }
}

export_module! {
    module: ClientState,
    needs_minor: 1,
    xeps: ["0352" "1.0.0"],
}

#[cfg(test)]
mod tests {
    use super::*;
    use moult_plugin_api::hooks::name;
    use moult_plugin_api::serde_json::json;
    use moult_plugin_api::testing::{FakeHost, HookResult, Instance, StartFailure};

    const PHONE: &str = "alice@example.org/phone";
    const RECEIPT: &str = "<message><received xmlns='urn:xmpp:receipts' id='1'/></message>";
    const STATE: &str =
        "<message type='chat'><active xmlns='http://jabber.org/protocol/chatstates'/></message>";

    fn judged(module: &Instance, from: &str, stanza: &str) -> String {
        match module.hook(name::INACTIVE_PACKET, from, PHONE, &json!({}), stanza) {
            HookResult::Stopped { reason, .. } => reason,
            HookResult::Continued(_) => "unknown".to_owned(),
        }
    }

    #[test]
    fn each_kind_has_its_word() {
        let host = FakeHost::new("example.org");
        let module = host.start::<ClientState>("{}");
        for (stanza, expected) in [
            (RECEIPT, "later"),
            ("<message><displayed xmlns='urn:xmpp:chat-markers:0' id='1'/></message>", "later"),
            (STATE, "later"),
            ("<presence/>", "later"),
            ("<presence type='unavailable'/>", "later"),
            ("<message type='chat'><body>hello</body></message>", "now"),
            ("<message><propose xmlns='urn:xmpp:jingle-message:0' id='1'/></message>", "now"),
            ("<message><encrypted xmlns='urn:xmpp:omemo:2'/></message>", "unknown"),
            ("<message type='groupchat'><body>hello</body></message>", "now"),
            (
                "<message type='headline'><event xmlns='http://jabber.org/protocol/pubsub#event'/></message>",
                "later",
            ),
            ("<message type='headline'><body>news</body></message>", "now"),
            ("<message type='error'><body>x</body></message>", "unknown"),
            ("<presence type='subscribe'/>", "unknown"),
            (
                "<presence><x xmlns='http://jabber.org/protocol/muc#user'><status code='110'/></x></presence>",
                "unknown",
            ),
            ("<iq type='get' id='1'/>", "unknown"),
        ] {
            assert_eq!(judged(&module, "bob@example.org/x", stanza), expected, "{stanza}");
        }
        assert_eq!((host.counter("later"), host.counter("now")), (6, 4));
    }

    #[test]
    fn options_and_senders_change_it_without_a_restart() {
        let host = FakeHost::new("example.org");
        let module = host.start::<ClientState>("{}");
        let options = r#"{"chat_states": "never", "receipts": "now", "presence": "now", "groupchat": "later",
            "urgent_from": ["boss@example.org"], "patient_from": ["bots.example.org"]}"#;
        assert_eq!(module.reload(options, true), Ok(Reload::Done));
        for (from, stanza, expected) in [
            ("bob@example.org/x", STATE, "never"),
            ("bob@example.org/x", RECEIPT, "now"),
            ("bob@example.org/x", "<presence/>", "now"),
            ("room@rooms.example/nick", "<message type='groupchat'><body>hello</body></message>", "later"),
            ("boss@example.org/y", "<message type='groupchat'><body>hello</body></message>", "now"),
            ("weather@bots.example.org", "<message><body>rain</body></message>", "later"),
            ("weather@bots.example.org", "<presence/>", "later"),
        ] {
            assert_eq!(judged(&module, from, stanza), expected, "{from} {stanza}");
        }
        assert!(module.reload(r#"{"urgent_from": ["a b"]}"#, true).is_err());
        assert_eq!(judged(&module, "bob@example.org/x", STATE), "never", "a refused reload changes nothing");
    }

    #[test]
    fn a_sender_that_is_none_fails_the_start() {
        let failure =
            FakeHost::new("example.org").try_start::<ClientState>(r#"{"patient_from": ["a@b/c"]}"#).err();
        assert!(matches!(failure, Some(StartFailure::Stopped(why)) if why.contains("a@b/c")));
    }
}
