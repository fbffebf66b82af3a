//! `partita admin` against three replicas: what people and programs see of splits and of a verification.

use std::process::{Command, Output};

use partita_model::item::Item;
use partita_model::key::KeyBytes;
use partita_model::value::Value as AttributeValue;
use partita_partition::row;
use partita_partition::storage::rocks::{RocksSettings, RocksStorage};
use partita_partition::storage::{Batch, Family, Storage};
use serde_json::Value;

use super::routed::{Writers, index_equals_table, indexed, nothing_is_lost, serves};
use super::router::Router;
use super::shared::until;
use super::table::{get, spec, thing};
use super::trio::{NAMES, Trio};

/// Runs a command of `partita admin` at all nodes.
pub fn admin(trio: &Trio, arguments: &[&str]) -> Output {
    let nodes: Vec<&str> = trio.nodes.values().map(super::node::Node::admin_address).collect();
    let mut command = Command::new(env!("CARGO_BIN_EXE_partita"));
    command.args(["admin", "--nodes", &nodes.join(",")]).args(arguments);
    command.output().unwrap()
}

pub fn printed(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

/// A command that must succeed, and what it prints as JSON.
pub fn told(trio: &Trio, arguments: &[&str]) -> Value {
    let output = admin(trio, &[arguments, &["--output", "json"]].concat());
    let (out, err) = printed(&output);
    assert!(output.status.success(), "{arguments:?}: {err}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {out}"))
}

/// A command that must fail with this among what it says.
pub fn fails(trio: &Trio, arguments: &[&str], reason: &str) {
    let output = admin(trio, arguments);
    let (_, err) = printed(&output);
    assert!(!output.status.success() && err.contains(reason), "{arguments:?}: {err}");
}

/// A follower that has not applied a merge yet still has its source.
fn until_gone(trio: &Trio, source: &str) {
    until("the merge's source to be gone everywhere", || {
        let groups = told(trio, &["groups"]);
        let is_source = |group: &Value| group["descriptor"]["group"] == source;
        (!groups.as_array().unwrap().iter().any(is_source)).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_split_is_merged_from_a_shell_while_clients_go_on() {
    let trio = Trio::with(spec(1, true, false)).await;
    let router = Router::start(&trio.cluster, &[]);
    serves(&router);
    for number in 0..40 {
        router.put(&format!("thing-{number}"), "red");
    }
    let writers = Writers::start(&router.endpoint(), 3);
    let group = format!("{:016x}", trio.group().0);
    let made = told(&trio, &["split", &group]);
    let child = made["split"]["child"].as_str().unwrap();
    let id = "00000000-0000-0000-0000-000000000001";
    let (_, err) = printed(&admin(&trio, &["merge", &group, "--id", id]));
    for step in [&format!("group {child} stands still"), "merged in range epoch 3"] {
        assert!(err.contains(step), "{err}");
    }
    // With the same id it is told what came of it.
    let merged = told(&trio, &["merge", &group, "--id", id]);
    assert_eq!(merged["descriptor"]["end"], Value::Null);
    assert_eq!(merged["lineage"]["merges"][0]["source"], child);
    let written = writers.finish();
    nothing_is_lost(&router, &written);
    index_equals_table(&router);
    until_gone(&trio, child);
    fails(&trio, &["merge", &group], "no group is behind it");
    fails(&trio, &["merge", &group, "--source", child], "has group");
    fails(&trio, &["merge", &group, "--source", "x"], "16 hexadecimal digits");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_merged_goes_on_as_before() {
    let mut trio = Trio::start().await;
    for number in 0..40 {
        trio.put(&format!("thing-{number}"), "red").await;
    }
    let group = format!("{:016x}", trio.group().0);
    let made = told(&trio, &["split", &group]);
    let child = made["split"]["child"].as_str().unwrap();
    let away = trio.nodes.keys().next().copied().unwrap();
    trio.nodes.remove(away).unwrap().kill();
    fails(&trio, &["merge", &group], "not merged, and both groups go on as before");
    let groups = told(&trio, &["groups"]);
    let groups = groups.as_array().unwrap();
    assert_eq!(groups.len(), 2, "{groups:?}");
    assert!(
        groups.iter().all(|group| group["lineage"]["frozen"].is_null()),
        "{groups:?}"
    );
    // When all of its voters are there again, it can be merged.
    trio.restart(away);
    until("all of its replicas to stand still", || {
        admin(&trio, &["merge", &group, "--source", child])
            .status
            .success()
            .then_some(())
    });
    until_gone(&trio, child);
    assert_eq!(told(&trio, &["groups"]).as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_split_is_ordered_from_a_shell() {
    let trio = Trio::start().await;
    for number in 0..40 {
        trio.put(&format!("thing-{number}"), "red").await;
    }
    let group = format!("{:016x}", trio.group().0);
    let id = "00000000-0000-0000-0000-000000000001";
    let point = told(&trio, &["split-point", &group]);
    let output = admin(&trio, &["split", &group, "--id", id, "--expected-epoch", "1"]);
    let (out, err) = printed(&output);
    assert!(output.status.success(), "{err}");
    let key = point["key"].as_str().unwrap();
    assert!(
        err.contains(&format!("cut in front of {key} in range epoch 2")),
        "{err}"
    );
    // Both halves, in a table.
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with("GROUP"), "{out}");
    assert!(lines.len() == 3 && lines[1].starts_with(&group), "{out}");

    // With the same id it is told what came of it.
    let made = told(&trio, &["split", &group, "--id", id, "--expected-epoch", "1"]);
    assert_eq!(
        (&made["split"]["key"], &made["split"]["rangeEpoch"]),
        (&point["key"], &Value::from(2))
    );
    let child = made["split"]["child"].as_str().unwrap();

    let lowest = (0..40)
        .map(|number| format!("thing-{number}"))
        .max_by_key(|pk| get(&trio.record, pk).key);
    let item_key = format!(r#"{{"pk": {{"S": "{}"}}}}"#, lowest.unwrap());
    let made = told(&trio, &["split", child, "--at-key", &item_key]);
    assert_eq!(made["child"]["sizes"]["items"], 1, "{made}");

    let groups = told(&trio, &["groups"]);
    let of = |field: &str| -> Vec<Value> {
        let groups = groups.as_array().unwrap().iter();
        groups.map(|group| group["descriptor"][field].clone()).collect()
    };
    assert_eq!(of("range_epoch"), [2, 3, 3]);
    assert_eq!(of("start")[1..], of("end")[..2]);
    let (out, _) = printed(&admin(&trio, &["groups"]));
    let parents: Vec<&str> = out
        .lines()
        .map(|line| line.split_whitespace().nth(5).unwrap())
        .collect();
    assert_eq!(parents, ["PARENT", "-", &group, child], "{out}");
    let (out, _) = printed(&admin(&trio, &["group", child]));
    assert!(
        out.contains(&format!("parent      group {group}, until range epoch 2")),
        "{out}"
    );

    fails(&trio, &["split", &group, "--at", "x"], "hexadecimal digits");
    fails(&trio, &["split", &group, "--at", ""], "an empty key");
    fails(
        &trio,
        &["split", &group, "--at", "ff"],
        "is not inside the partition's range",
    );
    fails(&trio, &["split", &group, "--at-key", "{}"], "made of pk (S)");
    fails(&trio, &["split", &group, "--at-key", "1"], "DynamoDB's JSON");
    fails(
        &trio,
        &["split", &group, "--expected-epoch", "1"],
        "the range epoch is 2, not 1",
    );
    fails(&trio, &["split", &group, "--child", child], "an id that was never used");
    fails(
        &trio,
        &["split", "00000000000000ff"],
        "none of the nodes that answer has group",
    );
    fails(
        &trio,
        &["split", &group, "--at", "80", "--at-key", "{}"],
        "cannot be used with",
    );
    assert_eq!(told(&trio, &["groups"])[0]["descriptor"]["range_epoch"], 2);
}

/// Changes what a node that does not run has stored.
fn tamper(trio: &Trio, name: &str, change: impl FnOnce(&mut <RocksStorage as Storage>::Batch)) {
    let state = trio.cluster.directory().with_file_name(name).join("state");
    let storage = RocksStorage::open(&state, RocksSettings::default()).unwrap();
    let mut batch = storage.batch();
    change(&mut batch);
    storage.write(batch).unwrap();
    storage.flush().unwrap();
}

fn put_things(trio: &Trio, router: &Router) {
    serves(router);
    for number in 0..60 {
        router.put(&format!("thing-{number}"), ["red", "green"][number % 2]);
    }
    // Every replica has all of it, so that none has to make up for it from its log.
    until("the index to have all of it", || {
        (indexed(router, "green").len() >= 30).then_some(())
    });
    for name in NAMES {
        until("all replicas to have applied the same", || {
            let applied = |name: &str| -> Vec<Value> {
                let store = trio.nodes[name].expect(200, "GET", "/store", "");
                let groups = store["groups"].as_array().unwrap().iter();
                groups.map(|group| group["applied"].clone()).collect()
            };
            (applied(name) == applied(NAMES[0])).then_some(())
        });
    }
}

/// Stops these nodes, changes what they have stored, and starts them where they were.
fn restart_with(trio: &mut Trio, names: &[&'static str], change: impl Fn(&mut <RocksStorage as Storage>::Batch)) {
    let addresses: Vec<String> = names.iter().map(|name| trio.nodes[name].address().to_owned()).collect();
    for name in names {
        assert!(trio.nodes.remove(name).unwrap().stop().success());
        tamper(trio, name, &change);
    }
    for (name, address) in names.iter().zip(&addresses) {
        trio.restart_at(name, address);
    }
}

/// What is said to differ: the checks, and the keys.
fn differences(found: &Value) -> Vec<(String, Vec<String>)> {
    let checks = found["checks"].as_array().unwrap().iter();
    let differ = checks.filter(|check| check["verdict"] != "equal");
    let keys = |check: &Value| -> Vec<String> {
        let differences = check["differences"].as_array().unwrap().iter();
        differences.map(|one| one["key"].as_str().unwrap().to_owned()).collect()
    };
    differ
        .map(|check| (check["what"].as_str().unwrap().to_owned(), keys(check)))
        .collect()
}

fn hex_of(key: &KeyBytes) -> String {
    key.0.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_not_like_the_others_is_found() {
    let mut trio = Trio::with(spec(2, true, false)).await;
    let router = Router::start(&trio.cluster, &[]);
    put_things(&trio, &router);
    // Also while it is written to.
    let writers = Writers::start(&router.endpoint(), 2);
    let found = told(&trio, &["verify", "things"]);
    writers.finish();
    assert_eq!(
        (&found["verdict"], differences(&found)),
        (&Value::from("equal"), Vec::new())
    );
    let (out, _) = printed(&admin(&trio, &["verify", "things"]));
    assert!(out.contains("things: nothing differs"), "{out}");

    let (gone, other, table) = (
        get(&trio.record, "thing-7").key,
        get(&trio.record, "thing-8").key,
        trio.record.id,
    );
    let mut ghost = thing("thing-8", Some("blue"), None);
    ghost.set_time(1);
    restart_with(&mut trio, &["third"], |batch| {
        batch.delete(Family::Items, &row::keyed(table, gone.as_bytes()));
        batch.put(Family::Items, &row::keyed(table, other.as_bytes()), ghost.as_bytes());
    });
    serves(&router);
    let output = admin(&trio, &["verify", "things", "--output", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["verdict"], "differs");
    let differing = differences(&found);
    let mut keys: Vec<String> = differing
        .iter()
        .filter(|(what, _)| what.contains("(table)"))
        .flat_map(|(_, keys)| keys.clone())
        .collect();
    keys.sort();
    let mut expected = [hex_of(&gone), hex_of(&other)];
    expected.sort();
    assert_eq!(keys, expected, "{found}");
    let (out, err) = printed(&admin(&trio, &["verify", "things"]));
    assert!(out.contains(&hex_of(&gone)) && err.contains("things: "), "{out} {err}");
    fails(&trio, &["verify", "nothing"], "has a table \"nothing\"");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_is_not_like_its_table_is_found() {
    let mut trio = Trio::with(spec(2, true, false)).await;
    let router = Router::start(&trio.cluster, &[]);
    put_things(&trio, &router);
    let schema = trio.record.schema();
    let index = &schema.global[0];
    let row_of = |pk: &str, colour: &str| -> (KeyBytes, Item) {
        schema
            .global_row(index, thing(pk, Some(colour), None).as_ref())
            .unwrap()
    };
    let ((missing, _), (ghost, item)) = (row_of("thing-7", "green"), row_of("nobody", "blue"));
    assert_eq!(
        item.as_ref().get("colour"),
        Some(AttributeValue::string("blue").as_ref())
    );
    restart_with(&mut trio, &NAMES, |batch| {
        batch.delete(Family::Items, &row::keyed(index.table, missing.as_bytes()));
        batch.put(
            Family::Items,
            &row::keyed(index.table, ghost.as_bytes()),
            item.as_bytes(),
        );
    });
    serves(&router);
    let output = admin(&trio, &["verify", "things", "--output", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    // The replicas are like each other.
    let mut expected = vec![hex_of(&missing), hex_of(&ghost)];
    expected.sort();
    let mut differing = differences(&found);
    differing.iter_mut().for_each(|(_, keys)| keys.sort());
    assert_eq!(
        differing,
        [("index byColour against the table".to_owned(), expected)],
        "{found}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_compared_is_said() {
    let mut trio = Trio::start().await;
    trio.put("thing", "red").await;
    let leader = trio.leader().await;
    let follower = trio.nodes.keys().find(|name| **name != leader).copied().unwrap();
    trio.kill(follower);
    let output = admin(&trio, &["verify", "things"]);
    let (out, err) = printed(&output);
    assert_eq!(output.status.code(), Some(1), "{out} {err}");
    assert!(out.contains("1 of 3 replicas do not answer"), "{out} {err}");
}
