//! The DLQ topic in memory: for tests.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::log::{DeadLetter, Unpublished};

/// Copies in memory. All clones are one.
#[derive(Clone, Debug, Default)]
pub struct DeadLetterMemory(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    letters: Vec<DeadLetter>,
    script: VecDeque<Unpublished>,
}

impl DeadLetterMemory {
    /// The next copies meet these fates; after them, they are kept again.
    pub fn script(&self, fates: impl IntoIterator<Item = Unpublished>) {
        self.0.lock().script.extend(fates);
    }

    /// What was kept, in order.
    pub fn letters(&self) -> Vec<DeadLetter> {
        self.0.lock().letters.clone()
    }

    /// See [`crate::log::DeadLetters::publish`].
    pub(in crate::log) fn publish(&self, letters: Vec<DeadLetter>) -> Vec<Result<(), Unpublished>> {
        let mut state = self.0.lock();
        let keep = |letter| match state.script.pop_front() {
            Some(fate) => Err(fate),
            None => {
                state.letters.push(letter);
                Ok(())
            }
        };
        letters.into_iter().map(keep).collect()
    }
}
