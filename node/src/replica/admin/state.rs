//! What the admin API says of the store and its groups.

use partita_model::admin::{
    Ancestor, Frozen, GroupState, Lineage, Load, MemberRole, MemberState, MergeDone, MergeOutcome, ReplicationState,
    SplitDone, StoreAddress, StoreState, VolumeState,
};
use partita_model::capacity::UnitKind;
use partita_model::partition::PartitionDescriptor;
use partita_partition::{merge, split};
use partita_replication::Group;
use partita_replication::members::{Member, Role};
use partita_replication::stats::GroupStats;

use uuid::Uuid;

use crate::replica::node::Node;
use crate::serving;

/// The store, with all its groups.
pub fn store(node: &Node) -> StoreState {
    let own = node.identity.store.as_ref();
    StoreState {
        uuid: node.store.uuid().to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        cluster: node.identity.cluster.clone(),
        address: own.map(|own| own.address.clone()).unwrap_or_default(),
        draining: node.drain.is_on(),
        volume: node.store.volume().map(|volume| VolumeState {
            total_bytes: volume.total_bytes,
            free_bytes: volume.free_bytes,
        }),
        groups: node.store.groups().iter().map(|one| group(node, one)).collect(),
    }
}

/// A group as this replica sees it.
pub fn group(node: &Node, group: &Group) -> GroupState {
    let stats = group.stats();
    // What cannot be read now is not known to be flushed.
    let flushed = group.flushed().map_or(0, |at| at.index);
    let descriptor = PartitionDescriptor::clone(&group.descriptor());
    GroupState {
        leader: stats.leader,
        term: stats.term,
        applied: stats.applied.index,
        sizes: serving::sizes(group),
        load: Load {
            requests: node.usage.requests(group.id()),
            read_half_units: node.admission.used_half_units(group.id(), UnitKind::Read),
            write_half_units: node.admission.used_half_units(group.id(), UnitKind::Write),
            index_half_units: node.admission.index_half_units(group.id()),
            delivered_half_units: node.admission.delivered_half_units(group.id()),
            reads: node.admission.spread(&descriptor, UnitKind::Read),
            writes: node.admission.spread(&descriptor, UnitKind::Write),
        },
        descriptor,
        replication: ReplicationState {
            replica: stats.replica,
            leader: (stats.leads != 0).then_some(stats.leads),
            membership_epoch: stats.members.epoch,
            joint: stats.members.is_joint(),
            members: members(node, &stats),
            committed: stats.committed,
            flushed,
            in_flight: stats.in_flight,
            resting: stats.resting,
        },
        // What cannot be read now is not known.
        lineage: Lineage {
            frozen: stats.frozen.as_deref().map(frozen),
            ..group.lineage_here().map(lineage).unwrap_or_default()
        },
    }
}

fn lineage(known: split::Lineage) -> Lineage {
    let ancestor = |(group, until_epoch)| Ancestor { group, until_epoch };
    Lineage {
        ancestors: known.ancestors.into_iter().map(ancestor).collect(),
        splits: known.splits.into_iter().map(split_done).collect(),
        merges: known.merges.iter().map(merge_done).collect(),
        frozen: None,
    }
}

/// A partition that stands still.
pub fn frozen(known: &merge::Frozen) -> Frozen {
    Frozen {
        id: Uuid::from_u128(known.id).to_string(),
        absorber: known.absorber,
        everywhere: known.everywhere,
    }
}

/// A merge that was decided.
pub fn merge_done(done: &merge::MergeDone) -> MergeDone {
    MergeDone {
        id: Uuid::from_u128(done.id).to_string(),
        source: done.source,
        outcome: match done.outcome {
            merge::MergeOutcome::Merged { range_epoch, .. } => MergeOutcome::Merged { range_epoch },
            merge::MergeOutcome::Refused => MergeOutcome::Refused,
        },
    }
}

/// A split that was made.
pub fn split_done(done: split::SplitDone) -> SplitDone {
    SplitDone {
        id: Uuid::from_u128(done.id).to_string(),
        key: done.key,
        child: done.child,
        range_epoch: done.range_epoch,
    }
}

/// Who leads a group, if that is known here, and where it is.
pub fn leader(node: &Node, group: &Group) -> Option<StoreAddress> {
    let stats = group.stats();
    let leader = stats.members.member(stats.leads).filter(|_| !stats.leader)?;
    Some(StoreAddress {
        store: leader.store.to_string(),
        address: address(node, leader).unwrap_or_default(),
    })
}

/// Where other stores are, as far as it is known.
pub fn peers(node: &Node) -> Vec<StoreAddress> {
    let known = node
        .letters
        .book()
        .all()
        .into_iter()
        .filter(|known| known.store != node.store.uuid());
    let shown = known.map(|known| StoreAddress {
        store: known.store.to_string(),
        address: known.address,
    });
    shown.collect()
}

fn members(node: &Node, stats: &GroupStats) -> Vec<MemberState> {
    let state = |member: &Member| {
        let progress = stats.progress.iter().find(|other| other.replica == member.replica);
        let own = stats.leader && member.replica == stats.replica;
        MemberState {
            replica: member.replica,
            store: member.store.to_string(),
            role: match member.role {
                Role::Voter => MemberRole::Voter,
                Role::Learner => MemberRole::Learner,
                Role::Leaving => MemberRole::Leaving,
            },
            address: address(node, member),
            matched: progress
                .map(|other| other.matched)
                .or(own.then_some(stats.applied.index)),
            alive: progress.map(|other| other.alive).or(own.then_some(true)),
        }
    };
    stats.members.members.iter().map(state).collect()
}

fn address(node: &Node, member: &Member) -> Option<String> {
    match node.identity.store.as_ref().filter(|own| own.uuid == member.store) {
        Some(own) => Some(own.address.clone()).filter(|address| !address.is_empty()),
        None => node.letters.book().address(member.store),
    }
}
