//! Where each partition stands when the log is opened. Reads one small entry and at most one record
//! per partition, whatever the log's size; writes nothing.

use std::collections::BTreeMap;

use fjall::Guard;

use super::OpenError;
use super::encoding::{Stand, decode_partition_key, decode_record_key};
use super::store::Store;
use crate::position::{Offset, PartitionId};

/// The stands of the configured partitions and of those that the log still has records of.
pub(super) fn recover(
    store: &Store,
    ids: &[PartitionId],
    positions: &BTreeMap<PartitionId, Offset>,
) -> Result<Vec<(PartitionId, Stand)>, OpenError> {
    let mut stands: BTreeMap<_, _> = ids.iter().map(|id| (*id, Stand::default())).collect();
    for guard in store.stands.iter() {
        let (key, value) = guard.into_inner().map_err(failed)?;
        let id = decode_partition_key(&key)?;
        let stand = Stand::decode(&value)?;
        let applied = positions.get(&id).map_or(stand.low, |position| position.0);
        if !stands.contains_key(&id) && stand.next > applied {
            return Err(OpenError::UnknownPartition { id, records: stand.next - applied });
        }
        stands.insert(id, stand);
    }
    for (id, stand) in &mut stands {
        // The stand is written with its records. The last record is asked all the same: it costs
        // one look, and an offset that is given twice costs an event.
        let last = store.entries(*id, Offset(stand.low), Offset(i64::MAX)).next_back();
        if let Some(key) = last.map(Guard::key).transpose().map_err(failed)? {
            let end = decode_record_key(&key)?.offset.next();
            debug_assert_eq!(end.0, stand.next.max(end.0), "a stand is never behind its records");
            stand.next = stand.next.max(end.0);
        }
        // The database may have passed the log's end: a disk that lies about fsync lost a tail, or
        // the log's directory was deleted. Those offsets are taken.
        let position = positions.get(id).map_or(0, |position| position.0);
        if position > stand.next {
            tracing::warn!(partition = %id, end = stand.next, position, "the log ends below the applied position");
            stand.next = position;
        }
    }
    Ok(stands.into_iter().collect())
}

fn failed(source: fjall::Error) -> OpenError {
    OpenError::Read(source)
}
