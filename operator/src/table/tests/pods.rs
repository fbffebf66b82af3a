//! What the pods of storage nodes have by the operator's settings, and by their Table's specification.

use serde_json::{Value, json};

use crate::settings::StoragePods;
use crate::testing::world::World;
use crate::testing::{NAMESPACE, table};

fn pods() -> StoragePods {
    let pods = json!({
        "nodeSelector": {"pool": "data"},
        "tolerations": [{"key": "data", "operator": "Exists"}],
        "topology": "Required",
        "priorityClassName": "of-all",
        "affinity": {
            "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["nvme"]}]}]}},
            "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": "rack", "labelSelector": {"matchLabels": {"loud": "true"}}}]},
        },
        "labels": {"team": "data", "app.kubernetes.io/name": "another"},
        "annotations": {"example.com/mesh": "off"},
    });
    StoragePods::parse(&pods.to_string()).unwrap()
}

/// What the pods are made from.
fn template(world: &World) -> Value {
    world.cluster.all("statefulsets")[0]["spec"]["template"].clone()
}

fn required(pod: &Value) -> Vec<Value> {
    let apart = &pod["affinity"]["podAntiAffinity"];
    let required = &apart["requiredDuringSchedulingIgnoredDuringExecution"];
    let terms = required.as_array().cloned().unwrap_or_default();
    terms.into_iter().map(|term| term["topologyKey"].clone()).collect()
}

#[tokio::test]
async fn pods_have_what_the_operator_is_told() {
    let mut world = World::with(table(1000, 1000));
    world.storage_pods = pods();
    world.settle().await;
    assert!(world.condition("Ready").0);
    let (metadata, pod) = (template(&world)["metadata"].clone(), template(&world)["spec"].clone());
    assert_eq!(pod["nodeSelector"], json!({"pool": "data"}));
    assert_eq!(pod["tolerations"][0]["key"], "data");
    assert_eq!(pod["priorityClassName"], "of-all");
    let nodes = &pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    assert_eq!(nodes["nodeSelectorTerms"][0]["matchExpressions"][0]["key"], "disk");
    assert_eq!(
        required(&pod),
        ["kubernetes.io/hostname", "rack"],
        "its own rule comes first"
    );
    assert_eq!(metadata["labels"]["team"], "data");
    assert_eq!(
        metadata["labels"]["app.kubernetes.io/name"], "partita",
        "they are found by it"
    );
    assert_eq!(metadata["annotations"]["example.com/mesh"], "off");
}

#[tokio::test]
async fn what_a_table_says_takes_the_place_of_it() {
    let mut own = table(1000, 1000);
    own["spec"]["scheduling"] = json!({
        "nodeSelector": {"zone": "a"},
        "tolerations": [{"key": "own", "operator": "Exists"}],
        "topology": "Preferred",
        "priorityClassName": "own",
    });
    let mut world = World::with(own);
    world.storage_pods = pods();
    world.settle().await;
    let pod = template(&world)["spec"].clone();
    assert_eq!(pod["nodeSelector"], json!({"zone": "a"}));
    assert_eq!(pod["tolerations"].as_array().unwrap().len(), 1);
    assert_eq!(pod["tolerations"][0]["key"], "own");
    assert_eq!(pod["priorityClassName"], "own");
    assert_eq!(required(&pod), ["rack"]);
}

#[tokio::test]
async fn other_settings_restart_the_pods_in_their_turn() {
    let mut world = World::with(table(1000, 1000));
    world.settle().await;
    let before = template(&world);
    let uid = |world: &World| world.cluster.all("pods")[0]["metadata"]["uid"].clone();
    let pod = uid(&world);
    world.restart();
    world.settle().await;
    assert_eq!(
        (template(&world), uid(&world)),
        (before, pod.clone()),
        "nothing has changed"
    );
    world.storage_pods = pods();
    world.cluster.edit("tables", NAMESPACE, "orders", |table| {
        table["metadata"]["annotations"] = json!({"looked": "at"});
    });
    world.settle().await;
    assert_eq!(template(&world)["spec"]["nodeSelector"], json!({"pool": "data"}));
    assert_ne!(uid(&world), pod);
    assert!(world.condition("Ready").0 && !world.condition("Reconciling").0);
}
