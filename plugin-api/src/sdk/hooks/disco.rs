//! Hooks that collect answers: service discovery, and the contacts of an account.

use super::{Hook, Verdict, args};
use crate::abi::v1::Call;
use crate::hooks::{ContactsAnswer, DiscoArgs, InfoAnswer, ItemsAnswer, name};
use crate::sdk::handler::{Answer, Event};
use crate::sdk::{Host, Jid};
use serde::Serialize;

/// A question, and what the handlers before this one answered.
#[derive(Debug, Clone)]
pub struct Collecting<'a, A> {
    /// Who asks; of `contacts`: whose contacts.
    pub from: Jid<'a>,
    /// Which entity is asked; of `contacts`: empty.
    pub to: Jid<'a>,
    /// The node asked for; may be empty.
    pub node: String,
    /// What has been collected.
    pub answer: A,
}

/// How a handler leaves the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Collect<A> {
    /// As it was.
    Continue,
    /// So, for the next handler.
    With(A),
    /// So, for good.
    StopWith(A),
}

impl<A> From<()> for Collect<A> {
    fn from((): ()) -> Self {
        Collect::Continue
    }
}

impl<A> From<A> for Collect<A>
where
    A: Collected,
{
    fn from(answer: A) -> Self {
        Collect::With(answer)
    }
}

/// The kinds of answers.
pub trait Collected: Serialize {}
impl Collected for InfoAnswer {}
impl Collected for ItemsAnswer {}
impl Collected for ContactsAnswer {}

impl<A: Collected> From<Collect<A>> for Answer {
    fn from(collect: Collect<A>) -> Self {
        let json = |answer: A| serde_json::to_vec(&answer).ok();
        Answer::Hook(match collect {
            Collect::Continue => Verdict::next(None),
            Collect::With(answer) => Verdict::next(json(answer)),
            Collect::StopWith(answer) => Verdict::stop("", json(answer)),
        })
    }
}

macro_rules! collecting {
    ($($(#[$doc:meta])* $event:ident = $name:ident, $answer:ty;)+) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $event;

        impl Event for $event {
            type Arg<'a> = Collecting<'a, $answer>;
            type Answer = Collect<$answer>;

            fn read<'a>(_: &'a Host, call: &'a Call<'a>) -> Result<Self::Arg<'a>, String> {
                let DiscoArgs { node } = args(call)?;
                let body = if call.body.is_empty() { b"{}".as_slice() } else { call.body.as_slice() };
                let answer = serde_json::from_slice(body).map_err(|e| format!("the accumulator is no JSON: {e}"))?;
                let (from, to) = (Jid::trusted(call.from.as_str()), Jid::trusted(call.to.as_str()));
                Ok(Collecting { from, to, node, answer })
            }

            fn own(question: Self::Arg<'_>) -> Self::Arg<'static> {
                Collecting {
                    from: question.from.into_owned(),
                    to: question.to.into_owned(),
                    node: question.node,
                    answer: question.answer,
                }
            }
        }

        impl Hook for $event {
            const NAME: &'static str = name::$name;
        }
    )+};
}

collecting! {
    /// Information of an entity is collected.
    DiscoInfoEvent = DISCO_INFO, InfoAnswer;
    /// Items of an entity are collected.
    DiscoItemsEvent = DISCO_ITEMS, ItemsAnswer;
    /// The contacts of an account are collected.
    ContactsEvent = CONTACTS, ContactsAnswer;
}
