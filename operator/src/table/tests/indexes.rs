//! Global indexes that are removed while storage nodes are away.

use partita_model::admin::GroupState;
use partita_model::partition::{GroupId, PartitionKind};
use partita_model::schema::IndexId;
use serde_json::{Value, json};

use crate::testing::world::World;
use crate::testing::{NAMESPACE, table};

/// Three replicas of a partition and of its index's.
async fn ready() -> World {
    let mut table = table(1000, 1000);
    table["spec"]["replicas"] = json!(3);
    let mut world = World::with(table);
    world.settle().await;
    assert!(world.condition("Ready").0);
    world.cluster.take_events();
    world
}

fn remove_index(world: &World) {
    world.cluster.edit("tables", NAMESPACE, "orders", |table| {
        table["spec"]["attributeDefinitions"]
            .as_array_mut()
            .unwrap()
            .truncate(1);
        table["spec"]["globalSecondaryIndexes"] = json!([]);
    });
}

fn pod(world: &World, ordinal: usize) -> String {
    format!("{}-{ordinal}", world.cluster.names("statefulsets")[0])
}

fn indexes(world: &World) -> Vec<Value> {
    let state = world.table()["status"]["state"].clone();
    state["global"].as_array().cloned().unwrap_or_default()
}

/// Replicas of groups of indexes, wherever they are.
fn left(world: &World) -> Vec<GroupState> {
    let mut left = world.nodes.groups();
    left.retain(|group| matches!(group.descriptor.kind, PartitionKind::Index { .. }));
    left
}

#[tokio::test]
async fn an_index_goes_without_a_storage_node_that_is_away_and_from_there_when_it_is_back() {
    let mut world = ready().await;
    let away = pod(&world, 1);
    world.nodes.silence(&[&away]);
    remove_index(&world);
    world.settle().await;
    assert_eq!(indexes(&world), Vec::<Value>::new());
    assert_eq!(world.cluster.names("partitions").len(), 1);
    let reasons: Vec<String> = world.cluster.take_events().into_iter().map(|(one, _)| one).collect();
    assert!(reasons.contains(&"IndexRemoved".to_owned()), "{reasons:?}");
    assert_eq!(left(&world).len(), 1, "nobody reaches it there");
    // Whatever else is wanted of the table goes on.
    world.cluster.edit("tables", NAMESPACE, "orders", |table| {
        table["spec"]["timeToLive"] = json!({"attributeName": "until", "enabled": true});
    });
    world.settle().await;
    assert_eq!(world.table()["status"]["state"]["time_to_live"], "Enabled");
    // The operator that comes after it has seen nothing of that.
    world.restart();
    world.nodes.silence(&[]);
    world.settle().await;
    assert_eq!(left(&world), Vec::new());
    assert_eq!(world.nodes.groups().len(), 3, "the table's own stay");
    assert!(world.condition("Ready").0 && !world.condition("Reconciling").0);
}

#[tokio::test]
async fn while_a_partition_cannot_hear_that_an_index_goes_it_is_said_what_is_waited_for() {
    let mut world = ready().await;
    let away = [pod(&world, 1), pod(&world, 2)];
    world.nodes.silence(&[&away[0], &away[1]]);
    remove_index(&world);
    world.settle().await;
    assert_eq!(indexes(&world)[0]["phase"], "Removing");
    assert_eq!(left(&world).len(), 3, "what may still be written to stays");
    let (holds, _, message) = world.condition("Reconciling");
    let host = &world.cluster.names("statefulsets")[0];
    let words = format!(
        "waiting for {host} to have a leader (the storage node {} does not answer",
        away[0]
    );
    assert!(holds && message.contains(&words), "{message}");
    world.nodes.silence(&[]);
    world.settle().await;
    assert_eq!(indexes(&world), Vec::<Value>::new());
    assert_eq!(left(&world), Vec::new());
}

#[tokio::test]
async fn what_an_index_has_left_goes_and_what_the_record_has_not_heard_of_stays() {
    let mut world = ready().await;
    let former = left(&world)[0].clone();
    remove_index(&world);
    world.settle().await;
    let of = |number: u16, group: u64| {
        let mut group_of = former.clone();
        group_of.descriptor.group = GroupId(group);
        let PartitionKind::Index { index, .. } = &mut group_of.descriptor.kind else {
            panic!("it is an index's")
        };
        index.id = IndexId(number);
        group_of
    };
    let first = pod(&world, 0);
    world
        .nodes
        .store_of(&first, |store| store.groups.extend([of(1, 71), of(2, 72)]));
    // At rest the nodes are asked every five minutes.
    world.later(300_000);
    world.settle().await;
    let groups: Vec<u64> = left(&world).iter().map(|group| group.descriptor.group.0).collect();
    assert_eq!(groups, [72], "the next index of the table will be number 2");
}
