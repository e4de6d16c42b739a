//! A body to the verdicts on its events: divided, parsed, each event checked and routed.
//!
//! Pure but for the minted ids: nothing here waits or appends.

use std::collections::HashMap;
use std::ops::Range;

use serde_json::value::RawValue;
use shared::config::JsonProfile;
use shared::identity::SOURCE_DEFAULT;
use shared::tenant::TenantId;

use crate::core::Shared;
use crate::elements;
use crate::envelope;
use crate::event::{Attributes, Checked, Checks, Entry};
use crate::head::Shape;
use crate::live::Policy;
use crate::reject::{Bound, Reject};
use crate::storable;
use crate::tape::{Item, Parser};

/// Checks the structured events of one tenant's body.
#[derive(Debug)]
pub(crate) struct Checker<'c> {
    /// Routes, bounds.
    pub shared: &'c Shared,
    /// Schemas.
    pub policy: &'c Policy,
    /// Whose events.
    pub tenant: TenantId,
    /// How the body is divided.
    pub shape: Shape,
}

impl Checker<'_> {
    /// The verdicts, in the body's order. `Err`: the body as a whole is refused.
    pub fn check(&self, parser: &mut Parser, body: &[u8]) -> Result<Checks, Reject> {
        let mut checks = Checks::default();
        match self.shape {
            Shape::Lines => self.lines(parser, body, &mut checks)?,
            Shape::Json | Shape::Structured | Shape::Batch | Shape::Binary => {
                match self.text(parser, body, &mut checks) {
                    Err(Reject::NotStorable(what)) if self.shape != Shape::Structured => {
                        self.elements_one_by_one(parser, body, &mut checks, what)?;
                    }
                    verdict => verdict?,
                }
            }
        }
        if checks.events.is_empty() {
            return Err(Reject::Empty);
        }
        mark_duplicates(&mut checks);
        Ok(checks)
    }

    fn lines(&self, parser: &mut Parser, body: &[u8], checks: &mut Checks) -> Result<(), Reject> {
        let mut start = 0;
        for line in body.split(|byte| *byte == b'\n') {
            let blank = line.len() - line.trim_ascii_start().len();
            let at = start + blank..start + blank + line.trim_ascii().len();
            start += line.len() + 1;
            if at.is_empty() {
                continue;
            }
            self.count(checks.events.len() + 1, None)?;
            self.element(parser, body, at, checks);
        }
        Ok(())
    }

    fn text(&self, parser: &mut Parser, body: &[u8], checks: &mut Checks) -> Result<(), Reject> {
        let parsed = parser.parse(body)?;
        let root = parsed.root();
        let many = self.shape != Shape::Structured;
        match root.elements() {
            Some(items) if many => {
                self.count(items.size_hint().0, items.size_hint().1)?;
                for (item, at) in items.zip(elements::ranges(body, parsed.structure())) {
                    self.enter(item, body, at, checks);
                }
            }
            Some(_) | None if self.shape == Shape::Batch => {
                return Err(Reject::Malformed("a batch is a JSON array"));
            }
            Some(_) | None => self.enter(root, body, trimmed(body), checks),
        }
        Ok(())
    }

    /// One element holds what no store of ours can; the others need not suffer for it.
    fn elements_one_by_one(
        &self,
        parser: &mut Parser,
        body: &[u8],
        checks: &mut Checks,
        what: &'static str,
    ) -> Result<(), Reject> {
        let Ok(elements) = serde_json::from_slice::<Vec<&RawValue>>(body) else {
            return Err(Reject::NotStorable(what));
        };
        self.count(elements.len(), Some(elements.len()))?;
        for element in elements {
            // An element borrows from the body, so its place is the distance of their beginnings.
            let start = element.get().as_ptr() as usize - body.as_ptr() as usize;
            self.element(parser, body, start..start + element.get().len(), checks);
        }
        Ok(())
    }

    /// An element with a text of its own.
    fn element(&self, parser: &mut Parser, body: &[u8], at: Range<usize>, checks: &mut Checks) {
        match parser.parse(&body[at.clone()]) {
            Ok(parsed) => self.enter(parsed.root(), body, at, checks),
            Err(reject) => checks.events.push(Entry { id: None, verdict: Err(reject) }),
        }
    }

    fn enter(&self, item: Item<'_>, body: &[u8], at: Range<usize>, checks: &mut Checks) {
        let mut id = None;
        let verdict = self.event(item, body, at, checks, &mut id);
        checks.events.push(Entry { id, verdict });
    }

    fn event(
        &self,
        item: Item<'_>,
        body: &[u8],
        at: Range<usize>,
        checks: &mut Checks,
        id: &mut Option<Range<usize>>,
    ) -> Result<Checked, Reject> {
        self.shared.check_event(item, &body[at.clone()])?;
        let specversion_needed = matches!(self.shape, Shape::Structured | Shape::Batch);
        let envelope = envelope::read(item, self.tenant, specversion_needed)?;
        *id = envelope.id.map(|id| checks.keep(id));
        if let Some(schema) = self.policy.schemas.find(self.tenant, envelope.event_type)? {
            checks.warnings += u64::from(schema.check(envelope.data, envelope.event_type)?);
        }
        let minted = id.is_none();
        let event_id = id.get_or_insert_with(|| checks.mint()).clone();
        Ok(Checked {
            tenant: self.tenant,
            id: self.shared.route(envelope.event_type, self.tenant),
            value: at,
            event_id,
            source: checks.keep(envelope.source.unwrap_or(SOURCE_DEFAULT)),
            minted,
            timed: envelope.time.is_some(),
            duplicate_of: None,
        })
    }

    fn count(&self, events: usize, observed: Option<usize>) -> Result<(), Reject> {
        let limit = self.shared.config.batch_events_max;
        if events <= limit {
            return Ok(());
        }
        Err(Reject::Batch(Bound { name: "batch_events_max", limit, observed }))
    }
}

impl Shared {
    /// What every event must be, in whatever form: small enough and storable.
    pub fn check_event(&self, item: Item<'_>, text: &[u8]) -> Result<(), Reject> {
        let limit = self.config.event_bytes_max;
        if text.len() > limit {
            let observed = Some(text.len());
            return Err(Reject::Event(Bound { name: "event_bytes_max", limit, observed }));
        }
        match self.config.json_profile {
            JsonProfile::Postgres => storable::check(item, text),
            JsonProfile::Rfc8259 => Ok(()),
        }
    }

    /// The one event of a request whose attributes stand outside its value.
    pub fn check_binary(
        &self,
        tenant: TenantId,
        attributes: Attributes,
        body: &[u8],
        warning: bool,
    ) -> Checks {
        let mut checks = Checks { warnings: u64::from(warning), ..Checks::default() };
        let given = attributes.id.as_deref().map(|id| checks.keep(id));
        let minted = given.is_none();
        let event_id = given.unwrap_or_else(|| checks.mint());
        let source = checks.keep(attributes.source.as_deref().unwrap_or(SOURCE_DEFAULT));
        let checked = Checked {
            tenant,
            id: self.route(&attributes.event_type, tenant),
            value: 0..body.len(),
            event_id: event_id.clone(),
            source,
            minted,
            timed: attributes.time.is_some(),
            duplicate_of: None,
        };
        checks.events.push(Entry { id: Some(event_id), verdict: Ok(checked) });
        checks.attributes = Some(attributes);
        checks
    }

    fn route(&self, event_type: &str, tenant: TenantId) -> shared::position::PartitionId {
        self.router.partition(self.router.class(event_type), tenant.as_bytes())
    }
}

fn trimmed(body: &[u8]) -> Range<usize> {
    let start = body.len() - body.trim_ascii_start().len();
    start..start + body.trim_ascii().len()
}

/// An event with the id and source of an earlier one of the request is not appended again.
fn mark_duplicates(checks: &mut Checks) {
    if checks.events.len() < 2 {
        return;
    }
    let Checks { events, text, .. } = checks;
    let mut first = HashMap::with_capacity(events.len());
    for (index, entry) in events.iter_mut().enumerate() {
        let Ok(checked) = &mut entry.verdict else { continue };
        let identity = (&text[checked.source.clone()], &text[checked.event_id.clone()]);
        checked.duplicate_of = first.get(&identity).copied();
        first.entry(identity).or_insert(index);
    }
}
