//! Delivery of rows into a global index's partition.
//!
//! 1. The batch's session is compared with the one recorded for its source: an older one is refused.
//! 2. Rows at or below the recorded position are ignored; the others are put and removed in order.
//! 3. Rows, counters and the new position are one effect, so that a row is delivered once, whatever is repeated.

use std::collections::HashMap;

use partita_model::key::KeyBytes;
use partita_model::request::Refusal;

use super::{Effect, Evaluator, item};
use crate::command::{CommandReply, Delivered, IndexBatch, RowChange};
use crate::descriptor::{self, PartitionKind};
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
        let recorded = match self.row(&self.reader, Family::Meta, &position_key, tier)? {
            Some(position) => descriptor::decode(POSITION_VERSION, &position, "position")?,
            None => Delivered::default(),
        };
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
        self.rows(batch, recorded, &mut writer, tier)?;
        let position = descriptor::encode(POSITION_VERSION, &delivered)?;
        let touched = writer.put(Family::Meta, &position_key, &position);
        writer.remember(touched);
        Ok((Some(self.seal(writer)), CommandReply::Delivered(delivered)))
    }

    /// Puts and removes the rows that are new here, and counts them.
    fn rows(
        &self,
        batch: &IndexBatch,
        recorded: Delivered,
        writer: &mut EffectWriter,
        tier: Tier,
    ) -> Result<(), PartitionError> {
        // Sizes of rows that earlier rows of this batch have put (or removed).
        let mut sizes: HashMap<&KeyBytes, Option<u64>> = HashMap::new();
        let (mut items, mut bytes) = (0, 0);
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
            items += i64::from(new.is_some()) - i64::from(old.is_some());
            bytes += new.unwrap_or(0) as i64 - old.unwrap_or(0) as i64;
            sizes.insert(&change.key, new);
        }
        writer.count(items, bytes);
        Ok(())
    }
}
