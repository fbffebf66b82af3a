//! Units where a table's partitions are led by two stores: each has its part, and keeps it through a restart.

use std::time::Instant;

use partita_model::request::Refusal;
use partita_transport::{CallError, Reason};

use super::node::{Cluster, Node, eventually};
use super::table::{bootstrap, get, listed, record, spec};

/// The table has one read unit, and each of two stores half of the 300 that a new one begins with.
const PART: u64 = 150;

async fn declared(node: &Node) {
    let line = "partita_allowed_read_units{account=\"123456789012\",table=\"things\",index=\"\"} 0.5";
    eventually("the table to be declared", async || {
        let (_, metrics) = node.admin("GET", "/metrics", "");
        metrics.lines().any(|found| found == line).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn each_store_has_the_part_of_its_partitions() {
    let cluster = Cluster::new();
    let (one, other) = (cluster.start("a"), cluster.start("b"));
    let record = record(spec(2, false, false));
    let table = record.table_descriptors();
    // As in a cluster: the directory may know a table before its partitions are there.
    cluster.publish(1, &[listed(&record, &[(&one, &table[..1]), (&other, &table[1..])])]);
    bootstrap(&one, &table[..1]);
    bootstrap(&other, &table[1..]);
    declared(&one).await;
    declared(&other).await;

    let begin = Instant::now();
    // A key of the first partition.
    let request = (0..)
        .map(|number| get(&record, &number.to_string()))
        .find(|request| table[1].start > request.key)
        .unwrap();
    let read_all = async |node: &Node| {
        for admitted in 0.. {
            match node.peer().get(table[0].group, request.clone()).await {
                Ok(_) => assert!(admitted < 10 * PART, "nothing is refused"),
                Err(CallError::Refused(refused)) => {
                    let Reason::Refusal(Refusal::Throttled(throttled)) = refused.reason else {
                        panic!("{refused:?}");
                    };
                    assert_eq!(throttled.reason(), "TableReadProvisionedThroughputExceeded");
                    return admitted;
                }
                Err(error) => panic!("{error}"),
            }
        }
        unreachable!()
    };
    let first = read_all(&one).await;
    assert!(first >= PART, "{first}");
    assert!(one.stop().success());
    let one = cluster.start("a");
    declared(&one).await;
    let second = read_all(&one).await;
    let most = PART + begin.elapsed().as_secs() / 2 + 2;
    assert!(first + second <= most, "{first} and {second}, of {most}");
    let (_, metrics) = one.admin("GET", "/metrics", "");
    let line = "partita_read_throttle_events_total{account=\"123456789012\",table=\"things\",index=\"\"} 1";
    assert!(metrics.lines().any(|found| found == line), "{metrics}");
}
