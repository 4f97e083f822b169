//! Cuts the bytes of a server's stream into its header, its top-level elements and its end.
//!
//! The server is trusted to send well-formed XML without comments, CDATA and processing instructions (RFC 6120
//! section 11.1 forbids them, except the XML declaration), so this is one scan that counts depth and skips quoted values. The scan
//! resumes where it stopped. It checks nothing: what a test wants to know about a stanza it asks
//! [`Element`](super::Element).

use memchr::memchr;

/// One thing found on the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// The `<stream:stream ...>` tag.
    Header(&'a [u8]),
    /// A whole child of the stream.
    Stanza(&'a [u8]),
    /// `</stream:stream>`.
    Close,
}

/// Buffered bytes of one stream and how far they have been looked at.
#[derive(Debug, Default)]
pub struct Splitter {
    bytes: Vec<u8>,
    /// Start of the piece that is being scanned.
    start: usize,
    /// Next byte to look at, always outside a tag.
    scan: usize,
    /// Open elements below the stream.
    depth: usize,
    open: bool,
}

impl Splitter {
    /// An empty stream.
    pub fn new() -> Splitter {
        Splitter::default()
    }

    /// Adds received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.reclaim();
        self.bytes.extend_from_slice(bytes);
    }

    /// Bytes that are not part of a returned piece yet.
    pub fn pending(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Expects a new stream header next, as after STARTTLS and SASL; drops what is buffered.
    pub fn restart(&mut self) {
        *self = Splitter::default();
    }

    /// The next whole piece, if there is one.
    pub fn next_piece(&mut self) -> Option<Piece<'_>> {
        loop {
            let opening = self.scan + memchr(b'<', &self.bytes[self.scan..])?;
            let tag_end = end_of_tag(&self.bytes, opening)?;
            if self.depth == 0 {
                self.start = opening;
            }
            self.scan = tag_end;
            match self.classify(opening, tag_end) {
                Tag::Declaration => self.start = tag_end,
                Tag::Header => {
                    self.open = true;
                    return Some(Piece::Header(self.take(tag_end)));
                }
                Tag::StreamEnd => {
                    self.take(tag_end);
                    return Some(Piece::Close);
                }
                Tag::Open => self.depth += 1,
                Tag::Close if self.depth > 1 => self.depth -= 1,
                Tag::Empty if self.depth > 0 => {}
                Tag::Close | Tag::Empty => {
                    self.depth = 0;
                    return Some(Piece::Stanza(self.take(tag_end)));
                }
            }
        }
    }

    fn classify(&self, opening: usize, tag_end: usize) -> Tag {
        let tag = &self.bytes[opening..tag_end];
        match (tag[1], tag[tag.len() - 2]) {
            (b'?', _) => Tag::Declaration,
            (b'/', _) if self.depth == 0 => Tag::StreamEnd,
            (b'/', _) => Tag::Close,
            _ if !self.open => Tag::Header,
            (_, b'/') => Tag::Empty,
            _ => Tag::Open,
        }
    }

    /// Hands the piece that ends at `end` out.
    fn take(&mut self, end: usize) -> &[u8] {
        let start = std::mem::replace(&mut self.start, end);
        &self.bytes[start..end]
    }

    fn reclaim(&mut self) {
        if self.start == self.bytes.len() {
            self.bytes.clear();
        } else if self.start > 0 {
            self.bytes.drain(..self.start);
        }
        self.scan -= self.start;
        self.start = 0;
    }
}

enum Tag {
    Declaration,
    Header,
    Open,
    Close,
    Empty,
    StreamEnd,
}

/// The offset after the `>` that ends the tag at `opening`; a `>` inside a quoted value does not count.
fn end_of_tag(bytes: &[u8], opening: usize) -> Option<usize> {
    let mut quote = 0u8;
    for (offset, &byte) in bytes[opening..].iter().enumerate() {
        if quote != 0 {
            if byte == quote {
                quote = 0;
            }
        } else if byte == b'>' {
            return Some(opening + offset + 1);
        } else if byte == b'"' || byte == b'\'' {
            quote = byte;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "<?xml version='1.0'?><stream:stream to='a>b'> <a/><b x=\"'/>'\"><c/>text<c><d></d></c></b>\n</stream:stream>";
    const PIECES: [&str; 4] =
        ["H<stream:stream to='a>b'>", "S<a/>", "S<b x=\"'/>'\"><c/>text<c><d></d></c></b>", "E"];

    fn pieces(splitter: &mut Splitter) -> Vec<String> {
        let mut found = Vec::new();
        while let Some(piece) = splitter.next_piece() {
            found.push(match piece {
                Piece::Header(bytes) => format!("H{}", String::from_utf8_lossy(bytes)),
                Piece::Stanza(bytes) => format!("S{}", String::from_utf8_lossy(bytes)),
                Piece::Close => "E".to_owned(),
            });
        }
        found
    }

    #[test]
    fn a_stream_is_cut_into_header_stanzas_and_end() {
        let mut splitter = Splitter::new();
        splitter.push(STREAM.as_bytes());
        assert_eq!(pieces(&mut splitter), PIECES);
    }

    #[test]
    fn chunking_does_not_change_the_pieces() {
        for size in 1..STREAM.len() {
            let mut splitter = Splitter::new();
            let mut found = Vec::new();
            for chunk in STREAM.as_bytes().chunks(size) {
                splitter.push(chunk);
                found.extend(pieces(&mut splitter));
            }
            assert_eq!(found, PIECES, "chunks of {size}");
        }
    }
}
