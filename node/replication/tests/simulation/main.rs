//! Whole groups under faults, in one thread, from a seed: see [`world`] for how it runs and `docs/simulation.md` for what
//! it has shown.
//!
//! `SIMULATION_SEED=7 cargo test -p partita-replication --test simulation` runs one seed, `SIMULATION_SEEDS=5000` so many
//! from a random one on. Without either a fixed set and some fresh ones run.
#![allow(clippy::unwrap_used)]

mod client;
mod deliverer;
mod event;
mod faults;
mod history;
mod invariants;
mod machine;
mod merger;
mod network;
mod operator;
mod plots;
mod table;
mod world;

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use world::Summary;

/// Seeds that always run, and fresh ones beside them.
const FIXED: u64 = 160;
const FRESH: u64 = 40;

/// Runs a seed; says what is wrong, be it a broken invariant or a panic.
fn run(seed: u64) -> Result<Summary, String> {
    std::panic::catch_unwind(AssertUnwindSafe(|| world::simulate(seed))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.unwrap_or_else(|| (*panic.downcast_ref::<&str>().unwrap_or(&"a panic")).to_owned()))
    })
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

#[test]
fn groups_keep_their_promises() {
    let fresh = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64 >> 8;
    let seeds: Vec<u64> = match (number("SIMULATION_SEED"), number("SIMULATION_SEEDS")) {
        (Some(seed), _) => vec![seed],
        (None, Some(seeds)) => (fresh..).take(seeds as usize).collect(),
        (None, None) => (0..FIXED).chain((fresh..).take(FRESH as usize)).collect(),
    };
    let next = AtomicUsize::new(0);
    let runs = Mutex::new((Summary::default(), Vec::new()));
    let work = || {
        while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
            let ended = run(*seed);
            let mut runs = runs.lock();
            match ended {
                Ok(summary) => runs.0.add(&summary),
                Err(reason) => {
                    // At once: the others may take long.
                    eprintln!("seed {seed}: {}", reason.lines().next().unwrap_or_default());
                    runs.1.push(format!(
                        "{reason}\nreproduce: SIMULATION_SEED={seed} cargo test -p partita-replication --test simulation"
                    ));
                }
            }
        }
    };
    // Each run is one thread's; they have nothing to do with each other.
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let (sum, failed) = runs.into_inner();
    println!("{} seeds: {sum:?}", seeds.len());
    let failures = failed.len();
    assert!(
        failed.is_empty(),
        "{failures} of {} seeds failed:\n{}",
        seeds.len(),
        failed.join("\n\n")
    );
}

/// Seeds that a planted bug may take to be found.
#[cfg(feature = "planted")]
const SEEDS_MAX: u64 = 600;

/// The simulation is worth what it finds: bugs that are put in on purpose, one after the other.
/// `cargo test -p partita-replication --features planted --test simulation planted -- --nocapture` prints the table of
/// `docs/simulation.md`; `PLANTED=<name>,<name>` looks at some of them, with `SIMULATION_SEED=<seed>` from that seed on.
#[cfg(feature = "planted")]
#[test]
fn planted_bugs_are_found() {
    use partita_replication::planted::{Bug, plant};

    std::panic::set_hook(Box::new(|_| {}));
    let only = std::env::var("PLANTED").ok();
    let mut missed = Vec::new();
    for bug in Bug::ALL {
        let name = format!("{bug:?}");
        if only
            .as_ref()
            .is_some_and(|only| !only.split(',').any(|only| only == name))
        {
            continue;
        }
        plant(Some(bug));
        let first = number("SIMULATION_SEED").unwrap_or(0);
        let found = (first..SEEDS_MAX).find_map(|seed| run(seed).err().map(|reason| (seed + 1, reason)));
        plant(None);
        match found {
            Some((seeds, reason)) => {
                println!("| {name} | {seeds} | {} |", reason.lines().next().unwrap_or_default());
                if first > 0 {
                    println!("{reason}");
                }
            }
            None => missed.push(name),
        }
    }
    drop(std::panic::take_hook());
    assert!(missed.is_empty(), "not found within {SEEDS_MAX} seeds: {missed:?}");
}
