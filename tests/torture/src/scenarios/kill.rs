//! Kill -9 in the middle of a write storm, again and again over the same data.

use std::time::Duration;

use anyhow::{Context, Result};
use partita_test_client::{Server, ServerOptions};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::Order;
use crate::disk;
use crate::scenarios::Outcome;
use crate::storm::{Storm, Worker};
use crate::verify;

/// How long a storm blows: long enough for hundreds of writes, short enough for a thousand rounds.
const STORM_MS: std::ops::Range<u64> = 20..220;
/// In one of so many rounds the server is also killed while it starts.
const KILLED_AT_START_ONE_IN: u32 = 8;
const STARTING_MS: std::ops::Range<u64> = 1..120;
/// Rounds between two lines of progress.
const PROGRESS: usize = 20;

/// Only the process dies: the page cache survives.
pub fn run(order: &Order) -> Outcome {
    let folder = disk::fast_folder()?;
    let options = ServerOptions::at(folder.path());
    rounds(order, &options, order.rounds, |_, _| Ok(()))?;
    Ok(None)
}

/// When a scenario gets to do something of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The server is ready, the storm is about to begin.
    Storm,
    /// The server has just been killed.
    Killed,
}

/// Storm, kill, restart, verify: `count` times, with `at` called at each [`Moment`].
pub fn rounds(
    order: &Order,
    options: &ServerOptions,
    count: usize,
    mut at: impl FnMut(Moment, &mut SmallRng) -> Result<()>,
) -> Result<()> {
    let mut rng = SmallRng::seed_from_u64(order.seed);
    let mut workers = Worker::all(order.seed);
    let mut server = Server::start(options)?;
    for table in verify::tables() {
        server.create_table(&table)?;
    }
    let (mut counted, mut acknowledged, mut slowest) = (0, 0, Duration::ZERO);
    for round in 1..=count {
        at(Moment::Storm, &mut rng)?;
        let storm = Storm::start(server.address, workers);
        std::thread::sleep(Duration::from_millis(rng.random_range(STORM_MS)));
        let log = server.log_tail();
        server.kill()?;
        let (back, written) = storm
            .end()
            .with_context(|| format!("in the storm of round {round}\n{log}"))?;
        workers = back;
        acknowledged += written;
        at(Moment::Killed, &mut rng)?;
        if rng.random_ratio(1, KILLED_AT_START_ONE_IN) {
            kill_at_start(options, &mut rng)?;
            at(Moment::Killed, &mut rng)?;
        }
        server = Server::start(options).with_context(|| format!("restart of round {round}"))?;
        slowest = slowest.max(server.startup);
        counted = verify::verify(&mut server.connect()?, &mut workers, counted)
            .with_context(|| format!("after the kill of round {round}"))?;
        if round % PROGRESS == 0 || round == count {
            println!(
                "  {round} of {count} kills: {acknowledged} requests acknowledged, none lost; slowest start {:.0} ms",
                slowest.as_secs_f64() * 1000.0
            );
        }
    }
    server.stop()
}

/// Starts it and kills it before it is ready, or just after.
fn kill_at_start(options: &ServerOptions, rng: &mut SmallRng) -> Result<()> {
    let patience = Duration::from_millis(rng.random_range(STARTING_MS));
    Server::kill_within(options, patience)
}
