//! The record layer of a session whose handshake is complete (RFC 8446 section 5, RFC 5246 section 6).
//!
//! rustls shakes hands and then gives up its keys to this. It could go on by itself, but would keep a buffer of 4 KiB and
//! the state of two ciphers for each idle session; this keeps the keys, and of input only a record that is not whole yet.
//!
//! Promises: nothing is given out that was not authenticated; a record that RFC 8446 or RFC 5246 does not allow ends the
//! session with the alert that they ask for; keys are renewed before they are worn out (TLS 1.3) or the session ends (1.2).
//!
//! Deliberately not here: everything that a server need not do after the handshake. Renegotiation is refused, no client
//! certificate is asked for, and a KeyUpdate has to come in one piece, as every client sends it.

use rustls::{ExtractedSecrets, SupportedCipherSuite};

use super::TlsFault;
use super::keys::{Key, TAG_BYTES};
use super::secrets::{TrafficSecret, TrafficSecrets};

/// A record's header: type, version, length.
const HEADER_BYTES: usize = 5;
/// What one record may carry (RFC 8446 section 5.1).
const MAX_TEXT: usize = 1 << 14;
/// The nonce's half that TLS 1.2 sends along with AES-GCM.
const SENT_NONCE_BYTES: usize = 8;
/// Records that carry nothing for the stream, one after the other, before the peer is taken for an attacker.
const MAX_IDLE_RECORDS: u8 = 32;
/// How many records before the end of a key's life a new one is made.
const MARGIN: u64 = 16;

/// The type of a record (RFC 8446 section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind(pub(super) u8);

impl Kind {
    pub(super) const ALERT: Self = Self(21);
    pub(super) const HANDSHAKE: Self = Self(22);
    pub(super) const APPLICATION_DATA: Self = Self(23);
}

/// What is wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordFault {
    /// Longer than any record may be.
    #[error("it is longer than the standard allows")]
    Oversized,
    /// Not encrypted with the session's key, or changed on its way.
    #[error("it does not authenticate")]
    Forged,
    /// Of a type or with a message that has no place after the handshake.
    #[error("it has no place after the handshake")]
    Unexpected,
    /// A message that cannot be read.
    #[error("the message in it cannot be read")]
    Unreadable,
    /// More of them without any data than a client has reason to send.
    #[error("it is one of too many without data")]
    TooMany,
}

impl RecordFault {
    /// The alert's description (RFC 8446 section 6).
    fn alert(self) -> u8 {
        match self {
            Self::Oversized => 22,
            Self::Forged => 20,
            Self::Unexpected | Self::TooMany => 10,
            Self::Unreadable => 50,
        }
    }
}

const CLOSE_NOTIFY: u8 = 0;
const USER_CANCELED: u8 = 90;
const LEVEL_WARNING: u8 = 1;
const LEVEL_FATAL: u8 = 2;
/// KeyUpdate (RFC 8446 section 4.6.3), one byte long.
const KEY_UPDATE: [u8; 4] = [24, 0, 0, 1];

/// The two keys of a session and what is between them and the wire.
pub(super) struct Records {
    is_tls13: bool,
    write: Key,
    read: Key,
    /// Records that one key may encrypt.
    confidentiality_limit: u64,
    /// What the next keys are made of, in TLS 1.3.
    secrets: TrafficSecrets,
    /// The beginning of a record whose end has not come. Usually none.
    partial: Vec<u8>,
    /// Records in a row that carried nothing for the stream.
    idle_records: u8,
    owes_key_update: bool,
    is_closed: bool,
}

impl Records {
    /// Takes over from a handshake that is complete and has nothing left to send.
    pub(super) fn new(
        suite: SupportedCipherSuite,
        keys: ExtractedSecrets,
        secrets: TrafficSecrets,
    ) -> Result<Self, TlsFault> {
        let (is_tls13, confidentiality_limit) = match suite {
            SupportedCipherSuite::Tls12(suite) => (false, suite.common.confidentiality_limit),
            SupportedCipherSuite::Tls13(suite) => (true, suite.common.confidentiality_limit),
        };
        Ok(Self {
            is_tls13,
            write: Key::extracted(keys.tx).map_err(unusable)?,
            read: Key::extracted(keys.rx).map_err(unusable)?,
            confidentiality_limit,
            secrets,
            partial: Vec::new(),
            idle_records: 0,
            owes_key_update: false,
            is_closed: false,
        })
    }

    /// Whether the peer has said that nothing more will come.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Takes all of the ciphertext and appends what it decrypts to. What has to be answered goes to `output`, unless
    /// something is waiting there: a peer that does not read gets no more.
    pub(super) fn receive(
        &mut self,
        ciphertext: &[u8],
        plaintext: &mut Vec<u8>,
        output: &mut Vec<u8>,
    ) -> Result<(), TlsFault> {
        let received = self.receive_all(ciphertext, plaintext);
        match &received {
            Err(TlsFault::Record(fault)) => self.send_alert(LEVEL_FATAL, fault.alert(), output),
            Ok(()) if self.owes_key_update && output.is_empty() => return self.renew_write_key(output),
            _ => {}
        }
        received
    }

    /// Encrypts into as many records as it takes.
    pub(super) fn send(&mut self, mut text: &[u8], output: &mut Vec<u8>) -> Result<(), TlsFault> {
        if self.owes_key_update {
            self.renew_write_key(output)?;
        }
        while !text.is_empty() {
            let (record, rest) = text.split_at(text.len().min(MAX_TEXT));
            if self.write.number() >= self.confidentiality_limit.saturating_sub(MARGIN) {
                self.renew_write_key(output)?;
            }
            self.seal(Kind::APPLICATION_DATA, record, output)?;
            text = rest;
        }
        Ok(())
    }

    /// Says that nothing more will be sent.
    pub(super) fn send_close_notify(&mut self, output: &mut Vec<u8>) {
        self.send_alert(LEVEL_WARNING, CLOSE_NOTIFY, output);
    }

    fn receive_all(&mut self, mut rest: &[u8], plaintext: &mut Vec<u8>) -> Result<(), TlsFault> {
        while !rest.is_empty() && !self.is_closed {
            if self.partial.is_empty() {
                match whole_record(rest)? {
                    Some(length) => {
                        let (record, more) = rest.split_at(length);
                        self.open(record, plaintext)?;
                        rest = more;
                    }
                    None => {
                        self.partial = rest.to_vec();
                        return Ok(());
                    }
                }
            } else {
                rest = self.complete_partial(rest, plaintext)?;
            }
        }
        Ok(())
    }

    /// Adds to the beginning of a record what belongs to it; gives the rest.
    fn complete_partial<'a>(
        &mut self,
        input: &'a [u8],
        plaintext: &mut Vec<u8>,
    ) -> Result<&'a [u8], TlsFault> {
        let wanted = record_length(&self.partial)?.unwrap_or(HEADER_BYTES) - self.partial.len();
        let (taken, rest) = input.split_at(wanted.min(input.len()));
        self.partial.extend_from_slice(taken);
        if whole_record(&self.partial)?.is_some() {
            let record = std::mem::take(&mut self.partial);
            self.open(&record, plaintext)?;
        }
        Ok(rest)
    }

    /// Decrypts one record and does what it says.
    fn open(&mut self, record: &[u8], plaintext: &mut Vec<u8>) -> Result<(), TlsFault> {
        let begin = plaintext.len();
        let kind =
            if self.is_tls13 { self.open_13(record, plaintext)? } else { self.open_12(record, plaintext)? };
        if kind == Kind::APPLICATION_DATA && plaintext.len() > begin {
            self.idle_records = 0;
            return Ok(());
        }
        self.idle_records += 1;
        if self.idle_records > MAX_IDLE_RECORDS {
            return Err(RecordFault::TooMany.into());
        }
        // Small: these messages are a few bytes long, and what is longer is refused.
        let message = plaintext.split_off(begin);
        match kind {
            Kind::APPLICATION_DATA => Ok(()),
            Kind::ALERT => self.heed_alert(&message),
            Kind::HANDSHAKE => self.heed_handshake(&message),
            _ => Err(RecordFault::Unexpected.into()),
        }
    }

    fn open_13(&mut self, record: &[u8], plaintext: &mut Vec<u8>) -> Result<Kind, TlsFault> {
        let (header, sealed) = record.split_at(HEADER_BYTES);
        if header[0] != Kind::APPLICATION_DATA.0 {
            return Err(RecordFault::Unexpected.into());
        }
        let begin = plaintext.len();
        let length = sealed.len().checked_sub(TAG_BYTES).ok_or(RecordFault::Forged)?;
        plaintext.resize(begin + length, 0);
        let nonce = self.read.nonce();
        let opened = self.read.open(nonce, header, sealed, &mut plaintext[begin..]);
        if opened.is_err() {
            plaintext.truncate(begin);
            return Err(RecordFault::Forged.into());
        }
        // The type is the last byte that is not padding.
        let inner = &plaintext[begin..];
        let Some(end) = inner.iter().rposition(|byte| *byte != 0) else {
            return Err(RecordFault::Unexpected.into());
        };
        let kind = Kind(inner[end]);
        plaintext.truncate(begin + end);
        if end > MAX_TEXT {
            return Err(RecordFault::Oversized.into());
        }
        Ok(kind)
    }

    fn open_12(&mut self, record: &[u8], plaintext: &mut Vec<u8>) -> Result<Kind, TlsFault> {
        let (header, sealed) = record.split_at(HEADER_BYTES);
        let kind = Kind(header[0]);
        let (nonce, sealed) = match sealed.split_first_chunk::<SENT_NONCE_BYTES>() {
            Some((sent, sealed)) if self.read.sends_nonce() => (self.read.nonce_received(*sent), sealed),
            _ => (self.read.nonce(), sealed),
        };
        let begin = plaintext.len();
        let length = sealed.len().checked_sub(TAG_BYTES).ok_or(RecordFault::Forged)?;
        if length > MAX_TEXT {
            return Err(RecordFault::Oversized.into());
        }
        let aad = aad_12(self.read.number(), kind, length);
        plaintext.resize(begin + length, 0);
        if self.read.open(nonce, &aad, sealed, &mut plaintext[begin..]).is_err() {
            plaintext.truncate(begin);
            return Err(RecordFault::Forged.into());
        }
        Ok(kind)
    }

    fn heed_alert(&mut self, message: &[u8]) -> Result<(), TlsFault> {
        let &[level, description] = message else { return Err(RecordFault::Unreadable.into()) };
        match description {
            CLOSE_NOTIFY => {
                self.is_closed = true;
                Ok(())
            }
            // In TLS 1.3 the level says nothing any more, and everything else is fatal (RFC 8446 section 6).
            USER_CANCELED => Ok(()),
            _ if level == LEVEL_WARNING && !self.is_tls13 => Ok(()),
            _ => Err(rustls::Error::AlertReceived(description.into()).into()),
        }
    }

    fn heed_handshake(&mut self, message: &[u8]) -> Result<(), TlsFault> {
        let Some(&[asked]) = message.strip_prefix(&KEY_UPDATE).filter(|_| self.is_tls13) else {
            // A ClientHello in TLS 1.2 asks for renegotiation, which is refused for good.
            return Err(RecordFault::Unexpected.into());
        };
        if asked > 1 {
            return Err(RecordFault::Unreadable.into());
        }
        self.read = renewed(&self.read, &mut self.secrets.client)?;
        // Several requests before the answer get one (RFC 8446 section 4.6.3).
        self.owes_key_update |= asked == 1;
        Ok(())
    }

    /// Tells the peer that the next record is under the next key.
    fn renew_write_key(&mut self, output: &mut Vec<u8>) -> Result<(), TlsFault> {
        self.owes_key_update = false;
        if !self.is_tls13 {
            return Err(rustls::Error::EncryptError.into());
        }
        let [kind, length @ ..] = KEY_UPDATE;
        self.seal(Kind::HANDSHAKE, &[kind, length[0], length[1], length[2], 0], output)?;
        self.write = renewed(&self.write, &mut self.secrets.server)?;
        Ok(())
    }

    /// An alert that cannot be sealed is not sent: the session has ended in any case.
    fn send_alert(&mut self, level: u8, description: u8, output: &mut Vec<u8>) {
        let _ = self.seal(Kind::ALERT, &[level, description], output);
    }

    pub(super) fn seal(&mut self, kind: Kind, text: &[u8], output: &mut Vec<u8>) -> Result<(), TlsFault> {
        if self.write.number() >= self.confidentiality_limit {
            return Err(rustls::Error::EncryptError.into());
        }
        if self.is_tls13 { self.seal_13(kind, text, output) } else { self.seal_12(kind, text, output) }
    }

    fn seal_13(&mut self, kind: Kind, text: &[u8], output: &mut Vec<u8>) -> Result<(), TlsFault> {
        let length = text.len() + 1 + TAG_BYTES;
        let header = header(Kind::APPLICATION_DATA, length);
        output.reserve(HEADER_BYTES + length);
        output.extend_from_slice(&header);
        let begin = output.len();
        output.extend_from_slice(text);
        output.push(kind.0);
        let tag = self.write.seal(&header, &mut output[begin..]).map_err(|_| rustls::Error::EncryptError)?;
        output.extend_from_slice(&tag);
        Ok(())
    }

    fn seal_12(&mut self, kind: Kind, text: &[u8], output: &mut Vec<u8>) -> Result<(), TlsFault> {
        let nonce = self.write.nonce();
        let sent: &[u8] = if self.write.sends_nonce() { &nonce[4..] } else { &[] };
        let length = sent.len() + text.len() + TAG_BYTES;
        output.reserve(HEADER_BYTES + length);
        output.extend_from_slice(&header(kind, length));
        output.extend_from_slice(sent);
        let begin = output.len();
        output.extend_from_slice(text);
        let aad = aad_12(self.write.number(), kind, text.len());
        let tag = self.write.seal(&aad, &mut output[begin..]).map_err(|_| rustls::Error::EncryptError)?;
        output.extend_from_slice(&tag);
        Ok(())
    }
}

#[cfg(test)]
impl Records {
    /// The next record needs another key.
    pub(super) fn wear_out_for_tests(&mut self) {
        self.confidentiality_limit = self.write.number() + MARGIN;
    }

    /// As if a KeyUpdate had just been sent.
    pub(super) fn renew_for_tests(&mut self) {
        self.write = renewed(&self.write, &mut self.secrets.server).expect("a secret");
    }
}

/// The next key of a direction, whose secret goes on by one step.
fn renewed(key: &Key, secret: &mut Option<TrafficSecret>) -> Result<Key, TlsFault> {
    let next = secret.as_ref().and_then(|secret| secret.next().ok());
    let next = next.ok_or_else(|| rustls::Error::General("there is no secret for a new key".into()))?;
    let key = key.successor(&next).map_err(unusable)?;
    *secret = Some(next);
    Ok(key)
}

fn unusable(_: aws_lc_rs::error::Unspecified) -> TlsFault {
    rustls::Error::General("a key of the negotiated suite cannot be used".into()).into()
}

/// The version in it is that of TLS 1.2, for TLS 1.3 as well (RFC 8446 section 5.1).
fn header(kind: Kind, length: usize) -> [u8; HEADER_BYTES] {
    let [high, low] = u16::try_from(length).expect("a record is cut to what fits").to_be_bytes();
    [kind.0, 3, 3, high, low]
}

/// What TLS 1.2 authenticates beside the text (RFC 5246 section 6.2.3.3).
fn aad_12(number: u64, kind: Kind, length: usize) -> [u8; 13] {
    let mut aad = [0; 13];
    aad[..8].copy_from_slice(&number.to_be_bytes());
    aad[8..].copy_from_slice(&header(kind, length));
    aad
}

/// Whether a record of TLS may begin with this byte.
pub(super) fn is_kind(byte: u8) -> bool {
    matches!(byte, 20..=23)
}

/// The record's whole length, once its header is there.
fn record_length(input: &[u8]) -> Result<Option<usize>, TlsFault> {
    let Some(&[_, _, _, high, low]) = input.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    // Type, padding and tag, or nonce and tag: 256 bytes are what RFC 8446 section 5.2 allows beyond the text.
    if length > MAX_TEXT + 256 {
        return Err(RecordFault::Oversized.into());
    }
    Ok(Some(HEADER_BYTES + length))
}

/// The same if all of the record is there.
pub(super) fn whole_record(input: &[u8]) -> Result<Option<usize>, TlsFault> {
    Ok(record_length(input)?.filter(|length| *length <= input.len()))
}
