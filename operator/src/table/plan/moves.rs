//! Moves that stand still: some of a partition's voters are in one StatefulSet, some in another, and a pod that the move needs is away.
//!
//! While a partition moves, the disruption budgets of both sets are closed (`plan::nodes`). A pod that is lost for good would keep
//! them closed, and every drain of those nodes waiting, for as long as nobody finds it. So they open again after a while, like
//! those of any other partition that lacks a replica.

use std::collections::BTreeMap;

use partita_model::partition::GroupId;

use crate::table::children::Piece;
use crate::table::observe::Observed;
use crate::table::replicas::Replicas;

/// A pod is away for minutes where its node is restarted; after so many milliseconds it is not coming back by itself.
const STANDSTILL_MS: u64 = 30 * 60 * 1000;

/// Since when moves have stood still, in epoch milliseconds, as far as this process has seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standstills(BTreeMap<GroupId, u64>);

impl Standstills {
    /// Notes which moves stand still now. Those whose nodes were not asked are as they were.
    pub fn note(&mut self, observed: &Observed, pieces: &[Piece], now_ms: u64) {
        let moving = pieces.iter().filter(|piece| piece.moving_to.is_some());
        let mut now = BTreeMap::new();
        for piece in moving {
            let known = self.0.get(&piece.group()).copied();
            let stands = Replicas::of(observed, piece).map(|replicas| replicas.silent().next().is_some());
            if stands.unwrap_or(known.is_some()) {
                now.insert(piece.group(), known.unwrap_or(now_ms));
            }
        }
        self.0 = now;
    }

    /// Whether a move has stood still for so long that nothing is kept waiting for it any more.
    pub fn are_over(&self, group: GroupId, now_ms: u64) -> bool {
        let since = self.0.get(&group);
        since.is_some_and(|since| now_ms.saturating_sub(*since) >= STANDSTILL_MS)
    }
}
