//! What the transport counts, for the roles' metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a client has counted since it was made, over all peers, and its gauges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClientStats {
    /// Connections that are open.
    pub connections: u64,
    /// Connections opened.
    pub connections_opened: u64,
    /// Attempts to connect that failed, a refused handshake included.
    pub connections_failed: u64,
    /// Connections that ended with calls still waiting, or broke the protocol.
    pub connections_lost: u64,
    /// Calls sent and not yet answered.
    pub in_flight: u64,
    /// Requests sent; a repeated one counts again.
    pub requests: u64,
    /// Reads repeated on another connection because the first was lost, and calls repeated that had not left.
    pub repeated: u64,
    /// Calls that ended `NotSent`.
    pub not_sent: u64,
    /// Calls that ended `Lost`.
    pub lost: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
}

/// What a server has counted since it was made, and its gauges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServerStats {
    /// Connections that are open.
    pub connections: u64,
    /// Connections accepted.
    pub connections_accepted: u64,
    /// Connections that did not get through the handshake: not ours, no common version, too many, too slow.
    pub connections_refused: u64,
    /// Connections closed because of a broken frame.
    pub connections_broken: u64,
    /// Requests being worked on.
    pub in_flight: u64,
    /// Requests received.
    pub requests: u64,
    /// Requests answered with a refusal.
    pub refusals: u64,
    /// Requests cancelled by their callers.
    pub cancelled: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
}

/// A counter or a gauge.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    pub fn sub(&self, amount: u64) {
        self.0.fetch_sub(amount, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
