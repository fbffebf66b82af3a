//! How many partitions a table has, and where they are: splits, moves and merges by intention
//! ([`partita_planning::repartition`] decides, from units, bytes and heat).
//!
//! 1. [`Growth`] is what is remembered from pass to pass. It is kept in memory: an operator that is started anew waits anew before it
//!    merges anything, or splits it for its heat.
//! 2. A partition is split where it is ([`cut`]); what that made is taken up by `adopt`. All splits that are wanted come first.
//! 3. Then those that share storage nodes with another one of the table move to storage nodes of their own, a few at a time: the
//!    intent (`movingTo`) is written down, `members` moves the replicas, and when all are there, that is written down.
//! 4. A partition that is to be absorbed (`mergingInto`) moves to the storage nodes of the one in front of it. Once all
//!    replicas of both are there, they are merged. A merge that was begun and not brought to its end is `frozen`'s.
//! 5. Storage nodes that no partition is on any more go, with their volumes (`retire`).

use std::collections::BTreeMap;
use std::time::Duration;

use partita_model::admin::{GroupState, MemberRole, MergeOutcome, VolumeState};
use partita_model::key::KeyBytes;
use partita_model::partition::GroupId;
use partita_model::schema::IndexId;
use partita_model::table::record::{IndexPhase, Record};
use partita_model::table::{BillingMode, Throughput};
use partita_planning::quantity;
use partita_planning::repartition::{self, Change, Decision, Limits, Measured, Memory, Partition, Why};

use super::moves::Standstills;
use super::{Action, MergeOrder, cut};
use crate::nodes::{self, Call, NodeName};
use crate::settings::Settings;
use crate::table::children::growth;
use crate::table::children::node::storage;
use crate::table::children::{Piece, difference, partition};
use crate::table::heat::Heats;
use crate::table::observe::{Node, Observed};
use crate::table::replicas::Replicas;

/// What was refused is not asked for again for so long, in milliseconds: a split that finds no place has read half the partition.
const REFUSED_MS: u64 = 5 * 60 * 1000;
/// A split that is not possible yet is asked for again after so many milliseconds, then after twice as many, and so on: each time its
/// leader looks through up to 64 MiB of changes.
const PUT_OFF_MS: u64 = 30_000;
/// Up to so many.
const PUT_OFF_MS_MAX: u64 = REFUSED_MS;
/// What is due and cannot be done now is looked at again after so many milliseconds.
const AGAIN_MS: u64 = 5_000;

/// What is remembered of a table.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Growth {
    /// What the last decisions told the next, by index.
    memories: BTreeMap<Option<IndexId>, Memory>,
    /// Since when partitions have had the ranges that they have, as far as this process has seen.
    changed: BTreeMap<GroupId, Since>,
    /// What partitions have served of late.
    heats: Heats,
    /// Until when groups are left alone, because a node refused.
    refused: BTreeMap<GroupId, u64>,
    /// Groups that are to be split, and could not be yet.
    put_off: BTreeMap<GroupId, PutOff>,
    /// The volumes of the storage nodes as they said last.
    volumes: BTreeMap<NodeName, VolumeState>,
    /// Why the cluster does not let volumes grow that should.
    cannot_grow: Option<String>,
    /// Since when groups have been seen to stand still for a merge.
    frozen: BTreeMap<GroupId, u64>,
    /// Moves that do not go on.
    pub standstills: Standstills,
    /// When all nodes are to be asked again.
    due_ms: Option<u64>,
}

#[derive(Debug, Clone, PartialEq)]
struct Since {
    range: (KeyBytes, Option<KeyBytes>),
    ms: u64,
}

/// A split that was not possible.
#[derive(Debug, Clone, PartialEq)]
struct PutOff {
    /// It is asked for again from then on.
    until_ms: u64,
    /// So long after the last time.
    pause_ms: u64,
}

impl Growth {
    /// Whether there is something to decide.
    pub fn due(&self, now_ms: u64) -> bool {
        self.due_ms.is_some_and(|due| due <= now_ms)
    }

    /// What partitions have served of late.
    pub fn heats(&self) -> &Heats {
        &self.heats
    }

    /// When there will be.
    pub fn due_in(&self, now_ms: u64) -> Option<Duration> {
        self.due_ms.map(|due| Duration::from_millis(due.saturating_sub(now_ms)))
    }

    /// Whether anything was seen to stand still.
    pub fn knows_of_frozen(&self) -> bool {
        !self.frozen.is_empty()
    }

    /// Notes whether a group stands still; since when it has.
    pub fn note_frozen(&mut self, group: GroupId, frozen: bool, now_ms: u64) -> u64 {
        match frozen {
            true => *self.frozen.entry(group).or_insert(now_ms),
            false => self.frozen.remove(&group).unwrap_or(now_ms),
        }
    }

    /// All nodes are to be asked in the next pass.
    pub fn ask_again(&mut self, now_ms: u64) {
        self.due_ms = Some(now_ms);
    }

    /// Notes the volumes of those nodes that answer. Returns those of all that are there.
    pub fn remember_volumes(&mut self, observed: &Observed) -> &BTreeMap<NodeName, VolumeState> {
        // A StatefulSet may be away for a moment; its Service is not.
        self.volumes
            .retain(|node, _| observed.services.contains_key(&node.host));
        for (name, node) in &observed.nodes {
            let Node::Store(store) = node else { continue };
            if let Some(volume) = &store.volume {
                self.volumes.insert(name.clone(), *volume);
            }
        }
        &self.volumes
    }

    /// Notes what a pass has heard of the growth of volumes: why the cluster did not let one grow, or whether there is (as far as
    /// the pass could see) none that it does not let. Returns what is true then.
    pub fn note_volumes(&mut self, refused: Option<&String>, all_well: bool) -> Option<String> {
        match refused {
            Some(words) => self.cannot_grow = Some(words.clone()),
            None if all_well => self.cannot_grow = None,
            None => {}
        }
        self.cannot_grow.clone()
    }

    /// A group cannot be split yet. `true`: for the first time.
    pub fn put_off(&mut self, group: GroupId, now_ms: u64) -> bool {
        let before = self.put_off.get(&group).map(|before| before.pause_ms);
        let pause_ms = before.map_or(PUT_OFF_MS, |pause_ms| (2 * pause_ms).min(PUT_OFF_MS_MAX));
        let until_ms = now_ms + pause_ms;
        self.put_off.insert(group, PutOff { until_ms, pause_ms });
        before.is_none()
    }

    /// Whether a group is left alone, because a node refused or something else comes first there.
    fn is_left_alone(&self, group: GroupId, now_ms: u64) -> bool {
        let put_off = self.put_off.get(&group);
        self.refused.contains_key(&group) || put_off.is_some_and(|put_off| put_off.until_ms > now_ms)
    }

    /// A node refused to change a group.
    pub fn refused(&mut self, group: GroupId, now_ms: u64) {
        self.refused.insert(group, now_ms + REFUSED_MS);
    }
}

/// What is to be done.
#[derive(Debug, Default)]
pub struct Repartition {
    /// In this order.
    pub actions: Vec<Action>,
    /// What is under way.
    pub waiting: Option<String>,
    /// What was decided, and why.
    pub decisions: Vec<(&'static str, String)>,
    /// What is remembered.
    pub growth: Growth,
}

impl Repartition {
    fn decide(&mut self, action: &'static str, words: String) {
        self.waiting.get_or_insert_with(|| words.clone());
        self.decisions.push((action, words));
    }
}

/// Plans a pass. `still`: nothing else is about to be changed.
pub fn plan(
    observed: &Observed,
    record: &Record,
    settings: &Settings,
    growth: &Growth,
    now_ms: u64,
    still: bool,
) -> Repartition {
    let mut plan = Repartition {
        growth: growth.clone(),
        ..Repartition::default()
    };
    if !still || !record.settled() {
        // Looked at as soon as it is over.
        plan.growth.due_ms = Some(now_ms);
        return plan;
    }
    let pieces = observed.pieces(record);
    plan.growth.refused.retain(|_, until| *until > now_ms);
    plan.growth.note(&pieces, now_ms);
    let limits = limits(observed, settings);
    plan.growth.heats.note(observed, &pieces, &limits, now_ms);
    let step = Step {
        observed,
        record,
        limits,
        pieces: &pieces,
        now_ms,
    };
    step.finish_moves(&mut plan);
    if plan.actions.is_empty() {
        step.decide(&mut plan);
    }
    if plan.actions.is_empty() {
        step.merge(&mut plan);
    }
    if plan.actions.is_empty() {
        step.start_moves(&mut plan);
    }
    if !plan.actions.is_empty() {
        // What came of it is looked at at once.
        plan.growth.due_ms = Some(now_ms);
    }
    if let Some(piece) = pieces.iter().find(|piece| piece.moving_to.is_some()) {
        let words = || format!("moving {} to {}", piece.name, piece.target());
        plan.waiting.get_or_insert_with(words);
    }
    plan
}

/// Partitions of the table that share their storage nodes with another one, and are not the one that these were made for.
pub fn to_move(pieces: &[Piece]) -> impl Iterator<Item = &Piece> {
    let of_table = || pieces.iter().filter(|piece| piece.index.is_none());
    of_table().filter(move |piece| {
        let mut here = of_table().filter(|other| other.target() == piece.target());
        let keeps = of_table().find(|other| other.name == piece.target() && other.target() == piece.target());
        let keeps = keeps.or_else(|| here.next());
        let settled = piece.moving_to.is_none() && piece.merging_into.is_none();
        settled && piece.name != piece.host && keeps.is_some_and(|keeps| keeps.group() != piece.group())
    })
}

/// A partition's own ceiling is also what its volume bears, or will.
fn limits(observed: &Observed, settings: &Settings) -> Limits {
    let limits = settings.planning.limits.clone();
    let sizes = observed.stateful_sets.values().filter_map(|set| storage(set));
    let most = growth::max_size(observed).and_then(quantity::nanos).unwrap_or_default();
    let bytes = sizes.filter_map(|(size, _)| u64::try_from(quantity::nanos(&size)?.max(most) / 1_000_000_000).ok());
    match bytes.min() {
        Some(smallest) => limits.on_volumes(smallest),
        None => limits,
    }
}

impl Growth {
    /// Notes the ranges of partitions: one that was not known is as old as what is known.
    fn note(&mut self, pieces: &[Piece], now_ms: u64) {
        let before = std::mem::take(&mut self.changed);
        // What nobody has asked for again is not wanted any more.
        let wanted = |put_off: &PutOff| now_ms < put_off.until_ms + PUT_OFF_MS_MAX;
        self.put_off.retain(|_, put_off| wanted(put_off));
        for piece in pieces {
            let range = (piece.descriptor.start.clone(), piece.descriptor.end.clone());
            let known = before.get(&piece.group()).filter(|known| known.range == range);
            let since = known.cloned().unwrap_or_else(|| {
                self.heats.forget(piece.group());
                self.put_off.remove(&piece.group());
                Since { range, ms: now_ms }
            });
            self.changed.insert(piece.group(), since);
        }
    }
}

/// A table's own partitions, or those of one of its indexes.
struct Family {
    index: Option<IndexId>,
    /// Its units; `None` on demand.
    declared: Option<Throughput>,
    /// Those that it is kept warm for.
    warm: Option<Throughput>,
}

struct Step<'a> {
    observed: &'a Observed,
    record: &'a Record,
    limits: Limits,
    pieces: &'a [Piece],
    now_ms: u64,
}

impl Step<'_> {
    fn apply(&self, piece: &Piece) -> Action {
        let (table, replicas) = (&self.observed.table, self.observed.replicas());
        let desired = partition::partition(table, self.record, piece, replicas);
        Action::ApplyPartition(Box::new(difference::marked(desired)))
    }

    fn replicas(&self, piece: &Piece) -> Option<Replicas<'_>> {
        Replicas::of(self.observed, piece)
    }

    /// What a group's leader says, and where it is.
    fn led(&self, piece: &Piece) -> Option<(NodeName, GroupState)> {
        let replicas = self.replicas(piece)?;
        let leader = replicas.leader()?;
        Some((leader.name.clone(), leader.group.clone()))
    }

    /// All replicas are where they should be, and none is left where they were.
    fn has_moved(&self, piece: &Piece) -> bool {
        let replicas = self.replicas(piece);
        replicas.is_some_and(|replicas| {
            let left = replicas.seats.iter().filter(|seat| seat.name.host != piece.target());
            let answered = replicas.seats.iter().all(|seat| seat.store.is_some());
            replicas.is_whole() && answered && left.filter(|seat| seat.group.is_some()).count() == 0
        })
    }

    fn finish_moves(&self, plan: &mut Repartition) {
        for piece in self.pieces.iter().filter(|piece| piece.moving_to.is_some()) {
            if self.has_moved(piece) {
                let mut piece = piece.clone();
                piece.place.host = piece.target().to_owned();
                piece.place.moving_to = None;
                plan.actions.push(self.apply(&piece));
                plan.decide("Moved", format!("{} is on {} now", piece.name, piece.host));
            }
        }
    }

    /// A few at a time, once their groups are as they should be.
    fn start_moves(&self, plan: &mut Repartition) {
        let moving = self.pieces.iter().filter(|piece| piece.moving_to.is_some()).count();
        let mut left = self.limits.changes_at_once.saturating_sub(moving);
        for piece in to_move(self.pieces) {
            if left == 0 {
                return;
            }
            if self.replicas(piece).is_none_or(|replicas| !replicas.is_whole()) {
                let words = || format!("before {} moves, all its replicas must have caught up", piece.name);
                plan.waiting.get_or_insert_with(words);
                continue;
            }
            let mut piece = piece.clone();
            piece.place.moving_to = Some(piece.name.clone());
            plan.actions.push(self.apply(&piece));
            let words = format!(
                "split: {} moves from {} to storage nodes of its own",
                piece.name, piece.host
            );
            plan.decide("Move", words);
            left -= 1;
        }
    }

    /// Asks the planner about the table and each index.
    fn decide(&self, plan: &mut Repartition) {
        let before = plan.growth.due_ms.take();
        for family in self.families() {
            let of = |piece: &&Piece| piece.index.as_ref().map(|(_, id)| *id) == family.index;
            let own: Vec<&Piece> = self.pieces.iter().filter(of).collect();
            let led: Option<Vec<(NodeName, GroupState)>> = own.iter().map(|piece| self.led(piece)).collect();
            // Those that nobody was asked about are at rest, or it is not known what they hold.
            let Some(led) = led else { continue };
            let partitions = own.iter().zip(&led);
            let measured = Measured {
                declared: family.declared,
                warm: family.warm,
                partitions: partitions
                    .map(|(piece, (_, state))| self.measured(piece, state, plan))
                    .collect(),
            };
            let memory = plan.growth.memories.remove(&family.index).unwrap_or_default();
            let (decisions, memory) = repartition::step(&measured, &memory, &self.limits, self.now_ms);
            let due_ms = self.next_look(&measured, &memory);
            plan.growth.due_ms = Some(plan.growth.due_ms.map_or(due_ms, |known| known.min(due_ms)));
            if own.len() as u64 <= memory.asked() {
                self.let_go(plan, &own, &led);
            }
            plan.growth.memories.insert(family.index, memory);
            for decision in decisions {
                self.carry_out(plan, &own, &led, &decision);
            }
        }
        plan.growth.due_ms = plan.growth.due_ms.or(before);
    }

    /// The table, and every index that is complete.
    fn families(&self) -> Vec<Family> {
        let spec = &self.record.spec;
        let family = |index, units: Throughput, warm| Family {
            index,
            declared: (spec.billing == BillingMode::Provisioned).then_some(units),
            warm,
        };
        let complete = self.record.global.iter().zip(&spec.global);
        let complete = complete.filter(|(index, _)| index.phase == IndexPhase::Ready);
        let indexes = complete.map(|(index, spec)| family(Some(index.id), spec.throughput, spec.warm));
        [family(None, spec.throughput, spec.warm)]
            .into_iter()
            .chain(indexes)
            .collect()
    }

    fn measured(&self, piece: &Piece, state: &GroupState, plan: &Repartition) -> Partition {
        let group = piece.group();
        let replication = &state.replication;
        let busy = replication.joint
            || replication
                .members
                .iter()
                .any(|member| member.role != MemberRole::Voter);
        let intended = piece.moving_to.is_some() || piece.merging_into.is_some();
        let absorbs = self
            .pieces
            .iter()
            .any(|other| other.merging_into.as_ref() == Some(&piece.name));
        let refused = plan.growth.is_left_alone(group, self.now_ms);
        let change = match piece.merging_into {
            _ if absorbs => Some(Change::Merge),
            _ if busy || intended || state.lineage.frozen.is_some() => Some(Change::Other),
            _ if refused => Some(Change::Refused),
            _ => None,
        };
        let served = plan.growth.heats.of(group);
        // What is not known to be cold is not merged, and what is not known to be hot is not split.
        let since = plan.growth.changed.get(&group).filter(|_| served.is_some());
        Partition {
            group: group.0,
            used: served.map(|served| served.used).unwrap_or_default(),
            busiest_key: served.map(|served| served.busiest_key).unwrap_or_default(),
            bytes: state.sizes.bytes,
            span: cut::span(piece),
            changed_ms: since.map_or(self.now_ms, |since| since.ms),
            change,
        }
    }

    /// When the planner is to be asked again: at once while there are too few partitions, at the end of the cool-down while there
    /// are too many; and whenever their use is to be measured.
    fn next_look(&self, measured: &Measured, memory: &Memory) -> u64 {
        let few = (measured.partitions.len() as u64) < memory.asked();
        let rested = || measured.partitions.iter().map(|partition| partition.changed_ms).max();
        let due = match memory.too_many_since_ms() {
            _ if few => Some(self.now_ms),
            Some(since) => Some(rested().unwrap_or(since).max(since) + self.limits.cool_down_ms)
                .filter(|due_ms| *due_ms > self.now_ms),
            None => None,
        };
        let measure = self.now_ms + self.limits.look_every_ms();
        due.unwrap_or(measure).min(measure).max(self.now_ms + AGAIN_MS)
    }

    /// What was to be merged, and is needed after all.
    fn let_go(&self, plan: &mut Repartition, own: &[&Piece], led: &[(NodeName, GroupState)]) {
        let going = own.iter().zip(led).filter(|(piece, _)| piece.merging_into.is_some());
        for (piece, _) in going.filter(|(_, (_, state))| state.lineage.frozen.is_none()) {
            let mut piece = (*piece).clone();
            piece.place.merging_into = None;
            plan.actions.push(self.apply(&piece));
            plan.decide("MergeGivenUp", format!("{} is needed after all", piece.name));
        }
    }

    fn carry_out(&self, plan: &mut Repartition, own: &[&Piece], led: &[(NodeName, GroupState)], decision: &Decision) {
        let of = |group: u64| {
            let place = own.iter().position(|piece| piece.group().0 == group)?;
            Some((own[place], &led[place]))
        };
        let why = &decision.why;
        match &decision.action {
            repartition::Action::Split { group, cut } => {
                let Some((piece, (node, state))) = of(*group) else {
                    return;
                };
                let served = plan.growth.heats.of(piece.group());
                if let Some(split) = cut::split(piece, state, *cut, why, served) {
                    plan.actions
                        .push(Action::Tell(node.clone(), Call::Split(piece.group(), Box::new(split))));
                    // It was told when it was asked for first, and is told again when it is done.
                    if !plan.growth.put_off.contains_key(&piece.group()) {
                        plan.decide("Split", format!("{} is split: {why}", piece.name));
                    }
                }
            }
            repartition::Action::Merge { group, absorbed } => {
                let (Some((absorber, _)), Some((source, _))) = (of(*group), of(*absorbed)) else {
                    return;
                };
                let mut source = source.clone();
                source.place.merging_into = Some(absorber.name.clone());
                if source.host != absorber.host {
                    source.place.moving_to = Some(absorber.host.clone());
                }
                plan.actions.push(self.apply(&source));
                plan.decide(
                    "Merge",
                    format!("{} is to be a part of {}: {why}", source.name, absorber.name),
                );
            }
            repartition::Action::Report { group } => {
                let Some((piece, (node, _))) = of(*group) else {
                    return;
                };
                plan.decisions.push(match why {
                    Why::Key { .. } => {
                        let names = format!("`GET /hot-keys` of the admin API of {node} names it");
                        ("HotKey", format!("{}: {why}; {names}", piece.name))
                    }
                    _ => ("HotPartition", format!("{}: {why}", piece.name)),
                });
            }
        }
    }

    /// Merges what has come together.
    fn merge(&self, plan: &mut Repartition) {
        for source in self.pieces.iter().filter(|piece| piece.merging_into.is_some()) {
            let absorber = self
                .pieces
                .iter()
                .find(|piece| Some(&piece.name) == source.merging_into.as_ref());
            let (Some(absorber), Some((source_node, source_state))) = (absorber, self.led(source)) else {
                continue;
            };
            let Some((absorber_node, absorber_state)) = self.led(absorber) else {
                continue;
            };
            let words = || format!("{} is about to be a part of {}", source.name, absorber.name);
            plan.waiting.get_or_insert_with(words);
            let begun = source_state.lineage.frozen.is_some();
            if begun || source.moving_to.is_some() || plan.growth.refused.contains_key(&source.group()) {
                continue;
            }
            let whole = |piece: &Piece| self.replicas(piece).is_some_and(|replicas| replicas.is_whole());
            if !whole(source) || !whole(absorber) || !self.has_moved(source) {
                continue;
            }
            let given_up = absorber_state.lineage.merges.iter();
            let given_up =
                given_up.filter(|merge| merge.source == source.group() && merge.outcome == MergeOutcome::Refused);
            let (own, other) = (&absorber_state.descriptor, &source_state.descriptor);
            let id = nodes::merge_id(
                (own.group, own.range_epoch),
                (other.group, other.range_epoch),
                given_up.count(),
            );
            plan.actions.push(Action::Merge(Box::new(MergeOrder {
                absorber: own.group,
                absorber_node,
                source: other.group,
                source_node,
                id,
                given_up: None,
            })));
        }
    }
}
