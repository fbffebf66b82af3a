//! What each partition has served of late, and where in its range: from what the storage nodes report ([`Load`]).
//!
//! 1. Every look of the planner compares the nodes' totals with those of the look before, if that is long enough ago; the
//!    replicas of a partition are added up, for followers answer eventual reads.
//! 2. Of the kind of units that makes most of its heat, the replica that has served most says where the load is.
//!
//! What is remembered is in memory alone: of a partition whose replicas were not seen before, or had another range, nothing is
//! known yet.

use std::collections::BTreeMap;

use partita_model::admin::{GroupState, Load};
use partita_model::key::KeyBytes;
use partita_model::partition::GroupId;
use partita_planning::repartition::{Limits, Use};

use super::children::Piece;
use super::observe::{Node, Observed};
use crate::nodes::NodeName;

/// What every partition of a table has served of late.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Heats {
    /// When the totals were taken; nothing before the first time.
    taken_ms: Option<u64>,
    /// Half units of reads and of writes, since the node's process began.
    totals: BTreeMap<(NodeName, GroupId), HalfUnits>,
    served: BTreeMap<GroupId, Served>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct HalfUnits {
    read: u64,
    write: u64,
}

/// What a partition has served of late.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Served {
    /// In each second.
    pub used: Use,
    /// The share of its busiest key; zero if it is not known.
    pub busiest_key: f64,
    /// Where about half of it is on either side, if a node knows such a place.
    pub middle: Option<KeyBytes>,
}

impl HalfUnits {
    fn of(load: &Load) -> Self {
        Self {
            read: load.read_half_units,
            // Those that a partition of an index did not take itself, but has to write all the same.
            write: load.write_half_units + load.delivered_half_units,
        }
    }

    /// What came since then. A process that was started anew counts from nothing.
    fn since(self, before: Self) -> Self {
        let since = |now: u64, before: u64| now.checked_sub(before).unwrap_or(now);
        Self {
            read: since(self.read, before.read),
            write: since(self.write, before.write),
        }
    }
}

impl Heats {
    /// What a partition has served of late; `None` while it is not known.
    pub fn of(&self, group: GroupId) -> Option<&Served> {
        self.served.get(&group)
    }

    /// What is known of a partition is not of the range that it has now.
    pub fn forget(&mut self, group: GroupId) {
        self.served.remove(&group);
        self.totals.retain(|(_, known), _| *known != group);
    }

    /// Notes what the nodes have served since the last look.
    pub fn note(&mut self, observed: &Observed, pieces: &[Piece], limits: &Limits, now_ms: u64) {
        let seen: Vec<Seen<'_>> = pieces.iter().flat_map(|piece| replicas(observed, piece)).collect();
        let all_seen = pieces
            .iter()
            .all(|piece| seen.iter().any(|one| one.group == piece.group()));
        let elapsed_ms = self.taken_ms.map(|taken| now_ms.saturating_sub(taken));
        let known = |group: &GroupId| pieces.iter().any(|piece| piece.group() == *group);
        self.served.retain(|group, _| known(group));
        if !all_seen || elapsed_ms.is_some_and(|elapsed| elapsed < limits.look_every_ms()) {
            return;
        }
        let now = seen.iter().map(|one| (one.key(), HalfUnits::of(&one.state.load)));
        let before = std::mem::replace(&mut self.totals, now.collect());
        self.taken_ms = Some(now_ms);
        let Some(seconds) = elapsed_ms.map(|elapsed| elapsed as f64 / 1000.0) else {
            return;
        };
        let served = pieces.iter().filter_map(|piece| {
            let own = seen.iter().filter(|one| one.group == piece.group());
            let own: Vec<(&Load, Use)> = own
                .filter_map(|one| {
                    let since = HalfUnits::of(&one.state.load).since(*before.get(&one.key())?);
                    let rate = |half_units: u64| half_units as f64 / 2.0 / seconds;
                    let used = Use {
                        read: rate(since.read),
                        write: rate(since.write),
                    };
                    Some((&one.state.load, used))
                })
                .collect();
            (!own.is_empty()).then(|| (piece.group(), served(&own, limits)))
        });
        self.served = served.collect();
    }
}

/// A replica that answered.
struct Seen<'a> {
    node: &'a NodeName,
    group: GroupId,
    state: &'a GroupState,
}

impl Seen<'_> {
    fn key(&self) -> (NodeName, GroupId) {
        (self.node.clone(), self.group)
    }
}

fn replicas<'a>(observed: &'a Observed, piece: &Piece) -> impl Iterator<Item = Seen<'a>> + use<'a> {
    let group = piece.group();
    observed.nodes.iter().filter_map(move |(node, answer)| {
        let Node::Store(store) = answer else { return None };
        let state = store.groups.iter().find(|state| state.descriptor.group == group)?;
        Some(Seen { node, group, state })
    })
}

/// All replicas of a partition together.
fn served(replicas: &[(&Load, Use)], limits: &Limits) -> Served {
    let used = replicas.iter().fold(Use::default(), |sum, (_, used)| Use {
        read: sum.read + used.read,
        write: sum.write + used.write,
    });
    let part = |used: f64, of: u64| used / of.max(1) as f64;
    let reads = part(used.read, limits.units.read) > part(used.write, limits.units.write);
    let of_kind = |used: &Use| if reads { used.read } else { used.write };
    let most = replicas
        .iter()
        .max_by(|(_, one), (_, other)| of_kind(one).total_cmp(&of_kind(other)));
    let spread = most.and_then(|(load, _)| {
        if reads {
            load.reads.as_ref()
        } else {
            load.writes.as_ref()
        }
    });
    Served {
        used,
        busiest_key: spread.map_or(0.0, |spread| f64::from(spread.busiest_percent) / 100.0),
        middle: spread.and_then(|spread| spread.middle.clone()),
    }
}
