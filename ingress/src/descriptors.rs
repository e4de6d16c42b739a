//! Open files: as many as the system lets this process have, and no more connections than that leaves.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Hundredths of the open files that connections may take; the rest is the log's, the database's and
/// the admin port's.
const CONNECTIONS_PERCENT: u64 = 80;

/// Asks for all that the hard limit allows; how many connections that is room for, at most `wanted`.
pub(crate) fn room_for(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::debug!(%error, "the limit of open files stays as it is");
        }
    }
    let room = getrlimit(Resource::Nofile).current.map_or(wanted, share);
    if room < wanted {
        tracing::warn!(room, wanted, "the limit of open files is too low for connections_max");
    }
    wanted.min(room)
}

fn share(files: u64) -> usize {
    usize::try_from(files / 100 * CONNECTIONS_PERCENT).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_room_for_other_files() {
        assert_eq!(share(1_000), 800);
        assert_eq!(room_for(1), 1);
        let most = room_for(usize::MAX);
        assert!(getrlimit(Resource::Nofile).current.is_none_or(|files| (most as u64) < files));
    }
}
