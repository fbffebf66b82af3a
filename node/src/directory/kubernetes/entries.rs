//! From Tables and Partitions to a directory's entries.
//!
//! 1. A Table has an entry once the operator has noted its record; of two that name the same table, one has it ([`rank`]).
//! 2. The partitions of the table and of each global index are the Partitions that say so, in key order, if together
//!    they hold every key. Of a split or a merge that is half written they say what it will be ([`ranges`]).
//! 3. If they do not hold every key (somebody has deleted one, say), those that were known before stay.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use kube::ResourceExt;
use partita_crds::{Partition, Table, names, ranges};
use partita_model::hexadecimal;
use partita_model::partition::GroupId;
use partita_model::schema::{IndexId, TableId};
use partita_model::table::Status;
use partita_model::table::record::{FORMAT, PartitionRecord, Record, cover};

use super::super::{Entry, Listing};
use super::resources::Objects;

/// Every table that can be known; `before` is what was known until now.
pub fn entries(tables: &Objects<Table>, partitions: &Objects<Partition>, before: &Listing) -> Vec<Arc<Entry>> {
    let mut of_table: HashMap<(&str, &str), Vec<&Partition>> = HashMap::new();
    for ((namespace, _), partition) in partitions {
        let table = (namespace.as_str(), partition.spec.table.as_str());
        of_table.entry(table).or_default().push(partition);
    }
    let before: HashMap<TableId, &Arc<Entry>> = before.tables.iter().map(|entry| (entry.record.id, entry)).collect();
    let mut found: BTreeMap<(&str, &str), (&Table, Record)> = BTreeMap::new();
    for ((namespace, name), table) in tables {
        let Some(record) = recorded(namespace, name, table) else {
            continue;
        };
        let place = (namespace.as_str(), table.spec.table_name.as_str());
        let taken = found.get(&place).is_some_and(|(other, _)| rank(other) < rank(table));
        if !taken {
            found.insert(place, (table, record));
        }
    }
    let entries = found.into_iter().map(|((namespace, _), (table, record))| {
        let name = table.name_any();
        let own = of_table.get(&(namespace, name.as_str())).map_or(&[][..], Vec::as_slice);
        let known = before.get(&record.id).copied();
        let entry = entry(namespace, record, own, known.map(|entry| &**entry));
        match known {
            Some(known) if **known == entry => Arc::clone(known),
            _ => Arc::new(entry),
        }
    });
    entries.collect()
}

/// The operator's record of a table, if it has noted one that can be read. A Table that is being deleted says so, unless
/// it is held.
pub fn recorded(namespace: &str, name: &str, table: &Table) -> Option<Record> {
    let state = table.status.as_ref()?.state.as_ref()?;
    let mut record: Record = serde_json::from_value(state.clone())
        .inspect_err(|error| tracing::error!(namespace, table = name, %error, "status.state cannot be read"))
        .ok()?;
    if record.format > FORMAT {
        let format = record.format;
        tracing::error!(
            namespace,
            table = name,
            format,
            "status.state is of a newer format: upgrade this router"
        );
        return None;
    }
    if deleting(table) {
        record.status = Status::Deleting;
    }
    record.account = names::account(namespace);
    Some(record)
}

/// Whether a Table is being deleted, and nothing holds it.
pub fn deleting(table: &Table) -> bool {
    let held = table.spec.deletion_protection_enabled || table.spec.paused;
    table.metadata.deletion_timestamp.is_some() && !held
}

/// Of several Tables of one name, the one that comes first has it, as the operator sees it: one that is there, else the
/// older one.
pub fn rank(table: &Table) -> impl Ord + use<> {
    let kept = table.status.as_ref().is_some_and(|status| status.state.is_some());
    let created = table.metadata.creation_timestamp.as_ref().map(|time| time.0);
    (!kept, created, table.metadata.uid.clone())
}

fn entry(namespace: &str, mut record: Record, partitions: &[&Partition], before: Option<&Entry>) -> Entry {
    let id = names::id_label(record.id);
    let own: Vec<&Partition> = partitions
        .iter()
        .filter(|partition| partition.spec.table_id == id)
        .copied()
        .collect();
    let (mut hosts, mut replicas) = (BTreeMap::new(), BTreeMap::new());
    for partition in &own {
        let Some(group) = group(partition) else { continue };
        let all = addresses(partition, namespace);
        hosts.insert(group, leader(partition, &all));
        if all.len() > 1 {
            replicas.insert(group, all);
        }
    }
    let mut place = |index: Option<IndexId>, known: Option<&Vec<PartitionRecord>>| {
        if let Ok(whole) = cover(ranges::of(own.iter().copied(), index)) {
            return whole;
        }
        let (Some(known), Some(before)) = (known, before) else {
            return Vec::new();
        };
        for partition in known {
            if let Some(host) = before.host(partition.group) {
                hosts.entry(partition.group).or_insert_with(|| host.to_owned());
            }
            if let Some(all) = before.replicas.get(&partition.group) {
                replicas.entry(partition.group).or_insert_with(|| all.clone());
            }
        }
        known.clone()
    };
    record.partitions = place(None, before.map(|entry| &entry.record.partitions));
    for index in &mut record.global {
        let known = before.and_then(|entry| entry.record.global.iter().find(|known| known.id == index.id));
        index.partitions = place(Some(index.id), known.map(|known| &known.partitions));
    }
    Entry {
        namespace: namespace.to_owned(),
        account: record.account.clone(),
        record,
        hosts,
        replicas,
    }
}

/// Where the replicas of a partition are: each storage node of its StatefulSet has one, unless it is moving.
fn addresses(partition: &Partition, namespace: &str) -> Vec<String> {
    let moving = partition
        .status
        .as_ref()
        .map(|status| &status.pods[..])
        .unwrap_or_default();
    if !moving.is_empty() {
        let hosts = moving.iter().filter_map(|pod| names::host_of(pod, namespace));
        return hosts.map(|host| format!("{host}:{}", names::TRANSPORT_PORT)).collect();
    }
    let replicas = usize::try_from(partition.spec.replicas).unwrap_or(1).max(1);
    let address = |ordinal| {
        let host = names::host(&partition.spec.host, ordinal, namespace);
        format!("{host}:{}", names::TRANSPORT_PORT)
    };
    (0..replicas).map(address).collect()
}

/// The one that the operator has last seen lead, or the first one: whoever is asked says who leads.
fn leader(partition: &Partition, addresses: &[String]) -> String {
    let pod = partition.status.as_ref().and_then(|status| status.leader.as_deref());
    let led = pod.and_then(|pod| addresses.iter().find(|address| address.starts_with(&format!("{pod}."))));
    led.or(addresses.first()).cloned().unwrap_or_default()
}

fn group(partition: &Partition) -> Option<GroupId> {
    hexadecimal::parse_id(&partition.spec.group).map(GroupId)
}

#[cfg(test)]
pub mod tests {
    use partita_crds::convert::{Deployment, from_model};
    use partita_crds::{PartitionSpec, PartitionStatus, TableStatus};
    use partita_model::key::KeyBytes;
    use partita_model::table::record::{Circumstances, Owner, PartitionLimits};

    use super::super::super::entry::tests::spec;
    use super::*;

    /// A Table as the API makes it, before the operator has seen it.
    pub fn table(namespace: &str, name: &str, table_name: &str) -> Table {
        let deployment = Deployment {
            replicas: 1,
            storage: None,
        };
        let mut table = Table::new(name, from_model(&spec(table_name, 2000), &deployment));
        table.metadata.namespace = Some(namespace.to_owned());
        table.metadata.uid = Some(format!("uid of {namespace}/{name}"));
        table.metadata.generation = Some(1);
        table
    }

    /// The operator's record of a Table that is ready.
    pub fn record(table: &Table) -> Record {
        let at = Circumstances {
            now_ms: 1,
            partitions: PartitionLimits::at_most(64),
        };
        let spec = partita_crds::convert::to_model(&table.spec).unwrap();
        let id = names::table_id(table.metadata.uid.as_deref().unwrap());
        let namespace = table.metadata.namespace.as_deref().unwrap();
        let mut record = Record::create(&names::account(namespace), spec, Owner::Api, id, at);
        record.created();
        record
    }

    /// A Table with the operator's record, and the Partitions that belong to it.
    pub fn ready(mut table: Table) -> (Table, Vec<Partition>) {
        let mut record = record(&table);
        let prefix = names::prefix(&record.spec.name, record.id);
        let starts: Vec<_> = record.partitions.drain(..).collect();
        let hexadecimal = |key: &KeyBytes| (!key.0.is_empty()).then(|| hex::encode(&key.0));
        let partitions = starts.iter().enumerate().map(|(place, partition)| {
            let name = names::partition(&prefix, place);
            let spec = PartitionSpec {
                table: table.name_any(),
                table_name: record.spec.name.clone(),
                table_id: names::id_label(record.id),
                index_name: None,
                index_id: None,
                group: format!("{:016x}", partition.group.0),
                start: hexadecimal(&partition.start),
                end: starts.get(place + 1).and_then(|next| hexadecimal(&next.start)),
                host: name.clone(),
                replicas: 1,
                parent: None,
                moving_to: None,
                merging_into: None,
            };
            let mut partition = Partition::new(&name, spec);
            partition.metadata.namespace = table.metadata.namespace.clone();
            partition
        });
        let partitions = partitions.collect();
        table.status = Some(TableStatus {
            observed_generation: table.metadata.generation,
            state: Some(serde_json::to_value(&record).unwrap()),
            ..TableStatus::default()
        });
        (table, partitions)
    }

    fn objects<K: kube::Resource>(all: impl IntoIterator<Item = K>) -> Objects<K> {
        let key = |object: &K| (object.namespace().unwrap(), object.name_any());
        all.into_iter().map(|object| (key(&object), Arc::new(object))).collect()
    }

    #[test]
    fn a_ready_table_has_an_entry_with_hosts() {
        let (orders, partitions) = ready(table("shop", "orders", "Orders"));
        let expected = record(&orders);
        let found = entries(&objects([orders]), &objects(partitions), &Listing::default());
        let [entry] = &found[..] else { panic!("{found:?}") };
        assert!(entry.served());
        assert_eq!(entry.record, expected);
        assert_eq!((&*entry.namespace, &*entry.account), ("shop", &*names::account("shop")));
        let prefix = names::prefix("Orders", expected.id);
        let second = expected.partitions[1].group;
        assert_eq!(
            entry.host(second),
            Some(&*format!("{prefix}-1-0.{prefix}-1.shop.svc:8100"))
        );
    }

    #[test]
    fn all_replicas_are_known_and_the_one_that_leads_is_asked_first() {
        let (orders, mut partitions) = ready(table("shop", "orders", "Orders"));
        let expected = record(&orders);
        let prefix = names::prefix("Orders", expected.id);
        for partition in &mut partitions {
            partition.spec.replicas = 3;
        }
        partitions[1].status = Some(PartitionStatus {
            leader: Some(format!("{prefix}-1-2")),
            ..PartitionStatus::default()
        });
        let found = entries(&objects([orders]), &objects(partitions), &Listing::default());
        let (first, second) = (expected.partitions[0].group, expected.partitions[1].group);
        let address = |place, ordinal| format!("{prefix}-{place}-{ordinal}.{prefix}-{place}.shop.svc:8100");
        assert_eq!(found[0].addresses(first), [address(0, 0), address(0, 1), address(0, 2)]);
        assert_eq!(
            found[0].addresses(second),
            [address(1, 2), address(1, 0), address(1, 1)]
        );
    }

    #[test]
    fn a_partition_that_moves_is_where_its_pods_are() {
        let (orders, mut partitions) = ready(table("shop", "orders", "Orders"));
        let expected = record(&orders);
        let prefix = names::prefix("Orders", expected.id);
        partitions[0].spec.replicas = 3;
        partitions[0].status = Some(PartitionStatus {
            leader: Some(format!("{prefix}-7-0")),
            pods: [(0, 1), (7, 0), (7, 2)]
                .map(|(set, pod)| format!("{prefix}-{set}-{pod}"))
                .to_vec(),
            ..PartitionStatus::default()
        });
        let found = entries(&objects([orders]), &objects(partitions), &Listing::default());
        let address = |place, ordinal| format!("{prefix}-{place}-{ordinal}.{prefix}-{place}.shop.svc:8100");
        assert_eq!(
            found[0].addresses(expected.partitions[0].group),
            [address(7, 0), address(0, 1), address(7, 2)]
        );
    }

    #[test]
    fn a_table_with_a_gap_is_not_served_unless_it_was_whole_before() {
        let (orders, partitions) = ready(table("shop", "orders", "orders"));
        let (all, few) = (objects(partitions.clone()), objects(partitions.into_iter().skip(1)));
        let tables = objects([orders]);
        let new = entries(&tables, &few, &Listing::default());
        assert!(!new[0].served());
        let whole = Listing::of(entries(&tables, &all, &Listing::default()));
        let kept = entries(&tables, &few, &whole);
        assert!(kept[0].served());
        assert_eq!(kept, whole.tables);
    }

    fn starts(found: &[Arc<Entry>]) -> Vec<(u64, String)> {
        let partitions = found[0].record.partitions.iter();
        partitions
            .map(|partition| (partition.group.0, hex::encode(&partition.start.0)))
            .collect()
    }

    #[test]
    fn a_split_whose_parent_is_not_written_yet_is_one() {
        let (orders, mut partitions) = ready(table("shop", "orders", "orders"));
        let tables = objects([orders]);
        let before = Listing::of(entries(&tables, &objects(partitions.clone()), &Listing::default()));
        let mut child = partitions[1].clone();
        child.metadata.name = Some("the-child".to_owned());
        child.spec.group = format!("{:016x}", 77);
        child.spec.start = Some("c000000000000000".to_owned());
        child.spec.parent = partitions[1].metadata.name.clone();
        partitions.push(child);
        for before in [Listing::default(), before] {
            let found = entries(&tables, &objects(partitions.clone()), &before);
            assert!(found[0].served());
            let starts = starts(&found);
            assert_eq!(starts[2], (77, "c000000000000000".to_owned()));
            assert_eq!(starts[1].1, "8000000000000000");
        }
    }

    #[test]
    fn what_is_absorbed_and_has_not_gone_yet_holds_no_keys() {
        let (orders, mut partitions) = ready(table("shop", "orders", "orders"));
        let tables = objects([orders]);
        let before = Listing::of(entries(&tables, &objects(partitions.clone()), &Listing::default()));
        let absorber = before.tables[0].record.partitions[0].group;
        partitions[1].spec.merging_into = partitions[0].metadata.name.clone();
        partitions[0].spec.end = None;
        for before in [Listing::default(), before] {
            let found = entries(&tables, &objects(partitions.clone()), &before);
            assert!(found[0].served());
            assert_eq!(starts(&found), [(absorber.0, String::new())]);
        }
    }

    #[test]
    fn partitions_of_an_earlier_table_do_not_count() {
        let (mut orders, partitions) = ready(table("shop", "orders", "orders"));
        let earlier = Listing::of(entries(
            &objects([orders.clone()]),
            &objects(partitions.clone()),
            &Listing::default(),
        ));
        orders.metadata.uid = Some("another".to_owned());
        let (orders, _) = ready(orders);
        let found = entries(&objects([orders]), &objects(partitions), &earlier);
        assert!(!found[0].served() && found[0].hosts.is_empty());
    }

    #[test]
    fn a_table_without_a_record_has_no_entry() {
        let (mut newer, _) = ready(table("shop", "newer", "newer"));
        let status = newer.status.as_mut().unwrap();
        status.state.as_mut().unwrap()["format"] = (FORMAT + 1).into();
        let tables = objects([table("shop", "orders", "orders"), newer]);
        assert!(entries(&tables, &objects([]), &Listing::default()).is_empty());
    }

    #[test]
    fn of_two_of_one_name_the_older_one_is_the_table() {
        let time = |second: i64| {
            let timestamp = k8s_openapi::jiff::Timestamp::from_second(second).unwrap();
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(timestamp))
        };
        let mut younger = table("shop", "a", "orders");
        younger.metadata.creation_timestamp = time(2);
        let mut older = table("shop", "b", "orders");
        older.metadata.creation_timestamp = time(1);
        let expected = record(&older).id;
        let found = entries(
            &objects([ready(younger).0, ready(older).0]),
            &objects([]),
            &Listing::default(),
        );
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].record.id, expected);
    }

    #[test]
    fn a_table_being_deleted_is_not_served_unless_it_is_protected() {
        let (mut orders, partitions) = ready(table("shop", "orders", "orders"));
        orders.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
            k8s_openapi::jiff::Timestamp::UNIX_EPOCH,
        ));
        let partitions = objects(partitions);
        let served = |table: &Table| {
            let found = entries(&objects([table.clone()]), &partitions, &Listing::default());
            found[0].served()
        };
        assert!(!served(&orders));
        orders.spec.deletion_protection_enabled = true;
        assert!(served(&orders));
    }
}
