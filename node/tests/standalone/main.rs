//! The standalone process from outside: manifests, restarts, the one data folder, readiness, the end.

#![allow(clippy::unwrap_used)]

mod admission;
#[path = "../shared/certificates.rs"]
mod certificates;
mod https;
mod process;
#[path = "../shared/mod.rs"]
mod shared;

use std::path::Path;

use process::{Partita, command};
use serde_json::{Value, json};
use shared::until;

const TABLE: &str = "apiVersion: partita.dev/v1alpha1
kind: Table
metadata: {name: things}
spec:
  tableName: things
  deletionPolicy: Delete
  billingMode: PROVISIONED
  provisionedThroughput: {readCapacityUnits: 5, writeCapacityUnits: 5}
  attributeDefinitions: [{attributeName: pk, attributeType: S}]
  keySchema: [{attributeName: pk, keyType: HASH}]
";

const INDEX: &str = "  globalSecondaryIndexes:
    - indexName: byColour
      keySchema: [{attributeName: colour, keyType: HASH}]
      projection: {projectionType: ALL}
      provisionedThroughput: {readCapacityUnits: 5, writeCapacityUnits: 5}
";

struct Folders {
    root: tempfile::TempDir,
}

impl Folders {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("manifests")).unwrap();
        Self { root }
    }

    fn start(&self) -> Partita {
        let manifests = self.root.path().join("manifests");
        Partita::start(&self.data(), &["--manifests", manifests.to_str().unwrap()])
    }

    fn data(&self) -> std::path::PathBuf {
        self.root.path().join("data")
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.root.path().join("manifests").join(name), text).unwrap();
    }

    fn remove(&self, name: &str) {
        std::fs::remove_file(self.root.path().join("manifests").join(name)).unwrap();
    }
}

fn thing(pk: &str, colour: &str) -> Value {
    json!({"pk": {"S": pk}, "colour": {"S": colour}})
}

fn colours(partita: &Partita, colour: &str) -> u64 {
    let query = json!({
        "TableName": "things", "IndexName": "byColour", "KeyConditionExpression": "colour = :c",
        "ExpressionAttributeValues": {":c": {"S": colour}},
    });
    partita.ok("Query", &query)["Count"].as_u64().unwrap()
}

#[test]
fn a_manifest_lives() {
    let folders = Folders::new();
    folders.write("things.yaml", TABLE);
    let partita = folders.start();
    assert_eq!(
        partita.active("things")["ProvisionedThroughput"]["WriteCapacityUnits"],
        5
    );
    partita.ok("PutItem", &json!({"TableName": "things", "Item": thing("a", "red")}));

    // Allowed changes apply: other units, and an index that finds what was there before.
    let indexed = TABLE.replace("writeCapacityUnits: 5", "writeCapacityUnits: 9").replace(
        "[{attributeName: pk, attributeType: S}]",
        "[{attributeName: pk, attributeType: S}, {attributeName: colour, attributeType: S}]",
    ) + INDEX;
    folders.write("things.yaml", &indexed);
    until("the index to be active", || {
        let table = partita.table("things")?;
        (table["GlobalSecondaryIndexes"][0]["IndexStatus"] == "ACTIVE").then_some(())
    });
    let table = partita.active("things");
    assert_eq!(table["ProvisionedThroughput"]["WriteCapacityUnits"], 9);
    assert_eq!(colours(&partita, "red"), 1);
    partita.ok("PutItem", &json!({"TableName": "things", "Item": thing("b", "red")}));
    until("the index to follow", || (colours(&partita, "red") == 2).then_some(()));

    // A forbidden change is refused with file, field and reason, and the table stays.
    folders.write(
        "things.yaml",
        &indexed.replace("attributeName: pk,", "attributeName: id,"),
    );
    let problem = until("the refusal", || partita.problems().into_iter().next());
    assert_eq!(problem["file"], "things.yaml");
    assert!(
        problem["reason"].as_str().unwrap().starts_with("spec.keySchema: "),
        "{problem}"
    );
    assert_eq!(partita.active("things")["KeySchema"][0]["AttributeName"], "pk");

    // Broken YAML is refused, too, and says where.
    folders.write("things.yaml", "kind: [");
    until("the other refusal", || {
        partita.problems().into_iter().find(|other| *other != problem)
    });
    assert!(partita.table("things").is_some());

    // So are units that follow the use: nobody pays for them here.
    folders.write(
        "things.yaml",
        &format!("{TABLE}  autoscaling: {{write: {{min: 1, max: 5}}}}\n"),
    );
    let problem = until("the refusal of a range", || {
        let problems = partita.problems().into_iter();
        let mut named =
            problems.filter(|problem| problem["reason"].as_str().unwrap().starts_with("spec.autoscaling: "));
        named.next()
    });
    assert_eq!(problem["resource"], "default/things");
    assert!(partita.table("things").is_some());

    // The API leaves a manifest's table alone, and says whose it is.
    let (status, answer) = partita.call("DeleteTable", &json!({"TableName": "things"}));
    assert_eq!(status, 400);
    assert!(answer["message"].as_str().unwrap().contains("things.yaml"), "{answer}");

    folders.write("things.yaml", TABLE);
    until("the refusals to go", || partita.problems().is_empty().then_some(()));
    until("the index to go", || {
        partita
            .active("things")
            .get("GlobalSecondaryIndexes")
            .is_none()
            .then_some(())
    });
    folders.remove("things.yaml");
    until("the table to go", || partita.table("things").is_none().then_some(()));
    assert!(partita.stop().success());
}

#[test]
fn retained_tables_and_tables_of_the_api_are_taken_over_only_when_asked() {
    let folders = Folders::new();
    let retained = TABLE.replace("deletionPolicy: Delete", "deletionPolicy: Retain");
    folders.write("things.yaml", &retained);
    let partita = folders.start();
    partita.ok("PutItem", &json!({"TableName": "things", "Item": thing("a", "red")}));
    folders.remove("things.yaml");
    until("the table to be let go", || {
        let body = partita.admin("/tables").1;
        body.contains("\"retained\"").then_some(())
    });

    // Another resource must name the table's id; the resource it came from need not.
    folders.write("other.yaml", &retained.replace("{name: things}", "{name: others}"));
    let problem = until("the refusal", || partita.problems().into_iter().next());
    let reason = problem["reason"].as_str().unwrap();
    let id = reason.split("adopt: \"").nth(1).unwrap().split('"').next().unwrap();
    let adopting = format!(
        "{}  bootstrap: {{adopt: \"{id}\"}}\n",
        retained.replace("{name: things}", "{name: others}")
    );
    folders.write("other.yaml", &adopting);
    until("the table to be taken over", || {
        partita.problems().is_empty().then_some(())
    });
    let item = partita.ok("GetItem", &json!({"TableName": "things", "Key": {"pk": {"S": "a"}}}));
    assert_eq!(item["Item"]["colour"]["S"], "red");
    assert!(partita.stop().success());
}

fn create(name: &str) -> Value {
    json!({
        "TableName": name, "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
    })
}

#[test]
fn a_restart_keeps_everything() {
    let folders = Folders::new();
    let partita = folders.start();
    assert_eq!(
        partita.ok("CreateTable", &create("things"))["TableDescription"]["TableStatus"],
        "CREATING"
    );
    partita.active("things");
    partita.ok("PutItem", &json!({"TableName": "things", "Item": thing("a", "red")}));
    assert!(partita.stop().success());

    let partita = folders.start();
    let get = json!({"TableName": "things", "Key": {"pk": {"S": "a"}}});
    assert_eq!(partita.ok("GetItem", &get)["Item"], thing("a", "red"));
    partita.ok("PutItem", &json!({"TableName": "things", "Item": thing("a", "blue")}));
    partita.kill();

    let partita = folders.start();
    assert_eq!(partita.ok("GetItem", &get)["Item"], thing("a", "blue"));
    partita.ok("DeleteTable", &json!({"TableName": "things"}));
    until("the table to go", || partita.table("things").is_none().then_some(()));
    partita.kill();
    let partita = folders.start();
    assert_eq!(partita.table("things"), None);
}

#[test]
fn tables_begun_before_a_kill_are_finished_after_it() {
    let folders = Folders::new();
    for round in 0..3 {
        let partita = folders.start();
        let name = format!("things-{round}");
        let asked = partita.ask("CreateTable", &create(&name));
        until("the table to be begun", || partita.table(&name));
        partita.kill();
        drop(asked);
        let partita = folders.start();
        partita.active(&name);
        partita.ok("PutItem", &json!({"TableName": name, "Item": thing("a", "red")}));
        partita.kill();
    }
}

#[test]
fn what_an_operation_on_tables_has_begun_is_done_when_it_answers() {
    let folders = Folders::new();
    let partita = folders.start();
    // Its answer says how it began.
    let created = partita.ok("CreateTable", &create("things"));
    assert_eq!(created["TableDescription"]["TableStatus"], "CREATING");
    assert_eq!(partita.table("things").unwrap()["TableStatus"], "ACTIVE");
    let index = json!({
        "TableName": "things",
        "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}, {"AttributeName": "colour", "AttributeType": "S"}],
        "GlobalSecondaryIndexUpdates": [{"Create": {
            "IndexName": "byColour",
            "KeySchema": [{"AttributeName": "colour", "KeyType": "HASH"}],
            "Projection": {"ProjectionType": "ALL"},
        }}],
    });
    let updated = partita.ok("UpdateTable", &index);
    assert_eq!(
        updated["TableDescription"]["GlobalSecondaryIndexes"][0]["IndexStatus"],
        "CREATING"
    );
    let table = partita.table("things").unwrap();
    assert_eq!(table["GlobalSecondaryIndexes"][0]["IndexStatus"], "ACTIVE");
    let deleted = partita.ok("DeleteTable", &json!({"TableName": "things"}));
    assert_eq!(deleted["TableDescription"]["TableStatus"], "DELETING");
    assert_eq!(partita.table("things"), None);
}

/// Delivery may take longer than a read waits for it, so not every read has to be up to date; where none waits, most are
/// not, and never so many one after the other.
#[test]
fn an_index_has_what_was_written_before_it_is_read() {
    const IN_A_ROW: u32 = 30;
    let folders = Folders::new();
    let partita = folders.start();
    let mut indexed = create("things");
    indexed["AttributeDefinitions"] = json!([
        {"AttributeName": "pk", "AttributeType": "S"}, {"AttributeName": "colour", "AttributeType": "S"},
    ]);
    indexed["GlobalSecondaryIndexes"] = json!([{
        "IndexName": "byColour",
        "KeySchema": [{"AttributeName": "colour", "KeyType": "HASH"}],
        "Projection": {"ProjectionType": "ALL"},
    }]);
    partita.ok("CreateTable", &indexed);
    partita.active("things");
    let (mut number, mut in_a_row) = (0, 0);
    until("reads of an index to be up to date", || {
        let colour = format!("colour-{number}");
        partita.ok("PutItem", &json!({"TableName": "things", "Item": thing("a", &colour)}));
        in_a_row = if colours(&partita, &colour) == 1 {
            in_a_row + 1
        } else {
            0
        };
        number += 1;
        (in_a_row == IN_A_ROW).then_some(())
    });
}

#[test]
fn items_expire() {
    let folders = Folders::new();
    let partita = folders.start();
    partita.ok("CreateTable", &create("things"));
    partita.active("things");
    let item = json!({"pk": {"S": "a"}, "until": {"N": "1700000000"}});
    partita.ok("PutItem", &json!({"TableName": "things", "Item": item.clone()}));
    let ttl = json!({"TableName": "things", "TimeToLiveSpecification": {"AttributeName": "until", "Enabled": true}});
    partita.ok("UpdateTimeToLive", &ttl);
    let gone = |pk: &str| {
        let found = partita.ok("GetItem", &json!({"TableName": "things", "Key": {"pk": {"S": pk}}}));
        found.get("Item").is_none().then_some(())
    };
    until("the item that was there to expire", || gone("a"));
    partita.ok("PutItem", &json!({"TableName": "things", "Item": item}));
    until("a new item to expire", || gone("a"));
}

#[test]
fn pages_cross_partitions() {
    let folders = Folders::new();
    folders.write(
        "things.yaml",
        &TABLE.replace("writeCapacityUnits: 5", "writeCapacityUnits: 4000"),
    );
    let partita = folders.start();
    for number in 0..40 {
        partita.ok(
            "PutItem",
            &json!({"TableName": "things", "Item": thing(&number.to_string(), "red")}),
        );
    }
    let mut seen = 0;
    let mut start = Value::Null;
    loop {
        let mut scan = json!({"TableName": "things", "Limit": 7});
        if !start.is_null() {
            scan["ExclusiveStartKey"] = start;
        }
        let page = partita.ok("Scan", &scan);
        seen += page["Count"].as_u64().unwrap();
        start = page["LastEvaluatedKey"].clone();
        if start.is_null() {
            break;
        }
    }
    assert_eq!(seen, 40);
    assert_eq!(partita.ok("Scan", &json!({"TableName": "things"}))["Count"], 40);
}

#[test]
fn one_process_has_the_data_folder() {
    let folders = Folders::new();
    let partita = folders.start();
    assert_eq!(partita.admin("/readyz"), (200, "ready\n".to_owned()));
    assert_eq!(partita.admin("/healthz").0, 200);
    let second = command(&folders.data(), &[]).output().unwrap();
    assert!(!second.status.success());
    let reason = String::from_utf8_lossy(&second.stderr);
    assert!(reason.contains("in use by another process"), "{reason}");
    let (status, metrics) = partita.admin("/metrics");
    assert_eq!(status, 200);
    assert!(metrics.contains("partita_build_info{version="), "{metrics}");
}

#[test]
fn other_machines_need_credentials() {
    let folders = Folders::new();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_partita"));
    command.args([
        "standalone",
        "--listen",
        "0.0.0.0:0",
        "--admin-listen",
        "127.0.0.1:0",
        "--data",
    ]);
    let refused = command.arg(folders.data()).output().unwrap();
    let reason = String::from_utf8_lossy(&refused.stderr);
    assert!(
        !refused.status.success() && reason.contains("--credentials"),
        "{reason}"
    );
}

#[test]
fn examples_are_valid_as_they_are() {
    let root = tempfile::tempdir().unwrap();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let partita = Partita::start(&root.path().join("data"), &["--manifests", examples.to_str().unwrap()]);
    assert_eq!(partita.problems(), Vec::<Value>::new());
    for table in ["orders", "sessions", "threads"] {
        partita.active(table);
    }
    let tables: Value = serde_json::from_str(&partita.admin("/tables").1).unwrap();
    assert_eq!(tables["tables"][0]["name"], "orders");
    assert_eq!(tables["tables"][0]["partitions"].as_array().unwrap().len(), 4);
    assert!(partita.stop().success());
}
