//! Kafka behind TLS and a SCRAM password: what `[kafka.properties]` says is what reaches it.

use std::process::Command;

use shared::log::kafka::{KafkaConfig, Producer, topics};

use crate::broker::{Broker, Listener, Secured};
use crate::support::{append, config_at, create_topics, id, producer, scanned, text, until};

const PASSWORD: &str = "correct-horse-battery";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_and_scram_reach_kafka_and_a_wrong_password_or_authority_says_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let (key, certificate) = self_signed(dir.path());
    let secured = Secured {
        user: ("shock".to_owned(), PASSWORD.to_owned()),
        key,
        certificate: certificate.clone(),
    };
    let broker = Broker::listening(&Listener::Secured(&secured));
    let config = with(&broker, &certificate, PASSWORD);
    until("the broker answers", async || topics::plan(&config).await.is_ok()).await;
    create_topics(&config).await;
    let producer = producer(&config).await;
    let values = ["over TLS".to_owned()];
    assert!(append(&producer, id(0), &values).await[0].is_ok());
    assert_eq!(text(&scanned(&config, id(0)).await), values);

    let wrong = with(&broker, &certificate, "wrong-password");
    refused(&wrong, "authentication").await;
    let (_, stranger) = self_signed(dir.path());
    refused(&with(&broker, &stranger, PASSWORD), "certificate").await;
}

/// The producer starts, is not usable, and says why, without the password.
async fn refused(config: &KafkaConfig, reason: &str) {
    let producer = Producer::start(config).expect("kafka is not asked");
    producer.check_topics().await.expect("what may change is waited for");
    let said = || producer.usable().expect_err("it cannot be reached so");
    until("it says why", async || said().to_lowercase().contains(reason)).await;
    let error = said();
    assert!(!error.contains(PASSWORD) && !error.contains("wrong-password"), "{error}");
}

fn with(broker: &Broker, authority: &str, password: &str) -> KafkaConfig {
    let mut config = config_at(broker.address(), 1);
    for (key, value) in [
        ("security.protocol", "sasl_ssl"),
        ("sasl.mechanism", "SCRAM-SHA-512"),
        ("sasl.username", "shock"),
        ("sasl.password", password),
        ("ssl.ca.pem", authority),
    ] {
        config.properties.insert(key.to_owned(), value.to_owned());
    }
    config
}

/// A private key and a certificate for 127.0.0.1 that is its own authority, both PEM.
fn self_signed(dir: &std::path::Path) -> (String, String) {
    let (key, certificate) = (dir.join("key.pem"), dir.join("certificate.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=broker",
        ])
        .args(["-addext", "subjectAltName=IP:127.0.0.1"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .expect("openssl runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let read = |path| std::fs::read_to_string(path).expect("openssl has written it");
    (read(key), read(certificate))
}
