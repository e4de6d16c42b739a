//! What a reload replaces: who may post, from where, and what. One set, swapped as a whole.
//!
//! A request takes one snapshot at its start and keeps it to its end: it never meets a key of one set
//! and a schema of another, and a swap waits for nobody. Taking one costs no lock, no allocation and
//! no counter that cores share: each thread holds the set once, and its requests count only among
//! themselves. The old set goes when the last request of the last thread lets go of it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwap;
use shared::config::{IngressConfig, SourceConfig};

use crate::credential::Keyring;
use crate::document::Document;
use crate::metrics::Registered;
use crate::openapi;
use crate::schema::{SchemaError, Schemas};
use crate::source::Source;

/// Who may post, from where, and what: one configuration's, never changed.
#[derive(Debug)]
pub(crate) struct Policy {
    /// Who may post.
    pub keyring: Keyring,
    /// Webhook sources by name.
    pub sources: HashMap<String, Source>,
    /// Schemas by type.
    pub schemas: Schemas,
    /// What all of it asks of a producer.
    pub openapi: Document,
}

impl Policy {
    /// Reads and compiles all of it, to follow `before`; one schema that does not compile refuses the
    /// whole.
    pub fn load(config: &IngressConfig, before: Option<&Self>) -> Result<Self, SchemaError> {
        let source = |source: &SourceConfig| Ok((source.name.clone(), Source::load(source)?));
        Ok(Self {
            keyring: Keyring::new(config, before.map(|before| &before.keyring)),
            sources: config.sources.iter().map(source).collect::<Result<_, SchemaError>>()?,
            schemas: Schemas::load(&config.schemas)?,
            openapi: openapi::contract(config)?,
        })
    }
}

impl Policy {
    /// How many schemas leave something to the library. Says so once, as it slows their events.
    fn partly_covered(&self) -> usize {
        let sources = self.sources.values().flat_map(Source::schemas);
        let (mut in_part, mut all) = self.schemas.partly_covered();
        for (_, schema) in sources {
            in_part += usize::from(!schema.is_covered());
            all += 1;
        }
        if in_part > 0 {
            tracing::info!(
                schemas = all,
                partly_covered = in_part,
                "schemas leave keywords to the slower tier; `shock schema explain` names them"
            );
        }
        in_part
    }
}

/// The policy in effect, for all threads.
#[derive(Debug)]
pub(crate) struct Live {
    current: ArcSwap<Policy>,
    registered: Registered,
}

impl Live {
    /// The first policy.
    pub fn new(policy: Policy, config: &IngressConfig, registered: Registered) -> Self {
        registered.set(config, policy.partly_covered());
        Self { current: ArcSwap::from_pointee(policy), registered }
    }

    /// Loads another and puts it in effect; on an error the old one stays.
    pub fn reload(&self, config: &IngressConfig) -> Result<(), SchemaError> {
        let policy = Policy::load(config, Some(&self.current.load()))?;
        self.registered.set(config, policy.partly_covered());
        self.current.store(Arc::new(policy));
        Ok(())
    }
}

/// A policy in the hands of one request.
pub(crate) type Snapshot = Rc<Arc<Policy>>;

/// A thread's hold on the policy in effect.
#[derive(Debug)]
pub(crate) struct View(RefCell<Snapshot>);

impl View {
    /// A thread's first look.
    pub fn of(live: &Live) -> Self {
        Self(RefCell::new(Rc::new(live.current.load_full())))
    }

    /// The policy in effect now.
    pub fn snapshot(&self, live: &Live) -> Snapshot {
        let current = live.current.load();
        let mut held = self.0.borrow_mut();
        if !Arc::ptr_eq(&current, &held) {
            *held = Rc::new(Arc::clone(&current));
        }
        Rc::clone(&held)
    }
}
