//! The cases about handlers: the examples that ship, killed, replayed, refused and repeated, on every
//! store. What they hold is what a model says that reads the log once.

use std::collections::BTreeMap;

use consumer::handler::Handled;
use serde_json::Value;
use shared::position::Offset;

use super::base::Base;
use super::{Bench, FIRST, NOON};

#[path = "../../../shock/examples/ledger/handler.rs"]
pub mod ledger;
#[path = "../../../shock/examples/saga/handler.rs"]
mod saga;

const EVENTS: &str = "select count(*) from pipeline.events";
const PARKED: &str = "select count(*) from pipeline.parked";
const OUTBOX: &str = "select count(*) from pipeline.outbox";

pub async fn with_handler(base: Base, handled: Handled) -> Bench {
    let mut bench = Bench::new(base).await;
    bench.base.store().await.make_tables(&handled).await.expect("the tables are made");
    bench.handled = Some(handled);
    bench
}

/// The name of a table of an example.
fn table(base: &Base, name: &str) -> String {
    match base {
        Base::Sqlite { .. } => name.replace('.', "_"),
        Base::Postgres { .. } => name.to_owned(),
    }
}

pub fn deposit(bench: &Bench, id: &str, to: &str, amount: i64) {
    let value = format!(
        r#"{{"id":"{id}","type":"ledger.deposit","data":{{"to":"{to}","amount":{amount}}}}}"#
    );
    bench.append(FIRST, NOON, "acme", &value);
}

fn transfer(bench: &Bench, id: &str, from: &str, to: &str, amount: i64) {
    let value = format!(
        r#"{{"id":"{id}","type":"ledger.transfer","data":{{"from":"{from}","to":"{to}","amount":{amount}}}}}"#
    );
    bench.append(FIRST, NOON, "acme", &value);
}

/// Deposits, and transfers of which many overdraw what is there at their moment.
fn business(bench: &Bench, from: usize, count: usize) {
    for n in from..from + count {
        let (a, b) = (format!("a-{}", n * 7 % 5), format!("a-{}", (n * 3 + 1) % 5));
        match n % 4 {
            0 => deposit(bench, &format!("d-{n}"), &a, 10 + n as i64 % 9),
            _ if a != b => transfer(bench, &format!("t-{n}"), &a, &b, 4 + n as i64 % 23),
            _ => deposit(bench, &format!("s-{n}"), &a, 1),
        }
        if n % 5 == 0 {
            deposit(bench, &format!("d-{n}"), &a, 1_000_000);
        }
    }
}

/// What the log says, read once; what touches `except` is left out.
fn model(bench: &Bench, except: &str) -> (BTreeMap<String, i64>, usize) {
    let (mut balances, mut seen, mut refused) = (BTreeMap::new(), Vec::new(), 0);
    for record in bench.log.records() {
        let event: Value = serde_json::from_slice(&record.value).expect("JSON");
        let id = event["id"].as_str().expect("an id").to_owned();
        let data = &event["data"];
        let name = |side: &str| data[side].as_str().unwrap_or_default().to_owned();
        if seen.contains(&id) || [name("from"), name("to")].contains(&except.to_owned()) {
            continue;
        }
        seen.push(id);
        let amount = data["amount"].as_i64().expect("an amount");
        if event["type"] == "ledger.transfer" {
            let from = balances.entry(name("from")).or_insert(0_i64);
            if *from < amount {
                refused += 1;
                continue;
            }
            *from -= amount;
        }
        *balances.entry(name("to")).or_insert(0) += amount;
    }
    balances.retain(|_, balance| *balance != 0);
    (balances, refused)
}

async fn balances(bench: &Bench) -> BTreeMap<String, i64> {
    let sql = format!(
        "select account || '=' || balance from {} where balance <> 0",
        table(&bench.base, "ledger.balances")
    );
    let rows = bench.base.texts(&sql).await;
    rows.iter()
        .map(|row| {
            let (name, balance) = row.split_once('=').expect("two parts");
            (name.to_owned(), balance.parse().expect("a number"))
        })
        .collect()
}

/// The balances are the model's, and the sum of the entries.
pub async fn adds_up(bench: &Bench, except: &str, when: &str) {
    let (expected, refused) = model(bench, except);
    assert_eq!(balances(bench).await, expected, "{when}");
    let count = format!("select count(*) from {}", table(&bench.base, "ledger.refused"));
    assert_eq!(bench.count(&count).await, refused as i64, "{when}: refused");
    let differ = format!(
        "select count(*) from {} b where b.balance <> (select coalesce(sum(e.amount), 0) from {} e \
         where e.account = b.account)",
        table(&bench.base, "ledger.balances"),
        table(&bench.base, "ledger.entries"),
    );
    assert_eq!(bench.count(&differ).await, 0, "{when}: the entries say the same");
}

pub async fn a_ledger_adds_up_whatever_is_repeated(base: Base) {
    let bench = with_handler(base, Handled::by(ledger::Ledger)).await;
    business(&bench, 0, 200);
    bench.drain().await.stop().await;
    adds_up(&bench, "nobody", "at once").await;
    // A new owner, who has to load what the first has left.
    business(&bench, 200, 100);
    bench.drain().await.stop().await;
    adds_up(&bench, "nobody", "after a restart").await;
    bench.base.sql("update pipeline.progress set next_offset = 0").await;
    business(&bench, 300, 20);
    bench.drain().await.stop().await;
    adds_up(&bench, "nobody", "after a replay").await;
    assert_eq!(bench.count(PARKED).await, 0);
}

/// The database refuses what touches one account: those events are parked, each alone, and what is kept in
/// memory goes back with each refused statement. Redriven, they are applied to what is there then.
pub async fn a_refused_statement_takes_the_state_back(base: Base) {
    let mut bench = with_handler(base, Handled::by(ledger::Ledger)).await;
    bench.config.retries_max = 0;
    let entries = table(&bench.base, "ledger.entries");
    match &bench.base {
        Base::Sqlite { .. } => {
            let sql = format!(
                "create trigger no_evil before insert on {entries} when new.account = 'evil' \
                 begin select raise(abort, 'refused'); end"
            );
            bench.base.sql(&sql).await;
        }
        Base::Postgres { .. } => {
            let sql =
                format!("alter table {entries} add constraint no_evil check (account <> 'evil')");
            bench.base.sql(&sql).await;
        }
    }
    deposit(&bench, "first", "a-0", 500);
    business(&bench, 0, 30);
    transfer(&bench, "evil-1", "a-0", "evil", 200);
    business(&bench, 30, 30);
    transfer(&bench, "evil-2", "a-0", "evil", 100);
    business(&bench, 60, 30);
    let running = bench.drain().await;
    assert_eq!(bench.count(PARKED).await, 2);
    adds_up(&bench, "evil", "without them").await;
    // Something that the handler itself refuses.
    transfer(&bench, "odd", "a-1", "a-1", 1);
    business(&bench, 90, 10);
    bench.until_drained().await;
    let codes = "select coalesce(sqlstate, '') from pipeline.parked where log_offset = \
        (select max(log_offset) from pipeline.parked)";
    assert_eq!(bench.base.texts(codes).await, ["handler"]);

    let sql = match &bench.base {
        Base::Sqlite { .. } => "drop trigger no_evil".to_owned(),
        Base::Postgres { .. } => format!("alter table {entries} drop constraint no_evil"),
    };
    bench.base.sql(&sql).await;
    bench.redrive().await;
    bench.until("the two have their effect", async || bench.count(PARKED).await == 1).await;
    let evil = balances(&bench).await.get("evil").copied();
    assert_eq!(evil, Some(300));
    let sum = format!(
        "select cast(sum(balance) as {}) from {}",
        bigint(&bench),
        table(&bench.base, "ledger.balances")
    );
    let all = format!("select cast(sum(amount) as {}) from {entries}", bigint(&bench));
    assert_eq!(bench.count(&sum).await, bench.count(&all).await);
    // And what comes behind goes by what they have left.
    transfer(&bench, "back", "evil", "a-0", 300);
    bench.until_drained().await;
    assert_eq!(balances(&bench).await.get("evil"), None);
    running.stop().await;
}

fn bigint(bench: &Bench) -> &'static str {
    match bench.base {
        Base::Sqlite { .. } => "integer",
        Base::Postgres { .. } => "bigint",
    }
}

pub async fn a_ledger_survives_a_crash_at_any_step(base: Base) {
    let mut bench = with_handler(base, Handled::by(ledger::Ledger)).await;
    bench.config.batch_records_max = 3;
    business(&bench, 0, 120);
    bench.crashes(5, 30).await;
    let running = bench.drain().await;
    let other = "select count(*) from pipeline.parked where reason <> 'crash'";
    assert_eq!(bench.count(other).await, 0);
    if bench.count(PARKED).await == 0 {
        adds_up(&bench, "nobody", "after crashes").await;
    } else {
        // One that was set aside comes late, so only the sums can be said.
        bench.redrive().await;
        bench.until("it is applied", async || bench.count(PARKED).await == 0).await;
        let differ = format!(
            "select count(*) from {} b where b.balance <> (select coalesce(sum(e.amount), 0) from {} e \
             where e.account = b.account)",
            table(&bench.base, "ledger.balances"),
            table(&bench.base, "ledger.entries"),
        );
        assert_eq!(bench.count(&differ).await, 0);
    }
    running.stop().await;
}

fn order(bench: &Bench, n: usize, quantity: i64, card: &str) {
    let value = format!(
        r#"{{"id":"placed-{n}","type":"order.placed","subject":"o-{n}","data":{{"quantity":{quantity},"card":"{card}"}}}}"#
    );
    bench.append(FIRST, NOON, "acme", &value);
}

fn stock(bench: &Bench) {
    bench.append(
        FIRST,
        NOON,
        "acme",
        r#"{"id":"stock","type":"stock.delivered","data":{"quantity":100}}"#,
    );
}

/// Orders, of which every third cannot be paid, placed twice each; more than the stock bears.
fn orders(bench: &Bench, count: usize) {
    for n in 0..count {
        let card = if n % 3 == 2 { "declined" } else { "good" };
        order(bench, n, 1 + n as i64 % 4, card);
        order(bench, n, 1 + n as i64 % 4, card);
    }
}

/// Every order is at an end that its card allows, each step was taken once, and the stock adds up.
async fn saga_ends(bench: &Bench, count: usize) {
    let stages = format!("select stage from {}", table(&bench.base, "saga.orders"));
    bench
        .until("every order is at its end", async || {
            let stages = bench.base.texts(&stages).await;
            stages.len() == count && stages.iter().all(|stage| stage != "reserved")
        })
        .await;
    bench.until("nothing waits", async || bench.count(OUTBOX).await == 0).await;
    bench.until_drained().await;
    let orders = table(&bench.base, "saga.orders");
    let number = async |what: &str, of: &str| {
        bench.count(&format!("select cast({what} as {}) from {of}", bigint(bench))).await
    };
    let sold =
        number("coalesce(sum(quantity), 0)", &format!("{orders} where stage = 'paid'")).await;
    let left = number("sum(items)", &table(&bench.base, "saga.stock")).await;
    assert_eq!(sold + left, 100);
    let paid = bench.base.texts(&format!("select name from {orders} where stage = 'paid'")).await;
    assert!(paid.len() > 5);
    let cancelled =
        bench.base.texts(&format!("select name from {orders} where stage = 'cancelled'")).await;
    assert!(cancelled.len() > 3);
    let declined = |name: &String| name[2..].parse::<usize>().expect("a number") % 3 == 2;
    assert!(!paid.iter().any(declined) && cancelled.iter().all(declined));
    for (event_type, expected) in [
        ("payment.requested", paid.len() + cancelled.len()),
        ("payment.done", paid.len()),
        ("payment.failed", cancelled.len()),
    ] {
        let sql = format!("select count(*) from pipeline.events where type = '{event_type}'");
        assert_eq!(bench.count(&sql).await, expected as i64, "{event_type}");
    }
}

pub async fn a_saga_pays_or_gives_back(base: Base) {
    let bench = with_handler(base, Handled::by(saga::Saga)).await;
    stock(&bench);
    orders(&bench, 60);
    let running = bench.drain().await;
    saga_ends(&bench, 60).await;
    assert_eq!(bench.count(PARKED).await, 0);
    // All of the log once more, the steps that followed too.
    let events = bench.count(EVENTS).await;
    for record in bench.log.records() {
        let value = std::str::from_utf8(&record.value).expect("text");
        bench.append(FIRST, record.timestamp, "acme", value);
    }
    bench.until_drained().await;
    saga_ends(&bench, 60).await;
    assert_eq!(bench.count(EVENTS).await, events);
    running.stop().await;
}

pub async fn a_saga_survives_a_crash_at_any_step(base: Base) {
    let mut bench = with_handler(base, Handled::by(saga::Saga)).await;
    bench.config.batch_records_max = 3;
    // Before anything dies: an order that comes before its stock is rejected, and rightly.
    stock(&bench);
    bench.drain().await.stop().await;
    orders(&bench, 40);
    bench.crashes(5, 30).await;
    let running = bench.start().await;
    bench
        .until("the log was read", async || {
            bench.base.positions().await.get(&FIRST).is_some_and(|next| Offset(*next) >= Offset(81))
        })
        .await;
    bench.redrive().await;
    bench.until("nothing is set aside", async || bench.count(PARKED).await == 0).await;
    saga_ends(&bench, 40).await;
    running.stop().await;
}
