//! What a connection is doing and since when: shared by the guard that reads its bytes, the service
//! that answers its requests, and the timer that closes it.
//!
//! One timer per connection serves all its deadlines: a request costs no registration of its own.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use tokio::time::Instant;

use crate::reject::Reject;
use crate::transport::Transport;

/// A connection's state.
#[derive(Debug)]
pub(crate) struct Pulse {
    /// Heads that the protocol was given.
    heads: Cell<u64>,
    /// Requests whose serving began.
    begun: Cell<u64>,
    /// Requests that are being served.
    busy: Cell<u32>,
    /// Whether a head has begun and not ended.
    partial: Cell<bool>,
    /// Since when it has been so: the first byte of the head, or the last answer.
    since: Cell<Instant>,
    /// Why the last head that was given stands for none of the sender's.
    refusal: RefCell<Option<Reject>>,
    /// The head that has begun took too long.
    late: Cell<bool>,
    /// The sender has ended its side.
    ended: Cell<bool>,
    /// The next byte, if any, begins a head.
    between: Cell<bool>,
    /// What was answered has left the protocol's buffers.
    flushed: Cell<bool>,
    /// The stream, once the protocol has let go of it.
    released: RefCell<Option<Transport>>,
}

/// What is waited for, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Requests are being served; they have deadlines of their own.
    Busy,
    /// The rest of a head.
    Head(Instant),
    /// The next request.
    Idle(Instant),
}

/// A request that is being served; not any more when dropped.
#[derive(Debug)]
pub(crate) struct Serving<'p>(&'p Pulse);

impl Pulse {
    /// Of a connection whose first byte came at `since`.
    pub fn new(since: Instant) -> Self {
        Self {
            heads: Cell::new(0),
            begun: Cell::new(0),
            busy: Cell::new(0),
            partial: Cell::new(false),
            since: Cell::new(since),
            refusal: RefCell::default(),
            late: Cell::new(false),
            ended: Cell::new(false),
            between: Cell::new(false),
            flushed: Cell::new(true),
            released: RefCell::default(),
        }
    }

    /// A whole head goes on to the protocol.
    pub fn head_passed(&self) {
        self.heads.set(self.heads.get() + 1);
        self.partial.set(false);
    }

    /// A head has begun whose end is not there.
    pub fn head_began(&self) {
        if !self.partial.replace(true) {
            self.since.set(Instant::now());
        }
    }

    /// The protocol is given a head that stands for what is refused.
    pub fn refuse(&self, reject: Reject) {
        self.head_passed();
        *self.refusal.borrow_mut() = Some(reject);
    }

    /// A request begins; whether it stands for something refused.
    pub fn begin(&self) -> (Serving<'_>, Option<Reject>) {
        self.busy.set(self.busy.get() + 1);
        self.begun.set(self.begun.get() + 1);
        // Nothing follows what is refused, so it is the last head that was given.
        let is_last = self.begun.get() == self.heads.get();
        let refusal = if is_last { self.refusal.borrow_mut().take() } else { None };
        (Serving(self), refusal)
    }

    /// The head that has begun is not waited for any longer.
    pub fn give_up(&self) {
        self.late.set(true);
    }

    /// Whether that was said.
    pub fn is_late(&self) -> bool {
        self.late.get()
    }

    /// The sender has ended its side.
    pub fn end(&self) {
        self.ended.set(true);
    }

    /// Whether the next byte begins a head.
    pub fn between(&self, between: bool) {
        self.between.set(between);
    }

    /// Whether all that the protocol had to write is written.
    pub fn flushed(&self, flushed: bool) {
        self.flushed.set(flushed);
    }

    /// Since when everything asked is answered, with no byte left to be read or written.
    pub fn rests_since(&self) -> Option<Instant> {
        let asked = self.busy.get() > 0 || self.heads.get() > self.begun.get();
        let rests = !asked && self.between.get() && self.flushed.get() && !self.ended.get();
        rests.then(|| self.since.get())
    }

    /// The protocol is done with the stream.
    pub fn release(&self, transport: Transport) {
        *self.released.borrow_mut() = Some(transport);
    }

    /// The stream of a connection that rests.
    pub fn take_resting(&self) -> Option<Transport> {
        self.released.borrow_mut().take()
    }

    /// The stream, where its sender may still be sending.
    pub fn take_open(&self) -> Option<Transport> {
        let released = self.released.borrow_mut().take();
        released.filter(|_| !self.ended.get())
    }

    /// Whether a head has begun and not ended.
    pub fn is_in_head(&self) -> bool {
        self.partial.get()
    }

    /// What is waited for.
    pub fn due(&self, head: Duration, idle: Duration) -> Due {
        if self.busy.get() > 0 || self.heads.get() > self.begun.get() {
            Due::Busy
        } else if self.partial.get() {
            Due::Head(self.since.get() + head)
        } else {
            Due::Idle(self.since.get() + idle)
        }
    }
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        self.0.busy.set(self.0.busy.get() - 1);
        if !self.0.partial.get() {
            self.0.since.set(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Duration = Duration::from_secs(10);
    const IDLE: Duration = Duration::from_secs(60);

    #[test]
    fn what_is_waited_for() {
        let pulse = Pulse::new(Instant::now());
        assert!(matches!(pulse.due(HEAD, IDLE), Due::Idle(_)));
        pulse.head_began();
        let Due::Head(first) = pulse.due(HEAD, IDLE) else { panic!("a head has begun") };
        pulse.head_began();
        assert_eq!(pulse.due(HEAD, IDLE), Due::Head(first), "more of it moves nothing");
        pulse.head_passed();
        assert_eq!(pulse.due(HEAD, IDLE), Due::Busy);
        let (serving, refusal) = pulse.begin();
        assert_eq!((pulse.due(HEAD, IDLE), refusal), (Due::Busy, None));
        drop(serving);
        assert!(matches!(pulse.due(HEAD, IDLE), Due::Idle(_)));
    }

    #[test]
    fn a_connection_rests_only_when_nothing_of_it_would_be_lost() {
        let pulse = Pulse::new(Instant::now());
        assert_eq!(pulse.rests_since(), None, "nothing was read yet");
        pulse.between(true);
        assert!(pulse.rests_since().is_some());
        pulse.head_passed();
        assert_eq!(pulse.rests_since(), None, "a request waits for its turn");
        let (serving, _) = pulse.begin();
        pulse.flushed(false);
        assert_eq!(pulse.rests_since(), None, "it is being served");
        drop(serving);
        assert_eq!(pulse.rests_since(), None, "its answer is not written");
        pulse.flushed(true);
        assert!(pulse.rests_since().is_some());
        pulse.between(false);
        assert_eq!(pulse.rests_since(), None, "its body, or the next head, has begun");
        pulse.between(true);
        pulse.end();
        assert_eq!(pulse.rests_since(), None, "it is over");
    }

    #[test]
    fn a_refusal_is_the_last_request_s() {
        let pulse = Pulse::new(Instant::now());
        pulse.head_passed();
        pulse.refuse(Reject::HeadTimeout);
        assert_eq!(pulse.begin().1, None);
        assert_eq!(pulse.begin().1, Some(Reject::HeadTimeout));
    }
}
