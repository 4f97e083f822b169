//! The last words of a server that a module takes down: which module and generation the crashing thread was in.
//!
//! A segmentation fault, a stack overflow, an abort or an `exit` in a module ends the process; nothing in it can prevent that. The
//! handler runs on the alternate signal stack that the standard library gives each thread, uses nothing but loads, stores
//! and `write`, and then lets the signal do what it would have done without it (a core dump among others).

use super::library::LibraryId;
use crate::plugin::threads;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

/// Signals that end a process by a fault of its code.
const SIGNALS: [libc::c_int; 5] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGABRT, libc::SIGILL, libc::SIGFPE];
/// Libraries whose names are kept: the newest ones.
const LABELS: usize = 256;
/// Words of eight bytes of one name.
const WORDS: usize = 12;

/// The name of a library, where a signal handler can read it.
struct Label {
    id: AtomicU64,
    len: AtomicUsize,
    text: [AtomicU64; WORDS],
}

static TABLE: [Label; LABELS] = [const {
    Label { id: AtomicU64::new(0), len: AtomicUsize::new(0), text: [const { AtomicU64::new(0) }; WORDS] }
}; LABELS];
static WRITING: Mutex<()> = Mutex::new(());
static BEFORE: OnceLock<[libc::sigaction; SIGNALS.len()]> = OnceLock::new();
static SPOKEN: AtomicBool = AtomicBool::new(false);

/// Puts the handlers in place. To be called once, early in `main`; a second call does nothing.
pub fn install() {
    BEFORE.get_or_init(|| SIGNALS.map(replace));
}

/// For a thread that ends while it is inside a module, which only happens when that calls `exit` (the whole process ends)
/// or `pthread_exit`.
pub(in crate::plugin) fn thread_ends_inside() {
    let mut line = Line { bytes: [0; 256], len: 0 };
    line.push(b"moultd: a thread was told to exit");
    line.say();
}

/// Notes the name of a library that is being loaded.
pub(super) fn label(library: LibraryId, module: &str, generation: u64) {
    let _writing = WRITING.lock();
    let text = format!("module {module} generation {generation}");
    let bytes = &text.as_bytes()[..text.len().min(WORDS * 8)];
    let label = &TABLE[library.0 as usize % LABELS];
    label.id.store(0, Ordering::Release);
    for (word, chunk) in label.text.iter().zip(bytes.chunks(8)) {
        let mut padded = [0; 8];
        padded[..chunk.len()].copy_from_slice(chunk);
        word.store(u64::from_ne_bytes(padded), Ordering::Relaxed);
    }
    label.len.store(bytes.len(), Ordering::Relaxed);
    label.id.store(library.0, Ordering::Release);
}

fn replace(signal: libc::c_int) -> libc::sigaction {
    // SAFETY: an all-zero `sigaction` is a valid value of that C struct.
    let (mut new, mut old): (libc::sigaction, libc::sigaction) = unsafe { std::mem::zeroed() };
    new.sa_sigaction = handler as *const () as usize;
    new.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: both structs live across the calls, and the handler has the signature that SA_SIGINFO asks for.
    unsafe {
        libc::sigemptyset(&mut new.sa_mask);
        libc::sigaction(signal, &new, &mut old);
    }
    old
}

/// Runs in the thread that faulted, with any lock possibly held: no allocation, no lock, no formatting.
extern "C" fn handler(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    if !SPOKEN.swap(true, Ordering::AcqRel) {
        speak(signal);
    }
    let before = BEFORE.get().zip(SIGNALS.iter().position(|s| *s == signal)).map(|(all, i)| &all[i]);
    match before {
        Some(before) if before.sa_flags & libc::SA_SIGINFO != 0 => {
            type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);
            // SAFETY: with SA_SIGINFO the field holds a function of this signature; it was in place before.
            let before: Handler = unsafe { std::mem::transmute(before.sa_sigaction) };
            before(signal, info, context);
        }
        _ => die_of(signal),
    }
}

/// Restores the default action and lets the signal come once more, when this handler has returned.
fn die_of(signal: libc::c_int) {
    // SAFETY: an all-zero `sigaction` asks for the default action; both calls may be made in a signal handler.
    unsafe {
        let default: libc::sigaction = MaybeUninit::zeroed().assume_init();
        libc::sigaction(signal, &default, ptr::null_mut());
        libc::raise(signal);
    }
}

fn speak(signal: libc::c_int) {
    let mut line = Line { bytes: [0; 256], len: 0 };
    line.push(b"moultd: fatal signal ");
    line.push_number(signal.unsigned_abs().into());
    line.say();
}

struct Line {
    bytes: [u8; 256],
    len: usize,
}

impl Line {
    /// Adds where this thread is, and writes it.
    fn say(&mut self) {
        match threads::inside_here() {
            Some(library) => {
                self.push(b" while inside ");
                self.push_label(library);
            }
            None => self.push(b" outside of any module"),
        }
        self.push(b"\n");
        // SAFETY: pointer and length are those of the buffer. There is nobody to tell if it fails.
        unsafe { libc::write(libc::STDERR_FILENO, self.bytes.as_ptr().cast(), self.len) };
    }

    fn push(&mut self, text: &[u8]) {
        for (to, from) in self.bytes[self.len..].iter_mut().zip(text) {
            *to = *from;
            self.len += 1;
        }
    }

    fn push_number(&mut self, mut number: u64) {
        let mut digits = [0; 20];
        let mut i = digits.len();
        loop {
            i -= 1;
            digits[i] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.push(&digits[i..]);
    }

    fn push_label(&mut self, library: LibraryId) {
        let label = &TABLE[library.0 as usize % LABELS];
        if label.id.load(Ordering::Acquire) != library.0 {
            self.push(b"library number ");
            return self.push_number(library.0);
        }
        let len = label.len.load(Ordering::Relaxed);
        let start = self.len;
        for word in &label.text {
            self.push(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
        self.len = self.len.min(start + len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_read_back_and_one_that_was_overwritten_is_a_number() {
        let old = LibraryId(7_000_000);
        label(old, "mod_echo", 12);
        let mut line = Line { bytes: [0; 256], len: 0 };
        line.push_label(old);
        assert_eq!(&line.bytes[..line.len], b"module mod_echo generation 12");
        label(LibraryId(old.0 + LABELS as u64), &"m".repeat(200), 1);
        line.len = 0;
        line.push_label(old);
        assert_eq!(&line.bytes[..line.len], b"library number 7000000");
        line.push_label(LibraryId(old.0 + LABELS as u64));
        assert!(line.bytes[..line.len].ends_with(b"mmm"));
    }
}
