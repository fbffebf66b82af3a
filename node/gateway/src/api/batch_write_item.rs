//! BatchWriteItem: up to 25 puts and deletes, of one or several tables. Each succeeds or fails for itself.
//!
//! 1. [`parse`]: what is valid without knowing the tables;
//! 2. tables, keys and items, which must all be right before anything is written;
//! 3. the writes, all at once; what is throttled is handed back.

use partita_model::error::ApiError;
use partita_model::item::{ITEM_SIZE_MAX, Item, ItemRef};
use partita_model::json::{self, List, Map, Structure, Text};
use partita_model::key::KeyBytes;
use partita_model::message;
use partita_model::message::data as texts;
use partita_model::request::{self, Action, Origin, Refusal, ReturnValues, WriteReply};
use partita_model::schema::TableSchema;
use partita_model::wire::WireItem;
use serde::Deserialize;

use super::constraint::Constraints;
use super::control::resource::{batch_names_must, can_name_table};
use super::data::batch::{BatchTable, write_consumed};
use super::data::consumed::{Consumed, ReturnConsumed};
use super::data::java::JavaText;
use super::data::refusal::{Failure, leaves_unprocessed};
use super::data::write::{Collection, Members, write_list};
use super::data::{anew, find_table, parameters};
use super::{Answer, Call};
use crate::backend::Backend;

/// Puts and deletes in one call.
const WRITES_MAX: usize = 25;

/// The request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BatchWriteItemInput {
    request_items: Option<Map<List<Structure<WriteRequest>>>>,
    return_consumed_capacity: Option<Text>,
    return_item_collection_metrics: Option<Text>,
}

/// A put or a delete.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WriteRequest {
    put_request: Option<Structure<PutRequest>>,
    delete_request: Option<Structure<DeleteRequest>>,
}

/// A put.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutRequest {
    item: Option<WireItem>,
}

/// A delete.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DeleteRequest {
    key: Option<WireItem>,
}

/// Answers a request.
pub async fn handle<B: Backend>(call: &Call<'_, B>, body: &[u8]) -> Answer {
    anew(|| attempt(call, body)).await
}

async fn attempt<B: Backend>(call: &Call<'_, B>, body: &[u8]) -> Result<Vec<u8>, Failure> {
    let Parsed { wanted, mode, metrics } = parse(body)?;
    let mut tables = Vec::with_capacity(wanted.len());
    for (name, _) in &wanted {
        let schema = find_table(call, name).await?;
        let name = name.clone();
        tables.push(BatchTable {
            name,
            schema,
            consumed: None,
        });
    }
    let writes = writes_of(&wanted, &tables)?;

    let requests = writes.iter().map(|write| call.backend.write(write.request(&tables)));
    let replies = futures::future::join_all(requests).await;
    let mut answer = BatchAnswer::new(wanted.len());
    for (write, reply) in writes.iter().zip(replies) {
        match reply {
            Ok(reply) => {
                tables[write.table].add(&Consumed::of_write(&reply.cost));
                answer.add(write, &tables[write.table].schema, reply, metrics);
            }
            Err(refusal) if leaves_unprocessed(&refusal) => {
                answer.unprocessed[write.table].push(write.action);
                answer.refusal.get_or_insert(refusal);
            }
            Err(refusal) => answer.error = Some(refusal),
        }
    }
    for table in &tables {
        if let Some(consumed) = &table.consumed {
            call.count_write(&table.schema, consumed.total());
        }
    }
    if let Some(refusal) = answer.error.take() {
        return Err(refusal.into());
    }
    if let (Some(refusal), true) = (
        answer.refusal.take(),
        tables.iter().all(|table| table.consumed.is_none()),
    ) {
        // Nothing was written at all: the client hears why.
        return Err(refusal.into());
    }
    Ok(render(&tables, &answer, mode))
}

/// A put of an item, or a delete of a key.
enum Write {
    Put(Item),
    Delete(Item),
}

/// What is valid without knowing the tables.
struct Parsed {
    wanted: Vec<(String, Vec<Write>)>,
    mode: ReturnConsumed,
    metrics: bool,
}

fn parse(body: &[u8]) -> Result<Parsed, ApiError> {
    let input: BatchWriteItemInput = json::decode(body)?;
    let mut constraints = Constraints::new();
    let mode = parameters::return_consumed(&mut constraints, &input.return_consumed_capacity);
    let metrics = parameters::return_metrics(&mut constraints, &input.return_item_collection_metrics);
    let request_items = constraints.required("requestItems", input.request_items);
    if let Some(tables) = &request_items {
        check_lists(&mut constraints, tables);
    }
    let request_items = constraints.finish_with(request_items)?;
    if request_items.is_empty() {
        return Err(ApiError::validation(texts::BATCH_WRITE_EMPTY));
    }
    if request_items.iter().map(|(_, list)| list.len()).sum::<usize>() > WRITES_MAX {
        return Err(ApiError::validation(texts::BATCH_WRITE_TOO_MANY));
    }

    let mut wanted = Vec::with_capacity(request_items.len());
    for (name, list) in request_items.0 {
        let writes = list.0.into_iter().map(|write| parse_write(write.0));
        wanted.push((name, writes.collect::<Result<Vec<_>, _>>()?));
    }
    Ok(Parsed { wanted, mode, metrics })
}

fn check_lists(constraints: &mut Constraints, tables: &Map<List<Structure<WriteRequest>>>) {
    if tables
        .iter()
        .any(|(_, list)| list.is_empty() || list.len() > WRITES_MAX)
    {
        let must = format!(
            "Map value must satisfy constraint: [Member must have length less than or equal to {WRITES_MAX}, Member \
             must have length greater than or equal to 1]"
        );
        constraints.fail(format_args!("'{}'", shown(tables)), "requestItems", must);
    }
    if tables.iter().any(|(name, _)| !can_name_table(name)) {
        constraints.fail(format_args!("'{}'", shown(tables)), "requestItems", batch_names_must());
    }
    if tables.len() > WRITES_MAX {
        constraints.length("requestItems", shown(tables), tables.len(), 1, WRITES_MAX);
    }
    // What is beyond a limit is not looked at: the request fails anyway, and may be full of it.
    for (name, list) in tables.iter().take(WRITES_MAX) {
        for (number, write) in list.iter().take(WRITES_MAX).enumerate() {
            let member = |rest| format!("requestItems.{name}.member.{}.member.{rest}", number + 1);
            if write.put_request.as_ref().is_some_and(|put| put.item.is_none()) {
                constraints.required(member("putRequest.item"), None::<()>);
            }
            if write.delete_request.as_ref().is_some_and(|delete| delete.key.is_none()) {
                constraints.required(member("deleteRequest.key"), None::<()>);
            }
        }
    }
}

/// The map as Java prints it; of what is beyond the limits, one element more.
fn shown(tables: &Map<List<Structure<WriteRequest>>>) -> String {
    let mut text = JavaText::default();
    text.list(["{", "}"], tables.iter().take(WRITES_MAX + 1), |text, (name, list)| {
        text.push(name);
        text.push("=");
        text.list(["[", "]"], list.iter().take(WRITES_MAX + 1), |text, write| {
            let put = write.put_request.as_ref().map(|put| shown_item(&put.item));
            let delete = write.delete_request.as_ref().map(|delete| shown_item(&delete.key));
            text.write_request(put, delete);
        });
    });
    text.finish()
}

/// An item, if it is one that can be shown.
fn shown_item(item: &Option<WireItem>) -> Option<&Item> {
    item.as_ref().and_then(|item| item.item().ok())
}

fn parse_write(write: WriteRequest) -> Result<Write, ApiError> {
    let put = write.put_request.and_then(|put| put.0.item);
    let delete = write.delete_request.and_then(|delete| delete.0.key);
    match (put, delete) {
        (None, None) => Err(ApiError::validation(texts::WRITE_REQUEST_EMPTY)),
        (Some(_), Some(_)) => Err(ApiError::validation(texts::WRITE_REQUEST_BOTH)),
        (None, Some(key)) => key.into_item().map(Write::Delete),
        (Some(item), None) => {
            let item = item.into_item()?;
            if item.as_ref().size() > ITEM_SIZE_MAX {
                return Err(ApiError::validation(message::ITEM_TOO_LARGE));
            }
            Ok(Write::Put(item))
        }
    }
}

/// A write that fits its table.
struct CheckedWrite<'a> {
    /// The table's number in the request.
    table: usize,
    key: KeyBytes,
    action: &'a Write,
}

impl CheckedWrite<'_> {
    fn request(&self, tables: &[BatchTable]) -> request::WriteRequest {
        let schema = &tables[self.table].schema;
        request::WriteRequest {
            table: schema.id,
            schema_version: schema.version,
            key: self.key.clone(),
            action: match self.action {
                Write::Put(item) => Action::Put(item.clone()),
                Write::Delete(key) => Action::Delete { key: key.clone() },
            },
            condition: None,
            return_values: ReturnValues::None,
            return_item_on_failure: false,
            origin: Origin::Client,
        }
    }
}

fn writes_of<'a>(wanted: &'a [(String, Vec<Write>)], tables: &[BatchTable]) -> Result<Vec<CheckedWrite<'a>>, ApiError> {
    let mut checked = Vec::with_capacity(WRITES_MAX);
    for (table, ((_, writes), known)) in wanted.iter().zip(tables).enumerate() {
        for action in writes {
            let key = match action {
                Write::Put(item) => check_put(&known.schema, item.as_ref())?,
                Write::Delete(key) => known.schema.check_key(key.as_ref())?,
            };
            checked.push(CheckedWrite { table, key, action });
        }
    }
    let mut keys: Vec<_> = checked
        .iter()
        .map(|write| (tables[write.table].schema.id, &write.key))
        .collect();
    keys.sort_unstable();
    if keys.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(ApiError::validation(texts::BATCH_DUPLICATES));
    }
    Ok(checked)
}

/// As PutItem's, but for a missing or mistyped key, of which a batch says what a delete would hear.
fn check_put(schema: &TableSchema, item: ItemRef<'_>) -> Result<KeyBytes, ApiError> {
    let fits = schema.keys.attributes().all(|attribute| {
        let value = item.get(&attribute.name);
        value.is_some_and(|value| value.kind() == attribute.kind.value_type())
    });
    if !fits {
        return Err(ApiError::validation(message::KEY_DOES_NOT_MATCH));
    }
    schema.check_put(item)
}

/// What has been written, by table.
struct BatchAnswer<'a> {
    /// Writes that are handed back.
    unprocessed: Vec<Vec<&'a Write>>,
    /// Why the first of them was refused.
    refusal: Option<Refusal>,
    /// A refusal that the client must hear.
    error: Option<Refusal>,
    /// Item collections with the last reply about each.
    collections: Vec<Vec<(Collection, WriteReply)>>,
}

impl<'a> BatchAnswer<'a> {
    fn new(tables: usize) -> Self {
        Self {
            unprocessed: vec![Vec::new(); tables],
            refusal: None,
            error: None,
            collections: vec![Vec::new(); tables],
        }
    }

    fn add(&mut self, write: &CheckedWrite<'a>, schema: &TableSchema, reply: WriteReply, metrics: bool) {
        let (Write::Put(item) | Write::Delete(item)) = write.action;
        let Some(collection) = Collection::of(schema, item.as_ref(), metrics) else {
            return;
        };
        let known = &mut self.collections[write.table];
        match known.iter_mut().find(|(other, _)| *other == collection) {
            Some((_, last)) => *last = reply,
            None => known.push((collection, reply)),
        }
    }
}

fn render(tables: &[BatchTable], answer: &BatchAnswer<'_>, mode: ReturnConsumed) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    let mut members = Members::open(&mut out);
    let mut unprocessed = Members::open(members.member("UnprocessedItems"));
    for (table, writes) in tables.iter().zip(&answer.unprocessed) {
        if !writes.is_empty() {
            write_list(unprocessed.member(&table.name), writes, |out, write| {
                write_unprocessed(out, write)
            });
        }
    }
    unprocessed.close();
    if answer.collections.iter().any(|collections| !collections.is_empty()) {
        let mut metrics = Members::open(members.member("ItemCollectionMetrics"));
        for (table, collections) in tables.iter().zip(&answer.collections) {
            if !collections.is_empty() {
                write_list(metrics.member(&table.name), collections, |out, (collection, reply)| {
                    collection.write(out, reply);
                });
            }
        }
        metrics.close();
    }
    write_consumed(&mut members, mode, tables);
    members.close();
    out
}

/// Writes a `WriteRequest` that can be sent again as it is.
fn write_unprocessed(out: &mut Vec<u8>, write: &Write) {
    let (request, member, item) = match write {
        Write::Put(item) => ("PutRequest", "Item", item),
        Write::Delete(key) => ("DeleteRequest", "Key", key),
    };
    let mut members = Members::open(out);
    let mut inner = Members::open(members.member(request));
    item.as_ref().write_json(inner.member(member));
    inner.close();
    members.close();
}
