//! What splits and merges have made of a table's partitions, whoever asked for them: the groups are the truth about ranges, the
//! Partition resources follow.
//!
//! 1. What counts is what leaders say. Of a group whose leader was not heard, what its resource says stays true.
//! 2. Only if every key then has exactly one partition, anything follows: one who leads no more, and does not know it, tells of
//!    keys that somebody else has.
//! 3. A group without a resource gets one, on the storage nodes that it was found on; children before their parents, and an
//!    absorber before what it has absorbed goes, so that an operator that is killed in between goes on, and a router that looks in between finds them (`partita_crds::ranges`).

use std::collections::{BTreeMap, BTreeSet};

use partita_crds::names;
use partita_model::admin::{GroupState, MergeOutcome};
use partita_model::partition::GroupId;
use partita_model::schema::{IndexId, TableId};
use partita_model::table::Status;
use partita_model::table::record::{IndexPhase, PartitionRecord, Piece as Keys, Record, cover};

use super::{Action, Plan, mirror};
use crate::nodes::{self, NodeName};
use crate::table::children::places::{Names, Places};
use crate::table::children::{self, Piece, difference, partition, prefix};
use crate::table::observe::{Node, Observed};

/// Who leads a group, and what it says.
pub type Leaders<'a> = BTreeMap<GroupId, (&'a NodeName, &'a GroupState)>;

/// A plan that brings the resources up to what the groups are, if they differ.
pub fn plan(observed: &Observed, record: &Record) -> Option<Plan> {
    if record.status == Status::Creating {
        return None;
    }
    let leaders = leaders(observed);
    let before = observed.pieces(record);
    let absorbed = absorbed(&leaders, &before);
    let mut next = record.clone();
    let mut changed = false;
    let mut update = |table: TableId, index: Option<IndexId>, partitions: &mut Vec<PartitionRecord>| {
        let own = before
            .iter()
            .filter(|piece| piece.index.as_ref().map(|(_, id)| *id) == index);
        if let Some(found) = found(&leaders, table, own, &absorbed) {
            changed = true;
            *partitions = found;
        }
    };
    update(record.id, None, &mut next.partitions);
    for index in next.global.iter_mut().filter(|index| index.phase == IndexPhase::Ready) {
        update(index.table, Some(index.id), &mut index.partitions);
    }
    changed.then(|| write(observed, record, &next, &leaders, &absorbed))
}

/// Of two who claim to lead a group, the later term counts.
pub fn leaders(observed: &Observed) -> Leaders<'_> {
    let mut leaders: Leaders<'_> = BTreeMap::new();
    for (name, node) in &observed.nodes {
        let Node::Store(store) = node else { continue };
        for group in store.groups.iter().filter(|group| group.leader) {
            let known = leaders.entry(group.descriptor.group).or_insert((name, group));
            if group.term > known.1.term {
                *known = (name, group);
            }
        }
    }
    leaders
}

/// Partitions that are a part of another one now, by their groups, and that one.
fn absorbed(leaders: &Leaders<'_>, before: &[Piece]) -> BTreeMap<GroupId, GroupId> {
    let known: BTreeSet<GroupId> = before.iter().map(Piece::group).collect();
    let merges = leaders.iter().flat_map(|(absorber, (_, state))| {
        let merged = state.lineage.merges.iter();
        let merged = merged.filter(|merge| matches!(merge.outcome, MergeOutcome::Merged { .. }));
        merged.map(|merge| (merge.source, *absorber))
    });
    merges.filter(|(source, _)| known.contains(source)).collect()
}

/// The partitions of the table or of one index as they are, if they are others than those that are known.
fn found<'a>(
    leaders: &Leaders<'_>,
    table: TableId,
    known: impl Iterator<Item = &'a Piece>,
    absorbed: &BTreeMap<GroupId, GroupId>,
) -> Option<Vec<PartitionRecord>> {
    let before: BTreeMap<GroupId, Keys> = known
        .map(|piece| {
            let (start, end) = (piece.descriptor.start.clone(), piece.descriptor.end.clone());
            let group = piece.group();
            (group, Keys { group, start, end })
        })
        .collect();
    let mut now = before.clone();
    for (group, (_, state)) in leaders {
        let descriptor = &state.descriptor;
        if descriptor.table == table {
            let (start, end) = (descriptor.start.clone(), descriptor.end.clone());
            let group = *group;
            now.insert(group, Keys { group, start, end });
        }
    }
    now.retain(|group, _| !absorbed.contains_key(group));
    if now == before {
        return None;
    }
    cover(now.into_values().collect()).ok()
}

/// Writes it down.
fn write(
    observed: &Observed,
    record: &Record,
    next: &Record,
    leaders: &Leaders<'_>,
    absorbed: &BTreeMap<GroupId, GroupId>,
) -> Plan {
    let before = observed.pieces(record);
    let mut places = observed.places.clone();
    let born = name(observed, next, leaders, &before, &mut places);
    let after = children::pieces(next, &places);
    let desired = |piece: &Piece| {
        let desired = partition::partition(&observed.table, next, piece, observed.replicas());
        Box::new(difference::marked(desired))
    };
    let apply = |piece: &Piece| Action::ApplyPartition(desired(piece));
    let mut plan = Plan {
        record: Some(record.clone()),
        mirrors: mirror::known(observed, record),
        ..Plan::default()
    };
    let mut words = Vec::new();
    for piece in after.iter().rev().filter(|piece| born.contains(&piece.group())) {
        plan.actions.push(match mirror::adopted(observed, piece) {
            Some(mirror) => Action::AdoptPartition(desired(piece), mirror),
            None => apply(piece),
        });
        let (told, asked_for) = split(piece, leaders);
        if asked_for {
            plan.decisions.push(("Split", format!("request: {told}")));
        }
        words.push(told);
    }
    for piece in before.iter().filter(|piece| absorbed.contains_key(&piece.group())) {
        let absorber = absorbed.get(&piece.group()).and_then(|group| places.get(*group));
        let into = absorber.map(|place| place.name.clone());
        if piece.merging_into != into {
            let mut piece = piece.clone();
            piece.place.merging_into = into.clone();
            plan.actions.push(apply(&piece));
            plan.decisions
                .push(("Merge", format!("request: {}", merged(&piece, into.as_ref()))));
        }
        words.push(merged(piece, into.as_ref()));
    }
    let range = |piece: &Piece| (piece.descriptor.start.clone(), piece.descriptor.end.clone());
    for piece in &after {
        let known = before.iter().find(|known| known.group() == piece.group());
        if known.is_some_and(|known| range(known) != range(piece)) {
            plan.actions.push(apply(piece));
        }
    }
    for piece in before.iter().filter(|piece| absorbed.contains_key(&piece.group())) {
        plan.actions.push(Action::DeletePartition(piece.name.clone()));
    }
    let words = words.join("; ");
    plan.beside = Some(("Repartitioning", words.clone()));
    plan.news = Some((if born.is_empty() { "Merged" } else { "Split" }, words));
    plan
}

/// Gives the groups that have no resource a name, parents before children; which ones they are.
fn name(
    observed: &Observed,
    next: &Record,
    leaders: &Leaders<'_>,
    before: &[Piece],
    places: &mut Places,
) -> BTreeSet<GroupId> {
    let prefix = prefix(next);
    let taken = observed.partitions.keys().chain(observed.stateful_sets.keys());
    let taken = taken.chain(observed.services.keys()).cloned();
    let mut names = Names::without(&prefix, taken.chain(before.iter().map(|piece| piece.name.clone())));
    let of_indexes = next.global.iter().flat_map(|index| {
        let own = index.partitions.iter();
        own.map(|partition| (partition.group, Some(index.id)))
    });
    let of_table = next.partitions.iter().map(|partition| (partition.group, None));
    let known: BTreeSet<GroupId> = before.iter().map(Piece::group).collect();
    let mut born: Vec<_> = of_table
        .chain(of_indexes)
        .filter(|(group, _)| !known.contains(group))
        .filter_map(|(group, index)| Some((leaders.get(&group)?, group, index)))
        .collect();
    born.sort_by_key(|((_, state), _, _)| state.lineage.ancestors.len());
    for ((node, state), group, index) in &born {
        let ancestors = state.lineage.ancestors.iter().rev();
        let parent = ancestors.filter_map(|ancestor| places.get(ancestor.group)).next();
        let parent = parent.map(|place| place.name.clone());
        let parent = parent.or_else(|| Some(names::partition(&prefix, 0)));
        places.set(*group, names.adopted(*index, &node.host, parent));
    }
    born.iter().map(|(_, group, _)| *group).collect()
}

/// A split in words, and whether somebody else than the operator asked for it.
fn split(piece: &Piece, leaders: &Leaders<'_>) -> (String, bool) {
    let parent = piece.parent.clone().unwrap_or_default();
    let words = format!("{parent} was split: {} has its upper keys", piece.name);
    let lineage = leaders.get(&piece.group()).map(|(_, state)| &state.lineage);
    let ours = lineage
        .and_then(|lineage| lineage.ancestors.last())
        .is_some_and(|parent| {
            // The parent's range epoch was one less than both have had since.
            nodes::child_of(parent.group, parent.until_epoch.saturating_sub(1)) == piece.group()
        });
    (words, !ours)
}

fn merged(piece: &Piece, into: Option<&String>) -> String {
    let into = into.cloned().unwrap_or_default();
    format!("{into} has the keys of {} now", piece.name)
}
