//! From what there is to what is to be done next. Pure: what is observed, the settings and the time are arguments.
//!
//! 1. [`deletion`]: a Table that is being deleted;
//! 2. [`begin`]: a Table that nothing is known of: a new table, or one whose retained data is taken up ([`recover`]);
//! 3. [`target`]: a settled table whose specification has changed gets another target, in its record;
//! 4. [`adopt`]: what splits and merges have made of the partitions;
//! 5. [`nodes`]: storage nodes and Partition resources as they should be; [`retire`]: those that are not needed any more;
//! 6. [`mirror`]: each partition's state, and its group where it is still to be made;
//! 7. [`lost`]: volumes that are gone; [`members`]: groups that should have other replicas; [`growth`]: volumes that are to be larger; [`rolling`]: pods that are
//!    to be made anew;
//! 8. [`steps`]: the next step from what the record intends to what is there; [`leftovers`]: what is left of indexes that are gone;
//! 9. [`repartition`]: more or fewer partitions, where nothing else is under way; [`cut`]: where they are cut;
//! 10. [`frozen`]: merges that were begun come to their end before anything else.
//!
//! A plan is for one pass: whatever it changes is observed before the next.

mod adopt;
mod begin;
mod cut;
mod deletion;
mod frozen;
mod growth;
mod leftovers;
mod lost;
mod members;
mod mirror;
mod moves;
mod nodes;
mod recover;
pub mod repartition;
pub mod retire;
mod rolling;
mod steps;
mod target;

pub use mirror::two_digits;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use partita_crds::names::FINALIZER;
use partita_crds::{Partition, PartitionPhase, PartitionStatus};
use partita_model::partition::GroupId;
use partita_model::table::Status;
use partita_model::table::record::{Circumstances, Record};

use partita_planning::autoscale::MINUTE_MS;

use repartition::Growth;

use super::apply::Outcome;
use super::observe::{Kept, Observed};
use super::scale;
use super::validate::Valid;
use crate::nodes::{Call, NodeName};
use crate::settings::Settings;

/// How soon a table is looked at again whose nodes are busy.
const BUSY: Duration = Duration::from_secs(1);
/// How soon a table is looked at again that waits for nodes to start or to come back: only nodes are asked.
const WAITING: Duration = Duration::from_secs(2);
/// How soon a table is looked at again that waits for a person. What the person does is noticed at once in most cases.
const STALLED: Duration = Duration::from_secs(30);
/// How soon a table is looked at again whose units follow the use.
const FOLLOWING: Duration = Duration::from_millis(MINUTE_MS);

/// The reason of a Table whose name another one has.
const NAME_TAKEN: &str = "NameTaken";

/// What is to be done. Order matters; a refusal by the API server ends the pass.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// From now on the Table's deletion waits for us.
    AddFinalizer,
    /// The Table may go.
    RemoveFinalizer,
    /// Make a resource as it should be.
    ApplyService(Box<Service>),
    /// Likewise.
    ApplyDisruptionBudget(Box<PodDisruptionBudget>),
    /// Likewise.
    ApplyStatefulSet(Box<StatefulSet>),
    /// Likewise.
    ApplyPartition(Box<Partition>),
    /// Make the resource of a partition that serves already, with what is true of it.
    AdoptPartition(Box<Partition>, Mirror),
    /// Mirror what is true of a partition.
    MirrorPartition(Mirror),
    /// Remove a resource.
    DeletePartition(String),
    /// Remove the StatefulSet of this name and uid, and its pods.
    DeleteStatefulSet(String, String),
    /// Likewise.
    DeleteService(String),
    /// Likewise.
    DeleteDisruptionBudget(String),
    /// Remove the claim of this name and uid, and with it its data.
    DeleteClaim(String, String),
    /// Remove the claim of a storage node, if it is the one of this uid: its volume is gone.
    GiveUpClaim(NodeName, String),
    /// Ask for a larger volume.
    GrowClaim(String, Quantity),
    /// Remove the StatefulSet of this name and uid, without its pod.
    ReplaceStatefulSet(String, String),
    /// Replace a storage node's pod, when it is its turn.
    RestartPod {
        /// Which one.
        node: NodeName,
        /// The pod's uid.
        uid: String,
        /// It serves, and somebody will notice: it waits for its turn.
        serves: bool,
    },
    /// Tell a storage node something.
    Tell(NodeName, Call),
    /// Make two groups one, or let both go on.
    Merge(Box<MergeOrder>),
}

/// Two groups that are to be one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergeOrder {
    /// The one that stays.
    pub absorber: GroupId,
    /// Where it is led.
    pub absorber_node: NodeName,
    /// The one that goes.
    pub source: GroupId,
    /// Where that is led.
    pub source_node: NodeName,
    /// The merge's UUID.
    pub id: String,
    /// Why it is given up; `None` where it is to be made.
    pub given_up: Option<String>,
}

/// What is true of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// The Partition.
    pub name: String,
    /// The version that this follows.
    pub version: Option<String>,
    /// Its status.
    pub status: PartitionStatus,
    /// Its items count for the table (an index's do not).
    pub of_table: bool,
    /// The table is not ready without it (an index that is being built can do without).
    pub needed: bool,
    /// It was seen otherwise, and is looked at once more before that is believed.
    pub doubtful: bool,
}

impl Mirror {
    /// Whether it serves.
    pub fn is_ready(&self) -> bool {
        self.status.phase == PartitionPhase::Ready
    }

    /// Whether all its replicas are there.
    pub fn is_whole(&self) -> bool {
        is_whole(&self.status)
    }
}

/// Whether a partition serves with all its replicas.
fn is_whole(status: &PartitionStatus) -> bool {
    let counted = status.replicas.as_ref().and_then(|replicas| replicas.split_once('/'));
    status.phase == PartitionPhase::Ready && counted.is_none_or(|(there, wanted)| there == wanted)
}

/// What is noted in the record once every action has been done (and every job is finished).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The table can be used.
    Created,
    /// The partitions know the schema.
    Applied,
    /// An index is gone.
    IndexRemoved(String),
    /// An index is complete.
    IndexBuilt(String),
    /// Expiry rows have been made (or dropped).
    TimeToLiveSwitched(bool),
}

impl Note {
    /// Notes it.
    pub fn take(&self, record: &mut Record) {
        match self {
            Self::Created => record.created(),
            Self::Applied => record.applied(),
            Self::IndexRemoved(name) => record.index_removed(name),
            Self::IndexBuilt(name) => record.index_built(name),
            Self::TimeToLiveSwitched(on) => record.time_to_live_switched(*on),
        }
    }
}

/// Why a person has to do something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The conditions' reason.
    pub reason: &'static str,
    /// What is the matter, and what to do.
    pub message: String,
    /// The table may serve all the same, and `Ready` says whether it does.
    pub serves: bool,
}

impl Problem {
    /// A problem with the specification: the table is not as declared, and will not be.
    pub fn stalled(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            serves: false,
        }
    }

    /// Something that is held back on purpose.
    pub fn held(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            serves: true,
            ..Self::stalled(reason, message)
        }
    }
}

/// What a pass does.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// In this order.
    pub actions: Vec<Action>,
    /// The record as it is to be kept, before `note`.
    pub record: Option<Record>,
    /// What is noted in it when everything was done.
    pub note: Option<Note>,
    /// What is true of the partitions.
    pub mirrors: Vec<Mirror>,
    /// What a person has to do.
    pub problem: Option<Problem>,
    /// What is waited for.
    pub waiting: Option<String>,
    /// What goes on beside everything else: a reason and words.
    pub beside: Option<(&'static str, String)>,
    /// Something that people should hear of: an event's reason and words.
    pub news: Option<(&'static str, String)>,
    /// What was decided about the table, and why: kept in its status.
    pub decisions: Vec<(&'static str, String)>,
    /// Its units follow the use: it is looked at every minute.
    pub follows: bool,
    /// What is remembered of its partitions; `None`: as before.
    pub growth: Option<Growth>,
    /// Something came first, and not everything was looked at.
    pub partial: bool,
    /// Nothing is to be said about it: the next pass follows from what was written.
    pub quiet: bool,
}

impl Plan {
    /// Whether something is to be looked at once more before it is believed.
    pub fn is_doubtful(&self) -> bool {
        self.mirrors.iter().any(|mirror| mirror.doubtful)
    }

    /// Partitions that should serve and do not.
    pub fn partitions_away(&self) -> usize {
        let away = |mirror: &&Mirror| mirror.needed && !mirror.is_ready();
        self.mirrors.iter().filter(away).count()
    }

    fn only(action: Action) -> Self {
        Self {
            actions: vec![action],
            quiet: true,
            ..Self::default()
        }
    }

    fn problem(record: Option<Record>, problem: Problem) -> Self {
        Self {
            record,
            problem: Some(problem),
            ..Self::default()
        }
    }

    /// The other Table of this name may go any moment, and nobody tells.
    fn named_twice(&self) -> bool {
        self.problem
            .as_ref()
            .is_some_and(|problem| problem.reason == NAME_TAKEN)
    }

    /// Something was told to nodes, and what comes of it is seen by asking them.
    fn tells(&self) -> bool {
        let told = |action: &Action| matches!(action, Action::Tell(..) | Action::Merge(_));
        self.actions.iter().any(told)
    }

    /// When the table is looked at again, unless something happens before.
    pub fn look_again(&self, outcome: &Outcome, settings: &Settings, now_ms: u64) -> Duration {
        let due = self.growth.as_ref().and_then(|growth| growth.due_in(now_ms));
        let by_itself = self.unless_due(outcome, settings.measure_every);
        due.map_or(by_itself, |due| due.clamp(BUSY, by_itself.max(BUSY)))
    }

    fn unless_due(&self, outcome: &Outcome, measure_every: Duration) -> Duration {
        let unwell = self.mirrors.iter().any(|mirror| !mirror.is_whole() || mirror.doubtful);
        if outcome.refused_by_api.is_some() || outcome.growth_refused.is_some() {
            STALLED
        } else if self.note.is_some() || outcome.refused_by_node.is_some() || self.tells() {
            BUSY
        } else if self.waiting.is_some()
            || self.beside.is_some()
            || self.named_twice()
            || unwell
            || !self.actions.is_empty()
        {
            WAITING
        } else if self.problem.is_some() {
            STALLED
        } else if self.follows {
            FOLLOWING.min(measure_every)
        } else {
            measure_every
        }
    }
}

/// Plans a pass.
pub fn plan(
    observed: &Observed,
    valid: &Result<Valid, Problem>,
    settings: &Settings,
    growth: &Growth,
    now_ms: u64,
) -> Plan {
    let mut plan = otherwise(observed, valid, settings, growth, now_ms);
    if !plan.quiet {
        frozen::plan(&mut plan, observed, growth, now_ms);
    }
    plan
}

/// What is to be done where no merge has begun.
fn otherwise(
    observed: &Observed,
    valid: &Result<Valid, Problem>,
    settings: &Settings,
    growth: &Growth,
    now_ms: u64,
) -> Plan {
    if !has_finalizer(observed) {
        return match observed.table.metadata.deletion_timestamp {
            None => Plan::only(Action::AddFinalizer),
            // It goes, and none can be added any more.
            Some(_) => Plan {
                quiet: true,
                ..Plan::default()
            },
        };
    }
    if observed.deleting() {
        return deletion::plan(observed);
    }
    let held = deletion::held(observed);
    if observed.table.spec.paused {
        return paused(observed, growth, held);
    }
    let going_on = going_on(observed, valid, settings, growth, now_ms, held.as_ref());
    Plan {
        problem: going_on.problem.or(held),
        ..going_on
    }
}

/// A Table that is to be there.
fn going_on(
    observed: &Observed,
    valid: &Result<Valid, Problem>,
    settings: &Settings,
    growth: &Growth,
    now_ms: u64,
    held: Option<&Problem>,
) -> Plan {
    let at = Circumstances {
        now_ms,
        partitions: settings.planning.limits.partitions(),
    };
    if let Some(rival) = &observed.rival {
        let message = format!(
            "spec.tableName: the Table {rival} of this namespace has the name {} already; delete one of the two",
            observed.table.spec.table_name
        );
        return Plan::problem(observed.record().cloned(), Problem::stalled(NAME_TAKEN, message));
    }
    match &observed.kept {
        Kept::Unreadable(reason) => Plan::problem(
            None,
            Problem::stalled(
                "StateUnreadable",
                format!(
                    "status.state cannot be read ({reason}); run the version of the operator that wrote it, or a newer one"
                ),
            ),
        ),
        Kept::Nothing => match valid {
            // It was deleted before it began.
            _ if held.is_some() => Plan::default(),
            Ok(valid) => begin::plan(observed, valid, settings, at),
            Err(problem) => Plan::problem(None, problem.clone()),
        },
        Kept::Record(record) => keep(observed, record, valid, settings, growth, at),
    }
}

/// A table that is there (or on its way).
fn keep(
    observed: &Observed,
    record: &Record,
    valid: &Result<Valid, Problem>,
    settings: &Settings,
    growth: &Growth,
    at: Circumstances,
) -> Plan {
    if observed.uncovered.is_some() {
        return Plan {
            mirrors: mirror::known(observed, record),
            ..recover::partitions(observed, record, settings, at)
        };
    }
    let mut problem = match target::plan(record, valid, at) {
        Ok(Some(changed)) => {
            return Plan {
                mirrors: mirror::known(observed, record),
                partial: true,
                ..changed
            };
        }
        Ok(None) => None,
        Err(problem) => Some(problem),
    };
    if let Some(adopted) = adopt::plan(observed, record) {
        return Plan {
            problem,
            partial: true,
            ..adopted
        };
    }
    let mut standstills = growth.standstills.clone();
    standstills.note(observed, &observed.pieces(record), at.now_ms);
    let halted = |group| standstills.are_over(group, at.now_ms);
    let nodes = nodes::plan(observed, record, settings, &halted);
    let seen = mirror::plan(observed, record, &nodes.changed(), growth.heats());
    problem = problem.or(seen.lost);
    let steps = steps::plan(observed, record, &seen.missing);
    let members = members::plan(observed, record, &seen.missing);
    let (volumes, lost, rolling) = (
        growth::plan(observed),
        lost::plan(observed, record),
        rolling::plan(observed, record),
    );
    let retirement = retire::plan(observed, record);
    let still = nodes.actions.is_empty() && nodes.waiting.is_none() && seen.missing.is_empty() && steps.is_done();
    let repartition = repartition::plan(observed, record, settings, growth, at.now_ms, still);
    let mut remembered = repartition.growth;
    remembered.standstills = standstills;
    let mut actions = volumes.actions;
    actions.extend(nodes.actions);
    actions.extend(seen.actions);
    actions.extend(lost.actions);
    actions.extend(members.actions);
    actions.extend(leftovers::plan(observed, record));
    actions.extend(rolling.actions);
    actions.extend(repartition.actions);
    actions.extend(retirement.actions);
    let beside = volumes.waiting.map(|words| ("GrowingVolumes", words));
    let beside = beside.or(lost.waiting.map(|words| ("VolumeLost", words)));
    let moving = repartition.waiting.as_ref().filter(|_| members.moves);
    let beside = beside.or(moving.map(|words| ("Repartitioning", words.clone())));
    let beside = beside.or(members.waiting.map(|words| ("ChangingReplicas", words)));
    let beside = beside.or(repartition
        .waiting
        .or(retirement.waiting)
        .map(|words| ("Repartitioning", words)));
    let beside = beside.or(rolling.waiting.map(|words| ("RollingUpdate", words)));
    let waiting = nodes.waiting.or(steps.waiting);
    if waiting.is_none() {
        actions.extend(steps.actions);
    }
    Plan {
        actions,
        record: Some(record.clone()),
        note: steps.note.filter(|_| waiting.is_none()),
        mirrors: seen.mirrors,
        problem,
        waiting,
        beside,
        news: lost.news.or(news(&repartition.decisions)),
        decisions: repartition.decisions,
        growth: Some(remembered),
        follows: scale::follows(&observed.table),
        ..Plan::default()
    }
}

/// All that was decided is one event.
fn news(decisions: &[(&'static str, String)]) -> Option<(&'static str, String)> {
    let (reason, _) = decisions.first()?;
    let words: Vec<&str> = decisions.iter().map(|(_, words)| words.as_str()).collect();
    Some((reason, words.join("; ")))
}

/// Nothing is changed, and what is true of the partitions is told all the same.
fn paused(observed: &Observed, growth: &Growth, held: Option<Problem>) -> Plan {
    let message = "spec.paused: nothing is changed while it is true";
    let paused = Plan::problem(
        observed.record().cloned(),
        held.unwrap_or_else(|| Problem::held("Paused", message)),
    );
    let Some(record) = observed.record() else {
        return paused;
    };
    if observed.uncovered.is_some() || record.status == Status::Creating {
        return Plan {
            mirrors: mirror::known(observed, record),
            ..paused
        };
    }
    let seen = mirror::plan(observed, record, &BTreeSet::new(), growth.heats());
    let told = |action: &Action| matches!(action, Action::MirrorPartition(_));
    Plan {
        actions: seen.actions.into_iter().filter(told).collect(),
        mirrors: seen.mirrors,
        problem: seen.lost.or(paused.problem),
        ..paused
    }
}

fn has_finalizer(observed: &Observed) -> bool {
    let finalizers = observed.table.metadata.finalizers.iter().flatten();
    finalizers.into_iter().any(|finalizer| finalizer == FINALIZER)
}
