//! The buffers that every connection of a thread takes turns in using.
//!
//! A task takes them at the start of a poll and gives them back before it returns. Should something that runs inside
//! that poll take them as well, it gets fresh ones: nothing here can be borrowed twice.

use std::cell::Cell;
use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};

use super::Piece;

/// How much is read from a socket at once: one TLS record, or a good number of stanzas.
pub const INPUT_BYTES: usize = 16 * 1024;

/// A buffer that has grown beyond this is not kept for the next connection.
const KEPT_BYTES: usize = 64 * 1024;

/// The same for a list of pieces.
const KEPT_PIECES: usize = 1024;

/// One thread's buffers.
pub struct Scratch {
    /// What came from the socket, still encrypted if the connection is.
    pub(super) input: Box<[u8]>,
    /// What was decrypted from it.
    pub(super) plaintext: Vec<u8>,
    /// Small pieces put together, to be encrypted as one record.
    pub(super) record: Vec<u8>,
    /// Capacity lent to the connection that is writing.
    pub(super) pieces: VecDeque<Piece>,
}

/// The right to use the thread's buffers until it is dropped.
pub struct Lent(Option<Box<Scratch>>);

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

impl Scratch {
    /// Takes the buffers of the current thread.
    pub fn lend() -> Lent {
        let kept = SCRATCH.try_with(Cell::take).ok().flatten();
        Lent(Some(kept.unwrap_or_else(|| Box::new(Self::new()))))
    }

    fn new() -> Self {
        Self {
            input: vec![0; INPUT_BYTES].into_boxed_slice(),
            plaintext: Vec::new(),
            record: Vec::new(),
            pieces: VecDeque::new(),
        }
    }

    fn tidy(&mut self) {
        for buffer in [&mut self.plaintext, &mut self.record] {
            buffer.clear();
            buffer.shrink_to(KEPT_BYTES);
        }
        self.pieces.clear();
        self.pieces.shrink_to(KEPT_PIECES);
    }
}

impl Deref for Lent {
    type Target = Scratch;

    fn deref(&self) -> &Scratch {
        self.0.as_ref().expect("the buffers are given back only by the drop")
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Scratch {
        self.0.as_mut().expect("the buffers are given back only by the drop")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(mut scratch) = self.0.take() {
            scratch.tidy();
            // A thread that is ending has no place for them any more; then they are freed here.
            let _ = SCRATCH.try_with(|place| place.set(Some(scratch)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_and_a_second_borrower_gets_its_own() {
        let mut first = Scratch::lend();
        first.plaintext.extend_from_slice(b"left over");
        first.record.reserve(10 * KEPT_BYTES);
        let address = first.input.as_ptr();
        let second = Scratch::lend();
        assert_ne!(second.input.as_ptr(), address);
        drop(second);
        drop(first);
        let again = Scratch::lend();
        assert_eq!(again.input.as_ptr(), address);
        assert!(again.plaintext.is_empty());
        assert!(again.record.capacity() <= KEPT_BYTES);
    }
}
