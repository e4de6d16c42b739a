//! The command line: names, help and defaults. It decides nothing.

mod dlq;
mod positions;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

pub use self::dlq::{DlqActOptions, DlqCommand, DlqFilterOptions};
pub use self::positions::{RecoverOptions, ReplayOptions, SignedOptions};

/// Absorbs bursts of events in front of a slow database: 202 once the log has them, one effect each.
#[derive(Debug, Parser)]
#[command(name = "shock", version, propagate_version = true)]
pub struct Cli {
    /// How log lines are written to stderr; RUST_LOG filters them (default: info).
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Everything in one process, without any service: embedded log, SQLite, ingress and consumer.
    Dev(DevOptions),
    /// The HTTP side, on Kafka.
    Ingress(IngressOptions),
    /// The applying side, on Kafka and PostgreSQL.
    Consumer(ConfigOptions),
    /// Check, explain and document the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Say what of the registered schemas the fast tier of validation covers.
    #[command(subcommand)]
    Schema(SchemaCommand),
    /// Document the metrics.
    #[command(subcommand)]
    Metrics(MetricsCommand),
    /// Document the problems that producers can be answered with.
    #[command(subcommand)]
    Problems(ProblemsCommand),
    /// Look at a running system and steer it.
    #[command(subcommand)]
    Ctl(CtlCommand),
    /// Say what the limits would do under a load: lag, what is shed, and of whom.
    Simulate(SimulateOptions),
}

/// Where settings come from: files, then SHOCK_… variables, then `--set`; the later wins.
#[derive(Args, Clone, Debug, Default)]
pub struct ConfigOptions {
    /// A TOML file, or a directory of them (with its sources/); repeatable, the later wins.
    #[arg(long, value_name = "PATH")]
    pub config: Vec<PathBuf>,
    /// One setting, such as `ingress.listen=0.0.0.0:8080`; repeatable.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// Options of `ingress`.
#[derive(Args, Clone, Debug)]
pub struct IngressOptions {
    /// Serve although no key is configured: whoever reaches the port may post for any tenant. On a
    /// loopback address only; given twice, on any.
    #[arg(long, action = ArgAction::Count)]
    pub insecure: u8,
    /// The settings.
    #[command(flatten)]
    pub settings: ConfigOptions,
}

/// Options of `dev`.
#[derive(Args, Clone, Debug)]
pub struct DevOptions {
    /// Where events, effects and the development key are kept; made when absent.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where producers post [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Where metrics, health and look-ups are served [default: 127.0.0.1:9090].
    #[arg(long, value_name = "ADDRESS")]
    pub admin_listen: Option<SocketAddr>,
    /// Settings beside them.
    #[command(flatten)]
    pub settings: ConfigOptions,
}

/// Options of `simulate`.
#[derive(Args, Clone, Debug)]
pub struct SimulateOptions {
    /// A scenario that comes with the program (`--list`), or a TOML file; without one, S1.
    #[arg(value_name = "SCENARIO")]
    pub scenarios: Vec<String>,
    /// Run each under the other rules, too: no limits, a static one, the paper's, AIMD, other scaling.
    #[arg(long)]
    pub compare: bool,
    /// Draw the runs as one page.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Another seed than the scenario's.
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
    /// Name the scenarios that come with the program.
    #[arg(long, conflicts_with_all = ["scenarios", "compare", "html", "print"])]
    pub list: bool,
    /// Print a scenario's TOML, to begin one's own with.
    #[arg(long, conflicts_with_all = ["compare", "html"])]
    pub print: bool,
}

/// `shock config …`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check the settings as a whole, print what they mean, and start nothing.
    Check(ConfigOptions),
    /// Say what one key's value is and where it comes from.
    Explain {
        /// The key, such as `ingress.listen`.
        key: String,
        /// The settings.
        #[command(flatten)]
        settings: ConfigOptions,
    },
    /// Print the reference of all keys as Markdown.
    Reference,
}

/// `shock schema …`.
#[derive(Debug, Subcommand)]
pub enum SchemaCommand {
    /// Name the keywords that are left to the slower tier, with their places and why.
    Explain {
        /// Only the schemas of this event type.
        #[arg(value_name = "TYPE")]
        event_type: Option<String>,
        /// The settings.
        #[command(flatten)]
        settings: ConfigOptions,
    },
}

/// `shock metrics …`.
#[derive(Debug, Subcommand)]
pub enum MetricsCommand {
    /// Print the reference of all metrics as Markdown.
    Reference,
}

/// `shock problems …`.
#[derive(Debug, Subcommand)]
pub enum ProblemsCommand {
    /// Print the reference of all problems as Markdown.
    Reference,
}

/// `shock ctl …`.
#[derive(Debug, Subcommand)]
pub enum CtlCommand {
    /// Compare the topics with the configuration, or create the missing ones.
    #[command(subcommand)]
    Topics(TopicsCommand),
    /// Bring the database's tables to this version.
    Migrate(ConfigOptions),
    /// Find out what became of events.
    #[command(subcommand)]
    Events(EventsCommand),
    /// See what is parked, and let it be tried again.
    #[command(subcommand)]
    Dlq(Box<DlqCommand>),
    /// Make keys for producers.
    #[command(subcommand)]
    Key(KeyCommand),
    /// See the limits, and override them for some time.
    #[command(subcommand)]
    Limits(LimitsCommand),
    /// See and pin the mode.
    #[command(subcommand)]
    Mode(ModeCommand),
    /// Show where every partition stands in the database, in Kafka's copy and in the log; move those
    /// that have lost their place, where you say so.
    Recover(RecoverOptions),
    /// Read records again: move a position back. Resetting the group's offsets in Kafka moves nothing.
    Replay(ReplayOptions),
}

/// `shock ctl limits …`.
#[derive(Debug, Subcommand)]
pub enum LimitsCommand {
    /// Show what operators have set, and what is heard of each partition.
    Show(AdminOptions),
    /// Set a tenant's contract, ceiling or both; what is not named is as configured.
    Set {
        /// Whose.
        tenant: String,
        /// Events/s that are in contract.
        #[arg(long, value_name = "EVENTS")]
        contract_per_s: Option<f64>,
        /// Events/s at most.
        #[arg(long, value_name = "EVENTS")]
        ceiling_per_s: Option<f64>,
        /// Until it is unset.
        #[arg(long, conflicts_with = "duration")]
        forever: bool,
        /// How long, and why.
        #[command(flatten)]
        setting: SettingOptions,
    },
    /// Let a tenant's contract and ceiling be as configured again.
    Unset {
        /// Whose.
        tenant: String,
        /// Who asks.
        #[command(flatten)]
        removal: RemovalOptions,
    },
    /// Pin a partition's limit, whatever the loop says. A class alone means each of its partitions:
    /// every one of them gets this limit.
    Pin {
        /// `CLASS/PARTITION`, such as telemetry/7, or `CLASS`.
        place: String,
        /// Events/s of all replicas together; 0 closes it.
        #[arg(long, value_name = "EVENTS")]
        per_s: f64,
        /// Until it is unpinned.
        #[arg(long, conflicts_with = "duration")]
        forever: bool,
        /// How long, and why.
        #[command(flatten)]
        setting: SettingOptions,
    },
    /// Give a limit back to the loop. A class alone means each of its partitions.
    Unpin {
        /// `CLASS/PARTITION` or `CLASS`.
        place: String,
        /// Who asks.
        #[command(flatten)]
        removal: RemovalOptions,
    },
}

/// `shock ctl mode …`.
#[derive(Debug, Subcommand)]
pub enum ModeCommand {
    /// Show which mode is pinned.
    Show(AdminOptions),
    /// Pin the mode, whatever the rules say; at most for 24 hours.
    Set {
        /// normal, aggressive, survival or read-only.
        mode: String,
        /// How long, and why.
        #[command(flatten)]
        setting: SettingOptions,
    },
    /// Give the mode back to the rules.
    Clear(RemovalOptions),
}

/// Which process is asked, or told: any of an installation's tells the others.
#[derive(Args, Clone, Debug)]
pub struct AdminOptions {
    /// Admin port of an ingress, a consumer or `shock dev`.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9090")]
    pub admin: String,
}

/// How something is set.
#[derive(Args, Clone, Debug)]
pub struct SettingOptions {
    /// How long it holds: 30s, 15m, 1h, 2d.
    #[arg(id = "duration", long = "for", value_name = "TIME", default_value = "15m", value_parser = crate::ctl::seconds)]
    pub for_s: f64,
    /// Why, for those who see it.
    #[arg(long, value_name = "TEXT")]
    pub why: String,
    /// Who asks [default: $USER].
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
    /// Whom to tell.
    #[command(flatten)]
    pub at: AdminOptions,
}

/// How something is removed.
#[derive(Args, Clone, Debug)]
pub struct RemovalOptions {
    /// Why, for the log.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub why: String,
    /// Who asks [default: $USER].
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
    /// Whom to tell.
    #[command(flatten)]
    pub at: AdminOptions,
}

/// `shock ctl key …`.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key: its block for the configuration on stdout, the key itself on stderr, once.
    New {
        /// Whom it writes for.
        tenant: String,
        /// Its public part; without it the tenant's name and eight random digits.
        #[arg(long)]
        id: Option<String>,
    },
}

/// `shock ctl topics …`.
#[derive(Debug, Subcommand)]
pub enum TopicsCommand {
    /// Show what is there, what is wanted and what `apply` would do.
    Plan(ConfigOptions),
    /// Create what is missing; what is there is compared, never changed.
    Apply(ConfigOptions),
}

/// `shock ctl events …`.
#[derive(Debug, Subcommand)]
pub enum EventsCommand {
    /// What became of one event: applied, pending, parked or unknown, and where it stands.
    Find {
        /// Whose event.
        tenant: String,
        /// Its id.
        id: String,
        /// Its CloudEvents source; without it the default and the configured sources are tried.
        #[arg(long)]
        source: Option<String>,
        /// Where to ask.
        #[command(flatten)]
        at: AskOptions,
    },
    /// The events applied last, newest first.
    Tail {
        /// How many, at most 1,000.
        #[arg(short = 'n', long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
        count: u16,
        /// Where to ask.
        #[command(flatten)]
        at: AskOptions,
    },
}

/// Whom to ask: the admin port of a running process, or Kafka and PostgreSQL themselves.
#[derive(Args, Clone, Debug)]
pub struct AskOptions {
    /// Admin port of `shock dev` or of a consumer. Not used where `--config` names Kafka.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9090")]
    pub admin: String,
    /// Ask Kafka and PostgreSQL directly, also while no consumer runs.
    #[command(flatten)]
    pub settings: ConfigOptions,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}
