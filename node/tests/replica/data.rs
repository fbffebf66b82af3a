//! Requests of routers: answers, corrections, restarts, what is counted of them.

use partita_model::partition::GroupId;
use partita_model::request::Refusal;
use partita_model::schema::{SchemaVersion, TableId};
use partita_transport::{CallError, Reason, Refused};

use super::node::Cluster;
use super::table::{AT, bootstrap, get, group_of, index_partitions, put, record, spec, text, thing};

fn refused(error: CallError) -> Refused {
    match error {
        CallError::Refused(refused) => refused,
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_was_acknowledged_survives_a_kill() {
    let cluster = Cluster::new();
    let mut node = cluster.start("a");
    let record = record(spec(2, false, false));
    bootstrap(&node, &record.table_descriptors());
    for round in 0..3 {
        for item in 0..50 {
            let pk = format!("{round}-{item}");
            let written = put(&record, thing(&pk, Some("red"), None));
            node.written(group_of(&record, &pk), written).await;
        }
        node.kill();
        node = cluster.start("a");
        for item in 0..50 {
            let pk = format!("{round}-{item}");
            let found = node
                .peer()
                .get(group_of(&record, &pk), get(&record, &pk))
                .await
                .unwrap();
            assert_eq!(text(&found.item.unwrap(), "colour"), "red");
        }
    }
    assert!(node.stop().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn wrong_routes_are_corrected() {
    let cluster = Cluster::new();
    let node = cluster.start("a");
    let before = record(spec(2, false, false));
    let partitions = before.table_descriptors();
    bootstrap(&node, &partitions);
    let peer = node.peer();
    let (right, wrong) = match group_of(&before, "a") {
        group if group == partitions[0].group => (0, 1),
        _ => (1, 0),
    };

    let answer = refused(peer.get(partitions[wrong].group, get(&before, "a")).await.unwrap_err());
    assert_eq!(answer.reason, Reason::Refusal(Refusal::WrongRange));
    assert_eq!(answer.known.len(), 2);
    assert!(answer.known.contains(&partitions[right]));

    let write = put(&before, thing("a", None, None));
    let answer = refused(peer.write(GroupId(0xaa), write.clone()).await.unwrap_err());
    assert_eq!(answer.reason, Reason::UnknownGroup);
    assert!(answer.known.contains(&partitions[right]));
    let mut stranger = write.clone();
    stranger.table = TableId(1);
    let answer = refused(peer.write(GroupId(0xaa), stranger).await.unwrap_err());
    assert_eq!((answer.reason, answer.known), (Reason::UnknownGroup, Vec::new()));

    let mut after = before.clone();
    after.retarget(spec(2, false, true), AT).unwrap();
    node.put(
        &format!("{}/schema", super::node::path(partitions[right].group)),
        &after.schema(),
    );
    let answer = refused(peer.write(partitions[right].group, write).await.unwrap_err());
    assert_eq!(answer.reason, Reason::Refusal(Refusal::StaleSchema));
    let newest = answer
        .known
        .iter()
        .filter_map(|known| known.schema())
        .map(|schema| schema.version)
        .max();
    assert_eq!(newest, Some(after.schema().version));
    let newer = put(&after, thing("a", None, None));
    peer.write(partitions[right].group, newer).await.unwrap();

    node.expect(200, "DELETE", &super::node::path(partitions[right].group), "");
    let answer = refused(peer.get(partitions[right].group, get(&after, "a")).await.unwrap_err());
    assert_eq!(answer.reason, Reason::UnknownGroup);
    assert_eq!(answer.known, [partitions[wrong].clone()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_store_describes_itself() {
    let cluster = Cluster::new();
    let node = cluster.start("a");
    let record = record(spec(2, true, false));
    let (table, index) = (record.table_descriptors(), index_partitions(&record));
    bootstrap(&node, &table);
    bootstrap(&node, &index);
    let peer = node.peer();
    assert_eq!(peer.describe(GroupId(1), record.id).await.unwrap().len(), 4);
    assert_eq!(peer.describe(GroupId(1), index[0].table).await.unwrap().len(), 2);
    assert_eq!(peer.describe(GroupId(1), TableId(1)).await.unwrap(), []);
    let stats = peer.stats(table[0].group).await.unwrap();
    assert!(stats.leader && stats.term > 0);
    assert_eq!(stats.schema_version, record.schema().version);
    assert_eq!(
        peer.stats(index[0].group).await.unwrap().schema_version,
        SchemaVersion(0)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn use_is_counted_by_partition() {
    let cluster = Cluster::new();
    let node = cluster.start("a");
    let record = record(spec(1, true, false));
    let table = record.table_descriptors();
    bootstrap(&node, &table);
    let (peer, group) = (node.peer(), table[0].group);
    for pk in ["a", "b"] {
        peer.write(group, put(&record, thing(pk, Some("red"), None)))
            .await
            .unwrap();
    }
    peer.get(group, get(&record, "a")).await.unwrap();
    let mut eventual = get(&record, "a");
    eventual.consistent = false;
    peer.get(group, eventual).await.unwrap();
    let mut stale = get(&record, "a");
    stale.table = TableId(1);
    refused(peer.get(group, stale).await.unwrap_err());
    for unknown in 0..3 {
        refused(peer.get(GroupId(1 + unknown), get(&record, "a")).await.unwrap_err());
    }

    let (status, metrics) = node.admin("GET", "/metrics", "");
    assert_eq!(status, 200);
    let own = |index: &str| format!("{{table=\"things\",index=\"{index}\",partition=\"{:016x}\"", group.0);
    for line in [
        format!("partita_partition_items{}}} 2", own("")),
        format!("partita_partition_consumed_write_units_total{}}} 2", own("")),
        format!("partita_partition_consumed_write_units_total{}}} 2", own("byColour")),
        format!("partita_partition_consumed_read_units_total{}}} 1.5", own("")),
        format!(
            "partita_partition_requests_total{},operation=\"get\",result=\"ok\"}} 2",
            own("")
        ),
        format!(
            "partita_partition_requests_total{},operation=\"get\",result=\"wrong_range\"}} 1",
            own("")
        ),
        "partita_unknown_group_requests_total 3".to_owned(),
        "partita_replica_request_duration_seconds_count{operation=\"write\"} 2".to_owned(),
        "partita_groups 1".to_owned(),
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line} is not in\n{metrics}"
        );
    }
    node.expect(200, "DELETE", &super::node::path(group), "");
    let (_, metrics) = node.admin("GET", "/metrics", "");
    assert!(!metrics.contains("partition=\""), "{metrics}");
}
