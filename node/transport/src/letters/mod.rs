//! Letters between stores: what their replicas say to each other. Bytes here; only the stores can read them.
//!
//! 1. [`Letters::send`] puts a batch into the queue of the store that it is for, and never waits: what there is no room for
//!    is dropped, as any network may. A store that is slow or away holds up nobody else.
//! 2. Each other store has one connection, opened from here, one way ([`link`]); what it answers comes by its own.
//! 3. On the other side the server ([`crate::Server`]) hands each batch to its service, whole and in order.
//! 4. Where stores are is in the [`AddressBook`].

mod book;
mod link;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use partita_tls::{Current, Mutual};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use uuid::Uuid;

pub use self::book::{AddressBook, Keep, KnownAddress};
use crate::protocol::Identity;
use crate::stats::Count;

/// Bytes that wait for one store. A quarter of a second of a follower's log on a fast network; a leader whose letters are
/// dropped goes back to what the follower has, and sends it again.
const QUEUE_BYTES_MAX: usize = 16 << 20;

/// The way to other stores. Clones share everything.
#[derive(Clone)]
pub struct Letters {
    shared: Arc<Shared>,
}

struct Shared {
    identity: Identity,
    book: Arc<AddressBook>,
    /// The certificates of the connections that are opened; plain without.
    tls: Option<Current<Mutual>>,
    runtime: Handle,
    links: Mutex<HashMap<Uuid, Arc<Queue>>>,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    connections: Count,
    batches: Count,
    bytes: Count,
    dropped: Count,
}

/// What has been counted since the start, and gauges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LetterStats {
    /// Connections that are open.
    pub connections: u64,
    /// Batches handed to connections.
    pub batches: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Batches dropped: their store was away, or too slow.
    pub dropped: u64,
}

/// What waits for one store.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    /// Something has come.
    wake: Notify,
}

#[derive(Default)]
struct Waiting {
    batches: VecDeque<Bytes>,
    bytes: usize,
    /// Its link has ended: nobody takes anything out any more.
    ended: bool,
}

impl Letters {
    /// From the store of this identity, over mutual TLS where there are certificates. Connections are tasks of the runtime
    /// that this is called in.
    pub fn new(identity: Identity, book: Arc<AddressBook>, tls: Option<Current<Mutual>>) -> Self {
        Self {
            shared: Arc::new(Shared {
                identity,
                book,
                tls,
                runtime: Handle::current(),
                links: Mutex::default(),
                counts: Counts::default(),
            }),
        }
    }

    /// Sends a batch to a store, or drops it. Never blocks.
    pub fn send(&self, to: Uuid, batch: Bytes) {
        let shared = &self.shared;
        let queue = {
            let mut links = shared.links.lock();
            match links.get(&to) {
                Some(queue) => Arc::clone(queue),
                None if shared.book.address(to).is_none() => return shared.counts.dropped.add(1),
                None => {
                    let queue: Arc<Queue> = Arc::default();
                    links.insert(to, Arc::clone(&queue));
                    let link = link::Link::new(Arc::clone(shared), to, Arc::clone(&queue));
                    shared.runtime.spawn(link.run());
                    queue
                }
            }
        };
        if !queue.push(batch) {
            shared.counts.dropped.add(1);
        }
    }

    /// Where other stores are.
    pub fn book(&self) -> &Arc<AddressBook> {
        &self.shared.book
    }

    /// What has been counted.
    pub fn stats(&self) -> LetterStats {
        let counts = &self.shared.counts;
        LetterStats {
            connections: counts.connections.get(),
            batches: counts.batches.get(),
            bytes: counts.bytes.get(),
            dropped: counts.dropped.get(),
        }
    }
}

impl Queue {
    /// Whether there was room.
    fn push(&self, batch: Bytes) -> bool {
        let mut waiting = self.waiting.lock();
        let full = !waiting.batches.is_empty() && waiting.bytes + batch.len() > QUEUE_BYTES_MAX;
        if full || waiting.ended {
            return false;
        }
        waiting.bytes += batch.len();
        waiting.batches.push_back(batch);
        drop(waiting);
        self.wake.notify_one();
        true
    }

    fn pop(&self) -> Option<Bytes> {
        let mut waiting = self.waiting.lock();
        let batch = waiting.batches.pop_front()?;
        waiting.bytes -= batch.len();
        Some(batch)
    }

    fn is_empty(&self) -> bool {
        self.waiting.lock().batches.is_empty()
    }

    /// Drops everything; how many batches.
    fn clear(&self) -> usize {
        let mut waiting = self.waiting.lock();
        waiting.bytes = 0;
        std::mem::take(&mut waiting.batches).len()
    }
}
