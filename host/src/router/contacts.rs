//! Who sees whose presence: the contacts that modules keep (hook `contacts`), remembered per account while it has
//! sessions, and what follows when a module tells a change of one (RFC 6121 sections 3 and 4).

use std::sync::Arc;

use moult_plugin_api::hooks::ContactsAnswer;

use super::presence::unavailable;
use super::{BoxFuture, Router, Routing};
use crate::plugin::call::{Dispatch, HookCall};
use crate::plugin::hook::HookPoint;
use crate::session::{Changed, Contact, Contacts, Session};
use crate::stanza::{Jid, Kind, Stanza};

/// How often modules are asked again because a contact changed while they answered.
const ATTEMPTS: usize = 5;

/// Which sessions of an account a module means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Among {
    /// Those that have sent presence.
    Available,
    /// Those that have asked for the roster.
    Interested,
    /// All.
    Connected,
}

impl Among {
    fn has(self, session: &Session) -> bool {
        match self {
            Self::Available => session.is_available(),
            Self::Interested => session.is_interested(),
            Self::Connected => true,
        }
    }
}

impl Router {
    /// The contacts of an account of this server: as remembered, else as the modules tell. `None`: no module keeps
    /// contacts, or it failed to tell.
    pub fn contacts(&self, account: &Jid) -> Dispatch<Option<Contacts>> {
        if let Some(known) = self.inner.contacts.get(account) {
            return Dispatch::Ready(Some(known));
        }
        if !self.inner.modules.is_hooked(HookPoint::Contacts, account.domain()) {
            return Dispatch::Ready(None);
        }
        Dispatch::Later(Box::pin(self.clone().load_contacts(account.bare())))
    }

    async fn load_contacts(self, account: Jid) -> Option<Contacts> {
        // Nothing is remembered for accounts without sessions: anybody's probes would fill the memory.
        let mut loading = self.has_sessions(&account).then(|| self.inner.contacts.begin(&account));
        let mut latest = None;
        for _ in 0..ATTEMPTS {
            let contacts = self.ask_for_contacts(&account).await?;
            let Some(begun) = loading.take() else { return Some(contacts) };
            let kept = begun.finish(&contacts);
            latest = Some(contacts);
            match kept {
                Ok(()) => break,
                Err(again) => loading = Some(again),
            }
        }
        self.forget_contacts_of_nobody(&account);
        latest
    }

    async fn ask_for_contacts(&self, account: &Jid) -> Option<Contacts> {
        let call = HookCall { from: Some(account.clone()), ..HookCall::default() };
        let chain = self.inner.modules.run_hooks(HookPoint::Contacts, account.domain(), call);
        let answer = chain.wait().await.body;
        if answer.is_empty() {
            tracing::warn!(jid = %account, "no module told the contacts of an account; its presence is not broadcast");
            return None;
        }
        match serde_json::from_slice::<ContactsAnswer>(&answer) {
            Ok(answer) => Some(Contacts::new(answer.contacts.into_iter().filter_map(contact).collect())),
            Err(error) => {
                tracing::error!(jid = %account, %error, "a module's answer to the hook contacts cannot be read");
                None
            }
        }
    }

    fn has_sessions(&self, account: &Jid) -> bool {
        !self.sessions().resources(account).is_empty()
    }

    /// To be called when a session has ended and its end was told.
    pub(super) fn forget_contacts_of_nobody(&self, account: &Jid) {
        if !self.has_sessions(account) {
            self.inner.contacts.forget(account);
        }
    }

    /// A module has changed a contact: the contact is told the account's presence, or that it is unavailable, where it
    /// sees it from now on or no longer (sections 3.1.5, 3.2.2 and 3.3.3).
    pub fn contact_changed(&self, account: &Jid, contact: Contact) -> Routing {
        let who = contact.jid.clone();
        let stanza_of: fn(&Session) -> Option<Stanza> = match self.inner.contacts.change(account, contact) {
            Changed::Nothing => return Routing::done(),
            Changed::Shown => |session| session.presence().map(|presence| presence.stanza),
            Changed::Hidden => |session| unavailable(session.full_jid()),
        };
        let resources = self.sessions().resources(account);
        let available = resources.iter().filter(|session| session.is_available());
        let told = available.filter_map(|session| Some(self.tell_contact(&who, &stanza_of(session)?)));
        Routing::all(told)
    }

    /// Tells everybody who sees the account, except the account itself.
    pub(super) fn tell_contacts(&self, account: &Jid, contacts: &Contacts, stanza: &Stanza) -> Routing {
        let seeing = contacts.iter().filter(|contact| contact.from && !contact.jid.same_bare(account));
        Routing::all(seeing.map(|contact| self.tell_contact(&contact.jid, stanza)))
    }

    /// To one contact's available resources. Most contacts of most people are not there: then nothing is made.
    fn tell_contact(&self, contact: &Jid, stanza: &Stanza) -> Routing {
        if !self.is_plain_account(contact) {
            return self.dispatch(stanza.with_to(contact));
        }
        let resources = self.sessions().resources(contact);
        let mut available = resources.iter().filter(|session| session.is_available()).peekable();
        if available.peek().is_none() {
            return Routing::done();
        }
        let addressed = stanza.with_to(contact);
        Routing::all(available.map(|session| self.to_session(session.clone(), addressed.clone())))
    }

    /// Whether a stanza to this JID is for an account of this server and no filter wants to see it.
    fn is_plain_account(&self, jid: &Jid) -> bool {
        jid.localpart().is_some()
            && self.is_vhost(jid.domain())
            && !self.inner.modules.is_hooked_anywhere(HookPoint::FilterPacket)
    }

    /// Asks everybody whom the account sees (section 4.3). Accounts of this server are not asked but looked at.
    pub(super) fn probe_contacts(&self, session: &Arc<Session>, contacts: &Contacts) -> Routing {
        let seen = contacts
            .iter()
            .filter(|contact| contact.to && !contact.jid.same_bare(session.bare_jid()))
            .map(|contact| &contact.jid);
        Routing::all(seen.map(|contact| {
            if contact.localpart().is_some() && self.is_vhost(contact.domain()) {
                self.look_at(contact, session)
            } else {
                probe(session.full_jid(), contact).map_or(Routing::done(), |probe| self.dispatch(probe))
            }
        }))
    }

    /// Shows the session the presence of an account of this server, if the account shows it.
    fn look_at(&self, account: &Jid, session: &Arc<Session>) -> Routing {
        let there = self.sessions().resources(account).iter().any(|other| other.is_available());
        if !there {
            return Routing::done();
        }
        let (account, session) = (account.clone(), session.clone());
        self.after(self.contacts(&account), move |router, contacts| {
            if !contacts.is_some_and(|contacts| contacts.shows_to(session.bare_jid())) {
                return Routing::done();
            }
            let resources = router.sessions().resources(&account);
            Routing::all(resources.iter().filter_map(|other| router.show_presence(other, &session)))
        })
    }

    /// Puts a stanza into the mailboxes of some sessions of an account, or of the one session with this full JID, past
    /// the rules of routing. Gives how many took it; those that did not are nobody's business but the caller's.
    pub fn deliver_to(&self, to: &Jid, among: Among, stanza: &Stanza) -> BoxFuture<usize> {
        let meant: Vec<Arc<Session>> = if to.is_bare() {
            let resources = self.sessions().resources(to);
            resources.iter().filter(|session| among.has(session)).cloned().collect()
        } else {
            self.sessions().find(to).into_iter().collect()
        };
        let (router, stanza) = (self.clone(), stanza.clone());
        Box::pin(async move {
            let mut taken = 0;
            for session in meant {
                let addressed = match stanza.kind() {
                    // A request is for one resource: its answer must say which.
                    Kind::Iq => stanza.with_to(session.full_jid()),
                    _ => stanza.clone(),
                };
                taken += usize::from(router.put(&session, addressed).await);
            }
            taken
        })
    }
}

fn contact(contact: moult_plugin_api::hooks::Contact) -> Option<Contact> {
    match Jid::parse(&contact.jid) {
        Ok(jid) => Some(Contact {
            jid: jid.bare(),
            to: contact.subscription.has_to(),
            from: contact.subscription.has_from(),
        }),
        Err(error) => {
            tracing::warn!(contact = contact.jid, %error, "a module told a contact that is no JID; it is left out");
            None
        }
    }
}

/// `<presence type='probe'/>` between these.
fn probe(from: &Jid, to: &Jid) -> Option<Stanza> {
    let stanza = Stanza::parse(b"<presence type='probe'/>").ok()?;
    Some(stanza.readdressed(Some(from.clone()), Some(to.clone())))
}
