//! The first figures: what an event costs at the ingress beside bare hyper, and how many events a
//! second go the whole way from HTTP to the committed effect.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::cpu;
use super::generator::{Generator, Pace};
use super::report::{Report, median};
use super::template::{Template, batches, singles};
use crate::deployment::{Cluster, Deployment, Embedded, Settings};
use crate::process::{Process, loadtest_binary};
use crate::services::Services;

/// Connections of every measurement.
const CONNECTIONS: u32 = 64;

/// Alternating rounds; their median counts.
const ROUNDS: u32 = 5;

/// Requests of a CPU round: at 5 µs each some 20 of the kernel's ticks.
const CPU_REQUESTS: u64 = 40_000;

/// Requests of a round that measures single events to their effects.
const SINGLES: u64 = 20_000;

/// Requests of a round that measures batches to their effects.
const BATCHES: u64 = 1_000;

/// Events of a batch.
const BATCH_EVENTS: usize = 100;

/// Bounds the run: a round begins only when the deployment's share of the time is not used up.
const DEPLOYMENT_TIME_MAX: Duration = Duration::from_secs(30);

/// From the last answer to the last effect.
const EFFECTS_DEADLINE: Duration = Duration::from_secs(60);

/// Measures a deployment on each backend asked for.
pub async fn run(
    dir: &Path,
    embedded: bool,
    services: Option<&Services>,
) -> anyhow::Result<Report> {
    let mut report = Report::new("way");
    let bare = Process::start(
        "bare",
        &loadtest_binary()?,
        &["bare", "--listen", "127.0.0.1:0"].map(str::to_owned),
        &[],
        dir,
    )?;
    let mut bench = Way { bare_address: None, bare, events: 0 };
    if embedded {
        let dir = dir.join("embedded");
        std::fs::create_dir(&dir).with_context(|| dir.display().to_string())?;
        let deployment = Embedded::start(&dir, &Settings::default()).await?;
        let pid = deployment.process()?.id();
        let deployment = Deployment::Embedded(Box::new(deployment));
        let names = Names { backend: "embedded", process: "whole process: ingress and consumer" };
        bench.measure(&deployment, pid, &names, &mut report).await?;
        deployment.stop().await?;
    }
    if let Some(services) = services {
        let dir = dir.join("kafka");
        std::fs::create_dir(&dir).with_context(|| dir.display().to_string())?;
        let deployment = Cluster::start(&dir, services, &Settings::default(), 1).await?;
        let pid = deployment.ingress()?.id();
        let deployment = Deployment::Cluster(Box::new(deployment));
        let names = Names { backend: "kafka", process: "ingress" };
        bench.measure(&deployment, pid, &names, &mut report).await?;
        deployment.stop().await?;
    }
    Ok(report)
}

struct Names {
    backend: &'static str,
    process: &'static str,
}

struct Way {
    bare: Process,
    bare_address: Option<SocketAddr>,
    /// Posted to the deployment so far; every one has its own number.
    events: u64,
}

impl Way {
    async fn measure(
        &mut self,
        deployment: &Deployment,
        pid: i32,
        names: &Names,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let Names { backend, process } = names;
        let started = Instant::now();
        self.events = 0;
        let (mut bare, mut own, mut single, mut batched) = (vec![], vec![], vec![], vec![]);
        // The first round warms everything up and is not counted.
        for round in 0..=ROUNDS {
            if round > 1 && started.elapsed() > DEPLOYMENT_TIME_MAX {
                break;
            }
            let bare_us = self.bare_us().await?;
            let (own_us, single_per_s) = self.singles(deployment, pid).await?;
            let batched_per_s = self.batches(deployment).await?;
            if round > 0 {
                bare.push(bare_us);
                own.push(own_us);
                single.push(single_per_s);
                batched.push(batched_per_s);
            }
        }
        let ratios: Vec<f64> = own.iter().zip(&bare).map(|(own, bare)| own / bare).collect();
        report.note(format!("{backend}: rounds"), bare.len() as f64, "");
        report.note(format!("{backend}: CPU per request, bare hyper"), median(&bare), "µs");
        report.note(format!("{backend}: CPU per event, {process}"), median(&own), "µs");
        report.note(format!("{backend}: {process} / bare hyper"), median(&ratios), "×");
        let way = |what: &str| format!("{backend}: HTTP to committed effect, {what}");
        report.note(way("single events"), median(&single), "events/s");
        report.note(way("NDJSON of 100"), median(&batched), "events/s");
        Ok(())
    }

    /// CPU of the bare server per request.
    async fn bare_us(&mut self) -> anyhow::Result<f64> {
        let address = match self.bare_address {
            Some(address) => address,
            None => *self.bare_address.insert(self.bare.address("bare").await?),
        };
        let before = cpu::seconds(self.bare.id())?;
        let posted = post(address, singles(), CPU_REQUESTS, 0).await?;
        Ok((cpu::seconds(self.bare.id())? - before) * 1e6 / posted as f64)
    }

    /// CPU of the process per single event, and events per second to their effects.
    async fn singles(&mut self, deployment: &Deployment, pid: i32) -> anyhow::Result<(f64, f64)> {
        let before = cpu::seconds(pid)?;
        let (posted, per_s) = self.until_effects(deployment, singles(), SINGLES).await?;
        Ok(((cpu::seconds(pid)? - before) * 1e6 / posted as f64, per_s))
    }

    async fn batches(&mut self, deployment: &Deployment) -> anyhow::Result<f64> {
        Ok(self.until_effects(deployment, batches(BATCH_EVENTS), BATCHES).await?.1)
    }

    /// From the first request to the last committed effect: how many events, and events per second.
    async fn until_effects(
        &mut self,
        deployment: &Deployment,
        templates: Vec<Template>,
        requests: u64,
    ) -> anyhow::Result<(u64, f64)> {
        let started = Instant::now();
        let posted = post(deployment.target().get(), templates, requests, self.events).await?;
        self.events += posted;
        deployment.effects().wait_for(self.events, EFFECTS_DEADLINE).await?;
        let elapsed = started.elapsed();
        let there = deployment.effects().count().await?;
        ensure!(there == self.events, "{there} effects of {} events", self.events);
        Ok((posted, posted as f64 / elapsed.as_secs_f64()))
    }
}

/// Posts so many requests, and one more per connection; how many events that were.
async fn post(
    address: SocketAddr,
    templates: Vec<Template>,
    requests: u64,
    first: u64,
) -> anyhow::Result<u64> {
    let load = move || {
        let mut generator = Generator::open(address, CONNECTIONS, &templates, first)?;
        generator.run(requests, Pace::Closed)?;
        Ok(generator.next() - first)
    };
    tokio::task::spawn_blocking(load).await.context("the load generator")?
}
