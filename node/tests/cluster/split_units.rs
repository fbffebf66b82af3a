//! What a split does to the units of a table that were saved up: nothing, also while the directory does not know of it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::node::{Node, path};
use super::shared::until;
use super::table::{record, spec};
use super::trio::{Outcome, Trio};

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
        assert_eq!(trio.put(&format!("thing-{number}"), "red").await, Outcome::Acknowledged);
    }
    for number in 0..100 {
        trio.colour(&format!("thing-{}", number % 40)).await;
    }
    let (before, begin) = (balance(leads), Instant::now());
    assert!(before < SAVED - 50.0, "{before}");
    let earned = || begin.elapsed().as_secs_f64() + 1.0;

    let order = json!({"at": "middle", "child": "00000000000000c1"});
    let split = format!("{}/splits/00000000-0000-0000-0000-000000000001", path(trio.group()));
    let made = leads.put(&split, &order);
    let stays = made["child"]["leader"] == true;
    while begin.elapsed() < LOOKED_FOR {
        let after = balance(leads);
        assert!(after <= before + earned(), "{before} before, {after} after the split");
        // Another store may have won the child's first election; it takes a part along.
        assert!(
            !stays || after >= before - 1.0,
            "{before} before, {after} after the split"
        );
    }
    assert!(!stays || shown(leads, "allowed_read_units") == Some(1.0));

    // Another store that leads the child has a half of the units, and nothing that was saved up.
    let (other, taken) = trio.nodes.iter().find(|(name, _)| **name != leader).unwrap();
    let child = "/groups/00000000000000c1";
    let number = taken.expect(200, "GET", child, "")["replication"]["replica"].clone();
    let by = trio
        .nodes
        .values()
        .find(|node| node.expect(200, "GET", child, "")["leader"] == true)
        .unwrap();
    by.put(&format!("{child}/leader"), &json!({"replica": number}));
    until("both to have their halves", || {
        let allowed = [leads, taken].map(|node| shown(node, "allowed_read_units"));
        (allowed == [Some(0.5), Some(0.5)]).then_some(())
    });
    let (kept, new) = (balance(leads), balance(taken));
    assert!(
        kept <= before + earned() && new <= earned(),
        "{before} before, {kept} and {new} (at {other}) after"
    );
}
