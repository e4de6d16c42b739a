//! A topic beside the log in memory: for tests.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::log::{Publication, Unpublished};

/// Records in memory. All clones are one.
#[derive(Clone, Debug, Default)]
pub struct PublisherMemory(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    published: Vec<Publication>,
    script: VecDeque<Unpublished>,
}

impl PublisherMemory {
    /// The next records meet these fates; after them, they are kept again.
    pub fn script(&self, fates: impl IntoIterator<Item = Unpublished>) {
        self.0.lock().script.extend(fates);
    }

    /// What was kept, in order.
    pub fn published(&self) -> Vec<Publication> {
        self.0.lock().published.clone()
    }

    /// See [`crate::log::Publisher::publish`].
    pub(in crate::log) fn publish(
        &self,
        publications: Vec<Publication>,
    ) -> Vec<Result<(), Unpublished>> {
        let mut state = self.0.lock();
        let keep = |publication| match state.script.pop_front() {
            Some(fate) => Err(fate),
            None => {
                state.published.push(publication);
                Ok(())
            }
        };
        publications.into_iter().map(keep).collect()
    }
}
