//! `loadtest`: plays real input, measures, and is the bare server that figures are compared with.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};
use loadtest::bench::control::{Case, Course, Scale, Variant};
use loadtest::bench::ingress::Part;
use loadtest::deployment::{Cluster, Deployment, Embedded, Settings};
use loadtest::faults::FaultsOptions;
use loadtest::ledger::Ledger;
use loadtest::services::Services;
use loadtest::verify::{Findings, VerifyOptions};
use loadtest::{bare, bench, github, plain};
use shared::config::Sources;
use uuid::Uuid;

/// Where runs keep their logs, ledgers and data.
const RUNS: &str = "target/loadtest";

#[derive(Debug, Parser)]
#[command(name = "loadtest", version, about = "Load generator, verifier and benchmarks")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Play GitHub: real webhook bodies, signed and retried; then reconcile.
    Github(GithubOptions),
    /// Break the consumer in every way of the fault matrix, and check what is left.
    Faults(FaultsOptions),
    /// Check a ledger against effects, positions, parked rows and records; exits with 1 where they differ.
    Verify(VerifyOptions),
    /// Run a benchmark.
    #[command(subcommand)]
    Bench(BenchCommand),
    /// The reference: a hyper server that reads the body and answers 202.
    Bare {
        /// Where it listens.
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
    },
    /// The other reference: a straightforward handler on axum and rdkafka's `FutureProducer`.
    Plain {
        /// Where it listens.
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// The configuration of the `shock ingress` it is compared with.
        #[arg(long, value_name = "FILE")]
        config: Vec<PathBuf>,
        /// Further settings, `key=value`.
        #[arg(long, value_name = "KEY=VALUE")]
        set: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
enum BenchCommand {
    /// CPU per event beside bare hyper, and events per second to the committed effect.
    Way(WayOptions),
    /// The ingress beside bare hyper and a plain handler: CPU, latency, memory.
    Ingress(IngressOptions),
    /// The consumer beside the bare statement: rates, CPU, balances, takeover, memory.
    Consumer(ConsumerOptions),
    /// The control loop: a spike against writers of a set capacity, once for each way of limiting.
    Control(ControlOptions),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Backend {
    /// `shock dev`.
    Embedded,
    /// `shock ingress` and `shock consumer` on Kafka and PostgreSQL.
    Kafka,
    /// One after the other.
    Both,
}

#[derive(Args, Debug)]
struct GithubOptions {
    /// Where events and effects live.
    #[arg(long, value_enum, default_value_t = Backend::Embedded)]
    backend: Backend,
    /// services.json of `cargo xtask services up`; needed for Kafka.
    #[arg(long, value_name = "FILE")]
    services: Option<PathBuf>,
    /// The unpacked npm package @octokit/webhooks-examples.
    #[arg(long, value_name = "DIR")]
    examples: PathBuf,
    /// The unpacked npm package @octokit/webhooks-schemas.
    #[arg(long, value_name = "DIR")]
    schemas: PathBuf,
    /// How often every body is delivered.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    times: u16,
    /// Kept-alive connections.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1000))]
    connections: u16,
    /// Leave logs, ledger, data, topics and database behind.
    #[arg(long)]
    keep: bool,
}

#[derive(Args, Debug)]
struct WayOptions {
    /// Where events and effects live.
    #[arg(long, value_enum, default_value_t = Backend::Both)]
    backend: Backend,
    /// services.json of `cargo xtask services up`; needed for Kafka.
    #[arg(long, value_name = "FILE")]
    services: Option<PathBuf>,
    /// Where way.json goes.
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    out: PathBuf,
}

#[derive(Args, Debug)]
struct IngressOptions {
    /// services.json of `cargo xtask services up`.
    #[arg(long, value_name = "FILE")]
    services: PathBuf,
    /// What to measure.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "cost,latency,memory")]
    parts: Vec<Part>,
    /// Counted rounds of the costs; one more warms up.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Where ingress.json goes.
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    out: PathBuf,
}

#[derive(Args, Debug)]
struct ConsumerOptions {
    /// services.json of `cargo xtask services up`.
    #[arg(long, value_name = "FILE")]
    services: PathBuf,
    /// What to measure.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "one,four,balances,filter,takeover,memory,blast"
    )]
    parts: Vec<bench::consumer::Part>,
    /// Counted rounds; of rates one more warms up.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Where consumer.json goes.
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    out: PathBuf,
}

#[derive(Args, Debug)]
struct ControlOptions {
    /// services.json of `cargo xtask services up`.
    #[arg(long, value_name = "FILE")]
    services: PathBuf,
    /// The ways of limiting, one after the other.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "without,bounded-lag,absorb,paper,aimd,equation-five",
        default_value_if("cases", clap::builder::ArgPredicate::IsPresent, None)
    )]
    variants: Vec<Variant>,
    /// What happens meanwhile; without `--variants` only this.
    #[arg(long = "case", value_enum, value_delimiter = ',')]
    cases: Vec<Case>,
    /// Seconds at half of the capacity before the spike.
    #[arg(long, default_value_t = 15)]
    before_s: u64,
    /// Seconds of the spike.
    #[arg(long, default_value_t = 60)]
    spike_s: u64,
    /// Seconds at half of the capacity after it.
    #[arg(long, default_value_t = 30)]
    after_s: u64,
    /// By how much the load grows.
    #[arg(long, default_value_t = 12.0)]
    factor: f64,
    /// What the writer of one partition does, events/s.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(10..=10_000))]
    writer_per_s: u32,
    /// Further settings of every variant and case, `key=value`.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Consumer processes.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    consumers: u8,
    /// Where control.json goes.
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    out: PathBuf,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Runtime::new().context("the runtime") {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    let ended = runtime.block_on(async {
        match cli.command {
            Command::Github(options) => play(&options).await,
            Command::Faults(options) => faults(&options).await,
            Command::Verify(options) => say_findings(options.run().await),
            Command::Bench(BenchCommand::Way(options)) => way(&options).await,
            Command::Bench(BenchCommand::Ingress(options)) => ingress(&options).await,
            Command::Bench(BenchCommand::Consumer(options)) => consumer(&options).await,
            Command::Bench(BenchCommand::Control(options)) => control(options).await,
            Command::Bare { listen } => serve_bare(listen).await,
            Command::Plain { listen, config, set } => serve_plain(listen, config, set).await,
        }
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

async fn play(options: &GithubOptions) -> anyhow::Result<()> {
    let plan = github::run::plan(&options.examples, &options.schemas, usize::from(options.times))?;
    for &kafka in backends(options.backend) {
        let dir = run_dir()?;
        let settings = Settings { schemas: Some(options.schemas.clone()), ..Settings::default() };
        let deployment = if kafka {
            let services = services(options.services.as_deref())?;
            Deployment::Cluster(Box::new(Cluster::start(&dir, &services, &settings, 1).await?))
        } else {
            Deployment::Embedded(Box::new(Embedded::start(&dir, &settings).await?))
        };
        let ledger = Arc::new(Ledger::create(dir.join("ledger.jsonl"))?);
        let connections = usize::from(options.connections);
        let summary = github::run::run(&deployment, &plan, connections, &ledger).await;
        let summary = summary.with_context(|| format!("logs and ledger: {}", dir.display()))?;
        say(&format!("backend     {}\n{summary}", if kafka { "kafka" } else { "embedded" }));
        if !options.keep {
            deployment.stop().await?;
            std::fs::remove_dir_all(&dir).with_context(|| dir.display().to_string())?;
        }
    }
    Ok(())
}

async fn faults(options: &FaultsOptions) -> anyhow::Result<()> {
    let dir = run_dir()?;
    options.run(&dir, say).await?;
    std::fs::remove_dir_all(&dir).with_context(|| dir.display().to_string())
}

fn say_findings(findings: anyhow::Result<Findings>) -> anyhow::Result<()> {
    say(&findings?.clean()?.to_string());
    Ok(())
}

async fn way(options: &WayOptions) -> anyhow::Result<()> {
    let backends = backends(options.backend);
    let services = match backends.contains(&true) {
        true => Some(services(options.services.as_deref())?),
        false => None,
    };
    let dir = run_dir()?;
    let report = bench::way::run(&dir, backends.contains(&false), services.as_ref()).await;
    let report = report.with_context(|| format!("logs: {}", dir.display()))?;
    let path = report.write(&options.out)?;
    say(&format!("{report}written to {}", path.display()));
    std::fs::remove_dir_all(&dir).with_context(|| dir.display().to_string())
}

async fn ingress(options: &IngressOptions) -> anyhow::Result<()> {
    let dir = run_dir()?;
    let services = Services::read(&options.services)?;
    let report = bench::ingress::run(&dir, &services, &options.parts, options.rounds).await;
    let report = report.with_context(|| format!("logs: {}", dir.display()))?;
    let path = report.write(&options.out)?;
    say(&format!("{report}written to {}", path.display()));
    std::fs::remove_dir_all(&dir).with_context(|| dir.display().to_string())
}

async fn consumer(options: &ConsumerOptions) -> anyhow::Result<()> {
    let dir = run_dir()?;
    let services = Services::read(&options.services)?;
    let report = bench::consumer::run(&dir, &services, &options.parts, options.rounds).await;
    let report = report.with_context(|| format!("logs: {}", dir.display()))?;
    let path = report.write(&options.out)?;
    say(&format!("{report}written to {}", path.display()));
    std::fs::remove_dir_all(&dir).with_context(|| dir.display().to_string())
}

async fn control(options: ControlOptions) -> anyhow::Result<()> {
    let dir = run_dir()?;
    let services = Services::read(&options.services)?;
    let course = Course {
        before: Duration::from_secs(options.before_s),
        spike: Duration::from_secs(options.spike_s),
        after: Duration::from_secs(options.after_s),
        factor: options.factor,
    };
    let wanted = bench::control::Options {
        variants: options.variants,
        cases: options.cases,
        course,
        consumers: usize::from(options.consumers),
        set: options.set,
        scale: Scale { writer_per_s: options.writer_per_s },
    };
    let report = bench::control::run(&dir, &services, &wanted).await;
    let report = report.with_context(|| format!("logs: {}", dir.display()))?;
    let path = report.write(&options.out)?;
    say(&format!("{report}written to {}", path.display()));
    std::fs::remove_dir_all(&dir).with_context(|| dir.display().to_string())
}

async fn serve_bare(listen: SocketAddr) -> anyhow::Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let address = bare::start(listen, threads, bare::Protocols::Http1)?;
    say(&format!("bare     http://{address}"));
    std::future::pending().await
}

async fn serve_plain(
    listen: SocketAddr,
    files: Vec<PathBuf>,
    flags: Vec<String>,
) -> anyhow::Result<()> {
    let env = std::env::vars().collect();
    let sources = Sources { files, env, flags, ..Sources::default() };
    let started = plain::start(listen, &sources).await?;
    say(&format!("plain     http://{}\nlinger_ms {}", started.address, started.linger_ms));
    std::future::pending().await
}

/// Whether it is Kafka, for each backend asked for.
fn backends(backend: Backend) -> &'static [bool] {
    match backend {
        Backend::Embedded => &[false],
        Backend::Kafka => &[true],
        Backend::Both => &[false, true],
    }
}

fn services(path: Option<&Path>) -> anyhow::Result<Services> {
    ensure!(path.is_some(), "Kafka needs --services FILE (`cargo xtask services up` writes it)");
    Services::read(path.unwrap_or(Path::new("")))
}

/// A fresh directory for one run.
fn run_dir() -> anyhow::Result<PathBuf> {
    let dir = Path::new(RUNS).join(Uuid::now_v7().to_string());
    std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    std::path::absolute(&dir).context("its absolute path")
}

#[expect(clippy::print_stdout, reason = "what was measured is this program's output")]
fn say(text: &str) {
    println!("{text}");
}

#[expect(clippy::print_stderr, reason = "the one place where an error ends the program")]
fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("loadtest: {error:#}");
    ExitCode::FAILURE
}
