//! The ingress on the log in memory, for benchmarks and profilers: everything our own code does and
//! nothing of Kafka's. Configured like `shock ingress`, with `--config FILE` and `--set KEY=VALUE`;
//! prints its address the same way, and serves until it is killed.

use anyhow::{Context, bail};
use ingress::Ingress;
use shared::clock::Clock;
use shared::config::{Config, Purpose, Sources};
use shared::log::Log;
use shared::log::memory::MemoryLog;
use shared::{Process, Shutdown};

/// As in `shock`.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What each partition keeps of the records, so that a run has no end by itself.
const KEPT_BYTES_MIN: usize = 1 << 20;

fn main() -> anyhow::Result<()> {
    let config = Config::load(&sources()?, Purpose::Ingress)?;
    let log = MemoryLog::keeping(config.router.ids(), KEPT_BYTES_MIN);
    let ingress = Ingress::bind(
        &config.ingress,
        config.router.clone(),
        Log::Memory(log),
        &Process::alone(Clock::System),
    )?;
    announce(&format!("ingress  http://{}", ingress.local_addr()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(ingress.serve(Shutdown::new()))?)
}

fn sources() -> anyhow::Result<Sources> {
    let variable = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    let mut sources =
        Sources { env: std::env::vars_os().filter_map(variable).collect(), ..Sources::default() };
    let mut arguments = std::env::args().skip(1);
    while let Some(option) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{option} needs a value"))?;
        match option.as_str() {
            "--config" => sources.files.push(value.into()),
            "--set" => sources.flags.push(value),
            _ => bail!("only --config FILE and --set KEY=VALUE, not {option}"),
        }
    }
    Ok(sources)
}

#[expect(clippy::print_stdout, reason = "whoever starts this program reads the address here")]
fn announce(line: &str) {
    println!("{line}");
}
