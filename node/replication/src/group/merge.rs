//! A merge, as its callers drive it: by steps at two leaders, each made once for each id, each to be asked for again until it
//! is known what came of it. Nothing here goes on by itself, and nothing is undone by the passing of time.
//!
//! 1. [`Group::freeze`] at the source's leader: it stands still. Asked again, it says which voters do not have the freeze yet;
//!    once all have it, that is in its log.
//! 2. [`Group::merge`] at the absorber's leader: one entry decides. It looks at the source beside it, in the same store: is it
//!    frozen, everywhere, for this absorber, on the same stores, and a neighbour?
//! 3. [`Group::refuse_merge`] at the absorber's leader, to give a merge up: unless it was made, it never will be.
//! 4. [`Group::thaw`] at the source's leader, with what the absorber's log says: only where that is a refusal does the source
//!    go on.

use std::sync::Arc;

use partita_model::request::Refusal;
use partita_partition::descriptor::{GroupId, PartitionDescriptor};
use partita_partition::error::PartitionError;
use partita_partition::merge::{self, Frozen, MergeDone, MergeFault, MergeOutcome, MergeRecord, MergeStep};
use partita_partition::split::Lineage;
use partita_partition::storage::Storage;
use uuid::Uuid;

use super::Group;
use crate::fate::Waiting;
use crate::members::{Members, ReplicaId, Role};
use crate::planted::{self, Bug};
use crate::replica::{Holds, Replica};

/// Which partition is to become part of which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MergeRequest {
    /// The caller's, the same for all steps: who asks again is told what it came to.
    pub id: Uuid,
    /// The group that has the keys of both afterwards.
    pub absorber: GroupId,
    /// Its neighbour, which is gone then.
    pub source: GroupId,
}

/// How a freeze stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freeze {
    /// The source stands still. The merge can be made once that is so `everywhere`.
    pub frozen: Frozen,
    /// Voters that are not known to have the freeze.
    pub lacking: Vec<ReplicaId>,
}

/// Why a step of a merge was not made. Nothing has changed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum MergeError {
    /// Not the leader, or not for long enough. With `UnknownFate` it may still be made: ask again with the same id.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The two do not fit.
    #[error(transparent)]
    Fault(MergeFault),
    /// The members are not what a merge needs.
    #[error("group {:016x} is in the middle of a change of its members, or has learners: finish that, then merge", .0.0)]
    Unsettled(GroupId),
    /// They are on different stores.
    #[error("the groups {:016x} and {:016x} do not have their voters on the same stores: move one of them first", .0.0, .1.0)]
    OtherStores(GroupId, GroupId),
    /// The source has no replica beside the absorber's leader.
    #[error("group {:016x} has no replica in this store", .0.0)]
    NoSource(GroupId),
    /// The source is not frozen, as far as this store knows.
    #[error("group {:016x} does not stand still for this merge (as far as this store knows): freeze it first", .0.0)]
    NotFrozen(GroupId),
    /// The source is frozen, but not everywhere.
    #[error("not every voter of group {:016x} has its freeze (as far as this store knows): ask for the freeze again", .0.0)]
    NotEverywhere(GroupId),
    /// It stands still for another merge.
    #[error("group {:016x} stands still for another merge, {other}: that has to be decided first", .0.0, other = .1)]
    FrozenFor(GroupId, Uuid),
    /// The merge came to nothing, and the source goes on.
    #[error("merge {0} was refused, and its source has gone on: use another id")]
    Thawed(Uuid),
    /// The absorber's log does not say that the merge is refused.
    #[error("merge {0} is not known to be refused by its absorber: only that lets the source go on")]
    NotRefused(Uuid),
}

impl From<MergeFault> for MergeError {
    fn from(fault: MergeFault) -> Self {
        match fault {
            MergeFault::Partition(error) => Self::Refused(error.into_refusal()),
            other => Self::Fault(other),
        }
    }
}

/// Where a step stands.
enum Stage<T> {
    Done(T),
    /// Something else of its kind is on its way: look again after it.
    After(Waiting),
    /// It is on its way itself: look again after it.
    Proposed(Waiting),
}

/// What there is to know of a source, beside its absorber's leader.
struct Beside {
    descriptor: Arc<PartitionDescriptor>,
    frozen: Option<Arc<Frozen>>,
    members: Arc<Members>,
}

impl<S: Storage> Group<S> {
    /// Makes the partition stand still, at its leader, to be absorbed: nothing is evaluated or read here from then on, and its
    /// members stay. Asked again with the same id it says who does not have the freeze yet.
    pub async fn freeze(self: &Arc<Self>, request: MergeRequest) -> Result<Freeze, MergeError> {
        if self.reader.applied().frozen.is_none() {
            self.check_changes().await?;
        }
        loop {
            match self.begin_freeze(&request)? {
                Stage::Done(freeze) => return Ok(freeze),
                Stage::After(waiting) => drop(waiting.await),
                Stage::Proposed(waiting) => waiting.await?,
            }
        }
    }

    /// Whether the change log is short enough to be moved: it is read before anybody has to wait.
    async fn check_changes(&self) -> Result<(), MergeError> {
        let reader = Arc::clone(&self.reader);
        let check = move || merge::check_changes(&reader.storage().pin(), &reader.descriptor());
        Ok(self.core.pool.run(check).await??)
    }

    fn begin_freeze(self: &Arc<Self>, request: &MergeRequest) -> Result<Stage<Freeze>, MergeError> {
        let absorber = self.core.group(request.absorber).map(|group| group.descriptor());
        let mut replica = self.replica.lock();
        if let Some(refusal) = replica.idle_reason() {
            return Err(refusal.into());
        }
        if let Some(waiting) = replica.turning() {
            return Ok(Stage::After(waiting));
        }
        let id = request.id.as_u128();
        let step = match self.reader.applied().frozen {
            Some(frozen) if frozen.id != id => return Err(MergeError::FrozenFor(self.id, Uuid::from_u128(frozen.id))),
            Some(frozen) => {
                let lacking = match planted::has(Bug::FreezeNotEverywhere) {
                    true => Vec::new(),
                    false => replica.lacking(frozen.at.index),
                };
                if frozen.everywhere || !lacking.is_empty() {
                    let frozen = Frozen::clone(&frozen);
                    return Ok(Stage::Done(Freeze { frozen, lacking }));
                }
                MergeStep::Everywhere { id }
            }
            None => {
                self.check_freeze(&replica, request, absorber.as_deref())?;
                let absorber = request.absorber;
                MergeStep::Freeze { id, absorber }
            }
        };
        let holds = match step {
            MergeStep::Freeze { .. } => Holds::All,
            _ => Holds::Nothing,
        };
        self.propose_step(&mut replica, &step, holds).map(Stage::Proposed)
    }

    fn check_freeze(
        &self,
        replica: &Replica<S>,
        request: &MergeRequest,
        absorber: Option<&PartitionDescriptor>,
    ) -> Result<(), MergeError> {
        if let Some(refusal) = replica.refusal() {
            return Err(refusal.into());
        }
        if self.core.space.is_low() {
            return Err(Refusal::OutOfSpace.into());
        }
        if self.lineage_known()?.thawed.contains(&request.id.as_u128()) {
            return Err(MergeError::Thawed(request.id));
        }
        check_settled(self.id, replica.members(), replica.has_unsettled_members())?;
        // Where the absorber is not beside it, or has not come as far, the merge itself says so.
        match absorber {
            Some(absorber) => Ok(merge::check(absorber, &replica.evaluator.descriptor())?),
            None => Ok(()),
        }
    }

    /// Makes this partition and its frozen neighbour one, at this one's leader. Returns when that is applied here. A source
    /// that is no neighbour (any more) is refused for good, which is an answer, too.
    pub async fn merge(self: &Arc<Self>, request: MergeRequest) -> Result<MergeDone, MergeError> {
        loop {
            match self.begin_merge(&request)? {
                Stage::Done(done) => return self.certain(done).await,
                Stage::After(waiting) => drop(waiting.await),
                Stage::Proposed(waiting) => waiting.await?,
            }
        }
    }

    fn begin_merge(self: &Arc<Self>, request: &MergeRequest) -> Result<Stage<MergeDone>, MergeError> {
        // Before this group is locked: no two of them are at once.
        let source = self.core.group(request.source).map(|source| source.beside());
        let mut replica = self.replica.lock();
        if let Some(stage) = self.decided(&replica, request)? {
            return Ok(stage);
        }
        let source = source.ok_or(MergeError::NoSource(request.source))?;
        let (id, absorber) = (request.id.as_u128(), replica.evaluator.descriptor());
        let frozen = self.check_source(request, &source)?;
        check_settled(self.id, replica.members(), replica.has_unsettled_members())?;
        check_settled(request.source, &source.members, false)?;
        if !same_stores(replica.members(), &source.members) {
            return Err(MergeError::OtherStores(self.id, request.source));
        }
        let step = match merge::check(&absorber, &source.descriptor) {
            Ok(()) => MergeStep::Merge(Box::new(MergeRecord {
                id,
                source: PartitionDescriptor::clone(&source.descriptor),
                freeze: frozen.at,
                membership_epoch: replica.members().epoch,
            })),
            // Neither of them will be by itself what was thought of.
            Err(MergeFault::NotNeighbours(..)) => MergeStep::Refuse {
                id,
                source: request.source,
            },
            Err(fault) => return Err(fault.into()),
        };
        self.propose_step(&mut replica, &step, Holds::Writes)
            .map(Stage::Proposed)
    }

    /// Gives a merge up, at the absorber's leader: unless it was made it never will be. Returns what came of it.
    pub async fn refuse_merge(self: &Arc<Self>, request: MergeRequest) -> Result<MergeDone, MergeError> {
        loop {
            match self.begin_refusal(&request)? {
                Stage::Done(done) => return self.certain(done).await,
                Stage::After(waiting) => drop(waiting.await),
                Stage::Proposed(waiting) => waiting.await?,
            }
        }
    }

    fn begin_refusal(self: &Arc<Self>, request: &MergeRequest) -> Result<Stage<MergeDone>, MergeError> {
        let mut replica = self.replica.lock();
        if let Some(stage) = self.decided(&replica, request)? {
            return Ok(stage);
        }
        let (id, source) = (request.id.as_u128(), request.source);
        let step = MergeStep::Refuse { id, source };
        self.propose_step(&mut replica, &step, Holds::Nothing)
            .map(Stage::Proposed)
    }

    /// What was decided of a merge, or is about to be.
    fn decided(&self, replica: &Replica<S>, request: &MergeRequest) -> Result<Option<Stage<MergeDone>>, MergeError> {
        if let Some(refusal) = replica.idle_reason() {
            return Err(refusal.into());
        }
        if let Some(frozen) = self.reader.applied().frozen {
            return Err(MergeError::FrozenFor(self.id, Uuid::from_u128(frozen.id)));
        }
        if let Some(refusal) = replica.refusal() {
            return Err(refusal.into());
        }
        if let Some(waiting) = replica.turning() {
            return Ok(Some(Stage::After(waiting)));
        }
        let lineage = self.lineage_known()?;
        Ok(lineage.merge(request.id.as_u128()).cloned().map(Stage::Done))
    }

    /// Lets the partition go on, at its leader, when the absorber's log says that the merge is refused.
    pub async fn thaw(self: &Arc<Self>, request: MergeRequest, decided: &MergeDone) -> Result<(), MergeError> {
        loop {
            match self.begin_thaw(&request, decided) {
                Err(MergeError::NotFrozen(_)) => {
                    // Not because this replica has not heard of a freeze.
                    self.certain(()).await?;
                    if !self.reader.is_frozen() {
                        return Err(MergeError::NotFrozen(self.id));
                    }
                }
                stage => match stage? {
                    Stage::Done(()) => return Ok(()),
                    Stage::After(waiting) => drop(waiting.await),
                    Stage::Proposed(waiting) => waiting.await?,
                },
            }
        }
    }

    fn begin_thaw(self: &Arc<Self>, request: &MergeRequest, decided: &MergeDone) -> Result<Stage<()>, MergeError> {
        let id = request.id.as_u128();
        let beside = match self.core.group(request.absorber) {
            Some(absorber) => absorber.lineage_known()?.merge(id).cloned(),
            None => None,
        };
        let mut replica = self.replica.lock();
        if let Some(refusal) = replica.idle_reason() {
            return Err(refusal.into());
        }
        if let Some(waiting) = replica.turning() {
            return Ok(Stage::After(waiting));
        }
        if self.lineage_known()?.thawed.contains(&id) {
            return Ok(Stage::Done(()));
        }
        match self.reader.applied().frozen {
            None => return Err(MergeError::NotFrozen(self.id)),
            Some(frozen) if frozen.id != id => return Err(MergeError::FrozenFor(self.id, Uuid::from_u128(frozen.id))),
            Some(_) => {}
        }
        let refused =
            |done: &MergeDone| done.outcome == MergeOutcome::Refused && (done.id, done.source) == (id, self.id);
        let agreed = refused(decided) && beside.as_ref().is_none_or(refused);
        if !agreed && !planted::has(Bug::ThawUnasked) {
            return Err(MergeError::NotRefused(request.id));
        }
        self.propose_step(&mut replica, &MergeStep::Thaw { id }, Holds::Nothing)
            .map(Stage::Proposed)
    }

    fn propose_step(
        self: &Arc<Self>,
        replica: &mut Replica<S>,
        step: &MergeStep,
        holds: Holds,
    ) -> Result<Waiting, MergeError> {
        let effect = replica.evaluator.merge_step(step);
        let effect = effect.map_err(PartitionError::into_refusal)?;
        let waiting = replica.push_merge(&effect, holds);
        self.core.queue.note_opened();
        let enqueue = replica.enqueue();
        // Before anybody can have applied it.
        self.publish(replica);
        if enqueue {
            self.core.queue.push(Arc::clone(self));
        }
        Ok(waiting)
    }

    fn check_source(&self, request: &MergeRequest, source: &Beside) -> Result<Arc<Frozen>, MergeError> {
        let frozen = source.frozen.clone().ok_or(MergeError::NotFrozen(request.source))?;
        if frozen.id != request.id.as_u128() {
            return Err(MergeError::FrozenFor(request.source, Uuid::from_u128(frozen.id)));
        }
        if frozen.absorber != self.id {
            return Err(MergeError::NotFrozen(request.source));
        }
        match frozen.everywhere {
            true => Ok(frozen),
            false => Err(MergeError::NotEverywhere(request.source)),
        }
    }

    fn beside(&self) -> Beside {
        let members = self.members();
        let applied = self.reader.applied();
        Beside {
            descriptor: applied.descriptor,
            frozen: applied.frozen,
            members,
        }
    }

    fn lineage_known(&self) -> Result<Lineage, MergeError> {
        Ok(self.lineage_here().map_err(PartitionError::into_refusal)?)
    }

    /// What was found, once it is certain that this replica leads.
    async fn certain<T>(&self, done: T) -> Result<T, MergeError> {
        let term = self.replica.lock().serving_term();
        if !self.holds(term) {
            Box::pin(self.confirm(term)).await?;
        }
        Ok(done)
    }
}

/// Whether all members are voters, and stay that.
fn check_settled(group: GroupId, members: &Members, changing: bool) -> Result<(), MergeError> {
    let voters = members.members.iter().all(|member| member.role == Role::Voter);
    match voters && !changing && !members.members.is_empty() {
        true => Ok(()),
        false => Err(MergeError::Unsettled(group)),
    }
}

fn same_stores(one: &Members, other: &Members) -> bool {
    let stores = |members: &Members| {
        let mut stores: Vec<Uuid> = members.members.iter().map(|member| member.store).collect();
        stores.sort_unstable();
        stores
    };
    stores(one) == stores(other)
}
