//! Torture: the server is killed in a write storm, loses what it had not synced, runs out of disk, has its files
//! corrupted; nothing it acknowledged may be missing, and it may never make data up.
//!
//! 1. [`storm`] writes through several connections and remembers in a [`model`] what was acknowledged and what is of
//!    unknown fate;
//! 2. [`verify`] holds what the server has after a restart against the model: items, LSI at once, GSI in the end;
//! 3. [`disk`] takes what was not synced, with the interposer's help;
//! 4. [`cluster`] is three replicas and a router, [`proxy`] their network, [`history`] what clients saw of them, for a checker;
//! 5. [`scenarios`] put these together, one file each.
//!
//! `partita-torture [ROUNDS] [SCENARIO...]`; the seed of a failure is printed, and `TORTURE_SEED` runs it again.

mod cluster;
mod disk;
mod history;
mod model;
mod proxy;
mod scenarios;
mod storm;
mod verify;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};

/// Rounds of each kind of kill when none are given.
const ROUNDS: usize = 100;

/// What every scenario is told.
pub struct Order {
    /// Rounds of each kind of kill.
    pub rounds: usize,
    /// Decides every random choice of the tests (not the server's, nor the scheduler's).
    pub seed: u64,
}

fn main() -> Result<ExitCode> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|name| name == "unsafe-child") {
        return scenarios::interposer::child(&arguments[1]);
    }
    let rounds = match arguments.first().and_then(|first| first.parse().ok()) {
        Some(rounds) => {
            arguments.remove(0);
            rounds
        }
        None => ROUNDS,
    };
    let seed = match std::env::var("TORTURE_SEED") {
        Ok(text) => text.parse().context("TORTURE_SEED is no number")?,
        Err(_) => rand::random_range(0..1_000_000),
    };
    let order = Order { rounds, seed };
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for (name, scenario) in scenarios::ALL {
        if !arguments.is_empty() && !arguments.iter().any(|argument| argument == name) {
            continue;
        }
        println!("torture: {name} (TORTURE_SEED={seed})");
        let began = Instant::now();
        match scenario(&order) {
            Ok(None) => passed += 1,
            Ok(Some(reason)) => {
                println!("torture: {name} skipped: {reason}");
                skipped += 1;
            }
            Err(error) => {
                println!("torture: {name} FAILED (TORTURE_SEED={seed}): {}", reasons(&error));
                failed += 1;
            }
        }
        println!("torture: {name} took {:.1} s", began.elapsed().as_secs_f64());
    }
    println!("torture: {passed} passed, {failed} failed, {skipped} skipped");
    Ok(if failed == 0 && passed > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// An error and what led to it, without the stack that RUST_BACKTRACE would add.
fn reasons(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
