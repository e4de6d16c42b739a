//! The records that were taken and are not settled, each in a slot with a generation.
//!
//! Only a record's own report frees its slot, and that moves the generation on: a report that comes
//! twice, or for a record of long ago, finds nothing, and so never settles another record.

use super::settings::QUEUE_MESSAGES_MAX;
use crate::log::Ticket;
use crate::position::PartitionId;

/// A record that waits for its turn, or that librdkafka has.
#[derive(Debug)]
pub(super) struct Flight {
    /// Its partition.
    pub id: PartitionId,
    /// Who waits for it; none once it was told that the record's time is over.
    pub ticket: Option<Ticket>,
    /// When it was handed over, on the producer's own clock.
    pub since_ms: u64,
    /// What it counts for against the bound in bytes.
    pub bytes: usize,
}

/// Where a flight is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SlotId {
    /// Below [`QUEUE_MESSAGES_MAX`].
    pub index: u32,
    /// How often the slot was freed before, modulo 2³².
    pub generation: u32,
}

/// A slab whose free slots form a list. Reserved whole at the start, so that it never allocates
/// again; its memory is touched only as far as it was ever filled.
#[derive(Debug)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    free: Option<u32>,
    open: usize,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    state: State,
}

#[derive(Debug)]
enum State {
    Free { next: Option<u32> },
    Taken(Flight),
}

impl Slots {
    /// Room for all that librdkafka's queue takes.
    pub fn new() -> Self {
        Self { slots: Vec::with_capacity(QUEUE_MESSAGES_MAX), free: None, open: 0 }
    }

    /// Keeps a flight until its report; gives it back where no slot is free.
    pub fn keep(&mut self, flight: Flight) -> Result<SlotId, Flight> {
        let id = match self.free {
            Some(index) => {
                let slot = &mut self.slots[index as usize];
                let state = std::mem::replace(&mut slot.state, State::Taken(flight));
                let State::Free { next } = state else {
                    unreachable!("the list of free slots holds free slots only")
                };
                self.free = next;
                SlotId { index, generation: slot.generation }
            }
            None if self.slots.len() < QUEUE_MESSAGES_MAX => {
                let index = self.slots.len() as u32;
                self.slots.push(Slot { generation: 0, state: State::Taken(flight) });
                SlotId { index, generation: 0 }
            }
            None => return Err(flight),
        };
        self.open += 1;
        Ok(id)
    }

    /// The flight of a slot, once.
    pub fn release(&mut self, id: SlotId) -> Option<Flight> {
        let slot = self.slots.get_mut(id.index as usize)?;
        if slot.generation != id.generation || matches!(slot.state, State::Free { .. }) {
            return None;
        }
        slot.generation = slot.generation.wrapping_add(1);
        let state = std::mem::replace(&mut slot.state, State::Free { next: self.free });
        self.free = Some(id.index);
        self.open -= 1;
        match state {
            State::Taken(flight) => Some(flight),
            State::Free { .. } => None,
        }
    }

    /// Frees every slot: nobody will report these flights any more.
    pub fn abandon(&mut self) -> Vec<Flight> {
        let ids = |(index, slot): (usize, &Slot)| SlotId {
            index: index as u32,
            generation: slot.generation,
        };
        let ids: Vec<SlotId> = self.slots.iter().enumerate().map(ids).collect();
        ids.into_iter().filter_map(|id| self.release(id)).collect()
    }

    /// The flights that are kept, in no order.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Flight> {
        // Mostly there are none, and the slots once used may be many.
        let used = if self.open == 0 { &mut [][..] } else { &mut self.slots[..] };
        used.iter_mut().filter_map(|slot| match &mut slot.state {
            State::Taken(flight) => Some(flight),
            State::Free { .. } => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Acks, AppendError};
    use crate::position::{Class, Offset, Partition, Position};

    const ID: PartitionId = PartitionId { class: Class::Control, partition: Partition(3) };

    fn flight(acks: &Acks, index: usize) -> Flight {
        Flight { id: ID, ticket: Some(acks.ticket(index)), since_ms: index as u64, bytes: 1 }
    }

    #[test]
    fn a_late_report_never_settles_another_record() {
        let mut slots = Slots::new();
        let acks = Acks::new(2);
        let first = slots.keep(flight(&acks, 0)).expect("room");
        slots
            .release(first)
            .expect("kept")
            .ticket
            .expect("nobody was told")
            .settle(Err(AppendError::Unknown));
        let second = slots.keep(flight(&acks, 1)).expect("room");
        assert_eq!(second.index, first.index, "the slot is used again");
        assert!(slots.release(first).is_none(), "the first record's report comes once more");
        let position = Position { id: ID, offset: Offset(7) };
        slots.release(second).expect("kept").ticket.expect("nobody was told").settle(Ok(position));
        assert!(slots.release(second).is_none());
        assert_eq!(acks.outcome(0), Err(AppendError::Unknown));
        assert_eq!(acks.outcome(1), Ok(position));
        assert_eq!(slots.iter_mut().count(), 0);
    }

    #[test]
    fn a_report_for_no_slot_at_all_finds_nothing() {
        let mut slots = Slots::new();
        assert!(slots.release(SlotId { index: 5, generation: 0 }).is_none());
    }

    #[test]
    fn full_is_said_and_room_comes_back() {
        let mut slots = Slots::new();
        let acks = Acks::new(QUEUE_MESSAGES_MAX + 1);
        let ids: Vec<_> = (0..QUEUE_MESSAGES_MAX)
            .map(|index| slots.keep(flight(&acks, index)).expect("room"))
            .collect();
        let refused = slots.keep(flight(&acks, QUEUE_MESSAGES_MAX)).expect_err("full");
        slots.release(ids[9]).expect("kept");
        assert_eq!(slots.keep(refused).expect("room").index, 9);
        assert_eq!(slots.iter_mut().count(), QUEUE_MESSAGES_MAX);
        assert_eq!(slots.abandon().len(), QUEUE_MESSAGES_MAX);
        assert_eq!(slots.iter_mut().count(), 0);
    }
}
