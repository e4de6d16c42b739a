//! What a request allocates on the log in memory. One test function, so that nothing else runs.

mod counted;

use shared::log::Log;
use shared::log::memory::MemoryLog;

use self::counted::{Rounds, no_more_than_bare_hyper};

#[test]
fn a_request_allocates_no_more_than_bare_hyper() {
    no_more_than_bare_hyper(&Rounds { warm_up: 2_000, counted: 500, idle_per_s: 0.0 }, |router| {
        Log::Memory(MemoryLog::keeping(router.ids(), 1 << 16))
    });
}
