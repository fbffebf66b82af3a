//! Which stores are alive, whatever their groups do.
//!
//! Groups in which nothing goes on hear nothing of each other. So stores that share groups send each other a frame every
//! [`ALIVE_NS`]; a store that was not heard of for an election timeout is lost, and every group shared with it wakes, as
//! it does when a store has been started anew and has forgotten who led. A store whose log writer does not get on (a disk that
//! hangs, a large snapshot) keeps silent: whoever rests would rest on with a leader that can write nothing.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use uuid::Uuid;

use crate::message::{Outbox, Payload, Peers};
use crate::time::{ELECTION_NS, HEARTBEAT_TICKS, TICK_NS};

/// As often as a leader's heartbeats.
const ALIVE_NS: u64 = HEARTBEAT_TICKS as u64 * TICK_NS;
/// A turn of the log writer takes milliseconds, and on a bad disk some tens of them.
const HANGS_NS: u64 = ELECTION_NS / 2;

/// Another store.
#[derive(Debug, Default)]
struct Seen {
    heard: u64,
    incarnation: u64,
    lost: bool,
}

/// See the module's header.
#[derive(Debug)]
pub(crate) struct Liveness {
    incarnation: u64,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    stores: BTreeMap<Uuid, Seen>,
    sent: u64,
    /// The log writer's turn, and when it was first seen.
    turn: Option<(u64, u64)>,
}

impl Inner {
    /// Whether the log writer has been at the same turn for so long that others should not count on this store.
    fn hangs(&mut self, turn: Option<u64>, now: u64) -> bool {
        self.turn = match (turn, self.turn) {
            (Some(turn), Some((seen, since))) if turn == seen => Some((turn, since)),
            (turn, _) => turn.map(|turn| (turn, now)),
        };
        self.turn
            .is_some_and(|(_, since)| now.saturating_sub(since) >= HANGS_NS)
    }
}

impl Liveness {
    /// `incarnation` is drawn at each start.
    pub(crate) fn new(incarnation: u64) -> Self {
        let inner = Mutex::default();
        Self { incarnation, inner }
    }

    /// A store says that it is alive. True when it has been started since it last did.
    pub(crate) fn alive(&self, store: Uuid, incarnation: u64, now: u64) -> bool {
        let mut inner = self.inner.lock();
        let seen = inner.stores.entry(store).or_default();
        let again = seen.incarnation != incarnation;
        *seen = Seen {
            heard: now,
            incarnation,
            lost: false,
        };
        again
    }

    /// When a store was last heard of; 0 when it never was.
    pub(crate) fn heard(&self, store: Uuid) -> u64 {
        let inner = self.inner.lock();
        inner.stores.get(&store).map_or(0, |seen| seen.heard)
    }

    /// Whether nothing was heard of a store for too long.
    pub(crate) fn is_lost(&self, store: Uuid) -> bool {
        let inner = self.inner.lock();
        inner.stores.get(&store).is_some_and(|seen| seen.lost)
    }

    /// Tells those with whom groups are shared that this store is alive, unless its log writer hangs in this turn. The stores
    /// that are lost since the last call.
    pub(crate) fn tick(&self, shared: &BTreeSet<Uuid>, turn: Option<u64>, now: u64, peers: &dyn Peers) -> Vec<Uuid> {
        let mut inner = self.inner.lock();
        inner.stores.retain(|store, _| shared.contains(store));
        let hangs = inner.hangs(turn, now);
        if !hangs && now.saturating_sub(inner.sent) >= ALIVE_NS {
            inner.sent = now;
            let mut outbox = Outbox::default();
            let incarnation = self.incarnation;
            for store in shared {
                outbox.push(*store, &Payload::Alive { incarnation });
            }
            outbox.send(peers);
        }
        let mut lost = Vec::new();
        for store in shared {
            let seen = inner.stores.entry(*store).or_insert_with(|| Seen {
                heard: now,
                ..Seen::default()
            });
            if !seen.lost && now.saturating_sub(seen.heard) >= ELECTION_NS {
                seen.lost = true;
                lost.push(*store);
            }
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::NoPeers;

    #[test]
    fn a_store_is_lost_once_and_comes_back() {
        let other = Uuid::from_u128(1);
        let shared = BTreeSet::from([other]);
        let liveness = Liveness::new(7);
        let tick = |now| liveness.tick(&shared, None, now, &NoPeers);
        assert!(tick(1).is_empty());
        assert!(liveness.alive(other, 3, 2));
        assert!(!liveness.alive(other, 3, 3));
        assert!(tick(3 + ELECTION_NS - 1).is_empty());
        assert!(!liveness.is_lost(other));
        assert_eq!(tick(3 + ELECTION_NS), [other]);
        assert!(liveness.is_lost(other));
        assert!(tick(4 + ELECTION_NS).is_empty());
        assert!(liveness.alive(other, 4, 5 + ELECTION_NS));
        assert!(!liveness.is_lost(other));
        assert_eq!(tick(5 + 2 * ELECTION_NS), [other]);
        assert_eq!(liveness.heard(other), 5 + ELECTION_NS);
    }
    #[test]
    fn a_store_whose_log_writer_hangs_keeps_silent() {
        let mut inner = Inner::default();
        assert!(!inner.hangs(Some(1), 0));
        // Another turn is another matter, however long there is always one.
        assert!(!inner.hangs(Some(2), HANGS_NS));
        assert!(!inner.hangs(Some(2), 2 * HANGS_NS - 1));
        assert!(inner.hangs(Some(2), 2 * HANGS_NS));
        assert!(!inner.hangs(None, 3 * HANGS_NS));
        assert!(!inner.hangs(Some(2), 4 * HANGS_NS));
    }
}
