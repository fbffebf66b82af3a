//! What a split does to the units of a table that were saved up: nothing, also while the directory does not know of it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use partita_model::capacity::{UnitKind, UnitsAnswer, UnitsCall, UnitsLevel};
use serde_json::json;

use super::node::{Node, eventually, path};
use super::shared::{PATIENCE, until};
use super::table::{record, spec};
use super::trio::Trio;

/// The table has one read unit, of which a new one has saved up 300 seconds' worth.
const SAVED: f64 = 300.0;
/// For so long it is looked whether anything is lost for a moment.
const LOOKED_FOR: Duration = Duration::from_millis(500);

/// A figure of the table, as a node's metrics show it.
fn shown(node: &Node, name: &str) -> Option<f64> {
    let (_, metrics) = node.admin("GET", "/metrics", "");
    let start = format!("partita_{name}{{account=\"123456789012\",table=\"things\",index=\"\"}} ");
    let value = metrics
        .lines()
        .find_map(|line| line.strip_prefix(&start).map(str::to_owned));
    value.map(|value| value.parse().unwrap())
}

fn balance(node: &Node) -> f64 {
    shown(node, "read_units_balance").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_split_hands_out_no_units_and_takes_none_away() {
    let mut record = record(spec(1, false, false));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    record.dates.created_ms = now.as_millis() as u64;
    let trio = Trio::of(record, &[]).await;
    let leader = trio.leader().await;
    let leads = &trio.nodes[leader];
    until("the table to be declared, as new as it is", || {
        (shown(leads, "allowed_read_units") == Some(1.0) && balance(leads) > SAVED - 50.0).then_some(())
    });
    for number in 0..40 {
        trio.written(&format!("thing-{number}"), "red").await;
    }
    for number in 0..100 {
        trio.colour(&format!("thing-{}", number % 40)).await;
    }
    let (before, begin) = (balance(leads), Instant::now());
    assert!(before < SAVED - 50.0, "{before}");
    let earned = || begin.elapsed().as_secs_f64() + 1.0;

    let order = json!({"at": "middle", "child": "00000000000000c1"});
    let split = format!("{}/splits/00000000-0000-0000-0000-000000000001", path(trio.group()));
    leads.put(&split, &order);
    while begin.elapsed() < LOOKED_FOR {
        // Where the first partition is, are the units: the child has none of its own, wherever it is led.
        let after = balance(leads);
        assert!(after <= before + earned(), "{before} before, {after} after the split");
        assert!(after >= before - 1.0, "{before} before, {after} after the split");
    }
    assert_eq!(shown(leads, "allowed_read_units"), Some(1.0));

    // Another store that leads the child uses the same units.
    let (_, taken) = trio.nodes.iter().find(|(name, _)| **name != leader).unwrap();
    let child = "/groups/00000000000000c1";
    let number = taken.expect(200, "GET", child, "")["replication"]["replica"].clone();
    let by = trio
        .nodes
        .values()
        .find(|node| node.expect(200, "GET", child, "")["leader"] == true)
        .unwrap();
    by.put(&format!("{child}/leader"), &json!({"replica": number}));
    until("another store to lead the child", || {
        (taken.expect(200, "GET", child, "")["leader"] == true).then_some(())
    });
    assert_eq!(shown(taken, "allowed_read_units"), None);
    let kept = balance(leads);
    assert!(
        kept <= before + earned() && kept >= before - 1.0,
        "{before} before, {kept} after"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_leader_goes_on_with_what_was_left() {
    let mut record = record(spec(1, false, false));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    record.dates.created_ms = now.as_millis() as u64;
    let mut trio = Trio::of(record, &[]).await;
    let leader = trio.leader().await;
    until("the table to be declared, as new as it is", || {
        let leads = &trio.nodes[leader];
        (shown(leads, "allowed_read_units") == Some(1.0) && balance(leads) > SAVED - 50.0).then_some(())
    });
    trio.written("thing", "red").await;
    let begin = Instant::now();
    for _ in 0..100 {
        trio.colour("thing").await;
    }
    let before = balance(&trio.nodes[leader]);
    // Handed over: the new leader asks. (Of so new a table it shows a full bucket until it is answered.)
    let (next, number) = {
        let (name, node) = trio.nodes.iter().find(|(name, _)| **name != leader).unwrap();
        let state = node.expect(200, "GET", &path(trio.group()), "");
        (*name, state["replication"]["replica"].clone())
    };
    let to = format!("{}/leader", path(trio.group()));
    trio.nodes[leader].put(&to, &json!({"replica": number}));
    let earned = |since: Instant| since.elapsed().as_secs_f64() + 1.0;
    let is_near = |balance: f64, before: f64| balance >= before - 5.0 && balance <= before + earned(begin);
    until("the new leader to know what was left", || {
        let balance = shown(&trio.nodes[next], "read_units_balance")?;
        is_near(balance, before).then_some(())
    });
    // Killed: its followers have heard within a second of use.
    for _ in 0..20 {
        trio.colour("thing").await;
    }
    let used = balance(&trio.nodes[next]);
    for (_, node) in trio.nodes.iter().filter(|(name, _)| **name != next) {
        eventually("the followers to have heard", async || {
            let peer = node.peer();
            let asked = peer.units(trio.group(), trio.record.id, UnitsCall::Ask, PATIENCE);
            let Ok(UnitsAnswer::Levels(levels)) = asked.await else {
                return None;
            };
            let reads = |level: &&UnitsLevel| level.units.index.is_none() && level.units.kind == UnitKind::Read;
            let level = levels.iter().find(reads)?.level as f64 / 2000.0;
            is_near(level, used).then_some(())
        })
        .await;
    }
    trio.kill(next);
    let last = trio.leader().await;
    until("the last leader to go on", || {
        let balance = shown(&trio.nodes[last], "read_units_balance")?;
        is_near(balance, used).then_some(())
    });
}
