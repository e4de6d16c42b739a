//! Plays GitHub: its real webhook bodies, signed as GitHub signs them, retried as GitHub retries.
//!
//! A delivery is one body under one delivery id. It is posted until it is answered for good (202 or
//! 4xx), and one in three is posted once more: at the same time on another connection, or later.

mod delivery;
mod example;
mod expectation;
mod player;
pub mod run;
mod summary;

pub use self::delivery::{Delivery, Plan, Step, sign};
pub use self::example::{Example, read_examples};
pub use self::expectation::Expectation;
pub use self::player::{Played, Player};
pub use self::summary::Summary;

/// The source's name in `/v1/sources/{name}`.
pub const SOURCE_NAME: &str = "github";
