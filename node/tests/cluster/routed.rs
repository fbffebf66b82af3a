//! A router in front of three replicas whose leaders are killed, stopped and replaced, while clients go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::router::{Endpoint, Router, get};
use super::shared::until;
use super::split::led;
use super::table::spec;
use super::trio::{NAMES, Trio};

/// Writers that go on until they are told to stop.
pub(super) struct Writers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Written>>,
}

/// What a writer was told.
#[derive(Default)]
pub(super) struct Written {
    /// Numbers of its things that were acknowledged, in the order of the writes.
    pub(super) acknowledged: Vec<u32>,
    /// Of these nobody knows.
    pub(super) unknown: Vec<u32>,
    slowest: Duration,
}

impl Writers {
    pub(super) fn start(endpoint: &Endpoint, count: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..count).map(|writer| {
            let (endpoint, stop) = (endpoint.clone(), Arc::clone(&stop));
            std::thread::spawn(move || write(writer, &endpoint, &stop))
        });
        let threads = threads.collect();
        Self { stop, threads }
    }

    pub(super) fn finish(self) -> Vec<Written> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    }
}

/// Puts one thing after the other, and reads each back at once.
fn write(writer: u32, endpoint: &Endpoint, stop: &AtomicBool) -> Written {
    let mut written = Written::default();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let begin = Instant::now();
        let colour = ["red", "green"][number as usize % 2];
        let item = json!({"pk": {"S": key(writer, number)}, "colour": {"S": colour}});
        let (status, answer) = endpoint.call("PutItem", &json!({"TableName": "things", "Item": item}));
        written.slowest = written.slowest.max(begin.elapsed());
        match status {
            200 => written.acknowledged.push(number),
            500 | 503 => {
                written.unknown.push(number);
                continue;
            }
            _ => panic!("{status} {answer}"),
        }
        let (status, answer) = endpoint.call("GetItem", &get(&key(writer, number)));
        assert!(
            status == 503 || answer["Item"].is_object(),
            "{} is lost: {status} {answer}",
            key(writer, number)
        );
    }
    written
}

pub(super) fn key(writer: u32, number: u32) -> String {
    format!("thing-{writer}-{number}")
}

pub(super) fn scan(router: &Router) -> Vec<Value> {
    let mut items = Vec::new();
    let mut request = json!({"TableName": "things", "ConsistentRead": true, "Limit": 100});
    loop {
        let page = router.ok("Scan", &request);
        items.extend(page["Items"].as_array().unwrap().iter().cloned());
        match &page["LastEvaluatedKey"] {
            Value::Null => return items,
            key => request["ExclusiveStartKey"] = key.clone(),
        }
    }
}

/// The things of a colour, by the index.
pub(super) fn indexed(router: &Router, colour: &str) -> Vec<String> {
    let mut keys = Vec::new();
    let mut request = json!({
        "TableName": "things", "IndexName": "byColour", "KeyConditionExpression": "colour = :c",
        "ExpressionAttributeValues": {":c": {"S": colour}},
    });
    loop {
        let page = router.ok("Query", &request);
        let items = page["Items"].as_array().unwrap();
        keys.extend(items.iter().map(|item| item["pk"]["S"].as_str().unwrap().to_owned()));
        match &page["LastEvaluatedKey"] {
            Value::Null => break,
            key => request["ExclusiveStartKey"] = key.clone(),
        }
    }
    keys.sort();
    keys
}

/// The index says what the table says.
pub(super) fn index_equals_table(router: &Router) {
    for colour in ["red", "green"] {
        let items = scan(router);
        let of_colour = items.iter().filter(|item| item["colour"]["S"] == colour);
        let mut keys: Vec<String> = of_colour
            .map(|item| item["pk"]["S"].as_str().unwrap().to_owned())
            .collect();
        keys.sort();
        until("the index to have caught up", || {
            (indexed(router, colour) == keys).then_some(())
        });
    }
}

/// Everything that was acknowledged is there.
pub(super) fn nothing_is_lost(router: &Router, written: &[Written]) {
    let items = scan(router);
    let found: std::collections::BTreeSet<&str> = items.iter().map(|item| item["pk"]["S"].as_str().unwrap()).collect();
    for (writer, written) in (0..).zip(written) {
        for number in &written.acknowledged {
            assert!(
                found.contains(key(writer, *number).as_str()),
                "{} is lost",
                key(writer, *number)
            );
        }
        println!(
            "writer {writer}: {} acknowledged, {} of unknown fate, slowest {} ms",
            written.acknowledged.len(),
            written.unknown.len(),
            written.slowest.as_millis()
        );
    }
}

/// Waits until a write of each partition gets through.
pub(super) fn serves(router: &Router) -> Duration {
    let begin = Instant::now();
    until("every partition to take writes", || {
        let all = (0..16).all(|number| {
            let item = json!({"pk": {"S": format!("probe-{number}")}, "colour": {"S": "red"}});
            router.call("PutItem", &json!({"TableName": "things", "Item": item})).0 == 200
        });
        all.then_some(())
    });
    begin.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_go_on_when_leaders_are_killed() {
    let mut trio = Trio::with(spec(3, true, false)).await;
    let router = Router::start(&trio.cluster, &[]);
    serves(&router);
    let writers = Writers::start(&router.endpoint(), 4);
    for name in NAMES {
        trio.kill(name);
        println!(
            "{} ms from the kill of {name} until every partition takes writes",
            serves(&router).as_millis()
        );
        // It comes back somewhere else, and the directory does not say so.
        trio.restart(name);
        for other in NAMES.iter().filter(|other| **other != name) {
            trio.caught_up(name, other);
        }
    }
    let written = writers.finish();
    assert!(written.iter().all(|written| !written.acknowledged.is_empty()));
    nothing_is_lost(&router, &written);
    index_equals_table(&router);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_stands_still_is_left() {
    let trio = Trio::with(spec(3, true, false)).await;
    let router = Router::start(&trio.cluster, &[]);
    serves(&router);
    let writers = Writers::start(&router.endpoint(), 4);
    for name in NAMES {
        trio.nodes[name].signal("STOP");
        println!(
            "{} ms from the stop of {name} until every partition takes writes",
            serves(&router).as_millis()
        );
        // It wakes late, and learns that others lead.
        trio.nodes[name].signal("CONT");
        serves(&router);
    }
    let written = writers.finish();
    assert!(written.iter().all(|written| !written.acknowledged.is_empty()));
    nothing_is_lost(&router, &written);
    index_equals_table(&router);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eventual_reads_are_spread_and_a_planned_stop_is_not_noticed() {
    let mut trio = Trio::with(spec(3, false, false)).await;
    let router = Router::start(&trio.cluster, &[]);
    serves(&router);
    let reads = |name: &str| {
        let groups = trio.nodes[name].expect(200, "GET", "/store", "")["groups"].clone();
        let load = |group: &Value| group["load"]["readHalfUnits"].as_u64().unwrap();
        groups.as_array().unwrap().iter().map(load).sum::<u64>()
    };
    let before = NAMES.map(reads);
    let read = json!({"TableName": "things", "Key": {"pk": {"S": "probe-1"}}});
    for _ in 0..30 {
        until("the replicas to have the thing", || {
            let (status, answer) = router.call("GetItem", &read);
            (status == 200 && answer["Item"].is_object()).then_some(())
        });
    }
    let after = NAMES.map(reads);
    for (before, after) in before.iter().zip(&after) {
        assert!(after > before, "{before} {after}");
    }
    // A store that is told to stop hands over what it leads first.
    let before = led(&trio);
    let writers = Writers::start(&router.endpoint(), 4);
    let stopped = trio.nodes.remove("first").unwrap();
    assert!(stopped.stop().success());
    serves(&router);
    let written = writers.finish();
    let unknown: usize = written.iter().map(|written| written.unknown.len()).sum();
    // A hand-over is one election. On a machine that stands still for long enough there are others.
    let planned = led(&trio).iter().all(|state| {
        let same = |known: &&Value| known["descriptor"]["group"] == state["descriptor"]["group"];
        let known = before.iter().find(same).and_then(|known| known["term"].as_u64());
        known.is_some_and(|known| state["term"].as_u64() <= Some(known + 1))
    });
    println!("{unknown} of unknown fate; nobody else was lost: {planned}");
    assert!(unknown == 0 || !planned, "{unknown}");
    nothing_is_lost(&router, &written);
}
