//! From the load that nodes report to splits, merges and reports.

use partita_model::admin::LoadSpread;
use partita_model::key::KeyBytes;
use serde_json::{Value, json};

use super::growth::{COOL_DOWN_MS, check, decisions, group, of_table, ready, set_on_demand, text};
use crate::table::Error;
use crate::testing::NAMESPACE;
use crate::testing::world::World;

const MINUTE_MS: u64 = 60_000;

/// What a partition's leader reports of its writes.
#[derive(Clone, Default)]
struct Writes {
    per_second: u64,
    spread: Option<LoadSpread>,
}

fn writes(per_second: u64) -> Writes {
    Writes {
        per_second,
        spread: None,
    }
}

fn around(per_second: u64, busiest_percent: u8, middle: &str) -> Writes {
    let middle = Some(KeyBytes(hex::decode(middle).unwrap()));
    Writes {
        per_second,
        spread: Some(LoadSpread {
            busiest_percent,
            middle,
        }),
    }
}

/// A minute's load of the table's partitions, in key order.
fn load(world: &World, loads: &[Writes]) {
    let partitions = of_table(world);
    assert_eq!(partitions.len(), loads.len(), "{partitions:#?}");
    for (partition, writes) in partitions.iter().zip(loads) {
        let group = group(partition);
        let leader = world.nodes.voters(group).1.unwrap();
        world.nodes.store_of(&leader, |store| {
            let state = store
                .groups
                .iter_mut()
                .find(|state| state.descriptor.group == group)
                .unwrap();
            state.load.write_half_units += writes.per_second * 2 * 60;
            state.load.writes = writes.spread.clone();
        });
    }
}

/// So many minutes of it.
async fn minutes(world: &mut World, minutes: u64, loads: &[Writes]) {
    for _ in 0..minutes {
        load(world, loads);
        world.later(MINUTE_MS);
        world.settle().await;
    }
}

fn events(world: &World, reason: &str) -> Vec<String> {
    let events = world.cluster.take_events().into_iter();
    events
        .filter(|(kind, _)| kind == reason)
        .map(|(_, note)| note)
        .collect()
}

#[tokio::test]
async fn a_hot_range_is_split_where_its_load_is_and_merged_once_it_is_cold() {
    let mut world = ready(2000, 3).await;
    let hot = [around(950, 12, "1234000000000000"), writes(100)];
    minutes(&mut world, 2, &hot).await;
    check(&world, 2, 3);
    minutes(&mut world, 1, &hot).await;
    check(&world, 3, 3);
    let starts: Vec<String> = of_table(&world).iter().map(|one| text(&one["spec"]["start"])).collect();
    assert_eq!(starts, ["", "1234000000000000", "8000000000000000"]);
    let why = "is split: heat: it serves 95 % of what a partition can, for 120 s";
    assert!(
        decisions(&world).iter().any(|one| one.ends_with(why)),
        "{:?}",
        decisions(&world)
    );
    assert!(events(&world, "Split")[0].ends_with(why));

    // What it has now is well; nothing is undone while it lasts, and at rest nothing is written.
    let shared = [writes(500), writes(453), writes(100)];
    minutes(&mut world, 10, &shared).await;
    let shown: Vec<Value> = of_table(&world)
        .iter()
        .map(|one| one["status"]["writeUnits"].clone())
        .collect();
    assert_eq!(shown, [500, 450, 100], "as `kubectl get partitions` shows it");
    let version = world.cluster.version();
    minutes(&mut world, 90, &shared).await;
    assert_eq!(world.cluster.version(), version);
    check(&world, 3, 3);

    assert!(of_table(&world)[0]["status"]["readUnits"].is_null(), "nobody reads");

    let cold = [writes(50), writes(50), writes(50)];
    minutes(&mut world, 30, &cold).await;
    minutes(&mut world, 1, &shared).await;
    minutes(&mut world, 59, &cold).await;
    check(&world, 3, 3);
    minutes(&mut world, 2, &cold).await;
    check(&world, 2, 3);
    let why = "units: 100 RCU and 2000 WCU ask for 2 partitions, there are 3";
    assert!(
        decisions(&world).iter().any(|one| one.ends_with(why)),
        "{:?}",
        decisions(&world)
    );
}

#[tokio::test]
async fn a_hot_collection_is_split_between_its_sort_keys_and_each_half_where_it_is_hot_again() {
    // A hash, a partition key, and a sort key.
    let key = |sort: &str| format!("1234000000000000686f7400{}", hex::encode(sort));
    let mut world = ready(3000, 3).await;
    let idle = writes(0);
    let hot = [around(950, 3, &key("m")), idle.clone(), idle.clone()];
    minutes(&mut world, 3, &hot).await;
    check(&world, 4, 3);
    let upper = [writes(10), around(940, 3, &key("t")), idle.clone(), idle];
    for _ in 0..6 {
        if of_table(&world).len() == upper.len() {
            minutes(&mut world, 1, &upper).await;
        }
    }
    check(&world, 5, 3);
    let starts: Vec<String> = of_table(&world).iter().map(|one| text(&one["spec"]["start"])).collect();
    assert_eq!(starts[..3], [String::new(), key("m"), key("t")]);
}

#[tokio::test]
async fn a_partition_of_an_index_is_hot_by_what_is_delivered_to_it() {
    let mut world = ready(2000, 1).await;
    world.cluster.edit("tables", NAMESPACE, "orders", |table| {
        let index = &mut table["spec"]["globalSecondaryIndexes"][0];
        index["provisionedThroughput"] = json!({"readCapacityUnits": 1, "writeCapacityUnits": 2000});
    });
    world.settle().await;
    let of_index = |world: &World| {
        let mut own = world.cluster.all("partitions");
        own.retain(|partition| !partition["spec"]["indexId"].is_null());
        own.sort_by_key(|partition| text(&partition["spec"]["start"]));
        own
    };
    assert_eq!(of_index(&world).len(), 2);
    let middle = KeyBytes(hex::decode("1234000000000000").unwrap());
    // It was cut a moment ago, and is measured anew.
    for _ in 0..6 {
        if of_index(&world).len() > 2 {
            break;
        }
        let hot = group(&of_index(&world)[0]);
        let leader = world.nodes.voters(hot).1.unwrap();
        world.nodes.store_of(&leader, |store| {
            let state = store.groups.iter_mut().find(|state| state.descriptor.group == hot);
            let load = &mut state.unwrap().load;
            load.delivered_half_units += 950 * 2 * 60;
            load.writes = Some(LoadSpread {
                busiest_percent: 5,
                middle: Some(middle.clone()),
            });
        });
        world.later(MINUTE_MS);
        world.settle().await;
    }
    let starts: Vec<String> = of_index(&world).iter().map(|one| text(&one["spec"]["start"])).collect();
    assert_eq!(starts, ["", "1234000000000000", "8000000000000000"]);
}

#[tokio::test]
async fn a_single_hot_key_is_told_of_once_and_never_split() {
    let mut world = ready(2000, 3).await;
    let hot = [around(1000, 97, "1234000000000000"), writes(0)];
    minutes(&mut world, 10, &hot).await;
    check(&world, 2, 3);
    let told = events(&world, "HotKey");
    let first = &of_table(&world)[0];
    let leader = world.nodes.voters(group(first)).1.unwrap();
    assert_eq!(
        told,
        [format!(
            "{}: heat: it serves 100 % of what a partition can, 97 % of that for one key: a split would not help; `GET /hot-keys` of \
             the admin API of {leader} names it",
            text(&first["metadata"]["name"])
        )]
    );
    let kept: Vec<String> = decisions(&world)
        .into_iter()
        .filter(|one| one.starts_with("HotKey: "))
        .collect();
    assert_eq!(kept.len(), 1);
    // Once more only after it was over for long: some are hot now and then.
    for (quiet, told) in [(2, 0), (62, 1)] {
        minutes(&mut world, quiet, &[writes(0), writes(0)]).await;
        minutes(&mut world, 5, &hot).await;
        assert_eq!(events(&world, "HotKey").len(), told, "after {quiet} minutes");
    }
}

#[tokio::test]
async fn what_could_not_be_written_is_told_at_the_next_pass() {
    let mut world = ready(2000, 1).await;
    let hot = [around(1000, 97, "1234000000000000"), writes(0)];
    minutes(&mut world, 2, &hot).await;
    // Somebody changes the Table while the operator decides.
    let seen = world.table();
    world.cluster.edit("tables", NAMESPACE, "orders", |table| {
        table["metadata"]["labels"] = json!({"team": "shop"});
    });
    world.later(MINUTE_MS);
    load(&world, &hot);
    let refused = world.reconcile(seen).await.unwrap();
    assert!(matches!(refused, Err(Error::Stale(_))), "{refused:?}");
    assert_eq!(events(&world, "HotKey").len(), 0);
    world.settle().await;
    assert_eq!(events(&world, "HotKey").len(), 1);
}

#[tokio::test]
async fn without_a_place_in_its_range_a_hot_partition_is_cut_in_the_middle() {
    for nowhere in [writes(900), around(900, 3, "9234000000000000")] {
        let mut world = ready(2000, 1).await;
        minutes(&mut world, 3, &[nowhere, writes(0)]).await;
        check(&world, 3, 1);
        assert_eq!(text(&of_table(&world)[1]["spec"]["start"]), "4000000000000000");
    }
}

#[tokio::test]
async fn a_table_that_uses_all_its_units_gains_nothing_by_a_split() {
    let mut world = ready(2000, 1).await;
    let hot = [around(1000, 5, "1234000000000000"), around(950, 5, "9234000000000000")];
    minutes(&mut world, 6, &hot).await;
    check(&world, 2, 1);
    let mut world = ready(1000, 1).await;
    minutes(&mut world, 6, &[around(850, 5, "8234000000000000")]).await;
    check(&world, 1, 1);
}

#[tokio::test]
async fn an_operator_that_begins_anew_measures_anew() {
    let mut world = ready(2000, 1).await;
    let hot = [around(950, 12, "1234000000000000"), writes(100)];
    minutes(&mut world, 2, &hot).await;
    world.restart();
    world.settle().await;
    minutes(&mut world, 2, &hot).await;
    check(&world, 2, 1);
    minutes(&mut world, 1, &hot).await;
    check(&world, 3, 1);
}

#[tokio::test]
async fn reads_of_all_replicas_make_heat_too() {
    let mut world = ready(2000, 3).await;
    world.cluster.edit("tables", NAMESPACE, "orders", |table| {
        table["spec"]["provisionedThroughput"]["readCapacityUnits"] = json!(6000);
        table["spec"]["provisionedThroughput"]["writeCapacityUnits"] = json!(1);
    });
    world.settle().await;
    check(&world, 2, 3);
    for _ in 0..3 {
        let first = group(&of_table(&world)[0]);
        for pod in world.nodes.voters(first).0 {
            world.nodes.store_of(&pod, |store| {
                let state = store.groups.iter_mut().find(|state| state.descriptor.group == first);
                let load = &mut state.unwrap().load;
                load.read_half_units += 900 * 2 * 60;
                let middle = Some(KeyBytes(vec![0x20]));
                load.reads = Some(LoadSpread {
                    busiest_percent: 9,
                    middle,
                });
            });
        }
        world.later(MINUTE_MS);
        world.settle().await;
    }
    check(&world, 3, 3);
    assert_eq!(text(&of_table(&world)[1]["spec"]["start"]), "20");
}

#[tokio::test]
async fn on_demand_a_load_makes_partitions_and_they_go_when_it_has_been_gone_for_long() {
    let mut world = ready(1000, 1).await;
    set_on_demand(&world);
    world.settle().await;
    minutes(&mut world, 2, &[around(2500, 4, "4234000000000000")]).await;
    check(&world, 3, 1);
    let why =
        "heat: on demand, the highest load of late is 0 RCU and 2500 WCU, which ask for 3 partitions, there are 2";
    assert!(
        decisions(&world).iter().any(|one| one.ends_with(why)),
        "{:?}",
        decisions(&world)
    );
    let idle = [writes(0), writes(0), writes(0)];
    minutes(&mut world, 3, &idle).await;
    for _ in 0..20 {
        world.later(COOL_DOWN_MS);
        world.settle().await;
    }
    check(&world, 3, 1);
    for _ in 0..40 {
        world.later(COOL_DOWN_MS);
        world.settle().await;
    }
    check(&world, 1, 1);
}
