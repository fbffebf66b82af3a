//! Time to live: the sweep, and the walks that make and drop expiry rows.

use super::node::{Cluster, Node, path};
use super::shared::until;
use super::table::{AT, bootstrap, put, record, spec, thing};

/// Long ago, but not so long that the service would leave the item alone.
fn past_s() -> i64 {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    now.as_secs() as i64 - 1000
}

fn items(node: &Node) -> u64 {
    let store = node.expect(200, "GET", "/store", "");
    store["groups"][0]["sizes"]["items"].as_u64().unwrap()
}

fn job(node: &Node, path: &str) -> serde_json::Value {
    until("the walk to end", || {
        let state = node.put(path, &());
        (state["done"] == true).then_some(state)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn items_expire_once_their_rows_are_made() {
    let cluster = Cluster::new();
    let node = cluster.start("a");
    let before = record(spec(1, false, false));
    let partition = before.table_descriptors().remove(0);
    bootstrap(&node, std::slice::from_ref(&partition));
    let own = path(partition.group);
    for pk in 0..600 {
        let item = thing(&pk.to_string(), None, (pk % 2 == 0).then(past_s));
        node.written(partition.group, put(&before, item)).await;
    }
    let off = job(&node, &format!("{own}/expiry/off"));
    assert_eq!(off["done"], true);

    let mut on = before.clone();
    on.retarget(spec(1, false, true), AT).unwrap();
    node.put(&format!("{own}/schema"), &on.schema());
    node.expect(409, "PUT", &format!("{own}/expiry/off"), "");
    let walked = job(&node, &format!("{own}/expiry/on"));
    assert_eq!(walked["rows"], 600, "{walked}");
    // How it ended is known from now on.
    assert_eq!(node.put(&format!("{own}/expiry/on"), &()), walked);
    until("expired items to go", || (items(&node) == 300).then_some(()));

    node.peer()
        .write(partition.group, put(&on, thing("new", None, Some(past_s()))))
        .await
        .unwrap();
    until("a new item to expire", || (items(&node) == 300).then_some(()));
    let (_, metrics) = node.admin("GET", "/metrics", "");
    let line = format!(
        "\npartita_expired_items_total{{table=\"things\",index=\"\",partition=\"{:016x}\"}} 301\n",
        partition.group.0
    );
    assert!(metrics.contains(&line), "{metrics}");
    assert!(node.stop().success());
}
