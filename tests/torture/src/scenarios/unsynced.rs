//! Kill -9 in a write storm, and everything that was not synced is gone, whole or torn.

use std::fs;

use anyhow::{Result, bail, ensure};
use partita_test_client::ServerOptions;
use rand::Rng;

use crate::Order;
use crate::disk::{self, Loss, Lost};
use crate::scenarios::Outcome;
use crate::scenarios::kill::{self, Moment};

/// A server that never syncs must be caught within so many rounds.
const LIE_ROUNDS: usize = 10;

/// Nothing acknowledged may be lost.
pub fn run(order: &Order) -> Outcome {
    let lost = rounds(order, order.rounds, false)?;
    println!(
        "  {} bytes in {} files were written, not synced, and lost",
        lost.bytes, lost.files
    );
    if lost.bytes == 0 {
        bail!("no kill has lost anything: the interposer sees no writes, so this proves nothing");
    }
    Ok(None)
}

/// The same with syncs that do nothing while the storm blows: the loss must be noticed, or all this proves nothing.
pub fn lie(order: &Order) -> Outcome {
    let Err(error) = rounds(order, LIE_ROUNDS, true) else {
        bail!("{LIE_ROUNDS} kills of a server whose syncs do nothing went unnoticed");
    };
    let said: Vec<String> = error
        .chain()
        .map(|cause| cause.to_string().chars().take(150).collect())
        .collect();
    let said = said.join(": ");
    ensure!(said.contains("after the kill"), "it failed for another reason: {said}");
    println!("  noticed, as it should be: {}", said.lines().next().unwrap_or(""));
    Ok(None)
}

fn rounds(order: &Order, count: usize, lying: bool) -> Result<Lost> {
    let folder = disk::fast_folder()?;
    let mut options = ServerOptions::at(folder.path());
    let (data, shadow, lie) = (options.data(), folder.path().join("shadow"), folder.path().join("lie"));
    fs::create_dir(&data)?;
    fs::create_dir(&shadow)?;
    options.environment = disk::environment(&data, &shadow, &lie)?;
    let mut total = Lost::default();
    kill::rounds(order, &options, count, |moment, rng| {
        if moment == Moment::Storm {
            if lying {
                fs::write(&lie, "")?;
            }
            return Ok(());
        }
        if lying && lie.exists() {
            fs::remove_file(&lie)?;
        }
        let loss = if rng.random_bool(0.5) { Loss::All } else { Loss::Torn };
        let lost = disk::lose_power(&data, &shadow, loss, rng)?;
        total.files += lost.files;
        total.bytes += lost.bytes;
        Ok(())
    })?;
    Ok(total)
}
