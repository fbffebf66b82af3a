//! A router in front of three replicas whose groups split again and again, while clients go on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use partita_model::partition::{GroupId, PartitionDescriptor};
use partita_model::table::record::{Piece, cover};
use serde_json::{Value, json};

use super::node::path;
use super::routed::{Writers, index_equals_table, indexed, nothing_is_lost, scan, serves};
use super::router::{Endpoint, Router, get};
use super::shared::until;
use super::table::spec;
use super::trio::{NAMES, Trio};

/// The term of a group's first leader: it is born in the one before.
const FIRST_TERM: u64 = 2;
/// Things that are there before anything is split, and never change.
const BASE: u32 = 240;

fn base(number: u32) -> String {
    format!("base-{number}")
}

fn put_base(router: &Router) {
    for number in 0..BASE {
        router.put(&base(number), ["red", "green"][number as usize % 2]);
    }
    // The index comes after its table, and its replicas after their leader: each of them is asked in turn. One that is behind may
    // answer for a second, and readers do not wait for it.
    until("the index to have caught up everywhere", || {
        let caught_up = (0..2 * NAMES.len()).all(|_| indexed(router, "red").len() >= BASE as usize / 2);
        caught_up.then_some(())
    });
}

/// Readers that go on until they are told to stop: whatever is read, everything of before is there, and nothing twice.
struct Readers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<u32>>,
}

impl Readers {
    fn start(endpoint: &Endpoint) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let kinds: [fn(&Endpoint) -> bool; 4] = [scans_pages, scans_segments, queries_index, gets];
        let threads = kinds.map(|read| {
            let (endpoint, stop) = (endpoint.clone(), Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut rounds = 0;
                while !stop.load(Ordering::Relaxed) {
                    rounds += u32::from(read(&endpoint));
                }
                rounds
            })
        });
        Self {
            stop,
            threads: threads.into(),
        }
    }

    /// How often each has read everything.
    fn finish(self) -> Vec<u32> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    }
}

/// All pages of a Scan or Query, by key; `None` if nobody could answer one of them (a leader was killed).
fn pages(endpoint: &Endpoint, operation: &str, mut request: Value) -> Option<Vec<String>> {
    let mut keys = Vec::new();
    loop {
        let (status, page) = endpoint.call(operation, &request);
        if status == 503 || status == 500 {
            return None;
        }
        assert_eq!(status, 200, "{operation} {request}: {page}");
        let items = page["Items"].as_array().unwrap();
        assert_eq!(page["Count"], items.len());
        keys.extend(items.iter().map(|item| item["pk"]["S"].as_str().unwrap().to_owned()));
        match &page["LastEvaluatedKey"] {
            Value::Null => return Some(keys),
            key => request["ExclusiveStartKey"] = key.clone(),
        }
    }
}

/// Nothing is there twice, and everything of before is.
fn check(what: &str, keys: &[String], expected: impl Iterator<Item = u32>) {
    let found: BTreeSet<&str> = keys.iter().map(String::as_str).collect();
    assert_eq!(found.len(), keys.len(), "{what}: something is there twice");
    for number in expected {
        assert!(
            found.contains(base(number).as_str()),
            "{what}: {} is not there",
            base(number)
        );
    }
}

fn scans_pages(endpoint: &Endpoint) -> bool {
    let request = json!({"TableName": "things", "ConsistentRead": true, "Limit": 17});
    let keys = pages(endpoint, "Scan", request);
    if let Some(keys) = &keys {
        check("a scan", keys, 0..BASE);
    }
    keys.is_some()
}

fn scans_segments(endpoint: &Endpoint) -> bool {
    let mut all = Vec::new();
    for segment in 0..3 {
        let request = json!({"TableName": "things", "TotalSegments": 3, "Segment": segment, "Limit": 23});
        let Some(keys) = pages(endpoint, "Scan", request) else {
            return false;
        };
        all.extend(keys);
    }
    check("a parallel scan", &all, 0..BASE);
    true
}

fn queries_index(endpoint: &Endpoint) -> bool {
    let request = json!({
        "TableName": "things", "IndexName": "byColour", "KeyConditionExpression": "colour = :c", "Limit": 29,
        "ExpressionAttributeValues": {":c": {"S": "red"}},
    });
    let keys = pages(endpoint, "Query", request);
    if let Some(keys) = &keys {
        check("a query of the index", keys, (0..BASE).step_by(2));
    }
    keys.is_some()
}

fn gets(endpoint: &Endpoint) -> bool {
    for number in (0..BASE).step_by(10) {
        let keys: Vec<Value> = (number..number + 10)
            .map(|one| json!({"pk": {"S": base(one)}}))
            .collect();
        let request = json!({"RequestItems": {"things": {"Keys": keys, "ConsistentRead": number % 20 == 0}}});
        let (status, answer) = endpoint.call("BatchGetItem", &request);
        let (single, item) = endpoint.call("GetItem", &get(&base(number)));
        if [500, 503].contains(&status) || [500, 503].contains(&single) {
            return false;
        }
        assert!(item["Item"].is_object(), "{item}");
        if answer["UnprocessedKeys"]
            .as_object()
            .is_none_or(serde_json::Map::is_empty)
        {
            assert_eq!(answer["Responses"]["things"].as_array().unwrap().len(), 10, "{answer}");
        }
    }
    true
}

/// Every group, as its leader has it.
pub(super) fn led(trio: &Trio) -> Vec<Value> {
    let stores = trio.nodes.values().map(|node| node.expect(200, "GET", "/store", ""));
    let groups = stores.flat_map(|store| store["groups"].as_array().unwrap().clone());
    groups.filter(|group| group["leader"] == true).collect()
}

/// Whether only who was asked to led since then: a group that was there is in the term that it was in, and one that was born
/// since then is in its first one. On a machine that stands still for long enough others are elected.
fn nobody_was_elected(trio: &Trio, before: &[Value]) -> bool {
    let group_of = |state: &Value| descriptor(state).group;
    led(trio).iter().all(|state| {
        let known = before.iter().find(|known| group_of(known) == group_of(state));
        known.map_or(state["term"] == FIRST_TERM, |known| known["term"] == state["term"])
    })
}

fn descriptor(group: &Value) -> PartitionDescriptor {
    serde_json::from_value(group["descriptor"].clone()).unwrap()
}

/// Splits a group in the middle, wherever its leader is; `false` where there is no middle.
fn split(trio: &Trio, group: GroupId, number: u32) -> bool {
    let body = json!({"at": "middle", "child": format!("{:016x}", 0xc000 + number)});
    let path = format!("{}/splits/00000000-0000-0000-0000-{number:012}", path(group));
    until("the group to be split", || {
        for node in trio.nodes.values() {
            let (status, answer) = node.admin("PUT", &path, &body.to_string());
            match status {
                200 => return Some(true),
                409 if answer.contains("indivisible") => return Some(false),
                // Somebody else leads, or the one that led has gone.
                409 if answer.contains("notLeader") => {}
                503 => {}
                _ => panic!("{status} {answer}"),
            }
        }
        None
    })
}

/// Together the groups have each key of the table, and of its index, once; how many they are.
fn covered(trio: &Trio) -> [usize; 2] {
    let tables = [trio.record.id, trio.record.global[0].table];
    tables.map(|table| {
        until("each key to be somebody's", || {
            let pieces = led(trio)
                .into_iter()
                .map(|group| descriptor(&group))
                .filter(|one| one.table == table)
                .map(|one| Piece {
                    group: one.group,
                    start: one.start,
                    end: one.end,
                });
            cover(pieces.collect()).ok().map(|partitions| partitions.len())
        })
    })
}

fn count(router: &Router) -> u64 {
    let mut request = json!({"TableName": "things", "ConsistentRead": true, "Select": "COUNT"});
    let mut count = 0;
    loop {
        let page = router.ok("Scan", &request);
        count += page["Count"].as_u64().unwrap();
        match &page["LastEvaluatedKey"] {
            Value::Null => return count,
            key => request["ExclusiveStartKey"] = key.clone(),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_notices_a_split() {
    let mut trio = Trio::with(spec(2, true, false)).await;
    let router = Router::start(&trio.cluster, &[]);
    serves(&router);
    put_base(&router);
    let (writers, readers) = (
        Writers::start(&router.endpoint(), 3),
        Readers::start(&router.endpoint()),
    );
    let before = led(&trio);
    let (mut number, mut made) = (0, 0);
    for _ in 0..2 {
        for group in led(&trio) {
            number += 1;
            made += usize::from(split(&trio, descriptor(&group).group, number));
        }
    }
    let written = writers.finish();
    let rounds = readers.finish();
    println!("{made} splits; rounds of the readers {rounds:?}");
    assert!(
        made >= 9 && rounds.iter().all(|rounds| *rounds > 0),
        "{made} {rounds:?}"
    );
    // No write was refused, and of none nobody knows: unless some leader was lost.
    let steady = nobody_was_elected(&trio, &before);
    println!("nobody was elected: {steady}");
    assert!(
        written
            .iter()
            .all(|written| (written.unknown.is_empty() || !steady) && !written.acknowledged.is_empty())
    );
    let [table, index] = covered(&trio);
    assert_eq!(table + index, 4 + made);
    let whole = |router: &Router| {
        nothing_is_lost(router, &written);
        index_equals_table(router);
        assert_eq!(count(router) as usize, scan(router).len());
    };
    whole(&router);

    // A router that starts with the directory of before the splits finds all of it, and so do replicas that do.
    assert!(router.stop().success());
    let router = Router::start(&trio.cluster, &[]);
    whole(&router);
    let addresses = NAMES.map(|name| trio.nodes[name].address().to_owned());
    for name in NAMES {
        assert!(trio.nodes.remove(name).unwrap().stop().success());
    }
    for (name, address) in NAMES.into_iter().zip(&addresses) {
        trio.restart_at(name, address);
    }
    serves(&router);
    router.put("behind", "red");
    whole(&router);
    assert_eq!(covered(&trio), [table, index]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_killed_around_a_split_loses_nothing() {
    let mut trio = Trio::with(spec(1, true, false)).await;
    let router = Router::start(&trio.cluster, &[]);
    serves(&router);
    put_base(&router);
    let (writers, readers) = (
        Writers::start(&router.endpoint(), 3),
        Readers::start(&router.endpoint()),
    );
    for number in 1..=4 {
        let leader = trio.leader().await;
        let group = trio.group();
        let killed = trio.nodes.remove(leader).unwrap();
        let ordered = {
            let body = json!({"at": "middle", "child": format!("{:016x}", 0xc000 + number)});
            let path = format!("{}/splits/00000000-0000-0000-0000-{number:012}", path(group));
            let address = killed.admin_address().to_owned();
            std::thread::spawn(move || order(&address, &path, &body))
        };
        // Somewhere between before the entry is in the log and after its child has a leader.
        std::thread::sleep(std::time::Duration::from_millis(u64::from(number - 1) * 15));
        killed.kill();
        let _ = ordered.join().unwrap();
        // Whoever leads now is asked again with the same id: it is made, once.
        assert!(split(&trio, group, number));
        trio.restart(leader);
        until("the store that came back to have caught up", || {
            let has = |name: &str| -> BTreeSet<String> {
                let store = trio.nodes[name].expect(200, "GET", "/store", "");
                let groups = store["groups"].as_array().unwrap().iter();
                groups.map(|group| group["descriptor"]["group"].to_string()).collect()
            };
            let other = NAMES.iter().find(|name| **name != leader).unwrap();
            (has(leader) == has(other)).then_some(())
        });
        let [table, _] = covered(&trio);
        assert_eq!(table, 1 + number as usize);
    }
    let written = writers.finish();
    println!("rounds of the readers {:?}", readers.finish());
    nothing_is_lost(&router, &written);
    index_equals_table(&router);
    assert_eq!(count(&router) as usize, scan(&router).len());
}

/// Gives an order to somebody who may be killed before it is answered.
fn order(address: &str, path: &str, body: &Value) -> std::io::Result<()> {
    use std::io::{Read, Write};
    let body = body.to_string();
    let mut stream = std::net::TcpStream::connect(address)?;
    let length = body.len();
    write!(
        stream,
        "PUT {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )?;
    stream.read_to_end(&mut Vec::new())?;
    Ok(())
}
