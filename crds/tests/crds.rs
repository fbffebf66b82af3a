//! The generated YAML is what the types say, and the rules in it accept and refuse what they should, evaluated as the
//! API server would.

#![allow(clippy::unwrap_used)]

use kube::CustomResourceExt;
use kube::core::cel::Validator;
use partita_crds::Table;
use serde_json::{Value, json};

#[test]
fn yaml_is_up_to_date() {
    for (name, expected) in partita_crds::yaml::files().unwrap() {
        let path = format!("{}/yaml/{name}", env!("CARGO_MANIFEST_DIR"));
        let actual = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(actual == expected, "{path} is not what the types say: run `make fix`");
    }
}

fn table() -> Value {
    json!({
        "apiVersion": "partita.dev/v1alpha1",
        "kind": "Table",
        "metadata": {"name": "orders"},
        "spec": {
            "tableName": "orders",
            "attributeDefinitions": [
                {"attributeName": "customerId", "attributeType": "S"},
                {"attributeName": "orderId", "attributeType": "S"},
                {"attributeName": "status", "attributeType": "S"},
            ],
            "keySchema": [
                {"attributeName": "customerId", "keyType": "HASH"},
                {"attributeName": "orderId", "keyType": "RANGE"},
            ],
            "billingMode": "PAY_PER_REQUEST",
            "globalSecondaryIndexes": [{
                "indexName": "byStatus",
                "keySchema": [{"attributeName": "status", "keyType": "HASH"}],
                "projection": {"projectionType": "ALL"},
            }],
            "replicas": 3,
        },
    })
}

/// The messages of the rules that `new` breaks, after `old` if there is one.
fn broken(new: &Value, old: Option<&Value>) -> Vec<String> {
    let crd = serde_json::to_value(Table::crd()).unwrap();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    match Validator::new().validate(schema, new, old) {
        Ok(()) => Vec::new(),
        Err(errors) => errors.as_slice().iter().map(|error| error.message.clone()).collect(),
    }
}

/// What is broken after setting the value at `pointer` (an absent one is added, null removes it).
fn after(pointer: &str, value: Value) -> Vec<String> {
    let old = table();
    let mut new = old.clone();
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    let parent = new.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match value {
        Value::Null => parent.remove(field),
        value => parent.insert(field.to_owned(), value),
    };
    broken(&new, Some(&old))
}

#[test]
fn a_valid_table_breaks_no_rule() {
    assert_eq!(broken(&table(), None), Vec::<String>::new());
    assert_eq!(broken(&table(), Some(&table())), Vec::<String>::new());
}

#[test]
fn keys_names_and_local_indexes_cannot_change() {
    assert_eq!(
        after("/spec/tableName", json!("others")),
        ["tableName cannot be changed"]
    );
    let keys = json!([{"attributeName": "customerId", "keyType": "HASH"}]);
    assert_eq!(after("/spec/keySchema", keys.clone()), ["keySchema cannot be changed"]);
    let local = json!([{
        "indexName": "byAge",
        "keySchema": [{"attributeName": "customerId", "keyType": "HASH"}, {"attributeName": "status", "keyType": "RANGE"}],
        "projection": {"projectionType": "ALL"},
    }]);
    assert_eq!(
        after("/spec/localSecondaryIndexes", local),
        ["localSecondaryIndexes cannot be changed, added or removed"]
    );
    assert_eq!(
        after("/spec/globalSecondaryIndexes/0/keySchema", keys),
        ["keySchema cannot be changed"]
    );
    assert_eq!(
        after("/spec/attributeDefinitions/0/attributeType", json!("N")),
        ["an attribute keeps its type"]
    );
}

#[test]
fn the_class_of_the_volumes_cannot_change_however_it_is_said() {
    let fixed = ["storageClassName cannot be changed, added or removed"];
    let with = |storage: Value| {
        let mut table = table();
        if !storage.is_null() {
            table["spec"]["storage"] = storage;
        }
        table
    };
    let (none, sized) = (Value::Null, json!({"size": "40Gi"}));
    let (fast, slow) = (json!({"storageClassName": "fast"}), json!({"storageClassName": "slow"}));
    for (old, new) in [
        (&none, &fast),
        (&fast, &none),
        (&sized, &fast),
        (&fast, &sized),
        (&fast, &slow),
    ] {
        assert_eq!(
            broken(&with(new.clone()), Some(&with(old.clone()))),
            fixed,
            "{old} {new}"
        );
    }
    for (old, new) in [(&none, &sized), (&sized, &none), (&fast, &fast)] {
        assert_eq!(
            broken(&with(new.clone()), Some(&with(old.clone()))),
            Vec::<String>::new(),
            "{old} {new}"
        );
    }
}

#[test]
fn what_may_change_can() {
    assert_eq!(after("/spec/globalSecondaryIndexes", Value::Null), Vec::<String>::new());
    assert_eq!(after("/spec/deletionPolicy", json!("Delete")), Vec::<String>::new());
    assert_eq!(
        after("/spec/bootstrap", json!({"adopt": "0123456789abcdef"})),
        Vec::<String>::new()
    );
    assert_eq!(after("/spec/replicas", json!(5)), Vec::<String>::new());
}

#[test]
fn fields_must_fit_each_other() {
    assert_eq!(after("/spec/replicas", json!(2)), ["replicas must be 1, 3 or 5"]);
    assert_eq!(
        after("/spec/billingMode", json!("PROVISIONED")),
        [
            "provisionedThroughput (or autoscaling) is needed with billingMode PROVISIONED and not allowed with PAY_PER_REQUEST"
        ]
    );
    assert_eq!(
        after("/spec/streamSpecification", json!({"streamEnabled": true})),
        ["streamViewType is needed when the stream is enabled, and only then"]
    );
    assert_eq!(
        after(
            "/spec/globalSecondaryIndexes/0/projection",
            json!({"projectionType": "INCLUDE"})
        ),
        [
            "projection cannot be changed",
            "nonKeyAttributes belongs to projectionType INCLUDE"
        ]
    );
}

/// The table with these units and ranges, its index with those.
fn provisioned(units: Value, ranges: Value, index_units: Value, index_ranges: Value) -> Value {
    let mut table = table();
    let spec = table["spec"].as_object_mut().unwrap();
    spec.remove("billingMode");
    let set = |object: &mut serde_json::Map<String, Value>, units: Value, ranges: Value| {
        for (field, value) in [("provisionedThroughput", units), ("autoscaling", ranges)] {
            if !value.is_null() {
                object.insert(field.to_owned(), value);
            }
        }
    };
    set(spec, units, ranges);
    let index = spec["globalSecondaryIndexes"][0].as_object_mut().unwrap();
    set(index, index_units, index_ranges);
    table
}

#[test]
fn units_are_given_or_have_a_range() {
    let fixed = || json!({"readCapacityUnits": 5, "writeCapacityUnits": 5});
    let reads = || json!({"readCapacityUnits": 5});
    let range = || json!({"min": 1, "max": 10});
    let both = || json!({"read": range(), "write": range()});
    let writes = || json!({"write": range()});
    for (units, ranges) in [
        (fixed(), Value::Null),
        (Value::Null, both()),
        (reads(), writes()),
        (fixed(), json!({})),
    ] {
        let valid = provisioned(units.clone(), ranges.clone(), units, ranges);
        assert_eq!(broken(&valid, None), Vec::<String>::new(), "{valid}");
    }
    let read = "give either provisionedThroughput.readCapacityUnits or a range in autoscaling.read";
    let write = "give either provisionedThroughput.writeCapacityUnits or a range in autoscaling.write";
    for (units, ranges, messages) in [
        (fixed(), writes(), vec![write]),
        (fixed(), both(), vec![read, write]),
        (reads(), Value::Null, vec![write]),
        (Value::Null, writes(), vec![read]),
    ] {
        let table = provisioned(units.clone(), ranges.clone(), fixed(), Value::Null);
        assert_eq!(broken(&table, None), messages);
        let index = provisioned(fixed(), Value::Null, units, ranges);
        assert_eq!(broken(&index, None), messages);
    }
    let mut on_demand = table();
    on_demand["spec"]["autoscaling"] = both();
    assert_eq!(
        broken(&on_demand, None),
        ["autoscaling is only allowed with billingMode PROVISIONED"]
    );
}

#[test]
fn ranges_have_their_ends_in_order() {
    let with = |range: Value| {
        let ranges = json!({"read": {"min": 1, "max": 10}, "write": range});
        broken(&provisioned(Value::Null, ranges.clone(), Value::Null, ranges), None)
    };
    assert_eq!(with(json!({"min": 11, "max": 10})), ["min must not be above max"; 2]);
    let schedule = |min: u64| json!({"min": 1, "max": 10, "schedule": [{"from": "08:00", "to": "17:00", "min": min}]});
    assert_eq!(with(schedule(10)), Vec::<String>::new());
    assert_eq!(with(schedule(11)), ["the min of a schedule must not be above max"; 2]);
}
