//! What is said of partitions names them, and no key: where a range begins is users' data.

use partita_model::admin::{Split, SplitPlace};
use partita_model::key::KeyBytes;
use partita_model::partition::GroupId;

use super::growth::{group, of_table, ready, text};
use crate::nodes::Call;
use crate::testing::NAMESPACE;
use crate::testing::world::World;

const USER: &[u8] = b"a-user-of-ours";

/// All that people read of the table: conditions, decisions, messages of Partitions, and the events since the last time.
fn said(world: &World) -> String {
    let status = world.table()["status"].clone();
    let mut said = vec![status["conditions"].to_string(), status["decisions"].to_string()];
    let partitions = world.cluster.all("partitions");
    said.extend(partitions.iter().map(|partition| text(&partition["status"]["message"])));
    said.extend(world.cluster.take_events().into_iter().map(|(_, note)| note));
    let said = said.join("\n");
    let key = [hex::encode(USER), String::from_utf8_lossy(USER).into_owned()];
    assert!(key.iter().all(|key| !said.contains(key)), "{said}");
    said
}

#[tokio::test]
async fn splits_and_missing_partitions_are_told_without_keys() {
    let mut world = ready(1000, 1).await;
    let parent = of_table(&world)[0].clone();
    let (name, id) = (text(&parent["metadata"]["name"]), group(&parent));
    let split = Split {
        expected_epoch: Some(1),
        at: SplitPlace::Key(KeyBytes([&[0x80], USER].concat())),
        child: GroupId(77),
    };
    world.nodes.tell(id, &Call::Split(id, Box::new(split)));
    world.later(6 * 60 * 1000);
    world.settle().await;
    let child = text(&of_table(&world)[1]["metadata"]["name"]);
    let words = format!("{name} was split: {child} has its upper keys");
    assert!(said(&world).contains(&words), "{words}");
    // Nobody has the child any more.
    world
        .nodes
        .store_of(&format!("{child}-0"), |store| store.groups.clear());
    world.cluster.delete("partitions", NAMESPACE, &child);
    world.settle().await;
    assert_eq!(world.condition("Stalled").1, "StoreLost");
    let words = format!("no partition has the keys behind those of the group {:016x}", id.0);
    assert!(said(&world).contains(&words), "{words}");
}
