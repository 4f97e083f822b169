//! The subscription states of RFC 6121 appendix A, and what each kind of presence does to them, in either direction. Pure:
//! nothing here knows of stores or streams.

use moult_plugin_api::hooks::Subscription;

/// One of the nine states: a subscription with what is pending either way. What exists is never pending as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The account sees the contact's presence.
    pub to: bool,
    /// The contact sees the account's presence.
    pub from: bool,
    /// The account has asked the contact.
    pub pending_out: bool,
    /// The contact has asked the account.
    pub pending_in: bool,
}

/// The kinds of presence that manage subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Asks to see the other's presence.
    Subscribe,
    /// Allows the other to see one's own.
    Subscribed,
    /// Wants to see the other's presence no longer.
    Unsubscribe,
    /// Denies or takes back what was asked or allowed.
    Unsubscribed,
}

impl Kind {
    /// The kind of that `type`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "subscribe" => Some(Self::Subscribe),
            "subscribed" => Some(Self::Subscribed),
            "unsubscribe" => Some(Self::Unsubscribe),
            "unsubscribed" => Some(Self::Unsubscribed),
            _ => None,
        }
    }
}

/// What a stanza does: the state after it, and whether it goes on: to the contact if the account sent it, to the account's
/// resources if the contact did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The state after it.
    pub state: State,
    /// Whether it goes on.
    pub passes: bool,
}

impl State {
    /// The subscription without what is pending.
    pub fn subscription(self) -> Subscription {
        Subscription::of(self.to, self.from)
    }

    /// Whether nobody sees anybody and nobody has asked.
    pub fn is_none(self) -> bool {
        self == Self::default()
    }

    /// The account sends it to the contact (appendix A.2).
    pub fn outbound(self, kind: Kind) -> Step {
        let mut state = self;
        let passes = match kind {
            Kind::Subscribe => {
                state.pending_out = !self.to;
                true
            }
            Kind::Unsubscribe => {
                state.to = false;
                state.pending_out = false;
                true
            }
            Kind::Subscribed => {
                state.from |= self.pending_in;
                state.pending_in = false;
                self.pending_in
            }
            Kind::Unsubscribed => {
                state.from = false;
                state.pending_in = false;
                self.from || self.pending_in
            }
        };
        Step { state, passes }
    }

    /// The contact sends it to the account (appendix A.3).
    pub fn inbound(self, kind: Kind) -> Step {
        let mut state = self;
        let passes = match kind {
            Kind::Subscribe => {
                state.pending_in = !self.from;
                !self.from && !self.pending_in
            }
            Kind::Unsubscribe => {
                state.from = false;
                state.pending_in = false;
                self.from || self.pending_in
            }
            Kind::Subscribed => {
                state.to |= self.pending_out;
                state.pending_out = false;
                self.pending_out
            }
            Kind::Unsubscribed => {
                state.to = false;
                state.pending_out = false;
                self.to || self.pending_out
            }
        };
        Step { state, passes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A state by its name in the RFC: `None`, `To`, `From`, `Both`, with `+out`, `+in`, `+out+in`.
    fn state(name: &str) -> State {
        State {
            to: name.starts_with("To") || name.starts_with("Both"),
            from: name.starts_with("From") || name.starts_with("Both"),
            pending_out: name.contains("+out"),
            pending_in: name.contains("+in"),
        }
    }

    const STATES: [&str; 9] =
        ["None", "None+out", "None+in", "None+out+in", "To", "To+in", "From", "From+out", "Both"];

    /// A column of the RFC's tables: for each state of `STATES` whether the stanza goes on (`+` or `-`) and the new state,
    /// which is left out where it does not change.
    type Column = [(char, &'static str); 9];

    fn check(direction: &str, kind: Kind, step: fn(State, Kind) -> Step, column: Column) {
        for (name, (passes, new)) in STATES.iter().zip(column) {
            let expected =
                Step { state: state(if new.is_empty() { name } else { new }), passes: passes == '+' };
            assert_eq!(step(state(name), kind), expected, "{direction} {kind:?} in {name}");
        }
    }

    #[test]
    fn every_row_of_the_outbound_tables_a_2_is_kept() {
        let subscribe = [
            ('+', "None+out"),
            ('+', ""),
            ('+', "None+out+in"),
            ('+', ""),
            ('+', ""),
            ('+', ""),
            ('+', "From+out"),
            ('+', ""),
            ('+', ""),
        ];
        let unsubscribe = [
            ('+', ""),
            ('+', "None"),
            ('+', ""),
            ('+', "None+in"),
            ('+', "None"),
            ('+', "None+in"),
            ('+', ""),
            ('+', "From"),
            ('+', "From"),
        ];
        let subscribed = [
            ('-', ""),
            ('-', ""),
            ('+', "From"),
            ('+', "From+out"),
            ('-', ""),
            ('+', "Both"),
            ('-', ""),
            ('-', ""),
            ('-', ""),
        ];
        let unsubscribed = [
            ('-', ""),
            ('-', ""),
            ('+', "None"),
            ('+', "None+out"),
            ('-', ""),
            ('+', "To"),
            ('+', "None"),
            ('+', "None+out"),
            ('+', "To"),
        ];
        check("out", Kind::Subscribe, State::outbound, subscribe);
        check("out", Kind::Unsubscribe, State::outbound, unsubscribe);
        check("out", Kind::Subscribed, State::outbound, subscribed);
        check("out", Kind::Unsubscribed, State::outbound, unsubscribed);
    }

    #[test]
    fn every_row_of_the_inbound_tables_a_3_is_kept() {
        let subscribe = [
            ('+', "None+in"),
            ('+', "None+out+in"),
            ('-', ""),
            ('-', ""),
            ('+', "To+in"),
            ('-', ""),
            ('-', ""),
            ('-', ""),
            ('-', ""),
        ];
        let unsubscribe = [
            ('-', ""),
            ('-', ""),
            ('+', "None"),
            ('+', "None+out"),
            ('-', ""),
            ('+', "To"),
            ('+', "None"),
            ('+', "None+out"),
            ('+', "To"),
        ];
        let subscribed = [
            ('-', ""),
            ('+', "To"),
            ('-', ""),
            ('+', "To+in"),
            ('-', ""),
            ('-', ""),
            ('-', ""),
            ('+', "Both"),
            ('-', ""),
        ];
        let unsubscribed = [
            ('-', ""),
            ('+', "None"),
            ('-', ""),
            ('+', "None+in"),
            ('+', "None"),
            ('+', "None+in"),
            ('-', ""),
            ('+', "From"),
            ('+', "From"),
        ];
        check("in", Kind::Subscribe, State::inbound, subscribe);
        check("in", Kind::Unsubscribe, State::inbound, unsubscribe);
        check("in", Kind::Subscribed, State::inbound, subscribed);
        check("in", Kind::Unsubscribed, State::inbound, unsubscribed);
    }

    #[test]
    fn what_exists_is_never_pending_as_well() {
        let kinds = [Kind::Subscribe, Kind::Subscribed, Kind::Unsubscribe, Kind::Unsubscribed];
        for name in STATES {
            for kind in kinds {
                for Step { state, .. } in [state(name).outbound(kind), state(name).inbound(kind)] {
                    let both = state.to && state.pending_out || state.from && state.pending_in;
                    assert!(!both, "{kind:?} in {name}");
                }
            }
        }
    }
}
