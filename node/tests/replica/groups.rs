//! The operator's calls: each can be repeated, and none does what makes no sense.

use std::sync::Arc;

use partita_model::key::KeyBytes;
use partita_model::partition::{PartitionDescriptor, PartitionKind};
use partita_model::table::record::Record;
use serde_json::{Value, json};

use super::node::{Cluster, Node, path};
use super::table::{AT, index_partitions, record, spec};

fn groups(node: &Node) -> Vec<Value> {
    let store = node.expect(200, "GET", "/store", "");
    assert_eq!(store["version"], env!("CARGO_PKG_VERSION"));
    store["groups"].as_array().unwrap().clone()
}

#[test]
fn groups_are_made_once_and_destroyed_for_good() {
    let cluster = Cluster::new();
    let node = cluster.start("a");
    assert_eq!(groups(&node), Vec::<Value>::new());
    let record = record(spec(2, true, false));
    let partitions = [record.table_descriptors(), index_partitions(&record)].concat();
    for partition in &partitions {
        let made = node.put(&path(partition.group), partition);
        assert_eq!(made["descriptor"], json!(partition));
        assert_eq!(made["sizes"], json!({"items": 0, "bytes": 0, "local": []}));
        assert_eq!(node.put(&path(partition.group), partition), made);
    }
    assert_eq!(groups(&node).len(), 4);

    let uuid = node.expect(200, "GET", "/store", "")["uuid"].clone();
    node.kill();
    let node = cluster.start("a");
    assert_eq!(node.expect(200, "GET", "/store", "")["uuid"], uuid);
    assert_eq!(groups(&node).len(), 4);

    let gone = &partitions[0];
    for _ in 0..2 {
        node.expect(200, "DELETE", &path(gone.group), "");
    }
    assert_eq!(groups(&node).len(), 3);
    let body = serde_json::to_string(gone).unwrap();
    let refused = node.expect(409, "PUT", &path(gone.group), &body);
    assert!(refused["message"].as_str().unwrap().contains("destroyed"), "{refused}");
    assert!(node.stop().success());
}

#[test]
fn a_group_is_what_it_was_made_as() {
    let cluster = Cluster::new();
    let node = cluster.start("a");
    let record = record(spec(2, false, false));
    let partitions = record.table_descriptors();
    let first = &partitions[0];
    node.put(&path(first.group), first);

    let refused = |descriptor: &PartitionDescriptor| {
        let body = serde_json::to_string(descriptor).unwrap();
        let refused = node.expect(409, "PUT", &path(descriptor.group), &body);
        refused["message"].as_str().unwrap().to_owned()
    };
    let longer = PartitionDescriptor {
        end: None,
        ..first.clone()
    };
    assert!(refused(&longer).contains("another partition"));
    let overlapping = PartitionDescriptor {
        start: KeyBytes::default(),
        ..partitions[1].clone()
    };
    assert!(refused(&overlapping).contains("the same range"));
    let index = record_with_index();
    let other_contents = PartitionDescriptor {
        group: first.group,
        ..index_partitions(&index)[0].clone()
    };
    assert!(refused(&other_contents).contains("another partition"));
    assert_eq!(groups(&node).len(), 1);
}

fn record_with_index() -> Record {
    record(spec(1, true, false))
}

#[test]
fn what_makes_no_sense_is_refused_with_the_reason() {
    let cluster = Cluster::new();
    let node = cluster.start("a");
    let record = record(spec(2, false, false));
    let partition = &record.table_descriptors()[0];
    let whole = serde_json::to_string(partition).unwrap();
    let changed = |change: &dyn Fn(&mut PartitionDescriptor)| {
        let mut changed = partition.clone();
        change(&mut changed);
        serde_json::to_string(&changed).unwrap()
    };
    let own = path(partition.group);
    let group = |tail: &str| format!("{own}{tail}");
    let absent = |tail: &str| format!("/groups/00000000000000aa{tail}");
    let long = " ".repeat((1 << 20) + 1);
    let schema = serde_json::to_string(&record.schema()).unwrap();
    let cases: Vec<(u16, String, String)> = vec![
        (400, "/groups/1".into(), whole.clone()),
        (400, "/groups/000000000000000g".into(), whole.clone()),
        (400, "/groups/0000000000000000".into(), whole.clone()),
        (400, absent(""), whole.clone()),
        (400, own.clone(), String::new()),
        (400, own.clone(), "{}".into()),
        (400, own.clone(), "[".repeat(100_000)),
        (400, own.clone(), whole[..whole.len() - 1].into()),
        (
            400,
            own.clone(),
            changed(&|partition| partition.end = Some(KeyBytes::default())),
        ),
        (400, own.clone(), changed(&|partition| partition.table.0 += 1)),
        (413, own.clone(), long),
        (404, absent("/schema"), schema),
        (404, absent("/backfill/1"), String::new()),
        (404, absent("/expiry/on"), String::new()),
        (400, group("/backfill/x"), String::new()),
        (400, group("/backfill/70000"), String::new()),
        (404, group("/expiry/maybe"), String::new()),
        (404, "/nowhere".into(), String::new()),
    ];
    for (status, path, body) in cases {
        let refused = node.expect(status, "PUT", &path, &body);
        assert!(!refused["message"].as_str().unwrap().is_empty(), "{path}");
    }
    assert_eq!(groups(&node).len(), 0);

    node.put(&own, partition);
    for (status, tail, body) in [
        (400, "/schema", "{}"),
        // The schema has neither.
        (409, "/backfill/1", ""),
        (409, "/expiry/on", ""),
    ] {
        node.expect(status, "PUT", &group(tail), body);
    }
    assert_eq!(node.admin("GET", "/readyz", "").0, 200);
}

#[test]
fn a_store_without_room_takes_no_group() {
    let cluster = Cluster::new();
    // More than any volume has.
    let node = cluster.start_with("a", &["--free-space-reserve-mib", "1000000000000"]);
    let partition = record(spec(1, false, false)).table_descriptors().remove(0);
    let body = serde_json::to_string(&partition).unwrap();
    node.expect(503, "PUT", &path(partition.group), &body);
    assert_eq!(groups(&node), Vec::<Value>::new());
    assert!(node.stop().success());
    let node = cluster.start("a");
    node.put(&path(partition.group), &partition);
}

#[test]
fn schemas_only_go_forward() {
    let cluster = Cluster::new();
    let node = cluster.start("a");
    let before = record(spec(1, false, false));
    let partition = &before.table_descriptors()[0];
    let own = path(partition.group);
    node.put(&own, partition);
    let schema_of = |state: &Value| state["descriptor"]["kind"]["Table"].clone();

    let mut after = before.clone();
    after.retarget(spec(1, true, false), AT).unwrap();
    assert!(after.schema().version > before.schema().version);
    for _ in 0..2 {
        let state = node.put(&format!("{own}/schema"), &after.schema());
        assert_eq!(schema_of(&state), json!(after.schema()));
    }
    let older = node.put(&format!("{own}/schema"), &before.schema());
    assert_eq!(schema_of(&older), json!(after.schema()));
    // The same partition, as it was when it was made.
    assert_eq!(schema_of(&node.put(&own, partition)), json!(after.schema()));

    let mut other = after.schema();
    other.version.0 += 1;
    other.seed += 1;
    node.expect(
        409,
        "PUT",
        &format!("{own}/schema"),
        &serde_json::to_string(&other).unwrap(),
    );
    other.seed -= 1;
    other.id.0 += 1;
    node.expect(
        409,
        "PUT",
        &format!("{own}/schema"),
        &serde_json::to_string(&other).unwrap(),
    );

    let index = &index_partitions(&after)[0];
    node.put(&path(index.group), index);
    let schema = serde_json::to_string(&after.schema()).unwrap();
    node.expect(409, "PUT", &format!("{}/schema", path(index.group)), &schema);

    node.kill();
    let node = cluster.start("a");
    let kept = PartitionDescriptor {
        kind: PartitionKind::Table(Arc::new(after.schema())),
        ..partition.clone()
    };
    assert_eq!(schema_of(&node.put(&own, &kept)), json!(after.schema()));
}
