//! Units that follow the use: from what the nodes say that they have served to the record, the status and the events.

use serde_json::{Value, json};

use crate::testing::table;
use crate::testing::world::World;

const MINUTE_MS: u64 = 60_000;

/// A table whose write units follow its use, and whose index has a range for both.
fn ranged() -> Value {
    let mut table = table(1000, 1000);
    let spec = &mut table["spec"];
    spec["provisionedThroughput"] = json!({"readCapacityUnits": 100});
    spec["autoscaling"] = json!({"write": {"min": 100, "max": 900}});
    let index = &mut spec["globalSecondaryIndexes"][0];
    index.as_object_mut().unwrap().remove("provisionedThroughput");
    index["autoscaling"] = json!({"read": {"min": 5, "max": 50}, "write": {"min": 50, "max": 500}});
    table
}

async fn ready() -> World {
    let mut world = World::with(ranged());
    world.settle().await;
    assert!(world.condition("Ready").0, "{:#?}", world.table());
    // What groups have served is counted from the first time that they are seen.
    minute(&mut world, 0, 0).await;
    world
}

/// A minute in which the table serves so many writes in each second, each with so many for the index.
async fn minute(world: &mut World, writes: u64, index_writes: u64) {
    for group in world.nodes.groups() {
        let Some(schema) = group.descriptor.schema() else {
            continue;
        };
        let index = schema.global[0].id;
        let node = world.cluster.names("pods").remove(0);
        world.nodes.store_of(&node, |store| {
            let state = store
                .groups
                .iter_mut()
                .find(|state| state.descriptor.group == group.descriptor.group);
            let load = &mut state.unwrap().load;
            load.write_half_units += writes * 2 * 60;
            *load.index_half_units.entry(index).or_default() += index_writes * 2 * 60;
        });
    }
    world.later(MINUTE_MS);
    world.settle().await;
}

fn units(world: &World) -> (i64, i64, i64) {
    let effective = &world.table()["status"]["effectiveThroughput"];
    let number = |value: &Value| value.as_i64().unwrap();
    let index = &effective["globalSecondaryIndexes"][0];
    (
        number(&effective["readCapacityUnits"]),
        number(&effective["writeCapacityUnits"]),
        number(&index["writeCapacityUnits"]),
    )
}

#[tokio::test]
async fn units_begin_at_the_minimum_grow_quickly_and_shrink_carefully() {
    let mut world = ready().await;
    let written = world.table()["spec"].clone();
    assert_eq!(units(&world), (100, 100, 50));
    world.cluster.take_events();

    minute(&mut world, 100, 10).await;
    assert_eq!(units(&world), (100, 100, 50), "one minute may be an accident");
    minute(&mut world, 100, 10).await;
    assert_eq!(units(&world), (100, 143, 50));
    let why = "write units 100 → 143: 100 units/s were used for 2 min, more than the target of 70 %";
    assert_eq!(world.cluster.take_events(), [("ScaledOut".to_owned(), why.to_owned())]);
    let decision = world.table()["status"]["decisions"][0].clone();
    assert_eq!(
        (&decision["action"], &decision["reason"]),
        (&json!("ScaledOut"), &json!(why))
    );

    for _ in 0..6 {
        minute(&mut world, 2000, 10).await;
    }
    assert_eq!(units(&world).1, 900, "never above the maximum");
    for _ in 0..14 {
        minute(&mut world, 7, 10).await;
    }
    assert_eq!(units(&world).1, 900);
    for _ in 0..3 {
        minute(&mut world, 7, 10).await;
    }
    assert_eq!(units(&world), (100, 100, 50));
    assert_eq!(world.table()["status"]["decisions"][0]["action"], "ScaledIn");
    assert_eq!(world.table()["spec"], written, "the manifest stays as it was written");
    assert!(world.condition("Ready").0);
}

#[tokio::test]
async fn an_index_follows_its_own_use() {
    let mut world = ready().await;
    for _ in 0..3 {
        minute(&mut world, 10, 70).await;
    }
    assert_eq!(units(&world), (100, 100, 100));
    let reason = world.table()["status"]["decisions"][0]["reason"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(reason.starts_with("index byStatus write units 50 → 100: "), "{reason}");
}

#[tokio::test]
async fn at_rest_nothing_is_written_though_the_nodes_are_asked_every_minute() {
    let mut world = ready().await;
    for _ in 0..4 {
        minute(&mut world, 60, 30).await;
    }
    let version = world.cluster.version();
    for _ in 0..4 {
        world.later(MINUTE_MS);
        world.pass_of("orders").await.unwrap();
    }
    assert_eq!(world.cluster.version(), version);
}

#[tokio::test]
async fn a_new_range_counts_at_once_and_a_restart_waits_for_minutes_of_its_own() {
    let mut world = ready().await;
    let edit = |world: &World, range: Value| {
        let set = |table: &mut Value| table["spec"]["autoscaling"]["write"] = range;
        world.cluster.edit("tables", crate::testing::NAMESPACE, "orders", set);
    };
    edit(&world, json!({"min": 300, "max": 900}));
    world.settle().await;
    assert_eq!(units(&world).1, 300);
    edit(&world, json!({"min": 1, "max": 200}));
    world.settle().await;
    assert_eq!(units(&world).1, 200);
    minute(&mut world, 190, 10).await;
    world.restart();
    minute(&mut world, 190, 10).await;
    minute(&mut world, 190, 10).await;
    assert_eq!(units(&world).1, 200, "at its maximum already");
    edit(&world, json!({"min": 1, "max": 900}));
    world.settle().await;
    minute(&mut world, 190, 10).await;
    assert_eq!(units(&world).1, 272);
}

#[tokio::test]
async fn a_range_may_take_the_place_of_units_and_the_other_way_round() {
    let mut world = World::with(table(1000, 1000));
    world.settle().await;
    world
        .cluster
        .edit("tables", crate::testing::NAMESPACE, "orders", |table| {
            table["spec"]["provisionedThroughput"] = json!({"readCapacityUnits": 100});
            table["spec"]["autoscaling"] = json!({"write": {"min": 10, "max": 5000}});
        });
    world.settle().await;
    assert_eq!(units(&world).1, 1000, "it goes on from what there was");
    world
        .cluster
        .edit("tables", crate::testing::NAMESPACE, "orders", |table| {
            table["spec"]["provisionedThroughput"] = json!({"readCapacityUnits": 100, "writeCapacityUnits": 7});
            table["spec"].as_object_mut().unwrap().remove("autoscaling");
        });
    world.settle().await;
    assert_eq!(units(&world).1, 7);
}
