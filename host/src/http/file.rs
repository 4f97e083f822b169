//! A file as the body of an answer, read piece by piece while the client takes it: however long it is, little of it is in
//! memory.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use tokio::fs::File;
use tokio::io::{AsyncRead, ReadBuf};

/// What is read at once.
const PIECE: usize = 64 * 1024;

/// The file with its length; a folder is none.
pub(super) async fn response(path: &Path) -> io::Result<Response> {
    let file = File::open(path).await?;
    let metadata = file.metadata().await?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
    }
    let left = metadata.len();
    let mut response = Response::new(Body::new(FileBody { file, left }));
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(left));
    Ok(response)
}

struct FileBody {
    file: File,
    /// What the client was promised and has not got.
    left: u64,
}

impl HttpBody for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let mut piece = vec![0; PIECE.min(usize::try_from(self.left).unwrap_or(PIECE))];
        let mut buffer = ReadBuf::new(&mut piece);
        ready!(Pin::new(&mut self.file).poll_read(cx, &mut buffer))?;
        let read = buffer.filled().len();
        if read == 0 {
            let error = io::Error::new(io::ErrorKind::UnexpectedEof, "the file has become shorter");
            return Poll::Ready(Some(Err(error)));
        }
        piece.truncate(read);
        self.left -= read as u64;
        Poll::Ready(Some(Ok(Frame::data(piece.into()))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
