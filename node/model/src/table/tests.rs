use super::*;
use crate::schema::ScalarType;

fn key(name: &str, kind: KeyKind) -> KeyElement {
    KeyElement {
        name: name.into(),
        kind,
    }
}

fn defined(names: &[&str]) -> Vec<(String, ScalarType)> {
    names.iter().map(|name| ((*name).to_owned(), ScalarType::S)).collect()
}

fn all() -> DeclaredProjection {
    DeclaredProjection {
        kind: Some(ProjectionKind::All),
        attributes: None,
    }
}

/// A table of `a` and `b`, provisioned.
fn table() -> Declaration {
    Declaration {
        name: "table".into(),
        attributes: defined(&["a", "b"]),
        keys: vec![key("a", KeyKind::Hash), key("b", KeyKind::Range)],
        throughput: Some(Throughput { read: 5, write: 5 }),
        ..Declaration::default()
    }
}

fn global(name: &str, keys: Vec<KeyElement>) -> DeclaredGlobalIndex {
    DeclaredGlobalIndex {
        name: name.into(),
        keys,
        projection: all(),
        throughput: Some(Throughput { read: 1, write: 1 }),
        on_demand: None,
        warm: None,
    }
}

fn local(name: &str, keys: Vec<KeyElement>) -> DeclaredLocalIndex {
    DeclaredLocalIndex {
        name: name.into(),
        keys,
        projection: all(),
    }
}

fn refused(declaration: Declaration) -> (String, String) {
    let error = declaration.resolve().unwrap_err();
    (error.field, error.message)
}

fn description(spec: TableSpec) -> TableDescription {
    TableDescription {
        global: spec
            .global
            .iter()
            .map(|index| GlobalIndexState {
                name: index.name.clone(),
                status: Status::Active,
                backfilling: None,
                items: 0,
                bytes: 0,
                last_increase_ms: None,
                last_decrease_ms: None,
                decreases_today: 0,
            })
            .collect(),
        local: vec![(0, 0); spec.local.len()],
        id: TableId(7),
        status: Status::Active,
        created_ms: 0,
        items: 0,
        bytes: 0,
        on_demand_since_ms: None,
        last_increase_ms: None,
        last_decrease_ms: None,
        decreases_today: 0,
        stream_label: None,
        class_since_ms: None,
        time_to_live: TimeToLiveStatus::Disabled,
        spec,
    }
}

#[test]
fn a_plain_table_resolves_and_stays_valid() {
    let spec = table().resolve().unwrap();
    assert_eq!(spec.keys.hash[0].name, "a");
    assert_eq!(spec.keys.range[0].name, "b");
    spec.validate().unwrap();
}

#[test]
fn keys_are_checked_in_dynamodbs_words() {
    let mut wrong = table();
    wrong.keys[0].kind = KeyKind::Range;
    assert_eq!(
        refused(wrong),
        (
            "keySchema".into(),
            "Invalid KeySchema: The first KeySchemaElement is not a HASH key type".into()
        )
    );
    let mut wrong = table();
    wrong.keys[1].kind = KeyKind::Hash;
    assert_eq!(
        refused(wrong).1,
        "Invalid KeySchema: The second KeySchemaElement is not a RANGE key type"
    );
    let mut wrong = table();
    wrong.keys[1].name = "a".into();
    assert_eq!(
        refused(wrong).1,
        "Both the Hash Key and the Range Key element in the KeySchema have the same name"
    );
    let mut wrong = table();
    wrong.attributes = defined(&["a"]);
    assert_eq!(
        refused(wrong).1,
        "Invalid KeySchema: Some index key attribute have no definition"
    );
    let mut wrong = table();
    wrong.attributes = defined(&["a", "c"]);
    assert_eq!(
        refused(wrong).1,
        "One or more parameter values were invalid: Some index key attributes are not defined in \
         AttributeDefinitions. Keys: [a, b], AttributeDefinitions: [a, c]"
    );
    let mut wrong = table();
    wrong.attributes = defined(&["a", "b", "c"]);
    assert_eq!(
        refused(wrong).1,
        "One or more parameter values were invalid: Number of attributes in KeySchema does not exactly match number \
         of attributes defined in AttributeDefinitions"
    );
    let mut wrong = table();
    wrong.attributes = defined(&["a", "b", "b"]);
    assert_eq!(refused(wrong).1, "Attribute Name is duplicated: b");
}

#[test]
fn units_fit_the_billing_mode() {
    let mut wrong = table();
    wrong.throughput = None;
    assert_eq!(refused(wrong).1, crate::message::table::UNITS_REQUIRED);
    let mut wrong = table();
    wrong.billing = Some(BillingMode::PayPerRequest);
    assert_eq!(refused(wrong).1, crate::message::table::UNITS_WITH_ON_DEMAND);
    let mut right = table();
    right.billing = Some(BillingMode::PayPerRequest);
    right.throughput = None;
    right.global = Some(vec![global("idx", vec![key("b", KeyKind::Hash)])]);
    assert_eq!(
        refused(right.clone()).1,
        "One or more parameter values were invalid: ProvisionedThroughput should not be specified for index: idx \
         when BillingMode is PAY_PER_REQUEST"
    );
    right.global.as_mut().unwrap()[0].throughput = None;
    right.resolve().unwrap().validate().unwrap();
}

#[test]
fn local_indexes_share_the_partition_key() {
    let mut right = table();
    right.attributes = defined(&["a", "b", "c"]);
    right.local = Some(vec![local(
        "idx",
        vec![key("a", KeyKind::Hash), key("c", KeyKind::Range)],
    )]);
    right.clone().resolve().unwrap().validate().unwrap();

    let mut wrong = right.clone();
    wrong.local.as_mut().unwrap()[0].keys.pop();
    assert_eq!(
        refused(wrong),
        (
            "localSecondaryIndexes[0].keySchema".into(),
            "One or more parameter values were invalid: Index KeySchema does not have a range key for index: idx"
                .into()
        )
    );
    let mut wrong = right.clone();
    wrong.local.as_mut().unwrap()[0].keys[0].name = "b".into();
    assert_eq!(
        refused(wrong).1,
        "One or more parameter values were invalid: Index KeySchema does not have the same leading hash key as table \
         KeySchema for index: idx. index hash key: b, table hash key: a"
    );
    let mut wrong = right.clone();
    wrong.local = Some(Vec::new());
    assert_eq!(
        refused(wrong).1,
        "One or more parameter values were invalid: List of LocalSecondaryIndexes is empty"
    );
    let mut wrong = right.clone();
    wrong
        .local
        .as_mut()
        .unwrap()
        .push(right.local.as_ref().unwrap()[0].clone());
    assert_eq!(
        refused(wrong).1,
        "One or more parameter values were invalid: Duplicate index name: idx"
    );
    let mut wrong = right;
    wrong.keys.pop();
    assert_eq!(refused(wrong).1, crate::message::table::LOCAL_INDEX_WITHOUT_TABLE_RANGE);
}

#[test]
fn global_indexes_may_have_four_attributes_of_each_kind() {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
    let keys = |hash: usize, range: usize| {
        let hash_keys = names[..hash].iter().map(|name| key(name, KeyKind::Hash));
        hash_keys
            .chain(names[hash..hash + range].iter().map(|name| key(name, KeyKind::Range)))
            .collect::<Vec<_>>()
    };
    let with = |hash: usize, range: usize| {
        let mut declared = table();
        declared.attributes = defined(&names[..(hash + range).max(2)]);
        declared.global = Some(vec![global("idx", keys(hash, range))]);
        declared.resolve()
    };
    let spec = with(4, 4).unwrap();
    assert_eq!(
        (spec.global[0].keys.hash.len(), spec.global[0].keys.range.len()),
        (4, 4)
    );
    assert!(
        with(5, 1)
            .unwrap_err()
            .message
            .contains("exceeds the maximum allowed number of HASH key attributes")
    );
    assert!(
        with(1, 5)
            .unwrap_err()
            .message
            .contains("exceeds the maximum allowed number of RANGE key attributes")
    );
}

#[test]
fn unused_definitions_and_projections_are_refused() {
    let mut wrong = table();
    wrong.attributes = defined(&["a", "b", "c"]);
    wrong.global = Some(vec![global("idx", vec![key("b", KeyKind::Hash)])]);
    assert_eq!(
        refused(wrong.clone()).1,
        "One or more parameter values were invalid: Some AttributeDefinitions are not used. AttributeDefinitions: \
         [a, b, c], keys used: [a, b]"
    );
    wrong.global.as_mut().unwrap()[0].projection.attributes = Some(vec!["x".into()]);
    assert_eq!(
        refused(wrong.clone()).1,
        "One or more parameter values were invalid: ProjectionType is ALL, but NonKeyAttributes is specified"
    );
    wrong.global.as_mut().unwrap()[0].projection.kind = None;
    assert_eq!(
        refused(wrong.clone()).1,
        "One or more parameter values were invalid: Unknown ProjectionType: null"
    );
    wrong.global.as_mut().unwrap()[0].projection = DeclaredProjection {
        kind: Some(ProjectionKind::Include),
        attributes: None,
    };
    assert_eq!(
        refused(wrong).1,
        "One or more parameter values were invalid: ProjectionType is INCLUDE, but NonKeyAttributes is not specified"
    );
}

#[test]
fn updates_follow_updatetables_rules() {
    let mut declared = table();
    declared.global = Some(vec![global("idx", vec![key("b", KeyKind::Hash)])]);
    let table = description(declared.resolve().unwrap());
    let update = |update: TableUpdate| table.updated(&update);

    let same = TableUpdate {
        throughput: Some(Throughput { read: 5, write: 5 }),
        ..TableUpdate::default()
    };
    assert!(update(same).unwrap_err().message.starts_with(
        "The provisioned throughput for the table will not change. The requested value equals the current value. \
         Current ReadCapacityUnits provisioned for the table: 5. Requested ReadCapacityUnits: 5."
    ));
    let on_demand = TableUpdate {
        billing: Some(BillingMode::PayPerRequest),
        ..TableUpdate::default()
    };
    let spec = update(on_demand).unwrap();
    assert_eq!((spec.throughput.read, spec.global[0].throughput.read), (0, 0));

    let index = |name: &str| {
        GlobalIndexUpdate::Create(
            resolve_global_index(&global(name, vec![key("n", KeyKind::Hash)]), &defined(&["n"]), "").unwrap(),
        )
    };
    let create = TableUpdate {
        attributes: defined(&["n"]),
        global: vec![index("new")],
        ..TableUpdate::default()
    };
    let spec = update(create).unwrap();
    assert_eq!(spec.attributes, defined(&["a", "b", "n"]));
    let two = TableUpdate {
        attributes: defined(&["n"]),
        global: vec![index("new"), index("newer")],
        ..TableUpdate::default()
    };
    let error = update(two).unwrap_err();
    assert_eq!(error.code, ErrorCode::LimitExceeded);
    let taken = TableUpdate {
        attributes: defined(&["n"]),
        global: vec![index("idx")],
        ..TableUpdate::default()
    };
    assert_eq!(
        update(taken).unwrap_err().message,
        "Attempting to create an index which already exists"
    );
    let gone = TableUpdate {
        global: vec![GlobalIndexUpdate::Delete("nix".into())],
        ..TableUpdate::default()
    };
    assert_eq!(update(gone).unwrap_err().code, ErrorCode::ResourceNotFound);

    let mut creating = table.clone();
    creating.status = Status::Creating;
    assert_eq!(
        creating.updated(&TableUpdate::default()).unwrap_err().message,
        "Attempt to change a resource which is still in use: Table is being created: table"
    );
}

#[test]
fn an_index_can_be_given_up_while_it_is_built() {
    let mut declared = table();
    declared.global = Some(vec![global("idx", vec![key("b", KeyKind::Hash)])]);
    let mut table = description(declared.resolve().unwrap());
    table.status = Status::Updating;
    table.global = vec![GlobalIndexState {
        name: "idx".into(),
        status: Status::Creating,
        backfilling: Some(true),
        items: 0,
        bytes: 0,
        last_increase_ms: None,
        last_decrease_ms: None,
        decreases_today: 0,
    }];
    let delete = |name: &str| TableUpdate {
        global: vec![GlobalIndexUpdate::Delete(name.into())],
        ..TableUpdate::default()
    };
    table.updated(&delete("idx")).unwrap();
    // Anything else has to wait, and what concerns indexes is told so.
    assert_eq!(
        table.updated(&delete("other")).unwrap_err().code,
        ErrorCode::LimitExceeded
    );
    let protect = TableUpdate {
        deletion_protection: Some(true),
        ..delete("idx")
    };
    assert_eq!(table.updated(&protect).unwrap_err().code, ErrorCode::LimitExceeded);
    let protect = TableUpdate {
        global: Vec::new(),
        ..protect
    };
    assert_eq!(table.updated(&protect).unwrap_err().code, ErrorCode::ResourceInUse);
    // Once everything is copied, the index is nearly there.
    table.global[0].backfilling = Some(false);
    assert_eq!(
        table.updated(&delete("idx")).unwrap_err().code,
        ErrorCode::LimitExceeded
    );
}

#[test]
fn ceilings_are_for_on_demand_tables() {
    let ceilings = |read_max| OnDemandThroughput {
        read_max: Some(read_max),
        write_max: None,
    };
    let mut wrong = table();
    wrong.on_demand = Some(ceilings(5));
    assert_eq!(
        refused(wrong.clone()).1,
        "One or more parameter values were invalid: MaxReadRequestUnits for OnDemandThroughput cannot be specified \
         when table BillingMode is PROVISIONED."
    );
    wrong.billing = Some(BillingMode::PayPerRequest);
    wrong.throughput = None;
    wrong.on_demand = Some(ceilings(0));
    assert_eq!(
        refused(wrong).1,
        "One or more parameter values were invalid: Requested MaxReadRequestUnits for OnDemandThroughput for table is \
         outside of valid range"
    );
}

#[test]
fn what_is_fixed_when_a_table_is_made_cannot_change() {
    let before = table().resolve().unwrap();
    assert_eq!(before.check_unchangeable(&before), Ok(()));
    let mut other = table();
    other.keys.pop();
    other.attributes.pop();
    assert_eq!(
        before.check_unchangeable(&other.resolve().unwrap()).unwrap_err().field,
        "keySchema"
    );
}

/// Lists as long as a request can be are refused in time that grows with their length, not with its square.
#[test]
fn endless_lists_are_refused_in_one_pass() {
    const MANY: usize = 200_000;
    let names: Vec<String> = (0..MANY).map(|number| format!("name-{number}")).collect();
    let mut attributes = table().attributes;
    attributes.extend(names.iter().map(|name| (name.clone(), ScalarType::S)));
    let (field, _) = refused(Declaration {
        attributes: attributes.clone(),
        ..table()
    });
    assert_eq!(field, "attributeDefinitions");

    let index = |name: &String| global(name, vec![key("b", KeyKind::Hash)]);
    let (_, message) = refused(Declaration {
        attributes,
        global: Some(names.iter().map(index).collect()),
        ..table()
    });
    assert!(message.ends_with("exceeds the per-table limit of 20"), "{message}");
    let elements = names.iter().map(|name| key(name, KeyKind::Range)).collect();
    let (_, message) = refused(Declaration {
        global: Some(vec![global("index", elements)]),
        ..table()
    });
    assert!(
        message.ends_with("maximum allowed number of RANGE key attributes"),
        "{message}"
    );
    let indexes = names
        .iter()
        .map(|name| local(name, vec![key("a", KeyKind::Hash), key("b", KeyKind::Range)]));
    let (_, message) = refused(Declaration {
        local: Some(indexes.collect()),
        ..table()
    });
    assert!(message.ends_with("exceeds per-table limit of 5"), "{message}");

    let mut tags: Vec<(String, String)> = names.iter().map(|name| (name.clone(), String::new())).collect();
    assert!(check_tags(&tags).unwrap_err().message.contains("Too many tags"));
    tags.push(("name-7".into(), String::new()));
    assert!(
        check_tags(&tags)
            .unwrap_err()
            .message
            .ends_with("Duplicate tag key: name-7")
    );

    let update = TableUpdate {
        global: names
            .iter()
            .chain([&names[7]])
            .map(|name| GlobalIndexUpdate::Update {
                name: name.clone(),
                throughput: None,
                on_demand: None,
                warm: None,
            })
            .collect(),
        ..TableUpdate::default()
    };
    let error = description(table().resolve().unwrap()).updated(&update).unwrap_err();
    assert!(error.message.ends_with("Index: name-7"), "{}", error.message);
}
