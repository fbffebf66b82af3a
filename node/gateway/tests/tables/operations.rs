//! The operations on tables: answers and errors as DynamoDB has them.

use serde_json::{Value, json};

use crate::client::Server;

fn table(name: &str) -> Value {
    json!({
        "TableName": name,
        "AttributeDefinitions": [
            {"AttributeName": "b", "AttributeType": "N"},
            {"AttributeName": "a", "AttributeType": "S"},
        ],
        "KeySchema": [{"AttributeName": "a", "KeyType": "HASH"}, {"AttributeName": "b", "KeyType": "RANGE"}],
        "ProvisionedThroughput": {"ReadCapacityUnits": 5, "WriteCapacityUnits": 6},
    })
}

fn with(mut table: Value, member: &str, value: Value) -> Value {
    table[member] = value;
    table
}

const ARN: &str = "arn:aws:dynamodb:us-east-1:000000000000:table/pets";

fn validation(message: &str) -> (String, String) {
    ("ValidationException".to_owned(), message.to_owned())
}

#[tokio::test]
async fn a_table_is_described_as_aws_does() {
    let server = Server::start().await;
    let created = server.done("CreateTable", &table("pets")).await;
    let id = created["TableDescription"]["TableId"].as_str().unwrap().to_owned();
    assert_eq!(id.len(), 36);
    let mut expected = json!({
        "TableName": "pets",
        "TableStatus": "CREATING",
        "TableArn": ARN,
        "TableId": id,
        "ItemCount": 0,
        "TableSizeBytes": 0,
        "CreationDateTime": 1_500_000_000.123,
        "AttributeDefinitions": [
            {"AttributeName": "a", "AttributeType": "S"},
            {"AttributeName": "b", "AttributeType": "N"},
        ],
        "KeySchema": [{"AttributeName": "a", "KeyType": "HASH"}, {"AttributeName": "b", "KeyType": "RANGE"}],
        "ProvisionedThroughput": {"ReadCapacityUnits": 5, "WriteCapacityUnits": 6, "NumberOfDecreasesToday": 0},
        "DeletionProtectionEnabled": false,
        "WarmThroughput": {"ReadUnitsPerSecond": 5, "WriteUnitsPerSecond": 6, "Status": "UPDATING"},
    });
    assert_eq!(created["TableDescription"], expected);
    expected["TableStatus"] = json!("ACTIVE");
    expected["WarmThroughput"]["Status"] = json!("ACTIVE");
    for name in ["pets", ARN] {
        let described = server.done("DescribeTable", &json!({"TableName": name})).await;
        assert_eq!(described["Table"], expected);
    }
    assert_eq!(
        server.failed("CreateTable", &table("pets")).await,
        ("ResourceInUseException".into(), "Table already exists: pets".into())
    );
    let deleted = server.done("DeleteTable", &json!({"TableName": "pets"})).await;
    assert_eq!(
        deleted["TableDescription"],
        json!({
            "TableName": "pets",
            "TableStatus": "DELETING",
            "TableArn": ARN,
            "TableId": id,
            "ItemCount": 0,
            "TableSizeBytes": 0,
            "ProvisionedThroughput": {"ReadCapacityUnits": 5, "WriteCapacityUnits": 6, "NumberOfDecreasesToday": 0},
            "DeletionProtectionEnabled": false,
        })
    );
    assert_eq!(
        server
            .failed("DescribeContinuousBackups", &json!({"TableName": "pets"}))
            .await,
        ("TableNotFoundException".into(), "Table not found: pets".into())
    );
    for operation in ["DescribeTable", "DeleteTable", "DescribeTimeToLive"] {
        assert_eq!(
            server.failed(operation, &json!({"TableName": "pets"})).await,
            (
                "ResourceNotFoundException".into(),
                "Requested resource not found: Table: pets not found".into()
            )
        );
    }
}

#[tokio::test]
async fn indexes_streams_and_settings_are_described() {
    let server = Server::start().await;
    let table = json!({
        "TableName": "full",
        "AttributeDefinitions": [
            {"AttributeName": "a", "AttributeType": "S"},
            {"AttributeName": "b", "AttributeType": "N"},
            {"AttributeName": "c", "AttributeType": "B"},
        ],
        "KeySchema": [{"AttributeName": "a", "KeyType": "HASH"}, {"AttributeName": "b", "KeyType": "RANGE"}],
        "BillingMode": "PAY_PER_REQUEST",
        "LocalSecondaryIndexes": [{
            "IndexName": "local",
            "KeySchema": [{"AttributeName": "a", "KeyType": "HASH"}, {"AttributeName": "c", "KeyType": "RANGE"}],
            "Projection": {"ProjectionType": "KEYS_ONLY"},
        }],
        "GlobalSecondaryIndexes": [{
            "IndexName": "global",
            "KeySchema": [{"AttributeName": "c", "KeyType": "HASH"}],
            "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["x", "y"]},
            "OnDemandThroughput": {"MaxReadRequestUnits": 9},
        }],
        "StreamSpecification": {"StreamEnabled": true, "StreamViewType": "NEW_IMAGE"},
        "TableClass": "STANDARD_INFREQUENT_ACCESS",
        "DeletionProtectionEnabled": true,
        "SSESpecification": {"Enabled": true, "SSEType": "KMS"},
        "Tags": [{"Key": "k", "Value": "v"}],
    });
    server.done("CreateTable", &table).await;
    let shown = server.done("DescribeTable", &json!({"TableName": "full"})).await["Table"].clone();
    let arn = "arn:aws:dynamodb:us-east-1:000000000000:table/full";
    assert_eq!(shown["BillingModeSummary"], json!({"BillingMode": "PAY_PER_REQUEST"}));
    assert_eq!(
        shown["TableClassSummary"],
        json!({"TableClass": "STANDARD_INFREQUENT_ACCESS"})
    );
    assert_eq!(
        shown["StreamSpecification"],
        json!({"StreamEnabled": true, "StreamViewType": "NEW_IMAGE"})
    );
    assert_eq!(
        shown["LatestStreamArn"],
        json!(format!("{arn}/stream/2017-07-14T02:40:00.123"))
    );
    let encrypted = &shown["SSEDescription"];
    assert_eq!(
        (&encrypted["Status"], &encrypted["SSEType"]),
        (&json!("ENABLED"), &json!("KMS"))
    );
    let key = encrypted["KMSMasterKeyArn"].as_str().unwrap();
    assert!(
        key.starts_with("arn:aws:kms:us-east-1:000000000000:key/") && key.len() == 75,
        "{key}"
    );
    assert_eq!(
        shown["LocalSecondaryIndexes"],
        json!([{
            "IndexName": "local",
            "IndexArn": format!("{arn}/index/local"),
            "KeySchema": [{"AttributeName": "a", "KeyType": "HASH"}, {"AttributeName": "c", "KeyType": "RANGE"}],
            "Projection": {"ProjectionType": "KEYS_ONLY"},
            "ItemCount": 0,
            "IndexSizeBytes": 0,
        }])
    );
    assert_eq!(
        shown["GlobalSecondaryIndexes"],
        json!([{
            "IndexName": "global",
            "IndexArn": format!("{arn}/index/global"),
            "IndexStatus": "ACTIVE",
            "KeySchema": [{"AttributeName": "c", "KeyType": "HASH"}],
            "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["x", "y"]},
            "OnDemandThroughput": {"MaxReadRequestUnits": 9},
            "ProvisionedThroughput": {"ReadCapacityUnits": 0, "WriteCapacityUnits": 0, "NumberOfDecreasesToday": 0},
            "WarmThroughput": {"ReadUnitsPerSecond": 12000, "WriteUnitsPerSecond": 4000, "Status": "ACTIVE"},
            "ItemCount": 0,
            "IndexSizeBytes": 0,
        }])
    );
    assert_eq!(
        server.failed("DeleteTable", &json!({"TableName": "full"})).await,
        validation(
            "Resource cannot be deleted as it is currently protected against deletion. Disable deletion protection \
             first."
        )
    );
    let off = json!({"TableName": "full", "DeletionProtectionEnabled": false});
    server.done("UpdateTable", &off).await;
    server.done("DeleteTable", &json!({"TableName": "full"})).await;
}

#[tokio::test]
async fn a_throughput_mode_stands_in_for_the_billing_mode() {
    let server = Server::start().await;
    let mut request = with(table("pets"), "TableThroughputMode", json!("PAY_PER_REQUEST"));
    for member in ["BillingMode", "ProvisionedThroughput"] {
        request.as_object_mut().unwrap().remove(member);
    }
    let shown = server.done("CreateTable", &request).await;
    assert_eq!(
        shown["TableDescription"]["TableThroughputModeSummary"]["TableThroughputMode"],
        "PAY_PER_REQUEST"
    );
    let message = "1 validation error detected: Value 'FREE' at 'tableThroughputMode' failed to satisfy constraint: Member \
                   must satisfy enum value set: [PROVISIONED, PAY_PER_REQUEST]";
    let request = with(table("cats"), "TableThroughputMode", json!("FREE"));
    assert_eq!(server.failed("CreateTable", &request).await, validation(message));
}

#[tokio::test]
async fn names_of_tables_are_looked_at_before_anything_else() {
    let server = Server::start().await;
    let missing = "The parameter 'TableName' is required but was not present in the request";
    for operation in [
        "CreateTable",
        "DescribeTable",
        "UpdateTable",
        "DeleteTable",
        "UpdateTimeToLive",
    ] {
        assert_eq!(
            server.failed(operation, &json!({})).await,
            validation(missing),
            "{operation}"
        );
    }
    let length = "TableName must be at least 3 characters long and at most 255 characters long";
    for operation in ["DescribeTable", "UpdateTable", "DeleteTable", "DescribeTimeToLive"] {
        for name in ["", "a;", &"x".repeat(256)] {
            let body = json!({"TableName": name});
            assert_eq!(server.failed(operation, &body).await, validation(length), "{operation}");
        }
    }
    for operation in ["TagResource", "UntagResource", "ListTagsOfResource"] {
        assert_eq!(
            server.failed(operation, &json!({})).await,
            validation("Invalid TableArn")
        );
        let body = json!({"ResourceArn": "arn:aws:s3:::x", "Tags": [{"Key": "k", "Value": "v"}], "TagKeys": ["k"]});
        let invalid = "Invalid TableArn: Invalid ResourceArn provided as input arn:aws:s3:::x";
        assert_eq!(server.failed(operation, &body).await, validation(invalid));
    }
}

#[tokio::test]
async fn constraints_are_told_all_at_once() {
    let server = Server::start().await;
    assert_eq!(
        server.failed("CreateTable", &json!({"TableName": "a;"})).await,
        validation(
            "4 validation errors detected: Value 'a;' at 'tableName' failed to satisfy constraint: Member must satisfy \
             regular expression pattern: [a-zA-Z0-9_.-]+; Value 'a;' at 'tableName' failed to satisfy constraint: Member \
             must have length greater than or equal to 3; Value null at 'attributeDefinitions' failed to satisfy \
             constraint: Member must not be null; Value null at 'keySchema' failed to satisfy constraint: Member must not \
             be null"
        )
    );
    assert_eq!(
        server
            .failed("ListTables", &json!({"ExclusiveStartTableName": ""}))
            .await,
        validation(
            "2 validation errors detected: Value '' at 'exclusiveStartTableName' failed to satisfy constraint: Member \
             must satisfy regular expression pattern: [a-zA-Z0-9_.-]+; Value '' at 'exclusiveStartTableName' failed to \
             satisfy constraint: Member must have length greater than or equal to 3"
        )
    );
    assert_eq!(
        server
            .failed("CreateTable", &with(table("pets"), "BillingMode", json!("FREE")))
            .await,
        validation(
            "1 validation error detected: Value 'FREE' at 'billingMode' failed to satisfy constraint: Member must \
             satisfy enum value set: [PROVISIONED, PAY_PER_REQUEST]"
        )
    );
    assert_eq!(
        server
            .failed("CreateTable", &with(table("pets"), "KeySchema", json!([])))
            .await,
        validation(
            "1 validation error detected: Value '[]' at 'keySchema' failed to satisfy constraint: Member must have \
             length greater than or equal to 1"
        )
    );
    let units = json!({"ReadCapacityUnits": 0, "WriteCapacityUnits": 1});
    assert_eq!(
        server
            .failed("CreateTable", &with(table("pets"), "ProvisionedThroughput", units))
            .await,
        validation(
            "1 validation error detected: Value '0' at 'provisionedThroughput.readCapacityUnits' failed to satisfy \
             constraint: Member must have value greater than or equal to 1"
        )
    );
    assert_eq!(
        server.failed("ListTables", &json!({"Limit": 101})).await,
        validation(
            "1 validation error detected: Value '101' at 'limit' failed to satisfy constraint: Member must have value \
             less than or equal to 100"
        )
    );
    let (kind, _) = server
        .failed("CreateTable", &with(table("pets"), "KeySchema", json!("a")))
        .await;
    assert_eq!(kind, "SerializationException");
}

#[tokio::test]
async fn names_are_listed_in_pages() {
    let server = Server::start().await;
    for name in ["ccc", "aaa", "bbb"] {
        server.done("CreateTable", &table(name)).await;
    }
    let page = server.done("ListTables", &json!({"Limit": 2})).await;
    assert_eq!(
        page,
        json!({"TableNames": ["aaa", "bbb"], "LastEvaluatedTableName": "bbb"})
    );
    let page = server
        .done("ListTables", &json!({"ExclusiveStartTableName": "bbb"}))
        .await;
    assert_eq!(page, json!({"TableNames": ["ccc"]}));
}

#[tokio::test]
async fn tables_are_updated_by_the_rules() {
    let server = Server::start().await;
    server.done("CreateTable", &table("pets")).await;
    let update = |member: &str, value: Value| with(json!({"TableName": "pets"}), member, value);
    assert_eq!(
        server.failed("UpdateTable", &json!({"TableName": "pets"})).await,
        validation(
            "At least one of ProvisionedThroughput, BillingMode, UpdateStreamEnabled, GlobalSecondaryIndexUpdates or \
             SSESpecification or ReplicaUpdates is required"
        )
    );
    let same = json!({"ReadCapacityUnits": 5, "WriteCapacityUnits": 6});
    let (_, message) = server
        .failed("UpdateTable", &update("ProvisionedThroughput", same))
        .await;
    assert!(message.starts_with("The provisioned throughput for the table will not change."));
    let more = json!({"ReadCapacityUnits": 50, "WriteCapacityUnits": 6});
    let updated = server.done("UpdateTable", &update("ProvisionedThroughput", more)).await;
    assert_eq!(updated["TableDescription"]["TableStatus"], "UPDATING");
    assert_eq!(
        updated["TableDescription"]["ProvisionedThroughput"]["ReadCapacityUnits"],
        5
    );
    let described = server.done("DescribeTable", &json!({"TableName": "pets"})).await;
    assert_eq!(described["Table"]["ProvisionedThroughput"]["ReadCapacityUnits"], 50);

    let create = json!([{"Create": {
        "IndexName": "idx",
        "KeySchema": [{"AttributeName": "c", "KeyType": "HASH"}, {"AttributeName": "d", "KeyType": "RANGE"}],
        "Projection": {"ProjectionType": "ALL"},
        "ProvisionedThroughput": {"ReadCapacityUnits": 1, "WriteCapacityUnits": 1},
    }}]);
    let undefined = with(
        update("GlobalSecondaryIndexUpdates", create.clone()),
        "AttributeDefinitions",
        json!([{"AttributeName": "c", "AttributeType": "S"}]),
    );
    assert_eq!(
        server.failed("UpdateTable", &undefined).await,
        validation("Invalid KeySchema: Some index key attribute have no definition")
    );
    let defined = with(
        update("GlobalSecondaryIndexUpdates", create),
        "AttributeDefinitions",
        json!([{"AttributeName": "c", "AttributeType": "S"}, {"AttributeName": "d", "AttributeType": "S"}]),
    );
    let updated = server.done("UpdateTable", &defined).await;
    assert_eq!(
        updated["TableDescription"]["GlobalSecondaryIndexes"][0]["IndexName"],
        "idx"
    );
    assert_eq!(
        server.failed("UpdateTable", &defined).await,
        validation("Attempting to create an index which already exists")
    );
    let delete = json!([{"Delete": {"IndexName": "idx"}}]);
    let updated = server
        .done("UpdateTable", &update("GlobalSecondaryIndexUpdates", delete.clone()))
        .await;
    assert_eq!(
        updated["TableDescription"]["AttributeDefinitions"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let (kind, _) = server
        .failed("UpdateTable", &update("GlobalSecondaryIndexUpdates", delete))
        .await;
    assert_eq!(kind, "ResourceNotFoundException");

    let stream = json!({"StreamEnabled": true, "StreamViewType": "KEYS_ONLY"});
    server
        .done("UpdateTable", &update("StreamSpecification", stream.clone()))
        .await;
    assert_eq!(
        server
            .failed("UpdateTable", &update("StreamSpecification", stream))
            .await,
        validation("Table already has an enabled stream: TableName: pets")
    );
    let (_, message) = server
        .failed("UpdateTable", &update("ReplicaUpdates", json!([{}])))
        .await;
    assert!(message.starts_with("ReplicaUpdates is not supported"));
}

#[tokio::test]
async fn tables_are_tagged_by_arn() {
    let server = Server::start().await;
    server.done("CreateTable", &table("pets")).await;
    let tags = json!([{"Key": "one", "Value": "1"}, {"Key": "two", "Value": ""}]);
    let answer = server
        .call("TagResource", &json!({"ResourceArn": ARN, "Tags": tags}))
        .await;
    assert_eq!((answer.status, answer.text()), (200, ""));
    let listed = server.done("ListTagsOfResource", &json!({"ResourceArn": ARN})).await;
    assert_eq!(listed, json!({"Tags": tags}));
    server
        .done(
            "UntagResource",
            &json!({"ResourceArn": ARN, "TagKeys": ["one", "none"]}),
        )
        .await;
    let listed = server.done("ListTagsOfResource", &json!({"ResourceArn": ARN})).await;
    assert_eq!(listed, json!({"Tags": [{"Key": "two", "Value": ""}]}));

    let many: Vec<Value> = (0..50).map(|n| json!({"Key": format!("k{n}"), "Value": "v"})).collect();
    let (kind, message) = server
        .failed("TagResource", &json!({"ResourceArn": ARN, "Tags": many}))
        .await;
    assert_eq!(kind, "ValidationException");
    assert!(message.contains("Too many tags"));
    let (_, message) = server
        .failed(
            "TagResource",
            &json!({"ResourceArn": ARN, "Tags": [{"Key": "aws:x", "Value": "v"}]}),
        )
        .await;
    assert!(message.contains("aws:"));

    let other = ARN.replace("pets", "none");
    assert_eq!(
        server
            .failed("ListTagsOfResource", &json!({"ResourceArn": other}))
            .await,
        (
            "ResourceNotFoundException".into(),
            format!("Requested resource not found: ResourcArn: {other} not found")
        )
    );
    let other = ARN.replace("000000000000", "111111111111");
    let (kind, _) = server
        .failed("ListTagsOfResource", &json!({"ResourceArn": other}))
        .await;
    assert_eq!(kind, "AccessDeniedException");
    let (kind, _) = server
        .failed("ListTagsOfResource", &json!({"ResourceArn": "pets"}))
        .await;
    assert_eq!(kind, "ValidationException");
}

#[tokio::test]
async fn time_to_live_is_switched_on_and_off() {
    let server = Server::start().await;
    server.done("CreateTable", &table("pets")).await;
    let update = |enabled: bool, attribute: &str| {
        json!({
            "TableName": "pets",
            "TimeToLiveSpecification": {"Enabled": enabled, "AttributeName": attribute},
        })
    };
    let describe = json!({"TableName": "pets"});
    assert_eq!(
        server.done("DescribeTimeToLive", &describe).await,
        json!({"TimeToLiveDescription": {"TimeToLiveStatus": "DISABLED"}})
    );
    assert_eq!(
        server.failed("UpdateTimeToLive", &update(false, "x")).await,
        validation("TimeToLive is already disabled")
    );
    assert_eq!(
        server.done("UpdateTimeToLive", &update(true, "x")).await,
        json!({"TimeToLiveSpecification": {"Enabled": true, "AttributeName": "x"}})
    );
    assert_eq!(
        server.done("DescribeTimeToLive", &describe).await,
        json!({"TimeToLiveDescription": {"TimeToLiveStatus": "ENABLED", "AttributeName": "x"}})
    );
    assert_eq!(
        server.failed("UpdateTimeToLive", &update(true, "x")).await,
        validation("TimeToLive is already enabled")
    );
    assert_eq!(
        server.failed("UpdateTimeToLive", &update(true, "y")).await,
        validation("TimeToLive is active on a different AttributeName: current AttributeName is x")
    );
    server.done("UpdateTimeToLive", &update(false, "x")).await;
}

#[tokio::test]
async fn the_rest_answers() {
    let server = Server::start().await;
    server.done("CreateTable", &table("pets")).await;
    let limits = server.done("DescribeLimits", &json!({})).await;
    assert_eq!(limits["TableMaxReadCapacityUnits"], 40_000);
    let endpoints = server.done("DescribeEndpoints", &json!({})).await;
    assert_eq!(endpoints["Endpoints"][0]["Address"], "localhost");
    let backups = server
        .done("DescribeContinuousBackups", &json!({"TableName": "pets"}))
        .await;
    assert_eq!(
        backups["ContinuousBackupsDescription"]["ContinuousBackupsStatus"],
        "ENABLED"
    );
    let recovery = |enabled: bool, days: u32| {
        let specification = json!({"PointInTimeRecoveryEnabled": enabled, "RecoveryPeriodInDays": days});
        json!({"TableName": "pets", "PointInTimeRecoverySpecification": specification})
    };
    assert_eq!(
        server.done("UpdateContinuousBackups", &recovery(false, 35)).await,
        backups
    );
    assert_eq!(
        server.failed("UpdateContinuousBackups", &recovery(false, 36)).await,
        validation(
            "1 validation error detected: Value '36' at 'pointInTimeRecoverySpecification.recoveryPeriodInDays' failed to \
             satisfy constraint: Member must have value less than or equal to 35"
        )
    );
    assert_eq!(
        server.failed("UpdateContinuousBackups", &recovery(true, 35)).await,
        (
            "UnknownOperationException".into(),
            "Partita does not have point-in-time recovery yet".into()
        )
    );
}
