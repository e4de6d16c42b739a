//! A services directory: its lock and its `services.json`, which tests and tools read to find
//! the services. Knows nothing of how a service is started.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::{
    port,
    process::{Process, ProcessId},
};

/// `services.json`: where the services are, and which processes they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Services {
    /// Kafka's bootstrap list, `127.0.0.1:p1,127.0.0.1:p2,…`.
    pub kafka: String,
    /// A URL of the database for its owner, who may do anything.
    pub postgres: String,
    /// One entry for each broker, in the order of their node ids (1, 2, 3).
    pub kafka_nodes: Vec<KafkaNode>,
    /// The port of PostgreSQL on the loopback.
    pub postgres_port: u16,
    /// PostgreSQL's data directory; elsewhere when its user cannot reach this one.
    pub postgres_data: PathBuf,
    /// What was started and not stopped by us; an entry may have died since.
    pub processes: Vec<NamedProcess>,
}

/// The ports of one Kafka node, which is broker and controller at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KafkaNode {
    /// Where clients connect.
    pub broker_port: u16,
    /// Where the controllers of the quorum talk to each other.
    pub controller_port: u16,
}

/// A process and the service that it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedProcess {
    /// `postgres`, `kafka-1`, `kafka-2` or `kafka-3`.
    pub name: String,
    #[serde(flatten)]
    pub id: ProcessId,
}

/// A services directory that we have locked: no other xtask starts or stops anything in it.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Creates the directory where it does not exist, and waits for its lock.
    pub fn lock(path: &Path) -> Result<Self> {
        let context = || format!("could not set up {}", path.display());
        fs::create_dir_all(path).with_context(context)?;
        let path = fs::canonicalize(path).with_context(context)?;
        let lock = File::create(path.join("lock")).with_context(context)?;
        lock.lock().with_context(context)?;
        Ok(Self { path, _lock: lock })
    }

    /// The directory's absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of `services.json`.
    pub fn services_json(&self) -> PathBuf {
        self.path.join("services.json")
    }

    /// What `services.json` says; none where nothing was ever started here.
    pub fn read(&self) -> Result<Option<Services>> {
        let path = self.services_json();
        if !path.exists() {
            return Ok(None);
        }
        let context = || format!("could not read {}", path.display());
        let text = fs::read_to_string(&path).with_context(context)?;
        serde_json::from_str(&text).with_context(context).map(Some)
    }

    /// Replaces `services.json` at once: a reader sees the old or the new one, never a half.
    pub fn write(&self, services: &Services) -> Result<()> {
        let path = self.services_json();
        let fresh = path.with_extension("json.new");
        let text = serde_json::to_string_pretty(services)? + "\n";
        fs::write(&fresh, text)
            .and_then(|()| fs::rename(&fresh, &path))
            .with_context(|| format!("could not write {}", path.display()))
    }

    /// Picks ports and places for `brokers` Kafka nodes and PostgreSQL, and writes them down.
    pub fn plan(&self, brokers: usize, postgres_data: PathBuf) -> Result<Services> {
        let ports = port::pick(2 * brokers + 1, std::process::id().wrapping_mul(2_654_435_761))?;
        let [postgres_port, node_ports @ ..] = ports.as_slice() else {
            bail!("no port for PostgreSQL");
        };
        let kafka_nodes = node_ports
            .chunks_exact(2)
            .map(|pair| KafkaNode { broker_port: pair[0], controller_port: pair[1] })
            .collect::<Vec<_>>();
        let bootstrap = kafka_nodes.iter().map(|node| format!("127.0.0.1:{}", node.broker_port));
        let services = Services {
            kafka: bootstrap.collect::<Vec<_>>().join(","),
            postgres: format!("postgres://shock@127.0.0.1:{postgres_port}/shock"),
            kafka_nodes,
            postgres_port: *postgres_port,
            postgres_data,
            processes: Vec::new(),
        };
        self.write(&services)?;
        Ok(services)
    }
}

impl Services {
    /// The live process of a service.
    pub fn process(&self, name: &str) -> Option<Process> {
        self.processes.iter().find(|process| process.name == name).and_then(|p| Process::open(p.id))
    }

    /// Notes that `name` is now `process`, or that nothing of it runs any more.
    pub fn set_process(&mut self, name: &str, process: Option<ProcessId>) {
        self.processes.retain(|entry| entry.name != name);
        self.processes.extend(process.map(|id| NamedProcess { name: name.to_owned(), id }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_the_documented_shape() {
        let mut services = Services {
            kafka: "127.0.0.1:1".into(),
            postgres: "postgres://shock@127.0.0.1:3/shock".into(),
            kafka_nodes: vec![KafkaNode { broker_port: 1, controller_port: 2 }],
            postgres_port: 3,
            postgres_data: "pg".into(),
            processes: Vec::new(),
        };
        services.set_process("kafka-1", Some(ProcessId { pid: 1, start_time: 1 }));
        services.set_process("kafka-1", Some(ProcessId { pid: 5, start_time: 9 }));
        let json = serde_json::to_value(&services).expect("plain data");
        let expected = serde_json::json!([{"name": "kafka-1", "pid": 5, "start_time": 9}]);
        assert_eq!(json["processes"], expected);
        assert_eq!(json["kafka"], "127.0.0.1:1");
        services.set_process("kafka-1", None);
        assert!(services.processes.is_empty());
    }
}
