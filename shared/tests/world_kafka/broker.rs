//! Brokers of a test's own, to be killed: the services' Kafka, started once more with its own ports
//! and data. Stopped when they are dropped.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::support::services;

/// One Kafka node.
pub struct Broker {
    java: Vec<String>,
    dir: TempDir,
    port: u16,
    controller: u16,
    child: Option<Child>,
}

/// How clients reach a node.
pub enum Listener<'a> {
    /// In the clear, without a password.
    Plain,
    /// Over TLS, with a SCRAM password.
    Secured(&'a Secured),
}

/// What a secured listener needs.
pub struct Secured {
    /// `user`, `password`.
    pub user: (String, String),
    /// The listener's private key and its certificate, PEM.
    pub key: String,
    /// See `key`.
    pub certificate: String,
}

impl Broker {
    /// A fresh node, a cluster of its own; it serves clients some seconds later.
    pub fn start() -> Self {
        Self::listening(&Listener::Plain)
    }

    /// The same, with another listener.
    pub fn listening(listener: &Listener<'_>) -> Self {
        let [port, controller] = free_ports();
        let roles = format!(
            "process.roles=broker,controller\nnode.id=1\n\
             listeners=CLIENT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n"
        );
        Self::node(&roles, [port, controller], listener)
    }

    /// One more node of this node's cluster, which can be killed without the cluster.
    pub fn another(&self, node: i32) -> Self {
        let [port, _] = free_ports();
        let roles =
            format!("process.roles=broker\nnode.id={node}\nlisteners=CLIENT://127.0.0.1:{port}\n");
        Self::node(&roles, [port, self.controller], &Listener::Plain)
    }

    fn node(roles: &str, [port, controller]: [u16; 2], listener: &Listener<'_>) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let data = dir.path().join("data");
        let properties = format!(
            "{roles}{}\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             advertised.listeners=CLIENT://127.0.0.1:{port}\n\
             inter.broker.listener.name=CLIENT\n\
             controller.listener.names=CONTROLLER\n\
             log.dirs={}\noffsets.topic.replication.factor=1\n\
             broker.session.timeout.ms=3000\nbroker.heartbeat.interval.ms=500\n",
            listener.properties(),
            data.display()
        );
        std::fs::write(dir.path().join("server.properties"), properties).expect("writable");
        let mut broker = Self { java: java(), dir, port, controller, child: None };
        let mut format = vec!["format", "-t", "MkU3OEVBNTcwNTJENDM2Qk", "-c"];
        let user = listener.user();
        let formatted = match &user {
            Some(user) => {
                format.splice(1..1, ["--add-scram", user]);
                broker.run("kafka.tools.StorageTool", &format).status()
            }
            None => broker.run("kafka.tools.StorageTool", &format).status(),
        };
        assert!(formatted.expect("java runs").success(), "the data directory is formatted");
        broker.restart();
        broker
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `SIGKILL`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it is ours to kill");
            child.wait().expect("it is ours to wait for");
        }
    }

    /// `SIGSTOP`: its connections stay open, and nothing answers.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// `SIGCONT`.
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().expect("it runs").id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// Starts it on the data that it left.
    pub fn restart(&mut self) {
        let child = self.run("kafka.Kafka", &[]).spawn();
        self.child = Some(child.expect("java runs"));
    }

    fn run(&self, class: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.java[0]);
        command
            .args(&self.java[1..])
            .arg(class)
            .args(arguments)
            .arg(self.dir.path().join("server.properties"))
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }
}

impl Listener<'_> {
    fn properties(&self) -> String {
        match self {
            Self::Plain => {
                "listener.security.protocol.map=CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT\n".to_owned()
            }
            Self::Secured(secured) => {
                // A PEM in a properties file is one line.
                let line = |pem: &str| pem.trim().replace('\n', "\\n\\\n");
                let (user, password) = &secured.user;
                format!(
                    "listener.security.protocol.map=CLIENT:SASL_SSL,CONTROLLER:PLAINTEXT\n\
                     sasl.enabled.mechanisms=SCRAM-SHA-512\n\
                     sasl.mechanism.inter.broker.protocol=SCRAM-SHA-512\n\
                     listener.name.client.scram-sha-512.sasl.jaas.config=\
                     org.apache.kafka.common.security.scram.ScramLoginModule required \
                     username=\"{user}\" password=\"{password}\";\n\
                     ssl.keystore.type=PEM\nssl.keystore.key={}\n\
                     ssl.keystore.certificate.chain={}\n\
                     ssl.truststore.type=PEM\nssl.truststore.certificates={}\n",
                    line(&secured.key),
                    line(&secured.certificate),
                    line(&secured.certificate)
                )
            }
        }
    }

    fn user(&self) -> Option<String> {
        match self {
            Self::Plain => None,
            Self::Secured(Secured { user: (user, password), .. }) => {
                Some(format!("SCRAM-SHA-512=[name={user},password={password}]"))
            }
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The services' Kafka up to its main class: the program, its options and its class path.
fn java() -> Vec<String> {
    let services = services();
    let processes = services["processes"].as_array().expect("services.json names processes");
    let pid = processes
        .iter()
        .find(|process| process["name"] == "kafka-1")
        .and_then(|process| process["pid"].as_i64())
        .expect("services.json names kafka's process");
    let line = std::fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline"));
    let line = String::from_utf8(line.expect("kafka runs")).expect("arguments are UTF-8");
    let words: Vec<String> = line.split_terminator('\0').map(str::to_owned).collect();
    let main = words.iter().position(|word| word == "kafka.Kafka").expect("kafka's main class");
    words[..main].to_vec()
}

fn free_ports() -> [u16; 2] {
    let listeners = [(), ()].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    listeners.map(|listener| listener.local_addr().expect("bound").port())
}

fn metadata(brokers: &str, topic: Option<&str>) -> Option<rdkafka::metadata::Metadata> {
    use rdkafka::consumer::{BaseConsumer, Consumer as _};
    let client: BaseConsumer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .create()
        .expect("a plain client");
    client.fetch_metadata(topic, Duration::from_secs(5)).ok()
}

/// How many brokers a cluster has.
pub fn brokers(address: &str) -> usize {
    metadata(address, None).map_or(0, |metadata| metadata.brokers().len())
}

/// The leaders of a topic's partitions.
pub fn leaders(address: &str, topic: &str) -> Vec<i32> {
    let metadata = metadata(address, Some(topic)).expect("kafka answers");
    let mut partitions: Vec<_> = metadata.topics()[0].partitions().iter().collect();
    partitions.sort_by_key(|partition| partition.id());
    partitions.iter().map(|partition| partition.leader()).collect()
}
