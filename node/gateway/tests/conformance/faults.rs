//! What a client hears when a leader refuses: a backend that answers from a list of refusals before it works.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use partita_gateway::backend::{Account, Backend};
use partita_model::capacity::{ThrottleLimit, Throttled, UnitKind};
use partita_model::error::ApiError;
use partita_model::request::{GetReply, GetRequest, PageReply, PageRequest, Refusal, WriteReply, WriteRequest};
use partita_model::schema::TableSchema;
use partita_model::table::{TableDescription, TableSpec, TableUpdate};
use serde_json::{Value, json};

use super::call;
use super::memory::Memory;

/// Tables in memory behind refusals.
struct Refusing {
    memory: Memory,
    refusals: Mutex<VecDeque<Option<Refusal>>>,
}

impl Refusing {
    /// The next data operation is refused with the first of these (or, where it is `None`, done), and so on.
    fn new(refusals: impl IntoIterator<Item = Option<Refusal>>) -> Arc<Self> {
        let memory = Memory::default();
        memory.create(&json!({
            "TableName": "tab",
            "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
            "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
        }));
        Arc::new(Self {
            memory,
            refusals: Mutex::new(refusals.into_iter().collect()),
        })
    }

    fn next(&self) -> Result<(), Refusal> {
        self.refusals.lock().pop_front().flatten().map_or(Ok(()), Err)
    }
}

impl Backend for Refusing {
    fn table(&self, account: &Account, name: &str) -> Option<Arc<TableSchema>> {
        self.memory.table(account, name)
    }
    async fn get(&self, request: GetRequest) -> Result<GetReply, Refusal> {
        self.next()?;
        self.memory.get(request).await
    }
    async fn write(&self, request: WriteRequest) -> Result<WriteReply, Refusal> {
        self.next()?;
        self.memory.write(request).await
    }
    async fn page(&self, request: PageRequest) -> Result<PageReply, Refusal> {
        self.next()?;
        self.memory.page(request).await
    }
    async fn create_table(&self, account: &Account, spec: TableSpec) -> Result<TableDescription, ApiError> {
        self.memory.create_table(account, spec).await
    }
    async fn describe_table(&self, account: &Account, name: &str) -> Result<TableDescription, ApiError> {
        self.memory.describe_table(account, name).await
    }
    async fn list_tables(
        &self,
        account: &Account,
        start: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<String>, bool), ApiError> {
        self.memory.list_tables(account, start, limit).await
    }
    async fn update_table(
        &self,
        account: &Account,
        name: &str,
        update: TableUpdate,
    ) -> Result<TableDescription, ApiError> {
        self.memory.update_table(account, name, update).await
    }
    async fn delete_table(&self, account: &Account, name: &str) -> Result<TableDescription, ApiError> {
        self.memory.delete_table(account, name).await
    }
    async fn update_time_to_live(
        &self,
        account: &Account,
        name: &str,
        attribute: &str,
        on: bool,
    ) -> Result<(), ApiError> {
        self.memory.update_time_to_live(account, name, attribute, on).await
    }
    async fn tag_table(
        &self,
        account: &Account,
        name: &str,
        add: Vec<(String, String)>,
        remove: Vec<String>,
    ) -> Result<(), ApiError> {
        self.memory.tag_table(account, name, add, remove).await
    }
}

const GET: &str = r#"{"TableName": "tab", "Key": {"pk": {"S": "a"}}}"#;
const BATCH_GET: &str = r##"{"RequestItems": {"tab": {"Keys": [{"pk": {"S": "a"}}, {"pk": {"S": "b"}}],
    "ConsistentRead": true, "ProjectionExpression": "#p", "ExpressionAttributeNames": {"#p": "pk"}}},
    "ReturnConsumedCapacity": "TOTAL"}"##;
const BATCH_WRITE: &str = r#"{"RequestItems": {"tab": [{"PutRequest": {"Item": {"pk": {"S": "a"}}}},
    {"DeleteRequest": {"Key": {"pk": {"S": "b"}}}}]}, "ReturnConsumedCapacity": "TOTAL"}"#;

fn throttled() -> Refusal {
    Refusal::Throttled(Box::new(Throttled {
        table: "tab".to_owned(),
        index: None,
        kind: UnitKind::Write,
        limit: ThrottleLimit::ProvisionedThroughputExceeded,
        provisioned: true,
        resource: String::new(),
    }))
}

async fn send(backend: &Arc<Refusing>, operation: &str, body: &str) -> (u16, Value) {
    let (status, body) = call(backend, operation, body).await;
    (status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn stale_schema_is_validated_anew_within_bounds() {
    let backend = Refusing::new([Some(Refusal::StaleSchema), Some(Refusal::StaleSchema)]);
    assert_eq!(send(&backend, "GetItem", GET).await, (200, json!({})));
    let backend = Refusing::new(std::iter::repeat_n(Some(Refusal::StaleSchema), 100));
    assert_eq!(send(&backend, "GetItem", GET).await.0, 503);
    assert!(backend.refusals.lock().len() > 90);
}

#[tokio::test]
async fn refusals_have_statuses() {
    let cases = [
        (Refusal::NotLeader, 503),
        (Refusal::WrongRange, 503),
        (Refusal::Stopping, 503),
        (Refusal::UnknownFate, 500),
        (Refusal::OutOfSpace, 500),
        (Refusal::Corrupt("a file".into()), 500),
        (throttled(), 400),
    ];
    for (refusal, status) in cases {
        let backend = Refusing::new([Some(refusal.clone())]);
        let (answered, body) = send(&backend, "GetItem", GET).await;
        assert_eq!(answered, status, "{refusal:?}: {body}");
    }
}

#[tokio::test]
async fn throttled_keys_are_handed_back() {
    let backend = Refusing::new([None, Some(throttled())]);
    let answer = json!({
        "Responses": {"tab": []},
        "UnprocessedKeys": {"tab": {
            "Keys": [{"pk": {"S": "b"}}],
            "ConsistentRead": true,
            "ProjectionExpression": "#p",
            "ExpressionAttributeNames": {"#p": "pk"},
        }},
        "ConsumedCapacity": [{"TableName": "tab", "CapacityUnits": 1.0}],
    });
    assert_eq!(send(&backend, "BatchGetItem", BATCH_GET).await, (200, answer));
}

#[tokio::test]
async fn throttled_writes_are_handed_back() {
    let backend = Refusing::new([Some(throttled()), None]);
    let answer = json!({
        "UnprocessedItems": {"tab": [{"PutRequest": {"Item": {"pk": {"S": "a"}}}}]},
        "ConsumedCapacity": [{"TableName": "tab", "CapacityUnits": 1.0}],
    });
    assert_eq!(send(&backend, "BatchWriteItem", BATCH_WRITE).await, (200, answer));
    let backend = Refusing::new([None, Some(Refusal::NotLeader)]);
    let (status, answer) = send(&backend, "BatchWriteItem", BATCH_WRITE).await;
    assert_eq!(status, 200);
    assert_eq!(
        answer["UnprocessedItems"],
        json!({"tab": [{"DeleteRequest": {"Key": {"pk": {"S": "b"}}}}]})
    );
}

#[tokio::test]
async fn a_batch_of_which_nothing_was_done_is_an_error() {
    for (operation, body) in [("BatchGetItem", BATCH_GET), ("BatchWriteItem", BATCH_WRITE)] {
        let backend = Refusing::new([Some(throttled()), Some(throttled())]);
        let (status, answer) = send(&backend, operation, body).await;
        let message = answer["message"].as_str().unwrap_or_default();
        assert_eq!(status, 400);
        assert!(
            message.starts_with("The level of configured provisioned throughput for the table"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn a_write_of_unknown_fate_is_not_called_unprocessed() {
    let backend = Refusing::new([None, Some(Refusal::UnknownFate)]);
    assert_eq!(send(&backend, "BatchWriteItem", BATCH_WRITE).await.0, 500);
}
