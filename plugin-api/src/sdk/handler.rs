//! What a handler is: a plain or an `async` function of the module, and what it answers.
//!
//! Registration functions take any [`Handler`]. A synchronous one borrows: `fn(&Self, &Iq<'_>) -> …`. An asynchronous
//! one owns: `async fn(self: Arc<Self>, Iq<'static>) -> …`; it becomes a small task that the host polls. What a handler
//! returns is whatever converts into the event's answer.

use super::command::CommandError;
use super::flow::Flow;
use super::hooks::Verdict;
use super::http::HttpResponse;
use super::iq::{IqEvent, IqHandler, IqReply};
use super::{Host, Iq, Jid, Module, Stop};
use crate::abi::v1::Call;
use serde_json::Value;
use std::any::{Any, TypeId};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// A module whose type is known to its handlers only.
pub(crate) type AnyModule = Arc<dyn Any + Send + Sync>;
/// A task under way.
pub(crate) type AnswerFuture = Pin<Box<dyn Future<Output = Answer> + Send>>;
/// A handler ready to be called.
pub(crate) type HandlerFn = Box<dyn Fn(&AnyModule, &Host, &Call<'_>) -> Outcome + Send + Sync>;

/// Something that happens to a module, with what its handlers get and give.
pub trait Event: 'static {
    /// What a handler gets.
    type Arg<'a>: Send;
    /// What a handler gives.
    type Answer: Into<Answer>;
    /// Reads a call; the error is for the host's log.
    #[doc(hidden)]
    fn read<'a>(host: &'a Host, call: &'a Call<'a>) -> Result<Self::Arg<'a>, String>;
    /// Copies what an asynchronous handler keeps.
    #[doc(hidden)]
    fn own(arg: Self::Arg<'_>) -> Self::Arg<'static>;
}

/// What any handler answered.
#[derive(Debug)]
pub enum Answer {
    /// Of an IQ handler.
    Iq(IqReply),
    /// Of a route or an idle call.
    Flow(Flow),
    /// Of a hook.
    Hook(Verdict),
    /// Of a command or request.
    Command(Result<Value, CommandError>),
    /// Of an HTTP handler.
    Http(HttpResponse),
    /// Of a timer or task: nothing.
    Done,
    /// The call could not be carried out.
    Failed(Stop),
}

/// An answer, or a task that will give it.
pub(crate) enum Outcome {
    Now(Answer),
    Later(AnswerFuture),
}

/// Nothing to say: timers and tasks.
#[derive(Debug, Clone, Copy)]
pub struct Nothing;

impl From<()> for Nothing {
    fn from((): ()) -> Self {
        Nothing
    }
}

impl From<Nothing> for Answer {
    fn from(_: Nothing) -> Self {
        Answer::Done
    }
}

/// A function that handles events `E` for module `M`. Implemented for plain and `async` functions; `Kind` only tells the
/// two apart for the compiler.
#[diagnostic::on_unimplemented(
    message = "this is no handler for `{E}`",
    note = "a handler is `fn(&Self, &Arg<'_>) -> Answer` or `async fn(self: Arc<Self>, Arg<'static>) -> Answer`"
)]
pub trait Handler<E: Event, M, Kind>: Send + Sync + 'static {
    #[doc(hidden)]
    fn into_raw(self) -> RawHandler;
}

/// A handler whose types are forgotten.
pub struct RawHandler {
    pub(crate) run: HandlerFn,
    /// The module's type, `None` when the handler needs none.
    pub(crate) module: Option<TypeId>,
}

/// Kind of plain functions.
#[derive(Debug)]
pub struct Plain<R>(std::marker::PhantomData<R>);
/// Kind of `async` functions.
#[derive(Debug)]
pub struct Asynchronous<F>(std::marker::PhantomData<F>);
/// Kind of functions in the sources' form: `(From, To, IQ)`.
#[derive(Debug)]
pub struct FromToIq<R>(std::marker::PhantomData<R>);
/// Kind of handler values.
#[derive(Debug)]
pub struct Object;

impl<E, M, F, R> Handler<E, M, Plain<R>> for F
where
    E: Event,
    M: Module,
    F: Fn(&M, &E::Arg<'_>) -> R + Send + Sync + 'static,
    R: Into<E::Answer>,
{
    fn into_raw(self) -> RawHandler {
        typed::<M>(Box::new(move |module, host, call| {
            now::<E, M, R>(module, host, call, |module, arg| self(module, arg))
        }))
    }
}

impl<E, M, F, Fut> Handler<E, M, Asynchronous<Fut>> for F
where
    E: Event,
    M: Module,
    F: Fn(Arc<M>, E::Arg<'static>) -> Fut + Send + Sync + 'static,
    Fut: Future + Send + 'static,
    Fut::Output: Into<E::Answer>,
{
    fn into_raw(self) -> RawHandler {
        typed::<M>(Box::new(move |module, host, call| {
            let Ok(module) = Arc::downcast::<M>(Arc::clone(module)) else { return wrong_module() };
            let future = match E::read(host, call) {
                Ok(arg) => self(module, E::own(arg)),
                Err(why) => return failed(why),
            };
            Outcome::Later(Box::pin(async move { future.await.into().into() }))
        }))
    }
}

impl<M, F, R> Handler<IqEvent, M, FromToIq<R>> for F
where
    M: Module,
    F: Fn(&M, &Jid<'_>, &Jid<'_>, &Iq<'_>) -> R + Send + Sync + 'static,
    R: Into<IqReply>,
{
    fn into_raw(self) -> RawHandler {
        typed::<M>(Box::new(move |module, host, call| {
            now::<IqEvent, M, R>(module, host, call, |module, iq| self(module, iq.from(), iq.to(), iq))
        }))
    }
}

impl<H: IqHandler> Handler<IqEvent, (), Object> for H {
    fn into_raw(self) -> RawHandler {
        let run: HandlerFn = Box::new(move |_, host, call| match IqEvent::read(host, call) {
            Ok(iq) => Outcome::Now(Answer::Iq(self.on_iq(&iq))),
            Err(why) => failed(why),
        });
        RawHandler { run, module: None }
    }
}

/// What a [`deferred`] handler answers: at once, or later by a future that owns what it needs.
pub enum Soon<T> {
    /// This.
    Now(T),
    /// What this future gives.
    Later(Pin<Box<dyn Future<Output = T> + Send>>),
}

impl<T> Soon<T> {
    /// What this future gives.
    pub fn later(future: impl Future<Output = T> + Send + 'static) -> Self {
        Soon::Later(Box::pin(future))
    }
}

impl<T> From<T> for Soon<T> {
    fn from(answer: T) -> Self {
        Soon::Now(answer)
    }
}

impl<T> std::fmt::Debug for Soon<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if matches!(self, Soon::Now(_)) { "Soon::Now" } else { "Soon::Later" })
    }
}

/// A handler that looks at what it borrows first and waits only where it must: for hooks that see every stanza and care
/// for few of them. Made by [`deferred`].
#[derive(Debug)]
pub struct Deferred<F>(F);

/// Kind of handlers made by [`deferred`].
#[derive(Debug)]
pub struct Deferring;

/// `fn(&Arc<Self>, &Arg<'_>) -> Soon<Answer>` as a handler.
pub fn deferred<F>(function: F) -> Deferred<F> {
    Deferred(function)
}

impl<E, M, F> Handler<E, M, Deferring> for Deferred<F>
where
    E: Event,
    E::Answer: Send + 'static,
    M: Module,
    F: Fn(&Arc<M>, &E::Arg<'_>) -> Soon<E::Answer> + Send + Sync + 'static,
{
    fn into_raw(self) -> RawHandler {
        typed::<M>(Box::new(move |module, host, call| {
            let Ok(module) = Arc::downcast::<M>(Arc::clone(module)) else { return wrong_module() };
            match E::read(host, call).map(|arg| (self.0)(&module, &arg)) {
                Ok(Soon::Now(answer)) => Outcome::Now(answer.into()),
                Ok(Soon::Later(future)) => Outcome::Later(Box::pin(async move { future.await.into() })),
                Err(why) => failed(why),
            }
        }))
    }
}

fn typed<M: Module>(run: HandlerFn) -> RawHandler {
    RawHandler { run, module: Some(TypeId::of::<M>()) }
}

#[inline]
fn now<E: Event, M: Module, R: Into<E::Answer>>(
    module: &AnyModule,
    host: &Host,
    call: &Call<'_>,
    run: impl FnOnce(&M, &E::Arg<'_>) -> R,
) -> Outcome {
    let Some(module) = module.downcast_ref::<M>() else { return wrong_module() };
    match E::read(host, call) {
        Ok(arg) => Outcome::Now(run(module, &arg).into().into()),
        Err(why) => failed(why),
    }
}

#[cold]
fn wrong_module() -> Outcome {
    failed("the handler was registered for another module type".into())
}

#[cold]
fn failed(why: String) -> Outcome {
    Outcome::Now(Answer::Failed(Stop(why)))
}
