//! The processes that are measured: the two references, the ingress on Kafka, the ingress on the log
//! in memory. All are up all the time; whoever is not driven does nothing.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context;

use crate::deployment::{Cluster, Settings};
use crate::process::{Process, loadtest_binary, memory_binary};
use crate::records::Topics;
use crate::services::Services;

/// The schema of the events that are posted, the same as in `cargo bench -p ingress`.
const SCHEMA: &str = include_str!("../../../../ingress/benches/order.paid.json");
const CONFIG: &str = "[[schema]]\ntype = \"order.paid\"\nfile = \"order.paid.json\"\n";

/// Everything that is measured.
#[derive(Debug)]
pub struct Servers {
    bare: Process,
    plain: Process,
    memory: Process,
    cluster: Cluster,
    addresses: [SocketAddr; 4],
    /// Of all Kafka producers.
    pub linger_ms: f64,
}

/// Who is driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Reads the body, answers 202.
    Bare,
    /// The straightforward handler on Kafka.
    Plain,
    /// The ingress on Kafka.
    Kafka,
    /// The ingress on the log in memory.
    Memory,
}

/// One of the processes.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    /// Its process.
    pub pid: i32,
    /// Where it takes requests.
    pub address: SocketAddr,
}

impl Servers {
    /// Starts all of them.
    pub async fn start(dir: &Path, services: &Services) -> anyhow::Result<Self> {
        std::fs::write(dir.join("order.paid.json"), SCHEMA).context("the schema")?;
        let file = dir.join("schemas.toml");
        std::fs::write(&file, CONFIG).context("the schemas' configuration")?;
        let settings = Settings { files: vec![file], ..Settings::default() };
        let cluster = Cluster::start(dir, services, &settings, 0).await?;
        let start = |name: &str, program: &Path, command: &[&str]| {
            let command = command.iter().map(|word| (*word).to_owned());
            let args: Vec<String> = command.chain(cluster.args().iter().cloned()).collect();
            Process::start(name, program, &args, cluster.variables(), dir)
        };
        let loadtest = loadtest_binary()?;
        let mut bare = Process::start("bare", &loadtest, &["bare".to_owned()], &[], dir)?;
        let mut plain = start("plain", &loadtest, &["plain"])?;
        let mut memory = start("memory", &memory_binary()?, &[])?;
        let addresses = [
            bare.address("bare").await?,
            plain.address("plain").await?,
            cluster.target().get(),
            memory.address("ingress").await?,
        ];
        let linger_ms = plain.value("linger_ms").await?.parse().context("linger.ms")?;
        Ok(Self { bare, plain, memory, cluster, addresses, linger_ms })
    }

    /// One of them.
    pub fn subject(&self, who: Who) -> anyhow::Result<Subject> {
        let address = self.addresses[who as usize];
        Ok(Subject { pid: self.process(who)?.id(), address })
    }

    /// Its process.
    pub fn process(&self, who: Who) -> anyhow::Result<&Process> {
        match who {
            Who::Bare => Ok(&self.bare),
            Who::Plain => Ok(&self.plain),
            Who::Kafka => self.cluster.ingress(),
            Who::Memory => Ok(&self.memory),
        }
    }

    /// The admin port of the ingress on Kafka.
    pub fn admin(&self) -> anyhow::Result<SocketAddr> {
        self.cluster.ingress_admin()
    }

    /// The topics that the ingress and plain write to.
    pub fn topics(&self) -> &Topics {
        self.cluster.topics()
    }

    /// Ends all of them; the ingress on Kafka has to end by itself with code 0.
    pub async fn stop(self) -> anyhow::Result<()> {
        for reference in [self.bare, self.plain, self.memory] {
            reference.kill().await?;
        }
        self.cluster.stop().await
    }
}
