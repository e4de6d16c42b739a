//! Handlers: effects in Rust, with state per partition.
//!
//! A [`Handler`] sees the events of a batch that have their effect now, and says what that is: statements
//! with parameters, and events that follow. All of it is committed with the batch's identities and
//! position, or nothing is. Its state is what one partition's events have made so far, kept in memory: it
//! is loaded after the claim, valid only as long as that holds (nobody else writes for the partition
//! meanwhile, and a statement of ours that comes too late is refused), goes back with a refused statement,
//! and is dropped with the partition.
//!
//! `handle` is no `async fn`: it runs while the progress row is locked, and nothing may be waited for
//! then. What needs to be waited for is a follow-up event, or a [sink](crate::outbox).

mod effects;
mod live;
mod undo;

use std::fmt;

use serde::de::DeserializeOwned;
use shared::clock::Millis;
use shared::position::{PartitionId, Position};
use sqlx::{PgConnection, SqliteConnection};

pub use self::effects::{Effect, Effects, Param, SOURCE, Sql};
pub use self::live::Handled;
pub(crate) use self::live::{Live, Loader};
pub use self::undo::{Copied, Reversible, UndoMap};
use crate::batch::Row;
use crate::failure::StoreError;

/// What a user's Rust makes of events.
pub trait Handler: fmt::Debug + Send + Sync + 'static {
    /// What it keeps in memory of one partition.
    type State: Reversible + Send + Sync + 'static;

    /// What makes its tables, each harmless where they are there already (`create table if not exists`).
    /// Run by `shock ctl migrate`, as the owner of the schema, and by `shock dev`.
    fn tables(&self) -> &'static [Sql] {
        &[]
    }

    /// Reads the state of a partition that was just claimed. Whoever had it before has written its last.
    fn load(
        &self,
        id: PartitionId,
        session: Session<'_>,
    ) -> impl Future<Output = Result<Self::State, StoreError>> + Send;

    /// What these events do, in the log's order. An error refuses them for their content: the batch is
    /// then halved until the event is found, and that one is parked.
    fn handle(&self, state: &mut Self::State, fresh: &[Fresh<'_>]) -> Result<Effects, Refusal>;
}

/// A connection of the store that takes the effects.
#[derive(Debug)]
pub enum Session<'c> {
    /// PostgreSQL.
    Postgres(&'c mut PgConnection),
    /// SQLite.
    Sqlite(&'c mut SqliteConnection),
}

/// An event refuses to be handled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(
    /// Why, in a few words without the event's values: it stands beside the parked record.
    pub &'static str,
);

/// An event that has its effect now.
#[derive(Clone, Copy, Debug)]
pub struct Fresh<'b>(&'b Row<'b>);

impl<'b> Fresh<'b> {
    pub(crate) fn of(row: &'b Row<'_>) -> Self {
        Self(row)
    }

    /// Where its record stands.
    pub fn position(&self) -> Position {
        self.0.record.position
    }

    /// Whose it is.
    pub fn tenant(&self) -> &'b str {
        self.0.identity.tenant.as_str()
    }

    /// CloudEvents `source`.
    pub fn source(&self) -> &'b str {
        &self.0.event.source
    }

    /// CloudEvents `id`.
    pub fn id(&self) -> &'b str {
        &self.0.event.id
    }

    /// CloudEvents `type`.
    pub fn event_type(&self) -> &'b str {
        &self.0.event.event_type
    }

    /// CloudEvents `subject`: the entity.
    pub fn subject(&self) -> Option<&'b str> {
        self.0.event.subject.as_deref()
    }

    /// When the ingress received it.
    pub fn received_at(&self) -> Millis {
        self.0.record.timestamp
    }

    /// The payload, JSON text.
    pub fn data(&self) -> &'b str {
        self.0.event.data
    }

    /// The payload as a type of yours; refuses the event where it is none.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        serde_json::from_str(self.data()).map_err(|_| Refusal("data is not what its type has"))
    }

    pub(crate) fn row(&self) -> &'b Row<'b> {
        self.0
    }
}
