//! Partitions that become more and fewer: split by hand or by intention, moved, merged.

use partita_model::admin::{Split, SplitPlace};
use partita_model::hexadecimal::parse_id;
use partita_model::key::KeyBytes;
use partita_model::partition::GroupId;
use partita_model::table::Throughput;
use serde_json::{Value, json};

use crate::nodes::Call;
use crate::testing::world::{Pass, World, killed_anywhere};
use crate::testing::{NAMESPACE, table};

/// How long neighbours are left alone before they are merged, and more.
pub const COOL_DOWN_MS: u64 = 61 * 60 * 1000;
/// So many bytes are too many for a partition.
pub const TOO_MANY_BYTES: u64 = 15_000_000_000;

/// A table with so many write units, and an index with one partition.
fn of(units: u64, replicas: u32) -> Value {
    let mut table = table(units, 100);
    table["spec"]["replicas"] = json!(replicas);
    table
}

pub async fn ready(units: u64, replicas: u32) -> World {
    let mut world = World::with(of(units, replicas));
    world.settle().await;
    assert!(world.condition("Ready").0);
    world.cluster.take_events();
    world
}

pub fn set_units(world: &World, units: u64) {
    world.cluster.edit("tables", NAMESPACE, "orders", |table| {
        table["spec"]["provisionedThroughput"]["writeCapacityUnits"] = json!(units);
    });
}

/// The table is on demand from now on, its index too.
pub fn set_on_demand(world: &World) {
    world.cluster.edit("tables", NAMESPACE, "orders", |table| {
        let spec = &mut table["spec"];
        spec["billingMode"] = json!("PAY_PER_REQUEST");
        spec.as_object_mut().unwrap().remove("provisionedThroughput");
        spec["globalSecondaryIndexes"][0]
            .as_object_mut()
            .unwrap()
            .remove("provisionedThroughput");
    });
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

pub fn group(partition: &Value) -> GroupId {
    GroupId(parse_id(partition["spec"]["group"].as_str().unwrap()).unwrap())
}

/// The Partitions of the table itself, in key order.
pub fn of_table(world: &World) -> Vec<Value> {
    let mut own = world.cluster.all("partitions");
    own.retain(|partition| partition["spec"]["indexId"].is_null());
    own.sort_by_key(|partition| text(&partition["spec"]["start"]));
    own
}

/// What must be true whenever all is well: so many partitions of the table, on storage nodes of their own, with so many
/// replicas each; each key has one, and nobody has anything else.
pub fn check(world: &World, partitions: usize, replicas: usize) {
    assert!(world.condition("Ready").0, "{:?}", world.condition("Ready"));
    for kind in ["Reconciling", "Stalled", "QuorumLost"] {
        assert!(!world.condition(kind).0, "{kind}: {:?}", world.condition(kind));
    }
    assert_eq!(world.kstatus(), "Current");
    let own = of_table(world);
    assert_eq!(own.len(), partitions, "{own:#?}");
    assert_eq!(text(&own[0]["spec"]["start"]), "");
    assert_eq!(text(&own[partitions - 1]["spec"]["end"]), "");
    for pair in own.windows(2) {
        assert_eq!(pair[0]["spec"]["end"], pair[1]["spec"]["start"]);
    }
    let mut hosts: Vec<String> = own.iter().map(|partition| text(&partition["spec"]["host"])).collect();
    hosts.sort();
    hosts.dedup();
    assert_eq!(hosts.len(), partitions);
    for kind in ["statefulsets", "services", "poddisruptionbudgets"] {
        assert_eq!(world.cluster.names(kind), hosts, "{kind}");
    }
    assert_eq!(world.cluster.names("pods").len(), partitions * replicas);
    assert_eq!(
        world.cluster.names("persistentvolumeclaims").len(),
        partitions * replicas
    );
    for budget in world.cluster.all("poddisruptionbudgets") {
        assert_eq!(budget["spec"]["maxUnavailable"], 1);
    }
    for partition in world.cluster.all("partitions") {
        let (spec, status) = (&partition["spec"], &partition["status"]);
        assert!(spec["movingTo"].is_null() && spec["mergingInto"].is_null());
        assert_eq!(status["replicas"], format!("{replicas}/{replicas}"));
        let host = text(&spec["host"]);
        let pods: Vec<String> = (0..replicas).map(|ordinal| format!("{host}-{ordinal}")).collect();
        let (voters, leader) = world.nodes.voters(group(&partition));
        assert_eq!(voters, pods);
        assert_eq!(status["leader"], json!(leader));
        assert!(status["pods"].is_null());
    }
    // Nobody has a replica that is no member, and every key is counted once.
    assert_eq!(
        world.nodes.groups().len(),
        world.cluster.all("partitions").len() * replicas
    );
}

pub fn decisions(world: &World) -> Vec<String> {
    let table = world.table();
    let all = table["status"]["decisions"].as_array().cloned().unwrap_or_default();
    all.iter()
        .map(|one| format!("{}: {}", text(&one["action"]), text(&one["reason"])))
        .collect()
}

pub fn by_hand(epoch: u64, key: u8, child: u64) -> Split {
    Split {
        expected_epoch: Some(epoch),
        at: SplitPlace::Key(KeyBytes(vec![key])),
        child: GroupId(child),
    }
}

/// Partitions that serve a tenth of what they do elsewhere.
fn small(units: u64) -> World {
    let mut world = World::with(of(units, 1));
    world.limits.units = Throughput { read: 1000, write: 100 };
    world
}

#[tokio::test]
async fn a_table_begins_with_as_many_partitions_as_the_settings_ask_for() {
    let mut world = small(900);
    world.settle().await;
    check(&world, 9, 1);
    // The index has 100 units: one more.
    assert_eq!(world.cluster.all("partitions").len(), 10);
    let events = world.cluster.take_events();
    assert!(
        events.iter().any(|(_, message)| message.contains("with 9 partitions")),
        "{events:?}"
    );
    let splits = |one: &String| one.starts_with("Split");
    assert!(!decisions(&world).iter().any(splits), "{:?}", decisions(&world));
    killed_anywhere(async || small(300), |world| check(world, 3, 1), 15).await;
}

#[tokio::test]
async fn a_split_by_hand_is_taken_up_and_moves_to_storage_nodes_of_its_own() {
    let mut world = ready(1000, 3).await;
    let parent = group(&of_table(&world)[0]);
    world
        .nodes
        .tell(parent, &Call::Split(parent, Box::new(by_hand(1, 0x40, 77))));
    // The child is split, too, before anybody has seen it.
    world
        .nodes
        .tell(GroupId(77), &Call::Split(GroupId(77), Box::new(by_hand(2, 0x80, 78))));
    world.later(6 * 60 * 1000);
    world.pass_of("orders").await.unwrap();
    assert!(world.condition("Ready").0, "it serves all the while");
    let found = of_table(&world);
    assert_eq!(found.len(), 3);
    let name = |place: usize| text(&found[place]["metadata"]["name"]);
    assert_eq!(found[1]["spec"]["parent"], name(0));
    assert_eq!(found[2]["spec"]["parent"], name(1));
    assert_eq!(
        found[2]["spec"]["host"], found[0]["spec"]["host"],
        "it is where its parent is"
    );
    assert_eq!(found[2]["status"]["phase"], "Ready");
    assert!(
        decisions(&world).iter().any(|one| one.starts_with("Split: request: ")),
        "{:?}",
        decisions(&world)
    );
    world.settle().await;
    check(&world, 3, 3);
    assert_eq!(world.nodes.made().len(), 2, "groups of splits are not made");
    // At rest nobody is asked and nothing is written.
    world.nodes.take_calls();
    world.pass_of("orders").await.unwrap();
    assert_eq!(world.nodes.take_calls(), Vec::<String>::new());
}

#[tokio::test]
async fn more_units_make_more_partitions() {
    let mut world = ready(1000, 3).await;
    set_units(&world, 4000);
    world.settle().await;
    check(&world, 4, 3);
    let starts: Vec<String> = of_table(&world).iter().map(|one| text(&one["spec"]["start"])).collect();
    assert_eq!(starts, ["", "4000000000000000", "8000000000000000", "c000000000000000"]);
    let told = decisions(&world);
    assert!(
        told.iter()
            .any(|one| one.contains("units: 100 RCU and 4000 WCU ask for 4 partitions, there are 1")),
        "{told:?}"
    );
    let reasons: Vec<String> = world
        .cluster
        .take_events()
        .into_iter()
        .map(|(reason, _)| reason)
        .collect();
    for expected in ["Split", "Move", "Moved"] {
        assert!(reasons.iter().any(|reason| reason == expected), "{reasons:?}");
    }
}

#[tokio::test]
async fn each_decision_is_an_event_with_its_own_words() {
    let mut world = ready(1000, 1).await;
    for units in [2000, 3000] {
        set_units(&world, units);
        world.settle().await;
    }
    let events = world.cluster.take_events();
    for units in ["2000 WCU", "3000 WCU"] {
        let told = |(reason, note): &(String, String)| reason == "Split" && note.contains(units);
        assert!(events.iter().any(told), "{units}: {events:#?}");
    }
}

#[tokio::test]
async fn with_one_replica_too() {
    let mut world = ready(1000, 1).await;
    set_units(&world, 9000);
    world.settle().await;
    check(&world, 9, 1);
}

#[tokio::test]
async fn killed_at_any_write_partitions_become_more_all_the_same() {
    let begin = async || {
        let world = ready(1000, 3).await;
        set_units(&world, 3000);
        world
    };
    killed_anywhere(begin, |world| check(world, 3, 3), 40).await;
}

#[tokio::test]
async fn bytes_make_more_partitions() {
    let mut world = ready(1000, 3).await;
    world.nodes.fill(1_000_000, TOO_MANY_BYTES);
    world.later(6 * 60 * 1000);
    world.settle().await;
    check(&world, 2, 3);
    assert!(
        decisions(&world).iter().any(|one| one.contains("size: it holds")),
        "{:?}",
        decisions(&world)
    );
    // The index was full, too: its partitions stay on the storage nodes of the first one.
    assert_eq!(world.cluster.all("partitions").len(), 4);
}

#[tokio::test]
async fn what_cannot_be_split_is_told_and_left_alone() {
    let mut world = ready(1000, 1).await;
    world.nodes.refuse_splits(Some("it is a single item"));
    world.nodes.fill(1, TOO_MANY_BYTES);
    world.later(6 * 60 * 1000);
    world.settle().await;
    assert!(
        decisions(&world)
            .iter()
            .any(|one| one.starts_with("Refused: ") && one.ends_with("it is a single item")),
        "{:?}",
        decisions(&world)
    );
    world.nodes.refuse_splits(None);
    world.later(6 * 60 * 1000);
    world.settle().await;
    check(&world, 2, 1);
}

#[tokio::test]
async fn both_budgets_are_closed_while_a_partition_moves() {
    let mut world = ready(1000, 3).await;
    set_units(&world, 2000);
    let mut closed = 0;
    for _ in 0..60 {
        world.pass_of("orders").await.unwrap();
        let budgets = world.cluster.all("poddisruptionbudgets");
        let zero = budgets
            .iter()
            .filter(|budget| budget["spec"]["maxUnavailable"] == 0)
            .count();
        assert!(zero == 0 || zero == 2, "both or none: {zero}");
        closed = closed.max(zero);
        assert!(world.condition("Ready").0, "it serves all the while");
    }
    assert_eq!(closed, 2);
    check(&world, 2, 3);
}

#[tokio::test]
async fn budgets_open_again_when_a_move_stands_still() {
    let mut world = ready(1000, 3).await;
    set_units(&world, 2000);
    let budgets = |world: &World| -> Vec<Value> {
        let all = world.cluster.all("poddisruptionbudgets");
        all.iter()
            .map(|budget| budget["spec"]["maxUnavailable"].clone())
            .collect()
    };
    while budgets(&world) != [json!(0), json!(0)] {
        world.pass_of("orders").await.unwrap();
    }
    let moving = of_table(&world).pop().unwrap();
    let lost = format!("{}-2", text(&moving["spec"]["movingTo"]));
    world.nodes.silence(&[&lost]);
    for _ in 0..3 {
        world.later(9 * 60 * 1000);
        world.pass_of("orders").await.unwrap();
        world.pass_of("orders").await.unwrap();
    }
    assert_eq!(budgets(&world), [json!(0), json!(0)]);
    world.later(13 * 60 * 1000);
    world.settle().await;
    assert_eq!(budgets(&world), [json!(1), json!(1)], "a drain goes on");
    world.nodes.silence(&[]);
    world.settle().await;
    check(&world, 2, 3);
}

#[tokio::test]
async fn a_move_begins_when_all_storage_nodes_that_it_goes_to_are_there() {
    let mut world = ready(1000, 3).await;
    set_units(&world, 2000);
    while world.cluster.names("statefulsets").len() < 2 {
        world.pass_of("orders").await.unwrap();
    }
    // The node of one was drained before it had anything.
    let target = world.cluster.names("statefulsets").pop().unwrap();
    world.nodes.silence(&[&format!("{target}-2")]);
    world.settle().await;
    let moving = of_table(&world).pop().unwrap();
    assert_eq!(text(&moving["spec"]["movingTo"]), target);
    let (voters, _) = world.nodes.voters(group(&moving));
    assert!(voters.iter().all(|pod| !pod.starts_with(&target)), "{voters:?}");
    for budget in world.cluster.all("poddisruptionbudgets") {
        assert_eq!(budget["spec"]["maxUnavailable"], 1, "a drain goes on");
    }
    assert!(world.condition("Ready").0, "it serves all the while");
    world.nodes.silence(&[]);
    world.settle().await;
    check(&world, 2, 3);
}

#[tokio::test]
async fn fewer_units_make_fewer_partitions_after_a_while() {
    let mut world = ready(4000, 3).await;
    set_units(&world, 1000);
    world.settle().await;
    assert_eq!(of_table(&world).len(), 4, "not at once");
    for _ in 0..4 {
        world.later(COOL_DOWN_MS);
        world.settle().await;
    }
    check(&world, 1, 3);
    let told = decisions(&world);
    assert!(told.iter().any(|one| one.starts_with("Merge: ")), "{told:?}");
    // What was raised again meanwhile is split again.
    set_units(&world, 2000);
    world.settle().await;
    check(&world, 2, 3);
}

#[tokio::test]
async fn no_pod_goes_while_nobody_knows_whose_replicas_are_in_it() {
    let mut world = ready(3000, 3).await;
    set_units(&world, 2000);
    for _ in 0..3 {
        world.settle().await;
        world.later(COOL_DOWN_MS);
    }
    world.settle().await;
    check(&world, 2, 3);
    let sets = world.cluster.names("statefulsets");
    assert!(!sets[1].ends_with("-1"), "numbers have gaps after a merge: {sets:?}");
    for partition in world.cluster.names("partitions") {
        world.cluster.delete("partitions", NAMESPACE, &partition);
    }
    world.cluster.edit("tables", NAMESPACE, "orders", |table| {
        table["spec"]["replicas"] = json!(1);
    });
    world.pass_of("orders").await.unwrap();
    for set in world.cluster.all("statefulsets") {
        assert_eq!(set["spec"]["replicas"], 3);
    }
    world.settle().await;
    assert!(world.condition("Ready").0 && !world.condition("Reconciling").0);
    for set in world.cluster.all("statefulsets") {
        assert_eq!(set["spec"]["replicas"], 1);
    }
}

#[tokio::test]
async fn a_table_that_becomes_on_demand_keeps_what_its_load_asks_for() {
    let mut world = ready(2000, 1).await;
    set_on_demand(&world);
    world.settle().await;
    check(&world, 2, 1);
    // What the highest load of the last day was is known after a day.
    let mut cool_downs = 0;
    while of_table(&world).len() == 2 && cool_downs < 30 {
        cool_downs += 1;
        world.later(COOL_DOWN_MS);
        world.settle().await;
    }
    assert!(cool_downs >= 24, "{cool_downs}");
    check(&world, 1, 1);
    let told = decisions(&world);
    let why = "heat: on demand, the highest load of late is 0 RCU and 0 WCU, which ask for 1 partition, there are 2";
    assert!(told.iter().any(|one| one.ends_with(why)), "{told:?}");
}

#[tokio::test]
async fn killed_at_any_write_partitions_become_fewer_all_the_same() {
    let begin = async || {
        let mut world = ready(2000, 3).await;
        set_units(&world, 1000);
        world.settle().await;
        world.later(COOL_DOWN_MS);
        world
    };
    let done = |world: &World| {
        // An operator that is started anew waits anew.
        let partitions = of_table(world).len();
        check(world, partitions, 3);
        assert!(partitions <= 2);
    };
    killed_anywhere(begin, done, 20).await;
}

#[tokio::test]
async fn a_merge_that_cannot_be_made_is_given_up_and_the_source_goes_on() {
    let mut world = ready(2000, 3).await;
    set_units(&world, 1000);
    world.settle().await;
    world.later(COOL_DOWN_MS);
    // Its replicas come together.
    let mut together = false;
    for _ in 0..60 {
        world.pass_of("orders").await.unwrap();
        let source = of_table(&world).pop().unwrap();
        if !source["spec"]["mergingInto"].is_null() && source["spec"]["movingTo"].is_null() {
            together = true;
            break;
        }
    }
    assert!(together);
    world.nodes.slow_down(true);
    set_units(&world, 2000);
    world.settle().await;
    world.nodes.slow_down(false);
    world.settle().await;
    check(&world, 2, 3);
    assert!(world.nodes.groups().iter().all(|group| group.lineage.frozen.is_none()));
}

#[tokio::test]
async fn a_merge_waits_until_the_absorber_has_heard_of_the_freeze() {
    let mut world = ready(2000, 3).await;
    set_units(&world, 1000);
    world.settle().await;
    world.nodes.tell_late_of_freezes(2);
    world.later(COOL_DOWN_MS);
    world.settle().await;
    // It was not given up: that would be for minutes.
    check(&world, 1, 3);
}

#[tokio::test]
async fn a_table_with_split_partitions_goes_with_everything() {
    let mut world = ready(1000, 3).await;
    set_units(&world, 3000);
    for _ in 0..12 {
        world.pass_of("orders").await.unwrap();
    }
    world.cluster.edit("tables", NAMESPACE, "orders", |table| {
        table["spec"]["deletionPolicy"] = json!("Delete");
    });
    world.cluster.delete("tables", NAMESPACE, "orders");
    world.settle().await;
    assert_eq!(world.pass_of("orders").await.unwrap(), Pass::NoTable);
    for kind in [
        "partitions",
        "statefulsets",
        "services",
        "pods",
        "persistentvolumeclaims",
    ] {
        assert_eq!(world.cluster.names(kind), Vec::<String>::new(), "{kind}");
    }
}

#[tokio::test]
async fn lost_resources_of_split_partitions_are_made_again() {
    let mut world = ready(1000, 3).await;
    set_units(&world, 3000);
    world.settle().await;
    let before = of_table(&world);
    for partition in &before[1..] {
        world
            .cluster
            .delete("partitions", NAMESPACE, &text(&partition["metadata"]["name"]));
    }
    world.settle().await;
    check(&world, 3, 3);
    let after = of_table(&world);
    for (before, after) in before.iter().zip(&after) {
        for field in ["group", "start", "end", "host"] {
            assert_eq!(before["spec"][field], after["spec"][field]);
        }
    }
}

#[tokio::test]
async fn what_a_partition_can_is_what_its_storage_nodes_let_it() {
    let world = ready(500, 1).await;
    let set = &world.cluster.all("statefulsets")[0];
    let environment = &set["spec"]["template"]["spec"]["containers"][0]["env"];
    let value = |name: &str| {
        let found = environment.as_array().unwrap().iter().find(|one| one["name"] == name);
        text(&found.unwrap()["value"])
    };
    let limits = crate::testing::world::settings().planning.limits.units;
    assert_eq!(value("PARTITA_PARTITION_READ_UNITS"), limits.read.to_string());
    assert_eq!(value("PARTITA_PARTITION_WRITE_UNITS"), limits.write.to_string());
}
