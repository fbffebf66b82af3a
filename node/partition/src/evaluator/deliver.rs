//! Delivery of rows into a global index's partition.
//!
//! 1. The batch's session is compared with the one recorded for its source: an older one is refused.
//! 2. Rows at or below the recorded position are ignored; the others are put and removed in order.
//! 3. Rows, counters and the new position are one effect, so that a row is delivered once, whatever is repeated.

use std::collections::HashMap;

use partita_model::key::KeyBytes;
use partita_model::request::Refusal;

use super::tally::Growth;
use super::{Effect, Evaluator, item};
use crate::command::{CommandReply, Delivered, IndexBatch, RowChange, Session};
use crate::descriptor::{self, GroupId, PartitionKind};
use crate::effect::EffectWriter;
use crate::error::PartitionError;
use crate::reader::POSITION_VERSION;
use crate::row;
use crate::storage::{Family, Storage, Tier};

/// What an effect takes for each row, as a guess.
const ROW_BYTES: usize = 256;

impl<S: Storage> Evaluator<S> {
    pub(super) fn deliver(
        &mut self,
        batch: &IndexBatch,
        tier: Tier,
    ) -> Result<(Option<Effect>, CommandReply), PartitionError> {
        let in_range = batch.rows.iter().all(|row| self.descriptor.contains(&row.key));
        if !matches!(self.descriptor.kind, PartitionKind::Index { .. }) || !in_range {
            return Err(Refusal::WrongRange.into());
        }
        let position_key = row::position(self.descriptor.table, self.descriptor.group, batch.source);
        let recorded = self.recorded(&position_key, tier)?;
        if batch.session < recorded.session {
            return Ok((None, CommandReply::OldSession(recorded)));
        }
        let delivered = Delivered {
            session: batch.session,
            through: batch.through.max(recorded.through),
        };
        if delivered == recorded {
            return Ok((None, CommandReply::Delivered(recorded)));
        }
        let mut writer = EffectWriter::with_capacity((batch.rows.len() + 1) * ROW_BYTES);
        let grown = self.rows(batch, recorded, &mut writer, tier)?;
        for (key, growth) in grown {
            self.note_growth(key, || growth);
        }
        let position = descriptor::encode(POSITION_VERSION, &delivered)?;
        let touched = writer.put(Family::Meta, &position_key, &position);
        writer.remember(touched);
        Ok((Some(self.seal(writer)), CommandReply::Delivered(delivered)))
    }

    /// Ends the sessions of sources that have given keys away: what they sent before is refused from now on.
    pub(super) fn close(
        &mut self,
        sources: &[(GroupId, u64)],
        tier: Tier,
    ) -> Result<(Option<Effect>, CommandReply), PartitionError> {
        if !matches!(self.descriptor.kind, PartitionKind::Index { .. }) {
            return Err(Refusal::WrongRange.into());
        }
        let mut writer = EffectWriter::with_capacity(sources.len() * ROW_BYTES);
        for (source, range_epoch) in sources {
            let key = row::position(self.descriptor.table, self.descriptor.group, *source);
            let recorded = self.recorded(&key, tier)?;
            if recorded.session.range_epoch < *range_epoch {
                let session = Session {
                    range_epoch: *range_epoch,
                    term: 0,
                };
                let closed = Delivered { session, ..recorded };
                let touched = writer.put(Family::Meta, &key, &descriptor::encode(POSITION_VERSION, &closed)?);
                writer.remember(touched);
            }
        }
        let effect = (!writer.is_empty()).then(|| self.seal(writer));
        Ok((effect, CommandReply::Done))
    }

    /// How far a source has been delivered, at this place in the order.
    fn recorded(&self, position: &[u8], tier: Tier) -> Result<Delivered, PartitionError> {
        match self.row(&self.reader, Family::Meta, position, tier)? {
            Some(position) => descriptor::decode(POSITION_VERSION, &position, "position"),
            None => Ok(Delivered::default()),
        }
    }

    /// Puts and removes the rows that are new here, and counts them.
    fn rows<'b>(
        &self,
        batch: &'b IndexBatch,
        recorded: Delivered,
        writer: &mut EffectWriter,
        tier: Tier,
    ) -> Result<Vec<(&'b KeyBytes, Growth)>, PartitionError> {
        // Sizes of rows that earlier rows of this batch have put (or removed).
        let mut sizes: HashMap<&KeyBytes, Option<u64>> = HashMap::new();
        let (mut items, mut bytes) = (0, 0);
        let mut grown = Vec::new();
        for change in batch.rows.iter().filter(|row| row.time > recorded.through) {
            let key = row::keyed(self.descriptor.table, change.key.as_bytes());
            let old = match sizes.get(&change.key) {
                Some(size) => *size,
                None => {
                    let current = self.row(&self.reader, Family::Items, &key, tier)?;
                    item(current.as_ref())?.map(|row| row.size())
                }
            };
            let (new, touched) = match &change.change {
                RowChange::Put(row) => {
                    let touched = writer.put(Family::Items, &key, row.as_bytes());
                    (Some(row.as_ref().size()), Some(touched))
                }
                RowChange::Delete if old.is_some() => (None, Some(writer.delete(Family::Items, &key))),
                RowChange::Delete => (None, None),
            };
            touched.into_iter().for_each(|touched| writer.remember(touched));
            let growth = Growth {
                items: i64::from(new.is_some()) - i64::from(old.is_some()),
                bytes: new.unwrap_or(0) as i64 - old.unwrap_or(0) as i64,
                local: Vec::new(),
            };
            items += growth.items;
            bytes += growth.bytes;
            grown.push((&change.key, growth));
            sizes.insert(&change.key, new);
        }
        writer.count(items, bytes);
        Ok(grown)
    }
}
