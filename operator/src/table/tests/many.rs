//! A hundred tables at once: all become ready, and what that costs the API server is bounded for each of them. And
//! one table that wants more partitions than the operator's setting allows.

use std::collections::BTreeSet;

use serde_json::json;

use crate::testing::world::World;
use crate::testing::{NAMESPACE, table};

const TABLES: usize = 100;
/// Writes for each Table and change, beside those that make its objects and events.
const WRITES_MAX: usize = 5;
/// Writes that make a Partition, beside the object itself: its stores, before its group is made in them; and that it serves.
const BIRTH_WRITES: usize = 2;
/// Rounds over all tables within which they have to settle.
const ROUNDS_MAX: usize = 30;

fn names() -> impl Iterator<Item = String> {
    (0..TABLES).map(|number| format!("many-{number}"))
}

/// One pass over all tables after the other, until nothing is written any more. Which requests wrote something.
async fn rounds(world: &mut World) -> Vec<String> {
    let mut writes = Vec::new();
    world.cluster.take_requests();
    for _ in 0..ROUNDS_MAX {
        let before = world.cluster.version();
        world.pass_of_all(&names().collect::<Vec<_>>()).await.unwrap();
        let requests = world.cluster.take_requests().into_iter();
        writes.extend(requests.filter(|one| !one.starts_with("GET ") && !one.contains("/events")));
        if world.cluster.version() == before {
            return writes;
        }
    }
    panic!("they do not settle");
}

fn is_partition_status(write: &str) -> bool {
    write.contains("/partitions/") && write.ends_with("/status")
}

/// The most writes of one table that made no new object, given the objects that there were before.
fn most_further(writes: &[String], before: &BTreeSet<String>) -> usize {
    let of = |name: &str| {
        let (mut made, mut further) = (before.clone(), 0);
        let own = writes.iter().filter(|one| {
            one.split(['/', ' '])
                .any(|part| part == name || part.starts_with(&format!("t-{name}-")))
        });
        for one in own {
            // The first write of an object's path makes it; a Table is made by a person, a status is no object.
            let makes = !one.contains("/tables/") && !one.ends_with("/status") && made.insert(one.clone());
            further += usize::from(!makes);
        }
        further
    };
    names().map(|name| of(&name)).max().unwrap_or_default()
}

fn all_ready(world: &World) {
    for name in names() {
        assert!(
            world.condition_of(&name, "Ready").0,
            "{name}: {:?}",
            world.condition_of(&name, "Ready")
        );
        assert!(!world.condition_of(&name, "Reconciling").0, "{name}");
    }
}

#[tokio::test]
async fn a_hundred_tables_at_once_are_ready_and_cost_little() {
    let mut world = World::with(table(1000, 100));
    for name in names() {
        let mut one = table(1000, 100);
        one["metadata"]["name"] = json!(name);
        one["spec"]["tableName"] = json!(name);
        world.cluster.put("tables", one);
    }
    let mut writes = rounds(&mut world).await;
    all_ready(&world);
    let births = writes.iter().filter(|one| is_partition_status(one)).count();
    assert_eq!(
        births,
        BIRTH_WRITES * 2 * TABLES,
        "each has a partition, and so has its index"
    );
    writes.retain(|one| !is_partition_status(one));
    let most = most_further(&writes, &BTreeSet::new());
    println!(
        "{TABLES} new tables: {} writes, at most {most} of one beside making its objects",
        writes.len()
    );
    assert!((1..=WRITES_MAX).contains(&most), "{most}");

    let known: BTreeSet<String> = writes.into_iter().collect();
    for name in names() {
        world.cluster.edit("tables", NAMESPACE, &name, |table| {
            table["spec"]["provisionedThroughput"]["writeCapacityUnits"] = json!(900);
        });
    }
    let writes = rounds(&mut world).await;
    all_ready(&world);
    let most = most_further(&writes, &known);
    println!(
        "other units for {TABLES} tables: {} writes, at most {most} of one",
        writes.len()
    );
    assert!((1..=WRITES_MAX).contains(&most), "{most}");
    assert_eq!(
        rounds(&mut world).await,
        Vec::<String>::new(),
        "at rest nothing is written"
    );
}

#[tokio::test]
async fn a_table_has_as_many_partitions_as_the_setting_allows() {
    let mut world = World::with(table(12_000, 100));
    world.limits.partitions_max = 9;
    world.settle().await;
    assert_eq!(world.condition("Ready").2, "10 of 10 partitions are ready");
    let (satisfied, reason, message) = world.condition("CapacitySatisfied");
    assert!(!satisfied && reason == "PartitionsAtMost", "{message}");
    assert!(
        message.starts_with(
            "the table asks for 12 partitions (100 RCU, 12000 WCU and its bytes), and has at most 9 (tables.partitions.maxCount of the chart"
        ),
        "{message}"
    );
    world.restart();
    world.limits.partitions_max = 12;
    world.later(300_000);
    world.settle().await;
    assert_eq!(world.condition("Ready").2, "13 of 13 partitions are ready");
    assert!(world.condition("CapacitySatisfied").0);
}
