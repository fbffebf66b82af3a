//! Elapsed time, and what is counted in it.
//!
//! Groups with several voters live by elapsed time and not by the count of ticks: a process that was stopped for a while
//! finds out how long when it goes on. The clock is `CLOCK_BOOTTIME`, which also runs while the machine sleeps; wall
//! clocks are set and leap.

use std::sync::Arc;

/// Nanoseconds since some moment that is the same for as long as the process lives. Never goes back.
pub type Elapsed = Arc<dyn Fn() -> u64 + Send + Sync>;

/// raft-rs counts in these. Short against [`ELECTION_NS`], long against what a group costs per tick.
pub const TICK_NS: u64 = 50_000_000;
/// An election takes this many ticks without a leader, and at random up to twice as many.
pub(crate) const ELECTION_TICKS: usize = 10;
/// A leader sends heartbeats this often.
pub(crate) const HEARTBEAT_TICKS: usize = 2;
/// A follower that heard its leader votes for nobody else for so long: half a second, so that the loss of a leader is
/// over within a second and a half.
pub const ELECTION_NS: u64 = TICK_NS * ELECTION_TICKS as u64;
/// How much faster than a leader's a follower's clock may run while [`LEASE_NS`] passes: 5 %, a hundred times what a
/// quartz may do.
pub const DRIFT_NS: u64 = ELECTION_NS / 20;
/// How long a lease lasts from the moment at which what a quorum confirmed was sent: a follower counts whole ticks, so
/// its promise may be a tick short, and its clock may run faster.
pub const LEASE_NS: u64 = ELECTION_NS - TICK_NS - DRIFT_NS;
/// An eventual read is answered by a replica that heard a live leader within this time.
pub const EVENTUAL_NS: u64 = 1_000_000_000;

/// Whoever asks between two leaders waits for so long at most: a hand-over takes milliseconds, and a router that waits longer
/// than this (400 ms) begins to suspect that the process is gone.
pub const HOLD_NS: u64 = ELECTION_NS / 2;

/// The clock of a process.
pub(crate) fn boot_time() -> Elapsed {
    Arc::new(|| {
        let clock = nix::time::ClockId::CLOCK_BOOTTIME;
        match nix::time::clock_gettime(clock) {
            Ok(time) => time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64,
            // A kernel without it: no lease is ever valid at the end of time.
            Err(_) => u64::MAX,
        }
    })
}
