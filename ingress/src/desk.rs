//! What one request works on, from the verdicts on its events to its answer: lists that keep their
//! room from request to request.

use shared::clock::Millis;
use shared::position::PartitionId;

use crate::admission::Parties;
use crate::append::{Became, Fate};
use crate::event::Checks;
use crate::pool::Reusable;

/// One request's.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    /// The verdicts.
    pub checks: Checks,
    /// How each event went to the log.
    pub fates: Vec<Fate>,
    /// Who asks for what, for admission.
    pub parties: Parties,
    /// Partitions that take no more events of this request.
    pub refused: Vec<PartitionId>,
    /// What became of each event.
    pub became: Vec<Became>,
    /// The receive time in RFC 3339, and which one: the next request may come in the same millisecond.
    pub at_text: (Option<Millis>, String),
}

impl Reusable for Desk {
    fn reset(&mut self) {
        let Self { checks, fates, parties, refused, became, at_text: _ } = self;
        checks.reset();
        fates.clear();
        parties.reset();
        refused.clear();
        became.clear();
    }

    fn bytes(&self) -> usize {
        let Self { checks, fates, parties, refused, became, at_text } = self;
        checks.bytes()
            + parties.bytes()
            + fates.capacity() * size_of::<Fate>()
            + refused.capacity() * size_of::<PartitionId>()
            + became.capacity() * size_of::<Became>()
            + at_text.1.capacity()
    }
}
