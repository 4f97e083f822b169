//! What is queued for each connection, and which connections have something queued.

use super::Id;

/// Queued bytes per connection.
#[derive(Debug, Default)]
pub struct Outbox {
    buffers: Vec<Vec<u8>>,
    is_marked: Vec<bool>,
    marked: Vec<Id>,
    restart: Option<Id>,
}

impl Outbox {
    /// Queues bytes for a connection; they leave at the end of the turn.
    pub fn send(&mut self, to: Id, bytes: &[u8]) {
        self.buffers[to].extend_from_slice(bytes);
        self.mark(to);
    }

    /// Queues a text made of parts.
    pub fn send_parts(&mut self, to: Id, parts: &[&[u8]]) {
        for part in parts {
            self.buffers[to].extend_from_slice(part);
        }
        self.mark(to);
    }

    /// The stream of this connection, which is being handled, begins anew with what the server sends next.
    pub fn restart(&mut self, id: Id) {
        self.restart = Some(id);
    }

    pub(super) fn take_restart(&mut self, id: Id) -> bool {
        self.restart.take_if(|restart| *restart == id).is_some()
    }

    pub(crate) fn grow(&mut self, count: usize) {
        self.buffers.resize_with(count, Vec::new);
        self.is_marked.resize(count, false);
    }

    pub(super) fn mark(&mut self, id: Id) {
        if !std::mem::replace(&mut self.is_marked[id], true) {
            self.marked.push(id);
        }
    }

    pub(super) fn next_marked(&mut self) -> Option<Id> {
        let id = self.marked.pop()?;
        self.is_marked[id] = false;
        Some(id)
    }

    pub(super) fn buffer(&mut self, id: Id) -> &mut Vec<u8> {
        &mut self.buffers[id]
    }

    pub(super) fn clear(&mut self, id: Id) {
        self.buffers[id] = Vec::new();
    }
}
