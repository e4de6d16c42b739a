//! A serving thread's place at the producer: its records in flight, and its mailbox for outcomes.
//!
//! A record travels through librdkafka with one word that names its seat, its slot there and the
//! slot's generation. A thread that serves requests attends a seat of its own; all others share the
//! first one, whose outcomes are settled by the thread that polls.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock, RwLockReadGuard};

use super::mailbox::{self, Mailbox};
use super::settings::QUEUE_MESSAGES_MAX;
use super::slots::{Flight, SlotId, Slots};
use crate::log::Ticket;

/// The word: generation (32 bits), slot (24), seat (8).
const SEAT_BITS: u32 = 8;
const SLOT_BITS: u32 = 24;
const GENERATION_SHIFT: u32 = SEAT_BITS + SLOT_BITS;
const _: () = assert!(usize::BITS == 32 + GENERATION_SHIFT, "the word is a pointer's 64 bits");
const _: () = assert!(QUEUE_MESSAGES_MAX < 1 << SLOT_BITS, "every queued record has a slot");

/// Seats of one producer; a thread that comes later sits at the first, as if it did not attend.
const SEATS_MAX: usize = 1 << SEAT_BITS;

/// One thread's place.
#[derive(Debug)]
pub(super) struct Seat {
    /// Which producer's it is.
    producer: u64,
    number: usize,
    slots: Mutex<Slots>,
    /// Where its outcomes go.
    pub mailbox: Mailbox,
}

impl Seat {
    fn new(producer: u64, number: usize) -> Self {
        let slots = Mutex::new(Slots::new());
        Self { producer, number, slots, mailbox: Mailbox::default() }
    }

    /// Keeps a flight until its report; the word it travels with. Gives it back where all slots are
    /// taken.
    pub fn keep(&self, flight: Flight) -> Result<usize, Flight> {
        let SlotId { index, generation } = self.slots.lock().keep(flight)?;
        let (index, generation) = (index as usize, generation as usize);
        Ok(generation << GENERATION_SHIFT | index << SEAT_BITS | self.number)
    }

    /// The flight of a word, once.
    pub fn release(&self, word: usize) -> Option<Flight> {
        let index = (word >> SEAT_BITS & ((1 << SLOT_BITS) - 1)) as u32;
        let generation = (word >> GENERATION_SHIFT) as u32;
        self.slots.lock().release(SlotId { index, generation })
    }

    /// The number of the seat that a word names.
    pub const fn number_of(word: usize) -> usize {
        word & (SEATS_MAX - 1)
    }

    /// Its number, by which words name it.
    pub const fn number(&self) -> usize {
        self.number
    }

    /// Takes every flight that is left: nobody will report them any more.
    pub fn abandon(&self) -> Vec<Flight> {
        self.slots.lock().abandon()
    }

    /// Takes the tickets of those that were handed over before `before_ms`. Their slots stay taken
    /// until they are reported. Appends of this seat wait meanwhile.
    pub fn overdue(&self, before_ms: u64, mut take: impl FnMut(Ticket)) {
        for flight in self.slots.lock().iter_mut().filter(|flight| flight.since_ms < before_ms) {
            flight.ticket.take().into_iter().for_each(&mut take);
        }
    }
}

/// All seats of one producer.
#[derive(Debug)]
pub(super) struct Seats {
    producer: u64,
    first: Arc<Seat>,
    all: RwLock<Vec<Arc<Seat>>>,
}

impl Seats {
    /// With one seat, for whoever does not attend.
    pub fn new() -> Self {
        static PRODUCERS: AtomicU64 = AtomicU64::new(0);
        let producer = PRODUCERS.fetch_add(1, Ordering::Relaxed);
        let first = Arc::new(Seat::new(producer, 0));
        Self { producer, all: RwLock::new(vec![Arc::clone(&first)]), first }
    }

    /// Takes a seat for the thread that polls this future, and settles there what is reported, until
    /// it is dropped.
    pub async fn attend(&self) {
        let Some(seat) = self.take() else { return std::future::pending().await };
        let sitting = Sitting::down(seat);
        let mut outcomes = Vec::new();
        loop {
            sitting.0.mailbox.collect(&mut outcomes).await;
            mailbox::settle(&mut outcomes);
        }
    }

    /// A seat that nobody has; one that was left is as good as a new one.
    fn take(&self) -> Option<Arc<Seat>> {
        let mut all = self.all.write();
        let left = all.iter().skip(1).find(|seat| Arc::strong_count(seat) == 1);
        if let Some(seat) = left {
            return Some(Arc::clone(seat));
        }
        let number = Some(all.len()).filter(|number| *number < SEATS_MAX)?;
        let seat = Arc::new(Seat::new(self.producer, number));
        all.push(Arc::clone(&seat));
        Some(seat)
    }

    /// Calls `work` with the seat of this thread.
    pub fn with_own<T>(&self, work: impl FnOnce(&Seat) -> T) -> T {
        HERE.with_borrow(|here| {
            let own = here.as_deref().filter(|seat| seat.producer == self.producer);
            work(own.unwrap_or(&self.first))
        })
    }

    /// All of them, by number. No thread takes a new seat meanwhile.
    pub fn all(&self) -> All<'_> {
        All(self.all.read())
    }
}

/// A look at all seats.
pub(super) struct All<'s>(RwLockReadGuard<'s, Vec<Arc<Seat>>>);

impl All<'_> {
    /// The seat that a word names.
    pub fn of(&self, word: usize) -> Option<&Seat> {
        self.0.get(Seat::number_of(word)).map(|seat| &**seat)
    }

    /// Every seat, by number.
    pub fn iter(&self) -> impl Iterator<Item = &Seat> {
        self.0.iter().map(|seat| &**seat)
    }
}

thread_local! {
    /// Where this thread sits.
    static HERE: RefCell<Option<Arc<Seat>>> = const { RefCell::new(None) };
}

/// A thread at its seat; dropped there, it has left.
struct Sitting(Arc<Seat>);

impl Sitting {
    fn down(seat: Arc<Seat>) -> Self {
        seat.mailbox.open();
        HERE.set(Some(Arc::clone(&seat)));
        Self(seat)
    }
}

impl Drop for Sitting {
    fn drop(&mut self) {
        HERE.set(None);
        self.0.mailbox.close();
    }
}
