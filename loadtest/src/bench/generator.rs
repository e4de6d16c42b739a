//! The load generator: one thread, one epoll, any number of connections with a request at a time on
//! each. It shares the machine's cores with what it measures, so it does as little as it can.
//!
//! Closed: a connection sends again as soon as it is answered. Open: requests have intended send
//! times at a constant rate, whatever the server does, and latency counts from those; a request
//! that finds every connection busy waits, and its waiting counts (no coordinated omission).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use hdrhistogram::Histogram;
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::time::Timespec;

use super::template::Template;
use super::wire::{Progress, Wire};

/// Events taken from the kernel at one time.
const EVENTS_MAX: usize = 256;
/// A server that answers nothing for so long has failed.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// Beyond it a latency counts as this much, in nanoseconds.
const LATENCY_NS_MAX: u64 = 60_000_000_000;
/// Decimal digits of a latency.
const DIGITS: u8 = 3;
/// How often an open load looks whether requests are due: a tenth of a millisecond is lost at most.
const TICK: Duration = Duration::from_micros(100);

/// When requests are sent.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// Whenever a connection is free.
    Closed,
    /// At a constant rate.
    Open {
        /// Requests a second.
        per_s: f64,
    },
}

/// What a run saw.
#[derive(Debug)]
pub struct Ran {
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// Nanoseconds from the intended send time to the answer's last byte.
    pub latency_ns: Histogram<u64>,
}

/// An empty histogram of nanoseconds: one that grows by itself would clamp what it has no room for.
pub fn latencies() -> anyhow::Result<Histogram<u64>> {
    Histogram::new_with_max(LATENCY_NS_MAX, DIGITS).context("a histogram's bounds")
}

/// Open connections to one server.
#[derive(Debug)]
pub struct Generator {
    wires: Vec<Wire>,
    epoll: OwnedFd,
    next: u64,
}

impl Generator {
    /// Opens the connections, which take turns with the templates, and sends one request over each,
    /// so that what a connection costs once is not in the figures. Events are numbered from `first`.
    pub fn open(
        address: SocketAddr,
        connections: u32,
        templates: &[Template],
        first: u64,
    ) -> anyhow::Result<Self> {
        let templates = templates.iter().cycle().take(connections as usize);
        let wires = templates.map(|template| Wire::open(address, template.clone()));
        let wires = wires.collect::<anyhow::Result<Vec<_>>>()?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).context("epoll")?;
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        for (wire, index) in wires.iter().zip(0..) {
            epoll::add(&epoll, wire.stream(), epoll::EventData::new_u64(index), flags)
                .context("epoll")?;
        }
        let mut generator = Self { wires, epoll, next: first };
        generator.run(u64::from(connections), Pace::Closed)?;
        Ok(generator)
    }

    /// Sends so many requests; every answer has to be 202.
    pub fn run(&mut self, requests: u64, pace: Pace) -> anyhow::Result<Ran> {
        let mut latency_ns = latencies()?;
        let mut idle: VecDeque<usize> = (0..self.wires.len()).collect();
        let mut intended = vec![Instant::now(); self.wires.len()];
        let mut events = Vec::with_capacity(EVENTS_MAX);
        let (mut begun, mut answered) = (0, 0);
        let started = Instant::now();
        let mut heard = started;
        while answered < requests {
            let now = Instant::now();
            let due = pace.due(now - started).min(requests);
            while begun < due
                && let Some(index) = idle.pop_front()
            {
                intended[index] = pace.intended(begun, started).unwrap_or(now);
                self.next = self.wires[index].send(self.next)?;
                begun += 1;
            }
            // With every connection busy, or nothing left to send, only an answer is worth waking for.
            let wait = if begun == requests || idle.is_empty() {
                SILENCE_MAX
            } else {
                pace.wait(begun, started).min(SILENCE_MAX)
            };
            epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timespec(wait)))
                .context("epoll")?;
            for event in events.drain(..) {
                let index = event.data.u64() as usize;
                let progress = self.wires[index].advance()?;
                ensure!(progress != Progress::Closed, "the server closed a connection");
                if let Progress::Answered { status, .. } = progress {
                    ensure!(status == 202, "not a 202: {status}");
                    heard = Instant::now();
                    let took = heard.saturating_duration_since(intended[index]);
                    latency_ns.saturating_record(took.as_nanos() as u64);
                    idle.push_back(index);
                    answered += 1;
                }
            }
            let open = begun - answered;
            ensure!(
                open == 0 || heard.elapsed() < SILENCE_MAX,
                "no answer in {SILENCE_MAX:?}; {open} requests are open"
            );
        }
        Ok(Ran { elapsed: started.elapsed(), latency_ns })
    }

    /// The number of the next event.
    pub const fn next(&self) -> u64 {
        self.next
    }
}

impl Pace {
    /// How many requests should have been sent by now.
    fn due(self, elapsed: Duration) -> u64 {
        match self {
            Self::Closed => u64::MAX,
            Self::Open { per_s } => (elapsed.as_secs_f64() * per_s) as u64 + 1,
        }
    }

    /// When the `number`-th request should be sent, where that is not "now".
    fn intended(self, number: u64, started: Instant) -> Option<Instant> {
        match self {
            Self::Closed => None,
            Self::Open { per_s } => Some(started + Duration::from_secs_f64(number as f64 / per_s)),
        }
    }

    /// How long until the `number`-th request is due, at least [`TICK`].
    fn wait(self, number: u64, started: Instant) -> Duration {
        let due = self.intended(number, started);
        due.map_or(SILENCE_MAX, |due| due.saturating_duration_since(Instant::now())).max(TICK)
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: i64::from(duration.subsec_nanos()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bare;
    use crate::bench::template::NUMBER;

    fn template() -> Template {
        Template::events("k.s", "application/json", NUMBER.as_bytes())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_load_is_answered_whole() -> anyhow::Result<()> {
        let address = bare::start(([127, 0, 0, 1], 0).into(), 1, bare::Protocols::Http1)?;
        tokio::task::spawn_blocking(move || {
            let mut generator = Generator::open(address, 8, &[template()], 0)?;
            let ran = generator.run(1_000, Pace::Closed)?;
            assert_eq!((ran.latency_ns.len(), generator.next()), (1_000, 1_008));
            let ran = generator.run(200, Pace::Open { per_s: 2_000.0 })?;
            assert!(ran.elapsed >= Duration::from_millis(99), "{:?}", ran.elapsed);
            assert_eq!(ran.latency_ns.len(), 200);
            Ok(())
        })
        .await?
    }

    /// A server that stands still for a while, with one connection: whatever should have been sent
    /// meanwhile has waited.
    #[test]
    fn what_waits_for_a_connection_counts() -> anyhow::Result<()> {
        use std::io::{Read, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let (_nobody_says, stand_still) = std::sync::mpsc::channel::<()>();
        let server = std::thread::spawn(move || -> std::io::Result<()> {
            let (mut stream, _) = listener.accept()?;
            let mut request = vec![0; template().bytes().len()];
            for number in 0..21 {
                stream.read_exact(&mut request)?;
                if number == 1 {
                    let _ = stand_still.recv_timeout(Duration::from_millis(200));
                }
                stream.write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")?;
            }
            Ok(())
        });
        let mut generator = Generator::open(address, 1, &[template()], 0)?;
        let ran = generator.run(20, Pace::Open { per_s: 100.0 })?;
        server.join().expect("no panic")?;
        let median = ran.latency_ns.value_at_quantile(0.5);
        assert!(median > 20_000_000, "half of the requests waited: {median} ns");
        Ok(())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_slow_load_is_sent_on_time() -> anyhow::Result<()> {
        let address = bare::start(([127, 0, 0, 1], 0).into(), 1, bare::Protocols::Http1)?;
        tokio::task::spawn_blocking(move || {
            let mut generator = Generator::open(address, 4, &[template()], 0)?;
            let ran = generator.run(100, Pace::Open { per_s: 200.0 })?;
            assert!(ran.elapsed < SILENCE_MAX, "{:?}", ran.elapsed);
            let median = ran.latency_ns.value_at_quantile(0.5);
            assert!(median < 100_000_000, "half of the requests were sent late: {median} ns");
            Ok(())
        })
        .await?
    }

    #[test]
    fn a_latency_keeps_its_value() -> anyhow::Result<()> {
        let mut latencies = latencies()?;
        latencies.saturating_record(5_000_000);
        assert!(latencies.value_at_quantile(0.99).abs_diff(5_000_000) < 10_000);
        Ok(())
    }
}
