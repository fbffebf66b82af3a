//! The admin API's calls for splits: what they answer, what is refused with which reason, and that nothing changes by that.

use partita_model::key::KeyBytes;
use partita_model::partition::GroupId;
use partita_model::schema::{ScalarType, TableId};
use partita_model::table::record::{Circumstances, Owner, PartitionLimits, Record};
use partita_model::table::{
    BillingMode, Declaration, DeclaredLocalIndex, DeclaredProjection, KeyElement, KeyKind, ProjectionKind, TableSpec,
    Throughput,
};
use serde_json::{Value, json};

use super::node::path;
use super::table::{get, spec};
use super::trio::Trio;

/// A split's path.
fn split(group: GroupId, id: u32) -> String {
    format!("{}/splits/00000000-0000-0000-0000-{id:012}", path(group))
}

fn at_key(key: &str, child: u64) -> Value {
    json!({"at": {"key": key}, "child": format!("{child:016x}")})
}

/// Groups and their ranges, as a node has them.
fn ranges(trio: &Trio, node: &str) -> Vec<Value> {
    let store = trio.nodes[node].expect(200, "GET", "/store", "");
    let groups = store["groups"].as_array().unwrap().iter();
    groups
        .map(|group| {
            let descriptor = &group["descriptor"];
            json!([
                descriptor["group"],
                descriptor["start"],
                descriptor["end"],
                descriptor["range_epoch"]
            ])
        })
        .collect()
}

/// A call that must be refused and change nothing; its answer.
fn refused(trio: &Trio, node: &str, status: u16, path: &str, body: &Value) -> Value {
    let before = ranges(trio, node);
    let answer = trio.nodes[node].expect(status, "PUT", path, &body.to_string());
    assert_eq!(ranges(trio, node), before, "{path} {body}");
    answer
}

fn hex_of(key: &KeyBytes) -> String {
    key.0.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_is_split_once_for_each_id() {
    let trio = Trio::start().await;
    let mut keys: Vec<KeyBytes> = Vec::new();
    for number in 0..50 {
        let pk = format!("thing-{number}");
        trio.written(&pk, "red").await;
        keys.push(get(&trio.record, &pk).key);
    }
    keys.sort();
    let leader = trio.leader().await;
    let leads = &trio.nodes[leader];
    let follower = trio.nodes.keys().find(|name| **name != leader).copied().unwrap();

    let point_path = format!("{}/split-point", path(trio.group()));
    let point = leads.expect(200, "GET", &point_path, "");
    assert!((20..=30).contains(&point["items"].as_u64().unwrap()), "{point}");
    let told = trio.nodes[follower].expect(409, "GET", &point_path, "");
    assert_eq!(told["leader"]["address"], leads.address(), "{told}");
    let middle = json!({"expectedEpoch": point["rangeEpoch"], "at": "middle", "child": "00000000000000c1"});
    let told = refused(&trio, follower, 409, &split(trio.group(), 1), &middle);
    assert_eq!(
        (&told["code"], &told["leader"]["address"]),
        (&json!("notLeader"), &json!(leads.address()))
    );

    let made = leads.put(&split(trio.group(), 1), &middle);
    assert_eq!(made["split"]["key"], point["key"]);
    assert_eq!(made["split"]["rangeEpoch"], 2);
    assert_eq!(made["group"]["descriptor"]["end"], point["key"]);
    assert_eq!(made["child"]["descriptor"]["start"], point["key"]);
    assert_eq!(made["child"]["descriptor"]["group"], "00000000000000c1");
    // The one that splits leads both.
    assert_eq!(
        (&made["group"]["leader"], &made["child"]["leader"]),
        (&json!(true), &json!(true))
    );
    let items = |state: &Value| state["sizes"]["items"].as_u64().unwrap();
    assert_eq!(items(&made["child"]), point["items"].as_u64().unwrap());
    assert_eq!(items(&made["group"]) + items(&made["child"]), 50);
    assert_eq!(
        made["child"]["lineage"]["ancestors"][0]["group"],
        made["group"]["descriptor"]["group"]
    );
    assert_eq!(made["group"]["lineage"]["splits"][0], made["split"]);

    // With the same id it is told what came of it, whatever else is asked for, and nothing more comes of it.
    let before = ranges(&trio, leader);
    for again in [middle.clone(), at_key("ff", 0xc9)] {
        let again = leads.put(&split(trio.group(), 1), &again);
        assert_eq!(again["split"], made["split"]);
    }
    assert_eq!(ranges(&trio, leader), before);

    let told = refused(
        &trio,
        leader,
        409,
        &split(trio.group(), 2),
        &json!({"at": "middle", "child": "00000000000000c1"}),
    );
    assert_eq!(told["code"], "childTaken", "{told}");
    let told = refused(
        &trio,
        leader,
        409,
        &split(trio.group(), 2),
        &at_key(point["key"].as_str().unwrap(), 0xc2),
    );
    assert_eq!(told["code"], "outsideRange", "{told}");
    let told = refused(
        &trio,
        leader,
        409,
        &split(GroupId(0xc1), 2),
        &at_key(&hex_of(&keys[0]), 0xc2),
    );
    assert_eq!(told["code"], "outsideRange", "{told}");
    let mut stale = at_key(&hex_of(&keys[1]), 0xc2);
    stale["expectedEpoch"] = json!(1);
    let told = refused(&trio, leader, 409, &split(trio.group(), 2), &stale);
    assert_eq!(told["code"], "staleEpoch", "{told}");
    stale["expectedEpoch"] = json!(2);
    leads.put(&split(trio.group(), 2), &stale);

    // One item has no middle.
    leads.put(&split(GroupId(0xc1), 3), &at_key(&hex_of(&keys[49]), 0xc3));
    let told = refused(
        &trio,
        leader,
        409,
        &split(GroupId(0xc3), 4),
        &json!({"at": "middle", "child": "00000000000000c4"}),
    );
    assert_eq!(told["code"], "indivisible", "{told}");
    let told = leads.expect(409, "GET", &format!("{}/split-point", path(GroupId(0xc3))), "");
    assert_eq!(told["code"], "indivisible", "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_split_that_makes_no_sense_is_refused() {
    let trio = Trio::start().await;
    let leader = trio.leader().await;
    let good = at_key("80", 0xc1);
    let with = |field: &str, value: Value| {
        let mut body = good.clone();
        body[field] = value;
        body
    };
    for (body, reason) in [
        (json!({}), "missing field `at`"),
        (json!({"at": "middle"}), "missing field `child`"),
        (with("at", json!("end")), "unknown variant `end`"),
        (with("at", json!({"key": "8"})), "Odd number of digits"),
        (with("child", json!("c1")), "16 hexadecimal digits"),
        (with("child", json!("0000000000000000")), "not all 0"),
        (with("expectedEpoch", json!("one")), "expected u64"),
        (with("key", json!("80")), "unknown field `key`"),
    ] {
        let told = refused(&trio, leader, 400, &split(trio.group(), 1), &body);
        assert!(told["message"].as_str().unwrap().contains(reason), "{body}: {told}");
    }
    refused(&trio, leader, 400, &format!("{}/splits/one", path(trio.group())), &good);
    refused(&trio, leader, 404, &split(GroupId(0xff), 1), &good);
    // The very first key is nothing that one could cut in front of.
    let told = refused(&trio, leader, 409, &split(trio.group(), 1), &at_key("", 0xc1));
    assert_eq!(told["code"], "outsideRange", "{told}");
    // A group that only another member's store has: it would take the child for that.
    let follower = trio.nodes.keys().find(|name| **name != leader).copied().unwrap();
    let mut other =
        Record::create("123456789012", spec(1, false, false), Owner::Api, TableId(9), AT).table_descriptors();
    other[0].group = GroupId(0xc1);
    trio.nodes[follower].put(&path(GroupId(0xc1)), &other[0]);
    let told = refused(&trio, leader, 409, &split(trio.group(), 1), &good);
    assert_eq!(told["code"], "childTaken", "{told}");
}

const AT: Circumstances = Circumstances {
    now_ms: 1_700_000_000_000,
    partitions: PartitionLimits::at_most(64),
};

/// A table with a sort key and a local index.
fn with_local_index() -> TableSpec {
    let keys = |sort: &str| {
        let element = |name: &str, kind| KeyElement {
            name: name.to_owned(),
            kind,
        };
        vec![element("pk", KeyKind::Hash), element(sort, KeyKind::Range)]
    };
    let declaration = Declaration {
        name: "things".to_owned(),
        attributes: ["pk", "sk", "colour"]
            .map(|name| (name.to_owned(), ScalarType::S))
            .to_vec(),
        keys: keys("sk"),
        local: Some(vec![DeclaredLocalIndex {
            name: "byColour".to_owned(),
            keys: keys("colour"),
            projection: DeclaredProjection {
                kind: Some(ProjectionKind::All),
                attributes: None,
            },
        }]),
        global: None,
        billing: Some(BillingMode::Provisioned),
        throughput: Some(Throughput { read: 1, write: 1000 }),
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_with_local_indexes_is_not_cut_inside_an_item_collection() {
    let trio = Trio::with(with_local_index()).await;
    let leader = trio.leader().await;
    let schema = trio.record.schema();
    let pk = partita_model::value::Value::string("a");
    let collection = partita_model::key::collection(schema.seed, [pk.as_ref()]).unwrap();
    let mut inside = collection.clone();
    partita_model::key::component::write(pk.as_ref(), &mut inside.0).unwrap();
    let told = refused(
        &trio,
        leader,
        409,
        &split(trio.group(), 1),
        &at_key(&hex_of(&inside), 0xc1),
    );
    assert_eq!(told["code"], "insideCollection", "{told}");
    // The operator repeats it in events, where no keys belong.
    let message = told["message"].as_str().unwrap();
    assert!(message.contains("cut where a collection begins"), "{told}");
    assert!(!message.contains(&hex_of(&collection)), "{told}");
    let made = trio.nodes[leader].put(&split(trio.group(), 1), &at_key(&hex_of(&collection), 0xc1));
    assert_eq!(made["split"]["key"], hex_of(&collection));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_digest_that_makes_no_sense_is_refused() {
    let trio = Trio::start().await;
    let node = &trio.nodes["first"];
    let digest = format!("{}/digest", path(trio.group()));
    let good = json!({"subject": "replica", "pieces": {"count": 4}});
    let answer = node.expect(200, "POST", &digest, &good.to_string());
    assert_eq!(answer["pieces"].as_array().unwrap().len(), 4, "{answer}");
    let with = |field: &str, value: Value| {
        let mut body = good.clone();
        body[field] = value;
        body.to_string()
    };
    for (body, status, reason) in [
        (with("pieces", json!({"count": 0})), 400, "0 pieces"),
        (with("pieces", json!({"count": 5000})), 400, "5000 pieces"),
        (with("keysMax", json!(100_000)), 400, "keysMax 100000"),
        (with("subject", json!("items")), 400, "unknown variant `items`"),
        (with("from", json!("x")), 400, "Odd number of digits"),
        (with("subject", json!({"calledFor": 9})), 409, "schema"),
    ] {
        let told = node.expect(status, "POST", &digest, &body);
        assert!(told["message"].as_str().unwrap().contains(reason), "{body}: {told}");
    }
    node.expect(404, "POST", "/groups/00000000000000ff/digest", &good.to_string());
}
