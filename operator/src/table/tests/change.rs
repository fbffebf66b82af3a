//! Changed specifications, wrong ones, and names that are taken.

use serde_json::{Value, json};

use crate::testing::world::{Pass, World};
use crate::testing::{NAMESPACE, table};

async fn ready() -> World {
    let mut world = World::with(table(1000, 1000));
    world.settle().await;
    assert!(world.condition("Ready").0);
    world
}

fn edit(world: &World, change: impl FnOnce(&mut Value)) {
    world
        .cluster
        .edit("tables", NAMESPACE, "orders", |table| change(&mut table["spec"]));
}

fn second_index() -> Value {
    json!({
        "indexName": "byDay",
        "keySchema": [{"attributeName": "day", "keyType": "HASH"}],
        "projection": {"projectionType": "KEYS_ONLY"},
        "provisionedThroughput": {"readCapacityUnits": 100, "writeCapacityUnits": 2000},
    })
}

fn add_index(spec: &mut Value) {
    let attributes = spec["attributeDefinitions"].as_array_mut().unwrap();
    attributes.push(json!({"attributeName": "day", "attributeType": "S"}));
    spec["globalSecondaryIndexes"]
        .as_array_mut()
        .unwrap()
        .push(second_index());
}

fn remove_index(spec: &mut Value) {
    spec["attributeDefinitions"].as_array_mut().unwrap().truncate(2);
    spec["globalSecondaryIndexes"].as_array_mut().unwrap().truncate(1);
}

fn state(world: &World) -> Value {
    world.table()["status"]["state"].clone()
}

#[tokio::test]
async fn an_index_is_built_and_removed() {
    let mut world = ready().await;
    world.cluster.take_events();
    edit(&world, add_index);
    for _ in 0..10 {
        world.pass_of("orders").await.unwrap();
        if world.condition("Reconciling").1 == "BuildingIndex" {
            break;
        }
    }
    assert_eq!(world.condition("Reconciling").1, "BuildingIndex");
    assert_eq!(world.table()["status"]["tableStatus"], "UPDATING");
    assert!(world.condition("Ready").0, "the table serves meanwhile");
    world.settle().await;
    assert_eq!(world.condition("Ready").2, "4 of 4 partitions are ready");
    assert_eq!(state(&world)["global"][1]["phase"], "Ready");
    // Partitions learn of it twice: to maintain it, and that it can be queried.
    assert_eq!(state(&world)["schema_version"], 3);
    let newest = |world: &World| {
        let versions = world
            .nodes
            .groups()
            .into_iter()
            .filter_map(|group| group.schema_version());
        versions.map(|version| version.0).collect::<Vec<_>>()
    };
    assert_eq!(newest(&world), [3]);

    edit(&world, remove_index);
    world.settle().await;
    assert_eq!(world.cluster.names("partitions").len(), 2);
    assert_eq!(world.nodes.groups().len(), 2);
    assert_eq!(newest(&world), [4]);
    assert_eq!(state(&world)["next_index"], 3, "numbers are not used again");
    let reasons: Vec<String> = world
        .cluster
        .take_events()
        .into_iter()
        .map(|(reason, _)| reason)
        .collect();
    assert_eq!(reasons, ["IndexBuilt", "IndexRemoved"]);
}

#[tokio::test]
async fn an_index_killed_at_any_write_is_built_all_the_same() {
    let mut kills = 0;
    loop {
        let mut world = ready().await;
        edit(&world, add_index);
        world.cluster.set_budget(Some(kills));
        let mut killed = false;
        for _ in 0..40 {
            if world.pass_of("orders").await.unwrap() == Pass::Killed {
                killed = true;
                break;
            }
        }
        world.cluster.set_budget(None);
        world.settle().await;
        assert_eq!(
            world.condition("Ready").2,
            "4 of 4 partitions are ready",
            "killed at {kills}"
        );
        assert!(world.nodes.made().values().all(|times| *times == 1));
        assert_eq!(state(&world)["global"][1]["phase"], "Ready");
        if !killed {
            break;
        }
        kills += 1;
    }
    assert!(kills > 12, "there were only {kills} writes to be killed at");
}

#[tokio::test]
async fn an_index_that_is_not_wanted_any_more_is_given_up() {
    let mut world = ready().await;
    edit(&world, add_index);
    for _ in 0..3 {
        world.pass_of("orders").await.unwrap();
    }
    assert_eq!(state(&world)["global"][1]["phase"], "Building");
    edit(&world, remove_index);
    world.settle().await;
    assert_eq!(state(&world)["global"].as_array().unwrap().len(), 1);
    assert_eq!(world.nodes.groups().len(), 2);
    assert!(world.condition("Ready").0);
}

#[tokio::test]
async fn time_to_live_is_switched() {
    let mut world = ready().await;
    edit(&world, |spec| {
        spec["timeToLive"] = json!({"attributeName": "until", "enabled": true})
    });
    world.settle().await;
    assert_eq!(state(&world)["time_to_live"], "Enabled");
    // Another attribute: off, then on.
    edit(&world, |spec| spec["timeToLive"]["attributeName"] = json!("end"));
    world.settle().await;
    assert_eq!(state(&world)["time_to_live"], "Enabled");
    assert_eq!(state(&world)["spec"]["time_to_live"], "end");
    let group = &world.nodes.groups()[0];
    assert_eq!(group.descriptor.schema().unwrap().time_to_live.as_deref(), Some("end"));
}

#[tokio::test]
async fn units_of_one_partition_change_its_pod() {
    let mut world = ready().await;
    edit(&world, |spec| {
        spec["provisionedThroughput"]["writeCapacityUnits"] = json!(500)
    });
    world.settle().await;
    assert!(world.condition("Ready").0);
    assert_eq!(world.cluster.names("statefulsets").len(), 1);
    let set = &world.cluster.all("statefulsets")[0];
    let requests = &set["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"];
    assert_eq!(requests["cpu"], "290m");
    assert_eq!(state(&world)["spec"]["throughput"]["write"], 500);
}

#[tokio::test]
async fn what_cannot_be_is_told_and_the_table_stays() {
    type Change = fn(&mut Value);
    let wrong: [(Change, &str, &str); 7] = [
        (
            |spec| spec["replicas"] = json!(2),
            "InvalidSpec",
            "spec.replicas: 2 is not 1, 3 or 5",
        ),
        (
            |spec| spec["keySchema"][0]["attributeName"] = json!("status"),
            "InvalidSpec",
            "spec.attributeDefinitions",
        ),
        (
            |spec| spec["globalSecondaryIndexes"][0]["projection"] = json!({"projectionType": "KEYS_ONLY"}),
            "ChangeRefused",
            "spec.globalSecondaryIndexes[0].projection: ",
        ),
        (
            |spec| spec["storage"] = json!({"size": "40Gi", "maxSize": "39Gi"}),
            "InvalidSpec",
            "spec.storage.maxSize: 39Gi is less than the size, 40Gi",
        ),
        (
            |spec| spec["storage"] = json!({"size": "60GB"}),
            "InvalidSpec",
            "spec.storage.size: \"60GB\" is no amount",
        ),
        (
            |spec| spec["scheduling"] = json!({"cpu": -1}),
            "InvalidSpec",
            "spec.scheduling.cpu: \"-1\" is no amount",
        ),
        (
            |spec| spec["autoscaling"] = json!({"write": {"min": 1, "max": 2}}),
            "InvalidSpec",
            "spec.provisionedThroughput.writeCapacityUnits: autoscaling.write has a range",
        ),
    ];
    for (change, reason, message) in wrong {
        let mut world = ready().await;
        let before = state(&world);
        edit(&world, change);
        world.settle().await;
        let (stalled, why, words) = world.condition("Stalled");
        assert!(stalled, "{reason}");
        assert_eq!(why, reason, "{words}");
        assert!(words.starts_with(message), "{words}");
        assert_eq!(world.condition("Ready"), (false, why, words));
        assert_eq!(state(&world), before);
        assert_eq!(world.table()["status"]["observedGeneration"], 2);
        assert_eq!(world.table()["status"]["readyPartitions"], 2, "{reason}");
    }
}

#[tokio::test]
async fn a_wrong_table_does_not_begin() {
    let mut new = table(1000, 1000);
    new["spec"]["replicas"] = json!(4);
    let mut world = World::with(new);
    world.settle().await;
    assert_eq!(world.condition("Stalled").1, "InvalidSpec");
    assert_eq!(world.cluster.names("statefulsets"), Vec::<String>::new());
    edit(&world, |spec| spec["replicas"] = json!(1));
    world.settle().await;
    assert!(world.condition("Ready").0);
}

#[tokio::test]
async fn the_table_that_is_there_keeps_its_name() {
    let mut world = ready().await;
    let mut second = table(1000, 1000);
    second["metadata"]["name"] = json!("another");
    second["metadata"]["creationTimestamp"] = json!("2020-01-01T00:00:00Z");
    world.cluster.put("tables", second);
    world.settle_of("another").await;
    world.settle().await;
    assert!(world.condition("Ready").0);
    let (stalled, reason, message) = world.condition_of("another", "Stalled");
    assert!(stalled);
    assert_eq!(reason, "NameTaken");
    assert!(
        message.contains("the Table orders of this namespace has the name Orders already"),
        "{message}"
    );
    // A table's name differs by case.
    let mut third = table(1000, 1000);
    third["metadata"]["name"] = json!("third");
    third["spec"]["tableName"] = json!("orders");
    world.cluster.put("tables", third);
    world.settle_of("third").await;
    assert!(world.condition_of("third", "Ready").0);
}

#[tokio::test]
async fn a_paused_table_is_left_as_it_is() {
    let mut world = ready().await;
    edit(&world, |spec| {
        spec["paused"] = json!(true);
        add_index(spec);
    });
    world.settle().await;
    assert_eq!(world.condition("Stalled").1, "Paused");
    assert!(world.condition("Ready").0);
    assert_eq!(state(&world)["global"].as_array().unwrap().len(), 1);
    edit(&world, |spec| spec["paused"] = json!(false));
    world.settle().await;
    assert_eq!(state(&world)["global"].as_array().unwrap().len(), 2);
    assert!(!world.condition("Stalled").0);
}

#[tokio::test]
async fn what_becomes_of_a_paused_table_is_told() {
    let mut world = ready().await;
    edit(&world, |spec| spec["paused"] = json!(true));
    world.settle().await;
    assert!(world.condition("Ready").0);
    let pods = world.cluster.names("pods");
    world
        .nodes
        .silence(&pods.iter().map(String::as_str).collect::<Vec<_>>());
    world.later(6 * 60 * 1000);
    world.settle().await;
    let (is_ready, reason, _) = world.condition("Ready");
    assert!(!is_ready && reason == "PartitionsUnavailable", "{reason}");
    assert_eq!(world.condition("Stalled").1, "Paused");
    world.nodes.silence(&[]);
    world.later(6 * 60 * 1000);
    world.settle().await;
    assert!(world.condition("Ready").0);
}

#[tokio::test]
async fn empty_words_are_none() {
    let mut new = table(1000, 1000);
    new["spec"]["scheduling"] = json!({
        "priorityClassName": "",
        "tolerations": [{"key": "dedicated", "operator": "Exists", "value": "", "effect": ""}],
    });
    let mut world = World::with(new);
    world.settle().await;
    assert!(world.condition("Ready").0);
    let set = world.cluster.all("statefulsets")[0].clone();
    let pod = &set["spec"]["template"]["spec"];
    assert!(
        pod["priorityClassName"].is_null() && pod["tolerations"][0]["effect"].is_null(),
        "{pod}"
    );
    // More units: what waits for the StatefulSets to be as they should be is not held up.
    edit(&world, |spec| {
        spec["provisionedThroughput"]["writeCapacityUnits"] = json!(2000)
    });
    for _ in 0..20 {
        world.settle().await;
        world.later(60 * 1000);
    }
    assert_eq!(world.cluster.names("statefulsets").len(), 2);
}

#[tokio::test]
async fn a_state_of_a_newer_version_is_not_touched() {
    let mut world = ready().await;
    let mut newer = state(&world);
    newer["format"] = json!(99);
    world.cluster.set_state(NAMESPACE, "orders", newer.clone());
    world.settle().await;
    assert_eq!(world.condition("Stalled").1, "StateUnreadable");
    assert_eq!(state(&world), newer);
}

#[tokio::test]
async fn a_job_that_does_not_go_on_is_stalled_and_who_reads_kstatus_sees_that() {
    let mut world = ready().await;
    assert_eq!(world.kstatus(), "Current");
    world.nodes.hold_jobs(Some("the index cannot be reached"));
    edit(&world, |spec| {
        spec["timeToLive"] = json!({"attributeName": "until", "enabled": true})
    });
    assert_eq!(world.kstatus(), "InProgress");
    for _ in 0..19 {
        world.pass_of("orders").await.unwrap();
        assert_eq!(world.kstatus(), "InProgress");
        world.later(30_000);
    }
    for _ in 0..3 {
        world.later(30_000);
        world.pass_of("orders").await.unwrap();
    }
    assert_eq!(world.kstatus(), "Failed");
    let (stalled, reason, message) = world.condition("Stalled");
    assert!(stalled && reason == "ProgressDeadlineExceeded", "{reason}");
    assert!(message.contains("the index cannot be reached"), "{message}");
    assert!(!world.condition("Reconciling").0, "nobody expects that it goes on");
    assert!(world.condition("Ready").0, "it serves all the while");
    world.nodes.hold_jobs(None);
    world.settle().await;
    assert_eq!(world.kstatus(), "Current");
}
