//! A broker of a test's own, to be killed: the services' Kafka, started once more with its own
//! ports and data. Stopped when it is dropped.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::support::services;

/// One Kafka node.
pub struct Broker {
    java: Vec<String>,
    dir: TempDir,
    port: u16,
    child: Option<Child>,
}

impl Broker {
    /// A fresh node; it serves clients some seconds later.
    pub fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let [port, controller] = free_ports();
        let data = dir.path().join("data");
        let properties = format!(
            "process.roles=broker,controller\nnode.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
             controller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
             log.dirs={}\noffsets.topic.replication.factor=1\n",
            data.display()
        );
        std::fs::write(dir.path().join("server.properties"), properties).expect("writable");
        let mut broker = Self { java: java(), dir, port, child: None };
        let format = ["format", "-t", "MkU3OEVBNTcwNTJENDM2Qk", "-c"];
        let formatted = broker.run("kafka.tools.StorageTool", &format).status();
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
