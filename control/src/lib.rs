//! The control loop as pure functions: measured capacity in, limits out.
//!
//! A limit's way:
//!
//! 1. A writer counts what it processed and how long it was busy: [`capacity::Capacity`]. Of several
//!    partitions each has its [`capacity::potential`].
//! 2. The owner of a partition runs one [`tick::PartitionLoop`] per (class, partition): backlog and
//!    capacity in, limit and every term of it out. Whether an outage is absorbed or an overload shed is
//!    decided here ([`outage`], [`profile`]).
//! 3. An ingress replica accepts the message or not ([`accept`]), falls back when none comes
//!    ([`fallback`]) and takes its share ([`replica`]).
//! 4. Per event: colour by the tenant's contract, a tenant's fair part ([`fair`]), the level's
//!    tolerance ([`level`]), the bucket ([`gcra`]); who is refused is told when to come back ([`retry`]).
//! 5. Slower: the mode ([`mode`]), the writer's breaker ([`breaker`]), how many consumers there should
//!    be ([`scale`]), and which class of a shard waits for another ([`shard`]). [`paper`] and [`aimd`]
//!    hold other people's rules, to compare with.
//!
//! Nothing here reads a clock, allocates per event, waits, or asks the platform's mathematics library:
//! times come in as [`time::Nanos`], and only `+ - * /` and comparisons are used on floating-point
//! numbers, so that the same inputs give the same bits everywhere.

pub mod accept;
pub mod aimd;
pub mod amortise;
pub mod breaker;
pub mod capacity;
pub mod dead_time;
pub mod fair;
pub mod fallback;
pub mod gains;
pub mod gcra;
pub mod level;
pub mod mode;
pub mod number;
pub mod outage;
pub mod paper;
pub mod pid;
pub mod profile;
pub mod replica;
pub mod retry;
pub mod scale;
pub mod shard;
pub mod signal;
pub mod tick;
pub mod time;
