//! Limits of sizes and counts, and what else a script cannot say.

use std::sync::Arc;

use serde_json::{Value, json};

use super::call;
use super::memory::Memory;

/// A table `tab` with the partition key `pk`, and two indexes of which one is being built.
fn table() -> Arc<Memory> {
    let memory = Memory::default();
    memory.create(&json!({
        "TableName": "tab",
        "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
        "GlobalSecondaryIndexes": [{
            "IndexName": "backfilling",
            "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
            "Projection": {"ProjectionType": "ALL"},
        }],
    }));
    Arc::new(memory)
}

async fn send(backend: &Arc<Memory>, operation: &str, body: &str) -> (u16, Value) {
    let (status, body) = call(backend, operation, body).await;
    (status, serde_json::from_slice(&body).unwrap())
}

/// The message of the error that a request gets.
async fn refused(backend: &Arc<Memory>, operation: &str, request: Value) -> String {
    let (status, body) = send(backend, operation, &request.to_string()).await;
    assert_eq!(status, 400, "{body}");
    body["message"].as_str().unwrap().to_string()
}

fn keys(count: usize) -> Vec<Value> {
    (0..count)
        .map(|number| json!({"pk": {"S": number.to_string()}}))
        .collect()
}

#[tokio::test]
async fn batches_have_limits() {
    let backend = table();
    let request = json!({"RequestItems": {"tab": {"Keys": keys(101)}}});
    let text = refused(&backend, "BatchGetItem", request).await;
    assert_eq!(
        text,
        "1 validation error detected: Value at 'RequestItems.tab.member.Keys' failed to satisfy constraint: Member must \
         have length less than or equal to 100"
    );

    let request = json!({"RequestItems": {"tab": {"Keys": keys(60)}, "tac": {"Keys": keys(60)}}});
    let text = refused(&backend, "BatchGetItem", request).await;
    assert_eq!(text, "Too many items requested for the BatchGetItem call");

    let puts = |count| -> Vec<Value> {
        keys(count)
            .into_iter()
            .map(|key| json!({"PutRequest": {"Item": key}}))
            .collect()
    };
    let text = refused(&backend, "BatchWriteItem", json!({"RequestItems": {"tab": puts(26)}})).await;
    let end = "at 'requestItems' failed to satisfy constraint: Map value must satisfy constraint: [Member must have length less than or equal to 25, Member must have length greater than or equal to 1]";
    assert!(
        text.starts_with("1 validation error detected: Value '{tab=[") && text.ends_with(end),
        "{text}"
    );

    let request = json!({"RequestItems": {"tab": puts(20), "tac": puts(20)}});
    let text = refused(&backend, "BatchWriteItem", request).await;
    assert_eq!(text, "Too many items requested for the BatchWriteItem call");

    let most = json!({"RequestItems": {"tab": puts(25)}});
    assert_eq!(
        send(&backend, "BatchWriteItem", &most.to_string()).await,
        (200, json!({"UnprocessedItems": {}}))
    );
    let most = json!({"RequestItems": {"tab": {"Keys": keys(100)}}});
    let (_, answer) = send(&backend, "BatchGetItem", &most.to_string()).await;
    assert_eq!(answer["Responses"]["tab"].as_array().unwrap().len(), 25);
}

#[tokio::test]
async fn items_and_keys_have_limits() {
    let backend = table();
    // 400 KB with names: "pk" and "v" are three bytes, the key one.
    let item = |bytes: usize| json!({"pk": {"S": "a"}, "v": {"S": "x".repeat(bytes - 4)}});
    let put = json!({"TableName": "tab", "Item": item(400 * 1024)});
    assert_eq!(send(&backend, "PutItem", &put.to_string()).await, (200, json!({})));
    let put = json!({"TableName": "nowhere", "Item": item(400 * 1024 + 1)});
    assert_eq!(
        refused(&backend, "PutItem", put).await,
        "Item size has exceeded the maximum allowed size"
    );
    let put = json!({"RequestItems": {"nowhere": [{"PutRequest": {"Item": item(400 * 1024 + 1)}}]}});
    assert_eq!(
        refused(&backend, "BatchWriteItem", put).await,
        "Item size has exceeded the maximum allowed size"
    );
    let update = json!({"TableName": "tab", "Key": {"pk": {"S": "a"}}, "UpdateExpression": "SET w = :w",
        "ExpressionAttributeValues": {":w": {"S": "x"}}});
    let text = refused(&backend, "UpdateItem", update).await;
    assert_eq!(text, "Item size to update has exceeded the maximum allowed size");

    let get = |bytes: usize| json!({"TableName": "tab", "Key": {"pk": {"S": "x".repeat(bytes)}}});
    assert_eq!(
        send(&backend, "GetItem", &get(2048).to_string()).await,
        (200, json!({}))
    );
    let text = refused(&backend, "GetItem", get(2049)).await;
    assert_eq!(
        text,
        "One or more parameter values were invalid: Size of hashkey has exceeded the maximum size limit of2048 bytes"
    );
}

#[tokio::test]
async fn an_index_that_is_being_built_cannot_be_read() {
    let backend = table();
    let scan = json!({"TableName": "tab", "IndexName": "backfilling"});
    let text = refused(&backend, "Scan", scan).await;
    assert_eq!(text, "Cannot read from backfilling global secondary index: backfilling");
}

#[tokio::test]
async fn a_table_can_be_named_by_its_arn() {
    let backend = table();
    let arn = "arn:aws:dynamodb:us-east-1:000000000000:table/tab";
    let get = json!({"TableName": arn, "Key": {"pk": {"S": "a"}}, "ReturnConsumedCapacity": "TOTAL"});
    let consumed = json!({"ConsumedCapacity": {"TableName": arn, "CapacityUnits": 0.5}});
    assert_eq!(send(&backend, "GetItem", &get.to_string()).await, (200, consumed));
}

#[tokio::test]
async fn an_answer_over_16_mb_hands_keys_back() {
    let backend = table();
    let text = "x".repeat(399 * 1024);
    let mut keys = Vec::new();
    for number in 0..50 {
        let item = json!({"TableName": "tab", "Item": {"pk": {"S": number.to_string()}, "v": {"S": text}}});
        assert_eq!(send(&backend, "PutItem", &item.to_string()).await.0, 200);
        keys.push(json!({"pk": {"S": number.to_string()}}));
    }
    let request = json!({"RequestItems": {"tab": {"Keys": keys}}});
    let (_, answer) = send(&backend, "BatchGetItem", &request.to_string()).await;
    let read = answer["Responses"]["tab"].as_array().unwrap().len();
    let left = answer["UnprocessedKeys"]["tab"]["Keys"].as_array().unwrap().len();
    assert_eq!((read, left), (41, 9));
}

#[tokio::test]
async fn pages_end_at_a_megabyte() {
    let backend = table();
    let text = "x".repeat(300 * 1024);
    for number in 0..5 {
        let item = json!({"TableName": "tab", "Item": {"pk": {"S": number.to_string()}, "v": {"S": text}}});
        assert_eq!(send(&backend, "PutItem", &item.to_string()).await.0, 200);
    }
    let request = json!({"TableName": "tab", "Select": "COUNT", "ReturnConsumedCapacity": "TOTAL"});
    let (_, first) = send(&backend, "Scan", &request.to_string()).await;
    assert_eq!(first["Count"], 4);
    assert_eq!(first["ConsumedCapacity"]["CapacityUnits"], 150.5);
    let mut request = request;
    request["ExclusiveStartKey"] = first["LastEvaluatedKey"].clone();
    let (_, second) = send(&backend, "Scan", &request.to_string()).await;
    assert_eq!(
        (second["Count"].as_u64(), second.get("LastEvaluatedKey")),
        (Some(1), None)
    );
}

#[tokio::test]
async fn segments_cut_a_table_into_parts_that_do_not_overlap() {
    let backend = table();
    for number in 0..100 {
        let item = json!({"TableName": "tab", "Item": {"pk": {"S": number.to_string()}}});
        assert_eq!(send(&backend, "PutItem", &item.to_string()).await.0, 200);
    }
    let mut seen = std::collections::BTreeSet::new();
    let mut other_segments_key = None;
    for segment in 0..7 {
        let request = json!({"TableName": "tab", "Segment": segment, "TotalSegments": 7});
        let (_, answer) = send(&backend, "Scan", &request.to_string()).await;
        for item in answer["Items"].as_array().unwrap() {
            assert!(seen.insert(item.to_string()), "{item} is in two segments");
            if segment == 0 {
                other_segments_key = Some(item.clone());
            }
        }
    }
    assert_eq!(seen.len(), 100);
    let key = other_segments_key.unwrap();
    let request = json!({"TableName": "tab", "Segment": 3, "TotalSegments": 7, "ExclusiveStartKey": key});
    let (_, answer) = send(&backend, "Scan", &request.to_string()).await;
    let text = "The provided starting key is invalid: Invalid ExclusiveStartKey. Please use ExclusiveStartKey with correct Segment. TotalSegments: 7 Segment: 3";
    assert_eq!(answer["message"], text);
}
