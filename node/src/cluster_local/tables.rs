//! The tables of the cluster: what the manifests declare, and what was made of it.
//!
//! The directory's file is the record: a table is made once, under an id that is drawn then, and found again at the next
//! start. There is nobody here who changes tables: a manifest that asks for something else than was made is said to be refused.
//! But partitions may be split by an administrator: [`Tables::learn`] takes over what the stores say.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use partita_crds::names;
use partita_model::admin::{Bootstrap, GroupState, StoreAddress, StoreState};
use partita_model::partition::{GroupId, PartitionDescriptor};
use partita_model::schema::TableId;
use partita_model::table::TableSpec;
use partita_model::table::record::{Circumstances, Owner, PartitionLimits, PartitionRecord, Piece, Record, cover};

use super::Replica;
use crate::directory::{Entry, Listing, write_private};
use crate::process;
use crate::standalone::manifests::folder;

/// In the data folder.
pub const DIRECTORY_FILE: &str = "directory.json";
/// The namespace of all tables, and of the router.
pub const NAMESPACE: &str = "default";
/// Partitions of a table at most: all of them live on this machine.
const PARTITIONS_MAX: u64 = 16;

/// See the module's header.
pub struct Tables {
    entries: BTreeMap<String, Entry>,
    problems: Vec<String>,
}

impl Tables {
    /// What the manifests declare, and what was made before.
    pub fn read(manifests: &Path, directory: &Path) -> anyhow::Result<Self> {
        let found = folder::read(manifests).with_context(|| format!("--manifests {}", manifests.display()))?;
        let mut tables = Self {
            entries: made_before(directory)?,
            problems: Vec::new(),
        };
        for problem in &found.problems {
            tables
                .problems
                .push(format!("{}, {}: {}", problem.file, problem.resource, problem.reason));
        }
        for (name, declaration) in found.declarations {
            tables.declare(&name, declaration.spec);
        }
        Ok(tables)
    }

    fn declare(&mut self, name: &str, spec: TableSpec) {
        if let Some(entry) = self.entries.get(name) {
            if entry.record.spec != spec {
                self.problems.push(format!(
                    "{name}: the table is there, and nobody here changes tables; it stays as it was made"
                ));
            }
            return;
        }
        let at = Circumstances {
            now_ms: process::now_ms(),
            partitions: PartitionLimits::at_most(PARTITIONS_MAX),
        };
        let id = TableId(rand::random::<u64>().max(1));
        let account = names::account(NAMESPACE);
        let mut record = Record::create(&account, spec, Owner::Api, id, at);
        record.created();
        let entry = Entry {
            namespace: NAMESPACE.to_owned(),
            account,
            record,
            hosts: BTreeMap::new(),
            replicas: BTreeMap::new(),
        };
        self.entries.insert(name.to_owned(), entry);
    }

    /// Makes every group, or finds it; notes where they are.
    pub async fn make(&mut self, replicas: &[Replica]) -> anyhow::Result<()> {
        let stores: Vec<StoreAddress> = replicas.iter().map(|replica| replica.store.clone()).collect();
        let addresses: Vec<String> = stores.iter().map(|store| store.address.clone()).collect();
        for replica in replicas {
            // They may all have other ports than at the last start.
            let _: Vec<StoreAddress> = replica.admin.put("/peers", &stores).await?;
        }
        let mut turn = 0;
        for entry in self.entries.values_mut() {
            for descriptor in descriptors(&entry.record) {
                let group = descriptor.group;
                let first = turn % replicas.len();
                turn += 1;
                // A group is born once: a store that lost its disk is no voter of it.
                if !entry.hosts.contains_key(&group) {
                    make_group(replicas, first, descriptor).await?;
                }
                entry.hosts.insert(group, addresses[first].clone());
                entry.replicas.insert(group, addresses.clone());
            }
        }
        Ok(())
    }

    /// Takes over which partitions the stores have; what is new, in words. Nothing of a table (or an index) is taken over while
    /// they do not say who has every key: a child is born a moment after the cut.
    pub fn learn(&mut self, stores: &[StoreState]) -> Vec<String> {
        let mut news = Vec::new();
        for (name, entry) in &mut self.entries {
            let found = Found::of(entry.record.id, stores);
            found.note(
                &mut entry.record.partitions,
                &mut entry.hosts,
                &mut entry.replicas,
                name,
                &mut news,
            );
            for index in &mut entry.record.global {
                let found = Found::of(index.table, stores);
                let name = format!("index {} of {name}", index.name);
                found.note(
                    &mut index.partitions,
                    &mut entry.hosts,
                    &mut entry.replicas,
                    &name,
                    &mut news,
                );
            }
        }
        news
    }

    /// Writes the directory.
    pub fn write(&self, directory: &Path) -> anyhow::Result<()> {
        let listing = Listing::of(self.entries.values().cloned().map(Arc::new).collect());
        let text = serde_json::to_vec(&listing)?;
        write_private(directory, &text).with_context(|| directory.display().to_string())
    }

    /// The tables, with their partitions.
    pub fn listed(&self) -> String {
        let one = |(name, entry): (&String, &Entry)| match descriptors(&entry.record).len() {
            1 => format!("{name} (1 partition)"),
            count => format!("{name} ({count} partitions)"),
        };
        let all: Vec<String> = self.entries.iter().map(one).collect();
        match all.is_empty() {
            true => "none: the folder declares none".to_owned(),
            false => all.join(", "),
        }
    }

    /// What was refused.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

/// The partitions of a table or an index that stores have.
struct Found<'a> {
    /// Each group as the replica has it that knows its latest range (of these, the leader), by id.
    groups: BTreeMap<GroupId, (&'a GroupState, &'a StoreState)>,
    stores: &'a [StoreState],
}

impl<'a> Found<'a> {
    /// Of those rows that are stored under this id.
    fn of(id: TableId, stores: &'a [StoreState]) -> Self {
        let mut groups: BTreeMap<GroupId, (&GroupState, &StoreState)> = BTreeMap::new();
        for store in stores {
            for state in store.groups.iter().filter(|state| state.descriptor.table == id) {
                let rank = |state: &GroupState| (state.descriptor.range_epoch, state.leader);
                let best = groups.entry(state.descriptor.group).or_insert((state, store));
                if rank(state) > rank(best.0) {
                    *best = (state, store);
                }
            }
        }
        Self { groups, stores }
    }

    /// Puts them in the place of what was listed, if together they have every key once.
    fn note(
        &self,
        partitions: &mut Vec<PartitionRecord>,
        hosts: &mut BTreeMap<GroupId, String>,
        replicas: &mut BTreeMap<GroupId, Vec<String>>,
        name: &str,
        news: &mut Vec<String>,
    ) {
        let pieces = self.groups.values().map(|(state, _)| Piece {
            group: state.descriptor.group,
            start: state.descriptor.start.clone(),
            end: state.descriptor.end.clone(),
        });
        let Ok(found) = cover(pieces.collect()) else { return };
        if found == *partitions {
            return;
        }
        let gone = partitions
            .iter()
            .filter(|one| found.iter().all(|found| found.group != one.group));
        for gone in gone {
            hosts.remove(&gone.group);
            replicas.remove(&gone.group);
        }
        for (group, (_, store)) in &self.groups {
            if hosts.contains_key(group) {
                continue;
            }
            let has = |store: &&StoreState| store.groups.iter().any(|one| one.descriptor.group == *group);
            let addresses = self.stores.iter().filter(has).map(|store| store.address.clone());
            hosts.insert(*group, store.address.clone());
            replicas.insert(*group, addresses.collect());
        }
        news.push(format!(
            "{name} has {} partitions now ({} before)",
            found.len(),
            partitions.len()
        ));
        *partitions = found;
    }
}

fn made_before(directory: &Path) -> anyhow::Result<BTreeMap<String, Entry>> {
    let text = match std::fs::read(directory) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error).with_context(|| directory.display().to_string()),
    };
    let listing: Listing = serde_json::from_slice(&text).with_context(|| directory.display().to_string())?;
    let entries = listing.tables.into_iter().map(Arc::unwrap_or_clone);
    Ok(entries.map(|entry| (entry.record.spec.name.clone(), entry)).collect())
}

/// Everything of a table: its partitions, and those of its indexes.
fn descriptors(record: &Record) -> Vec<PartitionDescriptor> {
    let indexes = record.global.iter().flat_map(|index| record.index_descriptors(index));
    record.table_descriptors().into_iter().chain(indexes).collect()
}

/// One replica on every store; the named one stands for election first.
async fn make_group(replicas: &[Replica], first: usize, descriptor: PartitionDescriptor) -> anyhow::Result<()> {
    let path = format!("/groups/{:016x}/voters", descriptor.group.0);
    let order = (0..replicas.len()).map(|place| &replicas[(first + place) % replicas.len()]);
    let voters = order.map(|replica| replica.store.clone()).collect();
    let body = Bootstrap { descriptor, voters };
    for replica in replicas {
        let _: GroupState = replica.admin.put(&path, &body).await?;
    }
    Ok(())
}
