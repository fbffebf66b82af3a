//! One kind of units (reads or writes) of one table or global index.

use partita_model::capacity::{HalfUnits, ThrottleLimit, UnitsId, UnitsLevel};
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
}

/// A ceiling is no capacity that one could save up: what a second brings is all there is.
const CEILING_BURST_MS: u64 = 1000;

/// How a table's capacity is declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Declared {
    /// So many units per second.
    Provisioned(HalfUnits),
    /// On demand.
    OnDemand {
        /// What it is ready for from the beginning: 12,000 reads and 4,000 writes, or its warm throughput.
        ready: HalfUnits,
        /// `onDemandThroughput`'s ceiling.
        most: Option<HalfUnits>,
    },
}

impl Declared {
    /// What it is ready for from the beginning.
    pub fn ready(self) -> HalfUnits {
        match self {
            Self::Provisioned(units) | Self::OnDemand { ready: units, .. } => units,
        }
    }

    /// The part of one that has `here` of all the partitions. Such parts never sum above the whole.
    pub fn part(self, here: usize, all: usize) -> Self {
        let part = |units: HalfUnits| HalfUnits((u128::from(units.0) * here as u128 / all.max(1) as u128) as u64);
        match self {
            Self::Provisioned(units) => Self::Provisioned(part(units)),
            Self::OnDemand { ready, most } => Self::OnDemand {
                ready: part(ready),
                most: most.map(part),
            },
        }
    }

    /// What one of so many partitions may do by itself, in units per second; `None`: as much as the table.
    ///
    /// It is what a partition can do, or an even share where a table has fewer partitions than its units ask for: what is
    /// declared can be had. An on-demand table begins with few partitions, one as a rule, that stand in for the ones that
    /// it gets when there is load: until then they have no ceilings of their own.
    pub fn partition_ceiling(self, limits: Limits, partitions: usize) -> Option<HalfUnits> {
        let ready = self.ready();
        let share = HalfUnits(ready.0.div_ceil(partitions.max(1) as u64));
        match self {
            Self::OnDemand { .. } if share > limits.partition => None,
            Self::OnDemand { .. } | Self::Provisioned(_) => Some(limits.partition.max(share)),
        }
    }
}

/// What one partition may do by itself.
#[derive(Debug, Clone)]
pub struct Ceiling(Option<Bucket>);

impl Ceiling {
    /// Of [`Declared::partition_ceiling`]'s height.
    pub fn new(height: Option<HalfUnits>, now_ms: u64) -> Self {
        Self(height.map(|height| Bucket::full(height, CEILING_BURST_MS, now_ms)))
    }

    /// Another height from now on.
    pub fn set(&mut self, height: Option<HalfUnits>, now_ms: u64) {
        match (&mut self.0, height) {
            (Some(bucket), Some(height)) => bucket.set_rate(height, now_ms),
            (own, height) => *own = Self::new(height, now_ms).0,
        }
    }

    /// Whether a request may go ahead, beside what is pending.
    ///
    /// # Errors
    /// [`ThrottleLimit::KeyRangeThroughputExceeded`].
    pub fn admit(&mut self, pending: HalfUnits, now_ms: u64) -> Result<(), ThrottleLimit> {
        match self
            .0
            .as_mut()
            .is_none_or(|bucket| bucket.has_more_than(pending, now_ms))
        {
            true => Ok(()),
            false => Err(ThrottleLimit::KeyRangeThroughputExceeded),
        }
    }

    /// Takes what a request cost.
    pub fn charge(&mut self, cost: HalfUnits) {
        if let Some(bucket) = &mut self.0 {
            bucket.take(cost);
        }
    }
}

/// The state of the buckets, to go on with elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Levels {
    /// What the partitions share, in thousandths of half units.
    pub shared: Option<i64>,
    /// On demand: the loads of before.
    pub peak: Option<Peak>,
}

impl Levels {
    /// What somebody tells of.
    pub fn of(told: UnitsLevel, now_ms: u64) -> Self {
        Self {
            shared: Some(told.level),
            peak: told.peak.map(|peak| Peak::of(peak, now_ms)),
        }
    }

    /// To tell of.
    pub fn told(&self, units: UnitsId, term: u64) -> UnitsLevel {
        UnitsLevel {
            units,
            term,
            level: self.shared.unwrap_or_default(),
            peak: self.peak.as_ref().map(Peak::told),
        }
    }

    /// Without what was saved up: somebody else may have used it.
    #[must_use]
    pub fn without_savings(self) -> Self {
        Self {
            shared: Some(self.shared.unwrap_or_default().min(0)),
            ..self
        }
    }
}

/// What the partitions share.
#[derive(Debug, Clone)]
pub struct Capacity {
    limits: Limits,
    declared: Declared,
    shared: Bucket,
    /// On demand with a ceiling.
    ceiling: Option<Bucket>,
    peak: Option<Peak>,
}

impl Capacity {
    /// Of a table; `levels` are those that another has left off with. A new table's bucket is full: it is as if it had been
    /// there, unused, for as long as units are kept.
    pub fn new(declared: Declared, limits: Limits, levels: Levels, now_ms: u64) -> Self {
        let ready = declared.ready();
        let peak = match declared {
            Declared::Provisioned(_) => None,
            Declared::OnDemand { .. } => Some(match levels.peak {
                Some(peak) => peak.resumed(ready, now_ms),
                None => Peak::new(ready, now_ms),
            }),
        };
        let rate = peak.as_ref().map_or(ready, Peak::admitted);
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
        }
    }

    /// Another declaration: what was saved up stays, as far as the new units can hold it. A table that becomes on-demand is
    /// ready for what was declared before.
    pub fn declare(&mut self, declared: Declared, now_ms: u64) {
        if declared == self.declared {
            return;
        }
        let mut levels = Levels {
            shared: Some(self.shared.level(now_ms)),
            peak: self.peak.clone(),
        };
        if let (Declared::Provisioned(before), Declared::OnDemand { .. }) = (self.declared, declared) {
            levels.peak = Some(Peak::new(before, now_ms));
        }
        *self = Self::new(declared, self.limits, levels, now_ms);
    }

    /// Whether a request may go ahead, beside what is pending: admitted, and not charged yet.
    ///
    /// # Errors
    /// The limit that it meets.
    pub fn admit(&mut self, pending: HalfUnits, now_ms: u64) -> Result<(), ThrottleLimit> {
        if let Some(ceiling) = &mut self.ceiling
            && !ceiling.has_more_than(pending, now_ms)
        {
            return Err(ThrottleLimit::MaxOnDemandThroughputExceeded);
        }
        self.grow(now_ms);
        match self.shared.has_more_than(pending, now_ms) {
            true => Ok(()),
            false => Err(self.limit()),
        }
    }

    /// Which limit it is that there is nothing left of: where others share it, their requests meet the same.
    pub fn limit(&self) -> ThrottleLimit {
        match self.declared {
            Declared::Provisioned(_) => ThrottleLimit::ProvisionedThroughputExceeded,
            Declared::OnDemand { most: Some(most), .. } if most <= self.shared.rate() => {
                ThrottleLimit::MaxOnDemandThroughputExceeded
            }
            // Its partitions have not grown that far yet.
            Declared::OnDemand { .. } => ThrottleLimit::KeyRangeThroughputExceeded,
        }
    }

    /// What may be used at once: nothing while there is a debt.
    pub fn available(&mut self, now_ms: u64) -> HalfUnits {
        self.grow(now_ms);
        let shared = self.shared.left(now_ms);
        let ceiling = self.ceiling.as_mut().map(|ceiling| ceiling.left(now_ms));
        ceiling.map_or(shared, |ceiling| ceiling.min(shared))
    }

    /// On demand: the rate follows the peak.
    fn grow(&mut self, now_ms: u64) {
        if let Some(peak) = &mut self.peak
            && peak.pass(now_ms)
        {
            self.shared.set_rate(peak.admitted(), now_ms);
        }
    }

    /// Takes what a request cost.
    pub fn charge(&mut self, cost: HalfUnits, now_ms: u64) {
        self.shared.take(cost);
        if let Some(ceiling) = &mut self.ceiling {
            ceiling.take(cost);
        }
        if let Some(peak) = &mut self.peak {
            peak.note(cost, now_ms);
        }
    }

    /// Where the buckets stand; `None` when they are as a new table's.
    pub fn levels(&mut self, now_ms: u64) -> Option<Levels> {
        let ready = self.declared.ready();
        let seen = |peak: &Peak| peak.has_seen_load() || peak.admitted() > ready;
        let peak = self.peak.clone().filter(seen);
        let full = self.shared.is_full(now_ms);
        (!full || peak.is_some()).then(|| Levels {
            shared: Some(self.shared.level(now_ms)),
            peak,
        })
    }

    /// Whether nothing is left to be filled.
    pub fn is_full(&mut self, now_ms: u64) -> bool {
        self.grow(now_ms);
        self.shared.is_full(now_ms)
    }

    /// Where the buckets stand, whatever that is.
    pub fn state(&mut self, now_ms: u64) -> Levels {
        Levels {
            shared: Some(self.shared.level(now_ms)),
            peak: self.peak.clone(),
        }
    }

    /// What it is like from now on, but for what it has taken in the meantime.
    pub fn resume(&mut self, levels: Levels, taken: HalfUnits, now_ms: u64) {
        *self = Self::new(self.declared, self.limits, levels, now_ms);
        self.charge(taken, now_ms);
    }

    /// The units per second that are admitted in the long run.
    pub fn allowed(&self) -> HalfUnits {
        match self.declared {
            Declared::OnDemand { most: Some(most), .. } => most.min(self.shared.rate()),
            Declared::OnDemand { most: None, .. } | Declared::Provisioned(_) => self.shared.rate(),
        }
    }

    /// Fills the bucket: of a table that is new.
    pub fn fill(&mut self, now_ms: u64) {
        self.shared = Bucket::full(self.shared.rate(), self.limits.burst_ms, now_ms);
    }

    /// What is there to be used at once, in units; negative while a debt is paid back.
    pub fn balance(&mut self, now_ms: u64) -> f64 {
        self.shared.balance(now_ms)
    }
}

fn ceiling(declared: Declared, now_ms: u64) -> Option<Bucket> {
    match declared {
        Declared::OnDemand { most: Some(most), .. } => Some(Bucket::full(most, CEILING_BURST_MS, now_ms)),
        Declared::OnDemand { most: None, .. } | Declared::Provisioned(_) => None,
    }
}
