//! What a directory says of a table.

use std::collections::BTreeMap;
use std::sync::Arc;

use partita_model::partition::GroupId;
use partita_model::schema::TableId;
use partita_model::table::Status;
use partita_model::table::record::{IndexPhase, PartitionRecord, Record};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::routing::{Ranges, TableRoute};

/// Bits of a revision: JSON's numbers are exact up to here in every reader.
const REVISION_BITS: u32 = 53;

/// A table: what it is, and who holds its partitions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its namespace.
    pub namespace: String,
    /// The account that the namespace is.
    pub account: String,
    /// What it is, with its partitions.
    pub record: Record,
    /// The transport address (`host:port`) of each group's leader, as far as the directory knows: whoever is there says who
    /// leads.
    pub hosts: BTreeMap<GroupId, String>,
    /// The transport addresses of all replicas of groups that have several.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub replicas: BTreeMap<GroupId, Vec<String>>,
}

/// Every table.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Listing {
    /// Another one means other content; nothing else can be read from it.
    #[serde(default)]
    pub revision: u64,
    /// The tables, by namespace and name.
    pub tables: Vec<Arc<Entry>>,
}

impl Entry {
    /// Where a group's leader is.
    pub fn host(&self, group: GroupId) -> Option<&str> {
        self.hosts.get(&group).map(String::as_str)
    }

    /// Where a group's replicas are: the one that the directory takes for its leader first.
    pub fn addresses(&self, group: GroupId) -> Vec<String> {
        let others = self.replicas.get(&group).into_iter().flatten();
        let mut addresses: Vec<String> = Vec::new();
        for address in self.hosts.get(&group).into_iter().chain(others) {
            if !addresses.contains(address) {
                addresses.push(address.clone());
            }
        }
        addresses
    }

    /// Whether the table can be read and written.
    pub fn served(&self) -> bool {
        self.record.status == Status::Active && self.ranges(&self.record.partitions, &mut |_, _| ()).is_some()
    }

    /// The way to each partition; `None` while the table lacks partitions. Indexes that do, and those that are being
    /// removed, are left out.
    pub fn route<L>(&self, leader: &mut dyn FnMut(GroupId, &str) -> L) -> Option<TableRoute<L>> {
        let table = self.ranges(&self.record.partitions, leader)?;
        let mut indexes = Vec::new();
        for index in &self.record.global {
            if index.phase == IndexPhase::Removing {
                continue;
            }
            if let Some(ranges) = self.ranges(&index.partitions, leader) {
                indexes.push((index.id, ranges));
            }
        }
        Some(TableRoute { table, indexes })
    }

    fn ranges<L>(
        &self,
        partitions: &[PartitionRecord],
        leader: &mut dyn FnMut(GroupId, &str) -> L,
    ) -> Option<Ranges<L>> {
        let leaders = partitions.iter().map(|partition| {
            Some((
                partition.start.clone(),
                leader(partition.group, self.host(partition.group)?),
            ))
        });
        Ranges::new(leaders.collect::<Option<Vec<_>>>()?)
    }
}

impl Listing {
    /// Of these tables.
    pub fn of(mut tables: Vec<Arc<Entry>>) -> Self {
        tables.sort_by(|a, b| (&a.namespace, &a.record.spec.name).cmp(&(&b.namespace, &b.record.spec.name)));
        // Everything in an entry is plain data: it always has a JSON form.
        let content = serde_json::to_vec(&tables).unwrap_or_default();
        Self {
            revision: xxh3_64(&content) >> (u64::BITS - REVISION_BITS),
            tables,
        }
    }

    /// A table by id.
    pub fn table(&self, id: TableId) -> Option<&Arc<Entry>> {
        self.tables.iter().find(|entry| entry.record.id == id)
    }
}

#[cfg(test)]
pub mod tests {
    use partita_model::key::KeyBytes;
    use partita_model::schema::ScalarType;
    use partita_model::table::record::{Circumstances, Owner, PartitionLimits};
    use partita_model::table::{BillingMode, Declaration, KeyElement, KeyKind, TableSpec, Throughput};

    use super::*;

    /// A specification with a partition key `pk` and so many write units.
    pub fn spec(name: &str, write: u64) -> TableSpec {
        let declaration = Declaration {
            name: name.to_owned(),
            attributes: vec![("pk".to_owned(), ScalarType::S)],
            keys: vec![KeyElement {
                name: "pk".to_owned(),
                kind: KeyKind::Hash,
            }],
            local: None,
            global: None,
            billing: Some(BillingMode::Provisioned),
            throughput: Some(Throughput { read: 1, write }),
            on_demand: None,
            warm: None,
            stream: None,
            class: Default::default(),
            deletion_protection: false,
            sse: None,
            time_to_live: None,
            tags: Vec::new(),
        };
        declaration.resolve().unwrap()
    }

    /// An entry of an active table with one partition for each 1,000 units, all on `host`.
    pub fn entry(name: &str, write: u64, host: &str) -> Entry {
        let at = Circumstances {
            now_ms: 1,
            partitions: PartitionLimits::at_most(64),
        };
        let mut record = Record::create("123456789012", spec(name, write), Owner::Api, TableId(7), at);
        record.created();
        let hosts = record
            .partitions
            .iter()
            .map(|partition| (partition.group, host.to_owned()));
        Entry {
            namespace: "shop".to_owned(),
            account: "123456789012".to_owned(),
            hosts: hosts.collect(),
            replicas: BTreeMap::new(),
            record,
        }
    }

    #[test]
    fn a_listing_survives_json() {
        let listing = Listing::of(vec![Arc::new(entry("orders", 4000, "a:1"))]);
        let text = serde_json::to_string(&listing).unwrap();
        assert_eq!(serde_json::from_str::<Listing>(&text).unwrap(), listing);
        let group = listing.tables[0].record.partitions[0].group;
        assert!(text.contains(&format!("\"{:016x}\":\"a:1\"", group.0)), "{text}");
    }

    #[test]
    fn the_revision_follows_the_content() {
        let of = |host| Listing::of(vec![Arc::new(entry("orders", 1, host))]).revision;
        assert_eq!(of("a:1"), of("a:1"));
        assert_ne!(of("a:1"), of("a:2"));
        assert!(of("a:1") < 1 << REVISION_BITS);
    }

    #[test]
    fn a_table_without_all_of_its_hosts_is_not_served() {
        let whole = entry("orders", 4000, "a:1");
        assert!(whole.served());
        let mut missing = whole.clone();
        missing.hosts.pop_first();
        assert!(!missing.served());
        let route = whole.route(&mut |group, host| (group, host.to_owned())).unwrap();
        let third = &whole.record.partitions[2];
        let (group, host) = route.table.leader(&KeyBytes(third.start.0.clone()));
        assert_eq!((*group, host.as_str()), (third.group, "a:1"));
    }
}
