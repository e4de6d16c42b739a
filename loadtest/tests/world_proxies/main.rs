//! Never two answers to one framed request: what two readers of the same bytes could read differently,
//! straight to the ingress and through nginx and haproxy. Each case carries a second request inside the
//! first; where the first's framing holds it, it must never become an event.

mod cases;
#[path = "../fixture/mod.rs"]
mod fixture;
mod fronts;
mod wire;

use std::fmt::Write;
use std::net::SocketAddr;

use anyhow::{Context, ensure};
use cases::{Case, cases, post};
use fronts::{Front, Fronts};
use loadtest::admin;
use loadtest::deployment::{Settings, producers};
use loadtest::ledger::Identity;
use tokio::task::JoinSet;
use wire::{LONG, QUIET, Wire};

/// Behind the answer to such a request everything on the connection has been answered.
const LAST: &str = "Connection: close\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn no_smuggled_request_becomes_an_event() -> anyhow::Result<()> {
    let run = fixture::Run::new("proxies")?;
    let embedded = run.embedded(&Settings::default()).await?;
    let admin = embedded.admin();
    let fronts = Fronts::start(&run.dir, embedded.target().get()).await?;
    let mut trials = JoinSet::new();
    for (column, front) in fronts.all.iter().copied().enumerate() {
        trials.spawn(async move { (column, try_all(front, admin).await) });
    }
    let mut columns = vec![Vec::new(); fronts.all.len()];
    while let Some(ended) = trials.join_next().await {
        let (column, cells) = ended?;
        columns[column] = cells.with_context(|| fronts.all[column].name)?;
    }
    println!("{}", matrix(&fronts.all, &columns));
    let findings: Vec<_> =
        columns.iter().flatten().filter_map(|cell| cell.finding.as_deref()).collect();
    ensure!(findings.is_empty(), "{}", findings.join("\n"));
    embedded.stop().await
}

/// What a front did with a case, and what of it must not be.
#[derive(Clone)]
struct Cell {
    shown: String,
    finding: Option<String>,
}

/// One after the other, so that a finding belongs to its case.
async fn try_all(front: Front, admin: SocketAddr) -> anyhow::Result<Vec<Cell>> {
    let mut cells = Vec::new();
    for case in cases(front.name) {
        let tried = try_one(front, admin, &case).await;
        cells.push(tried.with_context(|| format!("{}: {}", front.name, case.name))?);
    }
    Ok(cells)
}

async fn try_one(front: Front, admin: SocketAddr, case: &Case) -> anyhow::Result<Cell> {
    let mut wire = Wire::open(front.address).await?;
    wire.exchange(&case.bytes, QUIET).await?;
    if !wire.closed && !wire.statuses.is_empty() {
        wire.exchange(&post(&case.id("same"), LAST), LONG).await?;
    }
    let mut other = Wire::open(front.address).await?;
    other.exchange(&post(&case.id("other"), LAST), LONG).await?;
    let is_usable = is_logged(admin, case.id("same")).await?;
    let answers = &wire.statuses[..wire.statuses.len() - usize::from(is_usable)];
    let mut finding = String::new();
    if answers.len() > case.framed {
        write!(finding, "{answers:?} to {} framed; ", case.framed)?;
    }
    if !wire.closed {
        finding.push_str("neither answered nor closed; ");
    }
    if other.statuses != [202] {
        write!(finding, "a request on a new connection: {:?}; ", other.statuses)?;
    }
    let inner = is_logged(admin, case.id("inner")).await?;
    if inner && case.framed == 1 {
        finding.push_str("the inner request became an event; ");
    }
    let outer = is_logged(admin, case.id("outer")).await?;
    let answered = wire.statuses.iter().filter(|status| **status == 202).count();
    let logged = [outer, inner, is_usable].into_iter().filter(|is_logged| *is_logged).count();
    if answered != logged {
        write!(finding, "{answered} answers 202, {logged} events; ")?;
    }
    let statuses: Vec<_> = answers.iter().map(u16::to_string).collect();
    let end = if is_usable { "open" } else { "closed" };
    Ok(Cell {
        shown: format!("{} {end}", statuses.join(" ")),
        finding: (!finding.is_empty()).then(|| format!("{}: {}: {finding}", front.name, case.name)),
    })
}

async fn is_logged(admin: SocketAddr, id: String) -> anyhow::Result<bool> {
    let tenant = producers()[0].tenant.clone();
    let fate = admin::find(admin, &Identity { tenant, source: "/".to_owned(), id }).await?;
    Ok(fate["fate"] != "unknown")
}

fn matrix(fronts: &[Front], columns: &[Vec<Cell>]) -> String {
    let row = |name: &str, cells: Vec<&str>| {
        let cells: String = cells.iter().map(|cell| format!(" {cell:<15}")).collect();
        format!("{name:<58}{}\n", cells.trim_end())
    };
    let mut text = row("answers, connection", fronts.iter().map(|front| front.name).collect());
    for (number, case) in cases("").iter().enumerate() {
        let cells = columns.iter().map(|column| column[number].shown.as_str()).collect();
        text += &row(&case.name, cells);
    }
    text
}
