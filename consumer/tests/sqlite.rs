//! The suite on SQLite.

mod suite;

use self::suite::base::Base;
use self::suite::cases::{all_cases, suite};

all_cases!(Base::sqlite);
