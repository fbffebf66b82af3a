//! Evaluation of a conditional write of one item.
//!
//! 1. Table, schema version and range are checked.
//! 2. The item as it is, is read; the condition decides.
//! 3. The item as it is to be: the request's, the update's, or none.
//! 4. When nothing changes there is no effect. Otherwise: item, local index rows, item collection's size, expiry row,
//!    change record and counters, in one effect.

use std::sync::Arc;

use partita_model::capacity::{HalfUnits, WriteCost, write_units};
use partita_model::error::{ApiError, ErrorCode};
use partita_model::item::{Item, ItemRef};
use partita_model::key;
use partita_model::message;
use partita_model::request::{Action, Origin, Refusal, ReturnValues, WriteReply, WriteRequest};
use partita_model::schema::{StreamView, TableSchema};

use super::tally::Growth;
use super::{Effect, Evaluated, Evaluator, item};
use crate::change::{ChangeKind, ChangeRecord};
use crate::command::RowChange;
use crate::descriptor::ItemTime;
use crate::effect::EffectWriter;
use crate::error::PartitionError;
use crate::index::{RowDiff, same};
use crate::row;
use crate::storage::{Family, Storage, Tier};

/// The largest item collection of a table with local indexes. Source: "Local secondary indexes: item collection size
/// limit", Amazon DynamoDB Developer Guide.
const COLLECTION_BYTES_MAX: u64 = 10 << 30;
/// Items that expired longer ago than this are left alone, against mistakes with the clock. Source: "Using time to
/// live", Amazon DynamoDB Developer Guide: five years.
pub(crate) const EXPIRED_FOR_MAX_S: u64 = 5 * 365 * 24 * 60 * 60;
/// What an effect has besides the item: keys, headers, counts.
const EFFECT_BYTES_BESIDES: usize = 160;

/// A write whose item has been decided.
struct Decided<'a> {
    schema: &'a TableSchema,
    request: &'a WriteRequest,
    old: Option<ItemRef<'a>>,
    new: Option<ItemRef<'a>>,
    local: Vec<RowDiff>,
    global: Vec<RowDiff>,
}

impl<S: Storage> Evaluator<S> {
    /// Evaluates a write. `Err` means nothing has happened and nothing is owed.
    pub fn evaluate(&mut self, request: &WriteRequest, now_ms: u64, tier: Tier) -> Result<Evaluated, PartitionError> {
        let descriptor = Arc::clone(&self.descriptor);
        let schema = descriptor.schema().ok_or(Refusal::WrongRange)?;
        if request.table != descriptor.table || !descriptor.contains(&request.key) {
            return Err(Refusal::WrongRange.into());
        }
        // A newer one is welcome: gateways learn of a change before the partitions do, and nothing that a gateway checks
        // gets looser with it.
        if request.schema_version < schema.version {
            return Err(Refusal::StaleSchema.into());
        }
        let reader = Arc::clone(&self.reader);
        let store_key = row::keyed(request.table, request.key.as_bytes());
        let current = self.row(&reader, Family::Items, &store_key, tier)?;
        let old = item(current.as_ref())?;
        if let Some(refused) = refuse(request, schema, old, now_ms) {
            return Ok(refused);
        }
        let updated;
        let new = match &request.action {
            Action::Put(item) => Some(item.as_ref()),
            Action::Delete { .. } => None,
            Action::Update { key, update } => match updated_item(schema, old, key, update) {
                // Refused for what it names all the same.
                Ok(_) if old.is_none() && update.makes_no_item() => None,
                Ok(item) => {
                    updated = item;
                    Some(updated.as_ref())
                }
                Err(error) => {
                    let cost = WriteCost::default();
                    return Ok(Evaluated::Refused { error, cost });
                }
            },
        };
        let changed = match (old, new) {
            (Some(old), Some(new)) => !same(old, new),
            (None, None) => false,
            (Some(_), None) | (None, Some(_)) => true,
        };
        let (local, global) = if changed {
            (
                RowDiff::local(schema, old, new).collect(),
                RowDiff::global(schema, old, new).collect(),
            )
        } else {
            (Vec::new(), Vec::new())
        };
        let decided = Decided {
            schema,
            request,
            old,
            new,
            local,
            global,
        };
        self.commit(&decided, &store_key, changed, now_ms, tier)
    }

    /// The effect and the answer.
    fn commit(
        &mut self,
        decided: &Decided<'_>,
        store_key: &[u8],
        changed: bool,
        now_ms: u64,
        tier: Tier,
    ) -> Result<Evaluated, PartitionError> {
        let cost = decided.cost();
        let collection = self.collection(decided, tier)?;
        if let Some((_, old, new)) = &collection
            && new > old
            && *new > COLLECTION_BYTES_MAX
        {
            let error = ApiError::new(
                ErrorCode::ItemCollectionSizeLimitExceeded,
                message::COLLECTION_TOO_LARGE,
            );
            return Ok(Evaluated::Refused { error, cost });
        }
        let reply = WriteReply {
            attributes: decided.attributes(),
            cost,
            collection_bytes: collection.as_ref().map(|(_, _, new)| *new),
        };
        if !changed {
            return Ok(Evaluated::Unchanged { reply });
        }
        let effect = self.effect(decided, store_key, collection, now_ms);
        Ok(Evaluated::Changed { effect, reply })
    }

    /// The item collection's row, its size before and after the write; `None` for tables without local indexes.
    fn collection(
        &self,
        decided: &Decided<'_>,
        tier: Tier,
    ) -> Result<Option<(row::StoreKey, u64, u64)>, PartitionError> {
        let schema = decided.schema;
        if schema.local.is_empty() {
            return Ok(None);
        }
        let collection = key::collection_of(&schema.keys, decided.request.key.as_bytes()).ok_or(Refusal::WrongRange)?;
        let key = row::keyed(schema.id, collection);
        let old = match self.row(&self.reader, Family::LocalIndexes, &key, tier)? {
            Some(size) => row::decode_size(&size)?,
            None => 0,
        };
        let rows: i64 = decided.local.iter().map(|diff| diff.growth().1).sum();
        let growth = decided.growth().1 + rows;
        Ok(Some((key, old, old.saturating_add_signed(growth))))
    }

    fn effect(
        &mut self,
        decided: &Decided<'_>,
        store_key: &[u8],
        collection: Option<(row::StoreKey, u64, u64)>,
        now_ms: u64,
    ) -> Effect {
        let table = decided.schema.id;
        let time = self.next_time(now_ms);
        let item_bytes = decided.new.map_or(0, |item| item.as_bytes().len());
        let mut writer = EffectWriter::with_capacity(item_bytes + EFFECT_BYTES_BESIDES);
        let touched = match decided.new {
            Some(item) => writer.put_item(Family::Items, store_key, item.as_bytes(), time),
            None => writer.delete(Family::Items, store_key),
        };
        writer.remember(touched);
        for diff in &decided.local {
            if let Some(key) = diff.removed() {
                writer.delete(Family::LocalIndexes, &row::keyed(table, key.as_bytes()));
            }
            if let Some((key, row)) = &diff.new {
                let key = row::keyed(table, key.as_bytes());
                writer.put_item(Family::LocalIndexes, &key, row.as_bytes(), time);
            }
            let (rows, bytes) = diff.growth();
            writer.count_local(diff.index, rows, bytes);
        }
        if let Some((key, old, new)) = collection
            && old != new
        {
            let touched = match new {
                0 => writer.delete(Family::LocalIndexes, &key),
                size => writer.put(Family::LocalIndexes, &key, &size.to_be_bytes()),
            };
            writer.remember(touched);
        }
        decided.expiry(&mut writer);
        if let Some(record) = decided.change(time) {
            let key = row::change(table, self.descriptor.group, time);
            writer.put(Family::Changes, &key, &record.encode());
        }
        let (items, bytes) = decided.growth();
        writer.count(items, bytes);
        writer.clock(time);
        let local = |diff: &RowDiff| (diff.index, diff.growth().0, diff.growth().1);
        self.note_growth(&decided.request.key, || Growth {
            items,
            bytes,
            local: decided.local.iter().map(local).collect(),
        });
        self.seal(writer)
    }
}

/// The answer to a write whose condition (or expiry) does not hold.
fn refuse(request: &WriteRequest, schema: &TableSchema, old: Option<ItemRef<'_>>, now_ms: u64) -> Option<Evaluated> {
    let holds = match request.origin {
        Origin::Client => request
            .condition
            .as_ref()
            .is_none_or(|condition| condition.matches(old)),
        Origin::TimeToLive => is_expired(schema.time_to_live.as_deref(), old, now_ms / 1000),
    };
    if holds {
        return None;
    }
    let mut error = ApiError::new(ErrorCode::ConditionalCheckFailed, message::CONDITION_FAILED);
    if request.return_item_on_failure {
        error.item = old.map(|item| Box::new(item.to_item()));
    }
    let table = match request.origin {
        Origin::Client => write_units(size(old)),
        Origin::TimeToLive => HalfUnits(0),
    };
    let cost = WriteCost {
        table,
        ..WriteCost::default()
    };
    Some(Evaluated::Refused { error, cost })
}

/// Whether an item is to be removed by the expiry sweeper.
pub(crate) fn is_expired(attribute: Option<&str>, item: Option<ItemRef<'_>>, now_s: u64) -> bool {
    row::expiry_seconds(attribute, item).is_some_and(|expiry| expiry <= now_s && now_s - expiry <= EXPIRED_FOR_MAX_S)
}

fn updated_item(
    schema: &TableSchema,
    old: Option<ItemRef<'_>>,
    key: &Item,
    update: &partita_model::expression::Update,
) -> Result<Item, ApiError> {
    let item = update.apply(old, key.as_ref())?;
    schema.check_updated(old, item.as_ref())?;
    Ok(item)
}

fn size(item: Option<ItemRef<'_>>) -> u64 {
    item.map_or(0, ItemRef::size)
}

impl Decided<'_> {
    /// Items and bytes more (or fewer).
    fn growth(&self) -> (i64, i64) {
        let items = i64::from(self.new.is_some()) - i64::from(self.old.is_some());
        (items, size(self.new) as i64 - size(self.old) as i64)
    }

    fn cost(&self) -> WriteCost {
        if self.request.origin == Origin::TimeToLive {
            return WriteCost::default();
        }
        let units = |diffs: &[RowDiff]| diffs.iter().map(|diff| (diff.index, diff.cost())).collect();
        WriteCost {
            table: write_units(size(self.old).max(size(self.new))),
            local: units(&self.local),
            global: units(&self.global),
        }
    }

    fn attributes(&self) -> Option<Item> {
        let whole = |item: Option<ItemRef<'_>>| item.map(ItemRef::to_item);
        match (self.request.return_values, &self.request.action) {
            (ReturnValues::None, _) => None,
            (ReturnValues::AllOld, _) => whole(self.old),
            (ReturnValues::AllNew, _) => whole(self.new),
            (ReturnValues::UpdatedOld, Action::Update { update, .. }) => update.updated_old(self.old),
            (ReturnValues::UpdatedNew, Action::Update { update, .. }) => {
                self.new.and_then(|item| update.updated_new(item))
            }
            (ReturnValues::UpdatedOld | ReturnValues::UpdatedNew, Action::Put(_) | Action::Delete { .. }) => None,
        }
    }

    /// The expiry row, when the time changes.
    fn expiry(&self, writer: &mut EffectWriter) {
        let attribute = self.schema.time_to_live.as_deref();
        let old = row::expiry_seconds(attribute, self.old);
        let new = row::expiry_seconds(attribute, self.new);
        if old == new {
            return;
        }
        let key = |seconds| row::expiry(self.schema.id, seconds, self.request.key.as_bytes());
        if let Some(seconds) = old {
            writer.delete(Family::Expiry, &key(seconds));
        }
        if let Some(seconds) = new {
            writer.put(Family::Expiry, &key(seconds), &[]);
        }
    }

    /// The change record, when someone needs it.
    fn change(&self, time: ItemTime) -> Option<ChangeRecord> {
        if self.schema.stream.is_none() && self.global.is_empty() {
            return None;
        }
        let kind = match (self.old, self.new) {
            (None, _) => ChangeKind::Insert,
            (Some(_), Some(_)) => ChangeKind::Modify,
            (Some(_), None) => ChangeKind::Remove,
        };
        let keeps = |views: [StreamView; 2]| self.schema.stream.is_some_and(|view| views.contains(&view));
        let image = |item: Option<ItemRef<'_>>, wanted: bool| item.filter(|_| wanted).map(ItemRef::to_item);
        let timed = |mut item: Item| {
            item.set_time(time.0);
            item
        };
        let mut rows = Vec::new();
        for diff in &self.global {
            if let Some(key) = diff.removed() {
                rows.push((diff.index, key.clone(), RowChange::Delete));
            }
            if let Some((key, row)) = &diff.new {
                rows.push((diff.index, key.clone(), RowChange::Put(timed(row.clone()))));
            }
        }
        Some(ChangeRecord {
            time,
            kind,
            origin: self.request.origin,
            streamed: self.schema.stream.is_some(),
            keys: self
                .new
                .or(self.old)
                .map(|item| self.schema.key_item(item))
                .unwrap_or_default(),
            old: image(self.old, keeps([StreamView::OldImage, StreamView::NewAndOldImages])),
            new: image(self.new, keeps([StreamView::NewImage, StreamView::NewAndOldImages])).map(timed),
            rows,
        })
    }
}
