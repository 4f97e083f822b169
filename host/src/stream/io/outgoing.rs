//! What a connection has yet to write: shared pieces, never copied for a plain socket.
//!
//! An empty queue owns no memory. While a connection is writing it works in the thread's list; only what the socket
//! would not take stays in a list of its own.

use std::collections::VecDeque;
use std::io::IoSlice;

use super::Scratch;
use crate::stanza::Stanza;

/// How many pieces one system call may take.
pub(super) const MAX_SLICES: usize = 64;

/// Something to be written.
#[derive(Debug, Clone)]
pub enum Piece {
    /// A stanza, shared with whoever else gets it.
    Stanza(Stanza),
    /// What the stream itself says.
    Text(String),
}

/// The queue of unsent pieces.
#[derive(Debug, Default)]
pub struct Outgoing {
    pieces: VecDeque<Piece>,
    /// How much of the first piece is written already.
    written: usize,
    /// How many of the first pieces TLS has, whose records the socket has not. They are kept until it does.
    encrypted: usize,
    bytes: usize,
}

impl Piece {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Stanza(stanza) => stanza.bytes(),
            Self::Text(text) => text.as_bytes(),
        }
    }
}

impl Outgoing {
    /// Appends a piece.
    pub fn push(&mut self, piece: Piece) {
        let bytes = piece.bytes().len();
        if bytes > 0 {
            self.bytes += bytes;
            self.pieces.push_back(piece);
        }
    }

    /// Gives back the stanzas that were not written whole, in order, and forgets everything else.
    pub fn take_unsent(&mut self) -> Vec<Stanza> {
        let unsent = std::mem::take(self).pieces.into_iter();
        unsent
            .filter_map(|piece| match piece {
                Piece::Stanza(stanza) => Some(stanza),
                Piece::Text(_) => None,
            })
            .collect()
    }

    /// How much is unsent.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether everything was sent.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Works in the thread's list while the task is being polled.
    pub fn borrow_capacity(&mut self, scratch: &mut Scratch) {
        if self.pieces.is_empty() {
            std::mem::swap(&mut self.pieces, &mut scratch.pieces);
        }
    }

    /// Gives the thread its list back, unless something is still in it.
    pub fn return_capacity(&mut self, scratch: &mut Scratch) {
        if !self.pieces.is_empty() {
            return;
        }
        if scratch.pieces.capacity() == 0 {
            std::mem::swap(&mut self.pieces, &mut scratch.pieces);
        } else {
            self.pieces = VecDeque::new();
        }
    }

    /// The first pieces for one vectored write.
    pub(super) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; MAX_SLICES]) -> usize {
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            let from = if count == 0 { self.written } else { 0 };
            *slice = IoSlice::new(&piece.bytes()[from..]);
            count += 1;
        }
        count
    }

    /// Takes off what was written.
    pub(super) fn advance(&mut self, written: usize) {
        self.bytes -= written;
        self.written += written;
        while let Some(first) = self.pieces.front() {
            let length = first.bytes().len();
            if length > self.written {
                break;
            }
            self.written -= length;
            self.pieces.pop_front();
        }
    }

    /// The next piece for TLS if it is at most that long; it stays in the queue until [`Outgoing::encrypted_is_out`].
    pub(super) fn encrypt_within(&mut self, limit: usize) -> Option<&Piece> {
        let piece = self.pieces.get(self.encrypted)?;
        if piece.bytes().len() > limit {
            return None;
        }
        self.encrypted += 1;
        Some(piece)
    }

    /// Everything that TLS was given is with the socket.
    pub(super) fn encrypted_is_out(&mut self) {
        for piece in self.pieces.drain(..std::mem::take(&mut self.encrypted)) {
            self.bytes -= piece.bytes().len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(pieces: &[&'static str]) -> Outgoing {
        let mut outgoing = Outgoing::default();
        pieces.iter().for_each(|piece| outgoing.push(Piece::Text((*piece).to_owned())));
        outgoing
    }

    fn rest(outgoing: &Outgoing) -> String {
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let count = outgoing.slices(&mut slices);
        slices[..count].iter().map(|slice| std::str::from_utf8(slice).unwrap()).collect()
    }

    #[test]
    fn short_writes_leave_exactly_the_rest() {
        for written in 0..=9 {
            let mut outgoing = queue(&["abc", "", "d", "efghi"]);
            outgoing.advance(written);
            assert_eq!(rest(&outgoing), "abcdefghi"[written..]);
            assert_eq!(outgoing.bytes(), 9 - written);
            assert_eq!(outgoing.is_empty(), written == 9);
        }
    }

    #[test]
    fn an_empty_queue_keeps_no_list() {
        let mut scratch = Scratch::lend();
        let mut outgoing = Outgoing::default();
        outgoing.borrow_capacity(&mut scratch);
        outgoing.push(Piece::Text("abc".to_owned()));
        outgoing.return_capacity(&mut scratch);
        assert_eq!(rest(&outgoing), "abc");
        outgoing.advance(3);
        outgoing.return_capacity(&mut scratch);
        assert_eq!(outgoing.pieces.capacity(), 0);
        assert!(scratch.pieces.capacity() > 0);
    }

    #[test]
    fn what_tls_has_stays_until_the_socket_has_it() {
        let stanza = Stanza::parse(b"<message/>").unwrap();
        let mut outgoing = queue(&["abc"]);
        outgoing.push(Piece::Stanza(stanza));
        assert!(outgoing.encrypt_within(2).is_none());
        assert_eq!(outgoing.encrypt_within(3).unwrap().bytes(), b"abc");
        assert!(outgoing.encrypt_within(9).is_none());
        assert!(outgoing.encrypt_within(100).is_some());
        assert!(outgoing.encrypt_within(100).is_none());
        assert_eq!(outgoing.bytes(), 13);
        let mut broken = outgoing;
        let mut whole = queue(&["abc"]);
        whole.encrypt_within(3);
        whole.encrypted_is_out();
        assert!(whole.is_empty() && whole.bytes() == 0);
        assert_eq!(broken.take_unsent().len(), 1);
        assert!(broken.is_empty());
    }
}
