//! The failure that is nobody's bug: something outside this repository is missing or out of
//! reach. It ends xtask with exit code 69 (`EX_UNAVAILABLE` of sysexits.h), so that a caller can
//! tell it from a failed check.

use std::fmt;

/// Exit code for what could not run, as opposed to what ran and failed.
pub const EXIT_CODE: u8 = 69;

/// What is missing, and exactly what to do about it.
#[derive(Debug)]
pub struct Unavailable(pub String);

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unavailable {}
