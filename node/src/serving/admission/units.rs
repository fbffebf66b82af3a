//! One kind of units of a table or an index, which all its partitions in this store share, and what is counted of it.
//!
//! What has been admitted and has not paid yet is pending: it counts against the balance with what it costs at least, so that a
//! batch does not go ahead as a whole because there was something left for its first item.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use partita_admission::pool::{Pool, Standing};
use partita_admission::table::{Declared, Levels, Limits};
use partita_model::capacity::{HalfUnits, ThrottleLimit, UnitKind};

use super::levels::SavedUnits;

/// What is counted of one kind of units.
#[derive(Debug, Default)]
pub struct Counts {
    used_half_units: AtomicU64,
    throttled: ByLimit<AtomicU64>,
    shadowed: ByLimit<AtomicU64>,
}

/// A number for each limit, in the order of [`ThrottleLimit::ALL`].
type ByLimit<T> = [T; ThrottleLimit::ALL.len()];

/// What has been counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Units that were used, in halves.
    pub used_half_units: u64,
    /// Requests that were refused, by the limit that they have met.
    throttled: ByLimit<u64>,
    /// Requests that would have been refused.
    shadowed: ByLimit<u64>,
}

impl Counted {
    /// Requests that were refused because of this limit.
    pub fn throttled_by(&self, limit: ThrottleLimit) -> u64 {
        self.throttled[limit as usize]
    }

    /// Requests that would have been refused because of this limit.
    pub fn shadowed_by(&self, limit: ThrottleLimit) -> u64 {
        self.shadowed[limit as usize]
    }

    /// Requests that were refused.
    pub fn throttled(&self) -> u64 {
        self.throttled.iter().sum()
    }

    /// Requests that would have been refused.
    #[cfg(test)]
    pub fn shadowed(&self) -> u64 {
        self.shadowed.iter().sum()
    }
}

impl Counts {
    /// What has been counted.
    pub fn counted(&self) -> Counted {
        let all = |counts: &ByLimit<AtomicU64>| counts.each_ref().map(|count| count.load(Ordering::Relaxed));
        Counted {
            used_half_units: self.used_half_units.load(Ordering::Relaxed),
            throttled: all(&self.throttled),
            shadowed: all(&self.shadowed),
        }
    }

    /// A request was refused.
    pub fn note_throttled(&self, limit: ThrottleLimit) {
        self.throttled[limit as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A request would have been refused.
    pub fn note_shadowed(&self, limit: ThrottleLimit) {
        self.shadowed[limit as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Something was used.
    pub fn note_used(&self, cost: HalfUnits) {
        self.used_half_units.fetch_add(cost.0, Ordering::Relaxed);
    }
}

/// One kind of units of a table or an index.
#[derive(Debug, Default)]
pub struct Units {
    /// `None` until it is known what is declared.
    pool: Mutex<Option<Pool>>,
    pending: Pending,
    pub counts: Counts,
}

/// What has been admitted costs at least this, in half units, and has not been paid.
#[derive(Debug, Default)]
pub struct Pending(AtomicU64);

impl Pending {
    /// All of it.
    pub fn sum(&self) -> HalfUnits {
        HalfUnits(self.0.load(Ordering::Relaxed))
    }

    /// More of it: whoever asks whether there is something left has to wait meanwhile.
    pub fn add(&self, least: HalfUnits) {
        self.0.fetch_add(least.0, Ordering::Relaxed);
    }

    /// It is paid, or came to nothing.
    pub fn end(&self, least: HalfUnits) {
        self.0.fetch_sub(least.0, Ordering::Relaxed);
    }
}

impl Units {
    pub fn declare(&self, declared: Declared, limits: Limits, standing: Standing, saved: Option<Levels>, now_ms: u64) {
        match &mut *self.pool.lock() {
            Some(pool) => pool.declare(declared, standing, now_ms),
            unknown => *unknown = Some(Pool::new(declared, limits, standing, saved.unwrap_or_default(), now_ms)),
        }
    }

    /// Whether a request may go ahead that costs this much at least. That is pending from then on.
    pub fn admit(&self, least: HalfUnits, now_ms: u64) -> Result<(), ThrottleLimit> {
        let mut pool = self.pool.lock();
        if let Some(pool) = &mut *pool {
            pool.admit(self.pending.sum(), now_ms)?;
        }
        self.pending.add(least);
        Ok(())
    }

    /// A request that was admitted has been charged, or came to nothing.
    pub fn end(&self, least: HalfUnits) {
        self.pending.end(least);
    }

    /// Takes what a request cost.
    pub fn charge(&self, cost: HalfUnits, now_ms: u64) {
        if let Some(pool) = &mut *self.pool.lock() {
            pool.charge(cost, now_ms);
        }
    }

    /// What metrics show.
    pub fn shown(&self, now_ms: u64) -> ShownUnits {
        let mut pool = self.pool.lock();
        ShownUnits {
            counted: self.counts.counted(),
            allowed: pool.as_ref().and_then(Pool::allowed).map(HalfUnits::units),
            balance: pool.as_mut().and_then(|pool| pool.balance(now_ms)),
        }
    }

    /// Does something to what is declared, if anything is.
    pub fn with<T>(&self, act: impl FnOnce(&mut Pool) -> T) -> Option<T> {
        self.pool.lock().as_mut().map(act)
    }

    fn levels(&self, now_ms: u64) -> Option<Levels> {
        self.with(|pool| pool.levels(now_ms))?
    }
}

/// Both kinds of units of a table or an index.
#[derive(Debug, Default)]
pub struct Both {
    pub reads: Units,
    pub writes: Units,
}

impl Both {
    /// One kind.
    pub fn of(&self, kind: UnitKind) -> &Units {
        match kind {
            UnitKind::Read => &self.reads,
            UnitKind::Write => &self.writes,
        }
    }

    /// Where their buckets stand; `None` if both are as a new table's.
    pub fn levels(&self, now_ms: u64) -> Option<SavedUnits> {
        let saved = SavedUnits {
            reads: self.reads.levels(now_ms),
            writes: self.writes.levels(now_ms),
        };
        (saved.reads.is_some() || saved.writes.is_some()).then_some(saved)
    }
}

/// One kind of units, as metrics show it.
#[derive(Debug, Clone, Copy)]
pub struct ShownUnits {
    /// Counts.
    pub counted: Counted,
    /// Units per second; `None` until it is known what is declared.
    pub allowed: Option<f64>,
    /// Units that may be used at once.
    pub balance: Option<f64>,
}
