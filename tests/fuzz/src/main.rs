//! Mutation fuzzing of what reads strangers' bytes, on stable Rust: `partita-fuzz [SECONDS] [TARGET...]`.
//!
//! 1. Each target runs in a process of its own ([`child`]), with bounded memory, the stack of a server's thread, and
//!    a watchdog: a panic, an abort, a stack overflow and a hang all end that process.
//! 2. A case is made from its seed alone ([`targets`], [`mutate`]): a line of the corpus or something generated, then
//!    mutated. The process notes the seed of the case it is at, so that whatever ends it is traced to one case.
//! 3. The target reads the input and checks more than survival: what is accepted has one form, prints and reads back
//!    as itself, and stays within the limits.
//! 4. A finding prints the line that reproduces it: `tests/fuzz/run reproduce TARGET SEED`.
//!
//! `PARTITA_FUZZ_SEED` sets the first seed; without it every run takes another one and prints it.

mod child;
mod generate;
mod mutate;
mod targets;

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

/// Of each target, when the command line does not say.
const SECONDS: u64 = 5;

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["reproduce", target, seed] => child::reproduce(targets::find(target)?, seed.parse()?),
        ["child", target, seed, seconds, note] => child::run(
            targets::find(target)?,
            seed.parse()?,
            Duration::from_secs(seconds.parse()?),
            note.as_ref(),
        ),
        other => fuzz(other),
    }
}

/// Runs every target asked for, one after the other.
fn fuzz(arguments: &[&str]) -> Result<ExitCode> {
    let (seconds, names) = match arguments {
        [] => (SECONDS, &[][..]),
        [first, rest @ ..] => match first.parse() {
            Ok(seconds) => (seconds, rest),
            Err(_) if targets::find(first).is_ok() => (SECONDS, arguments),
            Err(_) => bail!(
                "usage: partita-fuzz [SECONDS] [TARGET...], targets: {}",
                targets::names()
            ),
        },
    };
    for name in names {
        targets::find(name)?;
    }
    let seed = match std::env::var("PARTITA_FUZZ_SEED") {
        Ok(text) => text.parse().with_context(|| format!("PARTITA_FUZZ_SEED={text:?}"))?,
        Err(_) => SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() << 32,
    };
    let (mut passed, mut failed) = (0, 0);
    for target in targets::ALL {
        if names.is_empty() || names.contains(&target.name) {
            match child::start(target, seed, seconds)? {
                true => passed += 1,
                false => failed += 1,
            }
        }
    }
    println!("fuzz: {passed} passed, {failed} failed");
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
