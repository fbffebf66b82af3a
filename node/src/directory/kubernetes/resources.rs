//! The API server's objects, as far as they are known here.
//!
//! A watch tells them in the order of their versions. What this process has written comes from the answer to the write,
//! at once; the watch repeats it later. Versions are compared so that neither undoes the other.
//!
//! Source of the order of versions: "Resource versions", Kubernetes API Concepts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt};
use parking_lot::RwLock;
use partita_crds::{Partition, Table};
use tokio::sync::watch;

/// Namespace and name.
type Key = (String, String);
/// Objects by namespace and name.
pub type Objects<K> = BTreeMap<Key, Arc<K>>;

/// Tables and Partitions.
pub struct Resources {
    tables: RwLock<Kind<Table>>,
    partitions: RwLock<Kind<Partition>>,
    /// Counts changes.
    changes: watch::Sender<u64>,
}

impl Resources {
    /// Nothing is known.
    pub fn new() -> Self {
        Self {
            tables: RwLock::default(),
            partitions: RwLock::default(),
            changes: watch::Sender::new(0),
        }
    }

    /// What the watch of Tables says.
    pub fn table_event(&self, event: Event<Table>) {
        // Nobody here reads them, and they are as long as the rest.
        let event = event.modify(|table| table.managed_fields_mut().clear());
        self.tables.write().event(event);
        self.changed();
    }

    /// What the watch of Partitions says.
    pub fn partition_event(&self, event: Event<Partition>) {
        let event = event.modify(|partition| partition.managed_fields_mut().clear());
        self.partitions.write().event(event);
        self.changed();
    }

    /// A Table as the API server has just answered it.
    pub fn put_table(&self, table: Table) {
        self.tables.write().put(table);
        self.changed();
    }

    /// A Table that the API server has just said is gone.
    pub fn table_gone(&self, table: &Table) {
        self.tables.write().gone(table);
        self.changed();
    }

    /// Whether everything that there is has been listed.
    pub fn synced(&self) -> bool {
        self.tables.read().listed && self.partitions.read().listed
    }

    /// Everything.
    pub fn all(&self) -> (Objects<Table>, Objects<Partition>) {
        (
            self.tables.read().objects.clone(),
            self.partitions.read().objects.clone(),
        )
    }

    /// The Tables of a namespace.
    pub fn tables_of(&self, namespace: &str) -> Vec<Arc<Table>> {
        within(&self.tables.read().objects, namespace)
    }

    /// The Partitions of a Table.
    pub fn partitions_of(&self, table: &Table) -> Vec<Arc<Partition>> {
        let namespace = table.namespace().unwrap_or_default();
        let mut all = within(&self.partitions.read().objects, &namespace);
        let name = table.name_any();
        all.retain(|partition| partition.spec.table == name);
        all
    }

    /// Wakes with every change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}

fn within<K>(objects: &Objects<K>, namespace: &str) -> Vec<Arc<K>> {
    let from = (namespace.to_owned(), String::new());
    objects
        .range(from..)
        .take_while(|((of, _), _)| of == namespace)
        .map(|(_, object)| Arc::clone(object))
        .collect()
}

/// The objects of one kind.
struct Kind<K> {
    objects: Objects<K>,
    /// The newest version that the watch has told.
    seen: u64,
    /// What has been listed so far, while the watch begins anew.
    listing: Option<Objects<K>>,
    /// What was put since the watch began anew.
    put: BTreeSet<Key>,
    /// Whether everything was listed once.
    listed: bool,
}

impl<K> Default for Kind<K> {
    fn default() -> Self {
        Self {
            objects: BTreeMap::new(),
            seen: 0,
            listing: None,
            put: BTreeSet::new(),
            listed: false,
        }
    }
}

impl<K: Resource> Kind<K> {
    fn event(&mut self, event: Event<K>) {
        match event {
            Event::Init => {
                self.listing = Some(BTreeMap::new());
                self.put.clear();
            }
            Event::InitApply(object) => {
                self.seen = self.seen.max(version(&object));
                self.listing
                    .get_or_insert_default()
                    .insert(key(&object), Arc::new(object));
            }
            Event::InitDone => self.relisted(),
            Event::Apply(object) => {
                self.seen = self.seen.max(version(&object));
                self.newer(object);
            }
            Event::Delete(object) => {
                self.seen = self.seen.max(version(&object));
                self.gone(&object);
            }
        }
    }

    /// The list replaces what was there, but for what was put meanwhile.
    fn relisted(&mut self) {
        let mut listed = self.listing.take().unwrap_or_default();
        for key in std::mem::take(&mut self.put) {
            let Some(put) = self.objects.get(&key) else { continue };
            if listed
                .get(&key)
                .is_none_or(|object| version(&**object) < version(&**put))
            {
                listed.insert(key, Arc::clone(put));
            }
        }
        self.objects = listed;
        self.listed = true;
    }

    /// The answer to a write. What the watch has passed already is no news.
    fn put(&mut self, object: K) {
        if version(&object) > self.seen {
            self.put.insert(key(&object));
            self.newer(object);
        }
    }

    fn newer(&mut self, object: K) {
        let key = key(&object);
        let known = self.objects.get(&key);
        if known.is_none_or(|known| version(&**known) <= version(&object)) {
            self.objects.insert(key, Arc::new(object));
        }
    }

    fn gone(&mut self, object: &K) {
        let key = key(object);
        let known = self.objects.get(&key);
        if known.is_some_and(|known| version(&**known) <= version(object)) {
            self.objects.remove(&key);
        }
    }
}

fn key<K: Resource>(object: &K) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// Versions are numbers that grow.
fn version<K: Resource>(object: &K) -> u64 {
    let version = object.meta().resource_version.as_deref();
    version.and_then(|version| version.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::entries::tests::table;
    use super::*;

    fn versioned(name: &str, version: u64) -> Table {
        let mut table = table("shop", name, "orders");
        table.meta_mut().resource_version = Some(version.to_string());
        table
    }

    fn names(resources: &Resources) -> Vec<String> {
        let known = resources.tables_of("shop");
        let name = |table: &Arc<Table>| format!("{}@{}", table.name_any(), version(&**table));
        known.iter().map(name).collect()
    }

    fn listed(objects: &[(&str, u64)]) -> Resources {
        let resources = Resources::new();
        relist(&resources, objects);
        resources
    }

    fn relist(resources: &Resources, objects: &[(&str, u64)]) {
        resources.table_event(Event::Init);
        for (name, version) in objects {
            resources.table_event(Event::InitApply(versioned(name, *version)));
        }
        resources.table_event(Event::InitDone);
    }

    #[test]
    fn what_was_written_here_is_known_at_once_and_stays() {
        let resources = listed(&[("a", 5)]);
        resources.put_table(versioned("b", 8));
        resources.table_event(Event::Apply(versioned("b", 7)));
        assert_eq!(names(&resources), ["a@5", "b@8"]);
        resources.table_event(Event::Apply(versioned("b", 9)));
        assert_eq!(names(&resources), ["a@5", "b@9"]);
    }

    #[test]
    fn an_answer_that_comes_late_undoes_nothing() {
        let resources = listed(&[("a", 5)]);
        resources.table_event(Event::Delete(versioned("a", 9)));
        resources.put_table(versioned("a", 8));
        assert_eq!(names(&resources), [""; 0]);
    }

    #[test]
    fn a_list_replaces_what_was_there_but_for_what_was_written_meanwhile() {
        let resources = listed(&[("a", 5), ("b", 6)]);
        resources.table_event(Event::Init);
        resources.table_event(Event::InitApply(versioned("b", 7)));
        resources.put_table(versioned("c", 9));
        resources.put_table(versioned("b", 10));
        assert_eq!(names(&resources), ["a@5", "b@10", "c@9"]);
        resources.table_event(Event::InitDone);
        assert_eq!(names(&resources), ["b@10", "c@9"]);
        relist(&resources, &[("b", 10)]);
        assert_eq!(names(&resources), ["b@10"]);
    }

    #[test]
    fn a_deletion_of_an_older_object_is_not_the_newer_ones() {
        let resources = listed(&[]);
        resources.put_table(versioned("a", 8));
        resources.table_event(Event::Delete(versioned("a", 7)));
        assert_eq!(names(&resources), ["a@8"]);
        resources.table_gone(&versioned("a", 9));
        assert_eq!(names(&resources), [""; 0]);
    }
}
