//! In-band registration (XEP-0077): users ask what is registered, change their password and cancel their account, and,
//! where `open` says so, anybody makes an account before the login.
//!
//! Open registration invites spam, so it is off by default and the stream feature is announced only where it is on; without
//! it accounts are made by `moultctl register`, or by whoever shows an invitation of mod_invites (XEP-0445) first. All of it is limited per client address and time (per account where the
//! address is not known, because the module was loaded after the session began). The limits hold over a swap.

mod invited;
mod limits;

use invited::Claim;
use limits::Limits;
use moult_plugin_api::hooks::{SessionClosed, SessionOpened};
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::hooks::Notice;
use moult_plugin_api::serde_json;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const SCHEMA: u32 = 1;
/// The stream feature, which the server announces where a module declares it.
const FEATURE: &str = "http://jabber.org/features/iq-register";

module_options! {
    /// Options of mod_register.
    pub struct Options {
        /// Whether anybody may make an account.
        open: bool = false;
        /// Fewest characters of a password.
        password_length: usize = 8, min 1, max 1024;
        /// New accounts and changes per address within the time below; 0 forbids them all.
        limit: u32 = 5, min 0;
        /// After what time the count begins anew.
        limit_interval: Duration = "10m", min 1000;
        /// Whether accounts may be cancelled.
        allow_cancel: bool = true;
    }
}

/// The module on one vhost.
#[derive(Debug)]
pub struct Register {
    host: Host,
    options: Options,
    limits: Mutex<Limits>,
}

/// What a set asks for.
#[derive(Debug, PartialEq, Eq)]
enum Wish {
    Cancel,
    Password { user: String, password: String },
}

impl Module for Register {
    type Options = Options;

    fn start(host: &Host, options: Options) -> Result<Started<Self>, Stop> {
        host.on_iq(ns::REGISTER, Self::answer)?;
        // Clients that change a password without naming the server mean themselves: Profanity does.
        host.on_iq(IqSpec::new(ns::REGISTER).on_accounts(), Self::answer)?;
        if options.open {
            host.feature(FEATURE, Target::Server)?;
        }
        host.on_session_opened(50, Self::opened)?;
        host.on_session_closed(50, Self::closed)?;
        host.every(options.limit_interval, |this: &Register, _: &Tick| this.limits().begin_anew())?;
        Started::running(Self { host: host.clone(), options, limits: Mutex::default() })
    }

    fn export_state(&self) -> Option<(u32, Vec<u8>)> {
        let state = serde_json::to_vec(&*self.limits()).expect("texts and numbers are JSON");
        Some((SCHEMA, state))
    }

    fn import_state(&self, schema: u32, bytes: &[u8]) -> Result<(), Stop> {
        if schema != SCHEMA {
            return Err(Stop::new(format!("state of schema {schema} cannot be read")));
        }
        *self.limits() = serde_json::from_slice(bytes)?;
        Ok(())
    }
}

impl Register {
    fn limits(&self) -> MutexGuard<'_, Limits> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn opened(&self, session: &Notice<'_, SessionOpened>) {
        self.limits().opened(session.jid.as_str(), &session.what.ip);
    }

    fn closed(&self, session: &Notice<'_, SessionClosed>) {
        self.limits().closed(session.jid.as_str());
    }

    async fn answer(self: Arc<Self>, iq: Iq<'static>) -> IqReply {
        match self.carry_out(&iq).await {
            Ok(reply) => reply,
            Err(error) => error.into(),
        }
    }

    async fn carry_out(&self, iq: &Iq<'static>) -> Result<IqReply, StanzaError> {
        if let Some(address) = address(iq.from()) {
            return self.before_login(iq, address).await;
        }
        let user = self.user(iq)?;
        if iq.to().localpart().is_some() && iq.to().bare() != iq.from().bare() {
            return Err(StanzaError::new(Condition::ServiceUnavailable, ""));
        }
        if iq.is_get() {
            return Ok(registered(user).into());
        }
        match wish(iq.payload()?)? {
            Wish::Cancel => self.cancel(iq).await,
            Wish::Password { user: named, password } => {
                if !named.eq_ignore_ascii_case(user) {
                    return Err(StanzaError::not_allowed(
                        "you have an account: cancel it before you make another",
                    ));
                }
                self.change(iq, &password).await
            }
        }
    }

    /// Of somebody who is not logged in. The server names the address as the sender, and the stream behind it.
    async fn before_login(&self, iq: &Iq<'static>, address: IpAddr) -> Result<IqReply, StanzaError> {
        if iq.is_get() {
            return match self.options.open || self.is_invited(iq.from()).await {
                true => Ok(form().into()),
                false => Err(closed()),
            };
        }
        let Wish::Password { user, password } = wish(iq.payload()?)? else {
            return Err(StanzaError::new(Condition::RegistrationRequired, "log in to cancel your account"));
        };
        let account = Jid::parse(&format!("{user}@{}", self.host.vhost()))
            .ok()
            .filter(|account| account.localpart().is_some() && account.is_bare())
            .ok_or_else(|| StanzaError::new(Condition::JidMalformed, "this is no user name"))?;
        let invitation = self.claim(iq.from(), &account).await?;
        if invitation == Claim::None && !self.options.open {
            return Err(closed());
        }
        let made = self.make(&account, &password, address).await;
        if invitation == Claim::Claimed {
            self.tell_inviter(iq.from(), &account, made.is_ok()).await;
        }
        made.map(|()| ().into())
    }

    async fn make(&self, account: &Jid<'_>, password: &str, address: IpAddr) -> Result<(), StanzaError> {
        self.check_password(password)?;
        if !self.limits().count_address(&address.to_string(), self.options.limit) {
            info!(self.host, "too many registrations from {address}");
            return Err(too_many());
        }
        self.host.create_account(account, password).await?;
        info!(self.host.about(account), "the account was made from {address}");
        Ok(())
    }

    /// Who asks. Only users of this vhost have something registered here.
    fn user<'a>(&self, iq: &'a Iq<'_>) -> Result<&'a str, StanzaError> {
        let local = iq.from().domain() == self.host.vhost();
        let user = iq.from().localpart().filter(|_| local);
        user.ok_or_else(|| {
            StanzaError::new(Condition::RegistrationRequired, "only users of this server can register here")
        })
    }

    fn count(&self, iq: &Iq<'_>) -> Result<(), StanzaError> {
        if self.limits().count(iq.from(), self.options.limit) {
            return Ok(());
        }
        info!(self.host.about(iq.from()), "too many changes of registration");
        Err(too_many())
    }

    fn check_password(&self, password: &str) -> Result<(), StanzaError> {
        if password.chars().count() < self.options.password_length {
            let text = format!("a password has at least {} characters", self.options.password_length);
            return Err(StanzaError::new(Condition::NotAcceptable, text));
        }
        Ok(())
    }

    async fn change(&self, iq: &Iq<'_>, password: &str) -> Result<IqReply, StanzaError> {
        self.check_password(password)?;
        self.count(iq)?;
        self.host.set_password(&iq.from().bare(), password).await?;
        info!(self.host.about(iq.from()), "the password was changed");
        Ok(().into())
    }

    /// The result is sent before the account and with it this session ends: afterwards nobody could read it.
    async fn cancel(&self, iq: &Iq<'static>) -> Result<IqReply, StanzaError> {
        if !self.options.allow_cancel {
            return Err(StanzaError::not_allowed("accounts cannot be cancelled here"));
        }
        self.count(iq)?;
        let account = iq.from().bare();
        if !self.host.account_exists(&account).await? {
            return Err(StanzaError::item_not_found("there is no such account"));
        }
        let result = Element::new("iq").with_attr("type", "result").with_attr("id", iq.id());
        self.host.route_element(iq.to(), iq.from(), &result)?;
        match self.host.remove_account(&account).await {
            Ok(()) => info!(self.host.about(&account), "the account was cancelled by its user"),
            Err(error) => error!(self.host.about(&account), "the account could not be cancelled: {error}"),
        }
        Ok(IqReply::Ignore)
    }
}

/// The address of a peer who is not logged in: a domain that is an address, with no user.
fn address(from: &Jid<'_>) -> Option<IpAddr> {
    let literal = from.domain().trim_start_matches('[').trim_end_matches(']');
    if from.localpart().is_some() { None } else { literal.parse().ok() }
}

fn closed() -> StanzaError {
    StanzaError::not_allowed("accounts are made by the server's administrator")
}

fn too_many() -> StanzaError {
    StanzaError::new(Condition::ResourceConstraint, "too many changes from this address: try again later")
}

/// What is needed to make an account.
fn form() -> Element {
    Element::new("query")
        .with_ns(ns::REGISTER)
        .with_child(Element::new("instructions").with_text("Choose a user name and a password."))
        .with_child(Element::new("username"))
        .with_child(Element::new("password"))
}

fn registered(user: &str) -> Element {
    Element::new("query")
        .with_ns(ns::REGISTER)
        .with_child(Element::new("registered"))
        .with_child(Element::new("username").with_text(user))
        .with_child(Element::new("password"))
}

fn wish(query: &Element) -> Result<Wish, StanzaError> {
    if query.subtag("remove").is_some() {
        // XEP-0077 3.2: nothing else may stand beside it.
        let alone = query.elements().count() == 1;
        return if alone {
            Ok(Wish::Cancel)
        } else {
            Err(StanzaError::bad_request("<remove/> stands alone"))
        };
    }
    match (query.subtag("username"), query.subtag("password")) {
        (Some(user), Some(password)) => Ok(Wish::Password { user: user.text(), password: password.text() }),
        _ => Err(StanzaError::bad_request("username and password are needed")),
    }
}

export_module! {
    module: Register,
    capabilities: ["accounts"],
    state: { writes: 1, reads: 1 },
    xeps: ["0077" "2.4"],
}

#[cfg(test)]
mod tests;
