//! Where stores are, by UUID: what survives the control plane's being away.
//!
//! 1. Whoever makes a group or adds a member says where the stores are ([`AddressBook::told`]), and whoever moves all of them.
//! 2. A store that connects says so itself ([`AddressBook::meet`]): it knows better, and each start of it knows best.
//! 3. Stores tell each other what they know ([`AddressBook::learn`]), so that a new member learns of all the others.
//!
//! A store counts its starts, and its word counts by that number and not by anybody's clock. The same number tells a copy of
//! a store apart: one that was restored from a backup has been started less often than others have seen.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use uuid::Uuid;

use crate::protocol::{ADDRESS_BYTES_MAX, StoreIdentity};

/// Stores that are remembered: far more than any cluster has, so that nobody can fill the memory.
const STORES_MAX: usize = 10_000;

/// Where a store is, as somebody knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownAddress {
    /// The store.
    pub store: Uuid,
    /// `host:port`; empty when only the store itself is known.
    pub address: String,
    /// The store's count of starts when it said so; 0 when somebody else did.
    pub starts: u64,
    /// What the store drew at that start.
    pub incarnation: u64,
}

/// Makes what is known durable.
pub type Keep = Box<dyn Fn(&[KnownAddress]) -> std::io::Result<()> + Send + Sync>;

/// See the module's header.
pub struct AddressBook {
    own: StoreIdentity,
    known: Mutex<BTreeMap<Uuid, KnownAddress>>,
    /// What others said since the start: tried where what a store itself said before leads nowhere.
    told: Mutex<BTreeMap<Uuid, String>>,
    keep: Keep,
    /// Counts what was learned.
    changes: watch::Sender<u64>,
    /// Why this very store cannot go on: it is a copy of one that others know.
    copied: watch::Sender<Option<String>>,
}

impl AddressBook {
    /// Of this store, which knows these others from before. `keep` is called whenever something is learned, and returns
    /// when that is durable: rarely, once for each start of a peer.
    pub fn new(own: StoreIdentity, known: impl IntoIterator<Item = KnownAddress>, keep: Keep) -> Self {
        let known = known.into_iter().filter(|one| one.store != own.uuid);
        Self {
            known: Mutex::new(known.map(|one| (one.store, one)).collect()),
            told: Mutex::default(),
            own,
            keep,
            changes: watch::Sender::new(0),
            copied: watch::Sender::new(None),
        }
    }

    /// Where a store is.
    pub fn address(&self, store: Uuid) -> Option<String> {
        let known = self.known.lock();
        let address = known.get(&store).map(|known| known.address.clone());
        address.filter(|address| !address.is_empty())
    }

    /// Where a store may be: what it said itself first.
    pub fn addresses(&self, store: Uuid) -> Vec<String> {
        let mut addresses: Vec<String> = self.address(store).into_iter().collect();
        if let Some(told) = self.told.lock().get(&store).filter(|told| !addresses.contains(told)) {
            addresses.push(told.clone());
        }
        addresses
    }

    /// Everything that is known, this store first.
    pub fn all(&self) -> Vec<KnownAddress> {
        let own = KnownAddress::of(&self.own);
        let known = self.known.lock();
        std::iter::once(own).chain(known.values().cloned()).collect()
    }

    /// Wakes whenever something was learned.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The reason, once it is known that this store is a copy of another.
    pub fn copied(&self) -> watch::Receiver<Option<String>> {
        self.copied.subscribe()
    }

    /// Somebody who need not know better than the store itself says where it is.
    pub fn told(&self, store: Uuid, address: &str) {
        let mut told = self.told.lock();
        if told.len() < STORES_MAX || told.contains_key(&store) {
            told.insert(store, address.to_owned());
        }
        drop(told);
        self.learn(vec![KnownAddress {
            store,
            address: address.to_owned(),
            starts: 0,
            incarnation: 0,
        }]);
    }

    /// Takes over what another store knows.
    pub fn learn(&self, news: Vec<KnownAddress>) {
        let mut known = self.known.lock();
        let mut learned = false;
        for one in news {
            if one.address.len() > ADDRESS_BYTES_MAX {
                continue;
            }
            if one.store == self.own.uuid {
                self.check_own(&one);
                continue;
            }
            learned |= note(&mut known, one);
        }
        if learned && let Err(error) = self.kept(&known) {
            tracing::warn!(%error, "addresses of other stores cannot be written down");
        }
    }

    /// A store introduces itself: an error says why it is not to be talked to. What is known of it is durable on return:
    /// nobody who comes after it with an older copy is mistaken for it.
    pub fn meet(&self, store: &StoreIdentity) -> Result<(), String> {
        let mut known = self.known.lock();
        if let Some(before) = known.get(&store.uuid) {
            copy_of(before, store)?;
        }
        if note(&mut known, KnownAddress::of(store)) {
            self.kept(&known)
                .map_err(|error| format!("store {} cannot be written down here: {error}", store.uuid))?;
        }
        Ok(())
    }

    fn kept(&self, known: &BTreeMap<Uuid, KnownAddress>) -> std::io::Result<()> {
        let all: Vec<_> = known.values().cloned().collect();
        self.changes.send_modify(|count| *count += 1);
        (self.keep)(&all)
    }

    fn check_own(&self, said: &KnownAddress) {
        let Err(reason) = copy_of(said, &self.own) else { return };
        self.copied.send_if_modified(|copied| {
            let first = copied.is_none();
            copied.get_or_insert(reason);
            first
        });
    }
}

impl KnownAddress {
    fn of(store: &StoreIdentity) -> Self {
        Self {
            store: store.uuid,
            address: store.address.clone(),
            starts: store.starts,
            incarnation: store.incarnation,
        }
    }
}

/// Whether a store that introduces itself is another than the one that is known by its UUID.
fn copy_of(known: &KnownAddress, store: &StoreIdentity) -> Result<(), String> {
    let uuid = store.uuid;
    if store.starts < known.starts {
        return Err(format!(
            "store {uuid} has been started {} times, and others have seen it started {} times: its folder was restored from \
             an older copy, and what it has promised since is not in it. It must not come back; add an empty store in its place",
            store.starts, known.starts
        ));
    }
    if store.starts == known.starts && known.incarnation != 0 && store.incarnation != known.incarnation {
        return Err(format!(
            "two processes run as store {uuid}: one of their folders is a copy of the other's. Stop one of them and remove \
             its folder"
        ));
    }
    Ok(())
}

/// Notes what is newer than what is known; whether it was.
fn note(known: &mut BTreeMap<Uuid, KnownAddress>, news: KnownAddress) -> bool {
    let full = known.len() >= STORES_MAX;
    match known.get_mut(&news.store) {
        None if full => false,
        None => {
            known.insert(news.store, news);
            true
        }
        Some(before) => {
            let newer = news.starts > before.starts || news.starts == 0 && before.starts == 0;
            let silent = news.address.is_empty();
            let address = if silent { before.address.clone() } else { news.address };
            let news = KnownAddress { address, ..news };
            // The store itself did not say where it is: somebody may.
            let filled = before.address.is_empty() && !news.address.is_empty();
            let changed = (newer || filled) && news != *before;
            match changed {
                true if newer => *before = news,
                true => before.address = news.address,
                false => {}
            }
            changed
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn store(number: u128, starts: u64, address: &str) -> StoreIdentity {
        StoreIdentity {
            uuid: Uuid::from_u128(number),
            starts,
            incarnation: starts + 100,
            address: address.to_owned(),
        }
    }

    fn book(kept: &Arc<Mutex<Vec<KnownAddress>>>) -> AddressBook {
        let kept = Arc::clone(kept);
        let keep = move |known: &[KnownAddress]| {
            *kept.lock() = known.to_vec();
            Ok(())
        };
        AddressBook::new(store(1, 5, "a:1"), [], Box::new(keep))
    }

    #[test]
    fn a_stores_own_word_counts_more_than_anybody_elses() {
        let kept = Arc::default();
        let book = book(&kept);
        let other = Uuid::from_u128(2);
        book.told(other, "told:1");
        assert_eq!(book.address(other).as_deref(), Some("told:1"));
        book.told(other, "told:2");
        assert_eq!(book.address(other).as_deref(), Some("told:2"));
        book.meet(&store(2, 1, "own:1")).unwrap();
        book.told(other, "told:3");
        assert_eq!(book.address(other).as_deref(), Some("own:1"));
        assert_eq!(book.addresses(other), ["own:1", "told:3"]);
        book.meet(&store(2, 2, "own:2")).unwrap();
        book.learn(vec![KnownAddress::of(&store(2, 1, "own:1"))]);
        assert_eq!(book.address(other).as_deref(), Some("own:2"));
        // A start that does not say where leaves what is known.
        book.meet(&store(2, 3, "")).unwrap();
        assert_eq!(book.address(other).as_deref(), Some("own:2"));
        assert_eq!(kept.lock().len(), 1);
        assert_eq!(kept.lock()[0].starts, 3);
    }

    #[test]
    fn a_copy_is_told_apart() {
        let book = book(&Arc::default());
        book.meet(&store(2, 7, "b:1")).unwrap();
        book.meet(&store(2, 7, "b:1")).unwrap();
        let restored = book.meet(&store(2, 6, "c:1")).unwrap_err();
        assert!(restored.contains("restored from an older copy"), "{restored}");
        let twin = StoreIdentity {
            incarnation: 1,
            ..store(2, 7, "c:1")
        };
        assert!(book.meet(&twin).unwrap_err().contains("two processes"));
        assert_eq!(book.address(Uuid::from_u128(2)).as_deref(), Some("b:1"));
    }

    #[test]
    fn a_copy_hears_that_it_is_one() {
        let book = book(&Arc::default());
        book.learn(vec![
            KnownAddress::of(&store(1, 5, "a:1")),
            KnownAddress::of(&store(1, 4, "z:1")),
        ]);
        assert_eq!(*book.copied().borrow(), None);
        book.learn(vec![KnownAddress::of(&store(1, 6, "z:1"))]);
        assert!(book.copied().borrow().as_deref().unwrap().contains("restored"));
    }
}
