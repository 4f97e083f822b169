//! Telling a service (XEP-0357 section 7): one publication at a time, and what follows from its answer.

use crate::registration::Registration;
use crate::{NS, Push};
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::ErrorType;
use moult_plugin_api::sdk::datetime::now_ms;
use moult_plugin_api::sdk::element::parse_element;

const PUBSUB: &str = "http://jabber.org/protocol/pubsub";
const SUMMARY: &str = "urn:xmpp:push:summary";

/// What there is to tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct News {
    /// New messages.
    pub count: u64,
    /// Who wrote the last one; empty where that is not told.
    pub sender: String,
    /// What; empty where that is not told.
    pub body: String,
}

/// What an answer means for a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Told,
    Failed,
    Disabled,
}

impl Push {
    /// Tells a service, or notes what to tell it when it has answered.
    pub(crate) fn tell(&self, account: &str, registration: &Registration, news: News) {
        let key = (account.to_owned(), registration.service.clone(), registration.node.clone());
        let mut state = self.state();
        let waiting = state.waiting.entry(account.to_owned()).or_default();
        *waiting = waiting.saturating_add(news.count);
        if let Some(next) = state.under_way.get_mut(&key) {
            *next = Some(news);
            return;
        }
        state.under_way.insert(key.clone(), None);
        drop(state);
        let teller = Teller { push: self.clone(), key: key.clone() };
        if let Err(error) = self.host.spawn(teller.run(news)) {
            debug!(self.host, "a push service is not told: {error}");
            self.state().under_way.remove(&key);
        }
    }

    fn publication(&self, registration: &Registration, news: &News, waiting: u64) -> Element {
        let options = self.options.get();
        let mut fields = vec![field("FORM_TYPE", SUMMARY), field("message-count", &waiting.to_string())];
        if options.include_sender && !news.sender.is_empty() {
            fields.push(field("last-message-sender", &news.sender));
        }
        if options.include_body && !news.body.is_empty() {
            fields.push(field("last-message-body", &news.body));
        }
        let form =
            Element::new("x").with_ns(ns::DATA_FORMS).with_attr("type", "result").with_children(fields);
        let notification = Element::new("notification").with_ns(NS).with_child(form);
        let mut publish = Element::new("publish").with_child(Element::new("item").with_child(notification));
        if !registration.node.is_empty() {
            publish.set_attr("node", registration.node.as_str());
        }
        let pubsub = Element::new("pubsub").with_ns(PUBSUB).with_child(publish);
        match parse_element(&registration.options) {
            Ok(form) => pubsub.with_child(Element::new("publish-options").with_child(form)),
            Err(_) => pubsub,
        }
    }

    /// What is told, and what comes of it.
    async fn publish(&self, account: &str, registration: &Registration, news: &News) -> Outcome {
        let waiting = self.state().waiting.get(account).copied().unwrap_or(news.count);
        let Ok(service) = Jid::parse(&registration.service) else { return Outcome::Disabled };
        let request = IqRequest::set(service, self.publication(registration, news, waiting));
        let outcome = match self.host.send_iq(&request, self.options.get().timeout).await {
            Ok(answer) => answer.result().err().map(|error| error.kind),
            Err(error) => {
                debug!(self.host, "{} does not answer: {error}", registration.service);
                Some(ErrorType::Wait)
            }
        };
        match outcome {
            None => Outcome::Told,
            Some(ErrorType::Wait) => Outcome::Failed,
            Some(_) => Outcome::Disabled,
        }
    }

    /// Section 7.1. A registration that was renewed meanwhile counts as new.
    async fn settle(&self, account: &str, told: &Registration, outcome: Outcome) -> Result<(), HostError> {
        self.host.count(if outcome == Outcome::Told { "told" } else { "failed" }, 1);
        if outcome == Outcome::Told && told.failures == 0 {
            return Ok(());
        }
        let _turn = self.turns.take(account).await;
        let mut all = self.of(account);
        let is_told =
            |other: &Registration| other.is(&told.service, Some(&told.node)) && other.since == told.since;
        let Some(place) = all.iter().position(is_told) else { return Ok(()) };
        match outcome {
            Outcome::Told => (all[place].failures, all[place].since) = (0, now_ms()),
            Outcome::Failed => all[place].failures += 1,
            Outcome::Disabled => {}
        }
        if outcome == Outcome::Disabled || all[place].failures >= self.options.get().max_failures {
            info!(
                self.host,
                "{account}: the push service {} is disabled, it answers with errors", told.service
            );
            self.host.count("disabled", 1);
            all.remove(place);
        }
        self.keep(account, all).await
    }
}

/// The task that tells one service until there is nothing more to tell.
struct Teller {
    push: Push,
    key: (String, String, String),
}

impl Teller {
    async fn run(self, mut news: News) {
        let (account, service, node) = &self.key;
        loop {
            let registration = self.push.of(account).into_iter().find(|other| other.is(service, Some(node)));
            let Some(registration) = registration else { break };
            let outcome = self.push.publish(account, &registration, &news).await;
            if let Err(error) = self.push.settle(account, &registration, outcome).await {
                warn!(self.push.host, "{account}: a push service could not be noted as it is: {error}");
            }
            match self.push.state().under_way.get_mut(&self.key).and_then(Option::take) {
                Some(next) => news = next,
                None => break,
            }
        }
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.push.state().under_way.remove(&self.key);
    }
}

fn field(name: &str, value: &str) -> Element {
    Element::new("field").with_attr("var", name).with_child(Element::new("value").with_text(value))
}
