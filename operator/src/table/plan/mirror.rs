//! Each partition's state, as its storage node tells; and its group, where it is still to be made.
//!
//! A group is made once: the store that it is made in is written into the Partition first, and from then on it is never made
//! in another one. If the node comes back with another store, or without the group, its data is lost, and a person must know.

use std::collections::BTreeSet;

use partita_crds::{Partition, PartitionPhase, PartitionStatus};
use partita_model::admin::{GroupState, StoreState};
use partita_model::table::record::Record;

use super::{Action, Mirror, Problem};
use crate::nodes::Call;
use crate::table::children::{Piece, pieces};
use crate::table::observe::{Node, Observed};

/// Partitions that are named in a message; the others are counted.
const NAMED_MAX: usize = 3;

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

/// Looks at every partition.
pub fn plan(observed: &Observed, record: &Record) -> Seen {
    let mut seen = Seen::default();
    let mut lost = Vec::new();
    for piece in pieces(record) {
        let Some(known) = observed.partitions.get(&piece.name) else {
            // Its resource comes first.
            seen.missing.insert(piece.name.clone());
            seen.mirrors.push(mirror(&piece, None, PartitionStatus::default()));
            continue;
        };
        let before = known.status.clone().unwrap_or_default();
        let (after, make) = judge(observed, &piece, &before);
        if after.phase == PartitionPhase::Lost {
            lost.push(format!("{}: {}", piece.name, after.message.clone().unwrap_or_default()));
        }
        if !make
            && observed.group(&piece.host, piece.descriptor.group).is_none()
            && after.phase != PartitionPhase::Ready
        {
            seen.missing.insert(piece.name.clone());
        }
        let mirror = mirror(&piece, Some(known), after);
        if known.status.as_ref() != Some(&mirror.status) {
            seen.actions.push(Action::MirrorPartition(mirror.clone()));
        }
        if make {
            let call = Call::Bootstrap(Box::new(piece.descriptor.clone()));
            seen.actions.push(Action::Tell(piece.host.clone(), call));
        }
        seen.mirrors.push(mirror);
    }
    seen.lost = lost_problem(&lost);
    seen
}

/// What is known without asking.
pub fn known(observed: &Observed, record: &Record) -> Vec<Mirror> {
    let mirrors = pieces(record).into_iter().map(|piece| {
        let known = observed.partitions.get(&piece.name).map(AsRef::as_ref);
        let status = known.and_then(|known| known.status.clone()).unwrap_or_default();
        mirror(&piece, known, status)
    });
    mirrors.collect()
}

fn mirror(piece: &Piece, known: Option<&Partition>, status: PartitionStatus) -> Mirror {
    Mirror {
        name: piece.name.clone(),
        version: known.and_then(|known| known.metadata.resource_version.clone()),
        status,
        of_table: piece.index.is_none(),
        needed: !piece.new,
    }
}

/// A partition's status, and whether its group is to be made now.
fn judge(observed: &Observed, piece: &Piece, before: &PartitionStatus) -> (PartitionStatus, bool) {
    match observed.nodes.get(&piece.host) {
        None => (before.clone(), false),
        Some(Node::Silent) => (silent(observed, piece, before), false),
        Some(Node::Store(store)) => match &before.store {
            Some(made_in) if *made_in != store.uuid => {
                let message = format!(
                    "it was made in the store {made_in}, and the node has the store {}",
                    store.uuid
                );
                (with(before, PartitionPhase::Lost, Some(message)), false)
            }
            _ => in_its_store(observed, piece, before, store),
        },
    }
}

fn silent(observed: &Observed, piece: &Piece, before: &PartitionStatus) -> PartitionStatus {
    let why = observed.trouble(&piece.host);
    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
    let (phase, message) = match before.phase {
        PartitionPhase::Pending => (
            PartitionPhase::Pending,
            format!("waiting for the storage node {}-0{why}", piece.host),
        ),
        // What is lost is not found because nobody answers.
        PartitionPhase::Lost => return before.clone(),
        PartitionPhase::Ready | PartitionPhase::Unavailable => (
            PartitionPhase::Unavailable,
            format!("the storage node {}-0 does not answer{why}", piece.host),
        ),
    };
    with(before, phase, Some(message))
}

/// The node has the store that the group was (or will be) made in.
fn in_its_store(
    observed: &Observed,
    piece: &Piece,
    before: &PartitionStatus,
    store: &StoreState,
) -> (PartitionStatus, bool) {
    let before = &PartitionStatus {
        store: Some(store.uuid.clone()),
        ..before.clone()
    };
    match observed.group(&piece.host, piece.descriptor.group) {
        Some(group) if group.leader => (serving(observed, piece, before, group), false),
        Some(_) => {
            let phase = match before.phase {
                PartitionPhase::Pending => PartitionPhase::Pending,
                _ => PartitionPhase::Unavailable,
            };
            (
                with(before, phase, Some("its group has no leader yet".to_owned())),
                false,
            )
        }
        None if piece.new => {
            let message = "its group is being made".to_owned();
            (with(before, PartitionPhase::Pending, Some(message)), true)
        }
        None => {
            let message = format!("the store {} no longer has its group", store.uuid);
            (with(before, PartitionPhase::Lost, Some(message)), false)
        }
    }
}

/// Sizes are written when they are due, and with whatever else is written.
fn serving(observed: &Observed, piece: &Piece, before: &PartitionStatus, group: &GroupState) -> PartitionStatus {
    let serving = PartitionStatus {
        leader: Some(format!("{}-0", piece.host)),
        ..with(before, PartitionPhase::Ready, None)
    };
    if serving == *before && !observed.asked.measure {
        return serving;
    }
    PartitionStatus {
        item_count: Some(two_digits(group.sizes.items)),
        size_bytes: Some(two_digits(group.sizes.bytes)),
        ..serving
    }
}

fn with(before: &PartitionStatus, phase: PartitionPhase, message: Option<String>) -> PartitionStatus {
    PartitionStatus {
        phase,
        message,
        leader: before.leader.clone().filter(|_| phase == PartitionPhase::Ready),
        ..before.clone()
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
            "the data of {} partition(s) is not where it was ({named}{more}). Put the volume back that the claim of the storage \
             node had before. If it is gone for good, so is the data: delete the Table and its claims, and make it anew",
            lost.len()
        );
        Problem::stalled("StoreLost", message)
    })
}
