//! A small HTTP/1.1 client over a Unix socket: one request per connection, everything bounded.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::ClientError;

/// For an answer to begin: longer than the server takes to say that a command took too long.
const READ_DEADLINE: Duration = Duration::from_secs(620);
const WRITE_DEADLINE: Duration = Duration::from_secs(30);
const MAX_HEAD: u64 = 64 * 1024;
const MAX_BODY: u64 = 256 * 1024 * 1024;

/// An answer whose body is still to be read.
pub(super) struct Answer {
    pub status: u16,
    body: Body,
}

/// How the end of a body is known.
enum Body {
    Length(Counted),
    Chunked(Chunks),
}

/// A body of a known length.
struct Counted {
    from: BufReader<UnixStream>,
    left: u64,
}

/// The data of a chunked body (RFC 9112 section 7.1).
struct Chunks {
    from: BufReader<UnixStream>,
    left: u64,
    ended: bool,
}

/// Sends one request; the body is JSON where there is one.
pub(super) fn send(
    socket: &Path,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Result<Answer, ClientError> {
    let no_connection = |source| ClientError::NoConnection { path: socket.to_owned(), source };
    let mut stream = UnixStream::connect(socket).map_err(no_connection)?;
    let body = body.map(Value::to_string).unwrap_or_default();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    let exchange = || -> io::Result<Answer> {
        stream.set_read_timeout(Some(READ_DEADLINE))?;
        stream.set_write_timeout(Some(WRITE_DEADLINE))?;
        let written = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
        // A server that refuses a request answers before it has read all of it, and hangs up.
        match (read_head(BufReader::new(stream)), written) {
            (Err(_), Err(error)) => Err(error),
            (answer, _) => answer,
        }
    };
    exchange().map_err(no_connection)
}

impl Answer {
    /// The whole body as JSON.
    pub fn json(self) -> Result<Value, ClientError> {
        let mut text = Vec::new();
        let not_understood =
            |why: String| ClientError::Refused(format!("The answer of the server is not understood: {why}."));
        let bytes = self
            .reader()
            .take(MAX_BODY + 1)
            .read_to_end(&mut text)
            .map_err(|e| not_understood(e.to_string()))?;
        if bytes as u64 > MAX_BODY {
            return Err(not_understood("it is too long".to_owned()));
        }
        serde_json::from_slice(&text).map_err(|error| not_understood(error.to_string()))
    }

    /// The body as it comes, without a deadline: for the log, which may be silent for days.
    pub fn lines(self) -> io::Result<impl BufRead> {
        match &self.body {
            Body::Length(counted) => counted.from.get_ref().set_read_timeout(None)?,
            Body::Chunked(chunks) => chunks.from.get_ref().set_read_timeout(None)?,
        }
        Ok(BufReader::new(self.reader()))
    }

    fn reader(self) -> Box<dyn Read + Send> {
        match self.body {
            Body::Length(counted) => Box::new(counted),
            Body::Chunked(chunks) => Box::new(chunks),
        }
    }
}

impl Read for Counted {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        read_some(&mut self.from, &mut self.left, to)
    }
}

impl Read for Chunks {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !self.ended {
            self.left = self.next_length()?;
            self.ended = self.left == 0;
        }
        let bytes = read_some(&mut self.from, &mut self.left, to)?;
        if bytes > 0 && self.left == 0 {
            read_line(&mut self.from, MAX_HEAD)?;
        }
        Ok(bytes)
    }
}

impl Chunks {
    fn next_length(&mut self) -> io::Result<u64> {
        let line = read_line(&mut self.from, MAX_HEAD)?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        u64::from_str_radix(digits, 16).map_err(|_| malformed("a chunk without a length"))
    }
}

/// Reads what fits of the `left` bytes; an end before them is an error.
fn read_some(from: &mut impl Read, left: &mut u64, to: &mut [u8]) -> io::Result<usize> {
    let wanted = to.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
    let bytes = from.read(&mut to[..wanted])?;
    if bytes == 0 && wanted > 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    *left -= bytes as u64;
    Ok(bytes)
}

fn read_head(mut from: BufReader<UnixStream>) -> io::Result<Answer> {
    let status_line = read_line(&mut from, MAX_HEAD)?;
    let status = status_line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let status = status.ok_or_else(|| malformed("no HTTP status"))?;
    let (mut length, mut chunked, mut left) = (0, false, MAX_HEAD);
    loop {
        let line = read_line(&mut from, left)?;
        left = left.saturating_sub(line.len() as u64 + 2);
        let Some((name, value)) = line.split_once(':') else { break };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().map_err(|_| malformed("a wrong Content-Length"))?,
            "transfer-encoding" => chunked = value.eq_ignore_ascii_case("chunked"),
            _ => {}
        }
    }
    let body = match chunked {
        true => Body::Chunked(Chunks { from, left: 0, ended: false }),
        false => Body::Length(Counted { from, left: length }),
    };
    Ok(Answer { status, body })
}

fn read_line(from: &mut BufReader<UnixStream>, max: u64) -> io::Result<String> {
    let mut line = Vec::new();
    from.take(max).read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Err(malformed("an answer that breaks off or never ends"));
    }
    String::from_utf8(line)
        .map(|line| line.trim_end_matches('\r').to_owned())
        .map_err(|_| malformed("no UTF-8"))
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// A server that answers one request with these bytes.
    fn answering(bytes: &'static [u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = BufReader::new(stream.try_clone().unwrap());
            while read_line(&mut request, MAX_HEAD).is_ok_and(|line| !line.is_empty()) {}
            stream.write_all(bytes).unwrap();
        });
        (folder, path)
    }

    fn json(bytes: &'static [u8]) -> Result<Value, ClientError> {
        let (_folder, path) = answering(bytes);
        send(&path, "GET", "/", None)?.json()
    }

    #[test]
    fn bodies_with_a_length_and_in_chunks() {
        assert_eq!(json(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n17").unwrap(), 17);
        assert_eq!(
            json(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n1\r\n2;x=y\r\n73\r\n0\r\n\r\n")
                .unwrap(),
            173
        );
    }

    #[test]
    fn answers_that_are_not_http_are_refused() {
        let cases: [&[u8]; 5] = [
            b"",
            b"SSH-2.0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n1",
        ];
        for bytes in cases {
            assert!(json(bytes).is_err(), "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn a_socket_that_is_not_there_is_no_connection() {
        assert_eq!(
            send(Path::new("/nowhere"), "GET", "/", None).err().map(|error| error.exit_code()),
            Some(3)
        );
    }
}
