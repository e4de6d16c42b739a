//! The command line of `shock ctl recover` and `shock ctl replay`.

use clap::Args;

use super::AskOptions;

/// Options of `recover`.
#[derive(Args, Clone, Debug)]
pub struct RecoverOptions {
    /// `CLASS/PARTITION` or `CLASS`; without one, all of them are looked at, and those that have lost
    /// their place are moved.
    #[arg(value_name = "PLACE")]
    pub places: Vec<String>,
    /// Where to go on: earliest (the oldest record that is left), latest (the log's end: what waits is
    /// skipped), mirror (what is mirrored to Kafka), or an offset.
    #[arg(long, value_name = "WHERE")]
    pub to: Option<String>,
    /// Move them. Without it nothing is changed.
    #[arg(long, requires = "to")]
    pub apply: bool,
    /// Who, why, and whom to ask.
    #[command(flatten)]
    pub signed: SignedOptions,
}

/// Options of `replay`.
#[derive(Args, Clone, Debug)]
#[command(group = clap::ArgGroup::new("from").required(true))]
pub struct ReplayOptions {
    /// `CLASS/PARTITION`, or `CLASS` for each of its partitions.
    #[arg(value_name = "PLACE", required = true)]
    pub places: Vec<String>,
    /// The first record to read again; of one partition.
    #[arg(long, group = "from", value_name = "OFFSET")]
    pub from_offset: Option<i64>,
    /// The same by its time: 2026-01-31T12:00:00Z, or 2h for two hours ago.
    #[arg(long, group = "from", value_name = "TIME")]
    pub from_time: Option<String>,
    /// Say what it would do, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Who, why, and whom to ask.
    #[command(flatten)]
    pub signed: SignedOptions,
}

/// What both have.
#[derive(Args, Clone, Debug)]
pub struct SignedOptions {
    /// Also read again what is older than the ids that are kept: an event whose row is gone has its
    /// effect a second time.
    #[arg(long)]
    pub beyond_window: bool,
    /// Why, for those who see it; needed where something is moved.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub why: String,
    /// Who asks [default: $USER].
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
    /// Where to ask.
    #[command(flatten)]
    pub at: AskOptions,
}
