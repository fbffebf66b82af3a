//! Which stores are alive, whatever their groups do.
//!
//! Groups in which nothing goes on hear nothing of each other. So stores that share groups send each other a frame every
//! [`ALIVE_NS`]; a store that was not heard of for an election timeout is lost, and every group shared with it wakes, as
//! it does when a store has been started anew and has forgotten who led.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use uuid::Uuid;

use crate::message::{Outbox, Payload, Peers};
use crate::time::{ELECTION_NS, HEARTBEAT_TICKS, TICK_NS};

/// As often as a leader's heartbeats.
const ALIVE_NS: u64 = HEARTBEAT_TICKS as u64 * TICK_NS;

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

    /// Tells those with whom groups are shared that this store is alive. The stores that are lost since the last call.
    pub(crate) fn tick(&self, shared: &BTreeSet<Uuid>, now: u64, peers: &dyn Peers) -> Vec<Uuid> {
        let mut inner = self.inner.lock();
        inner.stores.retain(|store, _| shared.contains(store));
        if now.saturating_sub(inner.sent) >= ALIVE_NS {
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
        let tick = |now| liveness.tick(&shared, now, &NoPeers);
        assert!(tick(1).is_empty());
        assert!(liveness.alive(other, 3, 2));
        assert!(!liveness.alive(other, 3, 3));
        assert!(tick(3 + ELECTION_NS - 1).is_empty());
        assert_eq!(tick(3 + ELECTION_NS), [other]);
        assert!(tick(4 + ELECTION_NS).is_empty());
        assert!(liveness.alive(other, 4, 5 + ELECTION_NS));
        assert_eq!(tick(5 + 2 * ELECTION_NS), [other]);
        assert_eq!(liveness.heard(other), 5 + ELECTION_NS);
    }
}
