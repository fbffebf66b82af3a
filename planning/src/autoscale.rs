//! Units that follow the use: target tracking, as Application Auto Scaling does it for DynamoDB. A pure step: what was used, the
//! units as they are and the time are arguments.
//!
//! 1. [`History`] keeps what was used in each of the last minutes;
//! 2. the bounds come first: the range's own, and minimums that a schedule raises for some hours;
//! 3. **out, quickly**: two minutes in a row above the target ask for as many units as bring the use down to it, at once;
//! 4. **in, carefully**: fifteen minutes in a row a fifth below the target ask for as many as the busiest of them needs, if nothing
//!    was changed for a while. A minute that was not measured counts for neither.
//!
//! It cannot flap: after a step out or in, the use of the minutes that it was decided by is at the target, a fifth away from the
//! next step in, and what is measured must be off for minutes again.
//!
//! Source: "Managing throughput capacity automatically with DynamoDB auto scaling", Amazon DynamoDB Developer Guide; "Target
//! tracking scaling policies", Application Auto Scaling User Guide.

use std::collections::VecDeque;
use std::fmt;

use partita_crds::convert::minute_of_day;
use partita_crds::table::{AutoscalingRange, Weekday};

/// Milliseconds of a minute.
pub const MINUTE_MS: u64 = 60 * 1000;
/// Minutes in a row above the target after which units grow.
const OUT_MINUTES: u64 = 2;
/// Minutes in a row below the target after which they shrink.
const IN_MINUTES: u64 = 15;
/// Below this part of the target they shrink.
const IN_BELOW: f64 = 0.8;
/// After any step, as long as this nothing shrinks.
const IN_COOL_DOWN_MS: u64 = 15 * MINUTE_MS;
/// Measurements that are further apart are not of minutes in a row. One takes its time, more where a node does not answer.
const GAP_MS: u64 = 90 * 1000;
/// Milliseconds of a day.
const DAY_MS: u64 = 24 * 60 * MINUTE_MS;
/// The first of January 1970 was a Thursday: the fourth day of a week that begins on Sunday.
const FIRST_WEEKDAY: u64 = 4;

/// Hours in which there are more units at least, by UTC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Days of the week on which it begins, Sunday first; every day if none is set.
    pub days: [bool; 7],
    /// Minute of the day at which it begins.
    pub from: u64,
    /// Minute of the day at which it ends; on the next day if it is not after `from`.
    pub to: u64,
    /// Units at least.
    pub min: u64,
}

impl Window {
    fn holds(&self, now_ms: u64) -> bool {
        let (day, minute) = (now_ms / DAY_MS, now_ms % DAY_MS / MINUTE_MS);
        let begins_on = |day: u64| self.days == [false; 7] || self.days[((day + FIRST_WEEKDAY) % 7) as usize];
        if self.from < self.to {
            return begins_on(day) && (self.from..self.to).contains(&minute);
        }
        let since_yesterday = minute < self.to && day > 0 && begins_on(day - 1);
        since_yesterday || (minute >= self.from && begins_on(day))
    }
}

/// Bounds and target of one kind of units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// Units at least.
    pub min: u64,
    /// Units at most.
    pub max: u64,
    /// Use in per cent of the units that is aimed at.
    pub target_percent: u64,
    /// Hours with more at least.
    pub windows: Vec<Window>,
}

impl From<&AutoscalingRange> for Range {
    /// What a valid specification declares.
    fn from(declared: &AutoscalingRange) -> Self {
        let units = |units: i64| u64::try_from(units).unwrap_or(0);
        let windows = declared.schedule.iter().map(|scheduled| Window {
            days: days(&scheduled.days),
            from: minute_of_day(&scheduled.from).unwrap_or(0),
            to: minute_of_day(&scheduled.to).unwrap_or(0),
            min: units(scheduled.min),
        });
        Self {
            min: units(declared.min),
            max: units(declared.max),
            target_percent: u64::try_from(declared.target_utilization).unwrap_or(0),
            windows: windows.collect(),
        }
    }
}

fn days(declared: &[Weekday]) -> [bool; 7] {
    let mut days = [false; 7];
    for day in declared {
        days[match day {
            Weekday::Sunday => 0,
            Weekday::Monday => 1,
            Weekday::Tuesday => 2,
            Weekday::Wednesday => 3,
            Weekday::Thursday => 4,
            Weekday::Friday => 5,
            Weekday::Saturday => 6,
        }] = true;
    }
    days
}

impl Range {
    /// Units at least now, and whether a schedule says so.
    pub fn min_at(&self, now_ms: u64) -> (u64, bool) {
        let windows = self.windows.iter().filter(|window| window.holds(now_ms));
        let raised = windows.map(|window| window.min).max().unwrap_or(0).min(self.max);
        (raised.max(self.min), raised > self.min)
    }

    /// Within the bounds.
    pub fn within(&self, units: u64, now_ms: u64) -> u64 {
        units.clamp(self.min_at(now_ms).0, self.max.max(self.min))
    }
}

/// What was used in each of the last minutes: when it was measured, and units per second.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct History(VecDeque<(u64, f64)>);

impl History {
    /// Notes units per second, averaged over the minute that ended at or before `now_ms`.
    pub fn note(&mut self, now_ms: u64, used: f64) {
        if self.0.back().is_some_and(|(last, _)| now_ms < last + MINUTE_MS) {
            return;
        }
        self.0.push_back((now_ms, used));
        while self.0.len() as u64 > IN_MINUTES {
            self.0.pop_front();
        }
    }

    /// The last so many measurements, if there are as many, one soon after the other up to now.
    fn last(&self, minutes: u64, now_ms: u64) -> Option<impl Iterator<Item = f64> + '_> {
        let first = self.0.len().checked_sub(usize::try_from(minutes).ok()?)?;
        let times = self.0.range(first..).map(|(at_ms, _)| *at_ms).chain([now_ms]);
        let soon = times.clone().zip(times.skip(1)).all(|(one, next)| next < one + GAP_MS);
        soon.then(|| self.0.range(first..).map(|(_, used)| *used))
    }
}

/// Why units change.
#[derive(Debug, Clone, PartialEq)]
pub enum Why {
    /// More is used than is aimed at.
    Above {
        /// Units per second.
        used: f64,
        /// The target in per cent.
        target_percent: u64,
    },
    /// Less is used than is aimed at.
    Below {
        /// Units per second, at most.
        used: f64,
        /// The target in per cent.
        target_percent: u64,
    },
    /// The range was changed.
    Range {
        /// Its minimum.
        min: u64,
        /// Its maximum.
        max: u64,
    },
    /// A schedule asks for more.
    Schedule {
        /// At least.
        min: u64,
    },
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Above { used, target_percent } => write!(
                f,
                "{used:.0} units/s were used for {OUT_MINUTES} min, more than the target of {target_percent} %"
            ),
            Self::Below { used, target_percent } => write!(
                f,
                "at most {used:.0} units/s were used for {IN_MINUTES} min, less than the target of {target_percent} %"
            ),
            Self::Range { min, max } => write!(f, "the range is {min} to {max}"),
            Self::Schedule { min } => write!(f, "the schedule asks for {min} at least"),
        }
    }
}

/// Other units.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// So many.
    pub to: u64,
    /// Why.
    pub why: Why,
}

/// What the units become, if they change. `changed_ms` is when they last did.
pub fn step(range: &Range, units: u64, changed_ms: u64, history: &History, now_ms: u64) -> Option<Change> {
    let bounded = range.within(units, now_ms);
    if bounded != units {
        let (min, scheduled) = range.min_at(now_ms);
        let why = if scheduled && bounded == min {
            Why::Schedule { min }
        } else {
            Why::Range { min, max: range.max }
        };
        return Some(Change { to: bounded, why });
    }
    out(range, units, history, now_ms).or_else(|| {
        let rested = now_ms.saturating_sub(changed_ms) >= IN_COOL_DOWN_MS;
        rested.then(|| inward(range, units, history, now_ms)).flatten()
    })
}

/// Units at which so much use is at the target.
fn needed(range: &Range, used: f64, now_ms: u64) -> u64 {
    // A float above what fits is the maximum anyway.
    let units = (used * 100.0 / range.target_percent.max(1) as f64).ceil() as u64;
    range.within(units, now_ms)
}

fn at_target(range: &Range, units: u64) -> f64 {
    units as f64 * range.target_percent as f64 / 100.0
}

fn out(range: &Range, units: u64, history: &History, now_ms: u64) -> Option<Change> {
    let least = history.last(OUT_MINUTES, now_ms)?.fold(f64::INFINITY, f64::min);
    if least <= at_target(range, units) {
        return None;
    }
    let used = history.last(OUT_MINUTES, now_ms)?.fold(0.0, f64::max);
    let to = needed(range, used, now_ms);
    let target_percent = range.target_percent;
    (to > units).then_some(Change {
        to,
        why: Why::Above { used, target_percent },
    })
}

fn inward(range: &Range, units: u64, history: &History, now_ms: u64) -> Option<Change> {
    let used = history.last(IN_MINUTES, now_ms)?.fold(0.0, f64::max);
    if used >= at_target(range, units) * IN_BELOW {
        return None;
    }
    let to = needed(range, used, now_ms);
    let target_percent = range.target_percent;
    (to < units).then_some(Change {
        to,
        why: Why::Below { used, target_percent },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: fn() -> Range = || Range {
        min: 100,
        max: 10_000,
        target_percent: 70,
        windows: Vec::new(),
    };
    /// A Thursday, 10:00.
    const NOW_MS: u64 = 10 * 60 * MINUTE_MS;

    /// So many minutes of use, up to now.
    fn used(minutes: &[f64]) -> History {
        let mut history = History::default();
        for (ago, used) in minutes.iter().rev().enumerate().rev() {
            history.note(NOW_MS - ago as u64 * MINUTE_MS, *used);
        }
        history
    }

    fn at(units: u64, history: &History) -> Option<(u64, String)> {
        step(&RANGE(), units, 0, history, NOW_MS).map(|change| (change.to, change.why.to_string()))
    }

    #[test]
    fn two_minutes_above_the_target_are_enough() {
        assert_eq!(at(1000, &used(&[1000.0])), None, "one may be an accident");
        assert_eq!(at(1000, &used(&[700.0, 1000.0])), None, "at the target is not above it");
        let (to, why) = at(1000, &used(&[710.0, 1000.0])).unwrap();
        assert_eq!(to, 1429);
        assert_eq!(why, "1000 units/s were used for 2 min, more than the target of 70 %");
        assert_eq!(
            at(1000, &used(&[1e9, 1e9])).unwrap().0,
            10_000,
            "never beyond the maximum"
        );
        assert_eq!(at(10_000, &used(&[1e9, 1e9])), None);
    }

    #[test]
    fn a_minute_that_was_not_measured_counts_for_nothing() {
        let mut history = History::default();
        history.note(NOW_MS - 2 * MINUTE_MS, 1e6);
        history.note(NOW_MS, 1e6);
        assert_eq!(at(1000, &history), None);
        let mut long = used(&[0.0; 15]);
        long.0.remove(7);
        assert_eq!(at(1000, &long), None);
        // The same minute twice, or one of before, is noted once.
        let mut history = used(&[1.0]);
        history.note(NOW_MS, 2.0);
        history.note(NOW_MS - MINUTE_MS, 2.0);
        assert_eq!(history, used(&[1.0]));
    }

    #[test]
    fn measurements_may_be_late() {
        let mut history = History::default();
        let times = (0..20).map(|late| NOW_MS - late * (MINUTE_MS + 7000));
        times.rev().for_each(|at_ms| history.note(at_ms, 100.0));
        assert_eq!(at(1000, &history).map(|(to, _)| to), Some(143));
    }

    #[test]
    fn fifteen_minutes_well_below_the_target_and_a_rest_are_needed_to_shrink() {
        let mut quiet = [100.0; 15];
        assert_eq!(at(1000, &used(&quiet[1..])), None);
        let (to, why) = at(1000, &used(&quiet)).unwrap();
        assert_eq!(to, 143);
        assert_eq!(
            why,
            "at most 100 units/s were used for 15 min, less than the target of 70 %"
        );
        let recent = NOW_MS - IN_COOL_DOWN_MS + 1;
        assert_eq!(step(&RANGE(), 1000, recent, &used(&quiet), NOW_MS), None);
        quiet[3] = 560.0;
        assert_eq!(at(1000, &used(&quiet)), None, "one busy minute holds it");
        assert_eq!(at(1000, &used(&[0.0; 15])).unwrap().0, 100, "never below the minimum");
        assert_eq!(at(100, &used(&[0.0; 15])), None);
    }

    #[test]
    fn bounds_and_schedules_come_first() {
        let none = History::default();
        assert_eq!(at(50, &none).unwrap(), (100, "the range is 100 to 10000".to_owned()));
        assert_eq!(at(20_000, &none).unwrap().0, 10_000);
        let mut range = RANGE();
        let mut thursdays = [false; 7];
        thursdays[4] = true;
        range.windows.push(Window {
            days: thursdays,
            from: 9 * 60,
            to: 17 * 60,
            min: 2000,
        });
        let at = |units, hour: u64| {
            step(&range, units, 0, &none, hour * 60 * MINUTE_MS).map(|change| (change.to, change.why.to_string()))
        };
        assert_eq!(at(100, 8), None);
        assert_eq!(
            at(100, 9),
            Some((2000, "the schedule asks for 2000 at least".to_owned()))
        );
        assert_eq!(at(2000, 16), None);
        assert_eq!(at(100, 17), None);
        assert_eq!(at(100, 24 + 9), None, "on Friday");
        assert_eq!(at(100, 7 * 24 + 9).map(|(to, _)| to), Some(2000), "next Thursday");
    }

    #[test]
    fn a_range_is_what_was_declared() {
        let declared: AutoscalingRange = serde_json::from_value(serde_json::json!({
            "min": 5, "max": 50, "targetUtilization": 60,
            "schedule": [{"days": ["Monday", "Friday"], "from": "08:30", "to": "17:00", "min": 20}],
        }))
        .unwrap();
        let window = Window {
            days: [false, true, false, false, false, true, false],
            from: 510,
            to: 1020,
            min: 20,
        };
        let range = Range {
            min: 5,
            max: 50,
            target_percent: 60,
            windows: vec![window],
        };
        assert_eq!(Range::from(&declared), range);
    }

    #[test]
    fn a_window_may_go_over_midnight() {
        let mut window = Window {
            days: [false; 7],
            from: 22 * 60,
            to: 6 * 60,
            min: 1,
        };
        let at = |window: &Window, hour: u64| window.holds(hour * 60 * MINUTE_MS);
        assert!(at(&window, 23) && at(&window, 24) && at(&window, 29));
        assert!(!at(&window, 30) && !at(&window, 12));
        window.days[4] = true;
        assert!(at(&window, 29), "it began on Thursday");
        assert!(!at(&window, 48), "it did not begin on Friday");
    }

    #[test]
    fn it_follows_a_sine_for_a_week_and_does_not_flap() {
        let range = Range {
            min: 200,
            max: 5000,
            ..RANGE()
        };
        let (mut units, mut changed_ms, mut history) = (200, 0, History::default());
        let (mut changes, mut turns, mut short, mut grows) = (0_u32, 0_u32, 0_u32, true);
        let minutes = 7 * 24 * 60;
        for minute in 0..minutes {
            let now_ms = minute * MINUTE_MS;
            let day = minute as f64 / (24.0 * 60.0) * std::f64::consts::TAU;
            let noise = 1.0 + 0.1 * ((minute * 7919 % 1000) as f64 / 500.0 - 1.0);
            let wanted = (2000.0 - 1800.0 * day.cos()) * noise;
            short += u32::from(wanted > units as f64);
            history.note(now_ms, wanted.min(units as f64));
            if let Some(change) = step(&range, units, changed_ms, &history, now_ms) {
                assert!((range.min..=range.max).contains(&change.to) && change.to != units);
                turns += u32::from((change.to > units) != grows);
                grows = change.to > units;
                (units, changed_ms, changes) = (change.to, now_ms, changes + 1);
            }
        }
        println!("7 days of a sine: {changes} changes, {turns} turns, {short} of {minutes} min above the units");
        assert!(turns <= 2 * 7 + 1, "once up and once down a day: {turns}");
        assert!(u64::from(short) * 100 <= minutes, "{short} minutes short");
    }
}
