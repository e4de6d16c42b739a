//! A webhook's receiver: a real server over TCP that answers, refuses, hangs or hangs up, as it is told.

use std::collections::BTreeMap;
use std::sync::Arc;

use consumer::outbox::signature::signature;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

pub const SECRET: &[u8] = b"a secret of the tests";

/// What is done with a request after it was read whole.
#[derive(Clone, Copy, Debug)]
pub enum Deed {
    /// Answers with this status.
    Answer(u16),
    /// Answers so, and asks for so many seconds.
    Ask(u16, u32),
    /// Never answers.
    Hang,
    /// Closes the connection.
    Die,
}

/// A request that was signed right.
#[derive(Clone, Debug)]
pub struct Got {
    pub message_id: String,
    pub event: Value,
    /// What was answered; 0: nothing.
    pub status: u16,
}

type Script = dyn Fn(&Got, usize) -> Deed + Send + Sync;

/// All clones are one; it ends with the last.
#[derive(Clone)]
pub struct Receiver {
    address: String,
    got: Arc<Mutex<Vec<Got>>>,
    script: Arc<Mutex<Arc<Script>>>,
    server: Arc<Mutex<JoinSet<()>>>,
}

impl Receiver {
    /// Says 200 to everything.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let receiver = Self {
            address: listener.local_addr().expect("bound").to_string(),
            got: Arc::default(),
            script: Arc::new(Mutex::new(Arc::new(|_: &Got, _| Deed::Answer(200)))),
            server: Arc::default(),
        };
        receiver.serve(listener);
        receiver
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook?token=T0KEN", self.address)
    }

    /// From now on: what is done with a request that comes for the n-th time, from 0.
    pub fn does(&self, script: impl Fn(&Got, usize) -> Deed + Send + Sync + 'static) {
        *self.script.lock() = Arc::new(script);
    }

    /// Nobody listens any more, and every connection is closed.
    pub async fn die(&self) {
        let mut server = std::mem::take(&mut *self.server.lock());
        server.shutdown().await;
    }

    /// Listens again, where it did.
    pub async fn live(&self) {
        self.serve(TcpListener::bind(&self.address).await.expect("its port is free"));
    }

    /// All requests in the order in which they came.
    pub fn got(&self) -> Vec<Got> {
        self.got.lock().clone()
    }

    /// How often each event's id was acknowledged.
    pub fn acknowledged(&self) -> BTreeMap<String, usize> {
        let mut count = BTreeMap::new();
        for got in self.got.lock().iter().filter(|got| (200..300).contains(&got.status)) {
            *count.entry(got.id()).or_default() += 1;
        }
        count
    }

    fn serve(&self, listener: TcpListener) {
        let (got, script) = (Arc::clone(&self.got), Arc::clone(&self.script));
        self.server.lock().spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(connection(stream, Arc::clone(&got), Arc::clone(&script)));
            }
        });
    }
}

impl Got {
    /// The event's id.
    pub fn id(&self) -> String {
        self.event["id"].as_str().expect("an id").to_owned()
    }
}

async fn connection(stream: TcpStream, got: Arc<Mutex<Vec<Got>>>, script: Arc<Mutex<Arc<Script>>>) {
    let (from, mut to) = stream.into_split();
    let mut from = BufReader::new(from);
    while let Some((headers, body)) = request(&mut from).await {
        let header = |name: &str| headers.get(name).cloned().unwrap_or_default();
        let (id, seconds) = (header("webhook-id"), header("webhook-timestamp"));
        let expected = signature(&[SECRET.to_vec()], &id, seconds.parse().expect("seconds"), &body);
        assert_eq!(header("webhook-signature"), expected);
        assert!(header("content-type").starts_with("application/cloudevents+json"));
        let event = serde_json::from_slice(&body).expect("JSON");
        let mut one = Got { message_id: id, event, status: 0 };
        let script = Arc::clone(&script.lock());
        let index = {
            let mut got = got.lock();
            let nth = got.iter().filter(|other| other.message_id == one.message_id).count();
            let deed = script(&one, nth);
            if let Deed::Answer(status) | Deed::Ask(status, _) = deed {
                one.status = status;
            }
            got.push(one);
            deed
        };
        let answer = match index {
            Deed::Answer(status) => format!("HTTP/1.1 {status} x\r\nContent-Length: 2\r\n\r\nok"),
            Deed::Ask(status, seconds) => {
                format!(
                    "HTTP/1.1 {status} x\r\nRetry-After: {seconds}\r\nContent-Length: 0\r\n\r\n"
                )
            }
            Deed::Hang => std::future::pending().await,
            Deed::Die => return,
        };
        if to.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn request(
    from: &mut BufReader<tokio::net::tcp::OwnedReadHalf>,
) -> Option<(BTreeMap<String, String>, Vec<u8>)> {
    let mut headers = BTreeMap::new();
    let mut first = None;
    loop {
        let mut line = String::new();
        if from.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        if first.is_none() {
            assert_eq!(line, "POST /hook?token=T0KEN HTTP/1.1");
            first = Some(());
        } else if line.is_empty() {
            break;
        } else {
            let (name, value) = line.split_once(':').expect("a header");
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    let length: usize = headers.get("content-length")?.parse().ok()?;
    let mut body = vec![0; length];
    from.read_exact(&mut body).await.ok()?;
    Some((headers, body))
}
