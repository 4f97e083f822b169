//! The panic hook of the library. The standard one would print to a stream that nobody reads, and with backtraces on it
//! would load megabytes of symbols that are never freed. This one keeps message and place, and leaves telling the host to
//! the guard that catches the panic; a panic on a thread of the module's own, which no guard catches, it tells itself.

use crate::abi::v1::level;
use crate::sdk::{Host, WeakHost};
use std::any::Any;
use std::cell::Cell;
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once, PoisonError};

/// Threads whose panic was seen and not yet caught. More are not kept: their text then lacks the place.
const SEEN_LIMIT: usize = 64;

static SEEN: Mutex<Vec<(u64, String)>> = Mutex::new(Vec::new());
static HOSTS: Mutex<Vec<WeakHost>> = Mutex::new(Vec::new());

/// Installs the hook, and with the feature `tracing` the forwarding of events, once per library. Called by the export
/// macro's `create`, so never in unit tests.
pub fn prepare_library() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(hook));
        #[cfg(feature = "tracing")]
        super::traces::install();
    });
}

/// Remembers an instance as somebody to tell.
pub(crate) fn add_host(host: &Host) {
    let mut hosts = HOSTS.lock().unwrap_or_else(PoisonError::into_inner);
    hosts.retain(WeakHost::is_alive);
    hosts.push(host.downgrade());
}

/// Forgets the instances that have ended; the last one frees the list.
pub(crate) fn sweep_hosts() {
    let mut hosts = HOSTS.lock().unwrap_or_else(PoisonError::into_inner);
    hosts.retain(WeakHost::is_alive);
    hosts.shrink_to_fit();
}

fn hook(info: &PanicHookInfo<'_>) {
    let message = message(info.payload());
    let text = match info.location() {
        Some(place) => format!("{message}, at {}:{}", place.file(), place.line()),
        None => message.to_owned(),
    };
    if on_own_thread() {
        tell(&format!("a thread of the module panicked: {text}"));
        return;
    }
    let (thread, mut seen) = (thread_token(), SEEN.lock().unwrap_or_else(PoisonError::into_inner));
    seen.retain(|(other, _)| *other != thread);
    if seen.len() < SEEN_LIMIT {
        seen.push((thread, text));
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn on_own_thread() -> bool {
    super::interpose::on_own_thread()
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn on_own_thread() -> bool {
    false
}

fn tell(line: &str) {
    if let Some(host) = any_host() {
        host.raw().log(level::ERROR, "", line);
    }
}

/// An instance of this library that is alive.
pub(super) fn any_host() -> Option<Host> {
    let hosts = HOSTS.lock().unwrap_or_else(PoisonError::into_inner);
    hosts.iter().find_map(WeakHost::upgrade)
}

/// What the hook saw on this thread, if it was this panic.
pub(super) fn take_seen(message: &str) -> Option<String> {
    let thread = thread_token();
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let index = seen.iter().position(|(other, _)| *other == thread)?;
    let (_, text) = seen.swap_remove(index);
    if seen.is_empty() {
        seen.shrink_to_fit();
    }
    text.starts_with(message).then_some(text)
}

/// The text of a panic's payload.
pub(super) fn message(payload: &(dyn Any + Send)) -> &str {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "a panic without a text",
    }
}

/// A number of this thread that no other thread of the process ever gets from this library. Thread ids of the system are
/// used again; `thread::current()` would register a destructor.
pub(super) fn thread_token() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local! {
        static TOKEN: Cell<u64> = const { Cell::new(0) };
    }
    TOKEN.with(|token| {
        if token.get() == 0 {
            token.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        token.get()
    })
}
