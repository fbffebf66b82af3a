//! The partition keys that use the most, and the place in a partition's range that halves its load: sampled, and shown on the
//! admin API (as labels of metrics they would have no bound).

use std::ops::Bound;

use parking_lot::Mutex;
use partita_admission::hot::{HotKey, HotKeys};
use partita_admission::spread::{Spread, scatter};
use partita_model::admin::LoadSpread;
use partita_model::capacity::HalfUnits;
use partita_model::item::Item;
use partita_model::key::{HASH_BYTES, KeyBytes, collection_of, component};
use partita_model::partition::{PartitionDescriptor, PartitionKind};
use partita_model::request::PageRequest;
use partita_model::schema::KeySchema;
use serde_json::Value;

use std::sync::atomic::{AtomicU64, Ordering};

/// One request of so many is looked at: which one is left to chance, or a client that takes so many keys in turn would show one of
/// them alone.
const SAMPLED_OF: u64 = 8;

/// How a partition's rows are ordered, and where it can be cut.
#[derive(Debug, Clone)]
pub struct RowKeys {
    /// By which they are ordered.
    pub schema: KeySchema,
    /// With local indexes a collection of items has to stay in one piece.
    pub whole_collections: bool,
}

impl RowKeys {
    /// Of a partition.
    pub fn of(partition: &PartitionKind) -> Self {
        match partition {
            PartitionKind::Table(schema) => Self {
                schema: schema.keys.clone(),
                whole_collections: !schema.local.is_empty(),
            },
            PartitionKind::Index { index, .. } => Self {
                schema: index.keys.clone(),
                whole_collections: false,
            },
        }
    }
}

/// What is used by the keys of one partition, of one kind of units.
#[derive(Debug, Default)]
pub struct Sampler {
    seen: AtomicU64,
    keys: Mutex<HotKeys>,
    spread: Mutex<Spread>,
}

/// A request that is looked at: its key.
pub struct Sample(Vec<u8>);

impl Sampler {
    /// Looks at a request about a key, or does not.
    pub fn sample(&self, key: &KeyBytes) -> Option<Sample> {
        self.is_due().then(|| Sample(key.0.clone()))
    }

    /// Looks at a Query, or does not: it counts where it begins to read. A Scan is about no key.
    pub fn sample_page(&self, request: &PageRequest) -> Option<Sample> {
        let (Bound::Included(from) | Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) = &request.range
        else {
            return None;
        };
        let begin = if request.reverse { to } else { from };
        (from.hash() == to.hash() && self.is_due()).then(|| Sample(begin.0.clone()))
    }

    fn is_due(&self) -> bool {
        scatter(self.seen.fetch_add(1, Ordering::Relaxed)).is_multiple_of(SAMPLED_OF)
    }

    /// Notes what a request cost that was looked at.
    pub fn note(&self, sample: Option<Sample>, keys: &RowKeys, cost: HalfUnits, now_ms: u64) {
        if let Some(Sample(key)) = sample
            && let Some(collection) = collection_of(&keys.schema, &key)
        {
            let cost = HalfUnits(cost.0.saturating_mul(SAMPLED_OF));
            self.keys.lock().note(collection, cost, now_ms);
            let place = match keys.whole_collections {
                true => collection.get(..HASH_BYTES).unwrap_or(collection),
                false => key.as_slice(),
            };
            self.spread.lock().note(place, cost, now_ms);
        }
    }

    /// Where the load of the last minute or two was, in the range that a partition has now.
    pub fn spread(&self, partition: &PartitionDescriptor, now_ms: u64) -> Option<LoadSpread> {
        let (start, end) = (partition.start.as_bytes(), partition.end.as_ref());
        let halves = self.spread.lock().halves(start, end.map(KeyBytes::as_bytes), now_ms)?;
        Some(LoadSpread {
            busiest_percent: (halves.busiest * 100.0).round() as u8,
            middle: halves.middle.map(KeyBytes),
        })
    }

    /// The keys that use the most.
    pub fn top(&self, most: usize, now_ms: u64) -> Vec<HotKey> {
        self.keys.lock().top(most, now_ms)
    }
}

/// A partition key as the API writes it.
pub fn shown(keys: &KeySchema, collection: &[u8]) -> Option<Value> {
    let mut rest = collection.get(HASH_BYTES..)?;
    let mut values = Vec::with_capacity(keys.hash.len());
    for attribute in &keys.hash {
        let (component, behind) = component::split(attribute.kind, rest)?;
        values.push((attribute.name.as_str(), component::decode(attribute.kind, component)?));
        rest = behind;
    }
    let item = Item::from_attributes(values.iter().map(|(name, value)| (*name, value.as_ref())));
    let mut json = Vec::new();
    item.as_ref().write_json(&mut json);
    serde_json::from_slice(&json).ok()
}
