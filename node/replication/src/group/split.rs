//! A split, at the leader: one entry of the log cuts the partition, and its child is born wherever the entry is applied.
//!
//! 1. Whoever has split with this id before is told what came of it.
//! 2. The evaluator begins a tally, and the pool counts in a view what is behind the cut (and where the middle is): that
//!    takes its time, and writes go on.
//! 3. The split is evaluated and put into an entry of its own. From now on requests about the keys behind it wait.
//! 4. When the entry is applied they are told that the range is wrong: the child answers them.

use std::sync::Arc;

use partita_model::key::KeyBytes;
use partita_model::request::Refusal;
use partita_partition::descriptor::GroupId;
use partita_partition::error::PartitionError;
use partita_partition::split::{self, Counted, SplitAt, SplitDone, SplitFault, check_key};
use partita_partition::storage::Storage;
use uuid::Uuid;

use super::Group;
use crate::fate::Waiting;

/// The tally may be lost while it is counted (another leader, too many writes): so often it is begun anew.
const ATTEMPTS_MAX: u32 = 3;

/// What is to be cut, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitRequest {
    /// The caller's: who asks again with the same id is told what it came to.
    pub id: Uuid,
    /// Where to cut.
    pub at: SplitAt,
    /// The group of the part that leaves: an id that was never used.
    pub child: GroupId,
}

/// Why a partition was not cut. Nothing has changed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SplitError {
    /// Not the leader, or not for long enough. With `UnknownFate` it may still be made: ask again with the same id.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It cannot be cut there.
    #[error(transparent)]
    Fault(SplitFault),
    /// The child's id is another group's.
    #[error("group {:016x} was here before: a split's child needs an id that was never used", .0.0)]
    Used(GroupId),
    /// Too much was written while the partition was counted.
    #[error("too much was written while the partition was counted: try again")]
    Busy,
    /// The range has changed since the caller looked.
    #[error("the range epoch is {found}, not {expected}: somebody else has changed the range")]
    StaleEpoch {
        /// The caller's.
        expected: u64,
        /// The partition's.
        found: u64,
    },
}

impl From<SplitFault> for SplitError {
    fn from(fault: SplitFault) -> Self {
        match fault {
            SplitFault::Partition(error) => Self::Refused(error.into_refusal()),
            other => Self::Fault(other),
        }
    }
}

/// Where a split stands.
enum Stage {
    Done(SplitDone),
    /// Another one is on its way.
    After(Waiting),
    /// It can be counted, once what was in flight when the tally began is applied.
    Begun(u64, Option<Waiting>),
}

impl<S: Storage> Group<S> {
    /// Cuts the partition in two, once for each id. Returns when the cut is applied here; the child's leader is elected
    /// meanwhile.
    pub async fn split(self: &Arc<Self>, request: SplitRequest) -> Result<SplitDone, SplitError> {
        self.split_at(None, request).await
    }

    /// The same, only if the range epoch is the expected one (or the split was made before).
    pub async fn split_at(
        self: &Arc<Self>,
        expected: Option<u64>,
        request: SplitRequest,
    ) -> Result<SplitDone, SplitError> {
        for _ in 0..ATTEMPTS_MAX {
            let (tally, in_flight) = loop {
                match self.begin_split(expected, &request)? {
                    Stage::Done(done) => return self.made(done).await,
                    Stage::After(waiting) => drop(waiting.await),
                    Stage::Begun(tally, in_flight) => break (tally, in_flight),
                }
            };
            if let Some(waiting) = in_flight {
                waiting.await?;
            }
            let counted = self.count_for_split(request.at.clone()).await;
            let counted = counted.inspect_err(|_| self.replica.lock().evaluator.end_tally(tally))?;
            if let Some(waiting) = self.propose_split(expected, &request, &counted, tally)? {
                waiting.await?;
                let done = self.reader.lineage().map_err(PartitionError::into_refusal)?;
                let done = done.split(request.id.as_u128()).cloned();
                return Ok(done.ok_or(Refusal::UnknownFate)?);
            }
        }
        Err(SplitError::Busy)
    }

    /// Where half of the bytes are on either side, and what is behind it: a place for a split. Reads half of the partition.
    pub async fn split_point(&self) -> Result<Counted, SplitError> {
        if let Some(refusal) = self.replica.lock().refusal() {
            return Err(refusal.into());
        }
        self.count_for_split(SplitAt::Middle).await
    }

    /// A split that was found to be made, once it is certain that this replica leads.
    async fn made(&self, done: SplitDone) -> Result<SplitDone, SplitError> {
        let term = self.replica.lock().serving_term();
        if !self.holds(term) {
            Box::pin(self.confirm(term)).await?;
        }
        Ok(done)
    }

    fn begin_split(&self, expected: Option<u64>, request: &SplitRequest) -> Result<Stage, SplitError> {
        if self.core.space.is_low() {
            return Err(Refusal::OutOfSpace.into());
        }
        let used = self.core.ledger.lock().known(request.child).is_some();
        let mut replica = self.replica.lock();
        if let Some(refusal) = replica.refusal() {
            return Err(refusal.into());
        }
        if let Some(waiting) = replica.held(|_| true) {
            return Ok(Stage::After(waiting));
        }
        let lineage = self.reader.lineage().map_err(PartitionError::into_refusal)?;
        if let Some(done) = lineage.split(request.id.as_u128()) {
            return Ok(Stage::Done(done.clone()));
        }
        check_epoch(expected, replica.evaluator.descriptor().range_epoch)?;
        if let SplitAt::Key(key) = &request.at {
            check_key(&replica.evaluator.descriptor(), key)?;
        }
        if used {
            return Err(SplitError::Used(request.child));
        }
        let tally = replica.evaluator.begin_tally();
        Ok(Stage::Begun(tally, replica.settled()))
    }

    async fn count_for_split(&self, at: SplitAt) -> Result<Counted, SplitError> {
        let reader = Arc::clone(&self.reader);
        let count = move || {
            let view = reader.storage().pin();
            split::count(&view, &reader.descriptor(), &at)
        };
        Ok(self.core.pool.run(count).await??)
    }

    /// Puts the split into the log; `None` when the tally was lost.
    fn propose_split(
        self: &Arc<Self>,
        expected: Option<u64>,
        request: &SplitRequest,
        counted: &Counted,
        tally: u64,
    ) -> Result<Option<Waiting>, SplitError> {
        let mut replica = self.replica.lock();
        if let Some(refusal) = replica.refusal() {
            return Err(refusal.into());
        }
        // Whoever asked with the same id (or for the same child) at the same time may have been first.
        let lineage = self.reader.lineage().map_err(PartitionError::into_refusal)?;
        let made = |done: &SplitDone| done.id == request.id.as_u128() || done.child == request.child;
        if replica.is_splitting() || lineage.splits.iter().any(made) {
            return Ok(None);
        }
        check_epoch(expected, replica.evaluator.descriptor().range_epoch)?;
        let (evaluated, through) = (replica.evaluated(), replica.sequence_at(counted.at.index));
        let child = request.child;
        let evaluation = replica
            .evaluator
            .split(request.id.as_u128(), child, counted, tally, through)?;
        let Some((effect, record)) = evaluation else {
            return Ok(None);
        };
        let waiting = replica.push_split(&effect, evaluated, &record);
        self.core.queue.note_opened();
        let enqueue = replica.enqueue();
        // Before anybody can have applied it.
        self.publish(&replica);
        drop(replica);
        if enqueue {
            self.core.queue.push(Arc::clone(self));
        }
        Ok(Some(waiting))
    }

    /// What a read about these keys waits for, once it has read, before it looks again: see [`super::reads`].
    pub(super) fn held(&self, concerns: impl FnOnce(&KeyBytes) -> bool) -> Option<Waiting> {
        self.replica.lock().held(concerns)
    }
}

fn check_epoch(expected: Option<u64>, found: u64) -> Result<(), SplitError> {
    match expected.filter(|expected| *expected != found) {
        Some(expected) => Err(SplitError::StaleEpoch { expected, found }),
        None => Ok(()),
    }
}
