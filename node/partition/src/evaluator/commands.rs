//! Evaluation of commands: schema changes, walks over existing items, trimming.
//!
//! Walks (backfill, expiry rows) go in the order of writes: what they put is what the item is at that place in the
//! order, so that a write before or after them changes nothing about the outcome. They start once the schema that
//! calls for them is applied; writes evaluated from then on maintain the rows by themselves.

use std::ops::Bound;
use std::sync::Arc;

use partita_model::item::ItemRef;
use partita_model::key::KeyBytes;
use partita_model::request::{Origin, Refusal};
use partita_model::schema::{IndexId, TableSchema};

use super::{Effect, Evaluator, item};
use crate::change::{ChangeKind, ChangeRecord};
use crate::command::{Command, CommandReply, RowChange};
use crate::descriptor::{ItemTime, PartitionDescriptor, PartitionKind};
use crate::effect::EffectWriter;
use crate::error::PartitionError;
use crate::row::{self, StoreKey};
use crate::storage::{Cursor, Family, Storage, Tier};

/// Room for an effect of a command, to begin with.
const EFFECT_BYTES: usize = 4096;

/// How far a walk goes at once.
#[derive(Debug, Clone, Copy)]
struct Stride {
    rows_max: u32,
    bytes_max: u64,
}

impl<S: Storage> Evaluator<S> {
    /// Evaluates a command; without an effect there is nothing to propose, and the reply holds once everything
    /// evaluated before is applied.
    pub fn command(
        &mut self,
        command: &Command,
        now_ms: u64,
        tier: Tier,
    ) -> Result<(Option<Effect>, CommandReply), PartitionError> {
        match command {
            Command::SetSchema(schema) => self.set_schema(schema),
            Command::Deliver(batch) => self.deliver(batch, tier),
            Command::Backfill {
                index,
                after,
                rows_max,
                bytes_max,
            } => {
                let stride = Stride {
                    rows_max: *rows_max,
                    bytes_max: *bytes_max,
                };
                self.backfill(*index, after.as_ref(), stride, now_ms, tier)
            }
            Command::IndexExpiry { after, rows_max } => self.index_expiry(after.as_ref(), *rows_max, tier),
            Command::DropExpiry { after, rows_max } => self.drop_expiry(after.as_ref(), *rows_max, tier),
            Command::TrimChanges { through } => Ok(self.trim(*through)),
            Command::Close(sources) => self.close(sources, tier),
        }
    }

    fn set_schema(&mut self, schema: &Arc<TableSchema>) -> Result<(Option<Effect>, CommandReply), PartitionError> {
        let current = self.descriptor.schema().ok_or(Refusal::WrongRange)?;
        if current == schema {
            return Ok((None, CommandReply::Done));
        }
        let TableSchema {
            id,
            seed,
            version,
            name,
            keys,
            local,
            global: _,
            time_to_live: _,
            stream: _,
        } = &**schema;
        let same = *id == current.id
            && *seed == current.seed
            && *name == current.name
            && *keys == current.keys
            && *local == current.local;
        if *version <= current.version || !same {
            return Err(Refusal::StaleSchema.into());
        }
        let descriptor = Arc::new(PartitionDescriptor {
            kind: PartitionKind::Table(Arc::clone(schema)),
            ..PartitionDescriptor::clone(&self.descriptor)
        });
        let mut writer = EffectWriter::with_capacity(EFFECT_BYTES);
        writer.descriptor(&descriptor)?;
        let effect = self.seal(writer);
        self.descriptors.push((effect.sequence, Arc::clone(&descriptor)));
        self.descriptor = descriptor;
        Ok((Some(effect), CommandReply::Done))
    }

    fn backfill(
        &mut self,
        id: IndexId,
        after: Option<&KeyBytes>,
        stride: Stride,
        now_ms: u64,
        tier: Tier,
    ) -> Result<(Option<Effect>, CommandReply), PartitionError> {
        let schema = self.applied_schema(|schema| schema.global_index(id).is_some())?;
        let index = schema.global_index(id).ok_or(Refusal::StaleSchema)?;
        let (table, group) = (schema.id, self.descriptor.group);
        let mut clock = self.clock;
        let mut writer = EffectWriter::with_capacity(EFFECT_BYTES);
        let reply = self.walk(after, stride, tier, |_, item| {
            let Some((key, row)) = schema.global_row(index, item) else {
                return;
            };
            let time = clock.next(now_ms);
            let record = ChangeRecord {
                time,
                kind: ChangeKind::Backfill,
                origin: Origin::Client,
                streamed: false,
                keys: schema.key_item(item),
                old: None,
                new: None,
                rows: vec![(id, key, RowChange::Put(row))],
            };
            writer.put(Family::Changes, &row::change(table, group, time), &record.encode());
            writer.clock(time);
        })?;
        self.clock = clock;
        Ok((self.seal_unless_empty(writer), reply))
    }

    fn index_expiry(
        &mut self,
        after: Option<&KeyBytes>,
        rows_max: u32,
        tier: Tier,
    ) -> Result<(Option<Effect>, CommandReply), PartitionError> {
        let schema = self.applied_schema(|schema| schema.time_to_live.is_some())?;
        let mut writer = EffectWriter::with_capacity(EFFECT_BYTES);
        let stride = Stride {
            rows_max,
            bytes_max: u64::MAX,
        };
        let reply = self.walk(after, stride, tier, |key, item| {
            if let Some(seconds) = row::expiry_seconds(schema.time_to_live.as_deref(), Some(item)) {
                writer.put(Family::Expiry, &row::expiry(schema.id, seconds, key), &[]);
            }
        })?;
        Ok((self.seal_unless_empty(writer), reply))
    }

    /// Expiry rows are ordered by time across the table, so the walk goes by time and looks at rows of this range.
    fn drop_expiry(
        &mut self,
        after: Option<&KeyBytes>,
        rows_max: u32,
        tier: Tier,
    ) -> Result<(Option<Effect>, CommandReply), PartitionError> {
        let descriptor = Arc::clone(&self.descriptor);
        let schema = descriptor.schema().ok_or(Refusal::WrongRange)?;
        let reader = Arc::clone(&self.reader);
        let from = row::keyed(schema.id, after.map_or(&[], |after| after.as_bytes()));
        let from = match after {
            Some(_) => Bound::Excluded(&from[..]),
            None => Bound::Included(&from[..]),
        };
        let end = row::table_end(schema.id);
        let to = end.as_ref().map_or(Bound::Unbounded, |end| Bound::Excluded(&end[..]));
        let mut cursor = reader.storage().scan(Family::Expiry, (from, to), false, tier)?;
        let mut writer = EffectWriter::with_capacity(EFFECT_BYTES);
        let (mut rows, mut next) = (0, None);
        while let Some((key, _)) = cursor.next()? {
            rows += 1;
            if let Some((seconds, primary)) = row::split_expiry(key).filter(|(_, key)| descriptor.contains(key)) {
                let current = row::keyed(schema.id, primary.as_bytes());
                let current = self.row(&reader, Family::Items, &current, tier)?;
                if row::expiry_seconds(schema.time_to_live.as_deref(), item(current.as_ref())?) != Some(seconds) {
                    writer.delete(Family::Expiry, key);
                }
            }
            if rows >= u64::from(rows_max) {
                next = Some(KeyBytes(row::unkeyed(key).to_vec()));
                break;
            }
        }
        let reply = CommandReply::Progress { next, rows };
        Ok((self.seal_unless_empty(writer), reply))
    }

    fn trim(&mut self, through: ItemTime) -> (Option<Effect>, CommandReply) {
        if through <= self.reader.applied().counters.trimmed {
            return (None, CommandReply::Done);
        }
        let (table, group) = (self.descriptor.table, self.descriptor.group);
        let from = row::change(table, group, ItemTime::default());
        let mut to: StoreKey = row::change(table, group, through);
        to.push(0);
        let mut writer = EffectWriter::with_capacity(EFFECT_BYTES);
        writer.delete_range(Family::Changes, &from, &to);
        writer.trimmed(through);
        (Some(self.seal(writer)), CommandReply::Done)
    }

    /// The table's schema, which must be applied as far as `ready` looks.
    fn applied_schema(&self, ready: impl Fn(&TableSchema) -> bool) -> Result<Arc<TableSchema>, PartitionError> {
        let applied = self.reader.descriptor();
        let schema = self.descriptor.schema().ok_or(Refusal::WrongRange)?;
        if applied.schema() != Some(schema) || !ready(schema) {
            return Err(Refusal::StaleSchema.into());
        }
        Ok(Arc::clone(schema))
    }

    /// Shows the partition's items from behind `after` on as they are at this place in the order.
    ///
    /// New items in flight are not among them: the schema is applied, so their writes have maintained the rows.
    fn walk(
        &self,
        after: Option<&KeyBytes>,
        stride: Stride,
        tier: Tier,
        mut visit: impl FnMut(&[u8], ItemRef<'_>),
    ) -> Result<CommandReply, PartitionError> {
        let descriptor = &self.descriptor;
        let (start, end) = row::range(descriptor);
        let from = after.map(|after| row::keyed(descriptor.table, after.as_bytes()));
        let from = from.as_deref().map_or(Bound::Included(&start[..]), Bound::Excluded);
        let to = end.as_ref().map_or(Bound::Unbounded, |end| Bound::Excluded(&end[..]));
        let mut cursor = self.reader.storage().scan(Family::Items, (from, to), false, tier)?;
        let (mut rows, mut bytes, mut last) = (0, 0, None);
        while let Some((key, stored)) = cursor.next()? {
            let primary = row::unkeyed(key);
            let pending = self.overlay.get(Family::Items, key);
            let current = match &pending {
                Some(pending) => pending.as_deref(),
                None => Some(stored),
            };
            rows += 1;
            if let Some(current) = current {
                let current = ItemRef::from_stored(current)?;
                bytes += current.size();
                visit(primary, current);
            }
            if rows >= u64::from(stride.rows_max) || bytes >= stride.bytes_max {
                last = Some(KeyBytes(primary.to_vec()));
                break;
            }
        }
        Ok(CommandReply::Progress { next: last, rows })
    }

    fn seal_unless_empty(&mut self, writer: EffectWriter) -> Option<Effect> {
        (!writer.is_empty()).then(|| self.seal(writer))
    }
}
