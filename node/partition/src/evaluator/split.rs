//! Evaluation of a split: from here on in the order of the log, keys behind the cut are not this partition's.

use std::sync::Arc;

use super::tally::Tally;
use super::{Effect, Evaluator, Sequence};
use crate::descriptor::GroupId;
use crate::effect::EffectWriter;
use crate::split::{Counted, SplitFault, SplitRecord, check_key};
use crate::storage::Storage;

impl<S: Storage> Evaluator<S> {
    /// Keeps a tally of what changes from now on, in place of an earlier one; its number.
    pub fn begin_tally(&mut self) -> u64 {
        self.tallies += 1;
        self.tally = Some(Tally::begin(self.tallies));
        self.tallies
    }

    /// Nobody will ask for this tally.
    pub fn end_tally(&mut self, number: u64) {
        self.tally.take_if(|tally| tally.number == number);
    }

    /// An entry is applied whose last effect is this one: to be told while there is a tally.
    pub fn note_entry(&mut self, index: u64, last: Sequence) {
        if let Some(tally) = &mut self.tally {
            tally.note_entry(index, last);
        }
    }

    /// The last effect since the tally began that a view has which has applied this entry, as far as the entry has been
    /// noted; 0 for none.
    pub fn sequence_at(&self, index: u64) -> Sequence {
        self.tally.as_ref().map_or(0, |tally| tally.sequence_at(index))
    }

    /// Evaluates a split at a place that a view was counted for. The view has applied all effects up to `through`, and the
    /// tally was begun before it was taken, and everything in flight by then was applied. `None` when the tally is gone, or held too much: count again.
    pub fn split(
        &mut self,
        id: u128,
        child: GroupId,
        counted: &Counted,
        tally: u64,
        through: Sequence,
    ) -> Result<Option<(Effect, SplitRecord)>, SplitFault> {
        let Some(tally) = self.tally.take_if(|kept| kept.number == tally) else {
            return Ok(None);
        };
        check_key(&self.descriptor, &counted.key)?;
        let Some(departing) = tally.add(&counted.departing, &counted.key, through) else {
            return Ok(None);
        };
        let record = SplitRecord {
            id,
            key: counted.key.clone(),
            child,
            departing,
        };
        let mut writer = EffectWriter::with_capacity(256);
        writer.split(&record)?;
        let effect = self.seal(writer);
        let (left, _) = record.cut(&self.descriptor);
        let left = Arc::new(left);
        self.descriptors.push((effect.sequence, Arc::clone(&left)));
        self.descriptor = left;
        Ok(Some((effect, record)))
    }
}
