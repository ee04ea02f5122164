//! A client that speaks HTTP byte by byte, for what no HTTP library would send.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::service::TestApp;

/// Nothing here takes this long, except on a machine that is very busy.
const PATIENCE: Duration = Duration::from_secs(40);

pub struct Raw {
    stream: TcpStream,
    /// Read, and not yet asked for.
    buffer: Vec<u8>,
    /// Bytes of a body that were read and dropped.
    taken: usize,
}

/// A response as it came.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Response {
    /// The code of a problem document, checked to be one.
    pub fn code(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem: Value = serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"));
        assert_eq!(problem["status"], self.status, "{problem}");
        problem["code"].as_str().expect("a code").to_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let line =
            self.head.lines().find_map(|line| line.split_once(": ").filter(|(key, _)| key.eq_ignore_ascii_case(name)));
        line.map(|(_, value)| value)
    }
}

impl Raw {
    pub async fn connect(app: &TestApp) -> Self {
        Self { stream: TcpStream::connect(address(app)).await.expect("connected"), buffer: Vec::new(), taken: 0 }
    }

    /// With a buffer in which little stays unread.
    pub async fn connect_narrow(app: &TestApp) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(64 << 10).expect("set");
        Self { stream: socket.connect(address(app)).await.expect("connected"), buffer: Vec::new(), taken: 0 }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.expect("sent");
    }

    /// Sends until told not to go on, or the other end has had enough.
    pub async fn trickle(&mut self, bytes: &[u8], pause: Duration) {
        for byte in bytes.chunks(1) {
            if self.stream.write_all(byte).await.is_err() {
                break;
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Sends as much as the other end takes.
    pub async fn try_send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// Reads this many bytes and drops them.
    pub async fn take(&mut self, bytes: usize) {
        while self.buffer.len() < bytes {
            assert!(self.fill().await, "it breaks off");
        }
        self.buffer.drain(..bytes);
        self.taken += bytes;
    }

    /// Reads a body of this many bytes to its end; how many came.
    pub async fn rest_of(&mut self, length: usize) -> usize {
        while self.taken + self.buffer.len() < length && self.fill().await {}
        self.taken + self.buffer.len()
    }

    /// A request without a body, and its response.
    pub async fn get(&mut self, path: &str) -> Response {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")).await;
        self.response().await
    }

    /// Reads the next response; its body has a content length.
    pub async fn response(&mut self) -> Response {
        let head = self.head().await;
        let length = head.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        while self.buffer.len() < length {
            assert!(self.fill().await, "the body breaks off: {head:?}");
        }
        Response { body: self.buffer.drain(..length).collect(), ..head }
    }

    /// Reads the head of the next response.
    pub async fn head(&mut self) -> Response {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(self.fill().await, "no response, but {:?}", String::from_utf8_lossy(&self.buffer));
        };
        let head = String::from_utf8(self.buffer.drain(..end).collect()).expect("text");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        Response { status, head, body: Vec::new() }
    }

    /// Reads until there is this text, which is taken with all before it.
    pub async fn until(&mut self, text: &str) {
        loop {
            if let Some(at) = self.buffer.windows(text.len()).position(|bytes| bytes == text.as_bytes()) {
                self.buffer.drain(..at + text.len());
                return;
            }
            assert!(self.fill().await, "no {text:?}, but {:?}", String::from_utf8_lossy(&self.buffer));
        }
    }

    /// Everything until the other end closes. That it does so by a reset is no difference.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.fill().await {}
        std::mem::take(&mut self.buffer)
    }

    /// True if the other end has not closed.
    pub async fn is_open(&mut self) -> bool {
        tokio::time::timeout(Duration::from_millis(100), self.fill_now()).await.unwrap_or(true)
    }

    async fn fill(&mut self) -> bool {
        tokio::time::timeout(PATIENCE, self.fill_now()).await.expect("it is closed, or more comes")
    }

    async fn fill_now(&mut self) -> bool {
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(read) => read > 0,
            Err(error) if [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe].contains(&error.kind()) => false,
            Err(error) => panic!("{error}"),
        }
    }
}

pub fn address(app: &TestApp) -> SocketAddr {
    app.url.strip_prefix("http://").and_then(|address| address.parse().ok()).expect("an address")
}
