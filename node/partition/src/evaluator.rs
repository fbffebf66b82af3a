//! Evaluation.

use std::sync::Arc;

use bytes::Bytes;
use partita_model::capacity::WriteCost;
use partita_model::error::ApiError;
use partita_model::request::{WriteReply, WriteRequest};

use crate::command::{Command, CommandReply};
use crate::descriptor::PartitionDescriptor;
use crate::error::PartitionError;
use crate::reader::PartitionReader;
use crate::storage::{Storage, Tier};

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
    /// applied. It has its price all the same.
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
    next: Sequence,
}

impl<S: Storage> Evaluator<S> {
    #[expect(dead_code, reason = "opening follows")]
    pub(crate) fn new(reader: Arc<PartitionReader<S>>) -> Self {
        Self { reader, next: 1 }
    }

    /// The descriptor that the next request is evaluated with (including schema changes still in flight).
    pub fn descriptor(&self) -> Arc<PartitionDescriptor> {
        self.reader.descriptor()
    }

    /// The sequence of the latest effect (0 before the first): an answer without an effect waits for its apply.
    pub fn last_sequence(&self) -> Sequence {
        self.next - 1
    }

    /// Evaluates a write. `Err` means nothing has happened and nothing is owed.
    pub fn evaluate(
        &mut self,
        _request: &WriteRequest,
        _now_ms: u64,
        _tier: Tier,
    ) -> Result<Evaluated, PartitionError> {
        Err(PartitionError::NotCached)
    }

    /// Evaluates a command; without an effect there is nothing to propose, and the reply holds once everything
    /// evaluated before is applied.
    pub fn command(
        &mut self,
        _command: &Command,
        _now_ms: u64,
        _tier: Tier,
    ) -> Result<(Option<Effect>, CommandReply), PartitionError> {
        Err(PartitionError::NotCached)
    }

    /// All effects up to this one are applied and visible in storage.
    pub fn applied(&mut self, _through: Sequence) {}

    /// The effect with this sequence and all after it will never be applied.
    pub fn discard_from(&mut self, from: Sequence) {
        self.next = self.next.max(from);
    }

    /// Forgets everything in flight and starts from what is applied: at the start of a term, once the first entry of
    /// that term has been applied, and when leadership is lost.
    pub fn reset(&mut self) {}
}
