//! Start-up after a kill takes seconds, with a gigabyte of data too.

use std::time::Duration;

use anyhow::ensure;
use partita_test_client::{Server, ServerOptions};
use serde_json::{Value, json};

use crate::Order;
use crate::scenarios::Outcome;

/// "Seconds".
const LIMIT: Duration = Duration::from_secs(10);
/// With hundreds of rounds there is time for the whole gigabyte; a quick run takes an eighth.
const FULL_BYTES: usize = 1 << 30;
const QUICK_SHARE: usize = 8;
const LONG_RUN_ROUNDS: usize = 500;
const ITEM_BYTES: usize = 40_000;
const BATCH: usize = 25;

/// Fills a table, kills the server and times the next start.
pub fn run(order: &Order) -> Outcome {
    let folder = tempfile::tempdir()?;
    let options = ServerOptions::at(folder.path());
    let server = Server::start(&options)?;
    server.create_table(&json!({
        "TableName": "big", "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "N"}],
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
    }))?;
    let bytes = if order.rounds >= LONG_RUN_ROUNDS {
        FULL_BYTES
    } else {
        FULL_BYTES / QUICK_SHARE
    };
    let mut connection = server.connect()?;
    let mut written = 0;
    while written * ITEM_BYTES < bytes {
        let requests: Vec<Value> = (written..written + BATCH)
            .map(|index| json!({"PutRequest": {"Item": item(index)}}))
            .collect();
        let reply = connection.call("BatchWriteItem", &json!({"RequestItems": {"big": requests}}))?;
        ensure!(
            reply.status == 200 && reply.json()["UnprocessedItems"] == json!({}),
            "{reply:?}"
        );
        written += BATCH;
    }
    server.kill()?;
    let server = Server::start(&options)?;
    println!(
        "  {} MB: ready {:.0} ms after the start",
        bytes >> 20,
        server.startup.as_secs_f64() * 1000.0
    );
    ensure!(server.startup < LIMIT, "that is more than {LIMIT:?}");
    let mut connection = server.connect()?;
    for index in (0..written).step_by(written / 50) {
        let key = json!({"TableName": "big", "ConsistentRead": true, "Key": {"pk": {"N": index.to_string()}}});
        let reply = connection.call("GetItem", &key)?;
        ensure!(
            reply.json()["Item"] == item(index),
            "item {index} is not what was written"
        );
    }
    server.stop()?;
    Ok(None)
}

fn item(index: usize) -> Value {
    // Text that a compressor makes little of.
    let mut state = index as u64 + 1;
    let text: String = (0..ITEM_BYTES / 11)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            format!("{:011x}", state >> 20)
        })
        .collect();
    json!({"pk": {"N": index.to_string()}, "text": {"S": text}})
}
