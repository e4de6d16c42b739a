//! A body to the verdicts on its events: divided, parsed, each event checked and routed.
//!
//! Pure but for the minted ids: nothing here appends, and what waits only lets others have the core.

use std::ops::Range;

use serde_json::value::RawValue;
use shared::config::JsonProfile;
use shared::identity::SOURCE_DEFAULT;
use shared::tenant::TenantId;

use crate::core::Shared;
use crate::elements;
use crate::envelope;
use crate::event::{Checked, Checks, Entry};
use crate::grant::Grant;
use crate::head::Shape;
use crate::live::Policy;
use crate::reject::{Bound, Reject};
use crate::storable;
use crate::tape::{Item, Parser};
use crate::turn::Turn;

/// Checks the structured events of one sender's body.
#[derive(Debug)]
pub(crate) struct Checker<'c> {
    /// Routes, bounds.
    pub shared: &'c Shared,
    /// Schemas.
    pub policy: &'c Policy,
    /// What the sender may write.
    pub grant: &'c Grant,
    /// How the body is divided.
    pub shape: Shape,
}

impl Checker<'_> {
    /// The verdicts, in the body's order. `Err`: the body as a whole is refused.
    pub async fn check(
        &self,
        parser: &mut Parser,
        body: &[u8],
        checks: &mut Checks,
        turn: &mut Turn,
    ) -> Result<(), Reject> {
        match self.shape {
            Shape::Lines => self.lines(parser, body, checks, turn).await?,
            Shape::Json | Shape::Structured | Shape::Batch | Shape::Binary => {
                match self.text(parser, body, checks, turn).await {
                    Err(Reject::NotStorable(what)) if self.shape != Shape::Structured => {
                        self.elements_one_by_one(parser, body, checks, turn, what).await?;
                    }
                    verdict => verdict?,
                }
            }
        }
        // An empty batch is a valid one of CloudEvents (JSON format 1.0.2, section 4).
        if checks.events.is_empty() && self.shape != Shape::Batch {
            return Err(Reject::Empty);
        }
        checks.mark_duplicates();
        Ok(())
    }

    async fn lines(
        &self,
        parser: &mut Parser,
        body: &[u8],
        checks: &mut Checks,
        turn: &mut Turn,
    ) -> Result<(), Reject> {
        let mut start = 0;
        while start < body.len() {
            let rest = &body[start..];
            let end = start + memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            let at = elements::trimmed(body, start..end);
            start = end + 1;
            if at.is_empty() {
                continue;
            }
            self.count(checks.events.len() + 1, None)?;
            self.element(parser, body, at, checks);
            turn.step().await;
        }
        Ok(())
    }

    async fn text(
        &self,
        parser: &mut Parser,
        body: &[u8],
        checks: &mut Checks,
        turn: &mut Turn,
    ) -> Result<(), Reject> {
        let parsed = parser.parse(body)?;
        let root = parsed.root();
        let many = self.shape != Shape::Structured;
        match root.elements() {
            Some(items) if many => {
                self.count(items.size_hint().0, items.size_hint().1)?;
                for (item, at) in items.zip(elements::ranges(body, parsed.structure())) {
                    self.enter(item, body, at, checks);
                    turn.step().await;
                }
            }
            Some(_) | None if self.shape == Shape::Batch => {
                return Err(Reject::Malformed("a batch is a JSON array"));
            }
            Some(_) | None => {
                self.enter(root, body, elements::trimmed(body, 0..body.len()), checks);
            }
        }
        Ok(())
    }

    /// One element holds what no store of ours can; the others need not suffer for it.
    async fn elements_one_by_one(
        &self,
        parser: &mut Parser,
        body: &[u8],
        checks: &mut Checks,
        turn: &mut Turn,
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
            turn.step().await;
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
        let envelope = envelope::read(item, specversion_needed)?;
        *id = envelope.id.map(|id| checks.keep(id));
        let tenant = self.grant.tenant(envelope.tenant)?;
        let source = envelope.source.unwrap_or(SOURCE_DEFAULT);
        self.grant.check(envelope.event_type, source, &self.shared.router)?;
        if let Some(schema) = self.policy.schemas.find(tenant, envelope.event_type)? {
            let warning = schema.check(envelope.data, envelope.event_type, &mut checks.tiers)?;
            checks.warnings += u64::from(warning);
        }
        let minted = id.is_none();
        let event_id = id.get_or_insert_with(|| checks.mint()).clone();
        Ok(Checked {
            tenant,
            id: self.shared.route(envelope.event_type, tenant),
            value: at,
            event_id,
            source: checks.keep(source),
            minted,
            timed: envelope.time.is_some(),
            closed: self.shared.admission.closes(envelope.event_type, &tenant),
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

    /// Enters the one event of a request whose attributes stand outside its value, in
    /// [`Checks::attributes`].
    pub fn enter_binary(&self, tenant: TenantId, body: &[u8], warning: bool, checks: &mut Checks) {
        checks.warnings = u64::from(warning);
        let Checks { text, attributes, .. } = checks;
        let kept = |text: &mut String, value: &str| {
            let start = text.len();
            text.push_str(value);
            start..text.len()
        };
        let given = attributes.find(attributes.id.as_ref()).map(|id| kept(text, id));
        let source = attributes.find(attributes.source.as_ref()).unwrap_or(SOURCE_DEFAULT);
        let source = kept(text, source);
        let id = self.route(attributes.event_type(), tenant);
        let closed = self.admission.closes(attributes.event_type(), &tenant);
        let timed = attributes.time.is_some();
        let minted = given.is_none();
        let event_id = given.unwrap_or_else(|| checks.mint());
        let checked = Checked {
            tenant,
            id,
            value: 0..body.len(),
            event_id: event_id.clone(),
            source,
            minted,
            timed,
            closed,
            duplicate_of: None,
        };
        checks.events.push(Entry { id: Some(event_id), verdict: Ok(checked) });
    }

    fn route(&self, event_type: &str, tenant: TenantId) -> shared::position::PartitionId {
        self.router.partition(self.router.class(event_type), tenant.as_bytes())
    }
}
