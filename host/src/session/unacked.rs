//! What was sent to a client and not acknowledged (XEP-0198 section 4).
//!
//! Promises: stanzas stay in the order in which they were sent; an acknowledgement takes off exactly those that it
//! covers, over the wrap of its counter at 2^32; one that covers more than was sent changes nothing; what the queue
//! costs is known at any time. It knows no clock and no socket.

use std::collections::VecDeque;
use std::time::SystemTime;

use super::mailbox::weight;
use crate::stanza::Stanza;

/// A client claims to have handled more than it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandledTooMuch {
    /// What it claims.
    pub handled: u32,
    /// What it was sent.
    pub sent: u32,
}

/// A stanza that waits for its acknowledgement.
#[derive(Clone, Debug)]
pub struct Unacked {
    /// The stanza.
    pub stanza: Stanza,
    /// When it came, if the client was away then.
    pub delayed_since: Option<SystemTime>,
}

/// The queue of them.
#[derive(Debug, Default)]
pub struct AckQueue {
    waiting: VecDeque<Unacked>,
    bytes: usize,
    /// How many the client has acknowledged, modulo 2^32.
    acknowledged: u32,
}

impl AckQueue {
    /// Appends a stanza that is being sent.
    pub fn push(&mut self, stanza: Stanza) {
        self.append(stanza, None);
    }

    /// Appends a stanza that cannot be sent now.
    pub fn push_delayed(&mut self, stanza: Stanza, since: SystemTime) {
        self.append(stanza, Some(since));
    }

    fn append(&mut self, stanza: Stanza, delayed_since: Option<SystemTime>) {
        self.bytes += weight(&stanza);
        self.waiting.push_back(Unacked { stanza, delayed_since });
    }

    /// Takes off what the client has handled; says how many that were.
    pub fn acknowledge(&mut self, handled: u32) -> Result<usize, HandledTooMuch> {
        let count = handled.wrapping_sub(self.acknowledged) as usize;
        if count > self.waiting.len() {
            return Err(HandledTooMuch { handled, sent: self.sent() });
        }
        self.bytes -= self.waiting.drain(..count).map(|unacked| weight(&unacked.stanza)).sum::<usize>();
        self.acknowledged = handled;
        if self.waiting.is_empty() {
            // An idle session keeps no buffer.
            self.waiting = VecDeque::new();
        }
        Ok(count)
    }

    /// How many were sent, modulo 2^32.
    pub fn sent(&self) -> u32 {
        // The queue is bounded far below 2^32.
        self.acknowledged.wrapping_add(self.waiting.len() as u32)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether everything is acknowledged.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// What they cost, in the same measure as a mailbox's bound.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Those that wait, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Unacked> {
        self.waiting.iter()
    }

    /// How many the client has acknowledged, modulo 2^32.
    pub fn acknowledged(&self) -> u32 {
        self.acknowledged
    }

    /// A queue as it was, with what waited then.
    pub fn restore(
        acknowledged: u32,
        waiting: impl IntoIterator<Item = (Stanza, Option<SystemTime>)>,
    ) -> Self {
        let mut queue = Self { acknowledged, ..Self::default() };
        waiting.into_iter().for_each(|(stanza, since)| queue.append(stanza, since));
        queue
    }

    /// Everything that waits, with the moments, in order.
    pub fn into_waiting(self) -> Vec<(Stanza, Option<SystemTime>)> {
        self.waiting.into_iter().map(|unacked| (unacked.stanza, unacked.delayed_since)).collect()
    }

    /// All of them for somebody else, in order.
    pub fn into_stanzas(self) -> Vec<Stanza> {
        self.waiting.into_iter().map(|unacked| unacked.stanza).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: u32) -> Stanza {
        Stanza::parse(format!("<message id='{id}'><body/></message>").as_bytes()).unwrap()
    }

    fn queue(acknowledged: u32, count: u32) -> AckQueue {
        let mut queue = AckQueue { acknowledged, ..AckQueue::default() };
        (0..count).for_each(|id| queue.push(message(id)));
        queue
    }

    fn ids(queue: &AckQueue) -> Vec<String> {
        queue.iter().map(|unacked| unacked.stanza.id().unwrap().into_owned()).collect()
    }

    #[test]
    fn an_acknowledgement_takes_off_what_it_covers_and_nothing_twice() {
        let mut queue = queue(0, 5);
        assert_eq!(queue.acknowledge(2), Ok(2));
        assert_eq!(ids(&queue), ["2", "3", "4"]);
        assert_eq!(queue.acknowledge(2), Ok(0));
        assert_eq!(queue.acknowledge(5), Ok(3));
        assert_eq!((queue.len(), queue.bytes(), queue.sent()), (0, 0, 5));
    }

    #[test]
    fn counters_go_over_the_end_of_32_bits() {
        let mut queue = queue(u32::MAX - 1, 4);
        assert_eq!(queue.sent(), 2);
        assert_eq!(queue.acknowledge(u32::MAX), Ok(1));
        assert_eq!(queue.acknowledge(0), Ok(1));
        assert_eq!(queue.acknowledge(2), Ok(2));
        assert!(queue.is_empty());
    }

    #[test]
    fn more_than_was_sent_and_less_than_was_acknowledged_change_nothing() {
        let mut queue = queue(10, 3);
        assert_eq!(queue.acknowledge(14), Err(HandledTooMuch { handled: 14, sent: 13 }));
        assert_eq!(queue.acknowledge(9), Err(HandledTooMuch { handled: 9, sent: 13 }));
        assert_eq!(queue.len(), 3);
        assert_eq!(queue.acknowledge(13), Ok(3));
    }

    #[test]
    fn what_it_costs_is_what_waits() {
        let mut queue = queue(0, 2);
        let each = weight(&message(0));
        assert_eq!(queue.bytes(), 2 * each);
        queue.push_delayed(message(2), SystemTime::UNIX_EPOCH);
        assert!(queue.iter().last().unwrap().delayed_since.is_some());
        queue.acknowledge(1).unwrap();
        assert_eq!(queue.bytes(), 2 * each);
        assert_eq!(queue.into_stanzas().len(), 2);
    }
}
