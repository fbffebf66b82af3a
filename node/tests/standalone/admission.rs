//! Units that mean something: what is refused, with which words, and that no restart hands out a second burst.

use std::time::Instant;

use serde_json::{Value, json};

use super::process::Partita;
use super::shared::until;

/// A table with one write unit has 300 to begin with.
const BURST: u64 = 300;

fn create(partita: &Partita, name: &str, write: u64) {
    let table = json!({
        "TableName": name, "ProvisionedThroughput": {"ReadCapacityUnits": 1, "WriteCapacityUnits": write},
        "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
    });
    partita.ok("CreateTable", &table);
    partita.active(name);
}

fn put(name: &str, number: u64) -> Value {
    json!({"TableName": name, "Item": {"pk": {"S": number.to_string()}}})
}

/// Puts until one is refused: how many went ahead, and the refusal.
fn put_all(partita: &Partita, name: &str) -> (u64, Value) {
    for number in 0..20 * BURST {
        let (status, answer) = partita.call("PutItem", &put(name, number));
        if status != 200 {
            return (number, answer);
        }
    }
    panic!("nothing was refused");
}

/// As many as the burst and the time since `begin` (and a second for what is rounded) have brought.
fn assert_within(admitted: u64, burst: u64, begin: Instant) {
    let most = burst + begin.elapsed().as_secs() + 2;
    assert!((burst..=most).contains(&admitted), "{admitted}, of {burst} to {most}");
}

#[test]
fn beyond_its_units_a_table_is_throttled_and_its_neighbour_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let partita = Partita::start(&folder.path().join("data"), &[]);
    let begin = Instant::now();
    create(&partita, "small", 1);
    create(&partita, "large", 1000);
    let (admitted, refusal) = put_all(&partita, "small");
    assert_within(admitted, BURST, begin);
    assert_eq!(
        refusal["__type"],
        "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException"
    );
    let reasons = json!([{
        "reason": "TableWriteProvisionedThroughputExceeded",
        "resource": "arn:aws:dynamodb:us-east-1:000000000000:table/small",
    }]);
    assert_eq!(refusal["ThrottlingReasons"], reasons);

    // Reads have units of their own, and so has every other table.
    partita.ok("GetItem", &json!({"TableName": "small", "Key": {"pk": {"S": "1"}}}));
    for number in 0..2 * BURST {
        partita.ok("PutItem", &put("large", number));
    }

    // More units hold at once.
    let units =
        json!({"TableName": "small", "ProvisionedThroughput": {"ReadCapacityUnits": 1, "WriteCapacityUnits": 10_000}});
    partita.ok("UpdateTable", &units);
    partita.active("small");
    for number in 0..BURST {
        partita.ok("PutItem", &put("small", number));
    }
    assert!(partita.stop().success());
}

#[test]
fn what_is_throttled_in_a_batch_is_handed_back() {
    let folder = tempfile::tempdir().unwrap();
    let partita = Partita::start(&folder.path().join("data"), &[]);
    create(&partita, "debtor", 1);
    create(&partita, "large", 1000);
    // A write is admitted as long as anything is left, whatever it costs: the table is in debt for longer than this test runs.
    let large = json!({"pk": {"S": "a"}, "text": {"S": "x".repeat(390_000)}});
    partita.ok("PutItem", &json!({"TableName": "debtor", "Item": large}));

    let write = |number: u64| json!({"PutRequest": {"Item": {"pk": {"S": number.to_string()}}}});
    let both = json!({"RequestItems": {"debtor": [write(1)], "large": [write(1), write(2)]}});
    assert_eq!(
        partita.ok("BatchWriteItem", &both)["UnprocessedItems"],
        json!({"debtor": [write(1)]})
    );
    let (status, answer) = partita.call(
        "BatchWriteItem",
        &json!({"RequestItems": {"debtor": [write(1), write(2)]}}),
    );
    assert_eq!(status, 400);
    assert_eq!(
        answer["ThrottlingReasons"][0]["reason"],
        "TableWriteProvisionedThroughputExceeded"
    );

    // The same for reads: a large strong read takes 96 units of 300 each time.
    let get = json!({"TableName": "debtor", "ConsistentRead": true, "Key": {"pk": {"S": "a"}}});
    for _ in 0..4 {
        partita.ok("GetItem", &get);
    }
    let keys = json!({"Keys": [{"pk": {"S": "a"}}]});
    let both = json!({"RequestItems": {"debtor": keys, "large": {"Keys": [{"pk": {"S": "1"}}]}}});
    let answer = partita.ok("BatchGetItem", &both);
    assert_eq!(answer["UnprocessedKeys"], json!({"debtor": keys}));
    let (status, answer) = partita.call("BatchGetItem", &json!({"RequestItems": {"debtor": keys}}));
    assert_eq!(
        (status, &answer["ThrottlingReasons"][0]["reason"]),
        (400, &json!("TableReadProvisionedThroughputExceeded"))
    );
    for operation in ["Scan", "GetItem"] {
        let mut body = json!({"TableName": "debtor"});
        if operation == "GetItem" {
            body["Key"] = json!({"pk": {"S": "b"}});
        }
        let (status, answer) = partita.call(operation, &body);
        assert_eq!(status, 400, "{operation}: {answer}");
    }
}

#[test]
fn no_restart_hands_out_a_second_burst() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let begin = Instant::now();
    let partita = Partita::start(&data, &[]);
    create(&partita, "small", 1);
    let (first, _) = put_all(&partita, "small");
    assert!(partita.stop().success());
    let partita = Partita::start(&data, &[]);
    let (second, _) = put_all(&partita, "small");
    assert_within(first + second, BURST, begin);

    // A process that is killed forgets no more than what it has used in the last second.
    until("the levels to be written", || {
        let levels: Value = serde_json::from_slice(&std::fs::read(data.join("admission.json")).ok()?).ok()?;
        let table = levels.as_object()?.values().next()?;
        // In thousandths of half units.
        (table["own"]["writes"]["shared"].as_i64()? < 10 * 2000).then_some(())
    });
    partita.kill();
    let partita = Partita::start(&data, &[]);
    let (third, _) = put_all(&partita, "small");
    assert_within(first + second + third, BURST, begin);
    assert!(partita.stop().success());
}

#[test]
fn shadow_and_off_refuse_nothing() {
    for mode in ["shadow", "off"] {
        let folder = tempfile::tempdir().unwrap();
        let partita = Partita::start(&folder.path().join("data"), &["--admission", mode]);
        create(&partita, "small", 1);
        for number in 0..BURST + 50 {
            partita.ok("PutItem", &put("small", number));
        }
    }
}

#[test]
fn what_is_used_and_refused_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let partita = Partita::start(&folder.path().join("data"), &[]);
    create(&partita, "small", 1);
    create(&partita, "large", 1000);
    let (admitted, _) = put_all(&partita, "small");
    for _ in 0..100 {
        partita.ok("PutItem", &put("large", 7));
    }
    let (status, metrics) = partita.admin("/metrics");
    assert_eq!(status, 200);
    let labels = |table: &str| format!("{{account=\"000000000000\",table=\"{table}\",index=\"\"}}");
    let refused = |table: &str, limit: &str| {
        let labels = format!("account=\"000000000000\",table=\"{table}\",index=\"\",reason=\"TableWrite{limit}\"");
        format!("partita_write_throttle_events_total{{{labels}}}")
    };
    for line in [
        format!("{} 1", refused("small", "ProvisionedThroughputExceeded")),
        format!("{} 0", refused("small", "KeyRangeThroughputExceeded")),
        format!("{} 0", refused("large", "ProvisionedThroughputExceeded")),
        "partita_throttled_requests_total{reason=\"TableWriteProvisionedThroughputExceeded\"} 1".to_owned(),
        format!("partita_allowed_write_units{} 1000", labels("large")),
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line} is not in\n{metrics}"
        );
    }
    let used = metrics
        .lines()
        .find(|line| line.starts_with("partita_partition_consumed_write_units_total{table=\"small\""));
    assert!(used.unwrap().ends_with(&format!(" {admitted}")), "{used:?}");

    let (status, hot) = partita.admin("/hot-keys");
    assert_eq!(status, 200);
    let hot: Value = serde_json::from_str(&hot).unwrap();
    let large = hot["keys"]
        .as_array()
        .unwrap()
        .iter()
        .find(|key| key["table"] == "large");
    let large = large.unwrap();
    assert_eq!(
        (&large["key"], &large["units"], &large["share"]),
        (&json!({"pk": {"S": "7"}}), &json!("write"), &json!(1.0))
    );
}

#[test]
fn an_index_without_units_holds_back_what_may_touch_it_alone() {
    let folder = tempfile::tempdir().unwrap();
    let partita = Partita::start(&folder.path().join("data"), &[]);
    let attribute = |name: &str| json!({"AttributeName": name, "AttributeType": "S"});
    let hash = |name: &str| json!([{"AttributeName": name, "KeyType": "HASH"}]);
    let units = |write: u64| json!({"ReadCapacityUnits": 1, "WriteCapacityUnits": write});
    let table = json!({
        "TableName": "indexed", "ProvisionedThroughput": units(1000),
        "AttributeDefinitions": [attribute("pk"), attribute("colour")], "KeySchema": hash("pk"),
        "GlobalSecondaryIndexes": [{"IndexName": "by-colour", "KeySchema": hash("colour"),
            "Projection": {"ProjectionType": "KEYS_ONLY"}, "ProvisionedThroughput": units(1)}],
    });
    partita.ok("CreateTable", &table);
    partita.active("indexed");
    let coloured = |number: u64| json!({"TableName": "indexed", "Item": {"pk": {"S": number.to_string()}, "colour": {"S": "red"}}});
    let refusal = (0..20 * BURST).find_map(|number| {
        let (status, answer) = partita.call("PutItem", &coloured(number));
        (status != 200).then_some(answer)
    });
    let reasons = json!([{
        "reason": "IndexWriteProvisionedThroughputExceeded",
        "resource": "arn:aws:dynamodb:us-east-1:000000000000:table/indexed/index/by-colour",
    }]);
    assert_eq!(refusal.unwrap()["ThrottlingReasons"], reasons);
    // What the index does not hold may change.
    partita.ok("PutItem", &put("indexed", 1_000_000));
    let update = |expression: &str| {
        json!({"TableName": "indexed", "Key": {"pk": {"S": "1"}}, "UpdateExpression": expression,
               "ExpressionAttributeValues": {":one": {"N": "1"}}})
    };
    for _ in 0..BURST {
        partita.ok("UpdateItem", &update("ADD hits :one"));
    }
    // Of what it does, nothing does.
    let mut colour = update("SET colour = :one");
    colour["ExpressionAttributeValues"][":one"] = json!({"S": "blue"});
    // A unit comes in each second.
    let refusal = (0..BURST).find_map(|_| {
        let (status, answer) = partita.call("UpdateItem", &colour);
        (status != 200).then_some(answer)
    });
    assert_eq!(refusal.unwrap()["ThrottlingReasons"], reasons);
}

/// The index has saved up enough for all of the writes, but its only partition takes twenty rows a second. A hundred make a debt of some
/// seconds, and what is written then waits.
#[test]
fn an_index_that_does_not_keep_up_holds_back_writes_until_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let flags = ["--partition-write-units", "20", "--index-lag-seconds", "1"];
    let partita = Partita::start(&folder.path().join("data"), &flags);
    let attribute = |name: &str| json!({"AttributeName": name, "AttributeType": "S"});
    let hash = |name: &str| json!([{"AttributeName": name, "KeyType": "HASH"}]);
    let units = |write: u64| json!({"ReadCapacityUnits": 1000, "WriteCapacityUnits": write});
    let table = json!({
        "TableName": "indexed", "ProvisionedThroughput": units(1000),
        "AttributeDefinitions": [attribute("pk"), attribute("colour")], "KeySchema": hash("pk"),
        "GlobalSecondaryIndexes": [{"IndexName": "by-colour", "KeySchema": hash("colour"),
            "Projection": {"ProjectionType": "KEYS_ONLY"}, "ProvisionedThroughput": units(20)}],
    });
    partita.ok("CreateTable", &table);
    partita.active("indexed");
    let item = |number: u64| json!({"pk": {"S": number.to_string()}, "colour": {"S": "red"}});
    let coloured = |number: u64| json!({"TableName": "indexed", "Item": item(number)});
    for batch in 0..4 {
        let numbers = 1_000_000 + batch * 25..1_000_025 + batch * 25;
        let puts: Vec<Value> = numbers
            .map(|number| json!({"PutRequest": {"Item": item(number)}}))
            .collect();
        partita.ok("BatchWriteItem", &json!({"RequestItems": {"indexed": puts}}));
    }
    let held = "IndexWriteKeyRangeThroughputExceeded";
    let mut number = 0;
    let reason = until("the index to hold back the table", || {
        number += 1;
        let (status, answer) = partita.call("PutItem", &coloured(number));
        (status != 200).then(|| answer["ThrottlingReasons"][0].clone())
    });
    assert_eq!(reason["reason"], held);
    assert!(
        reason["resource"].as_str().unwrap().ends_with("/index/by-colour"),
        "{reason}"
    );
    // What the index does not hold waits for nobody.
    partita.ok("PutItem", &put("indexed", 2_000_000));
    let (_, metrics) = partita.admin("/metrics");
    let labels = format!("account=\"000000000000\",table=\"indexed\",index=\"by-colour\",reason=\"{held}\"");
    let line = format!("partita_write_throttle_events_total{{{labels}}} ");
    let count = metrics
        .lines()
        .find_map(|found| found.strip_prefix(&line)?.parse::<u64>().ok());
    assert!(count.is_some_and(|count| count > 0), "{count:?}");
    // It catches up, and then the table is written to again; nothing is missing in the index.
    until("a write to the index", || {
        number += 1;
        (partita.call("PutItem", &coloured(number)).0 == 200).then_some(())
    });
    let count = |index: bool| {
        let mut scan = json!({"TableName": "indexed", "Select": "COUNT"});
        if index {
            scan["IndexName"] = json!("by-colour");
        } else {
            scan["FilterExpression"] = json!("attribute_exists(colour)");
        }
        partita.ok("Scan", &scan)["Count"].as_u64().unwrap()
    };
    until("every row in the index", || (count(true) == count(false)).then_some(()));
    assert!(partita.stop().success());
}
