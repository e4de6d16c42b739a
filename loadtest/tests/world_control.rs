//! What an operator sets at one process is known at every other one within a second, and is there again
//! after a restart.

mod fixture;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use loadtest::deployment::{Cluster, Deployment, Settings};
use loadtest::process::{Process, run, shock_binary};
use loadtest::wait::{Seen, wait_until};

/// From the end of the command until the others know.
const KNOWN_DEADLINE: Duration = Duration::from_secs(1);
const READY_DEADLINE: Duration = Duration::from_secs(60);

/// Somebody who runs `shock ctl`.
struct Operator<'a>(&'a Path);

impl Operator<'_> {
    async fn ctl(&self, at: SocketAddr, words: &[&str]) -> anyhow::Result<String> {
        let mut args: Vec<String> =
            std::iter::once("ctl").chain(words.iter().copied()).map(str::to_owned).collect();
        args.extend(["--admin".to_owned(), format!("http://{at}")]);
        run(&shock_binary()?, &args, &[], self.0).await
    }

    /// Waits until what is shown there says so, or does not.
    async fn shown(
        &self,
        at: SocketAddr,
        command: &str,
        (text, there): (&str, bool),
    ) -> anyhow::Result<()> {
        let what = format!("{text:?} at {at}: {there}");
        wait_until(what, KNOWN_DEADLINE, async || {
            let shown = self.ctl(at, &[command, "show"]).await?;
            let as_wanted = shown.contains(text) == there;
            Ok(if as_wanted { Seen::There(()) } else { Seen::NotYet(shown) })
        })
        .await
    }
}

/// One more replica.
async fn ingress(cluster: &Cluster, dir: &Path) -> anyhow::Result<(Process, SocketAddr)> {
    let mut args = vec!["ingress".to_owned()];
    args.extend(cluster.args().iter().cloned());
    let mut process =
        Process::start("ingress-b", &shock_binary()?, &args, cluster.variables(), dir)?;
    let admin = process.address("admin").await?;
    wait_until(format!("http://{admin}/readyz"), READY_DEADLINE, async || {
        let (status, text) = loadtest::admin::get(admin, "/readyz").await?;
        Ok(if status == 200 { Seen::There(()) } else { Seen::NotYet(text) })
    })
    .await?;
    Ok((process, admin))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_set_at_one_ingress_is_known_at_all_processes() -> anyhow::Result<()> {
    let test = fixture::Run::new("control-kafka")?;
    let cluster = test.cluster(&Settings::default(), 1).await?;
    let (other, b) = ingress(&cluster, &test.dir).await?;
    let (a, consumer) = (cluster.ingress_admin()?, cluster.consumer_admin(0)?);
    let operator = Operator(&test.dir);
    let why = ["--why", "the shop moves", "--by", "ada"];

    let pin = ["limits", "pin", "telemetry/1", "--per-s", "5", "--for", "1h"];
    operator.ctl(a, &[&pin[..], &why].concat()).await?;
    for at in [a, b, consumer] {
        operator.shown(at, "limits", ("limit/telemetry/1", true)).await?;
    }
    let shown = operator.ctl(b, &["limits", "show"]).await?;
    for word in ["5 events/s", "59m", "ada: the shop moves"] {
        assert!(shown.contains(word), "{word}: {shown}");
    }

    // A class is each of its partitions.
    let class = ["limits", "pin", "transactional", "--per-s", "0", "--forever"];
    operator.ctl(b, &[&class[..], &why].concat()).await?;
    operator.shown(a, "limits", ("limit/transactional/3", true)).await?;
    operator.ctl(a, &["limits", "unpin", "transactional", "--by", "ada"]).await?;
    operator.shown(b, "limits", ("limit/transactional/", false)).await?;

    let contract = ["limits", "set", "acme", "--contract-per-s", "10", "--ceiling-per-s", "20"];
    operator.ctl(consumer, &[&contract[..], &why].concat()).await?;
    operator.shown(b, "limits", ("contract 10 events/s, ceiling 20 events/s", true)).await?;
    operator.ctl(b, &["limits", "unset", "acme", "--by", "ada"]).await?;
    operator.shown(a, "limits", ("tenant/acme", false)).await?;

    operator.ctl(a, &[&["mode", "set", "aggressive"], &why[..]].concat()).await?;
    operator.shown(b, "mode", ("aggressive", true)).await?;
    operator.ctl(b, &["mode", "clear", "--by", "ada"]).await?;
    operator.shown(a, "mode", ("no mode is pinned", true)).await?;

    for (words, reason) in [
        (&["limits", "pin", "telemetry/4", "--per-s", "5"][..], "there are 0 to 3"),
        (&["limits", "pin", "rush", "--per-s", "5"], "no class"),
        (&["limits", "pin", "control/0", "--per-s=-5"], "from 0 to"),
        (&["limits", "set", "acme"], "contract_per_s"),
        (&["mode", "set", "calm"], "no mode"),
        (&["mode", "set", "survival", "--for", "25h"], "at most 86400"),
    ] {
        let refused = operator.ctl(a, &[words, &why].concat()).await;
        let error = format!("{:#}", refused.expect_err("refused"));
        assert!(error.contains(reason), "{error}");
    }

    let status = other.terminate().await?;
    anyhow::ensure!(status.success(), "the other ingress ended with {status}");
    Deployment::Cluster(Box::new(cluster)).stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_set_in_one_process_survives_it() -> anyhow::Result<()> {
    let test = fixture::Run::new("control-embedded")?;
    let mut dev = test.embedded(&Settings::default()).await?;
    let operator = Operator(&test.dir);
    let pin = ["limits", "pin", "telemetry", "--per-s", "7.5", "--why", "a test", "--by", "ada"];
    operator.ctl(dev.admin(), &pin).await?;
    dev.kill().await?;
    dev.up().await?;
    operator.shown(dev.admin(), "limits", ("7.5 events/s", true)).await?;
    operator.ctl(dev.admin(), &["limits", "unpin", "telemetry", "--by", "ada"]).await?;
    dev.kill().await?;
    dev.up().await?;
    operator.shown(dev.admin(), "limits", ("nothing is set by operators", true)).await?;
    Deployment::Embedded(Box::new(dev)).stop().await
}
