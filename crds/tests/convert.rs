//! A table that was made through the API has a resource that declares the same table.

#![allow(clippy::unwrap_used)]

use partita_crds::convert::{Deployment, from_model, minute_of_day, to_model, to_model_with};
use partita_crds::{Table, TableSpec};
use partita_model::table::Throughput;
use serde_json::{Value, json};

#[test]
fn declaring_what_was_declared_gives_the_same_table() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples");
    let mut tables = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for document in text.split("\n---\n").filter(|text| text.contains("kind: Table")) {
            let table: Table = serde_yaml::from_str(document).unwrap();
            let spec = to_model(&table.spec).unwrap();
            let deployment = Deployment {
                replicas: 1,
                storage: None,
            };
            assert_eq!(to_model(&from_model(&spec, &deployment)).unwrap(), spec);
            tables += 1;
        }
    }
    assert!(tables >= 3, "{folder} holds tables");
}

fn spec(change: impl FnOnce(&mut Value)) -> TableSpec {
    let mut spec = json!({
        "tableName": "orders",
        "attributeDefinitions": [{"attributeName": "id", "attributeType": "S"}],
        "keySchema": [{"attributeName": "id", "keyType": "HASH"}],
        "provisionedThroughput": {"readCapacityUnits": 7},
        "autoscaling": {"write": {"min": 10, "max": 100}},
        "globalSecondaryIndexes": [{
            "indexName": "byId",
            "keySchema": [{"attributeName": "id", "keyType": "HASH"}],
            "projection": {"projectionType": "ALL"},
            "autoscaling": {"read": {"min": 5, "max": 50}, "write": {"min": 5, "max": 50}},
        }],
    });
    change(&mut spec);
    serde_json::from_value(spec).unwrap()
}

#[test]
fn a_range_begins_at_its_minimum_and_goes_on_from_what_is_known() {
    let units = |read, write| Throughput { read, write };
    let begun = to_model(&spec(|_| ())).unwrap();
    assert_eq!(
        (begun.throughput, begun.global[0].throughput),
        (units(7, 10), units(5, 5))
    );
    let known = |index: Option<&str>| match index {
        None => Some(units(1000, 40)),
        Some("byId") => Some(units(1, 1000)),
        Some(_) => None,
    };
    let going_on = to_model_with(&spec(|_| ()), &known).unwrap();
    assert_eq!(
        going_on.throughput,
        units(7, 40),
        "what is given is taken, whatever is known"
    );
    assert_eq!(going_on.global[0].throughput, units(5, 50), "within the range");
}

#[test]
fn ranges_that_are_wrong_are_refused_with_their_field() {
    let refused = |change: fn(&mut Value)| to_model(&spec(change)).unwrap_err().to_string();
    for (change, said) in [
        (
            (|spec| spec["autoscaling"]["write"]["min"] = json!(101)) as fn(&mut Value),
            "autoscaling.write.min: 101 is above max, which is 100",
        ),
        (
            |spec| spec["autoscaling"]["write"]["min"] = json!(0),
            "autoscaling.write.min: 0 is not a positive number",
        ),
        (
            |spec| spec["autoscaling"]["write"]["targetUtilization"] = json!(95),
            "autoscaling.write.targetUtilization: 95 is not between 20 and 90 per cent",
        ),
        (
            |spec| spec["provisionedThroughput"]["writeCapacityUnits"] = json!(5),
            "provisionedThroughput.writeCapacityUnits: autoscaling.write has a range for it: give one of both",
        ),
        (
            |spec| spec["provisionedThroughput"] = json!({}),
            "provisionedThroughput.readCapacityUnits: it is missing, and so is a range in autoscaling.read",
        ),
        (
            |spec| {
                let schedule = json!([{"from": "8:00", "to": "17:00", "min": 20}]);
                spec["globalSecondaryIndexes"][0]["autoscaling"]["read"]["schedule"] = schedule;
            },
            "globalSecondaryIndexes[0].autoscaling.read.schedule[0].from: \"8:00\" is no time of day; write one such as 08:30",
        ),
        (
            |spec| {
                let schedule = json!([{"from": "08:00", "to": "17:00", "min": 200}]);
                spec["autoscaling"]["write"]["schedule"] = schedule;
            },
            "autoscaling.write.schedule[0].min: 200 is above the range's max, which is 100",
        ),
    ] {
        assert_eq!(refused(change), said);
    }
    assert_eq!(minute_of_day("08:30"), Some(510));
    for wrong in ["", "24:00", "08:60", "8:30", "+8:30", "08-30", "08:3", "08:30:00"] {
        assert_eq!(minute_of_day(wrong), None, "{wrong}");
    }
}
