//! The types that narrow along the way: a body, its checked events, and what a record will carry.

use std::fmt::{Display, Write};
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

use hashbrown::HashTable;
use shared::position::PartitionId;
use shared::tenant::TenantId;
use uuid::Uuid;

use crate::reject::Reject;
use crate::schema::Tiers;

/// An event that may go into the log: complete, storable, valid, routed. Its texts stand in
/// [`Checks::text`], its value in the body.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    /// Whose it is; the record's key.
    pub tenant: TenantId,
    /// Where it goes.
    pub id: PartitionId,
    /// The bytes of the body that become the record's value.
    pub value: Range<usize>,
    /// Its id, given or minted.
    pub event_id: Range<usize>,
    /// Its source, the default where it names none.
    pub source: Range<usize>,
    /// Whether we minted the id.
    pub minted: bool,
    /// Whether it says when it happened.
    pub timed: bool,
    /// The mode keeps only what is essential, and this is not.
    pub closed: bool,
    /// The event of this request that it repeats.
    pub duplicate_of: Option<usize>,
}

impl Checked {
    /// Tells it from the request's other events.
    fn identity<'t>(&self, text: &'t str) -> (TenantId, &'t str, &'t str) {
        (self.tenant, &text[self.source.clone()], &text[self.event_id.clone()])
    }
}

/// The attributes of an event whose value does not carry them (CloudEvents binary mode): places in
/// one text, which is used again for the next such event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    text: String,
    /// `ce_id`
    pub id: Option<Place>,
    /// `ce_type`; nothing where there are no attributes.
    pub event_type: Option<Place>,
    /// `ce_source`
    pub source: Option<Place>,
    /// Whose it says it is; becomes the record's key, not a header.
    pub tenant: Option<Place>,
    /// `ce_subject`
    pub subject: Option<Place>,
    /// `ce_time`
    pub time: Option<Place>,
    /// Further attributes, named as record headers: `ce_…`.
    pub extensions: Vec<(Place, Place)>,
}

/// Where a text stands.
pub(crate) type Place = Range<usize>;

impl Attributes {
    /// Keeps a text, or what is written as one.
    pub fn keep(&mut self, text: impl Display) -> Place {
        let start = self.text.len();
        write!(self.text, "{text}").expect("a string takes every text");
        start..self.text.len()
    }

    /// The text at a place.
    pub fn get(&self, place: &Place) -> &str {
        &self.text[place.clone()]
    }

    /// The text at a place that may be missing.
    pub fn find(&self, place: Option<&Place>) -> Option<&str> {
        place.map(|place| self.get(place))
    }

    /// `ce_type`; empty where there is none.
    pub fn event_type(&self) -> &str {
        self.find(self.event_type.as_ref()).unwrap_or_default()
    }

    fn reset(&mut self) {
        let (mut text, mut extensions) =
            (std::mem::take(&mut self.text), std::mem::take(&mut self.extensions));
        text.clear();
        extensions.clear();
        *self = Self { text, extensions, ..Self::default() };
    }
}

/// One event of a request.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Its id, as far as it is known.
    pub id: Option<Range<usize>>,
    /// Whether it may go into the log.
    pub verdict: Result<Checked, Reject>,
}

/// The verdicts on a request's events, in its order.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    /// One per event.
    pub events: Vec<Entry>,
    /// Who decided on them.
    pub tiers: Tiers,
    /// Events whose schema says no, but only to warn.
    pub warnings: u64,
    /// The ids and sources of the events, one after the other: one buffer instead of two strings
    /// per event.
    pub text: String,
    /// The attributes of the one event of a request in binary form.
    pub attributes: Attributes,
    /// The first event of each identity, by its hash.
    first: HashTable<usize>,
    hasher: RandomState,
}

impl Checks {
    /// Keeps a text.
    pub fn keep(&mut self, text: &str) -> Range<usize> {
        let start = self.text.len();
        self.text.push_str(text);
        start..self.text.len()
    }

    /// Mints an id: UUIDv7, so that ids sort by the time they were minted.
    pub fn mint(&mut self) -> Range<usize> {
        let mut buffer = Uuid::encode_buffer();
        let id = Uuid::now_v7().hyphenated().encode_lower(&mut buffer);
        let start = self.text.len();
        self.text.push_str(id);
        start..self.text.len()
    }
    /// Marks each event with the identity of an earlier one of the request: it is not appended again.
    /// The hash is keyed, so that no sender can choose ids that collide.
    pub fn mark_duplicates(&mut self) {
        let Self { events, text, first, hasher, .. } = self;
        if events.len() < 2 {
            return;
        }
        for index in 0..events.len() {
            let Ok(checked) = &events[index].verdict else { continue };
            let identity = checked.identity(text);
            let same = |other: &usize| {
                let other = events[*other].verdict.as_ref();
                other.is_ok_and(|other| other.identity(text) == identity)
            };
            let hash = hasher.hash_one(identity);
            match first.find(hash, same).copied() {
                Some(earlier) => {
                    let checked = events[index].verdict.as_mut();
                    checked.expect("looked at above").duplicate_of = Some(earlier);
                }
                None => {
                    let hash_of = |other: &usize| {
                        let other = events[*other].verdict.as_ref();
                        hasher.hash_one(other.expect("only such are kept").identity(text))
                    };
                    first.insert_unique(hash, index, hash_of);
                }
            }
        }
    }

    /// Forgets everything but the room.
    pub fn reset(&mut self) {
        let Self { events, tiers, warnings, text, attributes, first, hasher: _ } = self;
        events.clear();
        *tiers = Tiers::default();
        *warnings = 0;
        text.clear();
        attributes.reset();
        first.clear();
    }

    /// The room in bytes.
    pub fn bytes(&self) -> usize {
        self.events.capacity() * size_of::<Entry>()
            + self.text.capacity()
            + self.attributes.text.capacity()
            + self.attributes.extensions.capacity() * size_of::<(Place, Place)>()
            + self.first.capacity() * size_of::<usize>()
    }
}
