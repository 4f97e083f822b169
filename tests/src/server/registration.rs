//! Many accounts at once, over the control socket: one `moultctl` per account would take minutes.

use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use super::{PASSWORD, Server, builder};

/// Connections that register at the same time.
const CONNECTIONS: usize = 4;

impl Server {
    /// Registers accounts (`user` on the first vhost, or `user@vhost`), all with the same password.
    pub async fn register(&self, users: &[String]) {
        let mut workers = Vec::new();
        for share in users.chunks(users.len().div_ceil(CONNECTIONS).max(1)) {
            let requests: Vec<String> = share.iter().map(|user| self.registration(user)).collect();
            let socket = UnixStream::connect(self.folder().join(builder::CONTROL_SOCKET)).await;
            let socket = socket.expect("the control socket is open");
            workers.push(tokio::spawn(register_all(socket, requests)));
        }
        for worker in workers {
            worker.await.expect("the registration does not panic");
        }
    }

    fn registration(&self, user: &str) -> String {
        let (user, domain) = user.split_once('@').unwrap_or((user, self.default_domain()));
        let body = json!({ "args": [user, domain, PASSWORD] }).to_string();
        format!(
            "POST /v1/command/register HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }
}

/// One request after the other on one connection.
async fn register_all(socket: UnixStream, requests: Vec<String>) {
    let mut socket = BufReader::new(socket);
    for request in requests {
        socket.get_mut().write_all(request.as_bytes()).await.expect("the control socket reads");
        let (status, body) = answer(&mut socket).await;
        assert!(status.contains(" 200 "), "register was answered with {status} {body}");
    }
}

/// The status line and the body of one answer with a length.
async fn answer(socket: &mut BufReader<UnixStream>) -> (String, String) {
    let (mut status, mut length) = (String::new(), 0);
    socket.read_line(&mut status).await.expect("the control socket answers");
    loop {
        let mut line = String::new();
        socket.read_line(&mut line).await.expect("the control socket answers");
        match line.trim_end().to_ascii_lowercase().split_once(": ") {
            Some(("content-length", value)) => length = value.parse().expect("a length is a number"),
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    socket.read_exact(&mut body).await.expect("the body is as long as the header says");
    (status.trim_end().to_owned(), String::from_utf8_lossy(&body).into_owned())
}
