//! `shock ingress` and any number of `shock consumer` on real Kafka and PostgreSQL.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use uuid::Uuid;

use super::address::{at_database, at_server, server_of};
use super::settings::Settings;
use crate::admin;
use crate::client::Target;
use crate::effects::Effects;
use crate::process::{Process, faulty_binary, run, shock_binary};
use crate::records::Topics;
use crate::services::Services;
use crate::verify::LogRecord;
use crate::wait::{Seen, wait_until};

/// Partitions of each class's topic.
pub const PARTITIONS: u32 = 4;

/// The group's time-out, in milliseconds: a killed or paused consumer's partitions move soon. The
/// broker's `group.min.session.timeout.ms` has to allow it.
const SESSION_TIMEOUT_MS: u32 = 3_000;

/// The variable that tells a process where its database is.
const POSTGRES_URL: &str = "SHOCK_POSTGRES_URL";

/// The variable that tells a process of the tests where to die, stand still or hang.
const FAILPOINTS: &str = "FAILPOINTS";

/// From the start to `/readyz`.
const READY_DEADLINE: Duration = Duration::from_secs(60);

/// Processes, topics and a database of one run.
#[derive(Debug)]
pub struct Cluster {
    dir: PathBuf,
    args: Vec<String>,
    variables: Vec<(String, String)>,
    postgres: String,
    database: String,
    topics: Topics,
    target: Target,
    ingress: Option<Member>,
    consumers: Vec<Option<Member>>,
    effects: Effects,
}

/// How a consumer is started.
#[derive(Clone, Copy, Debug, Default)]
pub struct Start<'a> {
    /// Where it reaches PostgreSQL.
    pub link: Option<SocketAddr>,
    /// Further settings, `key=value`.
    pub set: &'a [&'a str],
    /// Where it dies, stands still or hangs; it is then the binary that can.
    pub failpoints: Option<&'a str>,
}

#[derive(Debug)]
struct Member {
    process: Process,
    admin: SocketAddr,
}

impl Cluster {
    /// Fresh topics and tables, one ingress, `consumers` consumers; waits until all are ready.
    pub async fn start(
        dir: &Path,
        services: &Services,
        settings: &Settings,
        consumers: usize,
    ) -> anyhow::Result<Self> {
        let database = format!("loadtest_{}", Uuid::now_v7().simple());
        let prefix = database.replace('_', "-");
        let file = settings.write(dir, &head(&services.kafka, &prefix))?;
        let url = at_database(&services.postgres, &database);
        let mut variables = settings.variables();
        variables.push((POSTGRES_URL.to_owned(), url.clone()));
        sql(&services.postgres, format!("create database {database}")).await?;
        let mut cluster = Self {
            dir: dir.to_owned(),
            args: settings.args(&file)?,
            variables,
            postgres: services.postgres.clone(),
            database,
            topics: Topics { brokers: services.kafka.clone(), prefix },
            target: Target::new(SocketAddr::from(([127, 0, 0, 1], 0))),
            ingress: None,
            consumers: Vec::new(),
            effects: Effects::Postgres(url),
        };
        cluster.ctl(&["config", "check"]).await?;
        cluster.ctl(&["ctl", "topics", "apply"]).await?;
        cluster.ctl(&["ctl", "migrate"]).await?;
        cluster.ingress_up().await?;
        for index in 0..consumers {
            cluster.consumer_up(index).await?;
        }
        Ok(cluster)
    }

    /// Runs `shock COMMAND… --config …` to its end; what it printed.
    pub async fn ctl(&self, command: &[&str]) -> anyhow::Result<String> {
        let mut args: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
        args.extend(self.args.iter().cloned());
        run(&shock_binary()?, &args, &self.variables, &self.dir).await
    }

    /// Starts the ingress, after it ended.
    pub async fn ingress_up(&mut self) -> anyhow::Result<()> {
        ensure!(self.ingress.is_none(), "the ingress is running");
        let mut process = self.spawn("ingress", "ingress", &[], &self.variables)?;
        self.target.set(process.address("ingress").await?);
        let admin = process.address("admin").await?;
        ready(admin, &process).await?;
        self.ingress = Some(Member { process, admin });
        Ok(())
    }

    /// Starts consumer `index`, after it ended.
    pub async fn consumer_up(&mut self, index: usize) -> anyhow::Result<()> {
        self.consumer_up_through(index, None).await
    }

    /// The same with further settings, `key=value`.
    pub async fn consumer_up_with(&mut self, index: usize, set: &[&str]) -> anyhow::Result<()> {
        self.consumer_start_as(index, &Start { set, ..Start::default() }).await?;
        let member = self.member(index)?;
        ready(member.admin, &member.process).await
    }

    /// Starts consumer `index` and does not wait until it is ready: its database may be away.
    pub async fn consumer_start(&mut self, index: usize) -> anyhow::Result<()> {
        self.consumer_start_through(index, None).await
    }

    /// Starts consumer `index`, which reaches PostgreSQL at `link` where one is given.
    pub async fn consumer_up_through(
        &mut self,
        index: usize,
        link: Option<SocketAddr>,
    ) -> anyhow::Result<()> {
        self.consumer_start_through(index, link).await?;
        let member = self.member(index)?;
        ready(member.admin, &member.process).await
    }

    async fn consumer_start_through(
        &mut self,
        index: usize,
        link: Option<SocketAddr>,
    ) -> anyhow::Result<()> {
        self.consumer_start_as(index, &Start { link, ..Start::default() }).await
    }

    /// Starts consumer `index` otherwise than usual, and does not wait until it is ready.
    pub async fn consumer_start_as(
        &mut self,
        index: usize,
        start: &Start<'_>,
    ) -> anyhow::Result<()> {
        if self.consumers.len() <= index {
            self.consumers.resize_with(index + 1, || None);
        }
        ensure!(self.consumers[index].is_none(), "consumer {index} is running");
        let instance = format!("consumer.instance=consumer-{index}");
        let mut variables = self.variables.clone();
        if let Some(link) = start.link {
            let url = at_server(&self.url(), &link.to_string());
            variables.retain(|(name, _)| name != POSTGRES_URL);
            variables.push((POSTGRES_URL.to_owned(), url));
        }
        if let Some(failpoints) = start.failpoints {
            variables.push((FAILPOINTS.to_owned(), failpoints.to_owned()));
        }
        let name = format!("consumer-{index}");
        let instance = instance.as_str();
        let more: Vec<_> =
            start.set.iter().chain([&instance]).flat_map(|setting| ["--set", setting]).collect();
        let mut process = self.spawn(&name, "consumer", &more, &variables)?;
        let admin = process.address("admin").await?;
        self.consumers[index] = Some(Member { process, admin });
        Ok(())
    }

    fn spawn(
        &self,
        name: &str,
        command: &str,
        more: &[&str],
        variables: &[(String, String)],
    ) -> anyhow::Result<Process> {
        let mut args = vec![command.to_owned()];
        args.extend(self.args.iter().cloned());
        args.extend(more.iter().map(|word| (*word).to_owned()));
        let is_faulty = variables.iter().any(|(name, _)| name == FAILPOINTS);
        let binary = if is_faulty { faulty_binary() } else { shock_binary() };
        Process::start(name, &binary?, &args, variables, &self.dir)
    }

    /// Runs `shock COMMAND…`, which a failpoint has to kill.
    pub async fn ctl_dies(&self, command: &[&str], failpoints: &str) -> anyhow::Result<()> {
        let (first, rest) = command.split_first().context("a command")?;
        let mut variables = self.variables.clone();
        variables.push((FAILPOINTS.to_owned(), failpoints.to_owned()));
        let mut args = vec![(*first).to_owned()];
        args.extend(rest.iter().map(|word| (*word).to_owned()));
        args.extend(self.args.iter().cloned());
        Process::start("ctl", &faulty_binary()?, &args, &variables, &self.dir)?.died().await
    }

    /// Whether a consumer is gone by itself.
    pub fn consumer_has_ended(&mut self, index: usize) -> anyhow::Result<bool> {
        let member = self.consumers.get_mut(index).and_then(Option::as_mut);
        member.with_context(|| format!("consumer {index} is not running"))?.process.has_ended()
    }

    /// Waits until a failpoint has killed a consumer.
    pub async fn consumer_died(&mut self, index: usize) -> anyhow::Result<()> {
        let member = self.consumers[index].take();
        member.with_context(|| format!("consumer {index} is not running"))?.process.died().await
    }

    /// `kill -9` of the ingress.
    pub async fn ingress_kill(&mut self) -> anyhow::Result<()> {
        self.ingress.take().context("the ingress is not running")?.process.kill().await
    }

    /// Waits until the ingress ended by itself, behind a signal; it has to end with code 0.
    pub async fn ingress_ended(&mut self) -> anyhow::Result<()> {
        let mut member = self.ingress.take().context("the ingress is not running")?;
        let status = member.process.ended().await?;
        ensure!(status.success(), "the ingress ended with {status}");
        Ok(())
    }

    /// `kill -9` of a consumer.
    pub async fn consumer_kill(&mut self, index: usize) -> anyhow::Result<()> {
        let member = self.consumers[index].take();
        member.with_context(|| format!("consumer {index} is not running"))?.process.kill().await
    }

    /// `SIGTERM` of a consumer; it has to end with code 0.
    pub async fn consumer_stop(&mut self, index: usize) -> anyhow::Result<()> {
        let member = self.consumers[index].take();
        let member = member.with_context(|| format!("consumer {index} is not running"))?;
        let status = member.process.terminate().await?;
        ensure!(status.success(), "consumer {index} ended with {status} after SIGTERM");
        Ok(())
    }

    /// Waits until a consumer ended by itself, behind a signal; it has to end with code 0.
    pub async fn consumer_ended(&mut self, index: usize) -> anyhow::Result<()> {
        let member = self.consumers[index].take();
        let mut member = member.with_context(|| format!("consumer {index} is not running"))?;
        let status = member.process.ended().await?;
        ensure!(status.success(), "consumer {index} ended with {status}");
        Ok(())
    }

    /// The ingress's process.
    pub fn ingress(&self) -> anyhow::Result<&Process> {
        self.ingress_member().map(|member| &member.process)
    }

    /// The ingress's admin port.
    pub fn ingress_admin(&self) -> anyhow::Result<SocketAddr> {
        self.ingress_member().map(|member| member.admin)
    }

    fn ingress_member(&self) -> anyhow::Result<&Member> {
        self.ingress.as_ref().context("the ingress is not running")
    }

    /// What every process of it is started with: `--config …`.
    pub fn args(&self) -> &[String] {
        &self.args
    }

    /// And its environment.
    pub fn variables(&self) -> &[(String, String)] {
        &self.variables
    }

    /// A consumer's process.
    pub fn consumer(&self, index: usize) -> anyhow::Result<&Process> {
        self.member(index).map(|member| &member.process)
    }

    /// A consumer's admin port.
    pub fn consumer_admin(&self, index: usize) -> anyhow::Result<SocketAddr> {
        self.member(index).map(|member| member.admin)
    }

    fn member(&self, index: usize) -> anyhow::Result<&Member> {
        let member = self.consumers.get(index).and_then(Option::as_ref);
        member.with_context(|| format!("consumer {index} is not running"))
    }

    /// Where producers post; follows restarts.
    pub fn target(&self) -> Target {
        self.target.clone()
    }

    /// The database.
    pub fn effects(&self) -> &Effects {
        &self.effects
    }

    /// `HOST:PORT` of PostgreSQL.
    pub fn postgres_server(&self) -> String {
        server_of(&self.postgres).1.to_owned()
    }

    /// Keeps a copy of the database as it is now; whoever is connected is disconnected for a moment.
    pub async fn copy_database(&self) -> anyhow::Result<()> {
        let name = &self.database;
        self.alone(format!("create database {name}_copy template {name}")).await
    }

    /// Puts the copy in the database's place, as a restore does.
    pub async fn restore_database(&self) -> anyhow::Result<()> {
        let name = &self.database;
        sql(&self.postgres, format!("alter database {name} with allow_connections false")).await?;
        self.disconnect().await?;
        sql(&self.postgres, format!("alter database {name} rename to {name}_lost")).await?;
        sql(&self.postgres, format!("alter database {name}_copy rename to {name}")).await
    }

    /// Ends every session of the database (`pg_terminate_backend`); how many there were.
    pub async fn disconnect(&self) -> anyhow::Result<i64> {
        let ended = "select count(pg_terminate_backend(pid, 5000)) from pg_stat_activity \
                     where datname = $1";
        let mut server = PgConnection::connect(&self.postgres).await.context("PostgreSQL")?;
        sqlx::query_scalar(ended).bind(&self.database).fetch_one(&mut server).await.context(ended)
    }

    /// Does what needs the database for itself.
    async fn alone(&self, text: String) -> anyhow::Result<()> {
        let name = &self.database;
        sql(&self.postgres, format!("alter database {name} with allow_connections false")).await?;
        self.disconnect().await?;
        let done = sql(&self.postgres, text).await;
        sql(&self.postgres, format!("alter database {name} with allow_connections true")).await?;
        done
    }

    fn url(&self) -> String {
        at_database(&self.postgres, &self.database)
    }

    /// The topics.
    pub fn topics(&self) -> &Topics {
        &self.topics
    }

    /// Every record of the topics.
    pub async fn records(&self) -> anyhow::Result<Vec<LogRecord>> {
        let topics = self.topics.clone();
        tokio::task::spawn_blocking(move || topics.read()).await.context("reading the topics")?
    }

    /// `SIGTERM` to all; each has to end with code 0. Removes topics and database.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let consumers = self.consumers.drain(..).flatten();
        for member in self.ingress.take().into_iter().chain(consumers) {
            let status = member.process.terminate().await?;
            ensure!(status.success(), "a process ended with {status} after SIGTERM");
        }
        let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
            .set("bootstrap.servers", &self.topics.brokers)
            .create()
            .context("an admin client")?;
        let names = [
            ".control",
            ".transactional",
            ".telemetry",
            "-clock",
            "-control.state",
            "-control.live",
            "-dlq",
        ]
        .map(|name| format!("{}{name}", self.topics.prefix));
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        admin.delete_topics(&names, &AdminOptions::new()).await.context("delete the topics")?;
        for rest in ["_copy", "_lost"] {
            let name = format!("{}{rest}", self.database);
            sql(&self.postgres, format!("drop database if exists {name} with (force)")).await?;
        }
        sql(&self.postgres, format!("drop database {} with (force)", self.database)).await
    }
}

fn head(brokers: &str, prefix: &str) -> String {
    format!(
        "backend = \"kafka\"\n\
         \n[ingress]\nlisten = \"127.0.0.1:0\"\n\
         \n[admin]\nlisten = \"127.0.0.1:0\"\n\
         \n[schemas]\nunknown_type = \"accept\"\n\
         \n[kafka]\nbrokers = \"{brokers}\"\ntopic_prefix = \"{prefix}\"\ndurability = \"single\"\n\
         \n[kafka.properties]\n\"session.timeout.ms\" = \"{SESSION_TIMEOUT_MS}\"\n\
         \"heartbeat.interval.ms\" = \"{}\"\n\
         \n[topics]\npartitions = {PARTITIONS}\nreplication = 1\nmin_insync_replicas = 1\n",
        SESSION_TIMEOUT_MS / 6
    )
}

async fn ready(address: SocketAddr, process: &Process) -> anyhow::Result<()> {
    wait_until(format!("http://{address}/readyz"), READY_DEADLINE, async || {
        let (status, text) = admin::get(address, "/readyz").await?;
        let last = || format!("{status} {text}; {}", process.log_tail());
        Ok(if status == 200 { Seen::There(()) } else { Seen::NotYet(last()) })
    })
    .await
}

/// `text` is made of constants and a name of ours.
async fn sql(url: &str, text: String) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect(url).await.context("connect to PostgreSQL")?;
    sqlx::query(AssertSqlSafe(text.clone())).execute(&mut connection).await.context(text)?;
    connection.close().await.context("close")
}
