//! One run: the load is played against processes that are up, and what they say about themselves is
//! read before and after.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context;
use shared::Shutdown;
use shared::position::Class;

use super::plan::{Course, Offer, Scale};
use super::probe::{self, Look, Watched};
use super::streams::{self, Stream, Tally};
use crate::admin;
use crate::bench::cpu;
use crate::bench::exposition::samples;
use crate::bench::histogram::Histogram;
use crate::deployment::Cluster;

const EFFECT: &str = "shock_consumer_effect_seconds";
const TO_USE: &str = "shock_ingress_limit_applied_seconds";
const ADMITTED: &str = "shock_ingress_admitted_total";
const SHED: &str = "shock_ingress_shed_total";
const LEVELS: usize = 5;

/// Who is driven and who is looked at.
#[derive(Clone, Debug)]
pub struct Scene {
    /// Where producers post, with each replica's admin port and process.
    pub replicas: Vec<Replica>,
    /// The consumers.
    pub consumers: Watched,
    /// What the writers can do.
    pub scale: Scale,
}

/// One ingress.
#[derive(Clone, Copy, Debug)]
pub struct Replica {
    /// Its port.
    pub address: SocketAddr,
    /// Its admin port.
    pub admin: SocketAddr,
    /// Its process.
    pub pid: i32,
}

/// What a run came to.
#[derive(Debug)]
pub struct Played {
    /// What was offered.
    pub offers: Vec<Offer>,
    /// What the writers could do.
    pub scale: Scale,
    /// How it went.
    pub course: Course,
    /// By offer, all replicas together, and part.
    pub tallies: Vec<Vec<Tally>>,
    /// The consumers, four times a second.
    pub looks: Vec<Look>,
    /// From the receipt to the effect of transactional events; none where nobody says.
    pub effect: Option<Histogram>,
    /// From a limit's publication to its use; none where nobody says.
    pub to_use: Option<Histogram>,
    /// What admission let in and refused, by level.
    pub levels: [(f64, f64); LEVELS],
    /// What admission refused, by the step that did.
    pub steps: BTreeMap<String, f64>,
    /// CPU of all replicas together, s.
    pub ingress_cpu_s: f64,
}

impl Scene {
    /// The processes of a cluster.
    pub fn of(cluster: &Cluster, consumers: usize, scale: Scale) -> anyhow::Result<Self> {
        let replica = Replica {
            address: cluster.target().get(),
            admin: cluster.ingress_admin()?,
            pid: cluster.ingress()?.id(),
        };
        let consumers = (0..consumers).map(|index| cluster.consumer_admin(index));
        let consumers = Watched::new(consumers.collect::<Result<_, _>>()?);
        Ok(Self { replicas: vec![replica], consumers, scale })
    }

    /// Plays the offers, in equal parts over the replicas, while `meanwhile` does its own.
    pub async fn play(
        &self,
        offers: Vec<Offer>,
        course: Course,
        meanwhile: impl Future<Output = anyhow::Result<()>>,
    ) -> anyhow::Result<Played> {
        let streams = self.streams(&offers);
        let before = Said::ask(self).await?;
        let stop = Shutdown::new();
        let looking = tokio::spawn(probe::watch(self.consumers.clone(), stop.clone()));
        let parts = course.parts();
        let playing = tokio::task::spawn_blocking(move || streams::play(&streams, &parts));
        let (played, meanwhile) = tokio::join!(playing, meanwhile);
        meanwhile.context("what happens meanwhile")?;
        let by_stream = played.context("the load generator")??;
        stop.cancel();
        let looks = looking.await.context("the probe")?;
        let after = Said::ask(self).await?;
        let tallies = self.by_offer(&offers, &by_stream)?;
        let since = |now: Option<Histogram>, then: Option<Histogram>| match (now, then) {
            (Some(now), Some(then)) => Some(now.since(&then)),
            (now, None) => now,
            (None, Some(_)) => None,
        };
        let mut levels = after.levels;
        for (level, before) in levels.iter_mut().zip(before.levels) {
            (level.0, level.1) = (level.0 - before.0, level.1 - before.1);
        }
        // The load is the first that these processes see: nothing was refused before.
        Ok(Played {
            offers,
            scale: self.scale,
            course,
            tallies,
            looks,
            effect: since(after.effect, before.effect),
            to_use: since(after.to_use, before.to_use),
            levels,
            steps: after.steps,
            ingress_cpu_s: after.cpu_s - before.cpu_s,
        })
    }

    fn streams(&self, offers: &[Offer]) -> Vec<Stream> {
        let replicas = self.replicas.len() as f64;
        let of_replica = |replica: &Replica| {
            let address = replica.address;
            let stream = move |offer: &Offer| Stream {
                address,
                template: offer.template(),
                per_s: offer.per_s.iter().map(|per_s| per_s / replicas).collect(),
            };
            offers.iter().map(stream).collect::<Vec<_>>()
        };
        self.replicas.iter().flat_map(of_replica).collect()
    }

    fn by_offer(
        &self,
        offers: &[Offer],
        by_stream: &[Vec<Tally>],
    ) -> anyhow::Result<Vec<Vec<Tally>>> {
        let sum = |offer: usize, part: usize| {
            let own = by_stream.iter().skip(offer).step_by(offers.len());
            Tally::sum(own.map(|parts| &parts[part]))
        };
        let parts = by_stream.first().map_or(0, Vec::len);
        let of_offer = |offer| (0..parts).map(|part| sum(offer, part)).collect();
        (0..offers.len()).map(of_offer).collect()
    }
}

/// What the processes say of themselves at one moment.
#[derive(Default)]
struct Said {
    effect: Option<Histogram>,
    to_use: Option<Histogram>,
    levels: [(f64, f64); LEVELS],
    steps: BTreeMap<String, f64>,
    cpu_s: f64,
}

impl Said {
    async fn ask(scene: &Scene) -> anyhow::Result<Self> {
        let mut said = Self::default();
        let class = format!("class=\"{}\"", Class::Transactional.name());
        for admin in scene.consumers.admins() {
            // One that was killed says nothing any more.
            if let Ok((200, text)) = admin::get(admin, "/metrics").await {
                add(&mut said.effect, Histogram::read(&text, EFFECT, &class).ok());
            }
        }
        for replica in &scene.replicas {
            let (_, text) = admin::get(replica.admin, "/metrics").await?;
            add(&mut said.to_use, Histogram::read(&text, TO_USE, "").ok());
            for (level, (admitted, shed)) in said.levels.iter_mut().enumerate() {
                *admitted += of_level(&text, ADMITTED, level);
                *shed += of_level(&text, SHED, level);
            }
            for sample in samples(&text, SHED) {
                let step = sample.label("step").unwrap_or("?").to_owned();
                *said.steps.entry(step).or_default() += sample.value;
            }
            said.cpu_s += cpu::seconds(replica.pid)?;
        }
        Ok(said)
    }
}

fn add(sum: &mut Option<Histogram>, more: Option<Histogram>) {
    *sum = match (sum.take(), more) {
        (Some(sum), Some(more)) => Some(sum.plus(&more)),
        (sum, more) => sum.or(more),
    };
}

fn of_level(text: &str, name: &str, level: usize) -> f64 {
    let level = level.to_string();
    let own = samples(text, name).filter(|one| one.label("level") == Some(level.as_str()));
    own.map(|one| one.value).sum()
}

impl Played {
    /// The sum of one part over the offers that `which` takes.
    pub fn part(&self, part: usize, which: impl Fn(&Offer) -> bool) -> anyhow::Result<Tally> {
        let own = self.offers.iter().zip(&self.tallies).filter(|(offer, _)| which(offer));
        Tally::sum(own.map(|(_, parts)| &parts[part]))
    }

    /// When a part begins and ends, s.
    pub fn span_s(&self, part: usize) -> (f64, f64) {
        let parts = self.course.parts();
        let begin: Duration = parts[..part].iter().sum();
        (begin.as_secs_f64(), (begin + parts[part]).as_secs_f64())
    }
}

/// Lets a part of the course pass.
pub async fn at(started: Instant, moment: Duration) {
    tokio::time::sleep_until((started + moment).into()).await;
}
