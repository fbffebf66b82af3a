//! Storage nodes: restarted when their image changes, given larger volumes, in trouble.

use std::cell::RefCell;

use partita_model::admin::VolumeState;
use serde_json::{Value, json};

use crate::testing::world::{Pass, World, killed_anywhere};
use crate::testing::{NAMESPACE, table};

const NOT_READY: &str = "False";
/// Longer than it takes until a table at rest is measured again.
const MEASURE_MS: u64 = 600_000;

async fn ready() -> World {
    let mut world = World::with(table(4000, 1000));
    world.settle().await;
    assert!(world.condition("Ready").0);
    world.cluster.take_events();
    world
}

fn uids(world: &World, plural: &str) -> Vec<String> {
    let all = world.cluster.all(plural);
    all.iter()
        .map(|object| object["metadata"]["uid"].as_str().unwrap().to_owned())
        .collect()
}

fn images(world: &World) -> Vec<String> {
    let pods = world.cluster.all("pods");
    pods.iter()
        .map(|pod| pod["spec"]["containers"][0]["image"].as_str().unwrap().to_owned())
        .collect()
}

fn events(world: &World) -> Vec<String> {
    world
        .cluster
        .take_events()
        .into_iter()
        .map(|(reason, _)| reason)
        .collect()
}

fn edit(world: &World, change: impl FnOnce(&mut Value)) {
    world
        .cluster
        .edit("tables", NAMESPACE, "orders", |table| change(&mut table["spec"]));
}

#[tokio::test]
async fn a_new_image_reaches_one_pod_after_the_other() {
    let mut world = ready().await;
    world.image = "partita:next".into();
    // The first pass tells the StatefulSets, the next takes the first pod.
    world.pass_of("orders").await.unwrap();
    let first = world.cluster.names("statefulsets")[0].clone();
    let old = uids(&world, "pods");
    world.pass_of("orders").await.unwrap();
    assert_eq!(world.condition("Reconciling").1, "RollingUpdate");
    let replaced = uids(&world, "pods").iter().filter(|uid| !old.contains(uid)).count();
    assert_eq!(replaced, 1);
    // It does not come back: nobody else is touched.
    world.cluster.set_pod(
        NAMESPACE,
        &format!("{first}-0"),
        json!({"conditions": [{"type": "Ready", "status": NOT_READY}]}),
    );
    for _ in 0..3 {
        world.pass_of("orders").await.unwrap();
    }
    assert_eq!(uids(&world, "pods").iter().filter(|uid| !old.contains(uid)).count(), 1);
    let words = world.condition("Reconciling").2;
    assert!(
        words.ends_with(&format!("waiting for shop/{first} to be ready again")),
        "{words}"
    );
    // Not even by another operator.
    world.restart();
    world.pass_of("orders").await.unwrap();
    assert_eq!(uids(&world, "pods").iter().filter(|uid| !old.contains(uid)).count(), 1);
    world.cluster.set_pod(
        NAMESPACE,
        &format!("{first}-0"),
        json!({"conditions": [{"type": "Ready", "status": "True"}]}),
    );
    world.settle().await;
    assert_eq!(images(&world), ["partita:next"; 4]);
    assert!(world.condition("Ready").0 && !world.condition("Reconciling").0);
    assert_eq!(events(&world), ["RollingUpdate"]);
    assert!(world.nodes.made().values().all(|times| *times == 1));
}

#[tokio::test]
async fn a_pod_that_does_not_serve_is_replaced_at_once() {
    let mut world = ready().await;
    let pods = world.cluster.names("pods");
    for pod in &pods {
        let status = json!({"conditions": [{"type": "Ready", "status": NOT_READY}]});
        world.cluster.set_pod(NAMESPACE, pod, status);
    }
    world
        .nodes
        .silence(&pods.iter().map(String::as_str).collect::<Vec<_>>());
    world.image = "partita:next".into();
    world.pass_of("orders").await.unwrap();
    world.pass_of("orders").await.unwrap();
    assert_eq!(images(&world), ["partita:next"; 4]);
}

#[tokio::test]
async fn a_version_that_cannot_read_what_is_there_is_met_by_one_pod_and_said() {
    let mut three = table(1000, 1000);
    three["spec"]["replicas"] = json!(3);
    let mut world = World::with(three);
    world.settle().await;
    let old = uids(&world, "pods");
    world.image = "partita:former".into();
    world.pass_of("orders").await.unwrap();
    world.pass_of("orders").await.unwrap();
    let new = world.cluster.all("pods");
    let is_new = |pod: &&Value| !old.contains(&pod["metadata"]["uid"].as_str().unwrap().to_owned());
    let new = new.iter().find(is_new).unwrap()["metadata"]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    let refusal = "log: entry of group 7 has format 9, which is newer than this software";
    world.cluster.set_pod(
        NAMESPACE,
        &new,
        json!({
            "conditions": [{"type": "Ready", "status": NOT_READY}],
            "containerStatuses": [{
                "name": "replica", "image": "i", "imageID": "", "ready": false, "restartCount": 3,
                "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"exitCode": 1, "message": refusal}},
            }],
        }),
    );
    world.nodes.silence(&[&new]);
    world.settle().await;
    world.later(601_000);
    world.settle().await;
    let replaced = uids(&world, "pods").iter().filter(|uid| !old.contains(uid)).count();
    assert_eq!(replaced, 1);
    assert!(world.condition("Ready").0, "the other two serve");
    for kind in ["Reconciling", "Stalled"] {
        let (_, reason, message) = world.condition(kind);
        assert!(
            message.contains(refusal) || reason == "Held",
            "{kind}: {reason}: {message}"
        );
    }
    assert_eq!(world.condition("Stalled").1, "ProgressDeadlineExceeded");
    // Forward again: that pod has nothing to lose.
    world.image = "partita:test".into();
    world.pass_of("orders").await.unwrap();
    world.pass_of("orders").await.unwrap();
    world.nodes.silence(&[]);
    world.settle().await;
    assert_eq!(images(&world), ["partita:test"; 3]);
    assert!(!world.condition("Stalled").0);
}

#[tokio::test]
async fn pods_that_answer_take_their_turn_whatever_kubernetes_takes_them_for() {
    let mut three = table(1000, 1000);
    three["spec"]["replicas"] = json!(3);
    let mut world = World::with(three);
    world.settle().await;
    for pod in world.cluster.names("pods") {
        let status = json!({"conditions": [{"type": "Ready", "status": NOT_READY}]});
        world.cluster.set_pod(NAMESPACE, &pod, status);
    }
    let old = uids(&world, "pods");
    let replaced = |world: &World| uids(world, "pods").iter().filter(|uid| !old.contains(uid)).count();
    world.image = "partita:next".into();
    world.pass_of("orders").await.unwrap();
    world.pass_of("orders").await.unwrap();
    assert_eq!(replaced(&world), 1, "the other two are the quorum");
    // The new one starts, and the others wait for it.
    let new = world.cluster.all("pods");
    let new = new
        .iter()
        .find(|pod| !old.contains(&pod["metadata"]["uid"].as_str().unwrap().to_owned()));
    let new = new.unwrap()["metadata"]["name"].as_str().unwrap().to_owned();
    world.nodes.silence(&[&new]);
    for _ in 0..3 {
        world.pass_of("orders").await.unwrap();
    }
    assert_eq!(replaced(&world), 1);
    world.nodes.silence(&[]);
    world.settle().await;
    assert_eq!(images(&world), ["partita:next"; 3]);
}

#[tokio::test]
async fn a_table_that_is_paused_half_way_holds_up_no_other() {
    let mut world = World::with(table(4000, 1000));
    let mut other = table(1000, 1000);
    other["metadata"]["name"] = json!("another");
    other["spec"]["tableName"] = json!("Another");
    other["spec"]["replicas"] = json!(3);
    other["spec"].as_object_mut().unwrap().remove("globalSecondaryIndexes");
    other["spec"]["attributeDefinitions"]
        .as_array_mut()
        .unwrap()
        .truncate(1);
    world.cluster.put("tables", other);
    world.settle().await;
    world.settle_of("another").await;
    world.image = "partita:next".into();
    let new = |world: &World| images(world).iter().filter(|image| *image == "partita:next").count();
    world.pass_of("another").await.unwrap();
    world.pass_of("another").await.unwrap();
    assert_eq!(new(&world), 1);
    world.cluster.edit("tables", NAMESPACE, "another", |table| {
        table["spec"]["paused"] = json!(true)
    });
    world.settle_of("another").await;
    world.settle().await;
    assert_eq!(new(&world), 5, "all of the other table's");
}

#[tokio::test]
async fn a_pod_of_a_paused_table_that_does_not_serve_is_waited_for_by_name() {
    let mut world = World::with(table(1000, 1000));
    let mut other = table(1000, 1000);
    other["metadata"]["name"] = json!("another");
    other["spec"]["tableName"] = json!("Another");
    world.cluster.put("tables", other);
    world.settle().await;
    world.settle_of("another").await;
    world.image = "partita:next".into();
    world.pass_of("another").await.unwrap();
    world.pass_of("another").await.unwrap();
    // It may be what the new version does.
    let pods = world.cluster.names("pods");
    let new = pods.iter().find(|pod| pod.starts_with("t-another")).unwrap().clone();
    let status = json!({"conditions": [{"type": "Ready", "status": NOT_READY}]});
    world.cluster.set_pod(NAMESPACE, &new, status);
    world.cluster.edit("tables", NAMESPACE, "another", |table| {
        table["spec"]["paused"] = json!(true)
    });
    world.pass_of("another").await.unwrap();
    for _ in 0..3 {
        world.pass_of("orders").await.unwrap();
    }
    let words = world.condition("Reconciling").2;
    assert!(
        words.ends_with("to be ready again (its Table another is Stalled: Paused)"),
        "{words}"
    );
    assert_eq!(
        images(&world).iter().filter(|image| *image == "partita:next").count(),
        1
    );
}

fn speak_tls(world: &World) -> Vec<bool> {
    let pods = world.cluster.all("pods");
    let arguments = pods.iter().map(|pod| pod["spec"]["containers"][0]["args"].to_string());
    arguments.map(|arguments| arguments.contains("--peer-tls=")).collect()
}

#[tokio::test]
async fn where_mutual_tls_is_turned_off_or_on_all_restart_at_once() {
    let mut world = ready().await;
    assert_eq!(speak_tls(&world), [true; 4]);
    for on in [false, true] {
        world.peer_tls = on;
        // The first pass tells the StatefulSets; then nobody understands the old ones any more.
        world.pass_of("orders").await.unwrap();
        let pods = world.cluster.names("pods");
        world
            .nodes
            .silence(&pods.iter().map(String::as_str).collect::<Vec<_>>());
        world.pass_of("orders").await.unwrap();
        assert_eq!(speak_tls(&world), [on; 4]);
        world.nodes.silence(&[]);
        world.settle().await;
        assert!(world.condition("Ready").0 && !world.condition("Reconciling").0);
    }
    assert!(world.nodes.made().values().all(|times| *times == 1));
}

#[tokio::test]
async fn other_units_restart_nobody() {
    let mut world = ready().await;
    let before = uids(&world, "pods");
    edit(&world, |spec| {
        spec["provisionedThroughput"]["readCapacityUnits"] = json!(300)
    });
    world.settle().await;
    assert_eq!(uids(&world, "pods"), before);
    assert!(!world.condition("Reconciling").0);
}

#[tokio::test]
async fn volumes_grow_and_their_pods_stay() {
    let mut kills = 0;
    loop {
        let mut world = ready().await;
        let (pods, claims) = (uids(&world, "pods"), uids(&world, "persistentvolumeclaims"));
        edit(&world, |spec| spec["storage"] = json!({"size": "40Gi"}));
        world.cluster.set_budget(Some(kills));
        let mut killed = false;
        for _ in 0..20 {
            if world.pass_of("orders").await.unwrap() == Pass::Killed {
                killed = true;
                break;
            }
        }
        world.cluster.set_budget(None);
        world.settle().await;
        assert_eq!(
            (uids(&world, "pods"), uids(&world, "persistentvolumeclaims")),
            (pods, claims)
        );
        for claim in world.cluster.all("persistentvolumeclaims") {
            assert_eq!(
                claim["spec"]["resources"]["requests"]["storage"], "40Gi",
                "killed at {kills}"
            );
        }
        for set in world.cluster.all("statefulsets") {
            let template = &set["spec"]["volumeClaimTemplates"][0];
            assert_eq!(
                template["spec"]["resources"]["requests"]["storage"], "40Gi",
                "killed at {kills}"
            );
        }
        assert!(world.condition("Ready").0 && !world.condition("Reconciling").0);
        if !killed {
            break;
        }
        kills += 1;
    }
    assert!(kills > 10, "there were only {kills} writes to be killed at");
}

#[tokio::test]
async fn a_size_is_a_floor() {
    let mut world = ready().await;
    edit(&world, |spec| spec["storage"] = json!({"size": "10Gi"}));
    world.settle().await;
    assert!(world.condition("Ready").0 && !world.condition("Stalled").0);
    for claim in world.cluster.all("persistentvolumeclaims") {
        assert_eq!(claim["spec"]["resources"]["requests"]["storage"], "30Gi");
    }
}

/// Sizes of volumes by claim, and in the templates.
fn volumes(world: &World) -> (Vec<String>, Vec<String>) {
    let size = |spec: &Value| spec["resources"]["requests"]["storage"].as_str().unwrap().to_owned();
    let claims = world.cluster.all("persistentvolumeclaims");
    let sets = world.cluster.all("statefulsets");
    (
        claims.iter().map(|claim| size(&claim["spec"])).collect(),
        sets.iter()
            .map(|set| size(&set["spec"]["volumeClaimTemplates"][0]["spec"]))
            .collect(),
    )
}

fn fill_volume(world: &World, pod: &str, total_gib: u64, free_gib: u64) {
    world.nodes.store_of(pod, |store| {
        store.volume = Some(VolumeState {
            total_bytes: total_gib << 30,
            free_bytes: free_gib << 30,
        });
    });
}

/// A table whose volumes may grow, with one that has so much left.
async fn filling(free_gib: u64) -> (World, String) {
    let mut world = ready().await;
    edit(&world, |spec| spec["storage"] = json!({"maxSize": "50Gi"}));
    world.settle().await;
    assert_eq!(volumes(&world).0, ["30Gi"; 4], "none is full");
    let first = world.cluster.names("pods")[0].clone();
    fill_volume(&world, &first, 30, free_gib);
    world.later(MEASURE_MS);
    (world, first)
}

#[tokio::test]
async fn a_volume_that_fills_grows_by_itself_wherever_the_operator_is_killed() {
    let pods = RefCell::new(Vec::new());
    let begin = async || {
        let (world, _) = filling(6).await;
        *pods.borrow_mut() = uids(&world, "pods");
        world
    };
    // The file system, which is not full for the larger volume, has to grow yet: what was begun is finished, and nothing more.
    let done = |world: &World| {
        let grown = ["45Gi", "30Gi", "30Gi", "30Gi"].map(str::to_owned).to_vec();
        assert_eq!(volumes(world), (grown.clone(), grown));
        assert_eq!(uids(world, "pods"), *pods.borrow());
        assert!(world.condition("Ready").0 && !world.condition("Reconciling").0);
    };
    killed_anywhere(begin, done, 3).await;
}

#[tokio::test]
async fn volumes_grow_by_themselves_as_far_as_the_table_lets_them() {
    let (mut world, first) = filling(7).await;
    world.settle().await;
    assert_eq!(volumes(&world).1[0], "30Gi", "it is not full yet");
    for (total_gib, size) in [(30, "45Gi"), (45, "50Gi"), (50, "50Gi")] {
        fill_volume(&world, &first, total_gib, 1);
        world.later(MEASURE_MS);
        world.settle().await;
        assert_eq!(volumes(&world).1, [size, "30Gi", "30Gi", "30Gi"]);
        assert_eq!(volumes(&world).0, volumes(&world).1);
    }
    assert!(world.condition("Ready").0 && !world.condition("Reconciling").0);
}

#[tokio::test]
async fn that_a_volume_may_not_grow_is_said_once_and_stays_said() {
    let (mut world, first) = filling(6).await;
    world.cluster.refuse("persistentvolumeclaims", "the class is fixed");
    world.cluster.take_events();
    let since = |world: &World| {
        let conditions = world.table()["status"]["conditions"].as_array().unwrap().clone();
        let stalled = conditions.into_iter().find(|condition| condition["type"] == "Stalled");
        stalled.unwrap()["lastTransitionTime"].clone()
    };
    world.pass_of("orders").await.unwrap();
    let begun = since(&world);
    for _ in 0..20 {
        world.later(MEASURE_MS / 2);
        // Nothing that the volumes have to do with.
        edit(&world, |spec| {
            let units = &mut spec["provisionedThroughput"]["readCapacityUnits"];
            *units = json!(units.as_u64().unwrap() + 1);
        });
        world.pass_of("orders").await.unwrap();
        let (stalled, reason, message) = world.condition("Stalled");
        assert!(stalled && reason == "VolumeCannotGrow", "{reason}");
        assert!(message.starts_with("spec.storage.maxSize: "), "{message}");
        assert_eq!(since(&world), begun);
    }
    let mut told = events(&world);
    told.retain(|reason| reason == "VolumeCannotGrow");
    assert_eq!(told.len(), 1);
    // Somebody has made room.
    fill_volume(&world, &first, 30, 20);
    world.later(MEASURE_MS);
    world.settle().await;
    assert!(!world.condition("Stalled").0);
}

#[tokio::test]
async fn the_volume_of_a_node_that_ends_again_and_again_grows_too() {
    let (mut world, first) = filling(10).await;
    world.settle().await;
    assert_eq!(volumes(&world).1, ["30Gi"; 4], "it is not full yet");
    world.nodes.silence(&[&first]);
    let not_ready = json!({"type": "Ready", "status": NOT_READY});
    world
        .cluster
        .set_pod(NAMESPACE, &first, json!({"conditions": [not_ready]}));
    world.settle().await;
    assert_eq!(volumes(&world).1, ["30Gi"; 4], "it may be away for any reason");
    let crashing = json!([{
        "name": "replica", "image": "i", "imageID": "", "ready": false, "restartCount": 3,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
    }]);
    let status = json!({"conditions": [not_ready], "containerStatuses": crashing});
    world.cluster.set_pod(NAMESPACE, &first, status);
    world.settle().await;
    assert_eq!(volumes(&world).1, ["45Gi", "30Gi", "30Gi", "30Gi"]);
}

#[tokio::test]
async fn a_file_system_that_is_not_the_volume_s_own_says_nothing() {
    let mut world = ready().await;
    edit(&world, |spec| spec["storage"] = json!({"maxSize": "50Gi"}));
    world.settle().await;
    fill_volume(&world, &world.cluster.names("pods")[0].clone(), 400, 10);
    world.later(MEASURE_MS);
    world.settle().await;
    assert_eq!(volumes(&world).0, ["30Gi"; 4]);
}

#[tokio::test]
async fn a_volume_that_may_not_grow_holds_nothing_else_up() {
    let mut world = ready().await;
    world.cluster.refuse("persistentvolumeclaims", "the class is fixed");
    edit(&world, |spec| {
        spec["storage"] = json!({"size": "40Gi"});
        spec["timeToLive"] = json!({"attributeName": "until", "enabled": true});
    });
    for _ in 0..20 {
        world.pass_of("orders").await.unwrap();
    }
    let (stalled, reason, message) = world.condition("Stalled");
    assert!(stalled && world.condition("Ready").0);
    assert_eq!(reason, "VolumeCannotGrow");
    assert!(
        message.contains("the class is fixed") && message.contains("allowVolumeExpansion"),
        "{message}"
    );
    assert_eq!(world.table()["status"]["state"]["time_to_live"], "Enabled");
    edit(&world, |spec| spec["storage"] = Value::Null);
    world.settle().await;
    assert!(!world.condition("Stalled").0);
}

#[tokio::test]
async fn what_keeps_a_node_away_is_said_and_after_a_while_insisted_on() {
    let mut world = ready().await;
    let host = world.cluster.names("statefulsets")[1].clone();
    world.nodes.silence(&[&format!("{host}-0")]);
    let no_room = "0/3 nodes are available: 3 Insufficient memory.";
    world.cluster.set_pod(
        NAMESPACE,
        &format!("{host}-0"),
        json!({"conditions": [
            {"type": "Ready", "status": NOT_READY},
            {"type": "PodScheduled", "status": "False", "message": no_room}]}),
    );
    world.settle().await;
    let (ready, reason, message) = world.condition("Ready");
    assert!(!ready);
    assert_eq!(reason, "PartitionsUnavailable");
    assert!(
        message.contains("no node takes it: 0/3 nodes are available: 3 Insufficient memory"),
        "{message}"
    );
    assert!(!world.condition("Stalled").0, "it may come by itself");
    world.later(601_000);
    world.settle().await;
    let (stalled, reason, message) = world.condition("Stalled");
    assert!(stalled);
    assert_eq!(reason, "ProgressDeadlineExceeded");
    assert!(
        message.contains("within 10 minutes") && message.contains("Insufficient memory"),
        "{message}"
    );
    assert_eq!(events(&world), ["PartitionsUnavailable", "ProgressDeadlineExceeded"]);
    world.nodes.silence(&[]);
    world.cluster.set_pod(
        NAMESPACE,
        &format!("{host}-0"),
        json!({"conditions": [{"type": "Ready", "status": "True"}]}),
    );
    world.settle().await;
    assert!(world.condition("Ready").0 && !world.condition("Stalled").0);
}

#[tokio::test]
async fn a_pod_without_a_place_is_made_anew_when_the_next_one_asks_for_less() {
    let mut huge = table(1000, 1000);
    huge["spec"]["scheduling"] = json!({"cpu": "1000"});
    let mut world = World::with(huge);
    for _ in 0..4 {
        world.pass_of("orders").await.unwrap();
    }
    let pod = world.cluster.names("pods")[0].clone();
    world.nodes.silence(&[&pod]);
    let no_place = json!({"conditions": [
        {"type": "Ready", "status": NOT_READY},
        {"type": "PodScheduled", "status": "False", "message": "3 Insufficient cpu."}]});
    world.cluster.set_pod(NAMESPACE, &pod, no_place);
    let before = uids(&world, "pods");
    world.settle().await;
    assert_eq!(uids(&world, "pods"), before);
    edit(&world, |spec| spec["scheduling"] = Value::Null);
    world.pass_of("orders").await.unwrap();
    world.pass_of("orders").await.unwrap();
    assert_ne!(uids(&world, "pods"), before);
    world.nodes.silence(&[]);
    world.settle().await;
    assert!(world.condition("Ready").0);
}
