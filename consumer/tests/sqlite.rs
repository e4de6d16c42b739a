//! The suite on SQLite, and parked rows over HTTP.

#[path = "sqlite/routes.rs"]
mod routes;
#[expect(dead_code, reason = "the other store's half is used by the other test")]
mod suite;

use self::suite::base::Base;
use self::suite::cases::{all_cases, suite};

all_cases!(Base::sqlite);
