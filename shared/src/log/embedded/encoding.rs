//! Keys and values on disk. This documentation is the specification of both keyspaces; nothing
//! outside this file knows a byte of it. All integers are big-endian.
//!
//! Keyspace `records`, one entry per record:
//! ```text
//! key    class u8 | partition u32 | offset u64           (so that keys sort as offsets do)
//! value  version u8 = 1
//!        checksum u64     XXH3-64 of everything after it, seeded with the XXH3-64 of the key
//!        timestamp i64    milliseconds since the Unix epoch
//!        key length u32 | value length u32 | number of headers u16
//!        key | value | headers: (name length u16 | value length u32 | name, UTF-8 | value)*
//! ```
//! The seed ties a value to its place: a value under another key does not decode.
//!
//! Keyspace `partitions`, one entry per partition that ever held a record, written in the batch that
//! changes it, so that offsets survive the deletion of every record:
//! ```text
//! key    class u8 | partition u32
//! value  version u8 = 1 | low offset i64 | next offset i64 | bytes u64 (keys and values of records)
//! ```

use bytes::Bytes;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::clock::Millis;
use crate::log::{NewRecord, Record};
use crate::position::{Class, Offset, Partition, PartitionId, Position};

/// The version of both values.
const VERSION: u8 = 1;
/// Bytes of a record's key.
pub(super) const KEY_BYTES: usize = 13;
/// Bytes of a partition's key.
const PARTITION_KEY_BYTES: usize = 5;
/// Where the checksum ends and what it covers begins.
const CHECKED_FROM: usize = 9;
/// Bytes of a record's value before its key.
const FIXED_BYTES: usize = 27;
/// Bytes of a header besides its name and its value.
const HEADER_FIXED_BYTES: usize = 6;
/// Bytes of a partition's value.
const STAND_BYTES: usize = 25;

/// Why bytes on disk are not what this file describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It ends early or goes on where it should end.
    #[error("its length does not fit its contents")]
    Length,
    /// A newer or foreign writer.
    #[error("its version is {0}, this program reads {VERSION}")]
    Version(u8),
    /// Its bytes changed, or it stands under another key.
    #[error("its checksum does not match")]
    Checksum,
    /// A class, an offset or a header name that no writer of ours makes.
    #[error("its contents are no record's")]
    Contents,
}

/// The key of the record at a position.
pub(super) fn record_key(id: PartitionId, offset: Offset) -> [u8; KEY_BYTES] {
    debug_assert!(offset.0 >= 0, "offsets begin at 0");
    let mut key = [0; KEY_BYTES];
    key[..PARTITION_KEY_BYTES].copy_from_slice(&partition_key(id));
    key[PARTITION_KEY_BYTES..].copy_from_slice(&offset.0.to_be_bytes());
    key
}

/// The position that a record's key stands for.
pub(super) fn decode_record_key(key: &[u8]) -> Result<Position, DecodeError> {
    let key: &[u8; KEY_BYTES] = key.try_into().map_err(|_| DecodeError::Length)?;
    let mut rest = Cursor(key);
    let id = rest.partition()?;
    match i64::from_be_bytes(rest.array()?) {
        offset if offset >= 0 => Ok(Position { id, offset: Offset(offset) }),
        _ => Err(DecodeError::Contents),
    }
}

/// How many bytes [`encode_record`] will write, or `None` where a length does not fit its field.
pub(super) fn encoded_bytes(record: &NewRecord<'_>) -> Option<usize> {
    u16::try_from(record.headers.len()).ok()?;
    u32::try_from(record.key.len()).ok()?;
    u32::try_from(record.value.len()).ok()?;
    let mut bytes = FIXED_BYTES + record.key.len() + record.value.len();
    for (name, value) in record.headers {
        u16::try_from(name.len()).ok()?;
        u32::try_from(value.len()).ok()?;
        bytes += HEADER_FIXED_BYTES + name.len() + value.len();
    }
    u32::try_from(bytes).ok().map(|_| bytes)
}

/// Appends a record's value, without its checksum: the key is known only at the commit. The caller
/// has asked [`encoded_bytes`], so every length fits.
pub(super) fn encode_record(record: &NewRecord<'_>, into: &mut Vec<u8>) {
    into.push(VERSION);
    into.extend_from_slice(&[0; CHECKED_FROM - 1]);
    into.extend_from_slice(&record.timestamp.0.to_be_bytes());
    into.extend_from_slice(&(record.key.len() as u32).to_be_bytes());
    into.extend_from_slice(&(record.value.len() as u32).to_be_bytes());
    into.extend_from_slice(&(record.headers.len() as u16).to_be_bytes());
    into.extend_from_slice(record.key);
    into.extend_from_slice(record.value);
    for (name, value) in record.headers {
        into.extend_from_slice(&(name.len() as u16).to_be_bytes());
        into.extend_from_slice(&(value.len() as u32).to_be_bytes());
        into.extend_from_slice(name.as_bytes());
        into.extend_from_slice(value);
    }
}

/// Puts the checksum into an encoded value, now that its key is known.
pub(super) fn seal(key: &[u8; KEY_BYTES], value: &mut [u8]) {
    let checksum = xxh3_64_with_seed(&value[CHECKED_FROM..], xxh3_64(key));
    value[1..CHECKED_FROM].copy_from_slice(&checksum.to_be_bytes());
}

/// Reads a record back; its parts share one copy of the value.
pub(super) fn decode_record(key: &[u8], value: &[u8]) -> Result<Record, DecodeError> {
    let position = decode_record_key(key)?;
    let mut rest = Cursor(value);
    match rest.array::<1>()? {
        [VERSION] => {}
        [other] => return Err(DecodeError::Version(other)),
    }
    let checksum = u64::from_be_bytes(rest.array()?);
    if xxh3_64_with_seed(rest.0, xxh3_64(key)) != checksum {
        return Err(DecodeError::Checksum);
    }
    let timestamp = Millis(i64::from_be_bytes(rest.array()?));
    let key_bytes = rest.length_u32()?;
    let value_bytes = rest.length_u32()?;
    let headers_len = usize::from(u16::from_be_bytes(rest.array()?));
    let whole = Bytes::copy_from_slice(value);
    let key = whole.slice_ref(rest.take(key_bytes, &whole)?);
    let body = whole.slice_ref(rest.take(value_bytes, &whole)?);
    // Bounded by what is really there, not by what the count claims.
    let mut headers = Vec::with_capacity(headers_len.min(rest.0.len() / HEADER_FIXED_BYTES));
    for _ in 0..headers_len {
        let name_bytes = usize::from(u16::from_be_bytes(rest.array()?));
        let header_bytes = rest.length_u32()?;
        let name = std::str::from_utf8(rest.take(name_bytes, &whole)?)
            .map_err(|_| DecodeError::Contents)?
            .to_owned();
        headers.push((name, whole.slice_ref(rest.take(header_bytes, &whole)?)));
    }
    match rest.0.is_empty() {
        true => Ok(Record { position, timestamp, key, value: body, headers }),
        false => Err(DecodeError::Length),
    }
}

/// The timestamp of a record's value, without a look at the rest.
pub(super) fn peek_timestamp(value: &[u8]) -> Result<Millis, DecodeError> {
    let mut rest = Cursor(value.get(CHECKED_FROM..).ok_or(DecodeError::Length)?);
    Ok(Millis(i64::from_be_bytes(rest.array()?)))
}

/// What is known of a partition besides its records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stand {
    /// The oldest offset that may still have a record.
    pub(super) low: i64,
    /// The offset of the next record.
    pub(super) next: i64,
    /// Bytes of keys and values of the records that are left.
    pub(super) bytes: u64,
}

/// The key of a partition's stand.
pub(super) fn partition_key(id: PartitionId) -> [u8; PARTITION_KEY_BYTES] {
    let [a, b, c, d] = id.partition.0.to_be_bytes();
    [id.class.index() as u8, a, b, c, d]
}

/// The partition that a stand's key stands for.
pub(super) fn decode_partition_key(key: &[u8]) -> Result<PartitionId, DecodeError> {
    let key: &[u8; PARTITION_KEY_BYTES] = key.try_into().map_err(|_| DecodeError::Length)?;
    Cursor(key).partition()
}

impl Stand {
    /// Its value.
    pub(super) fn encode(self) -> [u8; STAND_BYTES] {
        let mut value = [VERSION; STAND_BYTES];
        value[1..9].copy_from_slice(&self.low.to_be_bytes());
        value[9..17].copy_from_slice(&self.next.to_be_bytes());
        value[17..].copy_from_slice(&self.bytes.to_be_bytes());
        value
    }

    /// Reads it back.
    pub(super) fn decode(value: &[u8]) -> Result<Self, DecodeError> {
        let mut rest = Cursor(value);
        match rest.array::<1>()? {
            [VERSION] => {}
            [other] => return Err(DecodeError::Version(other)),
        }
        let low = i64::from_be_bytes(rest.array()?);
        let next = i64::from_be_bytes(rest.array()?);
        let bytes = u64::from_be_bytes(rest.array()?);
        match rest.0.is_empty() {
            true if 0 <= low && low <= next => Ok(Self { low, next, bytes }),
            true => Err(DecodeError::Contents),
            false => Err(DecodeError::Length),
        }
    }
}

/// What is left to decode.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or(DecodeError::Length)?;
        self.0 = tail;
        Ok(*head)
    }

    fn length_u32(&mut self) -> Result<usize, DecodeError> {
        usize::try_from(u32::from_be_bytes(self.array()?)).map_err(|_| DecodeError::Length)
    }

    /// The next bytes, as a part of `whole`, which is a copy of what this cursor runs over.
    fn take<'w>(&mut self, bytes: usize, whole: &'w Bytes) -> Result<&'w [u8], DecodeError> {
        let at = whole.len() - self.0.len();
        self.0 = self.0.get(bytes..).ok_or(DecodeError::Length)?;
        Ok(&whole[at..at + bytes])
    }

    fn partition(&mut self) -> Result<PartitionId, DecodeError> {
        let [class] = self.array::<1>()?;
        let class = *Class::ALL.get(usize::from(class)).ok_or(DecodeError::Contents)?;
        let partition = Partition(u32::from_be_bytes(self.array()?));
        Ok(PartitionId { class, partition })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: PartitionId =
        PartitionId { class: Class::Transactional, partition: Partition(0x0102_0304) };

    fn encoded(key: &[u8; KEY_BYTES], record: &NewRecord<'_>) -> Vec<u8> {
        let mut value = Vec::new();
        encode_record(record, &mut value);
        assert_eq!(Some(value.len()), encoded_bytes(record));
        seal(key, &mut value);
        value
    }

    fn small() -> ([u8; KEY_BYTES], Vec<u8>) {
        let headers: [(&str, &[u8]); 1] = [("ce_id", b"7")];
        let record = NewRecord {
            id: ID,
            timestamp: Millis(5),
            key: b"tenant",
            value: b"{}",
            headers: &headers,
        };
        let key = record_key(ID, Offset(258));
        (key, encoded(&key, &record))
    }

    #[test]
    fn the_bytes_are_as_specified() {
        let (key, value) = small();
        assert_eq!(key, [1, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(value[0], 1);
        assert_eq!(
            value[9..],
            *b"\0\0\0\0\0\0\0\x05\0\0\0\x06\0\0\0\x02\0\x01tenant{}\0\x05\0\0\0\x01ce_id7"
        );
        let stand = Stand { low: 1, next: 2, bytes: 3 };
        assert_eq!(stand.encode()[..2], [1, 0]);
        assert_eq!(Stand::decode(&stand.encode()), Ok(stand));
        assert_eq!(decode_partition_key(&partition_key(ID)), Ok(ID));
    }

    #[test]
    fn every_torn_or_changed_value_is_refused() {
        let (key, value) = small();
        for cut in 0..value.len() {
            assert!(decode_record(&key, &value[..cut]).is_err(), "cut at {cut}");
        }
        for at in 0..value.len() {
            let mut changed = value.clone();
            changed[at] ^= 1;
            assert!(decode_record(&key, &changed).is_err(), "changed at {at}");
        }
        let elsewhere = record_key(ID, Offset(259));
        assert_eq!(decode_record(&elsewhere, &value), Err(DecodeError::Checksum));
        assert_eq!(decode_record(&key[..12], &value), Err(DecodeError::Length));
    }

    proptest! {
        #[test]
        fn records_come_back_equal(
            offset in 0..i64::MAX,
            timestamp: i64,
            key: Vec<u8>,
            value: Vec<u8>,
            headers in prop::collection::vec(("[a-z_]{0,20}", any::<Vec<u8>>()), 0..12),
        ) {
            let borrowed: Vec<(&str, &[u8])> =
                headers.iter().map(|(n, v)| (n.as_str(), v.as_slice())).collect();
            let record = NewRecord {
                id: ID,
                timestamp: Millis(timestamp),
                key: &key,
                value: &value,
                headers: &borrowed,
            };
            let at = record_key(ID, Offset(offset));
            let bytes = encoded(&at, &record);
            prop_assert_eq!(peek_timestamp(&bytes), Ok(Millis(timestamp)));
            let back = decode_record(&at, &bytes);
            let expected = Record {
                position: Position { id: ID, offset: Offset(offset) },
                timestamp: Millis(timestamp),
                key: key.into(),
                value: value.into(),
                headers: headers.into_iter().map(|(n, v)| (n, v.into())).collect(),
            };
            prop_assert_eq!(back, Ok(expected));
        }

        #[test]
        fn foreign_bytes_never_panic(key: Vec<u8>, mut value: Vec<u8>, honest: bool) {
            if honest && value.len() > CHECKED_FROM {
                // Past version and checksum, so that the lengths inside are what is tested.
                let key = record_key(ID, Offset(1));
                value[0] = VERSION;
                seal(&key, &mut value);
                let _ = decode_record(&key, &value);
            }
            let _ = decode_record(&key, &value);
            let _ = peek_timestamp(&value);
            let _ = Stand::decode(&value);
            let _ = decode_partition_key(&key);
        }
    }
}
