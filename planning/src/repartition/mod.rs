//! Which partitions of a table are to be split or merged, and why. A pure step: what was measured, the memory of earlier steps
//! and the time are arguments; a new memory and decisions are the result.
//!
//! 1. [`Memory`]: since when what holds; on demand, the highest load of late;
//! 2. [`target`]: how many partitions the units and the bytes ask for. On demand the units are those of that load, or those that
//!    the table is kept warm for;
//! 3. a partition that is too large is split at the middle of its bytes, at once: what is stored must fit;
//! 4. while there are fewer than the target, those with most to do are split;
//! 5. a partition that has been hot for a while is split at the middle of its load, if the table has units that it cannot use
//!    there. If one key is what makes it hot, it is left alone and reported: no split would help;
//! 6. once there have been more than the target for a while, two neighbours that have had little to do for as long, and have
//!    been left alone for as long, are merged.
//!
//! It cannot flap: what makes a partition hot is twice as much as what two together may have to be merged, what is merged is
//! far below what would be split, and every change is followed by a time in which it is not undone.
//!
//! Source of the model: "Partitions and data distribution" and "Burst and adaptive capacity", Amazon DynamoDB Developer Guide.
//!
//! ```text
//! split   bytes > limit · or fewer than the target · or heat > 80 % for 2 min, units left, and no single key has half of it
//! merge   more than the target for 60 min, and of two neighbours: heat ≤ 40 % and both unchanged for 60 min, bytes ≤ 50 % of the limit
//! ```

mod memory;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
mod why;

use partita_model::table::Throughput;
use partita_model::table::record::PartitionLimits;

pub use memory::Memory;
pub use why::{Asker, Why};

/// A partition's own ceiling and when it changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// What a partition can serve.
    pub units: Throughput,
    /// The bytes that a partition may hold.
    pub bytes: u64,
    /// Most partitions of a table or an index.
    pub partitions_max: u64,
    /// From which part of what it can serve on a partition is hot.
    pub hot: f64,
    /// How long it must have been.
    pub hot_for_ms: u64,
    /// The part of what one can serve up to which two partitions may be merged; at most half of `hot`, or they would be split again.
    pub idle: f64,
    /// The part of a partition's bytes up to which two may be merged.
    pub small: f64,
    /// How long there must have been too many partitions, and how long both must have been left alone, before two are merged.
    pub cool_down_ms: u64,
    /// Most partitions that change at once: each change moves data.
    pub changes_at_once: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            units: PartitionLimits::UNITS,
            bytes: PARTITION_BYTES,
            partitions_max: crate::PARTITIONS_MAX,
            hot: 0.8,
            hot_for_ms: 2 * 60 * 1000,
            idle: 0.4,
            small: 0.5,
            cool_down_ms: 60 * 60 * 1000,
            changes_at_once: 4,
        }
    }
}

/// The bytes that a partition may hold where no setting says it. Source: "Partitions and data distribution", as above.
pub const PARTITION_BYTES: u64 = 10_000_000_000;

/// A partition is split before it takes more than so many hundredths of its volume: compaction needs room for as much again.
const VOLUME_PERCENT: u64 = 40;

impl Limits {
    /// The same, of partitions on volumes of so many bytes: a partition's own ceiling is also what its volume bears.
    pub fn on_volumes(mut self, bytes: u64) -> Self {
        self.bytes = self.bytes.min(bytes / 100 * VOLUME_PERCENT).max(1);
        self
    }

    /// What says how many partitions units ask for.
    pub fn partitions(&self) -> PartitionLimits {
        PartitionLimits {
            units: self.units,
            count_max: self.partitions_max,
        }
    }

    /// How often partitions' use has to be measured: twice within the time after which heat splits them or cold merges them.
    pub fn look_every_ms(&self) -> u64 {
        (self.hot_for_ms.min(self.cool_down_ms) / 2).max(LOOK_EVERY_MS_MIN)
    }
}

/// Within less than a second a few requests look like a load.
const LOOK_EVERY_MS_MIN: u64 = 1000;
/// The most that heat may add to what units and bytes ask for: as many again, and a few.
const HEAT_FACTOR: u64 = 2;
/// Those few: a small table may have a hot range, too.
const HEAT_EXTRA: u64 = 2;
/// The share of a partition's load from which on one key is what makes it hot.
const HOT_KEY_SHARE: f64 = 0.5;
/// A table that uses more than this part of its units has none left: another partition would not let it use more.
const UNITS_LEFT_BELOW: f64 = 0.9;

/// Units that are used in each second.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Use {
    /// RCU.
    pub read: f64,
    /// WCU.
    pub write: f64,
}

impl Use {
    /// Of both kinds, the higher of two.
    fn max(self, other: Self) -> Self {
        Self {
            read: self.read.max(other.read),
            write: self.write.max(other.write),
        }
    }
}

/// A partition as it was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Partition {
    /// Its group: unlike any other's.
    pub group: u64,
    /// What it has served in each second of late.
    pub used: Use,
    /// The share of them that its busiest key had; zero if it is not known.
    pub busiest_key: f64,
    /// Its bytes.
    pub bytes: u64,
    /// The width of its range, in hashes.
    pub span: u64,
    /// When it was born, cut or enlarged, in epoch milliseconds. One whose use is not known yet is as one that was born now.
    pub changed_ms: u64,
    /// What is being done with it already: it is left alone until that is over.
    pub change: Option<Change>,
}

/// What is being done with a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is being split: soon there is one more.
    Split,
    /// It absorbs the one that follows it: soon there is one less.
    Merge,
    /// It is being moved or absorbed.
    Other,
    /// Nothing: it was refused, and is left alone for a while. That keeps no other one from being changed.
    Refused,
}

/// A table (or a global index) as it was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// The units that it has; `None` on demand.
    pub declared: Option<Throughput>,
    /// The units that it is kept warm for.
    pub warm: Option<Throughput>,
    /// Its partitions, in key order.
    pub partitions: Vec<Partition>,
}

impl Measured {
    /// What all partitions together have served in each second of late.
    fn used(&self) -> Use {
        self.partitions.iter().fold(Use::default(), |sum, one| Use {
            read: sum.read + one.used.read,
            write: sum.write + one.used.write,
        })
    }

    /// The units that ask for partitions, and whose they are: those that ask for most.
    fn asking(&self, peak: Throughput, limits: &Limits) -> (Throughput, Asker) {
        let own = match self.declared {
            Some(declared) => (declared, Asker::Declared),
            None => (peak, Asker::Peak),
        };
        let by = limits.partitions();
        match self.warm {
            Some(warm) if by.for_units(warm) > by.for_units(own.0) => (warm, Asker::Warm),
            Some(_) | None => own,
        }
    }
}

/// Where a partition is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// At the middle of its bytes; of its range while it holds nothing.
    Bytes,
    /// At the middle of its load.
    Load,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Cut this partition.
    Split {
        /// Which.
        group: u64,
        /// Where.
        cut: Cut,
    },
    /// Let the first absorb the second, which follows it.
    Merge {
        /// Which stays.
        group: u64,
        /// Which goes.
        absorbed: u64,
    },
    /// Nothing is done about a hot partition, because one key is what makes it hot, or there are enough partitions.
    Report {
        /// Where.
        group: u64,
    },
}

/// An action and its reason.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// What is to be done.
    pub action: Action,
    /// Why.
    pub why: Why,
}

/// Partitions that units and bytes ask for, within the bound.
pub fn target(units: Throughput, bytes: u64, limits: &Limits) -> u64 {
    let by_bytes = bytes.div_ceil(limits.bytes.max(1));
    limits
        .partitions()
        .for_units(units)
        .max(by_bytes)
        .clamp(1, limits.partitions_max.max(1))
}

/// Which part of what a partition can serve it does serve.
fn heat(partition: &Partition, limits: &Limits) -> f64 {
    let (read, write) = parts(partition, limits);
    read + write
}

/// The parts of that which reads and writes have.
fn parts(partition: &Partition, limits: &Limits) -> (f64, f64) {
    (
        partition.used.read / limits.units.read.max(1) as f64,
        partition.used.write / limits.units.write.max(1) as f64,
    )
}

/// One step.
pub fn step(table: &Measured, memory: &Memory, limits: &Limits, now_ms: u64) -> (Vec<Decision>, Memory) {
    let mut memory = memory.next(table, limits, now_ms);
    let bytes = table.partitions.iter().map(|partition| partition.bytes).sum();
    let (units, of) = table.asking(memory.peak(), limits);
    let changes = || table.partitions.iter().filter_map(|partition| partition.change);
    let under_way_at_all = changes().filter(|change| *change != Change::Refused).count();
    let under_way = |wanted: Change| changes().filter(|change| *change == wanted).count() as u64;
    let there = table.partitions.len() as u64 + under_way(Change::Split);
    let mut step = Step {
        table,
        limits,
        now_ms,
        units,
        of,
        asked: target(units, bytes, limits),
        there,
        leaving: under_way(Change::Merge),
        left: limits.changes_at_once.saturating_sub(under_way_at_all),
        taken: table
            .partitions
            .iter()
            .map(|partition| partition.change.is_some())
            .collect(),
        decisions: Vec::new(),
    };
    memory.asked = step.asked;
    let too_many = step.there - step.leaving > step.asked && !memory.may_have_forgotten(limits, now_ms);
    memory.too_many_since_ms = too_many.then(|| memory.too_many_since_ms.unwrap_or(now_ms));
    step.split_large();
    step.split_for_units();
    step.split_hot(&mut memory);
    if step.there == there {
        step.merge(&memory);
    }
    (step.decisions, memory)
}

struct Step<'a> {
    table: &'a Measured,
    limits: &'a Limits,
    now_ms: u64,
    /// The units that ask for partitions.
    units: Throughput,
    /// Whose they are.
    of: Asker,
    /// Partitions that units and bytes ask for.
    asked: u64,
    /// Partitions that there will be once every split is done that is under way or decided.
    there: u64,
    /// As many of them will be gone once every merge is done that is under way or decided.
    leaving: u64,
    /// So many more may change.
    left: usize,
    /// By place: it changes already.
    taken: Vec<bool>,
    decisions: Vec<Decision>,
}

impl Step<'_> {
    /// Whether another partition may come, of at most so many.
    fn may_grow(&self, most: u64) -> bool {
        self.left > 0 && self.there < most.min(self.limits.partitions_max)
    }

    fn split(&mut self, place: usize, cut: Cut, why: Why) {
        let group = self.table.partitions[place].group;
        self.taken[place] = true;
        self.left -= 1;
        self.there += 1;
        self.decisions.push(Decision {
            action: Action::Split { group, cut },
            why,
        });
    }

    fn split_large(&mut self) {
        for place in 0..self.table.partitions.len() {
            let (bytes, limit) = (self.table.partitions[place].bytes, self.limits.bytes);
            if bytes > limit && !self.taken[place] && self.may_grow(u64::MAX) {
                self.split(place, Cut::Bytes, Why::Size { bytes, limit });
            }
        }
    }

    /// What a partition has to do: by heat or bytes, whichever is more.
    fn burden(&self, partitions: &[Partition]) -> f64 {
        let hot: f64 = partitions.iter().map(|partition| heat(partition, self.limits)).sum();
        let bytes: f64 = partitions.iter().map(|partition| partition.bytes as f64).sum();
        hot.max(bytes / self.limits.bytes.max(1) as f64)
    }

    /// Those with most to do first; of those that have nothing to do, those with the widest range.
    fn split_for_units(&mut self) {
        if self.there >= self.asked {
            return;
        }
        let partitions = &self.table.partitions;
        let mut places: Vec<usize> = (0..partitions.len()).filter(|place| !self.taken[*place]).collect();
        let rank = |place: &usize| (self.burden(&partitions[*place..=*place]), partitions[*place].span);
        places.sort_by(|one, other| {
            let (one, other) = (rank(one), rank(other));
            other.0.total_cmp(&one.0).then(other.1.cmp(&one.1))
        });
        for place in places {
            if !self.may_grow(self.asked) {
                return;
            }
            let why = self.for_units(self.there);
            self.split(place, Cut::Bytes, why);
        }
    }

    fn for_units(&self, there: u64) -> Why {
        Why::Units {
            units: self.units,
            of: self.of,
            asked: self.asked,
            there,
        }
    }

    fn split_hot(&mut self, memory: &mut Memory) {
        let most = self.asked.saturating_mul(HEAT_FACTOR).saturating_add(HEAT_EXTRA);
        let most = most.min(self.limits.partitions_max);
        for place in 0..self.table.partitions.len() {
            let partition = &self.table.partitions[place];
            let Some(since) = memory.hot_since_ms.get(&partition.group) else {
                continue;
            };
            let for_ms = self.now_ms.saturating_sub(*since);
            // A partition that was cut is measured anew before it is cut again.
            let measured_ms = self.now_ms.saturating_sub(partition.changed_ms).min(for_ms);
            if measured_ms < self.limits.hot_for_ms || self.taken[place] {
                continue;
            }
            let (heat, share) = (heat(partition, self.limits), partition.busiest_key);
            if share >= HOT_KEY_SHARE {
                self.report(memory, partition.group, Why::Key { heat, share });
            } else if !self.has_units_left(partition) {
                continue;
            } else if self.there >= most {
                self.report(memory, partition.group, Why::Bound { heat, most });
            } else if self.may_grow(most) {
                self.split(place, Cut::Load, Why::Heat { heat, for_ms });
            }
        }
    }

    /// Says once why nothing is done about a hot partition.
    fn report(&mut self, memory: &mut Memory, group: u64, why: Why) {
        if memory.reported.insert(group, self.now_ms).is_none() {
            let action = Action::Report { group };
            self.decisions.push(Decision { action, why });
        }
    }

    /// Whether the table has units that a hot partition cannot use because it is one partition. On demand it may always have.
    fn has_units_left(&self, partition: &Partition) -> bool {
        let Some(declared) = self.table.declared else {
            return true;
        };
        let (used, (reads, writes)) = (self.table.used(), parts(partition, self.limits));
        let (used, declared, own) = match reads >= writes {
            true => (used.read, declared.read, self.limits.units.read),
            false => (used.write, declared.write, self.limits.units.write),
        };
        declared > own && used < declared as f64 * UNITS_LEFT_BELOW
    }

    /// Neighbours with the least to do first.
    fn merge(&mut self, memory: &Memory) {
        let for_ms = memory.too_many_since_ms.map(|since| self.now_ms.saturating_sub(since));
        if for_ms.is_none_or(|for_ms| for_ms < self.limits.cool_down_ms) {
            return;
        }
        let mut pairs: Vec<(usize, f64)> = (1..self.table.partitions.len())
            .map(|second| second - 1)
            .filter(|first| self.may_merge(*first, memory))
            .map(|first| (first, self.burden(&self.table.partitions[first..first + 2])))
            .collect();
        pairs.sort_by(|one, other| one.1.total_cmp(&other.1));
        for (first, _) in pairs {
            let there = self.there - self.leaving;
            if there <= self.asked || self.left == 0 {
                return;
            }
            if self.taken[first] || self.taken[first + 1] {
                continue;
            }
            (self.taken[first], self.taken[first + 1]) = (true, true);
            let why = self.for_units(there);
            self.left -= 1;
            self.leaving += 1;
            let action = Action::Merge {
                group: self.table.partitions[first].group,
                absorbed: self.table.partitions[first + 1].group,
            };
            self.decisions.push(Decision { action, why });
        }
    }

    fn may_merge(&self, first: usize, memory: &Memory) -> bool {
        let both = &self.table.partitions[first..first + 2];
        let lasts = |since_ms: u64| self.now_ms.saturating_sub(since_ms) >= self.limits.cool_down_ms;
        let cold = memory.cold_since_ms.get(&(both[0].group, both[1].group));
        let bytes: f64 = both.iter().map(|partition| partition.bytes as f64).sum();
        cold.is_some_and(|since_ms| lasts(*since_ms))
            && both.iter().all(|partition| lasts(partition.changed_ms))
            && bytes <= self.limits.bytes as f64 * self.limits.small
    }
}
