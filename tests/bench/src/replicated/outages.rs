//! How long writes wait when the leader is killed, and when it hands over.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use partita_test_client::Connection;
use serde_json::json;

use super::trio::Trio;
use crate::work::TABLE;

/// Writes go on for so long before something is done to the leader, and after a hand-over.
const BESIDE: Duration = Duration::from_millis(300);
/// Nobody waits longer for another leader.
const OUTAGE_MAX: Duration = Duration::from_secs(30);
/// Between two looks at the writer.
const POLL: Duration = Duration::from_millis(5);

/// A write that succeeded.
#[derive(Clone, Copy)]
pub(super) struct Success {
    begun: Instant,
    ended: Instant,
}

/// One client that writes all the time, and tries again at once what fails.
pub(super) struct Writer {
    stop: Arc<AtomicBool>,
    successes: Arc<parking_lot::Mutex<Vec<Success>>>,
    thread: JoinHandle<u64>,
}

impl Writer {
    pub(super) fn start(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let successes = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let (ending, noting) = (Arc::clone(&stop), Arc::clone(&successes));
        let thread = std::thread::spawn(move || {
            let (mut connection, mut failures, mut number) = (None, 0, 0_u64);
            while !ending.load(Ordering::Relaxed) {
                number += 1;
                let begun = Instant::now();
                match put(&mut connection, address, number) {
                    Ok(()) => noting.lock().push(Success {
                        begun,
                        ended: Instant::now(),
                    }),
                    Err(_) => failures += 1,
                }
            }
            failures
        });
        Self {
            stop,
            successes,
            thread,
        }
    }

    /// Waits for the first success of a write that began after this.
    pub(super) fn first_after(&self, moment: Instant) -> Result<Success> {
        loop {
            let found = self
                .successes
                .lock()
                .iter()
                .rev()
                .take_while(|one| one.begun > moment)
                .last()
                .copied();
            match found {
                Some(found) => return Ok(found),
                None => ensure!(moment.elapsed() < OUTAGE_MAX, "no write succeeds any more"),
            }
            std::thread::sleep(POLL);
        }
    }

    /// What it wrote, and how many writes failed.
    pub(super) fn finish(self) -> Result<(Vec<Success>, u64)> {
        self.stop.store(true, Ordering::Relaxed);
        let Ok(failures) = self.thread.join() else {
            bail!("the writer panicked");
        };
        let successes = std::mem::take(&mut *self.successes.lock());
        Ok((successes, failures))
    }
}

fn put(connection: &mut Option<Connection>, address: SocketAddr, number: u64) -> Result<()> {
    let mut open = match connection.take() {
        Some(open) => open,
        None => Connection::open(address)?,
    };
    let item = json!({"TableName": TABLE, "Item": {"id": {"S": format!("outage-{}", number % 100)}, "n": {"N": number.to_string()}}});
    let reply = open.call("PutItem", &item)?;
    *connection = Some(open);
    ensure!(reply.status == 200, "{}", reply.status);
    Ok(())
}

/// The longest time without a success that ended after this.
pub(super) fn longest_gap(successes: &[Success], moment: Instant) -> Result<Duration> {
    let around = successes.windows(2).filter(|pair| pair[1].ended > moment);
    let longest = around.map(|pair| pair[1].ended - pair[0].ended).max();
    longest.context("no writes")
}

/// Kills the leader so often, and starts it again each time: from the kill to the first success of a write after it.
pub fn failovers(trio: &mut Trio, tries: usize) -> Result<Vec<Duration>> {
    let mut waits = Vec::new();
    for _ in 0..tries {
        trio.settled()?;
        let writer = Writer::start(trio.router()?);
        writer.first_after(Instant::now())?;
        std::thread::sleep(BESIDE);
        let (place, moment) = trio.kill_leader()?;
        let first = writer.first_after(moment)?;
        waits.push(first.ended - moment);
        writer.finish()?;
        trio.restart(place)?;
    }
    trio.settled()?;
    Ok(waits)
}

/// Hands the leadership over so often: the longest time without a success each time, and how many writes failed.
pub fn hand_overs(trio: &Trio, tries: usize) -> Result<(Vec<Duration>, u64)> {
    let (mut gaps, mut failures) = (Vec::new(), 0);
    for _ in 0..tries {
        let writer = Writer::start(trio.router()?);
        writer.first_after(Instant::now())?;
        std::thread::sleep(BESIDE);
        let moment = Instant::now();
        trio.hand_over()?;
        std::thread::sleep(BESIDE);
        writer.first_after(Instant::now())?;
        let (successes, failed) = writer.finish()?;
        failures += failed;
        gaps.push(longest_gap(&successes, moment)?);
    }
    Ok((gaps, failures))
}
