//! Made, used, killed meanwhile, at rest.

use partita_crds::names;
use serde_json::json;

use crate::testing::world::{Pass, World, killed_anywhere};
use crate::testing::{NAMESPACE, table};

/// Four partitions, and an index with two.
fn orders() -> World {
    World::with(table(4000, 2000))
}

async fn ready() -> World {
    let mut world = orders();
    world.settle().await;
    world
}

/// What must be true of the table when it is there, whatever happened on the way.
fn check(world: &World) {
    let table = world.table();
    let status = &table["status"];
    assert_eq!(
        world.condition("Ready"),
        (true, "Ready".into(), "6 of 6 partitions are ready".into())
    );
    assert!(
        !world.condition("Reconciling").0,
        "{:?}",
        world.condition("Reconciling")
    );
    assert!(!world.condition("Stalled").0);
    assert_eq!(status["tableStatus"], "ACTIVE");
    assert_eq!(
        (&status["partitions"], &status["readyPartitions"]),
        (&json!(6), &json!(6))
    );
    assert_eq!(status["observedGeneration"], table["metadata"]["generation"]);
    let uid = table["metadata"]["uid"].as_str().unwrap();
    let id = names::table_id(uid);
    assert_eq!(status["tableId"], names::id_label(id));
    let prefix = names::prefix("Orders", id);
    let nodes: Vec<String> = (0..4).map(|place| format!("{prefix}-{place}")).collect();
    assert_eq!(world.cluster.names("statefulsets"), nodes);
    assert_eq!(world.cluster.names("services"), nodes);
    assert_eq!(world.cluster.names("poddisruptionbudgets"), nodes);
    let mut partitions = nodes.clone();
    partitions.extend((0..2).map(|place| format!("{prefix}-i1-{place}")));
    assert_eq!(world.cluster.names("partitions"), partitions);
    assert!(
        status["state"]["partitions"].is_null(),
        "a status does not grow with the table"
    );
    let made = world.nodes.made();
    assert_eq!(made.len(), 6);
    assert!(made.values().all(|times| *times == 1), "a group is made once: {made:?}");
}

#[tokio::test]
async fn a_table_becomes_ready() {
    let world = ready().await;
    check(&world);
    let partition = &world.cluster.all("partitions")[1];
    assert_eq!(partition["spec"]["start"], "4000000000000000");
    assert_eq!(partition["spec"]["end"], "8000000000000000");
    assert_eq!(partition["status"]["phase"], "Ready");
    assert_eq!(partition["status"]["itemCount"], 0);
    let host = partition["spec"]["host"].as_str().unwrap();
    assert_eq!(partition["status"]["leader"], format!("{host}-0"));
    let reasons: Vec<String> = world
        .cluster
        .take_events()
        .into_iter()
        .map(|(reason, _)| reason)
        .collect();
    assert_eq!(reasons, ["Creating", "Ready"]);
}

#[tokio::test]
async fn a_settled_table_is_left_alone() {
    let mut world = ready().await;
    for _ in 0..3 {
        assert_eq!(world.pass_of("orders").await.unwrap(), Pass::Done);
    }
    assert_eq!(world.cluster.take_requests(), Vec::<String>::new());
    assert_eq!(world.nodes.take_calls(), Vec::<String>::new());
    // A new process looks at the nodes, and finds nothing to write.
    world.restart();
    world.pass_of("orders").await.unwrap();
    world.pass_of("orders").await.unwrap();
    assert_eq!(world.cluster.take_requests(), Vec::<String>::new());
    assert_eq!(world.nodes.take_calls().len(), 4);
}

#[tokio::test]
async fn killed_at_any_write_it_goes_on() {
    killed_anywhere(async || orders(), check, 21).await;
}

#[tokio::test]
async fn a_node_that_is_late_holds_up_the_table_but_not_the_others() {
    let mut world = orders();
    for _ in 0..3 {
        world.pass_of("orders").await.unwrap();
    }
    let late = world.cluster.names("statefulsets")[2].clone();
    world.nodes.silence(&[&format!("{late}-0")]);
    world.settle().await;
    assert_eq!(world.nodes.made().len(), 5);
    let (holds, reason, message) = world.condition("Reconciling");
    assert!(holds);
    assert_eq!(
        (reason.as_str(), message),
        ("Creating", format!("waiting for the partition {late}"))
    );
    world.nodes.silence(&[]);
    world.settle().await;
    check(&world);
}

#[tokio::test]
async fn a_node_that_goes_and_comes_back_is_noticed() {
    let mut world = ready().await;
    world.cluster.take_events();
    let node = world.cluster.names("statefulsets")[0].clone();
    world.nodes.silence(&[&format!("{node}-0")]);
    world.cluster.edit("statefulsets", NAMESPACE, &node, |_| {});
    world.later(6 * 60 * 1000);
    world.settle().await;
    let (ready, reason, message) = world.condition("Ready");
    assert!(!ready);
    assert_eq!(reason, "PartitionsUnavailable");
    // The node holds the index's first partition, too.
    assert!(message.starts_with("4 of 6 partitions are ready"), "{message}");
    assert!(
        message.contains(&format!("the storage node {node}-0 does not answer")),
        "{message}"
    );
    assert!(world.condition("Reconciling").0);
    assert_eq!(world.table()["status"]["tableStatus"], "ACTIVE");
    world.nodes.silence(&[]);
    world.settle().await;
    check(&world);
    let reasons: Vec<String> = world
        .cluster
        .take_events()
        .into_iter()
        .map(|(reason, _)| reason)
        .collect();
    assert_eq!(reasons, ["PartitionsUnavailable", "Ready"]);
}

#[tokio::test]
async fn measured_columns_are_rounded_and_rare() {
    let mut world = ready().await;
    world.nodes.fill(12_345, 6_789_000);
    world.settle().await;
    assert_eq!(world.table()["status"]["itemCount"], 0, "it is not due yet");
    world.later(5 * 60 * 1000);
    world.settle().await;
    let partition = &world.cluster.all("partitions")[0];
    assert_eq!(
        (&partition["status"]["itemCount"], &partition["status"]["sizeBytes"]),
        (&json!(12_000), &json!(6_700_000))
    );
    let status = &world.table()["status"];
    assert_eq!(
        (&status["itemCount"], &status["tableSizeBytes"]),
        (&json!(48_000), &json!(26_000_000))
    );
    // What is the same when rounded is not written.
    world.nodes.fill(12_999, 6_700_001);
    world.later(5 * 60 * 1000);
    world.pass_of("orders").await.unwrap();
    assert_eq!(world.cluster.take_requests(), Vec::<String>::new());
}

#[tokio::test]
async fn what_somebody_changed_or_deleted_is_made_again() {
    let mut world = ready().await;
    let names = world.cluster.names("statefulsets");
    world.cluster.edit("statefulsets", NAMESPACE, &names[1], |set| {
        set["spec"]["replicas"] = json!(0)
    });
    world.cluster.delete("services", NAMESPACE, &names[2]);
    world.cluster.delete("poddisruptionbudgets", NAMESPACE, &names[0]);
    world.settle().await;
    let set = world.cluster.get("statefulsets", NAMESPACE, &names[1]).unwrap();
    assert_eq!(set["spec"]["replicas"], 1);
    check(&world);
}

#[tokio::test]
async fn what_the_cluster_refuses_is_told() {
    let mut world = orders();
    world.cluster.refuse("statefulsets", "exceeded quota");
    world.settle().await;
    let (stalled, reason, message) = world.condition("Stalled");
    assert!(stalled);
    assert_eq!(
        (reason.as_str(), message.as_str()),
        ("RefusedByCluster", "the API server refused: exceeded quota")
    );
}

#[tokio::test]
async fn a_right_that_is_missing_is_told() {
    let mut world = ready().await;
    let node = world.cluster.names("statefulsets")[0].clone();
    world.nodes.silence(&[&format!("{node}-0")]);
    world.cluster.edit("statefulsets", NAMESPACE, &node, |_| {});
    world.later(6 * 60 * 1000);
    world
        .cluster
        .refuse("list pods", "pods is forbidden: cannot list resource \"pods\"");
    for _ in 0..2 {
        assert!(world.pass_of("orders").await.is_err());
    }
    let (stalled, reason, message) = world.condition("Stalled");
    assert!(
        stalled && reason == "Forbidden" && message.contains("cannot list resource"),
        "{message}"
    );
    let version = world.cluster.version();
    assert!(world.pass_of("orders").await.is_err());
    assert_eq!(world.cluster.version(), version, "it is said once");
    world.cluster.refuse("", "");
    world.nodes.silence(&[]);
    world.settle().await;
    check(&world);
}

#[tokio::test]
async fn a_follower_that_is_starved_for_a_moment_is_not_written_about() {
    let mut world = ready().await;
    let node = world.cluster.names("statefulsets")[0].clone();
    let version = world.cluster.version();
    world.later(6 * 60 * 1000);
    world.nodes.silence(&[&format!("{node}-0")]);
    for _ in 0..4 {
        world.pass_of("orders").await.unwrap();
        world.later(2000);
    }
    assert_eq!(world.cluster.version(), version);
    world.nodes.silence(&[]);
    world.settle().await;
    assert_eq!(world.cluster.version(), version);
    // Ten seconds of it are no moment.
    world.later(6 * 60 * 1000);
    world.nodes.silence(&[&format!("{node}-0")]);
    for _ in 0..7 {
        world.pass_of("orders").await.unwrap();
        world.later(2000);
    }
    assert!(!world.condition("Ready").0);
}

#[tokio::test]
async fn a_decision_on_old_knowledge_is_refused() {
    let mut world = orders();
    world.pass_of("orders").await.unwrap();
    let table = world.table();
    world.pass_of("orders").await.unwrap();
    // The cache still has the Table without its record: it would begin again.
    let old = world.reconcile(table).await;
    assert!(matches!(old, Some(Err(crate::table::Error::Stale(_)))), "{old:?}");
}
