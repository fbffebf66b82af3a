//! What becomes of data: retained, adopted, deleted, lost, found again.

use serde_json::{Value, json};

use crate::testing::world::{Pass, World};
use crate::testing::{NAMESPACE, table};

async fn ready() -> World {
    let mut world = World::with(table(4000, 2000));
    world.settle().await;
    world
}

fn id(world: &World) -> String {
    world.table()["status"]["tableId"].as_str().unwrap().to_owned()
}

fn claims(world: &World) -> Vec<String> {
    world.cluster.names("persistentvolumeclaims")
}

fn groups(world: &World) -> Vec<String> {
    let partitions = world.cluster.all("partitions");
    partitions
        .iter()
        .map(|partition| partition["spec"]["group"].as_str().unwrap().to_owned())
        .collect()
}

/// A table whose Table was deleted, with its data retained: its id, its groups.
async fn retained() -> (World, String, Vec<String>) {
    let mut world = ready().await;
    let (id, groups) = (id(&world), groups(&world));
    world.nodes.fill(1000, 5000);
    world.cluster.delete("tables", NAMESPACE, "orders");
    world.settle().await;
    assert_eq!(world.pass_of("orders").await.unwrap(), Pass::NoTable);
    assert_eq!(world.cluster.names("statefulsets"), Vec::<String>::new());
    assert_eq!(claims(&world).len(), 4);
    (world, id, groups)
}

#[tokio::test]
async fn retained_data_is_never_taken_up_by_accident() {
    let (mut world, id, _) = retained().await;
    world.cluster.put("tables", table(4000, 2000));
    world.settle().await;
    let (stalled, reason, message) = world.condition("Stalled");
    assert!(stalled);
    assert_eq!(reason, "RetainedDataFound");
    assert!(
        message.contains(&format!("bootstrap: {{adopt: \"{id}\"}}")),
        "{message}"
    );
    assert!(
        message.contains(&format!("kubectl -n shop delete pvc -l partita.dev/table-id={id}")),
        "{message}"
    );
    assert!(!world.condition("Ready").0);
    assert_eq!(world.cluster.names("statefulsets"), Vec::<String>::new());
    // A person deletes the data: the table begins.
    for claim in claims(&world) {
        world.cluster.delete("persistentvolumeclaims", NAMESPACE, &claim);
    }
    world.settle().await;
    assert!(world.condition("Ready").0);
    assert_ne!(self::id(&world), id);
}

#[tokio::test]
async fn a_table_of_the_api_begins_empty() {
    let (mut world, id, _) = retained().await;
    let mut made = table(4000, 2000);
    made["metadata"]["labels"] = json!({"partita.dev/created-by": "api"});
    world.cluster.put("tables", made);
    world.settle().await;
    assert!(world.condition("Ready").0);
    assert_ne!(self::id(&world), id);
    assert_eq!(claims(&world).len(), 8);
    assert_eq!(world.table()["status"]["state"]["owner"], "Api");
}

fn adopting(id: &str) -> Value {
    let mut table = table(4000, 2000);
    table["spec"]["bootstrap"] = json!({"adopt": id});
    table
}

fn another_key() -> Value {
    json!([{"attributeName": "status", "keyType": "HASH"}, {"attributeName": "id", "keyType": "RANGE"}])
}

#[tokio::test]
async fn data_is_adopted_on_purpose() {
    let (mut world, id, groups) = retained().await;
    world.cluster.take_events();
    world.cluster.put("tables", adopting(&id));
    world.settle().await;
    assert_eq!(
        world.condition("Ready"),
        (true, "Ready".into(), "6 of 6 partitions are ready".into())
    );
    assert_eq!(self::id(&world), id);
    assert_eq!(self::groups(&world), groups);
    assert_eq!(claims(&world).len(), 4);
    assert_eq!(world.table()["status"]["itemCount"], 4000);
    assert!(world.nodes.made().values().all(|times| *times == 1));
    let reasons: Vec<String> = world
        .cluster
        .take_events()
        .into_iter()
        .map(|(reason, _)| reason)
        .collect();
    assert_eq!(reasons, ["Adopted", "Ready"]);
}

#[tokio::test]
async fn an_adoption_killed_at_any_write_goes_on() {
    let mut kills = 0;
    loop {
        let (mut world, id, groups) = retained().await;
        world.cluster.put("tables", adopting(&id));
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
        assert!(world.condition("Ready").0, "killed at {kills}: {:#?}", world.table());
        assert_eq!(self::groups(&world), groups);
        assert!(world.nodes.made().values().all(|times| *times == 1));
        if !killed {
            break;
        }
        kills += 1;
    }
    assert!(kills > 15, "there were only {kills} writes to be killed at");
}

#[tokio::test]
async fn what_cannot_be_adopted_is_refused() {
    let (mut world, id, _) = retained().await;
    world.cluster.put("tables", adopting("00000000000000aa"));
    world.settle().await;
    assert_eq!(world.condition("Stalled").1, "NothingToAdopt");
    // Another key.
    let mut other = adopting(&id);
    other["spec"]["keySchema"] = another_key();
    world.cluster.put("tables", other);
    world.settle().await;
    let (_, reason, message) = world.condition("Stalled");
    assert_eq!(reason, "AdoptionRefused");
    assert!(
        message.ends_with("spec.keySchema: a table's key schema cannot change"),
        "{message}"
    );
    // A claim is gone.
    let gone = claims(&world)[1].clone();
    world.cluster.delete("persistentvolumeclaims", NAMESPACE, &gone);
    for set in world.cluster.names("statefulsets") {
        world.cluster.delete("statefulsets", NAMESPACE, &set);
    }
    world.cluster.put("tables", adopting(&id));
    world.settle().await;
    let (_, reason, message) = world.condition("Stalled");
    assert_eq!(reason, "AdoptionRefused");
    assert!(
        message.contains("no partition has the keys between those of the groups "),
        "{message}"
    );
    assert!(
        world.nodes.made().values().all(|times| *times == 1),
        "nothing was made for it"
    );
}

#[tokio::test]
async fn a_table_under_delete_goes_with_its_data() {
    let mut kills = 0;
    loop {
        let mut world = ready().await;
        world.cluster.edit("tables", NAMESPACE, "orders", |table| {
            table["spec"]["deletionPolicy"] = json!("Delete")
        });
        world.settle().await;
        world.cluster.delete("tables", NAMESPACE, "orders");
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
        assert_eq!(world.cluster.names("tables"), Vec::<String>::new());
        assert_eq!(claims(&world), Vec::<String>::new());
        assert_eq!(world.cluster.names("partitions"), Vec::<String>::new());
        if !killed {
            break;
        }
        kills += 1;
    }
    assert!(kills > 8, "there were only {kills} writes to be killed at");
}

#[tokio::test]
async fn a_table_that_waits_for_its_data_does_not_delete_it() {
    let (mut world, id, _) = retained().await;
    let mut other = adopting(&id);
    other["spec"]["keySchema"] = another_key();
    other["spec"]["deletionPolicy"] = json!("Delete");
    world.cluster.put("tables", other);
    world.settle().await;
    assert_eq!(world.condition("Stalled").1, "AdoptionRefused");
    world.cluster.delete("tables", NAMESPACE, "orders");
    world.settle().await;
    assert_eq!(world.cluster.names("tables"), Vec::<String>::new());
    assert_eq!(claims(&world).len(), 4);
}

#[tokio::test]
async fn a_protected_or_paused_table_is_not_deleted() {
    for (field, reason) in [("deletionProtectionEnabled", "DeletionProtected"), ("paused", "Paused")] {
        let mut world = ready().await;
        world.cluster.edit("tables", NAMESPACE, "orders", |table| {
            table["spec"][field] = json!(true)
        });
        world.settle().await;
        world.cluster.delete("tables", NAMESPACE, "orders");
        world.settle().await;
        let (stalled, why, message) = world.condition("Stalled");
        assert!(stalled && why == reason && message.contains(field), "{why}: {message}");
        world.cluster.edit("tables", NAMESPACE, "orders", |table| {
            table["spec"][field] = json!(false)
        });
        world.settle().await;
        assert_eq!(world.cluster.names("tables"), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_protected_table_goes_on_though_it_was_deleted_in_the_foreground() {
    let mut world = ready().await;
    world.cluster.edit("tables", NAMESPACE, "orders", |table| {
        table["spec"]["deletionProtectionEnabled"] = json!(true)
    });
    world.settle().await;
    let (groups, sets) = (groups(&world), world.cluster.names("statefulsets"));
    for kind in ["statefulsets", "services", "partitions", "poddisruptionbudgets"] {
        for child in world.cluster.all(kind) {
            let owner = &child["metadata"]["ownerReferences"][0];
            assert_eq!(owner["blockOwnerDeletion"], json!(false), "{kind}");
        }
    }
    world.cluster.delete("tables", NAMESPACE, "orders");
    // The garbage collector does not ask what else holds the Table.
    for kind in ["statefulsets", "services", "partitions", "poddisruptionbudgets"] {
        for name in world.cluster.names(kind) {
            world.cluster.delete(kind, NAMESPACE, &name);
        }
    }
    world.settle().await;
    assert!(world.condition("Ready").0, "{:?}", world.condition("Ready"));
    assert_eq!(
        (self::groups(&world), world.cluster.names("statefulsets")),
        (groups, sets)
    );
    let (stalled, reason, message) = world.condition("Stalled");
    assert!(
        stalled && reason == "DeletionProtected" && message.contains("bootstrap.adopt"),
        "{message}"
    );
    assert_eq!(world.table()["status"]["tableStatus"], "ACTIVE");
}

#[tokio::test]
async fn a_replaced_store_is_a_loss_and_nothing_is_made_in_it() {
    let mut world = ready().await;
    let node = world.cluster.names("statefulsets")[3].clone();
    let pod = format!("{node}-0");
    let mut before = None;
    world.nodes.store_of(&pod, |store| {
        before = Some(store.clone());
        store.uuid = "another".into();
        store.groups.clear();
    });
    world.later(6 * 60 * 1000);
    world.settle().await;
    let (stalled, reason, message) = world.condition("Stalled");
    assert!(stalled);
    assert_eq!(reason, "StoreLost");
    assert!(
        message.contains(&node) && message.contains("the node has the store another"),
        "{message}"
    );
    assert!(!world.condition("Ready").0);
    assert_eq!(
        world.cluster.get("partitions", NAMESPACE, &node).unwrap()["status"]["phase"],
        "Lost"
    );
    world
        .nodes
        .store_of(&pod, |store| assert!(store.groups.is_empty(), "never anew"));
    // Its volume is put back.
    world.nodes.store_of(&pod, |store| *store = before.unwrap());
    world.settle().await;
    assert!(world.condition("Ready").0 && !world.condition("Stalled").0);
}

#[tokio::test]
async fn lost_resources_are_made_again_from_the_stores() {
    let mut world = ready().await;
    let groups = groups(&world);
    for partition in world.cluster.names("partitions") {
        world.cluster.delete("partitions", NAMESPACE, &partition);
    }
    let set = world.cluster.names("statefulsets")[0].clone();
    world.cluster.delete("statefulsets", NAMESPACE, &set);
    world.settle().await;
    assert!(world.condition("Ready").0, "{:?}", world.condition("Ready"));
    assert_eq!(self::groups(&world), groups);
    assert!(world.nodes.made().values().all(|times| *times == 1));
    // Even the record.
    world.cluster.set_state(NAMESPACE, "orders", Value::Null);
    world.settle().await;
    assert!(world.condition("Ready").0, "{:?}", world.condition("Stalled"));
    assert_eq!(self::groups(&world), groups);
    assert!(world.nodes.made().values().all(|times| *times == 1));
}
