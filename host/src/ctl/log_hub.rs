//! A log writer that also hands every line to whoever listens at the control socket.
//!
//! It is an `io::Write` to be put in front of the real one (a file, standard error). Listeners never hold the log up:
//! each has a bounded queue, and one that is too slow misses lines.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast;

use super::LogSource;

/// Lines that a listener may be behind.
const QUEUE: usize = 1024;
/// A line longer than this is handed on in parts.
const MAX_LINE: usize = 16 * 1024;

/// The lines of the log, on their way to the control socket. A cheap clone is the same hub.
#[derive(Debug, Clone)]
pub struct LogHub {
    lines: broadcast::Sender<Arc<str>>,
    partial: Arc<Mutex<Vec<u8>>>,
}

/// What is written here goes to the hub and to `W`.
#[derive(Debug)]
pub struct Tee<W> {
    hub: LogHub,
    to: W,
}

impl Default for LogHub {
    fn default() -> LogHub {
        LogHub { lines: broadcast::channel(QUEUE).0, partial: Arc::default() }
    }
}

impl LogSource for LogHub {
    fn subscribe(&self) -> broadcast::Receiver<Arc<str>> {
        self.lines.subscribe()
    }
}

impl LogHub {
    /// A writer to `to` whose lines the hub gets too.
    pub fn tee<W: Write>(&self, to: W) -> Tee<W> {
        Tee { hub: self.clone(), to }
    }

    fn take(&self, bytes: &[u8]) {
        let mut partial = self.partial.lock().unwrap_or_else(PoisonError::into_inner);
        if self.lines.receiver_count() == 0 {
            partial.clear();
            return;
        }
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = piece.strip_suffix(b"\n").map_or((piece, false), |text| (text, true));
            partial.extend_from_slice(text);
            if ends || partial.len() >= MAX_LINE {
                // The last listener may have gone meanwhile, which is no fault.
                let _ = self.lines.send(String::from_utf8_lossy(&partial).into());
                partial.clear();
            }
        }
    }
}

impl<W: Write> Write for Tee<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.hub.take(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_lines_reach_the_listeners_and_everything_the_writer() {
        let hub = LogHub::default();
        let mut written = Vec::new();
        let mut log = hub.tee(&mut written);
        log.write_all(b"before\n").unwrap();
        let mut listener = hub.subscribe();
        log.write_all(b"one\ntw").unwrap();
        log.write_all(b"o\nthree").unwrap();
        assert_eq!(written, b"before\none\ntwo\nthree");
        let lines: Vec<_> = std::iter::from_fn(|| listener.try_recv().ok()).collect();
        assert_eq!(lines.iter().map(|line| &**line).collect::<Vec<_>>(), ["one", "two"]);
    }

    #[test]
    fn a_slow_listener_holds_nobody_up_and_a_line_without_end_is_cut() {
        let hub = LogHub::default();
        let mut listener = hub.subscribe();
        let mut log = hub.tee(io::sink());
        log.write_all(&vec![b'x'; 3 * MAX_LINE]).unwrap();
        assert!(listener.try_recv().unwrap().len() >= MAX_LINE);
        (0..2 * QUEUE).for_each(|_| log.write_all(b"x\n").unwrap());
        assert!(matches!(listener.try_recv(), Err(broadcast::error::TryRecvError::Lagged(_))));
    }
}
