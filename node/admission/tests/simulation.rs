//! Two days of virtual time over 1,000 tables with 10,000 partitions: every table's load goes up and down, some want far more
//! than their units, most of it on one partition, and their units are changed now and then. Figures are printed:
//! `cargo test -p partita-admission --test simulation -- --nocapture`.
//!
//! Held against an account that knows nothing of buckets: what every table's declarations have brought up to each moment.

use partita_admission::table::{Capacity, Ceiling, Declared, Levels, Limits};
use partita_model::capacity::HalfUnits;

const TABLES: usize = 1000;
const PARTITIONS: usize = 10;
const STEP_MS: u64 = 300_000;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
const DAYS: u64 = 2;
/// Requests of a partition in a step, each for its share of what the partition wants.
const REQUESTS: u64 = 4;
const LIMITS: Limits = Limits {
    partition: HalfUnits(2 * 1000),
    burst_ms: 300_000,
};

/// SplitMix64: the same days in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

struct Table {
    /// Units per second.
    units: u64,
    shared: Capacity,
    partitions: Vec<Ceiling>,
    /// How much of its units it wants at its peak, in per cent.
    appetite: u64,
    /// The share of its load on the first partition, in per cent.
    skew: u64,
    phase: u64,
    /// What its declarations have brought since the beginning, in half units; with the largest burst there was.
    brought: u64,
    burst: u64,
    used: u64,
    wanted: u64,
    /// The most that its first partition was to do, in units per second.
    hottest: u64,
    largest_request: u64,
    refused: u64,
}

impl Table {
    fn new(random: &mut Random) -> Self {
        let units = 5 + random.below(2000);
        let declared = Declared::Provisioned(HalfUnits(units * 2));
        let height = declared.partition_ceiling(LIMITS, PARTITIONS);
        Self {
            units,
            shared: Capacity::new(declared, LIMITS, Levels::default(), 0),
            partitions: vec![Ceiling::new(height, 0); PARTITIONS],
            appetite: [20, 60, 95, 150, 1000][random.below(5) as usize],
            skew: [10, 50, 90][random.below(3) as usize],
            phase: random.below(DAY_MS / STEP_MS),
            brought: 0,
            burst: units * 2 * 300,
            used: 0,
            wanted: 0,
            hottest: 0,
            largest_request: 0,
            refused: 0,
        }
    }

    /// What it wants in this step, in half units: a triangle over the day, never zero.
    fn wish(&self, step: u64) -> u64 {
        let steps = DAY_MS / STEP_MS;
        let place = (step + self.phase) % steps;
        let height = place.min(steps - place) * 200 / steps;
        self.units * 2 * (STEP_MS / 1000) * self.appetite / 100 * (5 + height * 95 / 100) / 100
    }

    fn step(&mut self, step: u64, now_ms: u64) {
        self.brought += self.units * 2 * (STEP_MS / 1000);
        let wish = self.wish(step);
        self.wanted += wish;
        self.hottest = self.hottest.max(self.units * self.appetite * self.skew / 10_000);
        for request in 0..REQUESTS {
            let now_ms = now_ms + request * STEP_MS / REQUESTS;
            for (place, partition) in self.partitions.iter_mut().enumerate() {
                let rest = (100 - self.skew) / (PARTITIONS as u64 - 1);
                let share = if place == 0 { self.skew } else { rest };
                let cost = (wish * share / 100 / REQUESTS).max(1);
                if self.shared.admit(HalfUnits(0), now_ms).is_ok() && partition.admit(HalfUnits(0), now_ms).is_ok() {
                    self.shared.charge(HalfUnits(cost), now_ms);
                    partition.charge(HalfUnits(cost));
                    self.used += cost;
                    self.largest_request = self.largest_request.max(cost);
                } else {
                    self.refused += 1;
                }
            }
        }
        let at_most = self.burst + self.brought + self.largest_request;
        assert!(self.used <= at_most, "step {step}: {} of {at_most}", self.used);
    }

    fn change_units(&mut self, units: u64, now_ms: u64) {
        self.units = units;
        self.burst = self.burst.max(units * 2 * 300);
        let declared = Declared::Provisioned(HalfUnits(units * 2));
        self.shared.declare(declared, now_ms);
        for partition in &mut self.partitions {
            partition.set(declared.partition_ceiling(LIMITS, PARTITIONS), now_ms);
        }
    }
}

#[test]
fn two_days_of_ten_thousand_partitions() {
    let mut random = Random(1);
    let mut tables: Vec<Table> = (0..TABLES).map(|_| Table::new(&mut random)).collect();
    let mut changes = 0;
    for step in 0..DAYS * DAY_MS / STEP_MS {
        let now_ms = step * STEP_MS;
        for table in &mut tables {
            if random.below(500) == 0 {
                table.change_units(5 + random.below(2000), now_ms);
                changes += 1;
            }
            table.step(step, now_ms);
        }
    }

    let units = |half_units: u64| half_units / 2;
    let total = |figure: fn(&Table) -> u64| tables.iter().map(figure).sum::<u64>();
    println!(
        "{TABLES} tables, {} partitions, {} h: {} units wanted, {} brought by declarations, {} used; {} of {} requests \
         refused; {changes} changes of units",
        TABLES * PARTITIONS,
        DAYS * DAY_MS / 3_600_000,
        units(total(|table| table.wanted)),
        units(total(|table| table.brought)),
        units(total(|table| table.used)),
        total(|table| table.refused),
        TABLES as u64 * PARTITIONS as u64 * REQUESTS * (DAYS * DAY_MS / STEP_MS),
    );
    // A table that wants ten times its units, evenly, gets what they have brought; one that never wants more than its units,
    // nor more of a partition than one can do, gets what it wants, but for when its units have just been raised: nothing is
    // saved up then, and a request here is as large as what a minute brings.
    let (mut greedy, mut modest) = (Vec::new(), Vec::new());
    for table in &tables {
        match (table.appetite, table.skew) {
            (1000, 10) => greedy.push(table.used * 1000 / table.brought),
            (20 | 60, _) if table.hottest < LIMITS.partition.0 / 4 => modest.push(table.used * 1000 / table.wanted),
            _ => {}
        }
    }
    for (what, shares, least) in [
        ("ten times their units evenly: of what was brought", greedy, 950),
        ("less than their units: of what they wanted", modest, 900),
    ] {
        let (lowest, highest) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
        let number = shares.len();
        println!("{number} tables wanted {what} they used {lowest} to {highest} per mille");
        assert!(*lowest >= least, "{what}: {lowest}");
    }
}
