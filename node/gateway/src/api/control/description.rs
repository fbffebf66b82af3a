//! A table as the API shows it: `TableDescription`, with the members that AWS leaves out left out.

use partita_model::schema::{IndexProjection, KeySchema, ScalarType, StreamView, TableId};
use partita_model::table::{
    BillingMode, GlobalIndexSpec, GlobalIndexState, LocalIndexSpec, OnDemandThroughput, Status, TableClass,
    TableDescription, Throughput,
};
use serde_json::{Map, Value, json};

use super::super::Call;
use super::resource::table_arn;

/// `TableDescription`, and `Table` of DescribeTable.
pub fn table<B>(call: &Call<'_, B>, table: &TableDescription) -> Value {
    let spec = &table.spec;
    let arn = table_arn(call.region, &call.account.id, &spec.name);
    let mut shown = Map::new();
    let mut show = |member: &str, value: Value| {
        shown.insert(member.to_owned(), value);
    };
    show("TableName", json!(spec.name));
    show("TableStatus", json!(status(table.status)));
    show("TableArn", json!(arn));
    show("TableId", json!(table_id(table.id)));
    show("ItemCount", json!(table.items));
    show("TableSizeBytes", json!(table.bytes));
    show(
        "ProvisionedThroughput",
        units(
            spec.throughput,
            table.last_increase_ms,
            table.last_decrease_ms,
            table.decreases_today,
        ),
    );
    show("DeletionProtectionEnabled", json!(spec.deletion_protection));
    for (member, inner) in [
        ("BillingModeSummary", "BillingMode"),
        // AWS's answers have this one too, though its models do not.
        ("TableThroughputModeSummary", "TableThroughputMode"),
    ] {
        if let Some(mode) = billing_mode(table, inner) {
            show(member, mode);
        }
    }
    if let Some(class) = class(table) {
        show("TableClassSummary", class);
    }
    if let Some(view) = spec.stream {
        show(
            "StreamSpecification",
            json!({"StreamEnabled": true, "StreamViewType": stream_view(view)}),
        );
    }
    if let Some(label) = &table.stream_label {
        show("LatestStreamLabel", json!(label));
        show("LatestStreamArn", json!(format!("{arn}/stream/{label}")));
    }
    if let Some(sse) = spec.sse.as_ref().filter(|sse| sse.enabled) {
        let key = key_arn(call.region, &call.account.id, sse.key.as_deref());
        show(
            "SSEDescription",
            json!({"Status": "ENABLED", "SSEType": "KMS", "KMSMasterKeyArn": key}),
        );
    }
    // A table that is being deleted shows no more than that.
    if table.status == Status::Deleting {
        return Value::Object(shown);
    }
    show("CreationDateTime", seconds(table.created_ms));
    show("AttributeDefinitions", definitions(&spec.attributes));
    show("KeySchema", key_schema(&spec.keys));
    if let Some(ceilings) = spec.on_demand.and_then(on_demand) {
        show("OnDemandThroughput", ceilings);
    }
    show(
        "WarmThroughput",
        warm(spec.warm, spec.billing, spec.throughput, table.status),
    );
    if !spec.local.is_empty() {
        let sizes = table.local.iter().copied().chain(std::iter::repeat((0, 0)));
        let indexes = spec
            .local
            .iter()
            .zip(sizes)
            .map(|(index, size)| local_index(&arn, index, size));
        show("LocalSecondaryIndexes", indexes.collect());
    }
    if !spec.global.is_empty() {
        let indexes = spec.global.iter().map(|index| {
            let state = table.global.iter().find(|state| state.name == index.name);
            global_index(&arn, index, spec.billing, state, table.status)
        });
        show("GlobalSecondaryIndexes", indexes.collect());
    }
    Value::Object(shown)
}

/// The ARN of the key that was named by its ARN, alias or id; DynamoDB's own key when none was.
fn key_arn(region: &str, account: &str, key: Option<&str>) -> String {
    match key {
        Some(key) if key.starts_with("arn:") => key.to_owned(),
        Some(alias) if alias.starts_with("alias/") => format!("arn:aws:kms:{region}:{account}:{alias}"),
        Some(id) => format!("arn:aws:kms:{region}:{account}:key/{id}"),
        // The same for all tables of an account, as at AWS.
        None => {
            let number = account.parse().unwrap_or(0);
            format!("arn:aws:kms:{region}:{account}:key/{}", uuid_of(number))
        }
    }
}

fn local_index(arn: &str, index: &LocalIndexSpec, (items, bytes): (u64, u64)) -> Value {
    json!({
        "IndexName": index.name,
        "IndexArn": format!("{arn}/index/{}", index.name),
        "KeySchema": key_schema(&index.keys),
        "Projection": projection(&index.projection),
        "ItemCount": items,
        "IndexSizeBytes": bytes,
    })
}

fn global_index(
    arn: &str,
    index: &GlobalIndexSpec,
    billing: BillingMode,
    state: Option<&GlobalIndexState>,
    table: Status,
) -> Value {
    // An index without a state of its own shares the table's.
    let index_status = state.map_or(table, |state| state.status);
    let mut shown = json!({
        "IndexName": index.name,
        "IndexArn": format!("{arn}/index/{}", index.name),
        "KeySchema": key_schema(&index.keys),
        "Projection": projection(&index.projection),
        "IndexStatus": status(index_status),
        "ItemCount": state.map_or(0, |state| state.items),
        "IndexSizeBytes": state.map_or(0, |state| state.bytes),
        "ProvisionedThroughput": units(
            index.throughput,
            state.and_then(|state| state.last_increase_ms),
            state.and_then(|state| state.last_decrease_ms),
            state.map_or(0, |state| state.decreases_today),
        ),
        "WarmThroughput": warm(index.warm, billing, index.throughput, index_status),
    });
    if let Some(backfilling) = state.and_then(|state| state.backfilling) {
        shown["Backfilling"] = json!(backfilling);
    }
    if let Some(ceilings) = index.on_demand.and_then(on_demand) {
        shown["OnDemandThroughput"] = ceilings;
    }
    shown
}

/// `TableStatus` and `IndexStatus`.
fn status(status: Status) -> &'static str {
    match status {
        Status::Creating => "CREATING",
        Status::Updating => "UPDATING",
        Status::Deleting => "DELETING",
        Status::Active => "ACTIVE",
    }
}

/// A UUID made from the id: the same for as long as the table lives.
fn table_id(id: TableId) -> String {
    uuid_of(id.0).to_string()
}

fn uuid_of(number: u64) -> uuid::Uuid {
    // The odd factor spreads the number over the other half, so that those of neighbours do not look alike.
    let other_half = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let bytes = uuid::Uuid::from_u64_pair(number, other_half).into_bytes();
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

fn units(units: Throughput, last_increase_ms: Option<u64>, last_decrease_ms: Option<u64>, decreases: u64) -> Value {
    let mut shown = json!({
        "ReadCapacityUnits": units.read,
        "WriteCapacityUnits": units.write,
        "NumberOfDecreasesToday": decreases,
    });
    if let Some(time) = last_increase_ms {
        shown["LastIncreaseDateTime"] = seconds(time);
    }
    if let Some(time) = last_decrease_ms {
        shown["LastDecreaseDateTime"] = seconds(time);
    }
    shown
}

/// Only tables that are, or once were, on demand show their billing mode.
fn billing_mode(table: &TableDescription, member: &str) -> Option<Value> {
    let mode = match table.spec.billing {
        BillingMode::PayPerRequest => "PAY_PER_REQUEST",
        BillingMode::Provisioned if table.on_demand_since_ms.is_some() => "PROVISIONED",
        BillingMode::Provisioned => return None,
    };
    let mut shown = json!({ member: mode });
    // A table that is being made is not on demand yet.
    let since = table.on_demand_since_ms.filter(|_| table.status != Status::Creating);
    if let Some(since) = since {
        shown["LastUpdateToPayPerRequestDateTime"] = seconds(since);
    }
    Some(shown)
}

fn class(table: &TableDescription) -> Option<Value> {
    let name = match table.spec.class {
        TableClass::Standard if table.class_since_ms.is_none() => return None,
        TableClass::Standard => "STANDARD",
        TableClass::StandardInfrequentAccess => "STANDARD_INFREQUENT_ACCESS",
    };
    let mut shown = json!({"TableClass": name});
    if let Some(since) = table.class_since_ms {
        shown["LastUpdateDateTime"] = seconds(since);
    }
    Some(shown)
}

fn warm(asked: Option<Throughput>, billing: BillingMode, units: Throughput, status: Status) -> Value {
    let warm = Throughput::warm(asked, billing, units);
    let status = if status == Status::Active { "ACTIVE" } else { "UPDATING" };
    json!({
        "ReadUnitsPerSecond": warm.read,
        "WriteUnitsPerSecond": warm.write,
        "Status": status,
    })
}

/// Only the ceilings that there are.
fn on_demand(ceilings: OnDemandThroughput) -> Option<Value> {
    let shown: Map<String, Value> = ceiling_members(ceilings)
        .into_iter()
        .filter_map(|(member, ceiling)| Some((member.to_owned(), json!(ceiling?))))
        .collect();
    (!shown.is_empty()).then_some(Value::Object(shown))
}

/// UpdateTable's answer shows the ceilings that it has just removed, as -1.
pub fn show_removed_ceilings(shown: &mut Value, update: Option<OnDemandThroughput>) {
    for (member, ceiling) in update.map(ceiling_members).into_iter().flatten() {
        if ceiling == Some(OnDemandThroughput::UNLIMITED) {
            shown["OnDemandThroughput"][member] = json!(-1);
        }
    }
}

/// UpdateTable's answer shows a table, and indexes whose units it changes, as being updated, with the units from before.
pub fn show_former_units(shown: &mut Value, before: &TableDescription, now: &TableDescription, indexes: &[String]) {
    if before.spec.billing != BillingMode::Provisioned || now.spec.billing != BillingMode::Provisioned {
        return;
    }
    let put_back = |shown: &mut Value, units: Throughput| {
        shown["ProvisionedThroughput"]["ReadCapacityUnits"] = json!(units.read);
        shown["ProvisionedThroughput"]["WriteCapacityUnits"] = json!(units.write);
    };
    put_back(shown, before.spec.throughput);
    let shown = shown.get_mut("GlobalSecondaryIndexes").and_then(Value::as_array_mut);
    for index in shown.into_iter().flatten() {
        let former = before
            .spec
            .global
            .iter()
            .find(|former| index["IndexName"] == former.name);
        if let Some(former) = former.filter(|former| indexes.contains(&former.name)) {
            put_back(index, former.throughput);
            index["IndexStatus"] = json!("UPDATING");
        }
    }
}

/// UpdateTable's answer shows an index that it has just made as not backfilling yet.
pub fn show_created_indexes(shown: &mut Value, names: &[String]) {
    let indexes = shown.get_mut("GlobalSecondaryIndexes").and_then(Value::as_array_mut);
    for index in indexes.into_iter().flatten() {
        if index["IndexStatus"] == "CREATING" && names.iter().any(|name| index["IndexName"] == **name) {
            index["Backfilling"] = json!(false);
        }
    }
}

fn ceiling_members(ceilings: OnDemandThroughput) -> [(&'static str, Option<u64>); 2] {
    [
        ("MaxReadRequestUnits", ceilings.read_max),
        ("MaxWriteRequestUnits", ceilings.write_max),
    ]
}

/// Sorted by name, as in the sample of the API reference's CreateTable, whose request has another order.
fn definitions(attributes: &[(String, ScalarType)]) -> Value {
    let mut sorted: Vec<_> = attributes.iter().collect();
    sorted.sort_by(|one, other| one.0.cmp(&other.0));
    let shown = sorted.into_iter().map(|(name, kind)| {
        let kind = match kind {
            ScalarType::S => "S",
            ScalarType::N => "N",
            ScalarType::B => "B",
        };
        json!({"AttributeName": name, "AttributeType": kind})
    });
    shown.collect()
}

fn key_schema(keys: &KeySchema) -> Value {
    let hash = keys
        .hash
        .iter()
        .map(|key| json!({"AttributeName": key.name, "KeyType": "HASH"}));
    let range = keys
        .range
        .iter()
        .map(|key| json!({"AttributeName": key.name, "KeyType": "RANGE"}));
    hash.chain(range).collect()
}

fn projection(projection: &IndexProjection) -> Value {
    match projection {
        IndexProjection::All => json!({"ProjectionType": "ALL"}),
        IndexProjection::KeysOnly => json!({"ProjectionType": "KEYS_ONLY"}),
        IndexProjection::Include(names) => json!({"ProjectionType": "INCLUDE", "NonKeyAttributes": names}),
    }
}

fn stream_view(view: StreamView) -> &'static str {
    match view {
        StreamView::KeysOnly => "KEYS_ONLY",
        StreamView::NewImage => "NEW_IMAGE",
        StreamView::OldImage => "OLD_IMAGE",
        StreamView::NewAndOldImages => "NEW_AND_OLD_IMAGES",
    }
}

/// A time as awsJson has it: epoch seconds with a fraction.
fn seconds(ms: u64) -> Value {
    json!(ms as f64 / 1000.0)
}
