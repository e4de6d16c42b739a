//! Named places where a test has this process die, stand still or hang. Not in a program that is shipped:
//! without the feature `failpoints` the macro is nothing, and with optimisation the feature does not build.
//!
//! The variable [`VARIABLE`] of the process says what happens where, several parted by `;`:
//! `POINT=ACTION`, `POINT[KEY]=ACTION` only for this partition (or this event's id), `…@N` at the N-th
//! time. Actions: `kill` and `stop` (SIGKILL and SIGSTOP to the process itself), `hang` (this task never
//! goes on, its neighbours do). `unfenced=on` takes the comparison of epoch and position out of the batch
//! statement: a consumer that must fail its tests.
//!
//! Not the crate `fail`: its actions block the thread, and with it every neighbour of the task that is to
//! hang (neondatabase/neon#7216; asynchronous ones are asked for in tikv/fail-rs#58 and #73), it has no
//! signal among them, and its names are strings that nobody checks.
//!
//! [`VARIABLE`]: armed::VARIABLE

#[cfg(feature = "failpoints")]
mod armed;

#[cfg(feature = "failpoints")]
pub(crate) use self::armed::{Point, fence, reach};

/// Does here what the process's variable says, if it says anything.
#[cfg(feature = "failpoints")]
macro_rules! failpoint {
    ($point:ident, $key:expr) => {
        $crate::failpoint::reach($crate::failpoint::Point::$point, &$key).await
    };
    ($point:ident, $key:expr, if $condition:expr) => {
        if $condition {
            failpoint!($point, $key);
        }
    };
    ($point:ident, each $key:ident in $keys:expr => $of:expr) => {
        for $key in $keys {
            failpoint!($point, $of);
        }
    };
}

/// Nothing.
#[cfg(not(feature = "failpoints"))]
macro_rules! failpoint {
    ($($anything:tt)*) => {};
}

/// The batch statement as it is.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn fence(sql: &str) -> String {
    sql.to_owned()
}
