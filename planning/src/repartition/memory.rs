//! What one step tells the next: since when something holds, and the highest load of late. Kept in memory alone.

use std::collections::BTreeMap;

use partita_model::table::Throughput;

use super::{Limits, Measured, Use, heat};

/// The highest load of a table on demand is remembered for at least so many cool-downs: for a day, where nobody sets another
/// cool-down, so that a load that comes back every day finds its partitions.
const PEAK_COOL_DOWNS: u64 = 24;

/// What one step tells the next.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Memory {
    /// Since when partitions are hot.
    pub(super) hot_since_ms: BTreeMap<u64, u64>,
    /// Those of which it was said why nothing is done about it, and when they were last hot: one that is hot now and then is not
    /// told of each time.
    pub(super) reported: BTreeMap<u64, u64>,
    /// Since when two neighbours together have so little to do that they may be merged.
    pub(super) cold_since_ms: BTreeMap<(u64, u64), u64>,
    /// Since when there are more partitions than asked for.
    pub(super) too_many_since_ms: Option<u64>,
    /// Partitions that units and bytes asked for.
    pub(super) asked: u64,
    peak: Peak,
}

impl Memory {
    /// Partitions that units and bytes asked for at the last step.
    pub fn asked(&self) -> u64 {
        self.asked
    }

    /// Since when there are more partitions than that.
    pub fn too_many_since_ms(&self) -> Option<u64> {
        self.too_many_since_ms
    }

    /// The highest load of late, of a table on demand.
    pub(super) fn peak(&self) -> Throughput {
        self.peak.highest()
    }

    /// Whether the highest load of late may be one that was before this memory began: whoever remembered it may be gone.
    pub(super) fn may_have_forgotten(&self, limits: &Limits, now_ms: u64) -> bool {
        let known_ms = self.peak.since_ms.map(|since| now_ms.saturating_sub(since));
        known_ms.is_some_and(|known_ms| known_ms < kept_ms(limits))
    }

    /// What is remembered once this was measured; how many partitions are asked for is not known yet.
    pub(super) fn next(&self, table: &Measured, limits: &Limits, now_ms: u64) -> Self {
        let hot = table.partitions.iter().filter(|one| heat(one, limits) > limits.hot);
        let since = |group: u64| self.hot_since_ms.get(&group).copied().unwrap_or(now_ms);
        let hot_since_ms: BTreeMap<u64, u64> = hot.map(|hot| (hot.group, since(hot.group))).collect();
        let cold = table.partitions.windows(2).filter(|pair| {
            let together: f64 = pair.iter().map(|one| heat(one, limits)).sum();
            together <= limits.idle
        });
        let cold_since_ms = cold.map(|pair| {
            let pair = (pair[0].group, pair[1].group);
            (pair, self.cold_since_ms.get(&pair).copied().unwrap_or(now_ms))
        });
        Self {
            reported: self
                .reported
                .iter()
                .map(|(group, hot_ms)| {
                    (
                        *group,
                        if hot_since_ms.contains_key(group) {
                            now_ms
                        } else {
                            *hot_ms
                        },
                    )
                })
                .filter(|(_, hot_ms)| now_ms.saturating_sub(*hot_ms) < limits.cool_down_ms)
                .collect(),
            hot_since_ms,
            cold_since_ms: cold_since_ms.collect(),
            too_many_since_ms: self.too_many_since_ms,
            asked: self.asked,
            peak: match table.declared {
                Some(_) => Peak::default(),
                None => self.peak.next(table.used(), limits, now_ms),
            },
        }
    }
}

fn kept_ms(limits: &Limits) -> u64 {
    limits.cool_down_ms.saturating_mul(PEAK_COOL_DOWNS).max(1)
}

/// The highest load of late: what two measurements in a row reached.
#[derive(Debug, Clone, PartialEq, Default)]
struct Peak {
    /// When the first measurement was.
    since_ms: Option<u64>,
    /// The last measurement that counts, and when it was.
    last: Option<(u64, Use)>,
    /// The highest of the time that runs, and of the one before.
    now: Use,
    before: Use,
    /// When the time that runs began.
    began_ms: u64,
}

impl Peak {
    fn next(&self, used: Use, limits: &Limits, now_ms: u64) -> Self {
        let mut next = self.clone();
        let kept_ms = kept_ms(limits);
        let Some((last_ms, last)) = self.last else {
            (next.last, next.began_ms, next.since_ms) = (Some((now_ms, used)), now_ms, Some(now_ms));
            return next;
        };
        match now_ms.saturating_sub(self.began_ms) / kept_ms {
            0 => {}
            1 => (next.before, next.now, next.began_ms) = (self.now, Use::default(), self.began_ms + kept_ms),
            _ => (next.before, next.now, next.began_ms) = (Use::default(), Use::default(), now_ms),
        }
        // One measurement may be seen by several steps.
        if now_ms.saturating_sub(last_ms) >= limits.look_every_ms() {
            let lasting = Use {
                read: used.read.min(last.read),
                write: used.write.min(last.write),
            };
            next.now = next.now.max(lasting);
            next.last = Some((now_ms, used));
        }
        next
    }

    fn highest(&self) -> Throughput {
        let highest = self.now.max(self.before);
        Throughput {
            read: highest.read.round() as u64,
            write: highest.write.round() as u64,
        }
    }
}
