//! BatchGetItem: up to 100 items by their primary keys, of one or several tables.
//!
//! 1. [`parse`]: what is valid without knowing the tables;
//! 2. tables and keys, which must all be right before anything is read;
//! 3. reads, a bounded number at once; what is throttled or no longer fits the answer is handed back.

use futures::StreamExt;
use partita_model::error::ApiError;
use partita_model::expression::{Parameter, Projection, check_parameters};
use partita_model::item::Item;
use partita_model::json::{self, Bool, List, Map, Structure, Text};
use partita_model::message::data as message;
use partita_model::request::{GetRequest, Refusal};
use partita_model::value::json::write_string;
use partita_model::wire::WireItem;
use serde::Deserialize;

use super::constraint::Constraints;
use super::control::resource::{batch_names_must, can_name_table};
use super::data::batch::{BatchTable, write_consumed};
use super::data::consumed::{Consumed, ReturnConsumed};
use super::data::expressions::{self, Names};
use super::data::refusal::{Failure, leaves_unprocessed};
use super::data::write::{Members, write_list};
use super::data::{anew, find_table, parameters};
use super::{Answer, Call};
use crate::backend::Backend;

/// Keys in one call.
const KEYS_MAX: usize = 100;
/// Tables in one call.
const TABLES_MAX: usize = 100;
/// Reads of one call at once: enough to overlap misses of the cache, few enough to be fair to other calls.
const IN_FLIGHT_MAX: usize = 16;
/// Items in one answer, by DynamoDB's rules of size; the rest is handed back as unprocessed.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// The request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BatchGetItemInput {
    request_items: Option<Map<Structure<KeysAndAttributes>>>,
    return_consumed_capacity: Option<Text>,
}

/// What is wanted of one table.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct KeysAndAttributes {
    keys: Option<List<WireItem>>,
    attributes_to_get: Option<List<Text>>,
    consistent_read: Option<Bool>,
    projection_expression: Option<Text>,
    expression_attribute_names: Names,
}

/// Answers a request.
pub async fn handle<B: Backend>(call: &Call<'_, B>, body: &[u8]) -> Answer {
    anew(|| attempt(call, body)).await
}

async fn attempt<B: Backend>(call: &Call<'_, B>, body: &[u8]) -> Result<Vec<u8>, Failure> {
    let (wanted, mode) = parse(body)?;
    let mut tables = Vec::with_capacity(wanted.len());
    for table in &wanted {
        let schema = find_table(call, &table.name).await?;
        let name = table.name.clone();
        tables.push(BatchTable {
            name,
            schema,
            consumed: None,
        });
    }
    let reads = reads_of(&wanted, &tables)?;
    let places: Vec<(usize, usize)> = reads.iter().map(|(place, _)| *place).collect();

    let mut answer = BatchAnswer::new(wanted.len());
    let replies = reads.into_iter().map(|(_, request)| call.backend.get(request));
    let mut replies = futures::stream::iter(replies).buffered(IN_FLIGHT_MAX);
    let mut places = places.into_iter();
    while let (Some((table, key)), Some(reply)) = (places.next(), replies.next().await) {
        match reply {
            Ok(reply) => {
                if answer.add(table, reply.item.as_ref()) {
                    tables[table].add(&Consumed::of_table(reply.cost));
                } else {
                    answer.unprocessed[table].push(key);
                    places
                        .by_ref()
                        .for_each(|(table, key)| answer.unprocessed[table].push(key));
                }
            }
            Err(refusal) if leaves_unprocessed(&refusal) => {
                answer.unprocessed[table].push(key);
                answer.refusal.get_or_insert(refusal);
            }
            Err(refusal) => return Err(refusal.into()),
        }
    }
    for table in &tables {
        if let Some(consumed) = &table.consumed {
            call.count_read(&table.schema, consumed.total());
        }
    }
    if let (Some(refusal), true) = (
        answer.refusal.take(),
        tables.iter().all(|table| table.consumed.is_none()),
    ) {
        // Nothing was read at all: the client hears why.
        return Err(refusal.into());
    }
    Ok(render(&wanted, &tables, &answer, mode))
}

/// What is wanted of one table.
struct TableKeys {
    name: String,
    keys: Vec<Item>,
    projection: Option<Projection>,
    /// As it came: it goes back with unprocessed keys.
    input: KeysAndAttributes,
}

fn parse(body: &[u8]) -> Result<(Vec<TableKeys>, ReturnConsumed), ApiError> {
    let input: BatchGetItemInput = json::decode(body)?;
    let mut constraints = Constraints::new();
    let mode = parameters::return_consumed(&mut constraints, &input.return_consumed_capacity);
    let request_items = constraints.required("requestItems", input.request_items);
    // What is beyond the limit is not looked at: the request fails anyway, and may be full of it.
    for (name, table) in request_items.iter().flat_map(|map| map.iter()).take(TABLES_MAX) {
        check_table(&mut constraints, name, table);
    }
    if request_items
        .iter()
        .flat_map(|map| map.iter())
        .any(|(name, _)| !can_name_table(name))
    {
        constraints.fail_unshown("RequestItems", batch_names_must());
    }
    if let Some(tables) = &request_items {
        check_length(&mut constraints, "RequestItems", tables.len(), TABLES_MAX);
    }
    let request_items = constraints.finish_with(request_items)?;

    check_mix(&request_items)?;
    let mut tables = Vec::with_capacity(request_items.len());
    for (name, Structure(input)) in request_items.0 {
        tables.push(parse_table(name, input)?);
    }
    if tables.iter().map(|table| table.keys.len()).sum::<usize>() > KEYS_MAX {
        return Err(ApiError::validation(message::BATCH_GET_TOO_MANY));
    }
    Ok((tables, mode))
}

/// Expressions and older parameters do not go together, not even on different tables.
fn check_mix(tables: &Map<Structure<KeysAndAttributes>>) -> Result<(), ApiError> {
    let given = |wanted: fn(&KeysAndAttributes) -> bool| tables.iter().any(|(_, table)| wanted(table));
    let expression = Parameter {
        name: "ProjectionExpression",
        given: given(|table| table.projection_expression.is_some()),
    };
    let older = Parameter {
        name: "AttributesToGet",
        given: given(|table| table.attributes_to_get.is_some()),
    };
    check_parameters(&[expression], &[older], false, false)
}

fn check_table(constraints: &mut Constraints, name: &str, table: &KeysAndAttributes) {
    let member = format!("requestItems.{name}.member.keys");
    if let Some(keys) = constraints.required(&member, table.keys.as_ref()) {
        let member = format!("RequestItems.{name}.member.Keys");
        check_length(constraints, &member, keys.len(), KEYS_MAX);
    }
    let member = format!("requestItems.{name}.member.attributesToGet");
    parameters::attributes_to_get(constraints, &member, &table.attributes_to_get);
}

/// This operation's members are checked by newer code of DynamoDB's, which spells them as requests do and shows no values.
fn check_length(constraints: &mut Constraints, member: &str, length: usize, max: usize) {
    if length < 1 {
        constraints.fail_unshown(member, "Member must have length greater than or equal to 1");
    } else if length > max {
        constraints.fail_unshown(
            member,
            format_args!("Member must have length less than or equal to {max}"),
        );
    }
}

fn parse_table(name: String, mut input: KeysAndAttributes) -> Result<TableKeys, ApiError> {
    check_parameters(
        &[Parameter::new("ProjectionExpression", &input.projection_expression)],
        &[],
        input.expression_attribute_names.is_some(),
        false,
    )?;
    let keys = input.keys.take().map(|keys| keys.0).unwrap_or_default();
    let keys = keys
        .into_iter()
        .map(WireItem::into_item)
        .collect::<Result<Vec<_>, _>>()?;
    let mut sorted: Vec<&[u8]> = keys.iter().map(|key| key.as_bytes()).collect();
    sorted.sort_unstable();
    if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(ApiError::validation(message::BATCH_DUPLICATES));
    }
    let older = expressions::attributes_to_get(&input.attributes_to_get)?;
    let placeholders = expressions::placeholders(&input.expression_attribute_names, &None)?;
    let projection = expressions::projection(&input.projection_expression, &placeholders)?.or(older);
    placeholders.finish()?;
    drop(placeholders);
    Ok(TableKeys {
        name,
        keys,
        projection,
        input,
    })
}

/// A read, with the places of its table and key in the request.
type PlacedRead = ((usize, usize), GetRequest);

fn reads_of(wanted: &[TableKeys], tables: &[BatchTable]) -> Result<Vec<PlacedRead>, ApiError> {
    let mut reads = Vec::new();
    for (number, (table, known)) in wanted.iter().zip(tables).enumerate() {
        for (key_number, key) in table.keys.iter().enumerate() {
            let request = GetRequest {
                table: known.schema.id,
                schema_version: known.schema.version,
                key: known.schema.check_key(key.as_ref())?,
                consistent: table.input.consistent_read.is_some_and(|consistent| consistent.0),
                projection: table.projection.clone(),
            };
            reads.push(((number, key_number), request));
        }
    }
    Ok(reads)
}

/// What has been read so far, by table.
struct BatchAnswer {
    /// Items as JSON, separated by commas.
    items: Vec<Vec<u8>>,
    /// Their sizes in sum.
    bytes: u64,
    /// Numbers of keys that are handed back.
    unprocessed: Vec<Vec<usize>>,
    /// Why the first of them was refused.
    refusal: Option<Refusal>,
}

impl BatchAnswer {
    fn new(tables: usize) -> Self {
        Self {
            items: vec![Vec::new(); tables],
            bytes: 0,
            unprocessed: vec![Vec::new(); tables],
            refusal: None,
        }
    }

    /// Adds what was found. False when it does not fit any more.
    fn add(&mut self, table: usize, item: Option<&Item>) -> bool {
        let Some(item) = item else { return true };
        let size = item.as_ref().size();
        if self.bytes + size > ANSWER_BYTES_MAX {
            return false;
        }
        self.bytes += size;
        let out = &mut self.items[table];
        if !out.is_empty() {
            out.push(b',');
        }
        item.as_ref().write_json(out);
        true
    }
}

fn render(wanted: &[TableKeys], tables: &[BatchTable], answer: &BatchAnswer, mode: ReturnConsumed) -> Vec<u8> {
    let mut out = Vec::with_capacity(answer.items.iter().map(Vec::len).sum::<usize>() + 128);
    let mut members = Members::open(&mut out);
    let mut responses = Members::open(members.member("Responses"));
    for (table, items) in tables.iter().zip(&answer.items) {
        let out = responses.member(&table.name);
        out.push(b'[');
        out.extend_from_slice(items);
        out.push(b']');
    }
    responses.close();
    let mut unprocessed = Members::open(members.member("UnprocessedKeys"));
    for (table, keys) in wanted.iter().zip(&answer.unprocessed) {
        if !keys.is_empty() {
            write_unprocessed(unprocessed.member(&table.name), table, keys);
        }
    }
    unprocessed.close();
    write_consumed(&mut members, mode, tables);
    members.close();
    out
}

/// Writes a `KeysAndAttributes` that can be sent again as it is.
fn write_unprocessed(out: &mut Vec<u8>, table: &TableKeys, keys: &[usize]) {
    let mut members = Members::open(out);
    let keys = keys.iter().map(|key| &table.keys[*key]);
    write_list(members.member("Keys"), keys, |out, key| key.as_ref().write_json(out));
    if let Some(consistent) = &table.input.consistent_read {
        let text: &[u8] = if consistent.0 { b"true" } else { b"false" };
        members.member("ConsistentRead").extend_from_slice(text);
    }
    if let Some(expression) = &table.input.projection_expression {
        write_string(expression.as_bytes(), members.member("ProjectionExpression"));
    }
    if let Some(names) = &table.input.expression_attribute_names {
        let mut map = Members::open(members.member("ExpressionAttributeNames"));
        for (placeholder, name) in names.iter() {
            write_string(name.as_bytes(), map.member(placeholder));
        }
        map.close();
    }
    if let Some(names) = &table.input.attributes_to_get {
        write_list(members.member("AttributesToGet"), names.iter(), |out, name| {
            write_string(name.as_bytes(), out);
        });
    }
    members.close();
}
