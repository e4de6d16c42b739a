//! Many open loops on one thread: each offer has connections and intended send times of its own, at a
//! rate that changes from part to part, whatever the server answers.
//!
//! Latency counts from the intended time. A refusal is an answer like any other; a connection that the
//! server closes is opened again.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use hdrhistogram::Histogram;
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::time::Timespec;

use crate::bench::generator::latencies;
use crate::bench::template::Template;
use crate::bench::wire::{Progress, Wire};

/// Events taken from the kernel at one time.
const EVENTS_MAX: usize = 256;
/// After the last part, what is still open has so long.
const GRACE: Duration = Duration::from_secs(15);
/// How often it looks at least, and at most.
const LOOK: (Duration, Duration) = (Duration::from_micros(200), Duration::from_millis(20));
/// A connection for so many events/s: at 20 ms an answer, half of them are busy.
const PER_S_A_CONNECTION: f64 = 12.0;
/// What no connection answered counts as this status.
pub const UNANSWERED: u16 = 0;

/// One open loop.
#[derive(Clone, Debug)]
pub struct Stream {
    /// Where it posts.
    pub address: SocketAddr,
    /// What it posts.
    pub template: Template,
    /// Requests/s in each part.
    pub per_s: Vec<f64>,
}

/// What one part of one stream came to.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Requests by status; [`UNANSWERED`] where the connection was closed instead.
    pub by_status: BTreeMap<u16, u64>,
    /// Of 202, in nanoseconds.
    pub admitted_ns: Histogram<u64>,
    /// Of 429 and 503.
    pub refused_ns: Histogram<u64>,
    /// How many were let in, by the second of the part in which they were due.
    pub admitted_by_s: BTreeMap<u64, u64>,
}

impl Tally {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            by_status: BTreeMap::new(),
            admitted_ns: latencies()?,
            refused_ns: latencies()?,
            admitted_by_s: BTreeMap::new(),
        })
    }

    /// An answer `took` after the intended time, which was `due` after the part's beginning.
    fn note(&mut self, status: u16, took: Duration, due: Duration) {
        *self.by_status.entry(status).or_default() += 1;
        match status {
            202 => {
                self.admitted_ns.saturating_record(took.as_nanos() as u64);
                *self.admitted_by_s.entry(due.as_secs()).or_default() += 1;
            }
            429 | 503 => self.refused_ns.saturating_record(took.as_nanos() as u64),
            _ => {}
        }
    }

    /// Requests that were sent.
    pub fn sent(&self) -> u64 {
        self.by_status.values().sum()
    }

    /// Those that were let in.
    pub fn admitted(&self) -> u64 {
        self.by_status.get(&202).copied().unwrap_or(0)
    }

    /// Those that were refused.
    pub fn refused(&self) -> u64 {
        [429, 503].iter().filter_map(|status| self.by_status.get(status)).sum()
    }

    /// Adds another one.
    pub fn add(&mut self, other: &Self) -> anyhow::Result<()> {
        for (status, count) in &other.by_status {
            *self.by_status.entry(*status).or_default() += count;
        }
        for (second, count) in &other.admitted_by_s {
            *self.admitted_by_s.entry(*second).or_default() += count;
        }
        self.admitted_ns.add(&other.admitted_ns).context("histograms of one kind")?;
        self.refused_ns.add(&other.refused_ns).context("histograms of one kind")
    }

    /// The sum of several.
    pub fn sum<'t>(tallies: impl Iterator<Item = &'t Self>) -> anyhow::Result<Self> {
        let mut sum = Self::new()?;
        tallies.into_iter().try_for_each(|tally| sum.add(tally))?;
        Ok(sum)
    }
}

/// Where a stream is.
#[derive(Debug)]
struct Cursor {
    part: usize,
    number: u64,
    /// So that streams of one rate do not all send at one moment.
    shift: f64,
    idle: VecDeque<usize>,
}

/// One connection: whose, and what it waits for.
#[derive(Debug)]
struct Seat {
    wire: Wire,
    stream: usize,
    /// The part and the intended time of the open request.
    open: Option<(usize, Instant)>,
}

/// All of it.
struct Run<'s> {
    streams: &'s [Stream],
    /// When each part begins, and the end.
    begins: Vec<Instant>,
    cursors: Vec<Cursor>,
    seats: Vec<Seat>,
    epoll: OwnedFd,
    next: u64,
    open: usize,
    tallies: Vec<Vec<Tally>>,
}

/// Plays the streams through parts of these lengths; what each came to, by stream and part. Blocks.
pub fn play(streams: &[Stream], parts: &[Duration]) -> anyhow::Result<Vec<Vec<Tally>>> {
    let mut run = Run::new(streams, parts)?;
    let end = *run.begins.last().expect("there is at least the end");
    let mut events = Vec::with_capacity(EVENTS_MAX);
    loop {
        let now = Instant::now();
        let wait = run.send_due(now)?;
        let more = run.cursors.iter().any(|cursor| cursor.part < parts.len());
        if (run.open == 0 && !more) || now > end + GRACE {
            return Ok(run.tallies);
        }
        epoll::wait(&run.epoll, spare_capacity(&mut events), Some(&timespec(wait)))
            .context("epoll")?;
        for event in events.drain(..) {
            run.advance(event.data.u64() as usize)?;
        }
    }
}

impl<'s> Run<'s> {
    fn new(streams: &'s [Stream], parts: &[Duration]) -> anyhow::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).context("epoll")?;
        let (mut seats, mut cursors) = (Vec::new(), Vec::new());
        for (stream, index) in streams.iter().zip(0..) {
            let most_per_s = stream.per_s.iter().copied().fold(0.0, f64::max);
            let connections = (most_per_s / PER_S_A_CONNECTION).ceil() as usize + 1;
            let idle = (seats.len()..seats.len() + connections).collect();
            for _ in 0..connections {
                let wire = Wire::open(stream.address, stream.template.clone())?;
                seats.push(Seat { wire, stream: index, open: None });
            }
            let shift = index as f64 / streams.len() as f64;
            cursors.push(Cursor { part: 0, number: 0, shift, idle });
        }
        for (seat, index) in seats.iter().zip(0..) {
            watch(&epoll, &seat.wire, index)?;
        }
        let tallies = streams.iter().map(|_| parts.iter().map(|_| Tally::new()).collect());
        let tallies = tallies.collect::<anyhow::Result<_>>()?;
        let mut begins = vec![Instant::now()];
        for part in parts {
            begins.push(begins[begins.len() - 1] + *part);
        }
        Ok(Self { streams, begins, cursors, seats, epoll, next: 0, open: 0, tallies })
    }

    /// Sends what is due where a connection is free; how long until the next one is due.
    fn send_due(&mut self, now: Instant) -> anyhow::Result<Duration> {
        let mut wait = LOOK.1;
        for index in 0..self.streams.len() {
            while let Some((part, intended)) = self.next_of(index) {
                if intended > now {
                    wait = wait.min(intended - now);
                    break;
                }
                let Some(seat) = self.cursors[index].idle.pop_front() else { break };
                self.next = self.seats[seat].wire.send(self.next)?;
                self.seats[seat].open = Some((part, intended));
                self.cursors[index].number += 1;
                self.open += 1;
            }
        }
        Ok(wait.max(LOOK.0))
    }

    /// The part and the intended time of a stream's next request; none when it is through.
    fn next_of(&mut self, index: usize) -> Option<(usize, Instant)> {
        let cursor = &mut self.cursors[index];
        loop {
            let per_s = *self.streams[index].per_s.get(cursor.part)?;
            let after =
                Duration::from_secs_f64((cursor.number as f64 + cursor.shift) / per_s.max(1e-6));
            let intended = self.begins[cursor.part] + after;
            if intended < self.begins[cursor.part + 1] {
                return Some((cursor.part, intended));
            }
            (cursor.part, cursor.number) = (cursor.part + 1, 0);
        }
    }

    fn advance(&mut self, index: usize) -> anyhow::Result<()> {
        let seat = &mut self.seats[index];
        let progress = seat.wire.advance()?;
        let (status, closed) = match progress {
            Progress::Pending => return Ok(()),
            Progress::Answered { status, last } => (status, last),
            Progress::Closed => (UNANSWERED, true),
        };
        if closed {
            seat.wire.reopen(self.streams[seat.stream].address)?;
            watch(&self.epoll, &seat.wire, index as u64)?;
        }
        let Some((part, intended)) = seat.open.take() else { return Ok(()) };
        ensure!(
            matches!(status, UNANSWERED | 202 | 408 | 429 | 503 | 504),
            "a request that should be valid was answered {status}"
        );
        let due = intended - self.begins[part];
        self.tallies[seat.stream][part].note(status, intended.elapsed(), due);
        self.cursors[seat.stream].idle.push_back(index);
        self.open -= 1;
        Ok(())
    }
}

fn watch(epoll: &OwnedFd, wire: &Wire, index: u64) -> anyhow::Result<()> {
    let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
    epoll::add(epoll, wire.stream(), epoll::EventData::new_u64(index), flags).context("epoll")
}

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: i64::from(duration.subsec_nanos()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bare;
    use crate::bench::template::NUMBER;

    fn stream(address: SocketAddr, per_s: &[f64]) -> Stream {
        let template = Template::events("k.s", "application/json", NUMBER.as_bytes());
        Stream { address, template, per_s: per_s.to_vec() }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn every_part_has_its_rate() -> anyhow::Result<()> {
        let address = bare::start(([127, 0, 0, 1], 0).into(), 1, bare::Protocols::Http1)?;
        tokio::task::spawn_blocking(move || {
            let streams = [stream(address, &[100.0, 1_000.0]), stream(address, &[0.0, 50.0])];
            let parts = [Duration::from_millis(300), Duration::from_millis(200)];
            let tallies = play(&streams, &parts)?;
            let admitted = |stream: usize| [0, 1].map(|part| tallies[stream][part].admitted());
            assert_eq!((admitted(0), admitted(1)), ([30, 200], [0, 10]));
            assert_eq!(Tally::sum(tallies.iter().flatten())?.sent(), 240);
            Ok(())
        })
        .await?
    }

    /// A server that refuses and closes: the next request finds another connection.
    #[test]
    fn refusals_are_counted_and_connections_opened_again() -> anyhow::Result<()> {
        use std::io::{Read, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let one = stream(address, &[50.0]);
        let length = one.template.bytes().len();
        std::thread::spawn(move || -> std::io::Result<()> {
            for connection in listener.incoming() {
                let mut connection = connection?;
                std::thread::spawn(move || -> std::io::Result<()> {
                    connection.read_exact(&mut vec![0; length])?;
                    connection.write_all(
                        b"HTTP/1.1 503 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
                    )
                });
            }
            Ok(())
        });
        let tallies = play(&[one], &[Duration::from_millis(200)])?;
        assert_eq!((tallies[0][0].refused(), tallies[0][0].sent()), (10, 10));
        assert_eq!(tallies[0][0].refused_ns.len(), 10);
        Ok(())
    }
}
