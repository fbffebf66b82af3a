//! The operator of the simulated world: it moves replicas between machines, one step after the other, and repeats a step
//! under the same id until it knows what came of it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use partita_model::request::Refusal;
use partita_partition::descriptor::{GroupId, PartitionDescriptor};
use partita_partition::split::{SplitAt, SplitDone};
use partita_partition::storage::memory::MemoryStorage;
use partita_replication::members::{Changed, Members, Role};
use partita_replication::{Group, MemberChange, MembershipError, SplitError, SplitRequest};
use rand::Rng as _;
use uuid::Uuid;

use crate::client::KEYS;
use crate::faults::transfer;
use crate::machine::uuid_of;
use crate::table::{has, key_bytes};
use crate::world::World;

type Running = Pin<Box<dyn Future<Output = Result<Changed, MembershipError>>>>;
type Splitting = Pin<Box<dyn Future<Output = Result<SplitDone, SplitError>>>>;

/// Splits of one run, at most.
const SPLITS_MAX: u64 = 6;
/// Groups that are split off have numbers from here on.
const CHILDREN_FROM: u64 = 100;
/// Ids of splits: so large that they are recognized where they stand in entries.
const SPLIT_IDS_FROM: u128 = 0x5911_7000 << 96;

pub struct Operator {
    /// The group whose replicas it moves.
    pub group: GroupId,
    pub voters: usize,
    pub handing_over: u32,
    ids: u128,
    /// The id and change that are being made, and the machine that makes them.
    change: Option<(Uuid, MemberChange)>,
    running: Option<(usize, Running)>,
    /// The split that is being made, and the machine that makes it.
    split: Option<SplitRequest>,
    splitting: Option<(usize, Splitting)>,
    pub changes: u64,
    pub splits: u64,
}

async fn split(group: Arc<Group<MemoryStorage>>, request: SplitRequest) -> Result<SplitDone, SplitError> {
    group.split(request).await
}

async fn change(group: Arc<Group<MemoryStorage>>, id: Uuid, change: MemberChange) -> Result<Changed, MembershipError> {
    group.change_members(id, change).await
}

impl Operator {
    /// Of a hundred times so often it asks the leader to hand over.
    pub fn new(group: GroupId, voters: usize, handing_over: u32) -> Self {
        Self {
            group,
            voters,
            handing_over,
            ids: 0,
            change: None,
            running: None,
            split: None,
            splitting: None,
            changes: 0,
            splits: 0,
        }
    }

    /// A machine has died: what was asked there is not answered.
    pub fn forget(&mut self, machine: usize) {
        if self.running.as_ref().is_some_and(|running| running.0 == machine) {
            self.running = None;
        }
        if self.splitting.as_ref().is_some_and(|splitting| splitting.0 == machine) {
            self.splitting = None;
        }
    }

    pub fn step(&mut self, world: &mut World) {
        self.admit_and_destroy(world);
        self.split(world);
        if let Some((machine, running)) = &mut self.running {
            let machine = *machine;
            let mut context = Context::from_waker(Waker::noop());
            if let Poll::Ready(result) = running.as_mut().poll(&mut context) {
                self.running = None;
                match result {
                    Ok(_) => {
                        self.changes += 1;
                        self.change = None;
                    }
                    Err(MembershipError::Refused(_) | MembershipError::Busy) => {}
                    Err(_) => self.change = None,
                }
            }
            world.after(machine);
            return;
        }
        let Some(leader) = world
            .leader(self.group)
            .filter(|leader| world.machines[*leader].stopped_until <= world.now)
        else {
            return;
        };
        let Some(group) = world.machines[leader].group(self.group) else {
            return;
        };
        let still = world.plot.as_ref().is_some_and(|plot| plot.keeps_still(self.group));
        if !world.healing && !still && world.random.random_ratio(self.handing_over, 100) {
            transfer(world, self.group);
        }
        if self.change.is_none() && !still && !world.is_ending() {
            self.change = self.plan(world, &group);
            if let Some((_, MemberChange::Replace { remove, .. })) = self.change {
                let goes = group
                    .members()
                    .member(remove)
                    .and_then(|member| world.place(member.store));
                world.with_faults(|faults, world| faults.plot_change(world, self.group, goes));
            }
        }
        if let Some((id, wanted)) = self.change {
            self.running = Some((leader, Box::pin(change(group, id, wanted))));
        }
    }

    /// Cuts the partition from time to time; asks with the same id until it is known what came of it.
    fn split(&mut self, world: &mut World) {
        if let Some((machine, splitting)) = &mut self.splitting {
            let machine = *machine;
            let mut context = Context::from_waker(Waker::noop());
            if let Poll::Ready(result) = splitting.as_mut().poll(&mut context) {
                self.splitting = None;
                match result {
                    Ok(done) => {
                        assert_eq!(self.split.take().map(|split| split.child), Some(done.child));
                        self.splits += 1;
                    }
                    Err(SplitError::Refused(_) | SplitError::Busy) => {}
                    Err(SplitError::Fault(_)) => self.split = None,
                    // It expects no epoch.
                    Err(error @ (SplitError::Used(_) | SplitError::StaleEpoch { .. })) => panic!("{error}"),
                }
            }
            world.after(machine);
            return;
        }
        let awake = |leader: &usize| world.machines[*leader].stopped_until <= world.now;
        let Some(leader) = world.leader(self.group).filter(awake) else {
            return;
        };
        let Some(group) = world.machines[leader].group(self.group) else {
            return;
        };
        if self.split.is_none() && !world.healing && world.splits < SPLITS_MAX && world.random.random_ratio(1, 12) {
            world.splits += 1;
            self.split = Some(SplitRequest {
                id: Uuid::from_u128(SPLIT_IDS_FROM + u128::from(world.splits)),
                at: place(world, &group.descriptor()),
                child: GroupId(CHILDREN_FROM + world.splits),
            });
            if let Some(request) = &self.split {
                world.with_faults(|faults, world| faults.plot_split(world, self.group, request));
            }
        }
        let delayed = world.plot.as_ref().is_some_and(|plot| plot.delays(self.group));
        if let Some(request) = self.split.clone().filter(|_| !delayed) {
            world.with_faults(|faults, world| faults.at_border(world, leader));
            self.splitting = Some((leader, Box::pin(split(group, request))));
        }
    }

    /// What would be next: a learner takes a voter's place, or joins them, or goes; or a new learner comes.
    fn plan(&mut self, world: &mut World, group: &Arc<Group<MemoryStorage>>) -> Option<(Uuid, MemberChange)> {
        let members = group.members();
        if members.is_joint() {
            return None;
        }
        if let Some((absorber, source)) = world.merger.pair()
            && world.random.random_ratio(9, 10)
        {
            // The absorber moves to where the source is, which stays.
            let wanted = world.stores_of(source);
            if self.group == source || self.group == absorber && !wanted.is_empty() {
                return self.align(world, &members, &wanted);
            }
        }
        let voters = members.voting()[0].clone();
        let learner = members.members.iter().find(|member| member.role == Role::Learner);
        let victim = voters[world.random.random_range(0..voters.len())];
        let wants_learner = world.plot.as_ref().is_some_and(|plot| plot.wants_learner(self.group));
        let change = match learner {
            Some(learner) => match world.random.random_range(0..10) {
                0 => MemberChange::Remove {
                    replica: learner.replica,
                },
                1..4 if voters.len() <= self.voters => MemberChange::Promote {
                    replica: learner.replica,
                },
                _ => MemberChange::Replace {
                    add: learner.replica,
                    remove: victim,
                },
            },
            None if voters.len() > self.voters => MemberChange::Remove { replica: victim },
            None if world.healing => return None,
            None if wants_learner || world.random.random_ratio(1, 4) => {
                let free = (0..world.machines.len()).map(uuid_of);
                let store = free.into_iter().find(|store| members.on_store(*store).is_none())?;
                MemberChange::AddLearner { store }
            }
            None => return None,
        };
        self.ids += 1;
        Some((Uuid::from_u128(self.ids), change))
    }

    /// One step towards having voters on these stores and nowhere else.
    fn align(&mut self, world: &mut World, members: &Members, wanted: &[Uuid]) -> Option<(Uuid, MemberChange)> {
        let voters = || members.members.iter().filter(|member| member.role == Role::Voter);
        let extra = voters().find(|voter| !wanted.contains(&voter.store));
        let learner = members.members.iter().find(|member| member.role == Role::Learner);
        let change = match (learner, extra) {
            (Some(learner), Some(extra)) if wanted.contains(&learner.store) => MemberChange::Replace {
                add: learner.replica,
                remove: extra.replica,
            },
            (Some(learner), None) if wanted.contains(&learner.store) => MemberChange::Promote {
                replica: learner.replica,
            },
            (Some(learner), _) => MemberChange::Remove {
                replica: learner.replica,
            },
            (None, extra) => match (wanted.iter().find(|store| members.on_store(**store).is_none()), extra) {
                (Some(store), _) => MemberChange::AddLearner { store: *store },
                (None, Some(extra)) => MemberChange::Remove { replica: extra.replica },
                (None, None) => return None,
            },
        };
        if let MemberChange::Replace { remove, .. } | MemberChange::Remove { replica: remove } = change
            && let Some(leader) = world.leader(self.group)
            && members
                .member(remove)
                .is_some_and(|member| member.store == uuid_of(leader))
        {
            transfer(world, self.group);
            return None;
        }
        self.ids += 1;
        Some((Uuid::from_u128(self.ids), change))
    }

    /// Stores make room for learners, and let go of replicas that are not members any more.
    fn admit_and_destroy(&mut self, world: &mut World) {
        let Some(leader) = world.leader(self.group) else { return };
        let Some(group) = world.machines[leader].group(self.group) else {
            return;
        };
        let (members, stats) = (group.members(), group.stats());
        let plotted = world.plot.as_ref().and_then(|plot| plot.admits(self.group));
        for number in 0..world.machines.len() {
            let machine = &world.machines[number];
            let Some(store) = machine.store.clone().filter(|_| machine.stopped_until <= world.now) else {
                continue;
            };
            let member = members.on_store(machine.uuid).copied();
            let here = store.group(self.group).map(|group| group.stats().replica);
            let settled = stats.serving > 0 && !members.is_joint();
            match (member, here) {
                (Some(member), None)
                    if plotted
                        .unwrap_or_else(|| world.random.random_ratio(world.habits.admitting, 10) || world.healing) =>
                {
                    let descriptor = PartitionDescriptor::clone(&group.descriptor());
                    drop(store.admit(descriptor, member.replica));
                }
                // What was removed has a lower number than those who replaced it: a newer one is not known here yet.
                (member, Some(here))
                    if settled && here < members.next_replica && member.is_none_or(|member| member.replica != here) =>
                {
                    world.release(number);
                    // Its disk may fail on the way.
                    let destroyed = store.destroy(self.group);
                    assert!(matches!(destroyed, Ok(()) | Err(Refusal::Stopping)));
                }
                _ => {}
            }
            world.after(number);
        }
    }
}

/// Where a partition is to be cut: in its middle, or at one of the clients' keys, or between two of them.
fn place(world: &mut World, descriptor: &PartitionDescriptor) -> SplitAt {
    let keys: Vec<_> = (0..KEYS).filter(|key| has(descriptor, *key)).collect();
    if keys.is_empty() || world.random.random_ratio(1, 4) {
        return SplitAt::Middle;
    }
    let key = key_bytes(keys[world.random.random_range(0..keys.len())]);
    SplitAt::Key(if world.random.random_ratio(1, 2) {
        key
    } else {
        key.successor()
    })
}
