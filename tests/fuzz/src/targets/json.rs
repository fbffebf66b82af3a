//! Request bodies: the JSON reader and every operation's validation behind it, through the gateway's own dispatch.
//!
//! 1. A case is `Operation body`, a line of the conformance scripts or of the corpus, mutated as a JSON tree, as bytes,
//!    or both.
//! 2. The gateway answers it over tables in memory. Whatever the body, the answer is JSON or an error with a text that
//!    a client can act on, never a fault of ours.
//! 3. Attribute values that the reader accepted are in their one form (see the target `item`), and within the limits.

#[path = "../../../../node/gateway/tests/conformance/memory.rs"]
mod memory;
#[allow(dead_code, reason = "of the scripts' runner only the reading is needed here")]
#[path = "../../../conformance/script.rs"]
mod script;

use std::cell::OnceCell;
use std::fs;
use std::sync::Arc;

use anyhow::{Context, Result};
use partita_gateway::api::{Call, Operation, dispatch};
use partita_gateway::backend::Account;
use partita_gateway::metrics::Metrics;
use partita_model::error::ErrorCode;
use partita_model::item::ItemRef;
use partita_model::json::{self, Map};
use partita_model::wire::{WireItem, WireValue};
use prometheus::Registry;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::Value;

use self::memory::Memory;
use super::item::canonical;
use super::{Corpus, Target};
use crate::mutate;

/// `json`
pub const TARGET: Target = Target {
    name: "json",
    more: script_requests,
    plain: |line| line.as_bytes().to_vec(),
    make,
    check,
};

const DICTIONARY: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\u0000",
    "\\ud800",
    "\\",
    "null",
    "true",
    "false",
    "0",
    "-1",
    "1e999",
    "\"\"",
    "\"S\":\"\"",
    "\"N\":\"1\"",
    "{\"S\":\"a\"}",
    "{\"N\":\"1\"}",
    "{\"L\":[",
    "{\"M\":{\"a\":",
    "\"NULL\":true",
    "\"SS\":[]",
    "\"B\":\"AA==\"",
    "\"TableName\":\"t\"",
    "\"Key\":",
    "\"Item\":",
    " ",
    "\u{FEFF}",
    "\n",
];
/// Members of requests and of attribute values.
const NAMES: &[&str] = &[
    "S",
    "N",
    "B",
    "BOOL",
    "NULL",
    "L",
    "M",
    "SS",
    "NS",
    "BS",
    "TableName",
    "Item",
    "Key",
    "Keys",
    "RequestItems",
    "PutRequest",
    "DeleteRequest",
    "Expected",
    "AttributeUpdates",
    "ConditionExpression",
    "UpdateExpression",
    "KeyConditionExpression",
    "FilterExpression",
    "ProjectionExpression",
    "ExpressionAttributeNames",
    "ExpressionAttributeValues",
    "ReturnValues",
    "ReturnConsumedCapacity",
    "Limit",
    "Select",
    "IndexName",
    "ExclusiveStartKey",
    "Segment",
    "TotalSegments",
    "ScanIndexForward",
    "ConsistentRead",
    "AttributesToGet",
    "KeyConditions",
    "QueryFilter",
    "ScanFilter",
    "ConditionalOperator",
    "ComparisonOperator",
    "AttributeValueList",
    "Value",
    "Exists",
    "Action",
    "KeySchema",
    "AttributeDefinitions",
    "ProvisionedThroughput",
    "GlobalSecondaryIndexes",
    "LocalSecondaryIndexes",
    "Tags",
    "pk",
    "sk",
    "a",
    "",
    ":v",
    "#n",
];
/// Separates the requests of one case: the setting, then the one that is mutated.
const SEPARATOR: u8 = b'\x1E';

thread_local! {
    /// Made once: the registry is not what is tested.
    static METRICS: OnceCell<Metrics> = const { OnceCell::new() };
}

/// The requests of the conformance scripts, each script's tables in front: `@table {…} 1E Operation {…}`.
fn script_requests() -> Result<Vec<String>> {
    let folder = super::folder().join("../conformance/scripts");
    let mut paths: Vec<_> = fs::read_dir(&folder)?.collect::<Result<_, _>>()?;
    paths.sort_by_key(|entry| entry.path());
    let mut lines = Vec::new();
    for entry in paths {
        let steps = script::parse(&fs::read_to_string(entry.path())?);
        let steps = steps
            .map_err(|error| anyhow::anyhow!("{error}"))
            .with_context(|| entry.path().display().to_string())?;
        let mut setting = String::new();
        for step in steps {
            let line = format!("{} {}", step.operation, step.body);
            if step.operation == "@table" {
                setting.push_str(&line);
                setting.push(char::from(SEPARATOR));
            } else {
                lines.push(format!("{setting}{line}"));
            }
        }
    }
    Ok(lines)
}

/// The tables and up to a few requests as they are, then a mutated one.
fn make(random: &mut StdRng, corpus: &Corpus) -> Vec<u8> {
    let line = corpus.choose(random);
    let (setting, request) = split_last(line);
    let mut input = Vec::new();
    for part in setting {
        input.extend_from_slice(part.as_bytes());
        input.push(SEPARATOR);
    }
    // Items for the request to meet.
    for _ in 0..random.random_range(0..4) {
        let (_, request) = split_last(corpus.choose(random));
        input.extend_from_slice(request.as_bytes());
        input.push(SEPARATOR);
    }
    let other = split_last(corpus.choose(random)).1;
    input.extend(mutated(random, request, other));
    input
}

fn split_last(line: &str) -> (Vec<&str>, &str) {
    let mut parts: Vec<&str> = line.split(char::from(SEPARATOR)).collect();
    let last = parts.pop().unwrap_or_default();
    (parts, last)
}

fn mutated(random: &mut StdRng, request: &str, other: &str) -> Vec<u8> {
    let (mut operation, body) = request.split_once(' ').unwrap_or((request, ""));
    let (other_operation, other_body) = other.split_once(' ').unwrap_or((other, ""));
    if random.random_bool(0.1) {
        operation = other_operation;
    }
    let mut body = body.as_bytes().to_vec();
    if random.random_bool(0.7)
        && let Ok(mut tree) = serde_json::from_slice::<Value>(&body)
        && let Ok(other) = serde_json::from_str::<Value>(other_body)
    {
        mutate::tree(random, &mut tree, NAMES, &other);
        body = tree.to_string().into_bytes();
    }
    if random.random_bool(0.4) {
        mutate::bytes(random, &mut body, DICTIONARY, other_body.as_bytes());
    }
    // The separator is this target's own.
    body.retain(|byte| *byte != SEPARATOR);
    [operation.as_bytes(), b" ", &body].concat()
}

fn check(input: &[u8], random: &mut StdRng) {
    let backend = Arc::new(Memory::default());
    for part in input.split(|byte| *byte == SEPARATOR) {
        let space = part.iter().position(|byte| *byte == b' ').unwrap_or(part.len());
        let (operation, body) = part.split_at(space);
        let body = body.get(1..).unwrap_or_default();
        if operation == b"@table" {
            if let Ok(spec) = serde_json::from_slice(body) {
                backend.create(&spec);
            }
            continue;
        }
        check_values(body);
        let operation = format!("DynamoDB_20120810.{}", String::from_utf8_lossy(operation));
        // A body in front of an operation that it was not meant for is a case, too.
        let operation = Operation::from_target(&operation).or_else(|| Operation::ALL.choose(random).copied());
        if let Some(operation) = operation {
            answer(&backend, operation, body);
        }
    }
}

/// The gateway's answer.
fn answer(backend: &Arc<Memory>, operation: Operation, body: &[u8]) {
    let account = Account::new("000000000000");
    METRICS.with(|metrics| {
        let metrics = metrics.get_or_init(|| match Metrics::register(&Registry::new()) {
            Ok(metrics) => metrics,
            Err(error) => panic!("{error}"),
        });
        let call = Call {
            backend,
            account: &account,
            region: "us-east-1",
            host: None,
            metrics,
        };
        match now(dispatch(&call, operation, body)) {
            Ok(answer) => {
                assert!(
                    answer.is_empty() || serde_json::from_slice::<serde::de::IgnoredAny>(&answer).is_ok(),
                    "an answer is JSON: {}",
                    answer.escape_ascii()
                );
            }
            Err(error) => {
                assert_ne!(error.code, ErrorCode::InternalServerError, "{}", error.message);
                assert!(
                    !error.message.is_empty() || error.code == ErrorCode::Serialization,
                    "an error says what is wrong: {:?}",
                    error.code
                );
                if let Some(item) = &error.item {
                    valid(item.as_ref().as_ref());
                }
            }
        }
    });
}

/// Tables in memory are never waited for.
fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("an operation over memory has to wait"),
    }
}

/// Where attribute values stand in requests.
#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Values {
    item: Option<WireItem>,
    key: Option<WireItem>,
    expression_attribute_values: Option<Map<WireValue>>,
}

fn check_values(body: &[u8]) {
    let Ok(values) = json::decode::<Values>(body) else {
        return;
    };
    for item in [&values.item, &values.key].into_iter().flatten() {
        if let Ok(item) = item.item() {
            valid(item.as_ref());
        }
    }
    for (_, value) in values.expression_attribute_values.iter().flat_map(|map| map.iter()) {
        if let Ok(value) = value.value() {
            let value = value.as_ref();
            assert!(
                partita_model::value::ValueRef::parse(value.bytes()).is_ok(),
                "{value:?}"
            );
        }
    }
}

fn valid(item: ItemRef<'_>) {
    match ItemRef::parse(item.as_bytes()) {
        Ok(item) => canonical(item),
        Err(error) => panic!("{error}: {item:?}"),
    }
}
