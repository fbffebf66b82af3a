//! Good requests with bytes changed, cut out, doubled or swapped: every one gets an answer that is no internal error.

use anyhow::{Context, Result, ensure};
use partita_test_client::Server;
use serde_json::{Value, json};

use crate::TABLE;

const ROUNDS: usize = 4_000;
/// Tokens that mean something somewhere, thrown in anywhere.
const TOKENS: &[&str] = &[
    "\"",
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "null",
    "true",
    "-",
    "1e999",
    "\\u0000",
    "\\ud800",
    "\u{fffd}",
    "{\"S\":\"\"}",
    "{}",
    "[]",
    "(",
    ")",
    " AND ",
    " NOT ",
    "#a",
    ":v",
    ".",
    "[0]",
    "=",
    "<>",
    "SET ",
    "REMOVE ",
    "99999999999999999999",
    "0",
    "\"\"",
];

fn seeds() -> Vec<(&'static str, Value)> {
    let key = json!({"pk": {"S": "mutated"}});
    let rich = json!({
        "pk": {"S": "mutated"}, "n": {"N": "-1.5e3"}, "b": {"B": "AQID"}, "l": {"L": [{"S": "a"}, {"NULL": true}]},
        "m": {"M": {"x": {"BOOL": false}}}, "ss": {"SS": ["a", "b"]}, "ns": {"NS": ["1", "2"]}, "bs": {"BS": ["AA==", "AQ=="]}
    });
    vec![
        (
            "PutItem",
            json!({"TableName": TABLE, "Item": rich, "ReturnValues": "ALL_OLD", "ReturnConsumedCapacity": "INDEXES"}),
        ),
        (
            "GetItem",
            json!({"TableName": TABLE, "Key": key, "ProjectionExpression": "a, m.x, l[0]", "ConsistentRead": true}),
        ),
        (
            "UpdateItem",
            json!({
                "TableName": TABLE, "Key": key,
                "UpdateExpression": "SET #a = if_not_exists(n, :v) + :v, l[0] = :v REMOVE m.x ADD ns :s",
                "ConditionExpression": "attribute_exists(pk) AND (size(l) > :z OR NOT begins_with(pk, :p))",
                "ExpressionAttributeNames": {"#a": "a"},
                "ExpressionAttributeValues": {":v": {"N": "1"}, ":s": {"NS": ["3"]}, ":z": {"N": "0"}, ":p": {"S": "m"}}
            }),
        ),
        (
            "DeleteItem",
            json!({"TableName": TABLE, "Key": key, "Expected": {"x": {"ComparisonOperator": "NULL"}}}),
        ),
        (
            "Query",
            json!({
                "TableName": TABLE, "KeyConditionExpression": "pk = :p", "FilterExpression": "n BETWEEN :a AND :b",
                "ExpressionAttributeValues": {":p": {"S": "mutated"}, ":a": {"N": "1"}, ":b": {"N": "2"}}, "Limit": 5,
                "ExclusiveStartKey": {"pk": {"S": "mutated"}}
            }),
        ),
        (
            "Scan",
            json!({"TableName": TABLE, "Segment": 0, "TotalSegments": 2, "Select": "COUNT", "Limit": 3}),
        ),
        (
            "BatchGetItem",
            json!({"RequestItems": {TABLE: {"Keys": [key, {"pk": {"S": "b"}}]}}}),
        ),
        (
            "BatchWriteItem",
            json!({"RequestItems": {TABLE: [{"PutRequest": {"Item": rich}}, {"DeleteRequest": {"Key": {"pk": {"S": "b"}}}}]}}),
        ),
        (
            "CreateTable",
            json!({
                "TableName": "mutated", "BillingMode": "PAY_PER_REQUEST", "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
                "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}, {"AttributeName": "g", "AttributeType": "S"}],
                "GlobalSecondaryIndexes": [{"IndexName": "g-index", "KeySchema": [{"AttributeName": "g", "KeyType": "HASH"}],
                    "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["x"]}}]
            }),
        ),
        (
            "UpdateTable",
            json!({"TableName": "mutated", "GlobalSecondaryIndexUpdates": [{"Delete": {"IndexName": "g-index"}}]}),
        ),
        ("ListTables", json!({"Limit": 5, "ExclusiveStartTableName": "abc"})),
    ]
}

pub fn attack(server: &Server) -> Result<()> {
    let seeds = seeds();
    let mut random = Random(0x9E37_79B9);
    let mut connection = server.connect()?;
    for round in 0..ROUNDS {
        let (operation, seed) = &seeds[random.below(seeds.len())];
        let mut body = seed.to_string().into_bytes();
        for _ in 0..=random.below(3) {
            mutate(&mut body, &mut random);
        }
        let shown = || format!("round {round}: {operation} {}", String::from_utf8_lossy(&body));
        let reply = connection
            .call_bytes(operation, &body)
            .with_context(|| format!("{}: no answer", shown()))?;
        ensure!(
            reply.status < 500,
            "{} is answered {}",
            shown(),
            String::from_utf8_lossy(&reply.body)
        );
    }
    Ok(())
}

fn mutate(body: &mut Vec<u8>, random: &mut Random) {
    if body.is_empty() {
        return;
    }
    let at = random.below(body.len());
    let end = (at + random.below(20)).min(body.len());
    match random.below(6) {
        0 => body[at] = random.below(256) as u8,
        1 => drop(body.drain(at..end)),
        2 => {
            let copy = body[at..end].to_vec();
            body.splice(at..at, copy);
        }
        3 => body.truncate(at),
        4 => {
            let token = TOKENS[random.below(TOKENS.len())];
            body.splice(at..at, token.bytes());
        }
        _ => {
            let token = TOKENS[random.below(TOKENS.len())];
            body.splice(at..end, token.bytes());
        }
    }
}

/// The same sequence each time (PCG's multiplier): a failure can be looked at again.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}
