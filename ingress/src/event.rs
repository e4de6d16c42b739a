//! The types that narrow along the way: a body, its checked events, and what a record will carry.

use std::ops::Range;

use shared::position::PartitionId;
use shared::tenant::TenantId;
use uuid::Uuid;

use crate::reject::Reject;

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
    /// The event of this request that it repeats.
    pub duplicate_of: Option<usize>,
}

/// The attributes of an event whose value does not carry them (CloudEvents binary mode).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    /// `ce_id`
    pub id: Option<String>,
    /// `ce_type`
    pub event_type: String,
    /// `ce_source`
    pub source: Option<String>,
    /// `ce_subject`
    pub subject: Option<String>,
    /// `ce_time`
    pub time: Option<String>,
    /// Further attributes, named as record headers: `ce_…`.
    pub extensions: Vec<(String, String)>,
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
    /// Events whose schema says no, but only to warn.
    pub warnings: u64,
    /// The ids and sources of the events, one after the other: one buffer instead of two strings
    /// per event.
    pub text: String,
    /// The attributes of the one event of a request in binary form.
    pub attributes: Option<Attributes>,
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
}
