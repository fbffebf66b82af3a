//! Medians of the rounds, the promises of the project, and whether each is met.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::load::Outcome;
use crate::replicated::borders::Borders;
use crate::throttled::Throttled;
use crate::work::Kind;

/// Names of the columns.
pub struct Series;

impl Series {
    pub const OURS: &str = "partita";
    pub const OURS_OPEN: &str = "partita, open loop at half load";
    pub const OURS_ALONE: &str = "partita, one connection";
    pub const DYNOXIDE: &str = "dynoxide";
    pub const DYNOXIDE_ALONE: &str = "dynoxide, one connection";
    pub const REPLICATED: &str = "partita, router and 3 replicas";
    pub const ETCD: &str = "etcd, 3 members";
    pub const NULL: &str = "null server";
    pub const ROCKS: &str = "RocksDB alone";
    pub const SYNC: &str = "fdatasync alone";
}

#[derive(Default)]
struct Measured {
    rates: Vec<f64>,
    item_rates: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
    p999: Vec<f64>,
}

/// Everything measured.
#[derive(Default)]
pub struct Report {
    loads: BTreeMap<(&'static str, &'static str), Measured>,
    figures: BTreeMap<(&'static str, &'static str), Vec<f64>>,
    /// Resident bytes of a fresh server with one empty table.
    pub idle_memory: u64,
    /// Resident bytes after the last round.
    pub loaded_memory: u64,
    /// Resident bytes of the largest of three fresh replicas with one group.
    pub idle_replica_memory: u64,
    /// From the kill of a leader to the first success.
    pub failovers: Vec<Duration>,
    /// The longest time without a success at each hand-over.
    pub hand_overs: Vec<Duration>,
    /// Syncs of a store for each write when a sync takes a millisecond.
    pub syncs_per_write: f64,
    /// What a table does at ten times its units.
    pub throttled: Throttled,
    /// What cuts and moves cost.
    pub borders: Borders,
    /// Groups, and resident bytes of the largest of three replicas that have them all at rest.
    pub many_groups: (usize, u64),
    /// Writes that failed at hand-overs.
    pub failed_at_hand_over: u64,
}

impl Report {
    /// What etcd's writes are called.
    pub const PUTS: &str = "put, writes/s";

    /// One measurement of a server.
    pub fn add_load(&mut self, series: &'static str, workload: &'static str, outcome: &Outcome) {
        println!(
            "  {series:32} {workload:24} {:>9.0} requests/s  p50 {:>8.0} µs  p99 {:>8.0} µs",
            outcome.rate(),
            outcome.micros(0.5),
            outcome.micros(0.99)
        );
        let measured = self.loads.entry((series, workload)).or_default();
        measured.rates.push(outcome.rate());
        measured.item_rates.push(outcome.item_rate());
        measured.p50.push(outcome.micros(0.5));
        measured.p99.push(outcome.micros(0.99));
        measured.p999.push(outcome.micros(0.999));
    }

    /// One measurement of a ceiling.
    pub fn add(&mut self, series: &'static str, what: &'static str, figure: f64) {
        println!("  {series:32} {what:24} {figure:>12.6}");
        self.figures.entry((series, what)).or_default().push(figure);
    }

    fn rate(&self, series: &'static str, kind: Kind) -> f64 {
        self.loads
            .get(&(series, kind.name()))
            .map_or(f64::NAN, |measured| median(&measured.rates))
    }

    fn item_rate(&self, series: &'static str, kind: Kind) -> f64 {
        self.loads
            .get(&(series, kind.name()))
            .map_or(f64::NAN, |measured| median(&measured.item_rates))
    }

    /// Prints the medians and the promises; whether all are met.
    pub fn print(&self, connections: usize) -> bool {
        println!("\nMedians ({connections} connections unless said otherwise)");
        println!(
            "{:32} {:24} {:>11} {:>11} {:>9} {:>9} {:>9}",
            "", "", "requests/s", "items/s", "p50 µs", "p99 µs", "p99.9 µs"
        );
        for ((series, workload), measured) in &self.loads {
            println!(
                "{series:32} {workload:24} {:>11.0} {:>11.0} {:>9.0} {:>9.0} {:>9.0}",
                median(&measured.rates),
                median(&measured.item_rates),
                median(&measured.p50),
                median(&measured.p99),
                median(&measured.p999)
            );
        }
        for ((series, what), figures) in &self.figures {
            println!("{series:32} {what:32} {:.6}", median(figures));
        }
        println!("memory after the last round: {:.1} MB", self.loaded_memory as f64 / 1e6);
        println!("{}; {} groups were at rest", self.moved(), self.many_groups.0);

        let missed = self.promises().iter().filter(|promise| !promise.print()).count();
        for kind in [Kind::Query, Kind::Batch, Kind::Scan] {
            println!(
                "          {:44} {:>10.0} items/s, {:.2} × dynoxide",
                format!("{}, per item served", kind.name()),
                self.item_rate(Series::OURS, kind),
                self.item_rate(Series::OURS, kind) / self.item_rate(Series::DYNOXIDE, kind)
            );
        }
        println!(
            "bench: {} of {} promises met",
            self.promises().len() - missed,
            self.promises().len()
        );
        missed == 0
    }

    fn figure(&self, series: &'static str, what: &'static str) -> Option<f64> {
        self.figures.get(&(series, what)).map(|figures| median(figures))
    }

    fn promises(&self) -> Vec<Promise> {
        let mut promises = self.of_one_process();
        promises.extend(self.of_three_replicas());
        promises
    }

    fn of_three_replicas(&self) -> Vec<Promise> {
        let (get, put) = (
            self.rate(Series::REPLICATED, Kind::Get),
            self.rate(Series::REPLICATED, Kind::Put),
        );
        let mut promises = Vec::new();
        if let Some(etcd) = self.figure(Series::ETCD, Self::PUTS) {
            promises.push(at_least("PutItem, 3 replicas ÷ etcd's put, 3 members", put, etcd, 3.0));
        }
        promises.extend([
            at_least(
                "PutItem, 3 replicas ÷ dynoxide, unreplicated",
                put,
                self.rate(Series::DYNOXIDE, Kind::Put),
                1.0,
            ),
            at_least(
                "GetItem through a router ÷ standalone's",
                get,
                self.rate(Series::OURS, Kind::Get),
                0.6,
            ),
            at_most("leader killed: first success, p99, ms", p99_ms(&self.failovers), 1500.0),
            at_most("planned hand-over: longest gap, ms", p99_ms(&self.hand_overs), 100.0),
            at_most(
                "planned hand-overs: failed writes",
                self.failed_at_hand_over as f64,
                0.0,
            ),
            at_most(
                "split at 5,000 writes/s: longest gap, ms",
                p99_ms(&self.borders.gaps),
                50.0,
            ),
            at_most("split at 5,000 writes/s: p99 ÷ steady", self.borders.cut_ratio, 2.0),
            at_most("1 GB moves: p99 ÷ steady", self.borders.move_ratio, 2.0),
            at_most("syncs per write and store, each of 1 ms", self.syncs_per_write, 0.05),
            at_most(
                "idle replica with one group, MB",
                self.idle_replica_memory as f64 / (1024.0 * 1024.0),
                60.0,
            ),
        ]);
        promises.push(at_most(
            "idle replica with a thousand groups, MB",
            self.many_groups.1 as f64 / (1024.0 * 1024.0),
            200.0,
        ));
        promises
    }

    fn of_one_process(&self) -> Vec<Promise> {
        let get = self.rate(Series::OURS, Kind::Get);
        let put = self.rate(Series::OURS, Kind::Put);
        let sync = self
            .figures
            .iter()
            .find(|((series, _), _)| *series == Series::SYNC)
            .map_or(f64::NAN, |(_, f)| median(f));
        let put_floor = (0.4 * get).min(0.7 * 64.0 / sync);
        let alone = self
            .loads
            .get(&(Series::OURS_ALONE, Kind::Put.name()))
            .map_or(f64::NAN, |m| median(&m.p50));
        vec![
            at_least("GetItem ÷ null server", get, self.rate(Series::NULL, Kind::Get), 0.45),
            at_least("GetItem ÷ dynoxide", get, self.rate(Series::DYNOXIDE, Kind::Get), 2.0),
            at_least("PutItem ÷ dynoxide", put, self.rate(Series::DYNOXIDE, Kind::Put), 5.0),
            at_least("PutItem ÷ min(0.4 GetItem, 0.7 × 64 per sync)", put, put_floor, 1.0),
            at_least(
                "UpdateItem ADD on one key ÷ PutItem",
                self.rate(Series::OURS, Kind::Add),
                put,
                0.5,
            ),
            Promise {
                what: "PutItem p50, one connection, µs",
                shown: format!("{alone:.0} (at most 2 × {:.0} + 150)", sync * 1e6),
                met: alone <= 2.0 * sync * 1e6 + 150.0,
            },
            at_most(
                "ten times the units: admitted, % off them",
                (self.throttled.admitted - 1.0).abs() * 100.0,
                2.0,
            ),
            at_most(
                "CPU of a throttled PutItem ÷ of a served one",
                self.throttled.refused_micros / self.throttled.served_micros,
                0.7,
            ),
            at_most("idle memory, MB", self.idle_memory as f64 / (1024.0 * 1024.0), 60.0),
        ]
    }
}

fn at_least(what: &'static str, value: f64, reference: f64, factor: f64) -> Promise {
    Promise {
        what,
        shown: format!("{:.2} (at least {factor:.2})", value / reference),
        met: value >= factor * reference,
    }
}

fn at_most(what: &'static str, value: f64, limit: f64) -> Promise {
    Promise {
        what,
        shown: format!("{value:.2} (at most {limit})"),
        met: value <= limit,
    }
}

/// The 99th percentile: with up to a hundred values that is the largest.
fn p99_ms(values: &[Duration]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort();
    let place = (sorted.len() * 99).div_ceil(100).saturating_sub(1);
    sorted.get(place).map_or(f64::NAN, |value| value.as_secs_f64() * 1000.0)
}

struct Promise {
    what: &'static str,
    shown: String,
    met: bool,
}

impl Promise {
    fn print(&self) -> bool {
        println!(
            "{:9} {:48} {}",
            if self.met { "met" } else { "MISSED" },
            self.what,
            self.shown
        );
        self.met
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => sorted[middle],
        _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
    }
}
