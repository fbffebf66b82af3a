//! A bucket of units.

use partita_model::capacity::HalfUnits;
use serde::{Deserialize, Serialize};

/// Fills with a rate up to what a number of milliseconds brings. Counted in thousandths of half units: a rate in half units
/// per second brings as many of them in each millisecond, exactly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// Half units per second.
    rate: u64,
    /// For how long unused units are kept.
    burst_ms: u64,
    /// Thousandths of half units; negative while a debt is paid back.
    level: i64,
    /// When the level was right.
    at_ms: u64,
}

/// Thousandths in a half unit.
const PARTS: i64 = 1000;

impl Bucket {
    /// A full one.
    pub fn full(rate: HalfUnits, burst_ms: u64, now_ms: u64) -> Self {
        let mut bucket = Self {
            rate: rate.0,
            burst_ms,
            level: 0,
            at_ms: now_ms,
        };
        bucket.level = bucket.most();
        bucket
    }

    /// One that goes on at a level that is known from before, without a refill for the time in between.
    pub fn at_level(rate: HalfUnits, burst_ms: u64, level: i64, now_ms: u64) -> Self {
        let mut bucket = Self::full(rate, burst_ms, now_ms);
        bucket.level = bucket.level.min(level);
        bucket
    }

    /// Whether anything is left beside this.
    pub fn has_more_than(&mut self, pending: HalfUnits, now_ms: u64) -> bool {
        self.fill(now_ms);
        self.level > parts(pending)
    }

    /// Takes what something cost; the rest is debt.
    pub fn take(&mut self, cost: HalfUnits) {
        self.level = self.level.saturating_sub(parts(cost));
    }

    /// Another rate from now on. What is there stays, as far as the new rate can hold it: a change gives no units away.
    pub fn set_rate(&mut self, rate: HalfUnits, now_ms: u64) {
        if rate.0 == self.rate {
            return;
        }
        self.fill(now_ms);
        self.rate = rate.0;
        self.level = self.level.min(self.most());
    }

    /// The rate.
    pub fn rate(&self) -> HalfUnits {
        HalfUnits(self.rate)
    }

    /// The level now, in thousandths of half units.
    pub fn level(&mut self, now_ms: u64) -> i64 {
        self.fill(now_ms);
        self.level
    }

    /// The level now, in units.
    pub fn balance(&mut self, now_ms: u64) -> f64 {
        self.level(now_ms) as f64 / (2 * PARTS) as f64
    }

    /// What is left, in whole half units.
    pub fn left(&mut self, now_ms: u64) -> HalfUnits {
        HalfUnits(u64::try_from(self.level(now_ms) / PARTS).unwrap_or(0))
    }

    /// Whether it holds no more.
    pub fn is_full(&mut self, now_ms: u64) -> bool {
        self.level(now_ms) >= self.most()
    }

    /// A clock that goes back fills nothing, and nothing twice.
    fn fill(&mut self, now_ms: u64) {
        let elapsed = now_ms.saturating_sub(self.at_ms);
        if elapsed == 0 {
            return;
        }
        self.at_ms = now_ms;
        let brought = i64::try_from(self.rate.saturating_mul(elapsed)).unwrap_or(i64::MAX);
        self.level = self.level.saturating_add(brought).min(self.most());
    }

    fn most(&self) -> i64 {
        i64::try_from(self.rate.saturating_mul(self.burst_ms)).unwrap_or(i64::MAX)
    }
}

fn parts(units: HalfUnits) -> i64 {
    i64::try_from(units.0).unwrap_or(i64::MAX).saturating_mul(PARTS)
}
