//! What the server has, held against what the clients know.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use partita_test_client::Connection;
use serde_json::{Value, json};

use crate::model::{BY_GROUP, BY_RANK, COUNTER, GROUPS, Item, Model, PLAIN, Place, STORM, States};
use crate::storm::Worker;

/// A GSI follows within milliseconds; on a machine that does other things, within this.
const INDEX_LIMIT: Duration = Duration::from_secs(30);

/// The definitions of both tables.
pub fn tables() -> [Value; 2] {
    let definition = |name: &str, kind: &str| json!({"AttributeName": name, "AttributeType": kind});
    let key = |hash: &str, range: &str| json!([{"AttributeName": hash, "KeyType": "HASH"}, {"AttributeName": range, "KeyType": "RANGE"}]);
    [
        json!({
            "TableName": STORM, "BillingMode": "PAY_PER_REQUEST", "KeySchema": key("pk", "sk"),
            "AttributeDefinitions": [
                definition("pk", "S"), definition("sk", "S"), definition("rank", "N"), definition("group", "S")
            ],
            "LocalSecondaryIndexes": [
                {"IndexName": BY_RANK, "KeySchema": key("pk", "rank"), "Projection": {"ProjectionType": "ALL"}}
            ],
            "GlobalSecondaryIndexes": [
                {"IndexName": BY_GROUP, "KeySchema": key("group", "sk"), "Projection": {"ProjectionType": "ALL"}}
            ],
        }),
        json!({
            "TableName": PLAIN, "BillingMode": "PAY_PER_REQUEST", "AttributeDefinitions": [definition("pk", "S")],
            "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
        }),
    ]
}

/// Every row of a table or index.
pub fn scan(connection: &mut Connection, table: &str, index: Option<&str>, consistent: bool) -> Result<Vec<Value>> {
    let mut request = json!({"TableName": table, "ConsistentRead": consistent});
    if let Some(index) = index {
        request["IndexName"] = json!(index);
    }
    let mut items = Vec::new();
    loop {
        let reply = connection.call("Scan", &request)?;
        ensure!(reply.status == 200, "Scan: {}", String::from_utf8_lossy(&reply.body));
        let mut page = reply.json();
        if let Some(list) = page["Items"].as_array_mut() {
            items.append(list);
        }
        match page.get("LastEvaluatedKey") {
            Some(key) => request["ExclusiveStartKey"] = key.clone(),
            None => return Ok(items),
        }
    }
}

/// Holds everything against the workers' models, and makes the models certain again. `counted` is the counter's value
/// when it was last read; the new one is returned.
pub fn verify(connection: &mut Connection, workers: &mut [Worker], counted: u64) -> Result<u64> {
    let mut storm = by_key(scan(connection, STORM, None, true)?)?;
    let mut plain = by_key(scan(connection, PLAIN, None, true)?)?;
    let counter = plain.remove(&json!({"pk": {"S": COUNTER}}).to_string());
    let counter = counter.map_or(Some(0), |item| {
        item["hits"]["N"].as_str().and_then(|text| text.parse().ok())
    });
    let counter = counter.context("the counter is no number")?;
    let (mut added, mut perhaps) = (0, 0);

    let rows: Vec<Value> = storm.values().cloned().collect();
    for worker in workers.iter_mut() {
        settle(&mut worker.model, &mut storm, &mut plain)?;
        added += std::mem::take(&mut worker.model.added);
        perhaps += std::mem::take(&mut worker.model.perhaps_added);
    }
    ensure!(
        (counted + added..=counted + added + perhaps).contains(&counter),
        "the counter is {counter}; it was {counted}, {added} additions were acknowledged, {perhaps} are of unknown fate"
    );
    for (what, left) in [(STORM, &storm), (PLAIN, &plain)] {
        ensure!(
            left.is_empty(),
            "{what} has items that nobody wrote: {:?}",
            left.keys().collect::<Vec<_>>()
        );
    }

    let local = scan(connection, STORM, Some(BY_RANK), true)?;
    ensure!(sorted(local) == sorted(rows.clone()), "the LSI differs from its table");
    let grouped = sorted(rows.into_iter().filter(|row| row.get("group").is_some()).collect());
    let began = Instant::now();
    loop {
        let index = sorted(scan(connection, STORM, Some(BY_GROUP), false)?);
        if index == grouped {
            break;
        }
        ensure!(
            began.elapsed() < INDEX_LIMIT,
            "the GSI differs from its table after {INDEX_LIMIT:?}: {} rows for {} items with one of {} groups",
            index.len(),
            grouped.len(),
            GROUPS - 1
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(counter)
}

/// Takes a worker's items out of what was found, checks each, and settles those of unknown fate.
fn settle(model: &mut Model, storm: &mut BTreeMap<String, Value>, plain: &mut BTreeMap<String, Value>) -> Result<()> {
    for (place, states) in &mut model.places {
        let found = if place.table == STORM { &mut *storm } else { &mut *plain }.remove(&place.key().to_string());
        *states = vec![matching(place, states, found.as_ref())?];
    }
    Ok(())
}

fn matching(place: &Place, states: &States, found: Option<&Value>) -> Result<Option<Item>> {
    let state = states
        .iter()
        .find(|state| state.as_ref().map(|item| place.item(item)).as_ref() == found);
    state.cloned().with_context(|| {
        let shown = found.map(|item| item.to_string().chars().take(300).collect::<String>());
        format!("{place:?} holds {shown:?}, which is none of {states:?}")
    })
}

fn by_key(items: Vec<Value>) -> Result<BTreeMap<String, Value>> {
    let mut map = BTreeMap::new();
    for item in items {
        let mut key = json!({"pk": item["pk"]});
        if let Some(sort) = item.get("sk") {
            key["sk"] = sort.clone();
        }
        ensure!(
            map.insert(key.to_string(), item).is_none(),
            "the key {key} was found twice"
        );
    }
    Ok(map)
}

fn sorted(items: Vec<Value>) -> Vec<String> {
    let mut texts: Vec<String> = items.iter().map(Value::to_string).collect();
    texts.sort();
    texts
}
