//! What a partition has applied: log position and counters, one row of the Meta family.

use std::sync::Arc;

use partita_model::schema::IndexId;
use serde::{Deserialize, Serialize};

use crate::codec::{Reader, put_varint};
use crate::descriptor::{ItemTime, LogPosition, PartitionDescriptor};
use crate::error::PartitionError;
use crate::merge::Frozen;
use crate::split::Departing;

/// The version of the stored form.
const VERSION: u8 = 1;
/// Room for the state of a partition without local indexes.
const STATE_BYTES: usize = 48;
/// Room for each local index.
const LOCAL_BYTES: usize = 16;

/// What is applied and visible.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// The partition.
    pub descriptor: Arc<PartitionDescriptor>,
    /// The last log entry.
    pub at: LogPosition,
    /// Rows, bytes, clock.
    pub counters: Counters,
    /// That it stands still, to be absorbed by another one.
    pub frozen: Option<Arc<Frozen>>,
}

/// What a partition counts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Items (or rows of a global index).
    pub items: u64,
    /// The sum of their sizes by DynamoDB's rules.
    pub bytes: u64,
    /// Each local index, by id.
    pub local: Vec<LocalCount>,
    /// The highest item time issued.
    pub clock: ItemTime,
    /// The change log has been trimmed up to here.
    pub trimmed: ItemTime,
}

/// What a local index holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalCount {
    /// The index.
    pub index: IndexId,
    /// Its rows.
    pub rows: u64,
    /// The sum of their sizes.
    pub bytes: u64,
}

impl Counters {
    /// Takes away what goes to the other half of a split, and says what that begins with: its clock is this one's, so
    /// that it issues no time again.
    pub(crate) fn split(&mut self, departing: &Departing) -> Self {
        let Departing { items, bytes, local } = departing;
        self.items = self.items.saturating_sub(*items);
        self.bytes = self.bytes.saturating_sub(*bytes);
        for count in local {
            self.count_local(count.index, -(count.rows as i64), -(count.bytes as i64));
        }
        Self {
            items: *items,
            bytes: *bytes,
            local: local.clone(),
            clock: self.clock,
            trimmed: self.trimmed,
        }
    }

    /// Adds what an absorbed partition counts. No time that either of them has issued will be issued again.
    pub(crate) fn join(&mut self, source: &Self) {
        let Self {
            items,
            bytes,
            local,
            clock,
            // Its change records come behind this one's: what was trimmed here was trimmed.
            trimmed: _,
        } = source;
        self.items += items;
        self.bytes += bytes;
        for count in local {
            self.count_local(count.index, count.rows as i64, count.bytes as i64);
        }
        self.clock = self.clock.max(*clock);
    }

    /// Adds to (or takes from) a local index's counts.
    pub(crate) fn count_local(&mut self, index: IndexId, rows: i64, bytes: i64) {
        let at = self.local.partition_point(|count| count.index < index);
        if self.local.get(at).is_none_or(|count| count.index != index) {
            let (rows, bytes) = (0, 0);
            self.local.insert(at, LocalCount { index, rows, bytes });
        }
        let count = &mut self.local[at];
        count.rows = count.rows.saturating_add_signed(rows);
        count.bytes = count.bytes.saturating_add_signed(bytes);
    }
}

/// The state row: `version | index, term | items, bytes | clock, trimmed | count, (index, rows, bytes)*`, varints.
pub(crate) fn encode(at: LogPosition, counters: &Counters) -> Vec<u8> {
    let mut out = Vec::with_capacity(STATE_BYTES + counters.local.len() * LOCAL_BYTES);
    out.push(VERSION);
    let head = [
        at.index,
        at.term,
        counters.items,
        counters.bytes,
        counters.clock.0,
        counters.trimmed.0,
        counters.local.len() as u64,
    ];
    let local = counters
        .local
        .iter()
        .flat_map(|count| [u64::from(count.index.0), count.rows, count.bytes]);
    head.into_iter()
        .chain(local)
        .for_each(|number| put_varint(&mut out, number));
    out
}

/// From the state row.
pub(crate) fn decode(bytes: &[u8]) -> Result<(LogPosition, Counters), PartitionError> {
    let mut reader = Reader::new(bytes, "partition state");
    if reader.byte()? != VERSION {
        return Err(reader.unknown());
    }
    let at = LogPosition {
        index: reader.varint()?,
        term: reader.varint()?,
    };
    let mut counters = Counters {
        items: reader.varint()?,
        bytes: reader.varint()?,
        local: Vec::new(),
        clock: ItemTime(reader.varint()?),
        trimmed: ItemTime(reader.varint()?),
    };
    for _ in 0..reader.varint()? {
        counters.local.push(LocalCount {
            index: reader.index()?,
            rows: reader.varint()?,
            bytes: reader.varint()?,
        });
    }
    Ok((at, counters))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_comes_back() {
        let at = LogPosition { index: 300, term: 2 };
        let mut counters = Counters {
            items: 1,
            bytes: 1000,
            clock: ItemTime(u64::MAX),
            trimmed: ItemTime(5),
            ..Counters::default()
        };
        counters.count_local(IndexId(3), 2, 20);
        counters.count_local(IndexId(1), 1, 10);
        counters.count_local(IndexId(3), -1, -5);
        assert_eq!(decode(&encode(at, &counters)).unwrap(), (at, counters));
        assert!(decode(&[9]).is_err());
    }
}
