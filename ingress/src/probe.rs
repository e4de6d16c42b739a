//! Single steps of the way, for the tests and benchmarks that compare them: both tiers of validation,
//! and admission. Nothing here is part of the ingress's interface.

use std::path::Path;
use std::time::Instant;

use serde_json::Value;
use shared::config::{Contract, ControlConfig, JsonProfile, SchemaMode};
use shared::metrics::Registry;
use shared::position::Class;
use shared::route::Router;
use shared::tenant::TenantId;

use crate::admission::{Admission, FlowCache, Metrics};
use crate::append::Fate;
use crate::desk::Desk;
use crate::event::{Checked, Entry};
use crate::pool::Reusable as _;
use crate::reject::Reject;
use crate::schema::{Schema, SchemaError, Verdict};
use crate::tape::{JsonBounds, Parser};

/// The ingress's own bounds, by default.
const BOUNDS: JsonBounds = JsonBounds { depth_max: 64, members_max: 1000 };

/// A parser, and schemas by index.
pub struct Probe {
    parser: Parser,
    schemas: Vec<(String, Schema)>,
}

impl Probe {
    /// One schema, from a file.
    pub fn of(file: &Path) -> Result<Self, SchemaError> {
        let schema = Schema::load(file, "", SchemaMode::Enforce)?;
        Ok(Self {
            parser: Parser::with_profile(BOUNDS, JsonProfile::Postgres),
            schemas: vec![(String::new(), schema)],
        })
    }

    /// The schemas that the pointers name, as a source's configuration does.
    pub fn of_types(file: &Path, pointers: &[String]) -> Result<Self, SchemaError> {
        let schemas = Schema::load_each(file, pointers, SchemaMode::Enforce)?;
        Ok(Self {
            parser: Parser::with_profile(BOUNDS, JsonProfile::Postgres),
            schemas: schemas.into_iter().collect(),
        })
    }

    /// The index of a type's schema.
    pub fn index(&self, event_type: &str) -> Option<usize> {
        self.schemas.iter().position(|(name, _)| name == event_type)
    }

    /// Parses, and asks the program: surely valid, surely invalid, or `None`: it does not know.
    pub fn tape(&mut self, schema: usize, text: &[u8]) -> Option<bool> {
        let parsed = self.parser.parse(text).ok()?;
        match self.schemas[schema].1.program_verdict(parsed.root()) {
            Verdict::Valid => Some(true),
            Verdict::Invalid => Some(false),
            Verdict::Unknown => None,
        }
    }

    /// Parses, makes a value of it, and asks the library. `None`: no JSON for us.
    pub fn library(&mut self, schema: usize, text: &[u8]) -> Option<bool> {
        let parsed = self.parser.parse(text).ok()?;
        Some(self.schemas[schema].1.library_verdict(&parsed.root().to_value()))
    }

    /// What the library says about a value that somebody else made.
    pub fn verdict(&self, schema: usize, value: &Value) -> bool {
        self.schemas[schema].1.library_verdict(value)
    }

    /// The same as [`Self::library`], with the value from serde_json itself.
    pub fn plain(&self, schema: usize, text: &[u8]) -> Option<bool> {
        Some(self.verdict(schema, &serde_json::from_slice(text).ok()?))
    }

    /// Only parses.
    pub fn parse(&mut self, text: &[u8]) -> bool {
        let parsed: Result<_, Reject> = self.parser.parse(text);
        parsed.is_ok()
    }
}

/// Admission of single events of many tenants, each with a contract; the partitions are limited.
pub struct Admissions {
    admission: Admission,
    cache: FlowCache,
    desk: Desk,
    events: Vec<Checked>,
}

impl Admissions {
    /// So many tenants, each with this contract, events/s.
    pub fn new(tenants: usize, contract_per_s: f64) -> Self {
        let contract = Contract { contract_per_s: Some(contract_per_s), ceiling_per_s: None };
        let config = ControlConfig { contract, ..ControlConfig::default() };
        let router = Router::new([1, 8, 1], Vec::new());
        let admission = Admission::new(&router, &config, Metrics::new(&Registry::new()));
        for id in router.ids() {
            admission.set_rate(id, Some(2_000_000.0));
        }
        let event = |number: usize| {
            let tenant = TenantId::parse(&format!("tenant-{number:012}")).expect("a valid name");
            Checked {
                tenant,
                id: router.partition(Class::Transactional, tenant.as_bytes()),
                value: 0..0,
                event_id: 0..0,
                source: 0..0,
                minted: false,
                timed: false,
                closed: false,
                duplicate_of: None,
            }
        };
        let events = (0..tenants).map(event).collect();
        Self { admission, cache: FlowCache::default(), desk: Desk::default(), events }
    }

    /// Whether an event of this tenant is let in.
    pub fn decide(&mut self, tenant: usize, at: Instant) -> bool {
        self.desk.reset();
        let verdict = Ok(self.events[tenant].clone());
        self.desk.checks.events.push(Entry { id: None, verdict });
        self.admission.decide(&self.cache, &mut self.desk, at);
        matches!(self.desk.fates.first(), Some(Fate::Passes(_)))
    }

    /// The same without the decision: what the measurement itself costs.
    pub fn prepare(&mut self, tenant: usize) -> bool {
        self.desk.reset();
        let verdict = Ok(self.events[tenant].clone());
        self.desk.checks.events.push(Entry { id: None, verdict });
        self.desk.checks.events.len() == 1
    }
}
