//! What changes while a view is being counted: so that a split knows what is behind its cut at its place in the log,
//! although counting takes its time and writes go on.

use partita_model::key::KeyBytes;
use partita_model::schema::IndexId;

use super::Sequence;
use crate::split::Departing;
use crate::state::Counters;

/// So many changes are kept: some minutes of writes. Whoever counts for longer than that begins anew.
const CHANGES_MAX: usize = 1 << 20;

/// What one effect does to the counters, by the key of its item.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Growth {
    pub(crate) items: i64,
    pub(crate) bytes: i64,
    pub(crate) local: Vec<(IndexId, i64, i64)>,
}

/// See the module's header.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Whose it is: a later one takes its place.
    pub(crate) number: u64,
    changes: Vec<(Sequence, KeyBytes, Growth)>,
    /// Which effect is the last one of each log entry, as they are applied.
    entries: Vec<(u64, Sequence)>,
    overflown: bool,
}

impl Tally {
    pub(crate) fn begin(number: u64) -> Self {
        Self {
            number,
            ..Self::default()
        }
    }

    pub(crate) fn note(&mut self, sequence: Sequence, key: &KeyBytes, growth: Growth) {
        if self.changes.len() >= CHANGES_MAX {
            self.overflown = true;
        } else {
            self.changes.push((sequence, key.clone(), growth));
        }
    }

    pub(crate) fn discard_from(&mut self, from: Sequence) {
        self.changes.retain(|(sequence, ..)| *sequence < from);
    }

    pub(crate) fn note_entry(&mut self, index: u64, last: Sequence) {
        if self.entries.len() >= CHANGES_MAX {
            self.overflown = true;
        } else {
            self.entries.push((index, last));
        }
    }

    /// The last of its effects that a view has which has applied this entry; 0 for none.
    pub(crate) fn sequence_at(&self, index: u64) -> Sequence {
        let applied = self.entries.iter().take_while(|entry| entry.0 <= index);
        applied.map(|entry| entry.1).max().unwrap_or(0)
    }

    /// What a view had counted behind `key`, with what has changed since: the view had applied everything up to
    /// `through`. `None` when there was too much.
    pub(crate) fn add(&self, counted: &Departing, key: &KeyBytes, through: Sequence) -> Option<Departing> {
        let mut counters = Counters {
            items: counted.items,
            bytes: counted.bytes,
            local: counted.local.clone(),
            ..Counters::default()
        };
        for (sequence, changed, growth) in &self.changes {
            if *sequence > through && changed >= key {
                counters.items = counters.items.saturating_add_signed(growth.items);
                counters.bytes = counters.bytes.saturating_add_signed(growth.bytes);
                for (index, rows, bytes) in &growth.local {
                    counters.count_local(*index, *rows, *bytes);
                }
            }
        }
        let Counters {
            items, bytes, local, ..
        } = counters;
        (!self.overflown).then_some(Departing { items, bytes, local })
    }
}
