//! The ledger: what a batch of deposits and transfers does to balances that are kept in memory.
//!
//! A transfer asks for the balance of its account, and the next one of the same batch for what the first
//! has left. Set-based SQL cannot say that; a look into the database for each would be slow. Here the
//! partition's balances are in memory: nobody else changes them, because an account is a tenant's, and a
//! tenant's events have one partition.

use std::collections::BTreeSet;

use consumer::failure::StoreError;
use consumer::handler::{Effects, Fresh, Handler, Param, Refusal, Session, Sql, UndoMap};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::position::PartitionId;

/// Whose account, and its name.
type Account = (String, String);

/// The handler has no state of its own; its partitions have.
#[derive(Debug)]
pub struct Ledger;

#[derive(Deserialize)]
struct Deposit {
    to: String,
    amount: i64,
}

#[derive(Deserialize)]
struct Transfer {
    from: String,
    to: String,
    amount: i64,
}

const TABLES: [Sql; 1] = [Sql {
    postgres: "create schema if not exists ledger; \
        create table if not exists ledger.balances (tenant text, account text, class smallint not null, \
          partition integer not null, balance bigint not null check (balance >= 0), \
          primary key (tenant, account)); \
        create table if not exists ledger.entries (class smallint, partition integer, position bigint, \
          tenant text, account text, amount bigint not null, \
          primary key (class, partition, position, account)); \
        create table if not exists ledger.refused (class smallint, partition integer, position bigint, \
          tenant text not null, id text not null, primary key (class, partition, position))",
    sqlite: "create table if not exists ledger_balances (tenant text, account text, \
          class integer not null, partition integer not null, \
          balance integer not null check (balance >= 0), primary key (tenant, account)); \
        create table if not exists ledger_entries (class integer, partition integer, position integer, \
          tenant text, account text, amount integer not null, \
          primary key (class, partition, position, account)); \
        create table if not exists ledger_refused (class integer, partition integer, position integer, \
          tenant text not null, id text not null, primary key (class, partition, position))",
}];

/// One statement for all balances of a batch: each is a round trip while the partition is locked.
const BALANCES: Sql = Sql {
    postgres: "insert into ledger.balances as b (tenant, account, class, partition, balance) \
        select tenant, account, class, partition, balance \
        from jsonb_to_recordset($1::jsonb) as r (tenant text, account text, class smallint, \
          partition integer, balance bigint) order by tenant, account \
        on conflict (tenant, account) do update set balance = excluded.balance",
    sqlite: "insert into ledger_balances (tenant, account, class, partition, balance) \
        select value ->> 'tenant', value ->> 'account', value ->> 'class', value ->> 'partition', \
          value ->> 'balance' from json_each(?1) where true \
        on conflict (tenant, account) do update set balance = excluded.balance",
};

const ENTRIES: Sql = Sql {
    postgres: "insert into ledger.entries (class, partition, position, tenant, account, amount) \
        select class, partition, position, tenant, account, amount \
        from jsonb_to_recordset($1::jsonb) as r (class smallint, partition integer, position bigint, \
          tenant text, account text, amount bigint)",
    sqlite: "insert into ledger_entries (class, partition, position, tenant, account, amount) \
        select value ->> 'class', value ->> 'partition', value ->> 'position', value ->> 'tenant', \
          value ->> 'account', value ->> 'amount' from json_each(?1)",
};

const REFUSED: Sql = Sql {
    postgres: "insert into ledger.refused (class, partition, position, tenant, id) \
        select class, partition, position, tenant, id from jsonb_to_recordset($1::jsonb) \
          as r (class smallint, partition integer, position bigint, tenant text, id text)",
    sqlite: "insert into ledger_refused (class, partition, position, tenant, id) \
        select value ->> 'class', value ->> 'partition', value ->> 'position', value ->> 'tenant', \
          value ->> 'id' from json_each(?1)",
};

impl Handler for Ledger {
    type State = UndoMap<Account, i64>;

    fn tables(&self) -> &'static [Sql] {
        &TABLES
    }

    async fn load(&self, id: PartitionId, session: Session<'_>) -> Result<Self::State, StoreError> {
        let (class, partition) = (id.class as i16, id.partition.as_i32());
        let rows: Vec<(String, String, i64)> = match session {
            Session::Postgres(connection) => {
                sqlx::query_as(
                    "select tenant, account, balance from ledger.balances \
                     where class = $1 and partition = $2",
                )
                .bind(class)
                .bind(partition)
                .fetch_all(connection)
                .await?
            }
            Session::Sqlite(connection) => {
                sqlx::query_as(
                    "select tenant, account, balance from ledger_balances \
                     where class = ?1 and partition = ?2",
                )
                .bind(class)
                .bind(partition)
                .fetch_all(connection)
                .await?
            }
        };
        Ok(UndoMap::new(rows.into_iter().map(|(tenant, name, balance)| ((tenant, name), balance))))
    }

    fn handle(&self, balances: &mut Self::State, fresh: &[Fresh<'_>]) -> Result<Effects, Refusal> {
        let (mut entries, mut refused) = (Vec::new(), Vec::new());
        let mut changed = BTreeSet::new();
        for event in fresh {
            let tenant = event.tenant();
            let account = |name: &str| (tenant.to_owned(), name.to_owned());
            let movements = match event.event_type() {
                "ledger.deposit" => {
                    let Deposit { to, amount } = event.read()?;
                    positive(amount)?;
                    vec![(account(&to), amount)]
                }
                "ledger.transfer" => {
                    let Transfer { from, to, amount } = event.read()?;
                    positive(amount)?;
                    if from == to {
                        return Err(Refusal("from and to are one account"));
                    }
                    let from = account(&from);
                    if balances.get(&from).copied().unwrap_or(0) < amount {
                        refused.push(at(event, json!({"id": event.id()})));
                        continue;
                    }
                    vec![(from, -amount), (account(&to), amount)]
                }
                _ => continue,
            };
            for (account, amount) in movements {
                let balance = balances.get(&account).copied().unwrap_or(0) + amount;
                entries.push(at(event, json!({"account": account.1, "amount": amount})));
                balances.insert(account.clone(), balance);
                changed.insert((account, event.position().id));
            }
        }
        let rows = changed.iter().map(|((tenant, name), id)| {
            json!({
                "tenant": tenant, "account": name, "class": id.class as i16,
                "partition": id.partition.as_i32(),
                "balance": balances.get(&(tenant.clone(), name.clone())),
            })
        });
        let mut effects = Effects::default();
        for (sql, rows) in [(BALANCES, rows.collect()), (ENTRIES, entries), (REFUSED, refused)] {
            if !rows.is_empty() {
                effects.run(sql, [Param::Json(Value::Array(rows))]);
            }
        }
        Ok(effects)
    }
}

fn positive(amount: i64) -> Result<(), Refusal> {
    if (1..=1_000_000_000_000).contains(&amount) { Ok(()) } else { Err(Refusal("an odd amount")) }
}

/// A row of an event's.
fn at(event: &Fresh<'_>, mut row: Value) -> Value {
    let position = event.position();
    row["class"] = json!(position.id.class as i16);
    row["partition"] = json!(position.id.partition.as_i32());
    row["position"] = json!(position.offset.0);
    row["tenant"] = json!(event.tenant());
    row
}
