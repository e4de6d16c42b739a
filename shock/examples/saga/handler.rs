//! The saga: order placed → stock reserved → payment asked for → paid, or the stock is given back.
//!
//! Each step is an event of its own that follows from the one before, back through the log: it is committed
//! with what it follows from (a row of the outbox), appended at least once, and has one effect, because
//! its identity follows from its cause's. Whatever is killed, no step is lost and none is taken twice.

use consumer::failure::StoreError;
use consumer::handler::{
    Effects, Fresh, Handler, Param, Refusal, Reversible, Session, Sql, UndoMap,
};
use serde::Deserialize;
use serde_json::json;
use shared::position::PartitionId;

/// The handler has no state of its own; its partitions have.
#[derive(Debug)]
pub struct Saga;

/// A partition's tenants: their stock, and their orders that are not at their end.
#[derive(Debug, Default)]
pub struct State {
    stock: UndoMap<String, i64>,
    orders: UndoMap<(String, String), i64>,
}

/// A tenant, and what it has.
type Stock = (String, i64);
/// A tenant, its order's name, and how much is ordered.
type Order = (String, String, i64);

#[derive(Deserialize)]
struct Delivered {
    quantity: i64,
}

#[derive(Deserialize)]
struct Placed {
    quantity: i64,
    card: String,
}

#[derive(Deserialize)]
struct Payment {
    card: String,
}

const TABLES: [Sql; 1] = [Sql {
    postgres: "create schema if not exists saga; \
        create table if not exists saga.stock (tenant text primary key, class smallint not null, \
          partition integer not null, items bigint not null check (items >= 0)); \
        create table if not exists saga.orders (tenant text, name text, class smallint not null, \
          partition integer not null, quantity bigint not null, stage text not null, \
          primary key (tenant, name))",
    sqlite: "create table if not exists saga_stock (tenant text primary key, class integer not null, \
          partition integer not null, items integer not null check (items >= 0)); \
        create table if not exists saga_orders (tenant text, name text, class integer not null, \
          partition integer not null, quantity integer not null, stage text not null, \
          primary key (tenant, name))",
}];

const STOCK: Sql = Sql {
    postgres: "insert into saga.stock (tenant, class, partition, items) values ($1, $2, $3, $4) \
        on conflict (tenant) do update set items = excluded.items",
    sqlite: "insert into saga_stock (tenant, class, partition, items) values (?1, ?2, ?3, ?4) \
        on conflict (tenant) do update set items = excluded.items",
};

const ORDER: Sql = Sql {
    postgres: "insert into saga.orders (tenant, class, partition, name, quantity, stage) \
        values ($1, $2, $3, $4, $5, $6) \
        on conflict (tenant, name) do update set stage = excluded.stage",
    sqlite: "insert into saga_orders (tenant, class, partition, name, quantity, stage) \
        values (?1, ?2, ?3, ?4, ?5, ?6) \
        on conflict (tenant, name) do update set stage = excluded.stage",
};

impl Reversible for State {
    fn keep(&mut self) {
        self.stock.keep();
        self.orders.keep();
    }

    fn undo(&mut self) {
        self.stock.undo();
        self.orders.undo();
    }
}

impl Handler for Saga {
    type State = State;

    fn tables(&self) -> &'static [Sql] {
        &TABLES
    }

    async fn load(&self, id: PartitionId, session: Session<'_>) -> Result<Self::State, StoreError> {
        let (class, partition) = (id.class as i16, id.partition.as_i32());
        let (stock, orders): (Vec<Stock>, Vec<Order>) = match session {
            Session::Postgres(connection) => (
                sqlx::query_as(
                    "select tenant, items from saga.stock where class = $1 and partition = $2",
                )
                .bind(class)
                .bind(partition)
                .fetch_all(&mut *connection)
                .await?,
                sqlx::query_as(
                    "select tenant, name, quantity from saga.orders \
                     where class = $1 and partition = $2 and stage = 'reserved'",
                )
                .bind(class)
                .bind(partition)
                .fetch_all(connection)
                .await?,
            ),
            Session::Sqlite(connection) => (
                sqlx::query_as(
                    "select tenant, items from saga_stock where class = ?1 and partition = ?2",
                )
                .bind(class)
                .bind(partition)
                .fetch_all(&mut *connection)
                .await?,
                sqlx::query_as(
                    "select tenant, name, quantity from saga_orders \
                     where class = ?1 and partition = ?2 and stage = 'reserved'",
                )
                .bind(class)
                .bind(partition)
                .fetch_all(connection)
                .await?,
            ),
        };
        let orders = orders.into_iter().map(|(tenant, name, items)| ((tenant, name), items));
        Ok(State { stock: UndoMap::new(stock), orders: UndoMap::new(orders) })
    }

    fn handle(&self, state: &mut State, fresh: &[Fresh<'_>]) -> Result<Effects, Refusal> {
        let mut effects = Effects::default();
        for event in fresh {
            match event.event_type() {
                "stock.delivered" => {
                    let Delivered { quantity } = event.read()?;
                    state.move_stock(&mut effects, event, quantity);
                }
                "order.placed" => {
                    let Placed { quantity, card } = event.read()?;
                    if quantity < 1 || state.order(event)?.is_some() {
                        return Err(Refusal("no order, or one that is under way"));
                    }
                    if state.items(event) < quantity {
                        stage(&mut effects, event, quantity, "rejected")?;
                        continue;
                    }
                    state.move_stock(&mut effects, event, -quantity);
                    state.orders.insert(key(event)?, quantity);
                    stage(&mut effects, event, quantity, "reserved")?;
                    effects.follow(event, "payment.requested", &json!({"card": card}));
                }
                // Stands for whoever takes the money; it answers with an event.
                "payment.requested" => {
                    let Payment { card } = event.read()?;
                    let answer = if card == "good" { "payment.done" } else { "payment.failed" };
                    effects.follow(event, answer, &json!({}));
                }
                "payment.done" => {
                    if let Some(quantity) = state.end(event)? {
                        stage(&mut effects, event, quantity, "paid")?;
                    }
                }
                "payment.failed" => {
                    if let Some(quantity) = state.end(event)? {
                        state.move_stock(&mut effects, event, quantity);
                        stage(&mut effects, event, quantity, "cancelled")?;
                    }
                }
                _ => {}
            }
        }
        Ok(effects)
    }
}

impl State {
    fn items(&self, event: &Fresh<'_>) -> i64 {
        self.stock.get(event.tenant()).copied().unwrap_or(0)
    }

    fn order(&self, event: &Fresh<'_>) -> Result<Option<i64>, Refusal> {
        Ok(self.orders.get(&key(event)?).copied())
    }

    /// Takes an order that waits for its payment to its end.
    fn end(&mut self, event: &Fresh<'_>) -> Result<Option<i64>, Refusal> {
        let quantity = self.order(event)?;
        self.orders.remove(&key(event)?);
        Ok(quantity)
    }

    fn move_stock(&mut self, effects: &mut Effects, event: &Fresh<'_>, by: i64) {
        let items = self.items(event) + by;
        self.stock.insert(event.tenant().to_owned(), items);
        let [tenant, class, partition] = place(event);
        effects.run(STOCK, [tenant, class, partition, Param::Integer(items)]);
    }
}

fn stage(
    effects: &mut Effects,
    event: &Fresh<'_>,
    quantity: i64,
    stage: &str,
) -> Result<(), Refusal> {
    let [tenant, class, partition] = place(event);
    let name = Param::Text(Some(key(event)?.1));
    let (quantity, stage) = (Param::Integer(quantity), Param::Text(Some(stage.to_owned())));
    effects.run(ORDER, [tenant, class, partition, name, quantity, stage]);
    Ok(())
}

fn key(event: &Fresh<'_>) -> Result<(String, String), Refusal> {
    let name = event.subject().ok_or(Refusal("no subject"))?;
    Ok((event.tenant().to_owned(), name.to_owned()))
}

fn place(event: &Fresh<'_>) -> [Param; 3] {
    let id = event.position().id;
    [
        Param::Text(Some(event.tenant().to_owned())),
        Param::Integer(id.class as i64),
        Param::Integer(i64::from(id.partition.as_i32())),
    ]
}
