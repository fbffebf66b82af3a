//! Which part of which tables' units is used here.
//!
//! 1. The directory says what tables declare and which partitions they have; the store knows which of them it leads.
//! 2. Whoever leads a table's first partition grants all others shares of its units (and of its global indexes'), as they use
//!    them ([`super::shares`]). While nobody does, each has the even part that comes with the partitions it leads.
//! 3. Looked over when the directory changes, and when groups come, go, or change their leader.
//! 4. Who takes the first partition over from another leader goes on where that one has said that the buckets stand, or asks;
//!    until it knows, it begins without savings. A table that has just been made is as new here as anywhere.
//! 5. A split hands out nothing: who leads the child uses the same units. The child counts, also before the directory
//!    knows of it, and is led here from its birth on if its parent is, unless another store wins its first election.
//!
//! Nothing is refused before the directory knows a table. It is kept in the data folder, so a store that starts while
//! nobody can be asked goes by what was known.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use partita_model::partition::{GroupId, PartitionDescriptor, PartitionKind};
use partita_model::schema::TableId;
use partita_model::table::record::{PartitionRecord, Record};
use partita_replication::{Clock, Group, Store};
use tokio::sync::{Notify, mpsc, watch};

use super::service::table_of;
use super::shares::Taken;
use crate::directory::Listing;
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
    /// Groups that were here when last looked at, and those that were led here.
    held: HashSet<GroupId>,
    /// In which terms.
    led: HashMap<GroupId, u64>,
    /// Children of what is led here, that nobody leads yet.
    born: HashSet<GroupId>,
    /// Tables that were declared.
    declared: HashSet<TableId>,
    leaders: Arc<Notify>,
    /// Where it is said which tables' first partitions are taken over.
    taken: mpsc::UnboundedSender<Taken>,
}

/// Declares the tables of this store's partitions, from now on.
pub fn follow(
    admission: &Arc<Admission>,
    store: &Arc<Store>,
    listings: watch::Receiver<Arc<Listing>>,
    now_ms: Clock,
    taken: mpsc::UnboundedSender<Taken>,
) {
    let mut follower = Follower {
        admission: Arc::clone(admission),
        store: Arc::clone(store),
        listings,
        now_ms,
        watched: HashSet::new(),
        held: HashSet::new(),
        led: HashMap::new(),
        born: HashSet::new(),
        declared: HashSet::new(),
        leaders: Arc::default(),
        taken,
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
        self.look_for_children(&groups);
        // Who has no peers is led by nobody else, also while it starts.
        let led: HashMap<GroupId, u64> = groups
            .iter()
            .filter(|group| group.is_serving() || !group.has_peers() || self.born.contains(&group.id()))
            .map(|group| (group.id(), group.leadership().borrow().serving))
            .collect();
        let held: HashSet<GroupId> = groups.iter().map(|group| group.id()).collect();
        let tables: HashSet<TableId> = groups.iter().map(|group| table_of(&group.descriptor())).collect();
        let listing = Arc::clone(&self.listings.borrow_and_update());
        let here = listing.tables.iter().filter(|entry| tables.contains(&entry.record.id));
        let mut declared = HashSet::new();
        for entry in here {
            let record = with_children(&entry.record, &groups);
            self.admission.declare(&record, &|group| led.get(&group).copied());
            declared.insert(entry.record.id);
        }
        for gone in self.declared.difference(&declared) {
            // Its partitions may come back, or the directory may know it again: it has no second burst then.
            match tables.contains(gone) || listing.table(*gone).is_some() {
                true => self.admission.set_aside(*gone),
                false => self.admission.forget(*gone),
            }
        }
        self.declared = declared;
        // Of a table that is not declared yet nothing is taken over: that comes when it is.
        let taken = |group: &&Arc<Group>| self.declared.contains(&table_of(&group.descriptor()));
        let led: HashMap<GroupId, u64> = groups
            .iter()
            .filter(taken)
            .filter_map(|group| Some((group.id(), *led.get(&group.id())?)))
            .collect();
        for group in groups.iter().filter(|group| group.has_peers()) {
            let term = led.get(&group.id());
            if term.is_some() && self.led.get(&group.id()) != term {
                self.taken_over(group, &listing);
            }
        }
        self.led = led;
        self.watched.retain(|group| held.contains(group));
        self.held = held;
    }

    /// Notes children that have come since the last look, and forgets those that somebody leads.
    fn look_for_children(&mut self, groups: &[Arc<Group>]) {
        for group in groups.iter().filter(|group| !self.held.contains(&group.id())) {
            let child = group.descriptor();
            let is_parent = |other: &&Arc<Group>| is_parent(&other.descriptor(), &child);
            let parent = groups.iter().find(is_parent);
            if parent.is_some_and(|parent| self.led.contains_key(&parent.id())) {
                self.born.insert(group.id());
            }
        }
        let waits = |group: &&Arc<Group>| {
            let stats = group.stats();
            stats.serving == 0 && (stats.leads == 0 || stats.leads == stats.replica)
        };
        let waiting: HashSet<GroupId> = groups.iter().filter(waits).map(|group| group.id()).collect();
        self.born.retain(|group| waiting.contains(group));
    }

    fn taken_over(&self, group: &Group, listing: &Listing) {
        let descriptor = group.descriptor();
        let is_first = descriptor.schema().is_some() && descriptor.start.0.is_empty();
        if !is_first {
            return;
        }
        let table = table_of(&descriptor);
        let created_ms = listing.table(table).map(|entry| entry.record.dates.created_ms);
        let is_new = created_ms.is_some_and(|created| (self.now_ms)() < created + NEW_TABLE_MS);
        // What was split has had a leader before.
        if is_new && descriptor.range_epoch == 1 {
            self.admission.fill(table);
        }
        // A new table may have had another leader, too.
        let taken = Taken {
            table,
            first: group.id(),
        };
        if self.taken.send(taken).is_err() {
            tracing::debug!("nobody asks about units any more: the process stops");
        }
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

/// Whether a partition lies right behind another one, since the same split.
fn is_parent(parent: &PartitionDescriptor, child: &PartitionDescriptor) -> bool {
    parent.table == child.table && parent.end.as_ref() == Some(&child.start) && parent.range_epoch == child.range_epoch
}

/// A table, with those of its partitions that are here and that the directory does not know of yet.
fn with_children(record: &Record, groups: &[Arc<Group>]) -> Record {
    let mut record = record.clone();
    let here = groups.iter().map(|group| group.descriptor());
    for descriptor in here.filter(|descriptor| table_of(descriptor) == record.id) {
        let partitions = match &descriptor.kind {
            PartitionKind::Table(_) => Some(&mut record.partitions),
            PartitionKind::Index { index, .. } => {
                let known = record.global.iter_mut().find(|known| known.id == index.id);
                known.map(|known| &mut known.partitions)
            }
        };
        let unknown = partitions.filter(|known| known.iter().all(|one| one.group != descriptor.group));
        unknown.into_iter().for_each(|partitions| {
            partitions.push(PartitionRecord {
                group: descriptor.group,
                start: descriptor.start.clone(),
            });
        });
    }
    record
}
