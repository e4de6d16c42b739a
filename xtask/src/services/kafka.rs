//! One Kafka node in KRaft mode, broker and controller at once: its configuration, the format of
//! its data directory, its start and its health. Kafka itself is Apache's, from [`jars`].

mod jars;
mod metadata;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{directory::KafkaNode, process::Process};
use crate::{command, system};

/// 16 bytes in base64url. All our clusters share it; they never meet, their ports differ.
const CLUSTER_ID: &str = "ShockAbsorberLocal000A";
/// Kafka's own default is 1 GiB; three nodes and a compiler share one machine here.
const HEAP: &str = "-Xmx512m";
const LOG4J: &str = "\
appender.stdout.type=Console
appender.stdout.name=STDOUT
appender.stdout.layout.type=PatternLayout
appender.stdout.layout.pattern=[%d] %p %m (%c)%n
rootLogger.level=INFO
rootLogger.appenderRefs=stdout
rootLogger.appenderRef.stdout.ref=STDOUT
";

/// A node's place in its cluster and on the disk.
#[derive(Debug)]
pub struct Node<'a> {
    /// Counts from 1, as node ids do.
    id: usize,
    cluster: &'a [KafkaNode],
    dir: PathBuf,
}

impl<'a> Node<'a> {
    /// Node `id` (1…) of `cluster`, which keeps everything below `services_dir/kafka-ID`.
    pub fn new(id: usize, cluster: &'a [KafkaNode], services_dir: &Path) -> Self {
        Self { id, cluster, dir: services_dir.join(format!("kafka-{id}")) }
    }

    /// Where the node's output goes.
    pub fn log(&self) -> PathBuf {
        self.dir.join("server.log")
    }

    /// The ports of this node.
    pub fn ports(&self) -> KafkaNode {
        self.cluster[self.id - 1]
    }

    /// Writes the node's configuration and formats its data directory where that was not done.
    pub fn prepare(&self) -> Result<()> {
        let data = self.dir.join("data");
        fs::create_dir_all(&data)
            .and_then(|()| fs::write(self.properties_path(), self.properties(&data)))
            .and_then(|()| fs::write(self.log4j_path(), LOG4J))
            .with_context(|| format!("could not write below {}", self.dir.display()))?;
        if data.join("meta.properties").exists() {
            return Ok(());
        }
        let mut format = self.java("-Xmx128m", Command::new(java()?))?;
        format.args(["kafka.tools.StorageTool", "format", "--ignore-formatted"]);
        format.args(["--cluster-id", CLUSTER_ID, "--config"]).arg(self.properties_path());
        command::capture(&mut format).map(drop)
    }

    /// Starts the node; it is of use once [`Node::is_healthy`].
    pub fn spawn(&self) -> Result<Process> {
        let mut server = self.java(HEAP, Process::detached(&java()?))?;
        server.arg("kafka.Kafka").arg(self.properties_path());
        Process::spawn(&mut server, &self.log())
    }

    /// True when the node answers and is itself among the brokers that clients are told of.
    pub fn is_healthy(&self) -> bool {
        metadata::broker_ids(self.ports().broker_port)
            .is_ok_and(|ids| ids.iter().any(|id| usize::try_from(*id) == Ok(self.id)))
    }

    fn java(&self, heap: &str, mut command: Command) -> Result<Command> {
        let mut log4j = std::ffi::OsString::from("-Dlog4j2.configurationFile=");
        log4j.push(self.log4j_path());
        command.args([heap, "-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true"]);
        command.arg(log4j).arg("-cp").arg(jars::fetch()?.join("*"));
        Ok(command)
    }

    fn properties_path(&self) -> PathBuf {
        self.dir.join("server.properties")
    }

    fn log4j_path(&self) -> PathBuf {
        self.dir.join("log4j2.properties")
    }

    fn properties(&self, data: &Path) -> String {
        let KafkaNode { broker_port, controller_port } = self.ports();
        let voters = (1..)
            .zip(self.cluster)
            .map(|(id, node)| format!("{id}@127.0.0.1:{}", node.controller_port))
            .collect::<Vec<_>>()
            .join(",");
        let replicas = self.cluster.len();
        // What production asks for (min.insync 2 of 3), as far as the number of nodes allows.
        let insync_min = replicas.div_ceil(2);
        format!(
            "\
process.roles=broker,controller
node.id={id}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{broker_port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{broker_port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
unclean.leader.election.enable=false
default.replication.factor={replicas}
min.insync.replicas={insync_min}
offsets.topic.replication.factor={replicas}
offsets.topic.num.partitions=4
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={insync_min}
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={insync_min}
share.coordinator.state.topic.num.partitions=4
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.min.session.timeout.ms=1000
group.consumer.min.heartbeat.interval.ms=250
",
            id = self.id,
            data = data.display(),
        )
    }
}

/// The file itself, not a name: `setsid` and the shell may see another PATH.
fn java() -> Result<PathBuf> {
    system::find_in_path("java").context("java has left the PATH")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(brokers: u16) -> String {
        let cluster = (0..brokers)
            .map(|i| KafkaNode { broker_port: 100 + i, controller_port: 200 + i })
            .collect::<Vec<_>>();
        Node::new(1, &cluster, Path::new("/services")).properties(Path::new("/services/data"))
    }

    #[test]
    fn one_broker_replicates_once() {
        let text = properties(1);
        assert!(text.contains("\nmin.insync.replicas=1\n"));
        assert!(text.contains("\noffsets.topic.replication.factor=1\n"));
        assert!(text.contains("\ncontroller.quorum.voters=1@127.0.0.1:200\n"));
    }

    #[test]
    fn three_brokers_survive_the_loss_of_one() {
        let text = properties(3);
        assert!(text.contains("\nmin.insync.replicas=2\n"));
        assert!(text.contains("\ndefault.replication.factor=3\n"));
        assert!(text.contains("1@127.0.0.1:200,2@127.0.0.1:201,3@127.0.0.1:202"));
    }
}
