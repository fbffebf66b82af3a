//! Each partition's state, as its storage nodes tell; and its group, where it is still to be made.
//!
//! A group is made once: once all of its storage nodes have answered, their stores are written into the Partition, and then each
//! of them is told to make its part, with the same words. From then on the group is never made in others. If nodes come back with
//! other stores, or without the group, and the others cannot do without them, data is lost, and a person must know.

use std::collections::BTreeSet;

use partita_crds::{Partition, PartitionPhase, PartitionStatus};
use partita_model::admin::{Bootstrap, Frozen, MemberRole, StoreAddress};
use partita_model::table::record::Record;
use partita_planning::repartition::Use;

use super::{Action, Mirror, Problem, is_whole};
use crate::nodes::{Call, NodeName};
use crate::table::children::Piece;
use crate::table::heat::Heats;
use crate::table::observe::{self, Observed};
use crate::table::replicas::{Leader, Replicas, Seat};

/// Partitions that are named in a message; the others are counted.
const NAMED_MAX: usize = 3;
/// What a Partition's message may have, as its definition has it.
const MESSAGE_CHARS_MAX: usize = 1024;
/// So long a partition has to be seen without replicas of which Kubernetes says that they are ready: longer than a readiness probe takes to notice
/// that they are not.
const DOUBT_MS: u64 = 10_000;
/// The membership epoch of a group whose members are those that it was made with.
const FIRST_EPOCH: u64 = 1;

/// What was seen of the partitions, and what follows.
#[derive(Debug, Default)]
pub struct Seen {
    /// Statuses to be written, groups to be made.
    pub actions: Vec<Action>,
    /// What is true of each.
    pub mirrors: Vec<Mirror>,
    /// Partitions without a group (that is not about to be made), by name.
    pub missing: BTreeSet<String>,
    /// What is lost.
    pub lost: Option<Problem>,
}

/// A partition as it was found.
struct Found {
    status: PartitionStatus,
    /// Parts of its group that are to be made now.
    births: Vec<Action>,
    /// Its group is there, or is once these are made.
    there: bool,
}

/// Looks at every partition. Of those that are about to be `changed` nothing is written in the same pass.
pub fn plan(observed: &Observed, record: &Record, changed: &BTreeSet<String>, heats: &Heats) -> Seen {
    let mut seen = Seen::default();
    let mut lost = Vec::new();
    for piece in observed.pieces(record) {
        let Some(known) = observed.partitions.get(&piece.name) else {
            // Its resource comes first.
            seen.missing.insert(piece.name.clone());
            seen.mirrors.push(mirror(&piece, None, PartitionStatus::default()));
            continue;
        };
        let before = known.status.clone().unwrap_or_default();
        if changed.contains(&piece.name) {
            if before.phase != PartitionPhase::Ready {
                seen.missing.insert(piece.name.clone());
            }
            seen.mirrors.push(mirror(&piece, Some(known), before));
            continue;
        }
        let found = judge(observed, &piece, &before);
        if is_doubtful(observed, &piece, &found.status) {
            seen.mirrors.push(Mirror {
                doubtful: true,
                ..mirror(&piece, Some(known), before)
            });
            continue;
        }
        if found.status.phase == PartitionPhase::Lost {
            let message = found.status.message.clone().unwrap_or_default();
            lost.push(format!("{}: {message}", piece.name));
        }
        if !found.there {
            seen.missing.insert(piece.name.clone());
        }
        let status = match (observed.asked.measure, heats.of(piece.group())) {
            (true, Some(served)) if found.status.phase == PartitionPhase::Ready => with_use(found.status, served.used),
            _ => found.status,
        };
        let mirror = mirror(&piece, Some(known), status);
        if known.status.as_ref() != Some(&mirror.status) {
            seen.actions.push(Action::MirrorPartition(mirror.clone()));
        }
        seen.actions.extend(found.births);
        seen.mirrors.push(mirror);
    }
    seen.lost = lost_problem(&lost);
    seen
}

/// The first status of a partition whose group serves already, and whose resource is only now being made.
pub fn adopted(observed: &Observed, piece: &Piece) -> Option<Mirror> {
    let replicas = Replicas::of(observed, piece)?;
    let leader = replicas.leader()?;
    let status = serving(observed, piece, &PartitionStatus::default(), &replicas, &leader);
    Some(mirror(piece, None, status))
}

/// What is known without asking.
pub fn known(observed: &Observed, record: &Record) -> Vec<Mirror> {
    let mirrors = observed.pieces(record).into_iter().map(|piece| {
        let known = observed.partitions.get(&piece.name).map(AsRef::as_ref);
        let status = known.and_then(|known| known.status.clone()).unwrap_or_default();
        mirror(&piece, known, status)
    });
    mirrors.collect()
}

/// Whether a partition at rest is seen to have lost replicas for the first time, and Kubernetes knows of nothing. Nodes do not
/// answer at one moment, and a follower that was not given the processor for a second has no leader for another, which lasts on a machine that
/// is busy: what is true is still true after a while.
fn is_doubtful(observed: &Observed, piece: &Piece, found: &PartitionStatus) -> bool {
    let lost = found.phase == PartitionPhase::Lost;
    let for_ms = observed.asked.in_doubt_for_ms.unwrap_or(0);
    for_ms < DOUBT_MS && !lost && observe::is_well(observed, piece) && !is_whole(found)
}

fn mirror(piece: &Piece, known: Option<&Partition>, status: PartitionStatus) -> Mirror {
    Mirror {
        name: piece.name.clone(),
        version: known.and_then(|known| known.metadata.resource_version.clone()),
        status,
        of_table: piece.index.is_none(),
        needed: !piece.new,
        doubtful: false,
    }
}

/// A partition's status, and what is to be made of its group now.
fn judge(observed: &Observed, piece: &Piece, before: &PartitionStatus) -> Found {
    let Some(replicas) = Replicas::of(observed, piece) else {
        return Found {
            status: before.clone(),
            births: Vec::new(),
            there: before.phase == PartitionPhase::Ready,
        };
    };
    let leader = replicas.leader();
    let (stores, births, all_made) = match piece.new && !has_changed(leader.as_ref()) {
        true => birth(observed, piece, before, &replicas),
        false => (before.stores.clone(), Vec::new(), true),
    };
    let alone = stores.len() == 1;
    let before = &PartitionStatus {
        stores,
        ..before.clone()
    };
    let status = match &leader {
        Some(leader) => match &leader.group.lineage.frozen {
            Some(frozen) => still(observed, before, frozen),
            None => serving(observed, piece, before, &replicas, leader),
        },
        None => leaderless(observed, piece, before, &replicas),
    };
    // One replica leads at once.
    let leads = leader.is_some() || alone && !births.is_empty();
    let there = all_made && (leads || !piece.new && observed.holds(piece, piece.descriptor.group));
    Found { status, births, there }
}

/// Whether a group has other members than those that it was made with: it is there, and needs no birth.
fn has_changed(leader: Option<&Leader<'_>>) -> bool {
    leader.is_some_and(|leader| leader.group.replication.membership_epoch > FIRST_EPOCH)
}

/// The stores that a group is made in, what is to be done for it now, and whether all of it is there then.
fn birth(
    observed: &Observed,
    piece: &Piece,
    before: &PartitionStatus,
    replicas: &Replicas<'_>,
) -> (Vec<String>, Vec<Action>, bool) {
    let stores = match before.stores.is_empty() {
        true => chosen(piece, replicas),
        false => before.stores.clone(),
    };
    let voters: Vec<StoreAddress> = (0..stores.len())
        .map(|place| StoreAddress {
            store: stores[place].clone(),
            address: NodeName::new(&piece.host, seat_at(piece, place, stores.len())).address(&observed.namespace),
        })
        .collect();
    let body = Bootstrap {
        descriptor: piece.descriptor.clone(),
        voters,
    };
    let mut births = Vec::new();
    let mut all_made = !stores.is_empty();
    for store in &stores {
        match replicas.seat_of(store) {
            Some(Seat { group: Some(_), .. }) => {}
            Some(seat) => {
                let call = Call::Bootstrap(Box::new(body.clone()));
                births.push(Action::Tell(seat.name.clone(), call));
            }
            // It may be in a pod that does not answer. One that is gone is replaced, if the others are enough.
            None => all_made &= replicas.silent().next().is_none() && replicas.leader().is_some(),
        }
    }
    (stores, births, all_made)
}

/// The stores in which a group is to be made, once all nodes have answered: the first one stands for election at once, and is
/// in another pod from group to group.
fn chosen(piece: &Piece, replicas: &Replicas<'_>) -> Vec<String> {
    let there = replicas.seats.iter().take(replicas.wanted);
    let stores: Option<Vec<&String>> = there.map(|seat| Some(&seat.store?.uuid)).collect();
    match stores {
        Some(stores) if stores.len() == replicas.wanted => {
            let places = 0..stores.len();
            places
                .map(|place| stores[seat_at(piece, place, stores.len())].clone())
                .collect()
        }
        _ => Vec::new(),
    }
}

/// The pod of a voter, by its place among the voters.
fn seat_at(piece: &Piece, place: usize, voters: usize) -> usize {
    let first = usize::try_from(piece.descriptor.group.0 % voters as u64).unwrap_or(0);
    (first + place) % voters
}

/// Sizes are written when they are due, and with whatever else is written.
fn serving(
    observed: &Observed,
    piece: &Piece,
    before: &PartitionStatus,
    replicas: &Replicas<'_>,
    leader: &Leader<'_>,
) -> PartitionStatus {
    let members = leader.group.replication.members.iter();
    let voters = members.filter(|member| member.role == MemberRole::Voter);
    let there = format!("{}/{}", replicas.caught_up(), replicas.wanted);
    let whole = replicas.is_whole();
    let away: Vec<String> = replicas.silent().map(|node| silence(observed, node)).collect();
    let serving = PartitionStatus {
        leader: Some(leader.name.to_string()),
        stores: voters.map(|member| member.store.clone()).collect(),
        pods: replicas.pods(piece, leader),
        replicas: Some(there),
        ..with(
            before,
            PartitionPhase::Ready,
            Some(away.join("; ")).filter(|words| !whole && !words.is_empty()),
        )
    };
    if serving == *before && !observed.asked.measure {
        return serving;
    }
    PartitionStatus {
        item_count: Some(two_digits(leader.group.sizes.items)),
        size_bytes: Some(two_digits(leader.group.sizes.bytes)),
        ..serving
    }
}

/// What is true of a partition that stands still for a merge: it serves nobody.
fn still(observed: &Observed, before: &PartitionStatus, frozen: &Frozen) -> PartitionStatus {
    let words = format!(
        "it stands still for the merge {} into {}, which is not at its end",
        frozen.id,
        observed.partition_of(frozen.absorber)
    );
    with(before, PartitionPhase::Unavailable, Some(words))
}

/// What is true of a partition without a leader.
fn leaderless(
    observed: &Observed,
    piece: &Piece,
    before: &PartitionStatus,
    replicas: &Replicas<'_>,
) -> PartitionStatus {
    let voters = before.stores.len();
    let there = before.stores.iter().filter(|store| {
        let seat = replicas.seat_of(store);
        seat.is_some_and(|seat| seat.group.is_some() || piece.new)
    });
    let there = there.count();
    let away: Vec<String> = replicas.silent().map(|node| silence(observed, node)).collect();
    // Those that may be in pods that do not answer are not lost.
    let lost = voters.saturating_sub(there).saturating_sub(away.len());
    let quorum = voters / 2 + 1;
    let (phase, message) = match before.phase {
        // What is lost is not found because nobody answers.
        PartitionPhase::Lost if there < quorum && !away.is_empty() => return before.clone(),
        _ if voters > 0 && lost > voters - quorum => (PartitionPhase::Lost, loss(piece, before, replicas, lost)),
        PartitionPhase::Pending => (PartitionPhase::Pending, pending(piece, replicas, voters, &away)),
        _ if voters > 1 && there < quorum => (
            PartitionPhase::QuorumLost,
            format!(
                "{there} of {voters} replicas are there, and {quorum} are needed: {}",
                away.join("; ")
            ),
        ),
        _ if voters > 1 || away.is_empty() => (PartitionPhase::Unavailable, "its group has no leader yet".to_owned()),
        _ => (PartitionPhase::Unavailable, away.join("; ")),
    };
    PartitionStatus {
        replicas: Some(format!("0/{}", replicas.wanted)),
        ..with(before, phase, Some(message))
    }
}

/// That a storage node does not answer, and why, as far as its pod tells.
pub fn silence(observed: &Observed, node: &NodeName) -> String {
    let why = observed.trouble(node).map(|why| format!(": {why}")).unwrap_or_default();
    format!("the storage node {node} does not answer{why}")
}

fn pending(piece: &Piece, replicas: &Replicas<'_>, voters: usize, away: &[String]) -> String {
    match (away.first(), replicas.seats.iter().any(|seat| seat.group.is_some())) {
        (Some(first), _) => format!("waiting for its storage nodes: {first}"),
        (None, false) if voters > 0 && piece.new => "its group is being made".to_owned(),
        (None, _) => "its group has no leader yet".to_owned(),
    }
}

/// What became of the stores that are lost.
fn loss(piece: &Piece, before: &PartitionStatus, replicas: &Replicas<'_>, lost: usize) -> String {
    let missing = before.stores.iter().find_map(|store| match replicas.seat_of(store) {
        Some(seat) if seat.group.is_none() => Some(format!("the store {store} no longer has its group")),
        Some(_) => None,
        None => {
            let others = replicas.seats.iter().filter_map(|seat| Some((seat, seat.store?)));
            let mut others = others.filter(|(_, other)| !before.stores.contains(&other.uuid));
            let (seat, other) = others.next()?;
            Some(match before.stores.len() {
                1 => format!(
                    "it was made in the store {store}, and the node has the store {}",
                    other.uuid
                ),
                _ => format!(
                    "its store {store} is gone, and {} has the store {}",
                    seat.name, other.uuid
                ),
            })
        }
    });
    let first = missing.unwrap_or_else(|| format!("no storage node of {} has its stores", piece.host));
    match before.stores.len() {
        1 => first,
        all => format!("{lost} of its {all} replicas are lost: {first}"),
    }
}

fn with(before: &PartitionStatus, phase: PartitionPhase, message: Option<String>) -> PartitionStatus {
    PartitionStatus {
        phase,
        message: message.map(|message| message.chars().take(MESSAGE_CHARS_MAX).collect()),
        leader: before.leader.clone().filter(|_| phase == PartitionPhase::Ready),
        ..before.clone()
    }
}

/// With what it has served of late. Nothing is absent: what nobody uses is not written about.
fn with_use(status: PartitionStatus, used: Use) -> PartitionStatus {
    let shown = |units: f64| Some(two_digits(units.round() as u64)).filter(|units| *units > 0);
    PartitionStatus {
        read_units: shown(used.read),
        write_units: shown(used.write),
        ..status
    }
}

/// Rounded to two digits: columns are for people, and every change of one is a write.
pub fn two_digits(amount: u64) -> i64 {
    let mut unit = 1;
    while amount / unit >= 100 {
        unit *= 10;
    }
    i64::try_from((amount / unit).saturating_mul(unit)).unwrap_or(i64::MAX)
}

fn lost_problem(lost: &[String]) -> Option<Problem> {
    let more = match lost.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    let named = lost.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join("; ");
    (!lost.is_empty()).then(|| {
        let message = format!(
            "the data of {} partition(s) is not where it was ({named}{more}). Put the volumes back that the claims of the storage \
             nodes had before. If they are gone for good, so is the data: delete the Table and its claims, and make it anew",
            lost.len()
        );
        Problem::stalled("StoreLost", message)
    })
}
