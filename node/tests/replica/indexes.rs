//! Deliveries to global indexes: in the same store, in another process, with a directory that lags behind, after kills.

use std::collections::BTreeSet;
use std::ops::Bound;

use partita_model::partition::PartitionDescriptor;
use partita_model::table::record::Record;

use super::node::{Cluster, Node, eventually, path};
use super::shared::until;
use super::table::{AT, bootstrap, group_of, index_partitions, listed, put, record, scan_index, spec, text, thing};

const ITEMS: usize = 60;

/// A node that refuses nothing: an index here has one read unit, and is looked at again and again.
fn unlimited(cluster: &Cluster, name: &str) -> Node {
    cluster.start_with(name, &["--admission", "off"])
}

fn pk(number: usize) -> String {
    format!("{number:04}")
}

/// Writes so many things; those that are red.
async fn write(node: &Node, record: &Record, from: usize) -> BTreeSet<String> {
    let mut red = BTreeSet::new();
    for number in from..from + ITEMS {
        let pk = pk(number);
        let colour = if number.is_multiple_of(2) { "red" } else { "blue" };
        let item = thing(&pk, Some(colour), None);
        node.peer()
            .write(group_of(record, &pk), put(record, item))
            .await
            .unwrap();
        if colour == "red" {
            red.insert(pk);
        }
    }
    red
}

/// What the index's partitions at these places hold: all keys, and those of red things.
async fn rows(record: &Record, places: &[(&Node, &[PartitionDescriptor])]) -> (usize, BTreeSet<String>) {
    let (mut all, mut red) = (0, BTreeSet::new());
    for (node, partitions) in places {
        for partition in *partitions {
            let mut page = scan_index(record, record.global[0].id);
            page.range = (
                Bound::Included(partition.start.clone()),
                partition.end.clone().map_or(Bound::Unbounded, Bound::Excluded),
            );
            let peer = node.peer();
            let read = async || peer.page(partition.group, page.clone()).await.ok();
            let page = eventually("a page of the index", read).await;
            all += page.items.len();
            red.extend(
                page.items
                    .iter()
                    .filter(|row| text(row, "colour") == "red")
                    .map(|row| text(row, "pk")),
            );
        }
    }
    (all, red)
}

async fn until_rows(
    record: &Record,
    places: &[(&Node, &[PartitionDescriptor])],
    wanted: &BTreeSet<String>,
    all: usize,
) {
    let arrived = async || (rows(record, places).await == (all, wanted.clone())).then_some(());
    eventually("rows to arrive", arrived).await;
}

/// How far the backfill of the only index is in these partitions: done everywhere, or why one waits.
fn backfill(node: &Node, record: &Record, partitions: &[PartitionDescriptor]) -> (bool, Option<String>) {
    let (mut done, mut waiting) = (true, None);
    for partition in partitions {
        let index = record.global[0].id.0;
        let state = node.put(&format!("{}/backfill/{index}", path(partition.group)), &());
        done &= state["done"] == true;
        waiting = waiting.or(state["waiting"].as_str().map(str::to_owned));
    }
    (done, waiting)
}

fn lags(node: &Node) -> bool {
    let (_, metrics) = node.admin("GET", "/metrics", "");
    metrics.contains("\npartita_index_lag_seconds{")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn changes_reach_indexes_here_and_elsewhere() {
    let cluster = Cluster::new();
    let (a, b) = (unlimited(&cluster, "a"), unlimited(&cluster, "b"));
    let record = record(spec(2, true, false));
    let (table, index) = (record.table_descriptors(), index_partitions(&record));
    let (here, there) = index.split_at(1);
    bootstrap(&a, &table);
    bootstrap(&a, here);
    bootstrap(&b, there);
    cluster.publish(1, &[listed(&record, &[(&a, &table), (&a, here), (&b, there)])]);
    let places: [(&Node, &[PartitionDescriptor]); 2] = [(&a, here), (&b, there)];
    let mut red = write(&a, &record, 0).await;
    until_rows(&record, &places, &red, ITEMS).await;

    // An item that changes its colour moves, within a partition of the index or between them.
    let moved = pk(0);
    let painted = put(&record, thing(&moved, Some("green"), None));
    a.written(group_of(&record, &moved), painted).await;
    red.remove(&moved);
    until_rows(&record, &places, &red, ITEMS).await;
    assert!(lags(&a) && !lags(&b));
    assert!(b.stop().success());
    assert!(a.stop().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn changes_wait_for_a_directory_that_lags_behind() {
    let cluster = Cluster::new();
    let (a, b) = (unlimited(&cluster, "a"), unlimited(&cluster, "b"));
    let record = record(spec(2, true, false));
    let (table, index) = (record.table_descriptors(), index_partitions(&record));
    bootstrap(&a, &table);
    bootstrap(&b, &index);
    let places: [(&Node, &[PartitionDescriptor]); 1] = [(&b, &index)];
    let red = write(&a, &record, 0).await;
    let waits = || {
        let (done, waiting) = backfill(&a, &record, &table);
        assert!(!done);
        waiting
            .filter(|reason| reason.contains("the directory does not know"))
            .map(drop)
    };
    until("delivery to wait for the table", waits);
    cluster.publish(1, &[listed(&record, &[(&a, &table), (&b, &index[..1])])]);
    // Nothing says when the node has read it; whatever it has read, no row may be passed over.
    until("delivery to wait for the index", waits);
    assert_eq!(rows(&record, &places).await.0, 0);
    cluster.publish(2, &[listed(&record, &[(&a, &table), (&b, &index)])]);
    until_rows(&record, &places, &red, ITEMS).await;
    until("the walk to end", || backfill(&a, &record, &table).0.then_some(()));
    until_rows(&record, &places, &red, ITEMS).await;

    // A directory that has forgotten the index (another router's, say) holds up the worker that runs, too.
    cluster.publish(3, &[listed(&record, &[(&a, &table)])]);
    let mut written = ITEMS;
    let mut wanted = red;
    eventually("delivery to wait again", async || {
        wanted.append(&mut write(&a, &record, written).await);
        written += ITEMS;
        let (_, metrics) = a.admin("GET", "/metrics", "");
        let mut gauges = metrics
            .lines()
            .filter(|line| line.starts_with("partita_index_delivery_waits{"));
        gauges.any(|line| line.ends_with(" 1")).then_some(())
    })
    .await;
    cluster.publish(4, &[listed(&record, &[(&a, &table), (&b, &index)])]);
    until_rows(&record, &places, &wanted, written).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_index_is_built_whatever_restarts() {
    let cluster = Cluster::new();
    let (mut a, mut b) = (unlimited(&cluster, "a"), unlimited(&cluster, "b"));
    let before = record(spec(1, false, false));
    let table = before.table_descriptors();
    bootstrap(&a, &table);
    let mut red = BTreeSet::new();
    for part in 0..12 {
        red.append(&mut write(&a, &before, part * ITEMS).await);
    }

    let mut record = before.clone();
    record.retarget(spec(1, true, false), AT).unwrap();
    let index = index_partitions(&record);
    bootstrap(&b, &index);
    a.put(&format!("{}/schema", path(table[0].group)), &record.schema());
    // The source restarts before anything can be delivered, and while it is.
    assert!(!backfill(&a, &record, &table).0);
    a.kill();
    a = unlimited(&cluster, "a");
    assert!(!backfill(&a, &record, &table).0);
    cluster.publish(1, &[listed(&record, &[(&a, &table), (&b, &index)])]);
    eventually("the first rows", async || {
        (rows(&record, &[(&b, &index)]).await.0 > 0).then_some(())
    })
    .await;
    a.kill();
    a = unlimited(&cluster, "a");
    backfill(&a, &record, &table);
    // So does the index's store, and comes back elsewhere.
    b.kill();
    b = unlimited(&cluster, "b");
    red.append(&mut write(&a, &record, 12 * ITEMS).await);
    cluster.publish(2, &[listed(&record, &[(&a, &table), (&b, &index)])]);
    until("the walk to end", || backfill(&a, &record, &table).0.then_some(()));
    until_rows(&record, &[(&b, &index)], &red, 13 * ITEMS).await;
    // How it ended is known; another version of the schema makes no difference to an index.
    record.index_built("byColour");
    a.put(&format!("{}/schema", path(table[0].group)), &record.schema());
    assert_eq!(backfill(&a, &record, &table), (true, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_index_that_is_given_up_holds_nothing_back() {
    let cluster = Cluster::new();
    let a = unlimited(&cluster, "a");
    let mut record = record(spec(1, true, false));
    let table = record.table_descriptors();
    bootstrap(&a, &table);
    write(&a, &record, 0).await;
    until("delivery to wait", || backfill(&a, &record, &table).1.map(drop));
    assert!(lags(&a));
    record.retarget(spec(1, false, false), AT).unwrap();
    let own = path(table[0].group);
    a.put(&format!("{own}/schema"), &record.schema());
    until("delivery to end", || (!lags(&a)).then_some(()));
    a.expect(409, "PUT", &format!("{own}/backfill/1"), "");
}
