//! Units where a table's partitions are led by two stores: whoever leads the first one has them, the other one gets what it
//! uses, and a restart brings no second burst.

use std::time::{Duration, Instant};

use partita_model::admin::LoadSpread;
use partita_model::request::Refusal;
use partita_transport::{CallError, Reason};

use super::node::{Cluster, Node, eventually, path};
use super::table::{bootstrap, get, listed, record, spec};

/// The table has one read unit, and 300 saved up when it is new.
const BURST: u64 = 300;

const ALLOWED: &str = "partita_allowed_read_units{account=\"123456789012\",table=\"things\",index=\"\"}";

fn shows(node: &Node, series: &str) -> bool {
    let (_, metrics) = node.admin("GET", "/metrics", "");
    metrics.lines().any(|found| found.starts_with(series))
}

async fn declared(node: &Node) {
    let line = format!("{ALLOWED} 1");
    eventually("the table to be declared", async || shows(node, &line).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_units_are_where_the_load_is_and_stay_used_through_a_restart() {
    let cluster = Cluster::new();
    let (one, other) = (cluster.start("a"), cluster.start("b"));
    let record = record(spec(2, false, false));
    let table = record.table_descriptors();
    // As in a cluster: the directory may know a table before its partitions are there.
    cluster.publish(1, &[listed(&record, &[(&one, &table[..1]), (&other, &table[1..])])]);
    bootstrap(&one, &table[..1]);
    bootstrap(&other, &table[1..]);
    declared(&one).await;
    let begin = Instant::now();
    let number_in = |second: bool| {
        let requests = (0..).map(|number| get(&record, &number.to_string()));
        requests
            .clone()
            .find(|request| (request.key >= table[1].start) == second)
            .unwrap()
    };
    // Reads until nothing is admitted for a while: SDKs try again, too.
    let read_all = async |node: &Node, place: usize| {
        let request = number_in(place == 1);
        let (mut admitted, mut refused) = (0, 0);
        while refused < 60 {
            match node.peer().get(table[place].group, request.clone()).await {
                Ok(_) => (admitted, refused) = (admitted + 1, 0),
                Err(CallError::Refused(error)) => {
                    let Reason::Refusal(Refusal::Throttled(throttled)) = error.reason else {
                        panic!("{error:?}");
                    };
                    assert_eq!(throttled.reason(), "TableReadProvisionedThroughputExceeded");
                    refused += 1;
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(error) => panic!("{error}"),
            }
            assert!(admitted < 10 * BURST, "nothing is refused");
        }
        admitted
    };
    // All of the units, burst and all, though the other store has them. A grant under way may expire unused.
    let far = read_all(&other, 1).await;
    assert!(far >= BURST * 9 / 10, "{far}");
    assert!(!shows(&other, ALLOWED), "they are counted where they are");
    let near = read_all(&one, 0).await;
    assert!(one.stop().success());
    let one = cluster.start("a");
    declared(&one).await;
    let again = read_all(&one, 0).await;
    // What the time has brought, and a fallback's second at the far one before it was granted anything.
    let most = BURST + begin.elapsed().as_secs() + 6;
    assert!(far + near + again <= most, "{far}, {near} and {again}, of {most}");
    let line = "partita_read_throttle_events_total{account=\"123456789012\",table=\"things\",index=\"\",\
                reason=\"TableReadProvisionedThroughputExceeded\"}";
    assert!(shows(&one, line));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_node_says_where_half_of_a_partitions_load_is() {
    let cluster = Cluster::new();
    let node = cluster.start("a");
    let record = record(spec(1, false, false));
    let table = record.table_descriptors();
    cluster.publish(1, &[listed(&record, &[(&node, &table)])]);
    bootstrap(&node, &table);
    declared(&node).await;
    let reads = || node.expect(200, "GET", &path(table[0].group), "")["load"]["reads"].clone();
    assert!(reads().is_null(), "nobody has asked yet");
    let requests: Vec<_> = (0..BURST * 9 / 10)
        .map(|number| get(&record, &number.to_string()))
        .collect();
    for request in &requests {
        node.peer().get(table[0].group, request.clone()).await.unwrap();
    }
    let spread: LoadSpread = serde_json::from_value(reads()).unwrap();
    assert!(spread.busiest_percent < 10, "{spread:?}");
    // About one request in eight was looked at.
    let middle = spread.middle.unwrap();
    let below = requests.iter().filter(|request| request.key < middle).count();
    let part = below as f64 / requests.len() as f64;
    assert!((0.15..0.85).contains(&part), "{part}");
}
