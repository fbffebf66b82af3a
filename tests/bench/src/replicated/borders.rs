//! What it costs those who read and write meanwhile when a partition is cut, and when a replica of it moves to another store.
//!
//! 1. Writes are due at a fixed rate, and reads beside them; each that fails ends the bench.
//! 2. Their latency is measured in turns: while nothing happens, and while something does.
//! 3. One more client writes keys of the whole range, one after the other: how long it goes without a success is the gap.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;

use super::outages::{Writer, longest_gap};
use super::trio::Trio;
use crate::load::{Generator, Pace};
use crate::report::{Report, Series};
use crate::rounds::{Settings, Subject, fill};
use crate::work::{Kind, Requests};

/// Writes a second while partitions are cut, and while a replica moves.
const WRITES_PER_SECOND: f64 = 5000.0;
const READS_PER_SECOND: f64 = 500.0;
const CONNECTIONS: usize = 64;
/// The load goes on for so long before and after something happens.
const BESIDE: Duration = Duration::from_millis(500);
/// A piece of the load between two looks at whether it is to end.
const STEP: Duration = Duration::from_millis(250);
/// Cuts, each with a time before it in which nothing happens.
const CUTS: usize = 5;

/// What was measured.
#[derive(Default)]
pub struct Borders {
    /// The longest time without a successful write around each cut.
    pub gaps: Vec<Duration>,
    /// The 99th percentile of writes around the cuts, by that of the times between them.
    pub cut_ratio: f64,
    /// The same while a replica moves, by that of a time before it.
    pub move_ratio: f64,
    /// Bytes that have moved, and how long that took.
    pub moved: (u64, Duration),
}

/// Starts a cluster, fills it, lets a replica move and cuts the table's partitions.
pub fn run(folder: &Path, settings: &Settings) -> Result<Borders> {
    let trio = Trio::start(folder)?;
    let subject = Subject {
        series: Series::REPLICATED,
        address: trio.router()?,
        kinds: &[],
    };
    let keys = settings.moved_keys;
    fill(&subject, keys)?;
    let mut borders = Borders::default();
    let time = Duration::from_secs_f64(settings.seconds) + 2 * BESIDE;
    move_one(&trio, keys, time, &mut borders)?;
    cut(&trio, keys, &mut borders)?;
    Ok(borders)
}

/// A replica goes from its store and comes back to it with nothing: all of its rows cross the network.
fn move_one(trio: &Trio, keys: usize, time: Duration, borders: &mut Borders) -> Result<()> {
    let bytes = trio.settled()?["sizes"]["bytes"].as_u64().unwrap_or(0);
    let (address, at) = trio.forget_follower()?;
    let steady = Load::start(trio.router()?, keys).during(time)?;
    let load = Load::start(trio.router()?, keys);
    let began = Instant::now();
    trio.bring_follower(&at)?;
    let took = began.elapsed();
    let moving = load.finish()?;
    trio.settled()?;
    println!(
        "a replica of {:.0} MB came to {address} in {:.1} s: p99 {:.1} ms, {:.1} ms before",
        bytes as f64 / 1e6,
        took.as_secs_f64(),
        p99_ms(&moving),
        p99_ms(&steady)
    );
    borders.moved = (bytes, took);
    borders.move_ratio = p99_ms(&moving) / p99_ms(&steady);
    Ok(())
}

fn cut(trio: &Trio, keys: usize, borders: &mut Borders) -> Result<()> {
    let mut steady = latencies()?;
    let mut around = latencies()?;
    for _ in 0..CUTS {
        trio.settled()?;
        steady.add(Load::start(trio.router()?, keys).during(2 * BESIDE)?)?;
        let load = Load::start(trio.router()?, keys);
        let writer = Writer::start(trio.router()?);
        writer.first_after(Instant::now())?;
        std::thread::sleep(BESIDE);
        let moment = Instant::now();
        trio.split_largest()?;
        std::thread::sleep(BESIDE);
        writer.first_after(Instant::now())?;
        let (successes, failures) = writer.finish()?;
        if failures > 0 {
            bail!("{failures} writes failed while a partition was cut");
        }
        borders.gaps.push(longest_gap(&successes, moment)?);
        around.add(load.finish()?)?;
    }
    println!(
        "{CUTS} cuts: p99 {:.1} ms, {:.1} ms between them",
        p99_ms(&around),
        p99_ms(&steady)
    );
    borders.cut_ratio = p99_ms(&around) / p99_ms(&steady);
    Ok(())
}

impl Report {
    /// What is printed of it all.
    pub fn moved(&self) -> String {
        let (bytes, took) = self.borders.moved;
        format!(
            "a replica of {:.0} MB moved in {:.1} s, at {WRITES_PER_SECOND} writes/s",
            bytes as f64 / 1e6,
            took.as_secs_f64()
        )
    }
}

/// Writes and reads at fixed rates, until it is told to end.
struct Load {
    stop: Arc<AtomicBool>,
    writes: JoinHandle<Result<Histogram<u64>>>,
    reads: JoinHandle<Result<Histogram<u64>>>,
}

impl Load {
    fn start(address: SocketAddr, keys: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let start = |kind, connections, per_second| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                let mut generator = Generator::connect(address, connections)?;
                let mut work = Requests::new(kind, keys, &address.to_string(), 7);
                let mut all = latencies()?;
                while !stop.load(Ordering::Relaxed) {
                    let outcome = generator.run(&mut work, Pace::Open { per_second }, STEP)?;
                    all.add(outcome.latency)?;
                }
                Ok(all)
            })
        };
        let (writes, reads) = (
            start(Kind::Put, CONNECTIONS, WRITES_PER_SECOND),
            start(Kind::Get, CONNECTIONS / 8, READS_PER_SECOND),
        );
        Self { stop, writes, reads }
    }

    fn during(self, time: Duration) -> Result<Histogram<u64>> {
        std::thread::sleep(time);
        self.finish()
    }

    /// Latencies of the writes.
    fn finish(self) -> Result<Histogram<u64>> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = |thread: JoinHandle<Result<_>>| thread.join().unwrap_or_else(|_| bail!("the load panicked"));
        ended(self.reads).context("a read failed")?;
        ended(self.writes).context("a write failed")
    }
}

fn latencies() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, crate::load::LATENCY_LIMIT_NS, 3)?)
}

fn p99_ms(latencies: &Histogram<u64>) -> f64 {
    latencies.value_at_quantile(0.99) as f64 / 1e6
}
