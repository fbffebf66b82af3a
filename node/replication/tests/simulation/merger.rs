//! Who merges partitions while everything goes on: it picks neighbours, and drives a merge from step to step. Each step is
//! asked for under the same id until it is known what came of it; sometimes the whole is given up, and sometimes somebody
//! claims that it has been.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use partita_model::request::Refusal;
use partita_partition::descriptor::{GroupId, LogPosition};
use partita_partition::merge::{MergeDone, MergeOutcome};
use partita_partition::storage::memory::MemoryStorage;
use partita_replication::{Group, MergeError, MergeRequest};
use rand::Rng as _;
use uuid::Uuid;

use crate::world::{SECOND, World};

/// Ids of merges: so large that they are recognized where they stand in entries.
const MERGE_IDS_FROM: u128 = 0x3E16_E000 << 96;

type Running = Pin<Box<dyn Future<Output = Result<Answer, MergeError>>>>;

/// What a step is answered.
enum Answer {
    /// Whether the source is frozen everywhere.
    Frozen(bool),
    Decided(MergeDone),
    Thawed,
    /// Something that is not a step.
    Claimed,
}

/// What is to be asked next.
#[derive(Clone)]
enum Step {
    Freeze,
    Merge,
    Refuse,
    Thaw(MergeDone),
    /// Somebody wants the source to go on, who has no refusal to show.
    Claim,
}

#[derive(Default)]
pub struct Merger {
    pub request: Option<MergeRequest>,
    step: Option<Step>,
    running: Option<(usize, Running)>,
    /// When it loses patience.
    until: u64,
    ids: u128,
    pub merged: u64,
    pub refused: u64,
}

async fn ask(group: Arc<Group<MemoryStorage>>, request: MergeRequest, step: Step) -> Result<Answer, MergeError> {
    Ok(match step {
        Step::Freeze => Answer::Frozen(group.freeze(request).await?.frozen.everywhere),
        Step::Merge => Answer::Decided(group.merge(request).await?),
        Step::Refuse => Answer::Decided(group.refuse_merge(request).await?),
        Step::Thaw(done) => {
            group.thaw(request, &done).await?;
            Answer::Thawed
        }
        Step::Claim => {
            let outcome = MergeOutcome::Merged {
                freeze: LogPosition::default(),
                range_epoch: 0,
            };
            let (id, source) = (request.id.as_u128(), request.source);
            group.thaw(request, &MergeDone { id, source, outcome }).await?;
            Answer::Claimed
        }
    })
}

impl Merger {
    /// A machine has died: what was asked there is not answered.
    pub fn forget(&mut self, machine: usize) {
        self.running.take_if(|running| running.0 == machine);
    }

    /// The groups that are to share stores.
    pub fn pair(&self) -> Option<(GroupId, GroupId)> {
        self.request.map(|request| (request.absorber, request.source))
    }

    pub fn step(&mut self, world: &mut World) {
        destroy_leftovers(world);
        if let Some((machine, running)) = &mut self.running {
            let machine = *machine;
            if let Some(request) = self.request
                && world.plot.as_ref().is_some_and(|plot| plot.crowds(request.source))
            {
                world.crowd();
            }
            let mut context = Context::from_waker(Waker::noop());
            if let Poll::Ready(answer) = running.as_mut().poll(&mut context) {
                self.running = None;
                self.answered(world, answer);
            }
            world.after(machine);
            return;
        }
        if self.request.is_none() && !world.healing && world.random.random_ratio(1, 8) {
            self.pick(world);
        }
        let (Some(request), Some(step)) = (self.request, self.next(world)) else {
            return;
        };
        let group = match step {
            Step::Freeze | Step::Thaw(_) | Step::Claim => request.source,
            Step::Merge | Step::Refuse => request.absorber,
        };
        let awake = |leader: &usize| world.machines[*leader].stopped_until <= world.now;
        let Some(leader) = world.raft_leader(group).filter(awake) else {
            return;
        };
        if let Some(group) = world.machines[leader].group(group) {
            if matches!(step, Step::Freeze) {
                // Whoever looks finds what is being merged.
                world.merger.request = self.request;
                world.with_faults(|faults, world| faults.plot_freeze(world, &request));
                if world.plot.as_ref().is_some_and(|plot| plot.delays(request.source)) {
                    return;
                }
            }
            if matches!(step, Step::Freeze | Step::Merge) {
                world.with_faults(|faults, world| faults.at_border(world, leader));
            }
            self.running = Some((leader, Box::pin(ask(group, request, step))));
        }
    }

    fn next(&mut self, world: &mut World) -> Option<Step> {
        let undecided = matches!(self.step, Some(Step::Freeze | Step::Merge));
        if undecided && (world.now >= self.until || world.random.random_ratio(1, 100)) {
            self.step = Some(Step::Refuse);
        }
        match undecided && world.random.random_ratio(1, 20) {
            true => Some(Step::Claim),
            false => self.step.clone(),
        }
    }

    /// Two neighbours of a table.
    fn pick(&mut self, world: &mut World) {
        let groups = world.groups();
        let descriptor = |group: &GroupId| {
            let leader = world.leader(*group)?;
            Some(world.machines[leader].group(*group)?.descriptor())
        };
        let known: Vec<_> = groups.iter().filter_map(descriptor).collect();
        let mut pairs = Vec::new();
        for one in &known {
            for other in known.iter().filter(|other| other.table == one.table) {
                if one.end.as_ref() == Some(&other.start) {
                    pairs.extend([(one.group, other.group), (other.group, one.group)]);
                }
            }
        }
        if pairs.is_empty() {
            return;
        }
        let (absorber, source) = pairs[world.random.random_range(0..pairs.len())];
        self.ids += 1;
        let id = Uuid::from_u128(MERGE_IDS_FROM + self.ids);
        self.request = Some(MergeRequest { id, absorber, source });
        self.step = Some(Step::Freeze);
        self.until = world.now + world.random.random_range(SECOND..8 * SECOND);
    }

    fn answered(&mut self, world: &mut World, answer: Result<Answer, MergeError>) {
        let Some(request) = self.request else { return };
        match answer {
            Ok(Answer::Frozen(false) | Answer::Claimed) => {}
            Ok(Answer::Frozen(true)) => self.step = Some(Step::Merge),
            Ok(Answer::Decided(done)) => match done.outcome {
                MergeOutcome::Merged { .. } => {
                    self.merged += 1;
                    world.absorbed.insert(request.source, request.absorber);
                    self.end();
                }
                MergeOutcome::Refused => self.step = Some(Step::Thaw(done)),
            },
            Ok(Answer::Thawed) => {
                self.refused += 1;
                self.end();
            }
            // Not known, or not yet: the same again.
            Err(MergeError::Refused(_) | MergeError::NotRefused(_) | MergeError::NoSource(_)) => {}
            Err(MergeError::NotEverywhere(_) | MergeError::Unsettled(_) | MergeError::OtherStores(..)) => {}
            Err(MergeError::NotFrozen(_)) => {
                if matches!(self.step, Some(Step::Thaw(_))) {
                    // It was given up before it began.
                    self.end();
                }
            }
            Err(MergeError::Fault(_)) => self.step = Some(Step::Refuse),
            Err(error @ (MergeError::FrozenFor(..) | MergeError::Thawed(_))) => panic!("{error}"),
        }
    }

    fn end(&mut self) {
        self.request = None;
        self.step = None;
    }
}

/// What is left of an absorbed group on a machine that has nothing to do with its absorber any more.
fn destroy_leftovers(world: &mut World) {
    for (source, absorber) in world.absorbed.clone() {
        for number in 0..world.machines.len() {
            let machine = &world.machines[number];
            let Some(store) = machine.store.clone().filter(|_| machine.stopped_until <= world.now) else {
                continue;
            };
            if store.group(source).is_some() && store.group(absorber).is_none() {
                world.release(number);
                // Its disk may fail on the way.
                let destroyed = store.destroy(source);
                assert!(matches!(destroyed, Ok(()) | Err(Refusal::Stopping)));
                world.after(number);
            }
        }
    }
}
