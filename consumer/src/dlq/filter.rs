//! Which parked rows are meant: what an operator typed, checked, and whether a row is one of them.

use serde::{Deserialize, Serialize};
use shared::clock::Millis;
use shared::event::Event;
use shared::log::Record;
use shared::position::{Class, Offset, Partition, PartitionId, Position};
use shared::route;

use super::DlqError;
use crate::store::dlq::{Parked, State, Stretch};

/// What an operator asks for. A member that is absent means any; all of them have to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// A class, a partition or one record: `transactional`, `transactional/3`, `transactional/3@17`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// The tenant; empty: rows whose record names none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The event's type, or a prefix of types that ends in `*`. A record that is no event has none.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// The event's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Why it is parked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The database's code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sqlstate: Option<String>,
    /// `parked`, `dead` or `dropped`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Parked at this moment (RFC 3339) or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parked_from: Option<String>,
    /// Parked before this moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parked_to: Option<String>,
}

/// A filter that can be asked.
#[derive(Clone, Debug)]
pub(super) struct Checked {
    filter: Filter,
    stretch: Stretch,
    state: Option<State>,
    from: Option<Millis>,
    to: Option<Millis>,
}

/// What an event says of itself; nothing where the record is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) source: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) event_type: Option<String>,
}

/// A name in a list has at most so many characters: one of an event may be as long as an event.
const NAME_CHARS_MAX: usize = 256;

impl Named {
    /// As a list shows it; one row shows it whole.
    pub(super) fn cut(self) -> Self {
        let cut = |name: Option<String>| {
            name.map(|mut name| {
                if let Some((end, _)) = name.char_indices().nth(NAME_CHARS_MAX) {
                    name.truncate(end);
                    name.push('…');
                }
                name
            })
        };
        Self { source: cut(self.source), id: cut(self.id), event_type: cut(self.event_type) }
    }

    /// What a record says.
    pub(crate) fn of(record: &Record) -> Self {
        Event::decode(record).map_or_else(
            |_| Self::default(),
            |event| Self {
                source: Some(event.source.into_owned()),
                id: Some(event.id.into_owned()),
                event_type: Some(event.event_type.into_owned()),
            },
        )
    }
}

impl Filter {
    /// Whether it leaves out nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn check(self) -> Result<Checked, DlqError> {
        let stretch = self.place.as_deref().map_or(Ok(Stretch::ALL), stretch)?;
        let state = match self.state.as_deref() {
            None => None,
            Some(name) => Some(State::parse(name).ok_or_else(|| {
                let names = State::ALL.map(State::name).join(", ");
                DlqError::Request(format!("no state {name:?}; there are {names}"))
            })?),
        };
        let (from, to) = (moment(self.parked_from.as_deref())?, moment(self.parked_to.as_deref())?);
        Ok(Checked { filter: self, stretch, state, from, to })
    }
}

impl Checked {
    /// Where the rows are, behind a cursor where one is given.
    pub(super) fn stretch(&self, after: Option<&str>) -> Result<Stretch, DlqError> {
        let Some(cursor) = after else { return Ok(self.stretch.clone()) };
        let parsed = cursor.rsplit_once('/').and_then(|(place, digest)| {
            let position = position(place)?;
            Some(self.stretch.behind(position, &hex::decode(digest).ok()?))
        });
        parsed.ok_or_else(|| DlqError::Request(format!("{cursor:?} is no cursor of ours")))
    }

    /// The states that are meant, where the filter says nothing of them.
    pub(super) fn states(&self, otherwise: &[State]) -> Vec<State> {
        self.state.map_or_else(|| otherwise.to_vec(), |state| vec![state])
    }

    /// Whether the record has to be looked at, not only the row.
    pub(super) fn needs_record(&self) -> bool {
        self.filter.event_type.is_some() || self.filter.id.is_some()
    }

    /// Whether the row alone may be one of them.
    pub(super) fn likes(&self, row: &Parked) -> bool {
        let same = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        same(&self.filter.tenant, Some(&row.key.tenant))
            && same(&self.filter.reason, Some(&row.reason))
            && same(&self.filter.sqlstate, row.sqlstate.as_deref())
            && self.state.is_none_or(|state| state == row.state)
            && self.from.is_none_or(|from| row.at >= from)
            && self.to.is_none_or(|to| row.at < to)
    }

    /// Whether its record makes it one of them.
    pub(super) fn takes(&self, named: &Named) -> bool {
        let id = self.filter.id.is_none() || self.filter.id == named.id;
        let event_type = self.filter.event_type.as_deref().is_none_or(|pattern| {
            let found = named.event_type.as_deref();
            found.is_some_and(|found| route::matched(pattern, found).is_some())
        });
        id && event_type
    }
}

/// Where the walk goes on behind a row.
pub(super) fn cursor(row: &Parked) -> String {
    format!("{}/{}", row.position, hex::encode(&row.key.digest))
}

/// `CLASS/PARTITION@OFFSET`.
pub(super) fn position(text: &str) -> Option<Position> {
    let (class, rest) = text.split_once('/')?;
    let (partition, offset) = rest.split_once('@')?;
    let partition = partition.parse().ok().filter(|number| i32::try_from(*number).is_ok())?;
    let id = PartitionId { class: Class::parse(class)?, partition: Partition(partition) };
    Some(Position { id, offset: Offset(offset.parse().ok()?) })
}

fn stretch(place: &str) -> Result<Stretch, DlqError> {
    let parsed = || {
        if let Some(position) = position(place) {
            let partition = position.id.partition.as_i32();
            return Some(Stretch::of(position.id.class, Some(partition), Some(position.offset.0)));
        }
        let (class, partition) =
            place.split_once('/').map_or((place, None), |(class, number)| (class, Some(number)));
        let number = match partition {
            None => None,
            Some(number) => Some(number.parse().ok().filter(|number: &i32| *number >= 0)?),
        };
        Some(Stretch::of(Class::parse(class)?, number, None))
    };
    parsed().ok_or_else(|| {
        let names = Class::ALL.map(Class::name).join(", ");
        DlqError::Request(format!(
            "{place:?} is no place: CLASS, CLASS/PARTITION or CLASS/PARTITION@OFFSET, with a class \
             of {names}"
        ))
    })
}

fn moment(text: Option<&str>) -> Result<Option<Millis>, DlqError> {
    text.map(|text| {
        Millis::parse_rfc3339(text)
            .ok_or_else(|| DlqError::Request(format!("{text:?} is no moment: RFC 3339 is read")))
    })
    .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::dlq::ParkedKey;

    fn row() -> Parked {
        Parked {
            key: ParkedKey { tenant: "acme".to_owned(), digest: vec![0xab; 16] },
            position: position("transactional/3@17").expect("a position"),
            record_timestamp: Millis(0),
            reason: "refused_by_store".to_owned(),
            sqlstate: Some("23514".to_owned()),
            attempts: 1,
            tries_left: 2,
            epoch: Some(4),
            state: State::Parked,
            at: Millis(60_000),
            next_try_at: None,
        }
    }

    fn filter(json: &str) -> Result<Checked, DlqError> {
        let filter: Filter = serde_json::from_str(json).expect("a filter");
        filter.check()
    }

    #[test]
    fn every_member_has_to_hold() {
        let named = Named { event_type: Some("order.paid".to_owned()), ..Named::default() };
        let check = |json: &str, expected: bool| {
            let filter = filter(json).expect(json);
            assert_eq!(filter.likes(&row()) && filter.takes(&named), expected, "{json}");
        };
        check("{}", true);
        check(r#"{"tenant":"acme","reason":"refused_by_store","sqlstate":"23514"}"#, true);
        check(r#"{"tenant":"acme","reason":"value_not_json"}"#, false);
        check(r#"{"tenant":""}"#, false);
        check(r#"{"sqlstate":"23505"}"#, false);
        check(r#"{"state":"parked"}"#, true);
        check(r#"{"state":"dead"}"#, false);
        check(r#"{"type":"order.*"}"#, true);
        check(r#"{"type":"order"}"#, false);
        check(r#"{"id":"1"}"#, false);
        check(r#"{"parked_from":"1970-01-01T00:01:00Z"}"#, true);
        check(r#"{"parked_from":"1970-01-01T00:01:01Z"}"#, false);
        check(r#"{"parked_to":"1970-01-01T00:01:00Z"}"#, false);
        check(r#"{"parked_to":"1970-01-01T01:01:01+01:00"}"#, true);
    }

    #[test]
    fn what_cannot_be_asked_is_refused() {
        for json in [
            r#"{"state":"gone"}"#,
            r#"{"place":"rush"}"#,
            r#"{"place":"control/x"}"#,
            r#"{"place":"control/-1"}"#,
            r#"{"place":"control/1@"}"#,
            r#"{"place":"control/4294967295@1"}"#,
            r#"{"parked_from":"yesterday"}"#,
        ] {
            assert!(matches!(filter(json), Err(DlqError::Request(_))), "{json}");
        }
        serde_json::from_str::<Filter>(r#"{"tenent":"acme"}"#).expect_err("a typing error");
    }

    #[test]
    fn a_cursor_goes_on_inside_the_place() {
        let checked = filter(r#"{"place":"transactional/3"}"#).expect("a place");
        assert_eq!(checked.stretch(None).expect("all of it").after, (1, 3, -1, Vec::new()));
        let cursor = cursor(&row());
        let stretch = checked.stretch(Some(&cursor)).expect("a cursor");
        assert_eq!(stretch.after, (1, 3, 17, vec![0xab; 16]));
        assert_eq!(stretch.upto, (1, 3, i64::MAX));
        checked.stretch(Some("transactional/3@17")).expect_err("no cursor");
        let one = filter(r#"{"place":"transactional/3@17"}"#).expect("a record");
        assert_eq!(one.stretch(None).expect("it").upto, (1, 3, 17));
    }
}
