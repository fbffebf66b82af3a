//! The admin API's calls for merges: a table is cut and made whole again while it is written to, a merge is given up, and what
//! makes no sense is refused with its reason.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use partita_model::partition::GroupId;
use partita_model::request::Refusal;
use partita_transport::{CallError, Reason};
use serde_json::{Value, json};

use super::node::{eventually, path};
use super::shared::{PATIENCE, until};
use super::table::{get, put as put_request, text, thing};
use super::trio::{Outcome, Trio};

const CHILD: GroupId = GroupId(0xc1);

fn step(group: GroupId, step: &str, id: u32) -> String {
    format!("{}/{step}/00000000-0000-0000-0000-{id:012}", path(group))
}

fn shown(group: GroupId) -> String {
    format!("{:016x}", group.0)
}

/// A step at the leader of its group, whoever that is: asked for again where it has to be.
fn put(trio: &Trio, path: &str, body: &Value) -> Value {
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        for node in trio.nodes.values() {
            let (status, answer) = node.admin("PUT", path, &body.to_string());
            match status {
                200 => return serde_json::from_str(&answer).unwrap(),
                // Not here, not now, or not yet.
                404 | 409 | 503 => {}
                other => panic!("{other} {answer}"),
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("{path} {body} is not done")
}

/// Puts a thing, wherever its partition's leader is.
async fn write(trio: &Trio, pk: &str, colour: &str) -> Outcome {
    eventually("an answer to a write", async || {
        for node in trio.nodes.values() {
            for group in [trio.group(), CHILD] {
                let request = put_request(&trio.record, thing(pk, Some(colour), None));
                match node.peer().write(group, request).await {
                    Ok(_) => return Some(Outcome::Acknowledged),
                    Err(CallError::Lost(_)) => return Some(Outcome::Unknown),
                    Err(CallError::Refused(refused))
                        if matches!(refused.reason, Reason::Refusal(Refusal::UnknownFate)) =>
                    {
                        return Some(Outcome::Unknown);
                    }
                    // Not there, or not yet.
                    Err(CallError::Refused(_) | CallError::NotSent(_)) => {}
                }
            }
        }
        None
    })
    .await
}

/// Puts a thing until it is acknowledged.
async fn written(trio: &Trio, pk: &str, colour: &str) {
    while write(trio, pk, colour).await != Outcome::Acknowledged {}
}

/// A thing's colour, by a strong read.
async fn colour(trio: &Trio, pk: &str) -> Option<String> {
    eventually("an answer to a strong read", async || {
        for node in trio.nodes.values() {
            for group in [trio.group(), CHILD] {
                if let Ok(reply) = node.peer().get(group, get(&trio.record, pk)).await {
                    return Some(reply.item.map(|item| text(&item, "colour")));
                }
            }
        }
        None
    })
    .await
}

/// Cuts the table in the middle.
fn halve(trio: &Trio) {
    let body = json!({"at": "middle", "child": shown(CHILD)});
    put(trio, &step(trio.group(), "splits", 1), &body);
}

fn freeze(trio: &Trio, id: u32) {
    let body = json!({"absorber": shown(trio.group())});
    while put(trio, &step(CHILD, "freezes", id), &body)["frozen"]["everywhere"] != json!(true) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_table_that_was_cut_is_made_whole_while_it_is_written_to() {
    let trio = Arc::new(Trio::start().await);
    for number in 0..40 {
        written(&trio, &format!("thing-{number}"), "red").await;
    }
    halve(&trio);
    let stop = AtomicBool::new(false);
    let writer = async {
        let mut acknowledged = Vec::new();
        for number in 0.. {
            let pk = format!("new-{number}");
            if write(&trio, &pk, "blue").await == Outcome::Acknowledged {
                acknowledged.push(pk);
            }
            if stop.load(Ordering::Relaxed) {
                break;
            }
        }
        acknowledged
    };
    let drive = {
        let trio = Arc::clone(&trio);
        move || {
            freeze(&trio, 2);
            let source = json!({"source": shown(CHILD)});
            put(&trio, &step(trio.group(), "merges", 2), &source)
        }
    };
    let driver = async {
        let merged = tokio::task::spawn_blocking(drive).await.unwrap();
        stop.store(true, Ordering::Relaxed);
        merged
    };
    let (acknowledged, merged) = tokio::join!(writer, driver);
    assert_eq!(merged["merge"]["outcome"]["merged"]["rangeEpoch"], 3, "{merged}");
    assert_eq!(merged["group"]["descriptor"]["end"], Value::Null);
    assert_eq!(merged["group"]["lineage"]["merges"][0], merged["merge"]);
    // Once more, for whoever did not hear of it; and giving it up comes too late.
    let source = json!({"source": shown(CHILD)});
    for call in ["merges", "refusals"] {
        let again = put(&trio, &step(trio.group(), call, 2), &source);
        assert_eq!(again["merge"], merged["merge"]);
    }
    for number in 0..40 {
        assert_eq!(colour(&trio, &format!("thing-{number}")).await.as_deref(), Some("red"));
    }
    for pk in acknowledged {
        assert_eq!(colour(&trio, &pk).await.as_deref(), Some("blue"), "{pk}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_that_is_given_up_lets_its_source_go_on() {
    let trio = Trio::start().await;
    for number in 0..10 {
        written(&trio, &format!("thing-{number}"), "red").await;
    }
    halve(&trio);
    freeze(&trio, 2);
    let (absorber, source) = (trio.group(), json!({"source": shown(CHILD)}));
    // Who claims that it was refused is not believed as long as it was not; nor is who tells of a merge.
    let told = |outcome: Value| {
        let merge = json!({"id": "00000000-0000-0000-0000-000000000002", "source": shown(CHILD), "outcome": outcome});
        json!({"absorber": shown(absorber), "merge": merge})
    };
    let thaw = step(CHILD, "thaws", 2);
    for node in trio.nodes.values() {
        let (status, answer) = node.admin("PUT", &thaw, &told(json!({"merged": {"rangeEpoch": 3}})).to_string());
        assert!(status == 409 && answer.contains("notRefused"), "{status} {answer}");
    }
    let refused = put(&trio, &step(absorber, "refusals", 2), &source);
    assert_eq!(refused["merge"]["outcome"], "refused");
    let again = put(&trio, &step(absorber, "merges", 2), &source);
    assert_eq!(again["merge"], refused["merge"]);
    let body = json!({"absorber": shown(absorber), "merge": refused["merge"]});
    let thawed = put(&trio, &thaw, &body);
    assert_eq!(thawed["lineage"]["frozen"], Value::Null);
    for number in 0..10 {
        let pk = format!("thing-{number}");
        written(&trio, &pk, "blue").await;
        assert_eq!(colour(&trio, &pk).await.as_deref(), Some("blue"));
    }
    // That id is over; another one can do it.
    until("the leader to say that it is over", || {
        let body = json!({"absorber": shown(absorber)}).to_string();
        let mut answers = trio
            .nodes
            .values()
            .map(|node| node.admin("PUT", &step(CHILD, "freezes", 2), &body));
        answers.any(|(_, answer)| answer.contains("mergeOver")).then_some(())
    });
    freeze(&trio, 3);
    let merged = put(&trio, &step(absorber, "merges", 3), &source);
    assert!(merged["merge"]["outcome"]["merged"].is_object(), "{merged}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_that_makes_no_sense_is_refused() {
    let trio = Trio::start().await;
    halve_at(&trio, "80");
    let leader = trio.leader().await;
    let absorber = trio.group();
    let at_leader = |status: u16, path: &str, body: &Value| {
        let (found, answer) = trio.nodes[leader].admin("PUT", path, &body.to_string());
        assert_eq!(found, status, "{path} {body}: {answer}");
        answer
    };
    let source = json!({"source": shown(CHILD)});
    for (body, reason) in [
        (json!({}), "missing field `source`"),
        (json!({"source": "c1"}), "16 hexadecimal digits"),
        (json!({"source": shown(CHILD), "force": true}), "unknown field `force`"),
    ] {
        let told = at_leader(400, &step(absorber, "merges", 2), &body);
        assert!(told.contains(reason), "{told}");
    }
    at_leader(400, &format!("{}/merges/one", path(absorber)), &source);
    at_leader(404, &step(GroupId(0xff), "merges", 2), &source);
    let told = at_leader(409, &step(absorber, "merges", 2), &source);
    assert!(told.contains("notFrozen"), "{told}");
    let told = at_leader(
        409,
        &step(absorber, "merges", 2),
        &json!({"source": "00000000000000ff"}),
    );
    assert!(told.contains("noSource"), "{told}");
    let told = at_leader(
        409,
        &step(absorber, "freezes", 2),
        &json!({"absorber": shown(absorber)}),
    );
    assert!(told.contains("notMergeable"), "{told}");
}

/// Cuts the table in front of this key.
fn halve_at(trio: &Trio, key: &str) {
    let body = json!({"at": {"key": key}, "child": shown(CHILD)});
    put(trio, &step(trio.group(), "splits", 1), &body);
}
