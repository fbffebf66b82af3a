//! Merges that have begun come to an end, whatever happens meanwhile: a partition that stands still serves nobody. And splits that
//! are not possible yet, which nothing waits for.

use serde_json::json;

use super::growth::{COOL_DOWN_MS, TOO_MANY_BYTES, by_hand, check, decisions, group, of_table, ready, set_units};
use crate::nodes::{Call, NodeError};
use crate::testing::NAMESPACE;
use crate::testing::world::World;

const SECOND_MS: u64 = 1000;
const MINUTE_MS: u64 = 60 * SECOND_MS;

/// A table whose two partitions are about to be one.
async fn about_to_merge() -> World {
    let mut world = ready(2000, 3).await;
    set_units(&world, 1000);
    world.settle().await;
    world.later(COOL_DOWN_MS);
    world
}

/// The same, and the source stands still: nobody has heard what came of the merge.
async fn begun() -> World {
    let mut world = about_to_merge().await;
    world.nodes.fail("merge", NodeError::Silent);
    for _ in 0..60 {
        world.pass_of("orders").await.unwrap();
        if world.nodes.stands_still() {
            return world;
        }
    }
    panic!("no merge begins: {:#?}", world.table());
}

fn edit(world: &World, field: &str, value: serde_json::Value) {
    world.cluster.edit("tables", NAMESPACE, "orders", |table| {
        table["spec"][field] = value;
    });
}

#[tokio::test]
async fn a_begun_merge_comes_before_a_change_of_the_specification() {
    let mut world = begun().await;
    edit(&world, "timeToLive", json!({"attributeName": "until", "enabled": true}));
    for _ in 0..3 {
        world.pass_of("orders").await.unwrap();
    }
    assert!(world.nodes.stands_still());
    world.nodes.heal("merge");
    world.settle().await;
    assert!(!world.nodes.stands_still());
    check(&world, 1, 3);
    assert_eq!(world.table()["status"]["state"]["time_to_live"], "Enabled");
}

#[tokio::test]
async fn a_begun_merge_is_given_up_where_nothing_is_to_be_changed() {
    let mut world = begun().await;
    edit(&world, "paused", json!(true));
    world.nodes.heal("merge");
    world.settle().await;
    assert!(!world.nodes.stands_still());
    assert_eq!(of_table(&world).len(), 2, "nothing else is changed");
    assert_eq!(world.condition("Stalled").1, "Paused");
    edit(&world, "paused", json!(false));
    for _ in 0..2 {
        world.later(6 * MINUTE_MS);
        world.settle().await;
    }
    check(&world, 1, 3);
}

#[tokio::test]
async fn a_begun_merge_is_given_up_where_a_partition_is_missing() {
    let mut world = begun().await;
    let absorber = of_table(&world).remove(0);
    let name = absorber["metadata"]["name"].as_str().unwrap();
    world.cluster.delete("partitions", NAMESPACE, name);
    world.nodes.heal("merge");
    world.settle().await;
    assert!(!world.nodes.stands_still());
    assert!(world.condition("Ready").0, "{:?}", world.condition("Ready"));
}

#[tokio::test]
async fn an_absorber_that_is_busy_does_not_keep_its_source_waiting() {
    let mut world = about_to_merge().await;
    world.nodes.fail("merge", NodeError::Busy);
    for _ in 0..60 {
        world.pass_of("orders").await.unwrap();
        assert!(!world.nodes.stands_still(), "given up in the pass that began it");
    }
    let told = decisions(&world);
    assert!(told.iter().any(|one| one.contains("is not merged: ")), "{told:?}");
}

#[tokio::test]
async fn a_source_is_let_go_however_often_that_has_to_be_asked_for() {
    let mut world = about_to_merge().await;
    world.nodes.fail("merge", NodeError::Busy);
    world.nodes.fail("thaw", NodeError::NotYet);
    for _ in 0..60 {
        world.pass_of("orders").await.unwrap();
        if world.nodes.stands_still() {
            break;
        }
    }
    for _ in 0..3 {
        world.later(10 * SECOND_MS);
        world.pass_of("orders").await.unwrap();
    }
    let (ready, reason, message) = world.condition("Ready");
    assert!(!ready, "it serves nobody, and that is told");
    assert_eq!(reason, "PartitionsUnavailable");
    assert!(message.contains("it stands still for the merge"), "{message}");
    world.nodes.heal("thaw");
    world.later(SECOND_MS);
    world.pass_of("orders").await.unwrap();
    assert!(!world.nodes.stands_still());
    world.nodes.heal("merge");
    world.later(6 * MINUTE_MS);
    world.settle().await;
    check(&world, 1, 3);
}

#[tokio::test]
async fn a_merge_by_hand_that_nobody_goes_on_with_is_given_up_after_a_while() {
    let mut world = ready(2000, 3).await;
    let own = of_table(&world);
    let (absorber, source) = (group(&own[0]), group(&own[1]));
    let id = "00000000-0000-0000-0000-000000000001".to_owned();
    world.nodes.tell(source, &Call::Freeze(source, absorber, id));
    world.later(6 * MINUTE_MS);
    for _ in 0..3 {
        world.pass_of("orders").await.unwrap();
        assert!(world.nodes.stands_still(), "it is a person's");
        world.later(10 * SECOND_MS);
    }
    assert!(!world.condition("Ready").0);
    world.later(3 * MINUTE_MS);
    world.settle().await;
    assert!(!world.nodes.stands_still());
    check(&world, 2, 3);
}

#[tokio::test]
async fn a_split_that_is_not_possible_yet_is_asked_for_less_and_less_often() {
    let mut world = ready(1000, 3).await;
    let parent = group(&of_table(&world)[0]);
    let split = Call::Split(parent, Box::new(by_hand(1, 0x40, 77)));
    world.nodes.tell(parent, &split);
    world.nodes.fill(1_000_000, TOO_MANY_BYTES);
    world.nodes.fail("split", NodeError::Busy);
    world.later(6 * MINUTE_MS);
    world.nodes.take_calls();
    let mut asked = 0;
    for _ in 0..300 {
        world.pass_of("orders").await.unwrap();
        world.later(SECOND_MS);
        asked += world
            .nodes
            .take_calls()
            .iter()
            .filter(|call| call.starts_with("split "))
            .count();
    }
    // Three partitions with too many bytes: at once, after 30 s, 90 s, 210 s.
    assert!((9..=12).contains(&asked), "{asked}");
    assert_eq!(
        world.cluster.names("statefulsets").len(),
        2,
        "the piece has moved meanwhile"
    );
    let events = world.cluster.take_events();
    assert!(events.len() < 12, "{events:#?}");
    let told = decisions(&world);
    assert!(told.iter().any(|one| one.starts_with("NotYet: ")), "{told:?}");
    // What is measured every five minutes.
    world.later(6 * MINUTE_MS);
    world.pass_of("orders").await.unwrap();
    world.cluster.take_requests();
    for _ in 0..10 {
        world.pass_of("orders").await.unwrap();
        world.later(30 * SECOND_MS);
    }
    let mut written = world.cluster.take_requests();
    written.retain(|request| !request.starts_with("GET"));
    assert_eq!(written, Vec::<String>::new(), "nothing is written about it");
    world.nodes.heal("split");
    world.later(6 * MINUTE_MS);
    world.settle().await;
    // What has moved is not too large any more: stores in memory do not count what they receive.
    check(&world, 3, 3);
}
