//! One kind of units (reads or writes) of one table or global index.

use partita_model::capacity::{HalfUnits, ThrottleLimit};
use serde::{Deserialize, Serialize};

use crate::bucket::Bucket;
use crate::peak::Peak;

/// Settings of an installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// What one partition can do, in units per second (3,000 reads, 1,000 writes).
    pub partition: HalfUnits,
    /// For how long unused units are kept: 300 s.
    pub burst_ms: u64,
    /// What a new on-demand table is ready for (12,000 reads, 4,000 writes).
    pub on_demand_ready: HalfUnits,
}

/// A partition works on its own for so long after it was idle: one second, which is what its ceiling is counted in.
const PARTITION_BURST_MS: u64 = 1000;

/// How a table's capacity is declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Declared {
    /// So many units per second.
    Provisioned(HalfUnits),
    /// On demand.
    OnDemand {
        /// `onDemandThroughput`'s ceiling.
        most: Option<HalfUnits>,
        /// Warm throughput: ready for at least this.
        warm: Option<HalfUnits>,
    },
}

/// The state of the buckets, to go on with elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Levels {
    /// The table's own, in thousandths of half units.
    pub shared: Option<i64>,
    /// On demand: the loads of before.
    pub peak: Option<Peak>,
}

/// The buckets.
#[derive(Debug, Clone)]
pub struct Capacity {
    limits: Limits,
    declared: Declared,
    /// What the partitions share.
    shared: Bucket,
    /// On demand with a ceiling.
    ceiling: Option<Bucket>,
    peak: Option<Peak>,
    partitions: Vec<Bucket>,
}

impl Capacity {
    /// Of a table with so many partitions in this process; `levels` are those that another has left off with.
    pub fn new(declared: Declared, limits: Limits, partitions: usize, levels: Levels, now_ms: u64) -> Self {
        let mut peak = match declared {
            Declared::Provisioned(_) => None,
            Declared::OnDemand { warm, .. } => {
                let ready = limits.on_demand_ready.max(warm.unwrap_or_default());
                Some(levels.peak.unwrap_or_else(|| Peak::new(ready, now_ms)))
            }
        };
        let rate = rate(declared, peak.as_mut(), now_ms);
        let shared = match levels.shared {
            Some(level) => Bucket::at_level(rate, limits.burst_ms, level, now_ms),
            None => Bucket::full(rate, limits.burst_ms, now_ms),
        };
        Self {
            limits,
            declared,
            shared,
            ceiling: ceiling(declared, now_ms),
            peak,
            partitions: vec![Bucket::full(limits.partition, PARTITION_BURST_MS, now_ms); partitions],
        }
    }

    /// Another declaration: what was saved up stays, as far as the new units can hold it.
    pub fn declare(&mut self, declared: Declared, now_ms: u64) {
        if declared == self.declared {
            return;
        }
        let levels = self.levels(now_ms);
        *self = Self::new(declared, self.limits, self.partitions.len(), levels, now_ms);
    }

    /// Whether a request on a partition may go ahead.
    pub fn admit(&mut self, partition: usize, now_ms: u64) -> Result<(), ThrottleLimit> {
        if let Some(ceiling) = &mut self.ceiling
            && !ceiling.has_any(now_ms)
        {
            return Err(ThrottleLimit::MaxOnDemandThroughputExceeded);
        }
        if let Some(peak) = &mut self.peak {
            self.shared.set_rate(peak.admitted(now_ms), now_ms);
        }
        if !self.shared.has_any(now_ms) {
            return Err(match self.declared {
                Declared::Provisioned(_) => ThrottleLimit::ProvisionedThroughputExceeded,
                Declared::OnDemand { .. } => ThrottleLimit::AccountLimitExceeded,
            });
        }
        let own = self.partitions.get_mut(partition);
        match own.is_none_or(|own| own.has_any(now_ms)) {
            true => Ok(()),
            false => Err(ThrottleLimit::KeyRangeThroughputExceeded),
        }
    }

    /// Takes what a request cost.
    pub fn charge(&mut self, partition: usize, cost: HalfUnits, now_ms: u64) {
        self.shared.take(cost);
        if let Some(ceiling) = &mut self.ceiling {
            ceiling.take(cost);
        }
        if let Some(peak) = &mut self.peak {
            peak.note(cost, now_ms);
        }
        if let Some(own) = self.partitions.get_mut(partition) {
            own.take(cost);
        }
    }

    /// Where the buckets stand.
    pub fn levels(&mut self, now_ms: u64) -> Levels {
        Levels {
            shared: Some(self.shared.level(now_ms)),
            peak: self.peak.clone(),
        }
    }

    /// The units per second that are admitted in the long run.
    pub fn allowed(&self) -> HalfUnits {
        self.shared.rate()
    }
}

fn rate(declared: Declared, peak: Option<&mut Peak>, now_ms: u64) -> HalfUnits {
    match (declared, peak) {
        (Declared::Provisioned(units), _) => units,
        (Declared::OnDemand { .. }, Some(peak)) => peak.admitted(now_ms),
        (Declared::OnDemand { .. }, None) => HalfUnits::default(),
    }
}

/// A ceiling is no capacity that one could save up: what a second brings is all there is.
fn ceiling(declared: Declared, now_ms: u64) -> Option<Bucket> {
    match declared {
        Declared::OnDemand { most: Some(most), .. } => Some(Bucket::full(most, PARTITION_BURST_MS, now_ms)),
        _ => None,
    }
}
