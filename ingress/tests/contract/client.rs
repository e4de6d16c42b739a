//! A client that sends exactly the bytes it is told to, and reads one answer after the other.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::fixture::{Fixture, KEY};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// A request to be sent.
#[derive(Clone, Debug)]
pub struct Post {
    pub method: &'static str,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Post {
    /// JSON to `/v1/events` with acme's key.
    pub fn json(body: impl AsRef<[u8]>) -> Self {
        let post = Self {
            method: "POST",
            path: "/v1/events".to_owned(),
            headers: Vec::new(),
            body: body.as_ref().to_vec(),
        };
        post.header("authorization", KEY).header("content-type", "application/json")
    }

    /// JSON to the source `github`, signed.
    pub fn webhook(event: &str, delivery: &str, body: &str) -> Self {
        let mut post = Self::json(body).without("authorization");
        post.path = "/v1/sources/github".to_owned();
        post.header("x-github-event", event)
            .header("x-github-delivery", delivery)
            .header("x-hub-signature-256", &crate::fixture::signature(body.as_bytes()))
    }

    /// With this header, in the place of one of that name.
    pub fn header(self, name: &str, value: &str) -> Self {
        let mut post = self.without(name);
        post.headers.push((name.to_owned(), value.to_owned()));
        post
    }

    /// Without this header.
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(found, _)| found != name);
        self
    }

    /// To another path.
    pub fn to(self, path: &str) -> Self {
        Self { path: path.to_owned(), ..self }
    }

    /// The bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nhost: test\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("content-length: {}\r\n\r\n", self.body.len()));
        [head.as_bytes(), &self.body].concat()
    }

    /// Sends it on a connection of its own.
    pub async fn send(&self, to: &Fixture) -> Answer {
        let mut connection = Connection::open(to.address).await;
        connection.write(&self.bytes()).await;
        connection.answer().await.expect("an answer")
    }
}

impl Answer {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }

    /// A problem document with this status and code; what it says.
    pub fn problem(&self, status: u16, code: &str) -> Value {
        let problem = self.json();
        assert_eq!((self.status, problem["code"].as_str()), (status, Some(code)), "{problem}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        assert_eq!(problem["type"], format!("/problems/{code}"));
        assert_eq!(problem["status"], status);
        assert!(problem["title"].as_str().is_some_and(|title| !title.is_empty()));
        let retryable = matches!(status, 408 | 429 | 503 | 504);
        assert_eq!(problem["retryable"], retryable);
        let wait = self.header("retry-after").map(|seconds| seconds.parse::<u32>());
        assert_eq!(wait.is_some_and(|seconds| seconds.expect("whole seconds") >= 1), retryable);
        problem
    }
}

/// One connection.
pub struct Connection(BufReader<TcpStream>);

impl Connection {
    pub async fn open(address: SocketAddr) -> Self {
        Self(BufReader::new(TcpStream::connect(address).await.expect("connects")))
    }

    pub async fn write(&mut self, bytes: &[u8]) {
        // A server may answer and close before it has read everything.
        let _ = self.0.get_mut().write_all(bytes).await;
    }

    /// Says that nothing more will come.
    pub async fn close_sending(&mut self) {
        self.0.get_mut().shutdown().await.expect("half of it is closed");
    }

    /// The next answer; `None` where the server has closed.
    pub async fn answer(&mut self) -> Option<Answer> {
        timeout(PATIENCE, self.read()).await.expect("an answer in time")
    }

    async fn read(&mut self) -> Option<Answer> {
        let status: u16 = self.line().await?.split(' ').nth(1)?.parse().ok()?;
        let mut headers = Vec::new();
        loop {
            let line = self.line().await?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length = length.filter(|_| status != 304);
        let mut body = vec![0; length.map_or(0, |(_, value)| value.parse().expect("a length"))];
        self.0.read_exact(&mut body).await.ok()?;
        Some(Answer { status, headers, body })
    }

    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.0.read_line(&mut line).await {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(line.trim_end().to_owned()),
        }
    }
}
