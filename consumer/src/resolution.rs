//! What it means that a batch was not committed, or that nobody said whether it was.
//!
//! A pure table over what we claimed, what the batch wanted and what the progress row says now. It
//! is the one place where a fenced writer, an unknown commit and a database that went back in time
//! are told apart; it never touches a database.

use shared::position::{Epoch, Offset};

/// The fence and the position, as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The epoch of the last claim.
    pub epoch: Epoch,
    /// The next record to apply.
    pub next: Offset,
}

/// What to do with a batch from `expected` to `target` under an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// It was committed, by a statement whose answer never arrived.
    Committed,
    /// It was not: send it again.
    Resend,
    /// Another writer has claimed the partition: stop, drop everything.
    Fenced,
    /// The database is not where we left it (restored, failed over to an older copy): claim above
    /// both epochs and replay from the stored position.
    Reclaim,
    /// The row is gone. Any position we could seed might skip records: halt.
    Vanished,
}

/// Decides. `row` was read after the statement ended or its connection was lost.
pub fn resolve(epoch: Epoch, expected: Offset, target: Offset, row: Option<Stored>) -> Resolution {
    debug_assert!(expected < target, "a batch has at least one record");
    match row {
        None => Resolution::Vanished,
        Some(row) if row.epoch > epoch => Resolution::Fenced,
        Some(row) if row.epoch < epoch => Resolution::Reclaim,
        Some(row) if row.next == target => Resolution::Committed,
        Some(row) if row.next == expected => Resolution::Resend,
        // Lower: it went back. Higher: it went back and somebody reached our epoch again.
        Some(_) => Resolution::Reclaim,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_table() {
        let check = |row: Option<(i64, i64)>, expected| {
            let row = row.map(|(epoch, next)| Stored { epoch: Epoch(epoch), next: Offset(next) });
            assert_eq!(resolve(Epoch(5), Offset(10), Offset(20), row), expected, "{row:?}");
        };
        check(None, Resolution::Vanished);
        for next in [0, 10, 15, 20, 30] {
            check(Some((6, next)), Resolution::Fenced);
            check(Some((4, next)), Resolution::Reclaim);
        }
        check(Some((5, 0)), Resolution::Reclaim);
        check(Some((5, 9)), Resolution::Reclaim);
        check(Some((5, 10)), Resolution::Resend);
        check(Some((5, 15)), Resolution::Reclaim);
        check(Some((5, 20)), Resolution::Committed);
        check(Some((5, 21)), Resolution::Reclaim);
    }
}
