//! A router from outside, in front of replicas: operations across partitions, nodes that go and come, directories that
//! are wrong, away or another router's.

#![allow(clippy::unwrap_used)]

#[path = "../shared/certificates.rs"]
mod certificates;
#[path = "../replica/node.rs"]
#[allow(dead_code)] // The replica's own tests use the rest.
mod node;
mod router;
mod secured;
#[path = "../shared/mod.rs"]
mod shared;
#[path = "../replica/table.rs"]
#[allow(dead_code)] // The replica's own tests use the rest.
mod table;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use partita_model::partition::PartitionDescriptor;
use partita_model::table::record::Record;
use serde_json::{Value, json};

use node::{Cluster, Node};
use router::{Router, entry, get};
use shared::until;
use table::{AT, bootstrap, index_partitions, record, spec};

/// A node that refuses nothing: a table here has one read unit, and what is tested is not its capacity.
fn unlimited(cluster: &Cluster, name: &str) -> Node {
    cluster.start_with(name, &["--admission", "off"])
}

/// `things` with four partitions and an index of two, one half of each on either node.
struct Things {
    cluster: Cluster,
    record: Record,
    first: Node,
    second: Node,
}

impl Things {
    fn new() -> Self {
        let cluster = Cluster::new();
        let (first, second) = (unlimited(&cluster, "first"), unlimited(&cluster, "second"));
        let things = Self {
            record: record(spec(4, true, false)),
            cluster,
            first,
            second,
        };
        bootstrap(&things.first, &things.half(0));
        bootstrap(&things.second, &things.half(1));
        things.publish(&things.first, &things.second);
        things
    }

    /// Every second partition of table and index.
    fn half(&self, which: usize) -> Vec<PartitionDescriptor> {
        let partitions = [self.record.table_descriptors(), index_partitions(&self.record)].concat();
        partitions.into_iter().skip(which).step_by(2).collect()
    }

    /// Says where the halves are.
    fn publish(&self, first: &Node, second: &Node) {
        let table = entry(&self.record, &[(first, &self.half(0)), (second, &self.half(1))]);
        self.cluster.publish(1, &[table]);
    }

    fn fill(&self, router: &Router) -> BTreeSet<String> {
        let keys: BTreeSet<String> = (0..40).map(|number| format!("thing-{number}")).collect();
        for (number, key) in keys.iter().enumerate() {
            router.put(key, ["red", "green"][number % 2]);
        }
        keys
    }
}

/// The keys that a paged operation returns, and the number of pages.
fn pages(router: &Router, operation: &str, request: &Value) -> (Vec<String>, usize) {
    let (mut keys, mut pages) = (Vec::new(), 0);
    let mut request = request.clone();
    loop {
        let page = router.ok(operation, &request);
        let items = page["Items"].as_array().unwrap();
        keys.extend(items.iter().map(|item| item["pk"]["S"].as_str().unwrap().to_owned()));
        pages += 1;
        match &page["LastEvaluatedKey"] {
            Value::Null => return (keys, pages),
            key => request["ExclusiveStartKey"] = key.clone(),
        }
    }
}

#[test]
fn operations_reach_the_partitions_of_all_nodes() {
    let things = Things::new();
    let router = Router::start(&things.cluster, &[]);
    let keys = things.fill(&router);
    for key in &keys {
        assert!(router.colour(key).is_some(), "{key}");
    }
    assert_eq!(router.colour("nothing"), None);

    let scan = json!({"TableName": "things", "Limit": 7, "ConsistentRead": true});
    let (found, count) = pages(&router, "Scan", &scan);
    assert_eq!(found.len(), keys.len());
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), keys);
    assert!(count > 5, "{count}");

    let red = json!({
        "TableName": "things", "IndexName": "byColour", "KeyConditionExpression": "colour = :c",
        "ExpressionAttributeValues": {":c": {"S": "red"}}, "Limit": 6,
    });
    let delivered = until("the index to have everything", || {
        let (found, _) = pages(&router, "Query", &red);
        (found.len() == keys.len() / 2).then_some(found)
    });
    assert!(delivered.iter().all(|key| keys.contains(key)));

    let wanted: Vec<Value> = keys.iter().map(|key| json!({"pk": {"S": key}})).collect();
    let batch = router.ok("BatchGetItem", &json!({"RequestItems": {"things": {"Keys": wanted}}}));
    assert_eq!(batch["Responses"]["things"].as_array().unwrap().len(), keys.len());

    let condition = json!({
        "TableName": "things", "Item": {"pk": {"S": "thing-1"}}, "ConditionExpression": "attribute_not_exists(pk)",
    });
    let (status, refused) = router.call("PutItem", &condition);
    assert_eq!(status, 400, "{refused}");
    assert!(
        refused["__type"]
            .as_str()
            .unwrap()
            .ends_with("#ConditionalCheckFailedException")
    );

    until("everything to be counted", || {
        let described = &router.ok("DescribeTable", &json!({"TableName": "things"}))["Table"];
        assert_eq!(described["TableStatus"], "ACTIVE");
        let counts = [
            &described["ItemCount"],
            &described["GlobalSecondaryIndexes"][0]["ItemCount"],
        ];
        (counts == [&json!(40), &json!(40)]).then_some(())
    });
    assert_eq!(router.ok("ListTables", &json!({}))["TableNames"], json!(["things"]));

    let (_, metrics) = router.admin("/metrics");
    let written = format!(
        "partita_consumed_write_units_total{{account=\"{}\",namespace=\"shop\",table=\"things\"}} ",
        partita_crds::names::account("shop")
    );
    assert!(metrics.contains(&written), "{metrics}");
    assert!(metrics.contains("partita_directory_tables_served 1\n"), "{metrics}");
    assert!(router.stop().success());
}

#[test]
fn calls_wait_for_a_node_that_comes_back() {
    let Things {
        cluster,
        record,
        first,
        second,
    } = Things::new();
    let router = Router::start(&cluster, &[]);
    let things = Things {
        cluster,
        record,
        first,
        second,
    };
    let keys = things.fill(&router);
    let halves = (things.half(0), things.half(1));
    let Things {
        cluster,
        record,
        first,
        second,
    } = things;
    first.kill();
    let endpoint = router.endpoint();
    let waiting: Vec<_> = keys
        .iter()
        .map(|key| {
            let (endpoint, key) = (endpoint.clone(), key.clone());
            std::thread::spawn(move || endpoint.call("GetItem", &get(&key)))
        })
        .collect();
    let first = unlimited(&cluster, "first");
    let table = entry(&record, &[(&first, &halves.0), (&second, &halves.1)]);
    cluster.publish(2, &[table]);
    for call in waiting {
        let (status, answer) = call.join().unwrap();
        assert_eq!(status, 200, "{answer}");
        assert!(answer["Item"]["colour"]["S"].is_string(), "{answer}");
    }
    // What was acknowledged before is there, and more can be written.
    for key in &keys {
        router.put(key, "blue");
        assert_eq!(router.colour(key).as_deref(), Some("blue"));
    }
}

#[test]
fn a_partition_that_stays_away_is_said_to_be() {
    let things = Things::new();
    let router = Router::start(&things.cluster, &[]);
    let keys = things.fill(&router);
    let lost = things.half(0);
    things.first.kill();
    let away = |key: &&String| {
        let group = table::group_of(&things.record, key);
        lost.iter().any(|partition| partition.group == group)
    };
    let key = keys.iter().find(away).unwrap();
    let begin = Instant::now();
    let (status, answer) = router.call("GetItem", &get(key));
    assert_eq!(status, 503, "{answer}");
    assert!(begin.elapsed() < Duration::from_secs(30));
    assert!(
        answer["message"].as_str().unwrap().contains("cannot be reached"),
        "{answer}"
    );
    // The others are not in its way.
    let other = keys.iter().find(|key| !away(key)).unwrap();
    assert!(router.colour(other).is_some());
}

#[test]
fn a_wrong_directory_is_corrected_by_the_nodes() {
    let things = Things::new();
    things.publish(&things.second, &things.first);
    let router = Router::start(&things.cluster, &[]);
    let keys = things.fill(&router);
    let scan = json!({"TableName": "things", "ConsistentRead": true});
    assert_eq!(pages(&router, "Scan", &scan).0.len(), keys.len());
    let red = json!({
        "TableName": "things", "IndexName": "byColour", "KeyConditionExpression": "colour = :c",
        "ExpressionAttributeValues": {":c": {"S": "red"}},
    });
    // The replicas deliver by the directory alone.
    things.publish(&things.first, &things.second);
    until("the index to have everything", || {
        (pages(&router, "Query", &red).0.len() == keys.len() / 2).then_some(())
    });
}

#[test]
fn a_newer_schema_comes_from_the_nodes() {
    let things = Things::new();
    let router = Router::start(&things.cluster, &[]);
    let keys = things.fill(&router);
    let mut newer = things.record.clone();
    newer.retarget(spec(4, true, true), AT).unwrap();
    for (node, which) in [(&things.first, 0), (&things.second, 1)] {
        for partition in things.half(which) {
            if partition.schema().is_some() {
                node.put(&format!("{}/schema", node::path(partition.group)), &newer.schema());
            }
        }
    }
    for key in &keys {
        router.put(key, "blue");
        assert_eq!(router.colour(key).as_deref(), Some("blue"));
    }
}

#[test]
fn a_router_starts_with_what_it_knew() {
    let things = Things::new();
    let cache = things.cluster.directory().with_file_name("cache");
    let arguments = ["--directory-cache", cache.to_str().unwrap()];
    let router = Router::start(&things.cluster, &arguments);
    router.put("thing-1", "red");
    until("the directory to be on disk", || {
        std::fs::metadata(cache.join("directory.json")).ok()
    });
    assert!(router.stop().success());
    std::fs::remove_file(things.cluster.directory()).unwrap();
    let router = Router::start(&things.cluster, &arguments);
    assert_eq!(router.colour("thing-1").as_deref(), Some("red"));
    assert_eq!(router.admin("/readyz"), (200, "ready\n".to_owned()));
    let (_, metrics) = router.admin("/metrics");
    assert!(
        !metrics.contains("partita_directory_source_away_seconds 0\n"),
        "{metrics}"
    );
}

#[test]
fn a_router_follows_another() {
    let things = Things::new();
    let first = Router::start(&things.cluster, &[]);
    let second = Router::with(&things.cluster, &["--directory", &first.admin_address()]);
    second.put("thing-1", "red");
    assert_eq!(first.colour("thing-1").as_deref(), Some("red"));
    things.cluster.publish(3, &[]);
    until("the table to be gone from both", || {
        let (status, _) = second.call("GetItem", &get("thing-1"));
        (status == 400).then_some(())
    });
    let (status, answer) = second.call("GetItem", &get("thing-1"));
    assert_eq!(status, 400);
    assert!(
        answer["__type"]
            .as_str()
            .unwrap()
            .ends_with("#ResourceNotFoundException")
    );
}

#[test]
fn tables_are_not_made_without_the_api_server() {
    let things = Things::new();
    let router = Router::start(&things.cluster, &[]);
    let create = json!({
        "TableName": "other", "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
    });
    let (status, answer) = router.call("CreateTable", &create);
    assert_eq!(status, 400, "{answer}");
    assert!(
        answer["__type"].as_str().unwrap().ends_with("#AccessDeniedException"),
        "{answer}"
    );
}

#[test]
fn an_open_address_needs_credentials() {
    let mut command = router::command(&["--directory", "file:none", "--listen", "0.0.0.0:0"]);
    assert!(!command.args(["--log", "off"]).status().unwrap().success());
}
