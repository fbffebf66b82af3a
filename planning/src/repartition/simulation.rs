//! Days of virtual time: tables whose units, load and bytes change, a cluster that needs time for each split and merge, and what
//! must be true all the while. `cargo test -p partita-planning --lib simulation -- --nocapture` prints the figures.

use super::*;

const MINUTE_MS: u64 = 60 * 1000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;
/// A split is a log entry and a move of the child; a merge is a move first.
const SPLIT_MS: u64 = 2 * MINUTE_MS;
const MERGE_MS: u64 = 5 * MINUTE_MS;
/// Load and bytes are given by so many equal parts of the key space.
const PARTS: usize = 64;

/// Where load or bytes are: what there is below each part's begin, and all of it at the end.
struct Density([f64; PARTS + 1]);

impl Density {
    fn new(weight: impl Fn(usize) -> f64) -> Self {
        let mut below = [0.0; PARTS + 1];
        for part in 0..PARTS {
            below[part + 1] = below[part] + weight(part);
        }
        let all = below[PARTS];
        Self(below.map(|sum| sum / all))
    }

    /// The share below a place in 0..1.
    fn below(&self, place: f64) -> f64 {
        let parts = place * PARTS as f64;
        let part = (parts as usize).min(PARTS - 1);
        self.0[part] + (self.0[part + 1] - self.0[part]) * (parts - part as f64)
    }

    fn between(&self, start: f64, end: f64) -> f64 {
        self.below(end) - self.below(start)
    }

    /// Where half of what is between is.
    fn middle(&self, start: f64, end: f64) -> f64 {
        let half = self.between(start, end) / 2.0;
        let (mut low, mut high) = (start, end);
        for _ in 0..40 {
            let middle = f64::midpoint(low, high);
            if self.between(start, middle) < half {
                low = middle;
            } else {
                high = middle;
            }
        }
        f64::midpoint(low, high)
    }
}

/// What happens to a table at a time.
struct Weather {
    /// `None` on demand.
    units: Option<Throughput>,
    /// WCU that are used in each second.
    used: f64,
    bytes: f64,
}

type Forecast = Box<dyn Fn(u64) -> Weather>;

struct Range {
    group: u64,
    start: f64,
    end: f64,
    changed_ms: u64,
    /// What is being done with it, and when it is done; on the second partition of a merge nothing but the time.
    busy: Option<(u64, Option<Action>)>,
}

struct Cluster {
    ranges: Vec<Range>,
    next_group: u64,
    memory: Memory,
    limits: Limits,
    load: Density,
    stored: Density,
    weather: Forecast,
    /// Times of all changes, and whether each was a split.
    changes: Vec<(u64, bool)>,
    reports: u64,
    most: usize,
}

impl Cluster {
    fn new(limits: &Limits, load: Density, stored: Density, weather: Forecast) -> Self {
        let first = Range {
            group: 1,
            start: 0.0,
            end: 1.0,
            changed_ms: 0,
            busy: None,
        };
        Self {
            ranges: vec![first],
            next_group: 2,
            memory: Memory::default(),
            limits: limits.clone(),
            load,
            stored,
            weather,
            changes: Vec::new(),
            reports: 0,
            most: 1,
        }
    }

    /// One minute.
    fn tick(&mut self, now_ms: u64) {
        self.finish(now_ms);
        let weather = (self.weather)(now_ms);
        let partitions = self.ranges.iter().map(|range| Partition {
            group: range.group,
            used: Use {
                read: 0.0,
                write: weather.used * self.load.between(range.start, range.end),
            },
            busiest_key: 0.0,
            bytes: (weather.bytes * self.stored.between(range.start, range.end)) as u64,
            span: ((range.end - range.start) * u64::MAX as f64) as u64,
            changed_ms: range.changed_ms,
            change: range.busy.as_ref().map(|(_, action)| match action {
                Some(Action::Split { .. }) => Change::Split,
                Some(Action::Merge { .. }) => Change::Merge,
                Some(Action::Report { .. }) | None => Change::Other,
            }),
        });
        let measured = Measured {
            declared: weather.units,
            warm: None,
            partitions: partitions.collect(),
        };
        let (decisions, memory) = step(&measured, &self.memory, &self.limits, now_ms);
        self.memory = memory;
        self.check(&measured, &decisions);
        for decision in decisions {
            self.begin(decision.action, now_ms);
        }
        self.most = self.most.max(self.ranges.len());
    }

    /// What is true of every step.
    fn check(&self, measured: &Measured, decisions: &[Decision]) {
        let splits = decisions
            .iter()
            .filter(|decision| matches!(decision.action, Action::Split { .. }))
            .count();
        let under_way = self
            .ranges
            .iter()
            .filter(|range| matches!(range.busy, Some((_, Some(Action::Split { .. })))))
            .count();
        let planned = (measured.partitions.len() + splits + under_way) as u64;
        let asked = self.memory.asked();
        assert!(planned <= self.limits.partitions_max.max(measured.partitions.len() as u64));
        let by_size = decisions
            .iter()
            .any(|decision| matches!(decision.why, Why::Size { .. }));
        assert!(
            splits == 0 || by_size || planned <= asked * HEAT_FACTOR + HEAT_EXTRA + self.limits.changes_at_once as u64
        );
        let mut touched: Vec<u64> = Vec::new();
        for decision in decisions {
            match decision.action {
                Action::Split { group, .. } => touched.push(group),
                Action::Merge { group, absorbed } => touched.extend([group, absorbed]),
                Action::Report { .. } => {}
            }
            assert!(!decision.why.to_string().is_empty());
        }
        let busy = |group: &u64| {
            self.ranges
                .iter()
                .any(|range| range.group == *group && range.busy.is_some())
        };
        assert!(!touched.iter().any(busy), "what is busy is left alone");
        let all = touched.len();
        touched.sort_unstable();
        touched.dedup();
        assert_eq!(touched.len(), all, "nothing is decided twice of a partition");
        assert!(decisions.len() <= self.limits.changes_at_once + measured.partitions.len());
    }

    fn begin(&mut self, action: Action, now_ms: u64) {
        let place = |group: u64| self.ranges.iter().position(|range| range.group == group).unwrap();
        let rested_ms = |place: usize| now_ms - self.ranges[place].changed_ms;
        match action {
            Action::Split { group, cut } => {
                let place = place(group);
                assert!(cut == Cut::Bytes || rested_ms(place) >= self.limits.hot_for_ms);
                self.ranges[place].busy = Some((now_ms + SPLIT_MS, Some(action)));
                self.changes.push((now_ms, true));
            }
            Action::Merge { group, absorbed } => {
                let (place, second) = (place(group), place(absorbed));
                assert_eq!(second, place + 1, "only neighbours can be merged");
                let rested_ms = rested_ms(place).min(rested_ms(second));
                assert!(
                    rested_ms >= self.limits.cool_down_ms,
                    "what was made is not undone at once"
                );
                self.ranges[second].busy = Some((now_ms + MERGE_MS, None));
                self.ranges[place].busy = Some((now_ms + MERGE_MS, Some(action)));
                self.changes.push((now_ms, false));
            }
            Action::Report { .. } => self.reports += 1,
        }
    }

    fn finish(&mut self, now_ms: u64) {
        if self
            .ranges
            .iter()
            .all(|range| range.busy.as_ref().is_none_or(|(done_ms, _)| *done_ms > now_ms))
        {
            return;
        }
        let mut ranges = Vec::with_capacity(self.ranges.len() + 1);
        let mut before = std::mem::take(&mut self.ranges).into_iter();
        while let Some(mut range) = before.next() {
            let done = range.busy.as_ref().is_some_and(|(done_ms, _)| *done_ms <= now_ms);
            let action = if done {
                range.busy.take().and_then(|(_, action)| action)
            } else {
                None
            };
            match action {
                Some(Action::Split { cut, .. }) => {
                    let by = match cut {
                        Cut::Load => &self.load,
                        Cut::Bytes => &self.stored,
                    };
                    let middle = by.middle(range.start, range.end);
                    let child = Range {
                        group: self.next_group,
                        start: middle,
                        end: range.end,
                        changed_ms: now_ms,
                        busy: None,
                    };
                    self.next_group += 1;
                    (range.end, range.changed_ms) = (middle, now_ms);
                    ranges.extend([range, child]);
                }
                Some(Action::Merge { absorbed, .. }) => {
                    let gone = before.next().unwrap();
                    assert_eq!(gone.group, absorbed);
                    (range.end, range.changed_ms) = (gone.end, now_ms);
                    ranges.push(range);
                }
                Some(Action::Report { .. }) | None => ranges.push(range),
            }
        }
        self.ranges = ranges;
    }

    fn changes_since(&self, since_ms: u64) -> usize {
        self.changes.iter().filter(|(at_ms, _)| *at_ms >= since_ms).count()
    }
}

fn even() -> Density {
    Density::new(|_| 1.0)
}

/// Most of it in a few parts.
fn skewed(seed: u64) -> Density {
    Density::new(move |part| {
        if (part as u64 + seed).is_multiple_of(13) {
            8.0
        } else {
            0.5
        }
    })
}

/// Between -1 and 1, the same for the same time: what measuring adds.
fn noise(seed: u64, now_ms: u64) -> f64 {
    let mut bits = (now_ms / MINUTE_MS)
        .wrapping_add(seed << 32)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (bits >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}

fn sine(now_ms: u64) -> f64 {
    (now_ms as f64 / DAY_MS as f64 * std::f64::consts::TAU).sin()
}

fn units(write: u64) -> Option<Throughput> {
    Some(Throughput { read: 0, write })
}

/// Tables of six kinds, each with its own seed.
fn table(seed: u64, limits: &Limits) -> Cluster {
    let noisy = move |now_ms: u64| 1.0 + 0.2 * noise(seed, now_ms);
    let scale = 10_000.0 + (seed % 7) as f64 * 4000.0;
    let weather: Forecast = match seed % 6 {
        // The same all the time, but for the noise.
        0 => Box::new(move |now_ms| Weather {
            units: units(scale as u64),
            used: scale * 0.6 * noisy(now_ms),
            bytes: scale * 3e5,
        }),
        // As the day goes, with units that follow.
        1 => Box::new(move |now_ms| Weather {
            units: units((scale * (1.0 + 0.8 * sine(now_ms))) as u64),
            used: scale * 0.7 * (1.0 + 0.8 * sine(now_ms)) * noisy(now_ms),
            bytes: scale * 1e6,
        }),
        // On demand: no units at all, the load as the day goes.
        2 => Box::new(move |now_ms| Weather {
            units: None,
            used: 1500.0 * (1.0 + 0.9 * sine(now_ms)) * noisy(now_ms),
            bytes: 1e9,
        }),
        // Grows and grows.
        3 => Box::new(move |now_ms| Weather {
            units: units(100),
            used: 50.0,
            bytes: 1e9 + now_ms as f64 / DAY_MS as f64 * 1e11,
        }),
        // More for a day, then little.
        4 => Box::new(move |now_ms| Weather {
            units: units(if now_ms < DAY_MS { 2 * scale as u64 } else { 500 }),
            used: 300.0 * noisy(now_ms),
            bytes: 2e9,
        }),
        // Right at the line at which a partition is hot.
        _ => Box::new(move |now_ms| Weather {
            units: units(scale as u64),
            used: scale * 0.8 * noisy(now_ms),
            bytes: 1e8,
        }),
    };
    let load = if seed % 6 == 2 { skewed(seed) } else { even() };
    Cluster::new(limits, load, even(), weather)
}

#[test]
fn ten_thousand_partitions_of_many_tables_settle_and_stay() {
    let limits = Limits::default();
    let mut tables: Vec<Cluster> = (0..420).map(|seed| table(seed, &limits)).collect();
    let days = 3;
    let mut partitions_most = 0;
    for minute in 0..days * 24 * 60 {
        for table in &mut tables {
            table.tick(minute * MINUTE_MS);
        }
        partitions_most = partitions_most.max(tables.iter().map(|table| table.ranges.len()).sum());
    }
    let changes = |wanted: bool| -> usize {
        let all = tables.iter().flat_map(|table| &table.changes);
        all.filter(|(_, split)| *split == wanted).count()
    };
    println!(
        "{} tables, {days} days: at most {partitions_most} partitions, {} splits, {} merges",
        tables.len(),
        changes(true),
        changes(false)
    );
    assert!(partitions_most >= 10_000, "{partitions_most}");
    for (seed, table) in tables.iter().enumerate() {
        let (today, there) = (table.changes_since(2 * DAY_MS), table.ranges.len());
        match seed % 6 {
            // Ranges are halves of halves: a wide one may be hot in a noisy minute, and is split once. Nothing is ever undone.
            0 => assert!(
                table.changes.iter().all(|(_, split)| *split) && today <= 4,
                "{seed}: {today} changes of what stays"
            ),
            1 | 2 => assert!(today <= 2 * table.most, "{seed}: once up and once down a day: {today}"),
            3 => assert!(
                table.changes.iter().all(|(_, split)| *split),
                "{seed}: what grows is never merged"
            ),
            4 => assert!(there == 1 && today <= 2, "{seed}: {there} partitions, {today} changes"),
            _ => assert!(
                table.changes.iter().all(|(_, split)| *split) && today <= 4,
                "{seed}: {today} changes at the line"
            ),
        }
    }
}

#[test]
fn one_table_of_ten_thousand_partitions_comes_and_goes() {
    let limits = Limits {
        partitions_max: 20_000,
        changes_at_once: 256,
        ..Limits::default()
    };
    let weather: Forecast = Box::new(|now_ms| Weather {
        units: units(if now_ms < DAY_MS { 10_000_000 } else { 1_000_000 }),
        // Half of the ranges are twice as wide as the others: even those must not be hot. On the second day neighbours that
        // may not be merged have 400 WCU together: of 200,000 that keeps fewer than 1000 apart.
        used: if now_ms < DAY_MS { 6_000_000.0 } else { 200_000.0 },
        bytes: 1e12,
    });
    let mut table = Cluster::new(&limits, even(), even(), weather);
    let minutes = |day: u64| (day * 24 * 60..(day + 1) * 24 * 60).map(|minute| minute * MINUTE_MS);
    minutes(0).for_each(|now_ms| table.tick(now_ms));
    let last = table.changes.last().map_or(0, |(at_ms, _)| *at_ms);
    println!("1 → {} partitions within {} min", table.ranges.len(), last / MINUTE_MS);
    assert_eq!(table.ranges.len(), 10_000);
    assert!(last < 6 * HOUR_MS);
    minutes(1).for_each(|now_ms| table.tick(now_ms));
    let last = table.changes.last().map_or(0, |(at_ms, _)| *at_ms) - DAY_MS;
    println!("… → {} partitions within {} min", table.ranges.len(), last / MINUTE_MS);
    assert_eq!(table.ranges.len(), 1000);
    assert_eq!(table.changes_since(2 * DAY_MS - 6 * HOUR_MS), 0, "and then it rests");
}

/// Anything between none and `most` that stays for some hours, by chance.
fn erratic(seed: u64, now_ms: u64, most: f64) -> f64 {
    let hours = 1 + seed % 5;
    most * f64::midpoint(noise(seed, now_ms / (hours * HOUR_MS) * (hours * HOUR_MS)), 1.0)
}

#[test]
fn whatever_the_weather_a_table_rests_a_while_after_it() {
    let (limits, storm_ms) = (Limits::default(), DAY_MS);
    let (mut changes, mut most) = (0, 0);
    for seed in 0..200_u64 {
        let weather: Forecast = Box::new(move |now_ms| {
            let now_ms = now_ms.min(storm_ms);
            let declared = erratic(seed, now_ms, 9000.0);
            Weather {
                units: if seed % 3 == 0 { None } else { units(declared as u64) },
                // Sometimes more than there is: that is burst.
                used: declared * erratic(seed + 1, now_ms, 1.3),
                bytes: erratic(seed + 2, now_ms, 5e10),
            }
        });
        let load = if seed % 2 == 0 { skewed(seed) } else { even() };
        let mut table = Cluster::new(&limits, load, even(), weather);
        // On demand the highest load is remembered for two days at most, and one pair after the other is merged then.
        let days = if seed % 3 == 0 { 4 } else { 2 };
        for minute in 0..days * 24 * 60 {
            table.tick(minute * MINUTE_MS);
        }
        let last = table.changes.last().map_or(0, |(at_ms, _)| *at_ms);
        assert!(last < days * DAY_MS - 4 * HOUR_MS, "{seed}: it still changes at {last}");
        changes += table.changes.len();
        most = most.max(table.most);
    }
    println!("200 tables in a day of bad weather: {changes} changes, at most {most} partitions of one");
    assert!(changes > 1000, "{changes}");
}
