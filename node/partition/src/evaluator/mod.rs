//! Evaluation: requests become effects, in one order with the log.
//!
//! 1. A request is checked against the descriptor as it will be when everything in flight is applied.
//! 2. The rows it depends on are read: from the overlay of writes in flight, else from storage.
//! 3. [`write`](mod@write) and [`commands`] decide, and write the effect's bytes once.
//! 4. The effect gets a sequence number, and the overlay remembers the rows it touches.
//! 5. The caller proposes effects in that order and reports back: [`Evaluator::applied`], or
//!    [`Evaluator::discard_from`] when a proposal is refused.

pub mod commands;
pub mod deliver;
mod merge;
mod split;
pub(crate) mod tally;
pub mod write;

use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use partita_model::capacity::WriteCost;
use partita_model::error::ApiError;
use partita_model::item::ItemRef;
use partita_model::key::KeyBytes;
use partita_model::request::WriteReply;

use crate::clock::Clock;
use crate::descriptor::{ItemTime, PartitionDescriptor};
use crate::effect::{EffectWriter, Touched};
use crate::error::PartitionError;
use crate::overlay::Overlay;
use crate::reader::PartitionReader;
use crate::storage::{Family, Storage, Tier};
use tally::{Growth, Tally};

/// A number that grows with every effect of an [`Evaluator`].
pub type Sequence = u64;

/// An effect to be proposed, in the order of evaluation.
#[derive(Debug, Clone)]
pub struct Effect {
    /// Its place in the order of this evaluator's effects.
    pub sequence: Sequence,
    /// What `Applier::apply` wants.
    pub bytes: Bytes,
}

/// What a write comes to.
#[derive(Debug, Clone)]
pub enum Evaluated {
    /// Rows change: answer once the effect is applied.
    Changed {
        /// Propose this.
        effect: Effect,
        /// Then answer this.
        reply: WriteReply,
    },
    /// Nothing changes: answer once everything evaluated before is applied.
    Unchanged {
        /// The answer.
        reply: WriteReply,
    },
    /// The condition did not hold (or the update does not fit the item): answer once everything evaluated before is
    /// applied. A failed condition has its price all the same.
    Refused {
        /// The answer.
        error: ApiError,
        /// Its price.
        cost: WriteCost,
    },
}

/// Evaluates writes against storage and the writes still in flight.
#[derive(Debug)]
pub struct Evaluator<S: Storage> {
    reader: Arc<PartitionReader<S>>,
    descriptor: Arc<PartitionDescriptor>,
    /// Descriptors in flight, the latest one being `descriptor`.
    descriptors: Vec<(Sequence, Arc<PartitionDescriptor>)>,
    overlay: Overlay,
    clock: Clock,
    next: Sequence,
    /// While somebody counts for a split.
    tally: Option<Tally>,
    tallies: u64,
}

/// A row's bytes: of a write in flight, or of storage.
#[derive(Debug)]
enum Row<V> {
    Pending(Bytes),
    Stored(V),
}

impl<V: Deref<Target = [u8]>> Deref for Row<V> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Self::Pending(bytes) => bytes,
            Self::Stored(value) => value,
        }
    }
}

/// A row as an item.
fn item<V: Deref<Target = [u8]>>(row: Option<&Row<V>>) -> Result<Option<ItemRef<'_>>, PartitionError> {
    Ok(row.map(|row| ItemRef::from_stored(row)).transpose()?)
}

impl<S: Storage> Evaluator<S> {
    pub(crate) fn new(reader: Arc<PartitionReader<S>>) -> Self {
        let applied = reader.applied();
        let mut clock = Clock::default();
        clock.observe(applied.counters.clock);
        Self {
            reader,
            descriptor: applied.descriptor,
            descriptors: Vec::new(),
            overlay: Overlay::default(),
            clock,
            next: 1,
            tally: None,
            tallies: 0,
        }
    }

    /// The descriptor that the next request is evaluated with (including changes still in flight).
    pub fn descriptor(&self) -> Arc<PartitionDescriptor> {
        Arc::clone(&self.descriptor)
    }

    /// Whether the partition stands still, as applied.
    pub fn is_frozen(&self) -> bool {
        self.reader.is_frozen()
    }

    /// The sequence of the latest effect (0 before the first): an answer without an effect waits for its apply.
    pub fn last_sequence(&self) -> Sequence {
        self.next - 1
    }

    /// All effects up to this one are applied and visible in storage.
    pub fn applied(&mut self, through: Sequence) {
        self.overlay.applied(through);
        self.descriptors.retain(|(sequence, _)| *sequence > through);
    }

    /// The effect with this sequence and all after it will never be applied.
    pub fn discard_from(&mut self, from: Sequence) {
        self.overlay.discard_from(from);
        if let Some(tally) = &mut self.tally {
            tally.discard_from(from);
        }
        self.descriptors.retain(|(sequence, _)| *sequence < from);
        self.descriptor = match self.descriptors.last() {
            Some((_, descriptor)) => Arc::clone(descriptor),
            None => self.reader.descriptor(),
        };
    }

    /// Forgets everything in flight and starts from what is applied: at the start of a term, once the first entry of
    /// that term has been applied, and when leadership is lost.
    pub fn reset(&mut self) {
        let applied = self.reader.applied();
        self.overlay.clear();
        self.descriptors.clear();
        self.tally = None;
        self.descriptor = applied.descriptor;
        self.clock.observe(applied.counters.clock);
    }

    /// A row as it will be when everything in flight is applied.
    fn row<'a>(
        &self,
        reader: &'a PartitionReader<S>,
        family: Family,
        key: &[u8],
        tier: Tier,
    ) -> Result<Option<Row<S::Value<'a>>>, PartitionError> {
        match self.overlay.get(family, key) {
            Some(pending) => Ok(pending.map(Row::Pending)),
            None => Ok(reader.storage().get(family, key, tier)?.map(Row::Stored)),
        }
    }

    /// The next effect makes this of the counters.
    fn note_growth(&mut self, key: &KeyBytes, growth: impl FnOnce() -> Growth) {
        if let Some(tally) = &mut self.tally {
            tally.note(self.next, key, growth());
        }
    }

    /// Numbers an effect and remembers what it touches.
    fn seal(&mut self, writer: EffectWriter) -> Effect {
        let (bytes, touched) = writer.finish();
        self.number(bytes, touched)
    }

    fn number(&mut self, bytes: Bytes, touched: Vec<Touched>) -> Effect {
        let sequence = self.next;
        self.next += 1;
        self.overlay.insert(sequence, &bytes, touched);
        Effect { sequence, bytes }
    }

    fn next_time(&mut self, now_ms: u64) -> ItemTime {
        self.clock.next(now_ms)
    }
}
