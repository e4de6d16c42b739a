//! A broker is asked for its time, and a cluster without the topic for it is none the worse.

use std::time::Duration;

use shared::Shutdown;
use shared::clock::Clock;
use shared::health::Health;
use shared::log::kafka::{ClockProbe, KafkaConfig};
use shared::metrics::Registry;
use shared::skew::{Other, Skew};

use crate::support::{config, created, until};

const SKEW: &str = "shock_clock_skew_seconds{against=\"kafka\"} ";

struct Probed {
    registry: Registry,
    health: Health,
    stop: Shutdown,
}

fn probe(config: &KafkaConfig) -> Probed {
    let (registry, health) = (Registry::new(), Health::new(Clock::System));
    let stop = Shutdown::new();
    let skew = Skew::new(Other::Kafka, Duration::from_secs(60), &registry, &health);
    skew.read(shared::skew::Reading { ahead_ms: 59_000, uncertain_ms: 0 });
    ClockProbe::start(config, skew, &health, stop.clone()).expect("librdkafka starts");
    Probed { registry, health, stop }
}

impl Probed {
    fn ahead_s(&self) -> f64 {
        let text = self.registry.text();
        let found = text.lines().find_map(|line| line.strip_prefix(SKEW));
        found.expect("it is exported").parse().expect("a number")
    }
}

#[tokio::test]
async fn a_broker_tells_its_time() {
    let config = created(1).await;
    let probed = probe(&config);
    // The broker runs on this machine's clock.
    until("the broker has answered", async || probed.ahead_s().abs() < 1.0).await;
    assert_eq!(probed.health.ready(), Ok(()));
    probed.stop.cancel();
}

#[tokio::test]
async fn without_the_topic_nothing_is_known_and_nothing_suffers() {
    let config = config(1);
    let probed = probe(&config);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!((probed.ahead_s() - 59.0).abs() < f64::EPSILON, "nobody answered");
    assert_eq!((probed.health.ready(), probed.health.live()), (Ok(()), Ok(())));
    probed.stop.cancel();
}
