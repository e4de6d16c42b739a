//! The command line of `shock ctl dlq`.

use clap::{Args, Subcommand};

use super::AskOptions;

/// `shock ctl dlq …`.
#[derive(Debug, Subcommand)]
pub enum DlqCommand {
    /// List what is parked, in the log's order; payloads are in `show` only.
    List {
        /// Which rows.
        #[command(flatten)]
        filter: DlqFilterOptions,
        /// Only count them, by reason, tenant, type and state.
        #[arg(long)]
        summary: bool,
        /// How many at most.
        #[arg(short = 'n', long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
        count: u16,
        /// Where an earlier list ended.
        #[arg(long, value_name = "CURSOR")]
        after: Option<String>,
        /// As JSON.
        #[arg(long)]
        json: bool,
        /// Where to ask.
        #[command(flatten)]
        at: AskOptions,
    },
    /// Show a parked record with all of it.
    Show {
        /// `CLASS/PARTITION@OFFSET`, as `list` prints it.
        place: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
        /// Where to ask.
        #[command(flatten)]
        at: AskOptions,
    },
    /// Let parked and dead records be tried again, each partition's in their order. Doing it twice has
    /// one effect.
    Redrive {
        /// How many a second; without it as fast as their writers go.
        #[arg(long = "rate", value_name = "ROWS", value_parser = rate)]
        rate_per_s: Option<f64>,
        /// Which ones, and why.
        #[command(flatten)]
        options: DlqActOptions,
    },
    /// Give parked and dead records up: they have no effect, and their ids stay taken.
    Drop(DlqActOptions),
    /// Show what was done by hand, positions that were moved too, by whom and why; the newest first.
    Audit {
        /// How many at most.
        #[arg(short = 'n', long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
        count: u16,
        /// Only what came before this number.
        #[arg(long, value_name = "NUMBER")]
        before: Option<i64>,
        /// As JSON.
        #[arg(long)]
        json: bool,
        /// Where to ask.
        #[command(flatten)]
        at: AskOptions,
    },
}

/// Which parked rows: all that is given has to hold.
#[derive(Args, Clone, Debug)]
pub struct DlqFilterOptions {
    /// `CLASS`, `CLASS/PARTITION` or `CLASS/PARTITION@OFFSET`.
    #[arg(long, value_name = "PLACE")]
    pub place: Option<String>,
    /// The tenant; '' means records whose key names none.
    #[arg(long)]
    pub tenant: Option<String>,
    /// The event's type, or a prefix of types that ends in `*`.
    #[arg(long = "type", value_name = "TYPE")]
    pub event_type: Option<String>,
    /// The event's id.
    #[arg(long)]
    pub id: Option<String>,
    /// Why they are parked, such as refused_by_store.
    #[arg(long)]
    pub reason: Option<String>,
    /// The database's code, such as 23514.
    #[arg(long)]
    pub sqlstate: Option<String>,
    /// parked, dead or dropped.
    #[arg(long)]
    pub state: Option<String>,
    /// Parked since then: 2h (ago), or an RFC 3339 moment.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Parked before then.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
}

/// What is done to which parked rows, and why.
#[derive(Args, Clone, Debug)]
pub struct DlqActOptions {
    /// Which rows.
    #[command(flatten)]
    pub filter: DlqFilterOptions,
    /// All of them; without it a filter has to be given.
    #[arg(long)]
    pub all: bool,
    /// Only say what would be done.
    #[arg(long)]
    pub dry_run: bool,
    /// Why, for the audit.
    #[arg(long, value_name = "TEXT", required_unless_present = "dry_run")]
    pub why: Option<String>,
    /// Who asks [default: $USER].
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
    /// Where to ask.
    #[command(flatten)]
    pub at: AskOptions,
}

/// Rows per second.
fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate >= consumer::dlq::RATE_MIN => Ok(rate),
        _ => Err(format!(
            "a rate is a number of rows per second, at least {}",
            consumer::dlq::RATE_MIN
        )),
    }
}
