//! The cipher contexts of keys that were used lately.
//!
//! A context (the key's schedule, and tables for the authentication) is some 600 bytes in C; the key itself is 32. Most
//! sessions are silent most of the time, so that two contexts for each of them would be a third of what an idle session
//! costs. So only so many are kept, those that were used last, each in a place that its number names; for another key
//! the context is made anew, which takes 0.2 to 0.5 µs (AES-128, AES-256; measured on the machine of the README).
//!
//! The places belong to the process, not to threads, so that the context of a key that is dropped is wiped at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::aead::LessSafeKey;
use aws_lc_rs::error::Unspecified;

/// Contexts that are kept: those of 512 sessions, at most 640 KiB.
const PLACES: usize = 1024;

/// Whose context it is, and the context.
type Place = Option<(u64, LessSafeKey)>;

static CONTEXTS: [Mutex<Place>; PLACES] = [const { Mutex::new(None) }; PLACES];
static NEXT: AtomicU64 = AtomicU64::new(0);

/// What tells a key from every other of this process. Its drop wipes the key's context.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct KeyNumber(u64);

impl KeyNumber {
    /// One that nobody had.
    pub(super) fn next() -> Self {
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// Lends the key's context, made anew if it is not there. No lock is held while it is used.
    pub(super) fn with_context<R>(
        &self,
        make: impl FnOnce() -> Result<LessSafeKey, Unspecified>,
        work: impl FnOnce(&LessSafeKey) -> R,
    ) -> Result<R, Unspecified> {
        let context = match self.take() {
            Some((_, context)) => context,
            None => make()?,
        };
        let outcome = work(&context);
        // What lay there is wiped after the lock is gone.
        let former = self.place().replace((self.0, context));
        drop(former);
        Ok(outcome)
    }

    fn take(&self) -> Place {
        self.place().take_if(|(owner, _)| *owner == self.0)
    }

    fn place(&self) -> MutexGuard<'static, Place> {
        let place = &CONTEXTS[(self.0 % PLACES as u64) as usize];
        // Nothing panics while it holds the lock.
        place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for KeyNumber {
    fn drop(&mut self) {
        drop(self.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::aead::{AES_128_GCM, UnboundKey};

    fn context() -> Result<LessSafeKey, Unspecified> {
        Ok(LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &[7; 16])?))
    }

    fn is_there(key: &KeyNumber) -> bool {
        key.place().as_ref().is_some_and(|(owner, _)| *owner == key.0)
    }

    /// Uses the key; whether its context had to be made.
    fn is_made_by_using(key: &KeyNumber) -> bool {
        let mut is_made = false;
        let make = || {
            is_made = true;
            context()
        };
        key.with_context(make, |_| ()).unwrap();
        is_made
    }

    #[test]
    fn a_context_is_kept_until_another_key_takes_its_place() {
        // Other tests make keys as well and may take the place at any moment, but not each time.
        let key = KeyNumber(u64::MAX - 7 * PLACES as u64);
        assert!(is_made_by_using(&key));
        assert!((0..100).any(|_| !is_made_by_using(&key)), "never kept");
        let neighbour = KeyNumber(key.0 - PLACES as u64);
        assert!(is_made_by_using(&neighbour));
        assert!(!is_there(&key));
        assert!(is_made_by_using(&key));
    }

    #[test]
    fn the_context_of_a_key_that_is_dropped_is_gone() {
        let number = u64::MAX - 3 * PLACES as u64;
        let key = KeyNumber(number);
        key.with_context(context, |_| ()).unwrap();
        drop(key);
        assert!(!is_there(&KeyNumber(number)));
    }

    #[test]
    fn a_context_that_cannot_be_made_is_an_error() {
        let key = KeyNumber::next();
        assert!(key.with_context(|| Err(Unspecified), |_| ()).is_err());
    }
}
