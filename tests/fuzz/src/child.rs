//! The process that runs one target, and the one that watches it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::targets::{Corpus, Target};

/// A case takes microseconds; this is a hang, on however busy a machine.
const CASE_LIMIT: Duration = Duration::from_secs(20);
/// What tokio gives a worker thread: deeper recursion would end a server.
const STACK_BYTES: usize = 2 * 1024 * 1024;
/// Address space of the child: an input of a few hundred kilobytes has no business with more.
const MEMORY_BYTES_MAX: u64 = 4 << 30;
/// How often the watchdog looks.
const WATCH_INTERVAL: Duration = Duration::from_millis(200);

/// Runs a target in a process of its own; whether it came to its end. Whatever happened is printed.
pub fn start(target: &Target, seed: u64, seconds: u64) -> Result<bool> {
    let folder = tempfile::tempdir()?;
    let note = folder.path().join("seed");
    fs::write(&note, seed.to_le_bytes())?;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["child", target.name, &seed.to_string(), &seconds.to_string()])
        .arg(&note);
    // SAFETY: setrlimit and prctl may be called between fork and exec; nothing here allocates.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            let limit = libc::rlimit {
                rlim_cur: MEMORY_BYTES_MAX,
                rlim_max: MEMORY_BYTES_MAX,
            };
            match libc::setrlimit(libc::RLIMIT_AS, &limit) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        });
    }
    let status = command.status().context("cannot start the child")?;
    if status.success() {
        return Ok(true);
    }
    let last = fs::read(&note)?;
    let last = u64::from_le_bytes(last.try_into().unwrap_or_default());
    println!("{}: FOUND: the process ended with {status} at seed {last}", target.name);
    println!("reproduce: tests/fuzz/run reproduce {} {last}", target.name);
    Ok(false)
}

/// The child: case after case until the time is up.
pub fn run(target: &'static Target, seed: u64, time: Duration, note: &Path) -> Result<ExitCode> {
    let note = File::options().write(true).open(note)?;
    let cases = with_stack(move || {
        let corpus = Corpus::load(target)?;
        let watched = watch();
        let began = Instant::now();
        let mut cases = 0;
        // However short the time, every line of the corpus is read as it stands.
        let plain = corpus.lines.len() as u64;
        while cases < plain || began.elapsed() < time {
            let seed = if cases < plain { cases } else { seed.wrapping_add(cases) };
            note.write_all_at(&seed.to_le_bytes(), 0)?;
            watched.store(cases + 1, Ordering::Relaxed);
            case(target, &corpus, seed);
            cases += 1;
        }
        anyhow::Ok(cases)
    })?;
    println!("{}: {cases} cases from seed {seed}, no finding", target.name);
    Ok(ExitCode::SUCCESS)
}

/// One case again, with its input printed.
pub fn reproduce(target: &'static Target, seed: u64) -> Result<ExitCode> {
    with_stack(move || {
        let corpus = Corpus::load(target)?;
        let input = target.input(&mut StdRng::seed_from_u64(seed), &corpus, seed);
        println!("{}", input.escape_ascii());
        drop(watch());
        case(target, &corpus, seed);
        anyhow::Ok(())
    })?;
    println!("{} {seed}: no finding", target.name);
    Ok(ExitCode::SUCCESS)
}

fn case(target: &Target, corpus: &Corpus, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let input = target.input(&mut random, corpus, seed);
    (target.check)(&input, &mut random);
}

/// Runs `work` on a thread with a server's stack.
fn with_stack<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(work)?;
    match thread.join() {
        Ok(result) => result,
        // The panic has been printed by its hook.
        Err(_) => std::process::abort(),
    }
}

/// Aborts the process when the number in what it returns stays the same for too long.
fn watch() -> std::sync::Arc<AtomicU64> {
    let current = std::sync::Arc::new(AtomicU64::new(0));
    let watched = current.clone();
    std::thread::spawn(move || {
        let (mut seen, mut since) = (0, Instant::now());
        loop {
            std::thread::sleep(WATCH_INTERVAL);
            let now = watched.load(Ordering::Relaxed);
            if now != seen {
                (seen, since) = (now, Instant::now());
            } else if since.elapsed() > CASE_LIMIT {
                eprintln!("a case runs for more than {CASE_LIMIT:?}");
                std::process::abort();
            }
        }
    });
    current
}
