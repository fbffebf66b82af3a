//! Most of a group is gone for good: `partita admin recover` makes what is left the group.

use std::time::{Duration, Instant};

use super::command::{admin, fails, printed, told};
use super::node::path;
use super::trio::{NAMES, Trio, store};

const THINGS: usize = 30;

fn uuid(trio: &Trio, name: &str) -> String {
    let state = trio.nodes[name].expect(200, "GET", "/store", "");
    state["uuid"].as_str().unwrap().to_owned()
}

/// A trio whose last node, of that name, is alone; and where the others were.
async fn lost() -> (Trio, &'static str, Vec<(&'static str, String)>) {
    let mut trio = Trio::start().await;
    for number in 0..THINGS {
        trio.written(&format!("thing-{number}"), "red").await;
    }
    let leader = trio.leader().await;
    let last = *NAMES.iter().find(|name| **name != leader).unwrap();
    trio.caught_up(last, leader);
    let lost = NAMES.into_iter().filter(|name| *name != last);
    let lost: Vec<_> = lost.map(|name| (name, trio.nodes[name].address().to_owned())).collect();
    for (name, _) in &lost {
        trio.kill(name);
    }
    (trio, last, lost)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_becomes_the_group_once_somebody_accepts_the_loss() {
    let (mut trio, last, _) = lost().await;
    let group = format!("{:016x}", trio.group().0);
    let from = uuid(&trio, last);
    let order = ["recover", &group, "--from", &from];
    // Nothing is done before somebody accepts what may be missing, which is told.
    let (out, err) = printed(&admin(&trio, &order));
    assert!(err.contains("nothing has been done: --i-accept-loss does it"), "{err}");
    assert!(
        out.contains("has applied entry") && out.contains("that is what may be missing"),
        "{out}"
    );
    assert_eq!(trio.state(last)["replication"]["members"].as_array().unwrap().len(), 3);

    let id = "00000000-0000-0000-0000-00000000000a";
    let order = [&order[..], &["--i-accept-loss", "--id", id]].concat();
    let done = told(&trio, &order);
    assert_eq!(done["lost"].as_array().unwrap().len(), 2, "{done}");
    assert_eq!(trio.leader().await, last);
    for number in 0..THINGS {
        assert!(
            trio.colour(&format!("thing-{number}")).await.is_some(),
            "thing-{number} is lost"
        );
    }
    trio.written("thing", "blue").await;
    // Repeated, it was done; and there is nothing else to recover.
    let again = told(&trio, &order);
    assert_eq!(again["now"]["replica"], done["now"]["replica"]);
    fails(
        &trio,
        &["recover", &group, "--from", &from, "--i-accept-loss"],
        "nothing is lost",
    );

    // A new store is a member as any other.
    let fresh = trio.cluster.start("fourth");
    let address = store(&fresh)["store"].as_str().unwrap().to_owned();
    trio.nodes.insert("fourth", fresh);
    let added = told(&trio, &["add-learner", &group, "--store", &address]);
    assert!(added["replica"].as_u64() > done["now"]["replica"].as_u64(), "{added}");
    trio.caught_up("fourth", last);
    assert!(trio.nodes["fourth"].expect(200, "GET", &path(trio.group()), "")["applied"].as_u64() > Some(0));
}

/// Longer than those who return need to elect one of themselves.
const ELECTED: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_were_lost_do_not_elect_themselves_when_they_return_together() {
    let (mut trio, last, lost) = lost().await;
    let group = format!("{:016x}", trio.group().0);
    let from = uuid(&trio, last);
    let done = told(&trio, &["recover", &group, "--from", &from, "--i-accept-loss"]);
    assert_eq!(trio.leader().await, last);
    // With all that they had, and where each finds the other.
    for (name, address) in &lost {
        trio.restart_at(name, address);
    }
    // Each hears that the group has gone on without it, before it votes for anybody.
    let returned = Instant::now();
    while returned.elapsed() < ELECTED {
        for (name, _) in &lost {
            let state = trio.state(name);
            assert_eq!(state["leader"], false, "{name} leads: {state}");
        }
        trio.written("thing", "blue").await;
    }
    assert_eq!(trio.leader().await, last);
    assert_eq!(trio.state(last)["replication"]["replica"], done["now"]["replica"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_recovered_that_is_not_lost() {
    let mut trio = Trio::start().await;
    let group = format!("{:016x}", trio.group().0);
    let leader = trio.leader().await;
    let other = *NAMES.iter().find(|name| **name != leader).unwrap();
    let from = uuid(&trio, other);
    fails(
        &trio,
        &["recover", &group, "--from", &from, "--i-accept-loss"],
        "nothing is lost",
    );
    fails(
        &trio,
        &["recover", &group, "--from", "nobody", "--i-accept-loss"],
        "is no store of the nodes that answer",
    );
    // The node itself refuses, too, whoever asks.
    let order = format!("{}/recoveries/00000000-0000-0000-0000-00000000000b", path(trio.group()));
    let epoch = trio.state(other)["replication"]["membershipEpoch"].clone();
    let body = serde_json::json!({"expectedEpoch": epoch, "acceptLoss": true}).to_string();
    let told = trio.nodes[other].expect(409, "PUT", &order, &body);
    assert_eq!(told["code"], "quorumThere", "{told}");
    let denied = serde_json::json!({"expectedEpoch": epoch, "acceptLoss": false}).to_string();
    trio.nodes[other].expect(400, "PUT", &order, &denied);
    // One is lost: two are enough.
    trio.kill(leader);
    let refused = admin(&trio, &["recover", &group, "--from", &from, "--i-accept-loss"]);
    assert!(!refused.status.success(), "{refused:?}");
    trio.written("thing", "red").await;
    assert_eq!(trio.state(other)["replication"]["members"].as_array().unwrap().len(), 3);
}
