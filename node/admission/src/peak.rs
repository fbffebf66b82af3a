//! The highest load that an on-demand table has had: it is ready for twice as much at once.
//!
//! Source: "On-demand capacity mode", Amazon DynamoDB Developer Guide: up to double the previous peak within 30 minutes; a new
//! table is ready for 4,000 write and 12,000 read units.

use std::collections::VecDeque;

use partita_model::capacity::{HalfUnits, UnitsPeak};
use serde::{Deserialize, Serialize};

/// The load is averaged over so long: shorter peaks are what burst is for.
const STEP_MS: u64 = 60_000;
/// A load counts as one of before after so many steps: 30 minutes.
const STEPS: usize = 30;

/// Averages of the last half hour, and the highest one from before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peak {
    /// Half units per second.
    settled: u64,
    /// Averages in half units per second, oldest first.
    recent: VecDeque<u64>,
    /// Half units used in the step that runs.
    used: u64,
    /// When that step began.
    step_ms: u64,
}

impl Peak {
    /// Of a table that is ready for `ready`, whatever it has seen.
    pub fn new(ready: HalfUnits, now_ms: u64) -> Self {
        Self {
            settled: ready.0 / 2,
            recent: VecDeque::with_capacity(STEPS),
            used: 0,
            step_ms: now_ms,
        }
    }

    /// One that has been told of.
    pub fn of(told: UnitsPeak, now_ms: u64) -> Self {
        let recent = told.recent.len().saturating_sub(STEPS);
        Self {
            settled: told.settled,
            recent: told.recent.into_iter().skip(recent).collect(),
            used: 0,
            step_ms: now_ms,
        }
    }

    /// To tell of.
    pub fn told(&self) -> UnitsPeak {
        UnitsPeak {
            settled: self.settled,
            recent: self.recent.iter().copied().collect(),
        }
    }

    /// The same one somewhere else, where the clock shows another time: what the step that runs has seen is left behind.
    /// `ready`: what the table has to be ready for at least.
    pub fn resumed(self, ready: HalfUnits, now_ms: u64) -> Self {
        Self {
            settled: self.settled.max(ready.0 / 2),
            used: 0,
            step_ms: now_ms,
            ..self
        }
    }

    /// Notes what was used.
    pub fn note(&mut self, used: HalfUnits, now_ms: u64) {
        self.pass(now_ms);
        self.used = self.used.saturating_add(used.0);
    }

    /// The rate that is admitted.
    pub fn admitted(&self) -> HalfUnits {
        HalfUnits(self.settled.saturating_mul(2))
    }

    /// Whether there is anything to remember.
    pub fn has_seen_load(&self) -> bool {
        self.used > 0 || self.recent.iter().any(|average| *average > 0)
    }

    /// Ends the steps that are over; whether there were any. After a long time without any load one look at the clock ends
    /// them all.
    pub fn pass(&mut self, now_ms: u64) -> bool {
        let over = now_ms.saturating_sub(self.step_ms) / STEP_MS;
        if over == 0 {
            return false;
        }
        self.step_ms += over * STEP_MS;
        self.end_step(self.used / (STEP_MS / 1000));
        self.used = 0;
        for _ in 1..over.min(STEPS as u64 + 1) {
            self.end_step(0);
        }
        true
    }

    fn end_step(&mut self, average: u64) {
        self.recent.push_back(average);
        if self.recent.len() > STEPS
            && let Some(old) = self.recent.pop_front()
        {
            self.settled = self.settled.max(old);
        }
    }
}
