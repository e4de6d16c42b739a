//! The one ingress of a fuzzing process, and a connection to it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown as Half, SocketAddr, TcpStream};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ingress::Ingress;
use shared::clock::Clock;
use shared::config::{Config, Purpose, Sources};
use shared::log::Log;
use shared::log::memory::MemoryLog;
use shared::metrics::Registry;
use shared::position::PartitionId;
use shared::{Process, Shutdown};
use tokio::signal::unix::{SignalKind, signal};

use crate::answers::{Answer, answers};
use crate::verdict::SCHEMAS;

/// The key that may post: its secret is `secret`.
pub const KEY: &str = "k1.secret";
/// The largest body as it is sent.
pub const BODY_BYTES_MAX: usize = 65_536;
/// How far a body may inflate.
pub const INFLATED_BYTES_MAX: usize = 262_144;
/// And how many times over.
pub const INFLATE_RATIO_MAX: usize = 100;
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(10);
/// What each partition keeps of its records.
const KEPT_BYTES_MIN: usize = 1 << 16;

const CONFIG: &str = r#"
backend = "kafka"
[ingress]
listen = "127.0.0.1:0"
threads = 1
body_bytes_max = 65536
inflated_bytes_max = 262144
event_bytes_max = 65536
[kafka]
brokers = "127.0.0.1:1"
[schemas]
unknown_type = "accept"
[[key]]
id = "k1"
tenant = "acme"
secret_sha256 = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"
"#;

/// A running ingress.
pub struct Server {
    address: SocketAddr,
    registry: Arc<Registry>,
    log: MemoryLog,
    partitions: Vec<PartitionId>,
}

/// The counters that have to balance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Books {
    /// Events that arrived.
    pub received: u64,
    /// Of them accepted.
    pub accepted: u64,
    /// Answered 504, or not at all.
    pub unknown: u64,
    /// All outcomes together.
    pub outcomes: u64,
    /// In the log.
    pub records: u64,
}

/// The process's one server; a panic in one of its threads ends the process.
pub fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let told = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            told(panic);
            std::process::abort();
        }));
        Server::start()
    })
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let mut text = CONFIG.to_owned();
        for (schema, number) in SCHEMAS.iter().zip(0..) {
            let file = folder.path().join(format!("{number}.json"));
            std::fs::write(&file, schema).expect("written");
            text += &format!("[[schema]]\ntype = \"t{number}\"\nfile = {file:?}\n");
        }
        let file = folder.path().join("shock.toml");
        std::fs::write(&file, text).expect("written");
        let sources = Sources { files: vec![file], ..Sources::default() };
        let config = Config::load(&sources, Purpose::Ingress).expect("a valid configuration");
        let partitions: Vec<PartitionId> = config.router.ids().collect();
        let log = MemoryLog::keeping(partitions.iter().copied(), KEPT_BYTES_MIN);
        let process = Process::alone(Clock::System);
        let registry = Arc::clone(&process.registry);
        let ingress =
            Ingress::bind(&config.ingress, config.router, Log::Memory(log.clone()), &process);
        let ingress = ingress.expect("binds");
        let address = ingress.local_addr();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime");
            runtime.block_on(async {
                // Rust's own main ignores it, libFuzzer's does not: a write to a sender that has
                // gone would end the process.
                let _handled = signal(SignalKind::pipe()).expect("a signal can be handled");
                ingress.serve(Shutdown::new()).await.expect("serves until the end");
            });
        });
        Self { address, registry, log, partitions }
    }

    /// Sends `bytes` on a connection of its own, waits for the final answers that are `owed` (whether
    /// each is to a HEAD) or the server's end of the connection, then ends our side and reads on to
    /// the server's.
    pub fn exchange(&self, bytes: &[u8], owed: &[bool]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        // A server may answer and close before it has read everything.
        let _ = stream.write_all(bytes);
        let (mut read, mut ended, mut buffer) = (Vec::new(), false, [0; 16 * 1024]);
        loop {
            if !ended && (owed.is_empty() || answers(&read, owed).len() >= owed.len()) {
                ended = true;
                let _ = stream.shutdown(Half::Write);
            }
            match stream.read(&mut buffer) {
                Ok(0) => return read,
                Ok(length) => read.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let came = answers(&read, owed);
                    panic!("{} answers are owed, and these came: {came:?}", owed.len())
                }
                // libFuzzer's alarm: a read with a time-out is never restarted (signal(7)).
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return read,
            }
        }
    }

    /// Posts a body to `/v1/events`, rehearsed only; the answer.
    pub fn rehearse(&self, fields: &str, body: &[u8]) -> Answer {
        let head = format!(
            "POST /v1/events?dryRun=true HTTP/1.1\r\nhost: fuzz\r\nauthorization: Bearer {KEY}\r\n\
             content-type: application/json\r\n{fields}content-length: {}\r\n\r\n",
            body.len()
        );
        let read = self.exchange(&[head.as_bytes(), body].concat(), &[false]);
        let mut all = answers(&read, &[false]);
        assert_eq!(all.len(), 1, "one request, one answer: {all:?}");
        all.remove(0)
    }

    /// Waits until nothing is under way; the books then.
    pub fn settled_books(&self) -> Books {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = self.registry.text();
            let inflight = sum(&text, "shock_ingress_inflight_requests")
                + sum(&text, "shock_ingress_inflight_bytes");
            if inflight == 0 {
                return self.books(&text);
            }
            assert!(Instant::now() < deadline, "something stays in flight");
            std::thread::yield_now();
        }
    }

    fn books(&self, text: &str) -> Books {
        let outcomes = "shock_ingress_event_outcomes_total";
        let outcome = |name: &str| sum(text, &format!("{outcomes}{{outcome=\"{name}\"}}"));
        let end = |id: &PartitionId| self.log.range(*id).expect("a partition of the log").1.0;
        Books {
            received: sum(text, "shock_ingress_events_received_total"),
            accepted: outcome("accepted"),
            unknown: outcome("unknown"),
            outcomes: sum(text, outcomes),
            records: self.partitions.iter().map(end).sum::<i64>() as u64,
        }
    }
}

/// The sum of a metric's lines.
fn sum(text: &str, name: &str) -> u64 {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        rest.starts_with(['{', ' ']).then(|| rest.rsplit(' ').next()?.parse::<u64>().ok())?
    });
    values.sum()
}
