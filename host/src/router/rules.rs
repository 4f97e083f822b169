//! The delivery rules of RFC 6121 section 8.5 as a pure table: what becomes of a stanza for an account of this server.
//!
//! Where the RFC leaves a choice, it is made here and nowhere else:
//!
//! * A message to a bare JID goes to every resource with the highest non-negative priority (8.5.2.1.1, choice a).
//! * Where a message may be "silently ignored or bounced" it is bounced, so that nothing is lost silently; headlines are
//!   ignored, because nobody waits for them and the RFC demands it for an account without resources (8.5.2.2.1).
//! * An unknown account answers like a known one without resources, so that nobody can list accounts (8.5.1, 13.11 of
//!   RFC 6120). A module that stores offline messages changes that; it is told so in its own documentation.

use crate::stanza::{IqType, MessageType, PresenceType};

/// How the stanza was addressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// To `user@domain`.
    Bare,
    /// To `user@domain/resource`, and that resource is bound.
    Bound,
    /// To `user@domain/resource`, and that resource is not bound.
    Unbound,
}

/// What the account has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {
    /// Nobody of that name.
    Missing,
    /// No available resource with a non-negative priority: none at all, only bound ones, or only negative ones.
    Unreachable,
    /// At least one available resource with a non-negative priority.
    Reachable,
}

/// What to do with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageRule {
    /// To the bound resource it names.
    Exact,
    /// To all resources of the highest priority, if that is not negative.
    MostAvailable,
    /// To all resources with a non-negative priority.
    AllNonNegative,
    /// To offline storage if a module has one; back to the sender otherwise.
    Offline,
    /// Back to the sender with `service-unavailable`.
    Bounce,
    /// Nowhere.
    Ignore,
}

/// Table 1 of RFC 6121 section 8.5.4.
pub fn message(kind: MessageType, address: Address, account: Account) -> MessageRule {
    use MessageRule::{AllNonNegative, Bounce, Exact, Ignore, MostAvailable, Offline};
    match (address, account, kind) {
        (Address::Bound, ..) => Exact,
        (_, _, MessageType::Error | MessageType::Headline) if account != Account::Reachable => Ignore,
        (_, _, MessageType::Error) => Ignore,
        (_, Account::Missing, _) => Bounce,
        (_, _, MessageType::Groupchat) => Bounce,
        (Address::Bare, Account::Reachable, MessageType::Headline) => AllNonNegative,
        (Address::Bare, Account::Reachable, _) => MostAvailable,
        (Address::Bare, Account::Unreachable, _) => Offline,
        (Address::Unbound, Account::Reachable, MessageType::Chat) => MostAvailable,
        (Address::Unbound, Account::Unreachable, MessageType::Chat) => Offline,
        (Address::Unbound, _, MessageType::Headline) => Ignore,
        (Address::Unbound, ..) => Bounce,
    }
}

/// What to do with a presence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PresenceRule {
    /// To the bound resource it names.
    Exact,
    /// To all available resources.
    AllAvailable,
    /// To the module that keeps rosters (section 3).
    Subscription,
    /// Answered by the account's server (section 4.3).
    Probe,
    /// Nowhere.
    Ignore,
}

/// Sections 8.5.1, 8.5.2.1.2, 8.5.2.2.2, 8.5.3.1 and 8.5.3.2.2.
pub fn presence(kind: PresenceType, address: Address) -> PresenceRule {
    use PresenceType::{
        Available, Error, Probe, Subscribe, Subscribed, Unavailable, Unsubscribe, Unsubscribed,
    };
    match (kind, address) {
        (Subscribe | Subscribed | Unsubscribe | Unsubscribed, _) => PresenceRule::Subscription,
        (Probe, _) => PresenceRule::Probe,
        (Available | Unavailable | Error, Address::Bound) => PresenceRule::Exact,
        (Available | Unavailable, Address::Bare) => PresenceRule::AllAvailable,
        (Error, Address::Bare) | (_, Address::Unbound) => PresenceRule::Ignore,
    }
}

/// What to do with an IQ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IqRule {
    /// To the bound resource it names.
    Exact,
    /// Handled by the server on the account's behalf.
    OnBehalf,
    /// Back to the sender with `service-unavailable`.
    Bounce,
    /// An answer that nobody waits for.
    Unmatched,
}

/// Sections 8.5.1, 8.5.2.1.3, 8.5.2.2.3, 8.5.3.1 and 8.5.3.2.3.
pub fn iq(kind: IqType, address: Address) -> IqRule {
    match (kind, address) {
        (_, Address::Bound) => IqRule::Exact,
        (IqType::Result | IqType::Error, _) => IqRule::Unmatched,
        (_, Address::Bare) => IqRule::OnBehalf,
        (_, Address::Unbound) => IqRule::Bounce,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The letters of RFC 6121 table 1: E error, S ignore or error, O offline, D deliver, M most available, A all.
    fn allowed(letter: char) -> &'static [MessageRule] {
        match letter {
            'E' => &[MessageRule::Bounce],
            'S' => &[MessageRule::Ignore, MessageRule::Bounce],
            'O' => &[MessageRule::Offline],
            'D' => &[MessageRule::Exact, MessageRule::MostAvailable, MessageRule::AllNonNegative],
            'M' => &[MessageRule::MostAvailable],
            'A' => &[MessageRule::AllNonNegative],
            other => panic!("no such letter {other}"),
        }
    }

    #[test]
    fn every_cell_of_the_rfcs_table_is_kept() {
        use Account::{Missing, Reachable, Unreachable};
        use Address::{Bare, Bound, Unbound};
        let types = [MessageType::Normal, MessageType::Chat, MessageType::Groupchat, MessageType::Headline];
        // One letter per type, in that order.
        let table = [
            (Missing, Bare, "SSES"),
            (Missing, Unbound, "SSSS"),
            (Unreachable, Bare, "OOES"),
            (Unreachable, Bound, "DDDD"),
            (Unreachable, Unbound, "SOSS"),
            (Reachable, Bare, "MMEA"),
            (Reachable, Bound, "DDDD"),
            (Reachable, Unbound, "SMSS"),
        ];
        for (account, address, letters) in table {
            for (kind, letter) in types.into_iter().zip(letters.chars()) {
                let rule = message(kind, address, account);
                assert!(
                    allowed(letter).contains(&rule),
                    "{kind:?} {address:?} {account:?}: {rule:?} is not {letter}"
                );
            }
        }
    }

    #[test]
    fn an_error_is_delivered_to_its_resource_or_ignored() {
        for account in [Account::Missing, Account::Unreachable, Account::Reachable] {
            assert_eq!(message(MessageType::Error, Address::Bare, account), MessageRule::Ignore);
            assert_eq!(message(MessageType::Error, Address::Unbound, account), MessageRule::Ignore);
        }
        assert_eq!(message(MessageType::Error, Address::Bound, Account::Reachable), MessageRule::Exact);
    }

    #[test]
    fn an_unknown_account_looks_like_one_without_resources_or_offline_storage() {
        for kind in [MessageType::Normal, MessageType::Chat, MessageType::Groupchat, MessageType::Headline] {
            for address in [Address::Bare, Address::Unbound] {
                let missing = message(kind, address, Account::Missing);
                let known = message(kind, address, Account::Unreachable);
                // Offline without a module that keeps messages is a bounce.
                let seen = if known == MessageRule::Offline { MessageRule::Bounce } else { known };
                assert_eq!(missing, seen, "{kind:?} {address:?}");
            }
        }
    }

    #[test]
    fn a_request_is_always_delivered_handled_or_bounced() {
        for address in [Address::Bare, Address::Bound, Address::Unbound] {
            for kind in [IqType::Get, IqType::Set] {
                assert_ne!(iq(kind, address), IqRule::Unmatched);
            }
            for kind in [IqType::Result, IqType::Error] {
                assert!(matches!(iq(kind, address), IqRule::Exact | IqRule::Unmatched));
            }
        }
    }
}
