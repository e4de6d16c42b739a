//! How long an event takes at a constant rate, from the moment it should have been sent to the
//! answer's last byte; and what of that is the broker's, the append's and the validation's.

use std::time::Duration;

use anyhow::{Context, ensure};
use hdrhistogram::Histogram as Latencies;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use shared::Shutdown;
use tokio::time::Instant;

use super::servers::{Servers, Subject, Who};
use super::{blocking, cost};
use crate::bench::generator::{Generator, Pace, latencies};
use crate::bench::histogram::Histogram;
use crate::bench::report::{Direction, Report};
use crate::bench::template::singles;
use crate::records::Topics;

/// How long each rate is held.
const SECONDS: f64 = 15.0;
/// Connections; at half of the maximum few of them are busy at a time.
const CONNECTIONS: u32 = 512;
/// Between two records of the broker's probe.
const PROBE_EVERY: Duration = Duration::from_millis(10);

/// A share of the measured maximum, and what is asked for there, in milliseconds.
struct Rate {
    name: &'static str,
    share: f64,
    p99_ms: Option<f64>,
    append_p99_ms: f64,
}

const RATES: [Rate; 2] = [
    Rate { name: "a tenth", share: 0.1, p99_ms: None, append_p99_ms: 5.0 },
    Rate { name: "half", share: 0.5, p99_ms: Some(10.0), append_p99_ms: 10.0 },
];
const VALIDATE_P99_MS: f64 = 0.1;
const APPEND: &str = "shock_ingress_append_seconds";
const VALIDATE: &str = "shock_ingress_validate_seconds";

/// Measures at a tenth and at half of the maximum, which is measured first where nobody has.
pub async fn measure(
    servers: &Servers,
    per_s_max: Option<f64>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let subject = servers.subject(Who::Kafka)?;
    let per_s_max = match per_s_max {
        Some(per_s) => per_s,
        None => blocking(move || cost::per_s_max(subject)).await?,
    };
    report.note("the measured maximum, ingress on Kafka, single", per_s_max, "events/s");
    for rate in RATES {
        let seen = at(servers, per_s_max * rate.share).await?;
        note(&rate, &seen, report);
    }
    Ok(())
}

/// What one rate showed.
struct Seen {
    per_s: f64,
    latency: Latencies<u64>,
    broker: Latencies<u64>,
    append: Histogram,
    validate: Histogram,
}

async fn at(servers: &Servers, per_s: f64) -> anyhow::Result<Seen> {
    let (subject, admin) = (servers.subject(Who::Kafka)?, servers.admin()?);
    let append = Histogram::scrape(admin, APPEND).await?;
    let validate = Histogram::scrape(admin, VALIDATE).await?;
    let stop = Shutdown::new();
    let probe = tokio::spawn(probe(servers.topics().clone(), stop.clone()));
    let latency = blocking(move || open_loop(subject, per_s)).await?;
    stop.cancel();
    let broker = probe.await.context("the broker's probe")??;
    let append = Histogram::scrape(admin, APPEND).await?.since(&append);
    let validate = Histogram::scrape(admin, VALIDATE).await?.since(&validate);
    ensure!(append.count() >= latency.len() as f64, "an append was not observed");
    Ok(Seen { per_s, latency, broker, append, validate })
}

fn note(rate: &Rate, seen: &Seen, report: &mut Report) {
    let name = |what: &str| format!("at {} of the maximum: {what}", rate.name);
    let ms = |of: &Latencies<u64>, share| of.value_at_quantile(share) as f64 / 1e6;
    report.note(name("rate"), seen.per_s, "events/s");
    report.note(name("p50 from intended send time"), ms(&seen.latency, 0.5), "ms");
    let p99 = (name("p99 from intended send time"), ms(&seen.latency, 0.99));
    match rate.p99_ms {
        Some(reach) => report.note_against(p99.0, p99.1, "ms", (Direction::AtMost, reach)),
        None => report.note(p99.0, p99.1, "ms"),
    }
    report.note(name("p99.9 from intended send time"), ms(&seen.latency, 0.999), "ms");
    for (share, label) in [(0.5, "p50"), (0.99, "p99"), (0.999, "p99.9")] {
        let what = name(&format!("the broker's own share, {label}"));
        report.note(what, ms(&seen.broker, share), "ms");
    }
    let reach = (Direction::AtMost, rate.append_p99_ms);
    report.note_against(name("append p99"), seen.append.quantile(0.99) * 1e3, "ms", reach);
    let reach = (Direction::AtMost, VALIDATE_P99_MS);
    report.note_against(name("validation p99"), seen.validate.quantile(0.99) * 1e3, "ms", reach);
}

fn open_loop(subject: Subject, per_s: f64) -> anyhow::Result<Latencies<u64>> {
    let mut generator = Generator::open(subject.address, CONNECTIONS, &singles(), 0)?;
    let requests = (per_s * SECONDS) as u64;
    Ok(generator.run(requests, Pace::Open { per_s })?.latency_ns)
}

/// The broker's own share: a producer of its own sends one small record at a time, at once, beside
/// the load; how long it takes until each is acknowledged, in nanoseconds.
async fn probe(topics: Topics, stop: Shutdown) -> anyhow::Result<Latencies<u64>> {
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", &topics.brokers)
        .set("acks", "all")
        .set("linger.ms", "0")
        .create()
        .context("a producer")?;
    let topic = format!("{}.telemetry", topics.prefix);
    let mut took = latencies()?;
    let mut ticks = tokio::time::interval(PROBE_EVERY);
    // The first one fetches metadata.
    let mut warm = false;
    while !stop.is_cancelled() {
        ticks.tick().await;
        let sent = Instant::now();
        let record = FutureRecord::to(&topic).key("probe").payload("{}");
        let delivered = producer.send(record, Duration::ZERO).await;
        delivered.map_err(|(error, _)| error).context("the broker's probe")?;
        if warm {
            took.saturating_record(sent.elapsed().as_nanos() as u64);
        }
        warm = true;
    }
    Ok(took)
}
