//! A handler without its types: what the worker and the stores work with.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use shared::position::PartitionId;

use super::{Effects, Fresh, Handler, Refusal, Reversible as _, Session, Sql};
use crate::failure::StoreError;

type Loading<'a> = Pin<Box<dyn Future<Output = Result<Box<dyn Live>, StoreError>> + Send + 'a>>;

/// What loads a partition's state.
pub(crate) trait Loader: fmt::Debug + Send + Sync {
    /// See [`Handler::tables`].
    fn tables(&self) -> &'static [Sql];

    /// See [`Handler::load`].
    fn load<'a>(&'a self, id: PartitionId, session: Session<'a>) -> Loading<'a>;
}

/// A handler with the state of one partition.
pub(crate) trait Live: fmt::Debug + Send + Sync {
    /// See [`Handler::handle`].
    fn handle(&mut self, fresh: &[Fresh<'_>]) -> Result<Effects, Refusal>;

    /// What was changed is committed.
    fn keep(&mut self);

    /// What was changed is not committed, and goes back.
    fn undo(&mut self);
}

struct Stateful<H: Handler> {
    handler: Arc<H>,
    state: H::State,
}

impl<H: Handler> fmt::Debug for Stateful<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stateful").field("handler", &self.handler).finish_non_exhaustive()
    }
}

/// A handler, whatever its types. All clones are one.
#[derive(Clone, Debug)]
pub struct Handled(Arc<dyn Loader>);

impl Handled {
    /// By this handler.
    pub fn by<H: Handler>(handler: H) -> Self {
        Self(Arc::new(Shelf(Arc::new(handler))))
    }

    pub(crate) fn loader(&self) -> &dyn Loader {
        self.0.as_ref()
    }

    pub(crate) fn tables(&self) -> &'static [Sql] {
        self.0.tables()
    }
}

#[derive(Debug)]
struct Shelf<H>(Arc<H>);

impl<H: Handler> Loader for Shelf<H> {
    fn tables(&self) -> &'static [Sql] {
        self.0.tables()
    }

    fn load<'a>(&'a self, id: PartitionId, session: Session<'a>) -> Loading<'a> {
        Box::pin(async move {
            let state = self.0.load(id, session).await?;
            let live: Box<dyn Live> = Box::new(Stateful { handler: Arc::clone(&self.0), state });
            Ok(live)
        })
    }
}

impl<H: Handler> Live for Stateful<H> {
    fn handle(&mut self, fresh: &[Fresh<'_>]) -> Result<Effects, Refusal> {
        self.handler.handle(&mut self.state, fresh)
    }

    fn keep(&mut self) {
        self.state.keep();
    }

    fn undo(&mut self) {
        self.state.undo();
    }
}
