//! `cargo xtask services`: a real Kafka and a real PostgreSQL, in a directory of their own, that
//! outlive xtask until `down`. Never touches a server that it did not start.

mod directory;
mod family;
mod health;
mod kafka;
mod name;
mod port;
mod postgres;
mod process;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};

use crate::{
    system::{self, Requirement},
    workspace,
};
use directory::{Directory, Services};
use family::Family;
use kafka::Node;
use name::Name;
use postgres::Postgres;

/// The services' commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start what is not running, and wait until all of it is of use
    Up {
        /// Number of Kafka nodes (default: as the directory was made with, else 1)
        #[arg(long, value_parser = clap::value_parser!(u8).range(1..=3))]
        brokers: Option<u8>,
        #[command(flatten)]
        place: Place,
    },
    /// Stop everything; data and ports stay
    Down {
        /// Remove the data, too
        #[arg(long)]
        purge: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Say what runs where; fails unless all of it is of use
    Status(Place),
    /// Stop one service as an operator would
    Stop(One),
    /// Start one service again, with the same ports and data
    Start(One),
    /// Kill one service (SIGKILL)
    Kill(One),
}

/// Which directory.
#[derive(Debug, Args)]
pub struct Place {
    /// Directory of the services [default: target/services]
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// Which service of which directory.
#[derive(Debug, Args)]
pub struct One {
    name: Name,
    #[command(flatten)]
    place: Place,
}

impl Place {
    fn path(&self) -> PathBuf {
        self.dir.clone().unwrap_or_else(default_dir)
    }
}

/// The directory that commands use unless told otherwise.
pub fn default_dir() -> PathBuf {
    workspace::target_dir().join("services")
}

/// Runs one of the commands.
pub fn run(command: &Command) -> Result<()> {
    match command {
        Command::Up { brokers, place } => up(&place.path(), *brokers).map(drop),
        Command::Down { purge: false, place } => down(&place.path()),
        Command::Down { purge: true, place } => purge(&place.path()),
        Command::Status(place) => status(&place.path()),
        Command::Stop(one) => end_one(one, Family::stop, "stopped"),
        Command::Kill(one) => end_one(one, Family::kill, "killed"),
        Command::Start(one) => start_one(one),
    }
}

/// Starts what is not running in `dir`, waits until all of it is of use, and returns the path of
/// its `services.json`. `brokers` is compared with what the directory was made with.
pub fn up(dir: &Path, brokers: Option<u8>) -> Result<PathBuf> {
    system::require(&Requirement::SERVICES)?;
    let directory = Directory::lock(dir)?;
    let mut services = match directory.read()? {
        Some(services) => services,
        None => directory
            .plan(usize::from(brokers.unwrap_or(1)), postgres::data_dir(directory.path())?)?,
    };
    let made_with = services.kafka_nodes.len();
    if let Some(asked) = brokers.map(usize::from).filter(|asked| *asked != made_with) {
        bail!(
            "{} was made with --brokers {made_with}, not {asked}: choose another --dir, or remove \
             it first with `cargo xtask services down --purge`",
            dir.display()
        );
    }
    let absent =
        names(&services).into_iter().filter(|name| services.process(name.text()).is_none());
    let absent = absent.collect::<Vec<_>>();
    // All are started before any is awaited: three nodes need each other to be of use.
    for name in &absent {
        spawn(&directory, &mut services, *name)?;
    }
    for name in names(&services) {
        await_health(&directory, &services, name)?;
    }
    let state = if absent.is_empty() { "already up" } else { "up" };
    println!("{state}: kafka {}, postgres {}", services.kafka, services.postgres);
    println!("{}", directory.services_json().display());
    Ok(directory.services_json())
}

/// Stops every process of `dir`; data and ports stay.
pub fn down(dir: &Path) -> Result<()> {
    if !dir.exists() {
        println!("already down: {} does not exist", dir.display());
        return Ok(());
    }
    let directory = Directory::lock(dir)?;
    let Some(mut services) = directory.read()? else {
        println!("already down: nothing was ever started in {}", dir.display());
        return Ok(());
    };
    let running = names(&services)
        .into_iter()
        .filter_map(|name| services.process(name.text()).map(|process| Family::new(name, process)));
    let running = running.collect::<Vec<_>>();
    // All are told before any is awaited: the last node would wait for its lost quorum.
    for family in &running {
        family.stop()?;
    }
    for family in &running {
        family.await_end()?;
    }
    services.processes.clear();
    directory.write(&services)?;
    println!("down: {} stopped", running.len());
    Ok(())
}

/// Stops every process of `dir` and removes the directory with all its data.
pub fn purge(dir: &Path) -> Result<()> {
    down(dir)?;
    if !dir.exists() {
        return Ok(());
    }
    let directory = Directory::lock(dir)?;
    let services = directory.read()?;
    let data = services.map(|services| services.postgres_data).filter(|data| data.exists());
    for path in data.iter().map(PathBuf::as_path).chain([directory.path()]) {
        fs::remove_dir_all(path).with_context(|| format!("could not remove {}", path.display()))?;
    }
    Ok(())
}

fn status(dir: &Path) -> Result<()> {
    if !dir.join("services.json").exists() {
        bail!("nothing was ever started in {}", dir.display());
    }
    let directory = Directory::lock(dir)?;
    let services = directory.read()?.context("services.json has gone")?;
    let mut all_healthy = true;
    for name in names(&services) {
        let address = match name.node_id() {
            Some(id) => format!("127.0.0.1:{}", services.kafka_nodes[id - 1].broker_port),
            None => services.postgres.clone(),
        };
        let process = services.process(name.text());
        let healthy = process.is_some() && is_healthy(&directory, &services, name);
        all_healthy &= healthy;
        let state = match &process {
            Some(process) if healthy => format!("up (pid {})", process.id().pid),
            Some(process) => format!("running, not of use yet (pid {})", process.id().pid),
            None => "down".to_owned(),
        };
        println!("{:<9} {address}  {state}", name.text());
    }
    if !all_healthy {
        bail!("not all services of {} are up", dir.display());
    }
    Ok(())
}

fn start_one(one: &One) -> Result<()> {
    let (directory, mut services) = existing(one)?;
    let name = one.name;
    if services.process(name.text()).is_some() {
        println!("{} is already running", name.text());
        return Ok(());
    }
    system::require(&Requirement::SERVICES)?;
    spawn(&directory, &mut services, name)?;
    let nodes = names(&services).into_iter().filter(|name| name.node_id().is_some());
    let alive = nodes.filter(|node| services.process(node.text()).is_some()).count();
    if name.node_id().is_some() && alive * 2 <= services.kafka_nodes.len() {
        println!("{} is started; of use once the quorum's majority runs", name.text());
        return Ok(());
    }
    await_health(&directory, &services, name)?;
    println!("{} is up", name.text());
    Ok(())
}

fn end_one(one: &One, end: fn(&Family) -> Result<()>, ended: &str) -> Result<()> {
    let (directory, mut services) = existing(one)?;
    let text = one.name.text();
    let Some(process) = services.process(text) else {
        println!("{text} is not running");
        return Ok(());
    };
    let family = Family::new(one.name, process);
    end(&family)?;
    family.await_end()?;
    services.set_process(text, None);
    directory.write(&services)?;
    println!("{text} is {ended}");
    Ok(())
}

fn existing(one: &One) -> Result<(Directory, Services)> {
    let dir = one.place.path();
    if !dir.join("services.json").exists() {
        bail!("nothing was ever started in {}: `cargo xtask services up`", dir.display());
    }
    let directory = Directory::lock(&dir)?;
    let services = directory.read()?.context("services.json has gone")?;
    if !names(&services).contains(&one.name) {
        let brokers = services.kafka_nodes.len();
        bail!("no {} in {}: it was made with --brokers {brokers}", one.name.text(), dir.display());
    }
    Ok((directory, services))
}

/// The services of a directory.
fn names(services: &Services) -> Vec<Name> {
    let kafka = Name::KAFKA.into_iter().take(services.kafka_nodes.len());
    std::iter::once(Name::Postgres).chain(kafka).collect()
}

/// Starts a service and writes its process down before anything else can go wrong.
fn spawn(directory: &Directory, services: &mut Services, name: Name) -> Result<()> {
    let port = match name.node_id() {
        Some(id) => services.kafka_nodes[id - 1].broker_port,
        None => services.postgres_port,
    };
    if !port::is_free(port) {
        bail!(
            "{} wants port {port}, on which another program listens: end that one, or let \
             `cargo xtask services down --purge` pick other ports",
            name.text()
        );
    }
    let process = match name.node_id() {
        Some(id) => {
            let node = Node::new(id, &services.kafka_nodes, directory.path());
            node.prepare()?;
            node.spawn()?
        }
        None => {
            let server = postgres(directory, services);
            server.prepare()?;
            server.spawn()?
        }
    };
    services.set_process(name.text(), Some(process.id()));
    directory.write(services)
}

fn await_health(directory: &Directory, services: &Services, name: Name) -> Result<()> {
    let log = match name.node_id() {
        Some(id) => Node::new(id, &services.kafka_nodes, directory.path()).log(),
        None => postgres(directory, services).log().to_path_buf(),
    };
    let text = name.text();
    let process = services
        .process(text)
        .with_context(|| format!("{text} ended while starting: see {}", log.display()))?;
    health::wait_until(text, &process, &log, || is_healthy(directory, services, name))?;
    if name == Name::Postgres {
        postgres(directory, services).ensure_database()?;
    }
    Ok(())
}

fn is_healthy(directory: &Directory, services: &Services, name: Name) -> bool {
    match name.node_id() {
        Some(id) => Node::new(id, &services.kafka_nodes, directory.path()).is_healthy(),
        None => postgres(directory, services).is_healthy(),
    }
}

fn postgres<'a>(directory: &'a Directory, services: &'a Services) -> Postgres<'a> {
    Postgres::new(&services.postgres_data, services.postgres_port, directory.path())
}
