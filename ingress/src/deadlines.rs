//! A connection's deadlines: one timer that closes it when a head takes too long, when nothing is
//! asked, when it is too old, and when all is to end; and that lets hyper go while it rests.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use shared::Shutdown;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::connection::OnThread;
use crate::guard::Guard;
use crate::pulse::Due;
use crate::serve::{Body, Connected};

/// A connection is closed between two requests when it is this old, so that load spreads over
/// threads and replicas; up to a tenth more, so that they do not all come back together.
const AGE_MAX: Duration = Duration::from_secs(300);
/// hyper's buffers of a connection (two of 8 KiB and what goes with them) are given back when nothing
/// is asked on it for so long: whoever asks again sooner does not pay for new ones.
const QUIET: Duration = Duration::from_secs(1);
/// A connection that was asked to end has so long, once it serves nothing.
const FAREWELL: Duration = Duration::from_secs(5);

/// Whether a thread's connections are to end.
#[derive(Debug, Default)]
pub(crate) struct Closing {
    begun: Cell<bool>,
    shutdown: Shutdown,
}

impl Closing {
    /// From now on.
    pub fn begin(&self) {
        self.begun.set(true);
        self.shutdown.cancel();
    }

    /// Resolves when it has begun.
    pub async fn told(&self) {
        self.shutdown.cancelled().await;
    }
}

/// When a connection that begins now is too old.
pub(crate) fn old_at() -> Instant {
    Instant::now() + AGE_MAX.mul_f64(rand::random_range(1.0..1.1))
}

/// Why a protocol is not driven any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The connection is over.
    Closed,
    /// Nothing is asked at the moment, and nothing is lost with the protocol's state.
    Resting,
}

/// Both of hyper's connections.
pub(crate) trait Protocol: Future<Output = hyper::Result<()>> {
    /// Whether it has no state between two requests.
    const RESTS: bool;

    /// To end when what has begun is answered.
    fn graceful_shutdown(self: Pin<&mut Self>);
}

impl<S> Protocol for http1::Connection<TokioIo<Guard>, S>
where
    S: hyper::service::HttpService<hyper::body::Incoming, ResBody = Body>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    const RESTS: bool = true;

    fn graceful_shutdown(self: Pin<&mut Self>) {
        http1::Connection::graceful_shutdown(self);
    }
}

impl<S> Protocol for http2::Connection<TokioIo<Guard>, S, OnThread>
where
    S: hyper::service::HttpService<hyper::body::Incoming, ResBody = Body>,
    S::Future: 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    const RESTS: bool = false;

    fn graceful_shutdown(self: Pin<&mut Self>) {
        http2::Connection::graceful_shutdown(self);
    }
}

/// The connection's one timer, and what it is set to.
struct Timer<'t> {
    sleep: Pin<&'t mut Sleep>,
    /// After how long it looks again whatever is going on.
    look: Duration,
    /// Whether the protocol can be let go while nothing is asked.
    rests: bool,
    /// It was asked to end.
    ending: bool,
}

/// Drives the protocol, closes it at its deadlines, and ends it when all is to end. After the first
/// poll neither timer nor shutdown is asked again unless something is due: both wake this task.
pub(crate) async fn until_ended<P: Protocol>(
    mut serving: Pin<&mut P>,
    connected: &Connected,
    closing: &Closing,
) -> hyper::Result<Ended> {
    let config = &connected.core.shared.config;
    let deadlines = config.head_timeout.min(config.edge.idle_timeout);
    let look = if P::RESTS { deadlines.min(QUIET) } else { deadlines };
    let sleep = pin!(sleep_until(connected.old.min(Instant::now() + look)));
    let mut told = pin!(closing.told());
    let mut timer = Timer { sleep, look, rests: P::RESTS, ending: false };
    let mut registered = false;
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(ended) = serving.as_mut().poll(cx) {
                return Poll::Ready(ended.map(|()| Ended::Closed));
            }
            if !registered {
                registered = true;
                let _ = told.as_mut().poll(cx);
                let _ = timer.sleep.as_mut().poll(cx);
            }
            // What most polls find.
            if !closing.begun.get() && !timer.sleep.is_elapsed() && !connected.pulse.is_in_head() {
                return Poll::Pending;
            }
            let due = connected.pulse.due(config.head_timeout, config.edge.idle_timeout);
            // A head that has begun gets its answer, and that one closes the connection.
            if closing.begun.get() && !timer.ending && !matches!(due, Due::Head(_)) {
                timer.end(cx);
                serving.as_mut().graceful_shutdown();
                continue;
            }
            match timer.look(due, connected, cx) {
                Verdict::Wait => return Poll::Pending,
                Verdict::Look => {}
                Verdict::End => serving.as_mut().graceful_shutdown(),
                Verdict::Rest => return Poll::Ready(Ok(Ended::Resting)),
                Verdict::Drop => return Poll::Ready(Ok(Ended::Closed)),
            }
        }
    })
    .await
}

/// What a timer makes of its connection.
enum Verdict {
    /// Nothing is due.
    Wait,
    /// The connection has to look at its state again.
    Look,
    /// It is asked to end.
    End,
    /// The protocol is let go until more is asked.
    Rest,
    /// It is not waited for any longer.
    Drop,
}

impl Timer<'_> {
    fn look(&mut self, due: Due, connected: &Connected, cx: &mut Context<'_>) -> Verdict {
        let shared = &connected.core.shared;
        let set = self.sleep.deadline();
        if !self.sleep.is_elapsed() {
            // The one deadline that comes before what the timer was set to.
            if let Due::Head(at) = due
                && at < set
            {
                self.set(at, cx);
            }
            return Verdict::Wait;
        }
        let now = Instant::now();
        match due {
            Due::Head(at) if at <= now && !connected.pulse.is_late() => {
                shared.metrics.connections_silent.inc();
                connected.pulse.give_up();
                self.set(now + FAREWELL, cx);
                Verdict::Look
            }
            Due::Head(at) if at <= now => Verdict::Drop,
            Due::Idle(at) if at <= now && !self.ending => {
                shared.metrics.connections_idle.inc();
                self.end(cx);
                Verdict::End
            }
            Due::Idle(_) if self.ending => Verdict::Drop,
            _ if connected.old <= now && !self.ending => {
                self.end(cx);
                Verdict::End
            }
            _ if self.may_rest(connected, now) => Verdict::Rest,
            Due::Head(at) => {
                self.set(at.min(self.next(connected, now)), cx);
                Verdict::Wait
            }
            Due::Idle(at) => {
                self.set(at.min(now + self.look).min(self.next(connected, now)), cx);
                Verdict::Wait
            }
            Due::Busy => {
                self.set((now + self.look).min(self.next(connected, now)), cx);
                Verdict::Wait
            }
        }
    }

    /// When it is too old, unless it was asked to end for that.
    fn next(&self, connected: &Connected, now: Instant) -> Instant {
        if self.ending { now + FAREWELL } else { connected.old }
    }

    fn may_rest(&self, connected: &Connected, now: Instant) -> bool {
        let quiet = |since| since + QUIET <= now;
        self.rests && !self.ending && connected.pulse.rests_since().is_some_and(quiet)
    }

    fn end(&mut self, cx: &mut Context<'_>) {
        self.ending = true;
        self.set(Instant::now() + FAREWELL, cx);
    }

    fn set(&mut self, at: Instant, cx: &mut Context<'_>) {
        self.sleep.as_mut().reset(at);
        let _ = self.sleep.as_mut().poll(cx);
    }
}
