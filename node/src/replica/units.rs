//! Which part of which tables' units is used here.
//!
//! 1. The directory says what tables declare and which partitions they have; the store knows which of them it leads.
//! 2. With each partition that is led here comes an even part of its table's units (and of its global indexes'): the parts of
//!    all stores never sum above the whole.
//! 3. Looked over when the directory changes, and when groups come, go, or change their leader.
//! 4. Who takes a partition over from another leader cannot know what that one has left of the burst: it begins without any.
//!    A table that has just been made is as new here as anywhere.
//!
//! Nothing is refused before the directory knows a table. It is kept in the data folder, so a store that starts while
//! nobody can be asked goes by what was known.

use std::collections::HashSet;
use std::sync::Arc;

use partita_model::partition::GroupId;
use partita_model::schema::TableId;
use partita_replication::{Clock, Group, Store};
use tokio::sync::{Notify, watch};

use super::service::table_of;
use crate::directory::{Entry, Listing};
use crate::serving::admission::Admission;

/// A table that was made so lately has no earlier leader that could have used its burst.
const NEW_TABLE_MS: u64 = 30_000;

/// What has been seen.
struct Follower {
    admission: Arc<Admission>,
    store: Arc<Store>,
    listings: watch::Receiver<Arc<Listing>>,
    now_ms: Clock,
    /// Groups whose leadership is watched.
    watched: HashSet<GroupId>,
    /// Groups that were led here when last looked at.
    led: HashSet<GroupId>,
    /// Tables that were declared.
    declared: HashSet<TableId>,
    leaders: Arc<Notify>,
}

/// Declares the tables of this store's partitions, from now on.
pub fn follow(admission: &Arc<Admission>, store: &Arc<Store>, listings: watch::Receiver<Arc<Listing>>, now_ms: Clock) {
    let mut follower = Follower {
        admission: Arc::clone(admission),
        store: Arc::clone(store),
        listings,
        now_ms,
        watched: HashSet::new(),
        led: HashSet::new(),
        declared: HashSet::new(),
        leaders: Arc::default(),
    };
    // Before anything is served: levels of before are taken up by what was known before.
    follower.look();
    tokio::spawn(follower.run());
}

impl Follower {
    async fn run(mut self) {
        let mut groups = self.store.changes();
        loop {
            groups.mark_unchanged();
            self.look();
            tokio::select! {
                changed = self.listings.changed() => if changed.is_err() { return },
                changed = groups.changed() => if changed.is_err() { return },
                () = self.leaders.notified() => {}
            }
        }
    }

    fn look(&mut self) {
        let groups = self.store.groups();
        for group in &groups {
            self.watch(group);
        }
        let led: HashSet<GroupId> = groups
            .iter()
            .filter(|group| group.is_serving())
            .map(|group| group.id())
            .collect();
        let held: HashSet<GroupId> = groups.iter().map(|group| group.id()).collect();
        let listing = Arc::clone(&self.listings.borrow_and_update());
        let here = listing
            .tables
            .iter()
            .filter(|entry| partitions(entry).any(|group| held.contains(&group)));
        let mut declared = HashSet::new();
        for entry in here {
            self.admission.declare(&entry.record, &|group| led.contains(&group));
            declared.insert(entry.record.id);
        }
        for gone in self.declared.difference(&declared) {
            self.admission.forget(*gone);
        }
        self.declared = declared;
        // Of a table that is not declared yet nothing is taken over: that comes when it is.
        let taken = |group: &&Arc<Group>| self.declared.contains(&table_of(&group.descriptor()));
        let led: HashSet<GroupId> = groups
            .iter()
            .filter(|group| led.contains(&group.id()))
            .filter(taken)
            .map(|group| group.id())
            .collect();
        for group in groups.iter().filter(|group| led.contains(&group.id())) {
            if !self.led.contains(&group.id()) && group.has_peers() {
                self.taken_over(group, &listing);
            }
        }
        self.led = led;
        self.watched.retain(|group| held.contains(group));
    }

    fn taken_over(&self, group: &Group, listing: &Listing) {
        let table = table_of(&group.descriptor());
        let created_ms = listing.table(table).map(|entry| entry.record.dates.created_ms);
        if created_ms.is_some_and(|created| (self.now_ms)() < created + NEW_TABLE_MS) {
            return;
        }
        self.admission.leave_savings(table);
    }

    /// Wakes this follower whenever the group's leader changes.
    fn watch(&mut self, group: &Group) {
        if !self.watched.insert(group.id()) {
            return;
        }
        let (mut leadership, leaders) = (group.leadership(), Arc::clone(&self.leaders));
        tokio::spawn(async move {
            while leadership.changed().await.is_ok() {
                leaders.notify_one();
            }
        });
    }
}

/// The groups of a table and its indexes.
fn partitions(entry: &Entry) -> impl Iterator<Item = GroupId> {
    let indexes = entry.record.global.iter().flat_map(|index| &index.partitions);
    entry
        .record
        .partitions
        .iter()
        .chain(indexes)
        .map(|partition| partition.group)
}
