//! Topics: what is there compared with what is configured, and the creation of what is missing.
//!
//! Nothing here changes or deletes a topic: a difference is reported, and a human decides.

use std::fmt;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::MetadataTopic;

use super::{Durability, KafkaConfig, KafkaError, TopicSpec, settings};
use crate::position::Class;

/// The longest wait for one answer of the cluster.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the brokers may take to hear of a topic that was created, and how often they are asked.
const SEEN_TIMEOUT: Duration = Duration::from_secs(15);
const SEEN_INTERVAL: Duration = Duration::from_millis(100);

/// What is to be done about each class's topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// One per class, highest priority first, the one that tells the brokers' time, the control
    /// plane's two, and the one of what is parked.
    pub topics: Vec<PlannedTopic>,
}

/// One topic of a [`Plan`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedTopic {
    /// The topic's name.
    pub name: String,
    /// What is to be done.
    pub action: Action,
}

/// What [`apply`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The topics that it created.
    pub created: Vec<String>,
    /// What is there now.
    pub plan: Plan,
}

/// What is to be done about a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is not there: `apply` creates it like this.
    Create(TopicSpec),
    /// It is there, as configured.
    Fits,
    /// It is there, but not as configured: reported, never changed.
    Differs(Vec<Difference>),
}

/// One property that is not as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// `partitions`, `replication`, or the topic's own configuration key.
    pub what: &'static str,
    /// As configured.
    pub wanted: String,
    /// As it is.
    pub found: String,
}

/// The topics that do not give what the log promises, each with the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfits(pub Vec<String>);

impl Plan {
    /// Whether nothing is missing and nothing differs.
    pub fn fits(&self) -> bool {
        self.topics.iter().all(|topic| topic.action == Action::Fits)
    }

    /// Whether these topics are there as configured.
    fn knows(&self, names: &[&str]) -> bool {
        let awaited = |topic: &&PlannedTopic| names.contains(&topic.name.as_str());
        self.topics.iter().filter(awaited).all(|topic| topic.action == Action::Fits)
    }
}

/// Compares what is there with what is configured. Changes nothing.
pub async fn plan(config: &KafkaConfig) -> Result<Plan, KafkaError> {
    let config = config.clone();
    blocking(move || {
        let wanted = config.wanted_topics();
        let names: Vec<&str> = wanted.iter().map(|(name, _)| name.as_str()).collect();
        let found = inspect(&config, &names)?;
        let topics = wanted
            .into_iter()
            .zip(&found)
            .map(|((name, spec), found)| PlannedTopic {
                name,
                action: action(&spec, found.as_ref()),
            })
            .collect();
        Ok(Plan { topics })
    })
    .await
}

/// Creates the topics that the plan found missing. One that somebody else has created meanwhile is
/// left as it is.
pub async fn apply(config: &KafkaConfig, plan: &Plan) -> Result<Applied, KafkaError> {
    let missing: Vec<Missing<'_>> = plan.topics.iter().filter_map(Missing::of).collect();
    let created = create(config, &missing).await?;
    let names: Vec<&str> = missing.iter().map(|topic| topic.name).collect();
    Ok(Applied { created, plan: seen(config, &names).await? })
}

/// What is there, once the brokers know the topics that were just created: the controller answers
/// before they have heard of them, and one that has not calls them missing.
async fn seen(config: &KafkaConfig, created: &[&str]) -> Result<Plan, KafkaError> {
    let begun = Instant::now();
    loop {
        let found = plan(config).await;
        let known = found.as_ref().is_ok_and(|plan| plan.knows(created));
        if known || begun.elapsed() > SEEN_TIMEOUT {
            return found;
        }
        tokio::time::sleep(SEEN_INTERVAL).await;
    }
}

async fn create(config: &KafkaConfig, missing: &[Missing<'_>]) -> Result<Vec<String>, KafkaError> {
    let wanted: Vec<NewTopic<'_>> = missing.iter().map(Missing::as_new).collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let admin: AdminClient<DefaultClientContext> = settings::admin(config)?.create()?;
    let options = AdminOptions::new()
        .request_timeout(Some(ANSWER_TIMEOUT))
        .operation_timeout(Some(ANSWER_TIMEOUT));
    let mut created = Vec::new();
    for result in admin.create_topics(&wanted, &options).await? {
        match result {
            Ok(name) => created.push(name),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, error)) => {
                return Err(KafkaError::Unavailable(format!("cannot create {name}: {error}")));
            }
        }
    }
    Ok(created)
}

/// A topic to create; owns the texts that the request borrows.
struct Missing<'a> {
    name: &'a str,
    spec: TopicSpec,
    properties: Vec<(&'static str, String)>,
}

impl<'a> Missing<'a> {
    fn of(topic: &'a PlannedTopic) -> Option<Self> {
        match &topic.action {
            Action::Create(spec) => {
                Some(Self { name: &topic.name, spec: *spec, properties: properties(spec) })
            }
            Action::Fits | Action::Differs(_) => None,
        }
    }

    fn as_new(&self) -> NewTopic<'_> {
        let partitions = i32::try_from(self.spec.partitions).unwrap_or(i32::MAX);
        let replication = TopicReplication::Fixed(i32::from(self.spec.replication));
        let topic = NewTopic::new(self.name, partitions, replication);
        self.properties.iter().fold(topic, |topic, (key, value)| topic.set(key, value))
    }
}

/// Whether the topics give what the producer promises. Blocking; call it from a thread of its own.
pub(super) fn check(config: &KafkaConfig) -> Result<(), KafkaError> {
    let names = settings::topic_names(config);
    let found = inspect(config, &names.each_ref().map(String::as_str))?;
    let misfits: Vec<String> = Class::ALL
        .into_iter()
        .zip(&found)
        .filter_map(|(class, found)| {
            let reasons = misfit(config.spec(class), config.durability, found.as_ref());
            (!reasons.is_empty())
                .then(|| format!("{}: {}", config.topic(class), reasons.join(", ")))
        })
        .collect();
    if misfits.is_empty() { Ok(()) } else { Err(KafkaError::Unfit(Misfits(misfits))) }
}

/// A topic as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    partitions: usize,
    replication: usize,
    /// Its configuration, in the order of [`KEYS`].
    values: [String; KEYS.len()],
}

const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";
const UNCLEAN_ELECTION: &str = "unclean.leader.election.enable";

/// The configuration that is compared.
const KEYS: [&str; 7] = [
    MIN_INSYNC_REPLICAS,
    "retention.ms",
    "max.message.bytes",
    UNCLEAN_ELECTION,
    "message.timestamp.type",
    "cleanup.policy",
    "segment.ms",
];

/// What each of [`KEYS`] has to be; none: whatever the cluster's default is.
fn wanted(spec: &TopicSpec) -> [Option<String>; KEYS.len()] {
    [
        Some(spec.min_insync_replicas.to_string()),
        Some(spec.retention_ms.to_string()),
        Some(spec.message_bytes_max.to_string()),
        Some("false".to_owned()),
        Some(spec.timestamps.name().to_owned()),
        Some(spec.cleanup.name().to_owned()),
        spec.segment_ms.map(|ms| ms.to_string()),
    ]
}

/// What a topic is created with.
fn properties(spec: &TopicSpec) -> Vec<(&'static str, String)> {
    let set = KEYS.into_iter().zip(wanted(spec));
    set.filter_map(|(key, value)| Some((key, value?))).collect()
}

impl Found {
    fn value(&self, key: &str) -> &str {
        let at = KEYS.iter().position(|one| *one == key);
        at.map_or("unknown", |at| &self.values[at])
    }
}

fn action(spec: &TopicSpec, found: Option<&Found>) -> Action {
    let Some(found) = found else { return Action::Create(*spec) };
    let sizes = [
        ("partitions", spec.partitions.to_string(), found.partitions.to_string()),
        ("replication", spec.replication.to_string(), found.replication.to_string()),
    ];
    let configured =
        properties(spec).into_iter().map(|(key, value)| (key, value, found.value(key).to_owned()));
    let differences: Vec<Difference> = sizes
        .into_iter()
        .chain(configured)
        .filter(|(_, wanted, found)| wanted != found)
        .map(|(what, wanted, found)| Difference { what, wanted, found })
        .collect();
    if differences.is_empty() { Action::Fits } else { Action::Differs(differences) }
}

/// Why a topic cannot carry the log: its partitions decide the routes, its replicas the promise.
/// Retention and size differ without harm to an acknowledged record; [`plan`] reports them.
fn misfit(spec: &TopicSpec, durability: Durability, found: Option<&Found>) -> Vec<String> {
    let Some(found) = found else { return vec!["is missing".to_owned()] };
    let mut reasons = Vec::new();
    if found.partitions != spec.partitions as usize {
        reasons.push(format!("{} partitions, not {}", found.partitions, spec.partitions));
    }
    if durability == Durability::Single {
        return reasons;
    }
    let replication = usize::from(spec.replication.max(3));
    if found.replication < replication {
        reasons.push(format!("replication {}, below {replication}", found.replication));
    }
    let min_insync = spec.min_insync_replicas.max(2);
    let in_sync = found.value(MIN_INSYNC_REPLICAS);
    if !in_sync.parse().is_ok_and(|n: u16| n >= min_insync) {
        reasons.push(format!("{MIN_INSYNC_REPLICAS} {in_sync}, below {min_insync}"));
    }
    let unclean = found.value(UNCLEAN_ELECTION);
    if unclean != "false" {
        reasons.push(format!("{UNCLEAN_ELECTION} {unclean}, not false"));
    }
    reasons
}

/// The topics of these names as they are; `None` for one that is not there. Blocking.
fn inspect(config: &KafkaConfig, names: &[&str]) -> Result<Vec<Option<Found>>, KafkaError> {
    let admin: AdminClient<DefaultClientContext> = settings::admin(config)?.create()?;
    // All topics: asking for one by name would create it where the brokers create by themselves.
    let metadata = admin.inner().fetch_metadata(None, ANSWER_TIMEOUT)?;
    let there = names.iter().map(|name| {
        metadata
            .topics()
            .iter()
            .find(|topic| topic.name() == *name && !topic.partitions().is_empty())
            .map(|topic| (topic.partitions().len(), replication(topic)))
    });
    let there: Vec<Option<(usize, usize)>> = there.collect();
    let present: Vec<ResourceSpecifier<'_>> = names
        .iter()
        .zip(&there)
        .filter(|(_, there)| there.is_some())
        .map(|(name, _)| ResourceSpecifier::Topic(name))
        .collect();
    let mut described = describe(&admin, &present)?.into_iter();
    let found = there.into_iter().map(|there| {
        let (partitions, replication) = there?;
        Some(Found { partitions, replication, values: described.next()? })
    });
    Ok(found.collect())
}

/// The replicas of the partition that has the fewest.
fn replication(topic: &MetadataTopic) -> usize {
    topic.partitions().iter().map(|partition| partition.replicas().len()).min().unwrap_or(0)
}

/// The configuration values of each topic, in the order in which the topics are given.
fn describe(
    admin: &AdminClient<DefaultClientContext>,
    topics: &[ResourceSpecifier<'_>],
) -> Result<Vec<[String; KEYS.len()]>, KafkaError> {
    if topics.is_empty() {
        return Ok(Vec::new());
    }
    let options = AdminOptions::new().request_timeout(Some(ANSWER_TIMEOUT));
    let answer = wait(admin.describe_configs(topics, &options))??;
    answer
        .into_iter()
        .map(|resource| {
            let resource = resource
                .map_err(|error| KafkaError::Unavailable(format!("describe configs: {error}")))?;
            Ok(KEYS.map(|key| {
                let entry = resource.get(key).and_then(|entry| entry.value.clone());
                entry.unwrap_or_else(|| "unknown".to_owned())
            }))
        })
        .collect()
}

/// Waits for an answer on a thread that may block: rdkafka's administrative calls are futures, and
/// their own thread completes them.
fn wait<T>(answer: impl Future<Output = T>) -> Result<T, KafkaError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|error| KafkaError::Unavailable(error.to_string()))?;
    Ok(runtime.block_on(answer))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, KafkaError> + Send + 'static,
) -> Result<T, KafkaError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(KafkaError::Unavailable(error.to_string())),
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.topics.iter().map(|topic| topic.name.len()).max().unwrap_or(0);
        for topic in &self.topics {
            write!(f, "{:width$}  ", topic.name)?;
            match &topic.action {
                Action::Fits => writeln!(f, "fits")?,
                Action::Create(spec) => writeln!(
                    f,
                    "create   partitions {}, replication {}, {}",
                    spec.partitions,
                    spec.replication,
                    listed(spec)
                )?,
                Action::Differs(differences) => {
                    let each = differences
                        .iter()
                        .map(|one| format!("{} is {}, wanted {}", one.what, one.found, one.wanted));
                    writeln!(f, "differs  {}", each.collect::<Vec<_>>().join("; "))?;
                }
            }
        }
        Ok(())
    }
}

fn listed(spec: &TopicSpec) -> String {
    let each = properties(spec).into_iter().map(|(key, value)| format!("{key} {value}"));
    each.collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Misfits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

#[cfg(test)]
mod tests;
