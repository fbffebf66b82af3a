//! Members that come and go, leaders that hand over, and calls that change nothing.

use serde_json::{Value, json};

use super::node::{Node, path};
use super::shared::until;
use super::trio::{Trio, store};

/// A change's path.
fn change(trio: &Trio, id: u32) -> String {
    format!("{}/changes/00000000-0000-0000-0000-{id:012}", path(trio.group()))
}

/// A call that must be refused, with this code.
fn refused(node: &Node, path: &str, body: &Value, code: &str) -> Value {
    let answer = node.expect(409, "PUT", path, &body.to_string());
    assert_eq!(answer["code"], code, "{answer}");
    answer
}

fn roles(state: &Value) -> Vec<(u64, String)> {
    let members = state["replication"]["members"].as_array().unwrap();
    let role = |member: &Value| {
        (
            member["replica"].as_u64().unwrap(),
            member["role"].as_str().unwrap().to_owned(),
        )
    };
    members.iter().map(role).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_moves_to_another_store() {
    let mut trio = Trio::start().await;
    for number in 0..20 {
        trio.written(&format!("thing-{number}"), "red").await;
    }
    let fourth = trio.cluster.start("fourth");
    let leader = trio.leader().await;
    let add = json!({"step": {"addLearner": store(&fourth)}});
    let (status, added) = trio.at_leader(&change(&trio, 1), &add);
    assert_eq!((status, &added["replica"]), (200, &json!(4)), "{added}");
    // Asked again with the same id it is told what came of it, and nothing more comes of it.
    let (_, again) = trio.at_leader(&change(&trio, 1), &add);
    assert_eq!(
        (&again["replica"], &again["epoch"]),
        (&added["replica"], &added["epoch"])
    );
    let refused_there = |id: u32, body: &Value, code: &str| {
        let (status, answer) = trio.at_leader(&change(&trio, id), body);
        assert_eq!((status, &answer["code"]), (409, &json!(code)), "{answer}");
    };
    refused_there(2, &add, "storeTaken");

    let members: Vec<Value> = trio.nodes.values().map(store).collect();
    let room = json!({"descriptor": trio.descriptor(), "replica": 4, "members": members});
    fourth.put(&format!("{}/replica", path(trio.group())), &room);
    fourth.put(&format!("{}/replica", path(trio.group())), &room);
    let other = json!({"descriptor": trio.descriptor(), "replica": 5});
    refused(
        &fourth,
        &format!("{}/replica", path(trio.group())),
        &other,
        "storeTaken",
    );

    // A follower goes; the new one takes its place once it has caught up.
    let replica = |name: &str| trio.state(name)["replication"]["replica"].as_u64().unwrap();
    let (lead, goes) = (
        replica(leader),
        trio.nodes.keys().find(|name| **name != leader).copied().unwrap(),
    );
    until("the leader to have refused to replace itself", || {
        let swap = json!({"step": {"replace": {"add": 4, "remove": lead}}});
        let (_, answer) = trio.nodes[leader].admin("PUT", &change(&trio, 3), &swap.to_string());
        if answer.contains("\"leads\"") {
            return Some(());
        }
        // Somebody else leads by now: it is told to hand over, wherever it is.
        trio.at_leader(&format!("{}/leader", path(trio.group())), &json!({"replica": lead}));
        None
    });
    refused_there(3, &json!({"step": {"promote": 9}}), "noSuchMember");
    refused_there(3, &json!({"expectedEpoch": 1, "step": {"promote": 4}}), "staleEpoch");
    let gone = replica(goes);
    let swap = json!({"step": {"replace": {"add": 4, "remove": gone}}});
    until("the learner to have caught up", || {
        let (status, answer) = trio.at_leader(&change(&trio, 4), &swap);
        if answer["code"] == "leads" {
            trio.at_leader(&format!("{}/leader", path(trio.group())), &json!({"replica": lead}));
        } else {
            assert!(status == 200 || answer["code"] == "behind", "{answer}");
        }
        (status == 200).then_some(())
    });
    until("the old configuration to be left", || {
        let state = trio.state(leader);
        (state["replication"]["joint"] == false).then_some(())
    });
    let mut expected: Vec<u64> = (1..=4).filter(|number| *number != gone).collect();
    expected.sort_unstable();
    let found = roles(&trio.state(leader));
    assert_eq!(found.iter().map(|(number, _)| *number).collect::<Vec<_>>(), expected);
    assert!(found.iter().all(|(_, role)| role == "voter"), "{found:?}");

    // What is left of the old replica is destroyed where it was, and never comes back.
    let old = trio.nodes.remove(goes).unwrap();
    assert_eq!(old.admin("DELETE", &path(trio.group()), "").0, 200);
    let back = json!({"descriptor": trio.descriptor(), "replica": gone.max(2)});
    refused(&old, &format!("{}/replica", path(trio.group())), &back, "destroyed");

    // The group lives on without one of the two that were there from the beginning: the new one counts.
    trio.nodes.insert("fourth", fourth);
    trio.kill(leader);
    for number in 0..20 {
        assert!(trio.colour(&format!("thing-{number}")).await.is_some());
    }
    trio.written("thing-20", "blue").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_is_handed_over() {
    let trio = Trio::start().await;
    let leader = trio.leader().await;
    let other = trio.nodes.keys().find(|name| **name != leader).copied().unwrap();
    let number = trio.state(other)["replication"]["replica"].clone();
    let to = format!("{}/leader", path(trio.group()));
    let wanted = json!({"replica": number});
    // The follower says where to ask; whoever may not lead is refused.
    let misdirected = refused(&trio.nodes[other], &to, &json!({"replica": 7}), "notLeader");
    assert_eq!(
        misdirected["leader"]["address"],
        trio.nodes[leader].address(),
        "{misdirected}"
    );
    refused(&trio.nodes[leader], &to, &json!({"replica": 7}), "noSuchMember");
    let state = trio.nodes[leader].put(&to, &wanted);
    assert_eq!(state["replication"]["leader"], number);
    trio.nodes[leader].put(&to, &wanted);
    assert_eq!(trio.leader().await, other);

    // A store that drains gives away what it leads, and does not keep what it gets.
    let drained = trio.nodes[other].put("/drain", &json!({}));
    assert_eq!(drained, json!({"draining": true, "leads": []}));
    let next = trio.leader().await;
    assert_ne!(next, other);
    trio.nodes[next].put(&to, &wanted);
    until("the drained store to have given it away again", || {
        (trio.state(other)["leader"] == false).then_some(())
    });
    let undrained = trio.nodes[other].expect(200, "DELETE", "/drain", "");
    assert_eq!(undrained["draining"], false);
    trio.written("thing", "red").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_lose_the_quorum_is_refused() {
    let mut trio = Trio::start().await;
    let leader = trio.leader().await;
    let others: Vec<&str> = trio.nodes.keys().filter(|name| **name != leader).copied().collect();
    let stays = trio.state(others[0])["replication"]["replica"].clone();
    trio.kill(others[1]);
    // Of the two that would be left one is dead: nothing could be committed any more.
    let remove = json!({"step": {"remove": stays}});
    until("the leader to have missed it", || {
        let state = trio.state(leader);
        let members = state["replication"]["members"].as_array().unwrap();
        members.iter().any(|member| member["alive"] == false).then_some(())
    });
    let before = trio.state(leader)["replication"]["membershipEpoch"].clone();
    refused(&trio.nodes[leader], &change(&trio, 1), &remove, "quorumLost");
    assert_eq!(trio.state(leader)["replication"]["membershipEpoch"], before);
    trio.written("thing", "red").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_birth_that_makes_no_sense_is_refused() {
    let trio = Trio::start().await;
    let stranger = trio.cluster.start("fourth");
    let voters = format!("{}/voters", path(trio.group()));
    let body = trio.birth(&trio.descriptor(), 0);
    let told = stranger.expect(409, "PUT", &voters, &body.to_string());
    assert!(
        told["message"].as_str().unwrap().contains("is not among the voters"),
        "{told}"
    );
    let first = &trio.nodes["first"];
    // Made already: found as it is.
    let found = first.put(&voters, &body);
    assert_eq!(roles(&found).len(), 3);
    let mut cases = vec![
        (json!({"descriptor": trio.descriptor(), "voters": []}), "0 voters"),
        (
            json!({"descriptor": trio.descriptor(), "voters": [store(first), store(&stranger)]}),
            "2 voters",
        ),
        (
            json!({"descriptor": trio.descriptor(), "voters": [store(first), store(first), store(first)]}),
            "a store is among the voters twice",
        ),
    ];
    for (field, value) in [
        ("store", "x"),
        ("address", "nowhere"),
        ("address", ":1"),
        ("address", "a:0"),
    ] {
        let mut wrong = body.clone();
        wrong["voters"][0][field] = json!(value);
        cases.push((wrong, value));
    }
    for (body, reason) in cases {
        let told = first.expect(400, "PUT", &voters, &body.to_string());
        assert!(told["message"].as_str().unwrap().contains(reason), "{told}");
    }
    let not_a_uuid = format!("{}/changes/one", path(trio.group()));
    first.expect(400, "PUT", &not_a_uuid, &json!({"step": {"promote": 2}}).to_string());
    first.expect(
        400,
        "PUT",
        &change(&trio, 1),
        &json!({"step": {"demote": 2}}).to_string(),
    );
    first.expect(
        404,
        "PUT",
        "/groups/00000000000000ff/leader",
        &json!({"replica": 2}).to_string(),
    );
}

/// What a node says of its replicas to whoever is about to stop another one.
fn counted_on(node: &Node) -> (u16, String) {
    assert_eq!(node.admin("GET", "/readyz", "").0, 200);
    node.admin("GET", "/readyz/replicas", "")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_is_counted_on_once_it_has_caught_up() {
    let mut trio = Trio::start().await;
    for node in trio.nodes.values() {
        until("a replica to be counted on", || {
            (counted_on(node).0 == 200).then_some(())
        });
    }
    let empty = trio.cluster.start("fourth");
    let (status, words) = counted_on(&empty);
    assert_eq!((status, words.trim()), (503, "there are no replicas here yet"));
    // One that starts alone knows of no leader, and is not counted on before there is one.
    let places = trio.nodes.iter().map(|(name, node)| (*name, node.address().to_owned()));
    let places: Vec<(&'static str, String)> = places.collect();
    for (name, _) in &places {
        trio.kill(name);
    }
    let names = [places[0].0, places[1].0];
    trio.restart_at(names[0], &places[0].1);
    let (status, words) = counted_on(&trio.nodes[names[0]]);
    assert_eq!(status, 503);
    assert!(words.contains("1 replica(s) have not caught up"), "{words}");
    trio.restart_at(names[1], &places[1].1);
    for name in names {
        until("a replica to be counted on", || {
            (counted_on(&trio.nodes[name]).0 == 200).then_some(())
        });
    }
}
