//! GetItem: one item by its primary key.

use partita_model::error::ApiError;
use partita_model::expression::{Parameter, Projection, check_parameters};
use partita_model::item::Item;
use partita_model::json::{self, Bool, List, Text};
use partita_model::request::GetRequest;
use partita_model::wire::WireItem;
use serde::Deserialize;

use super::constraint::Constraints;
use super::control::resource::table_name;
use super::data::consumed::{Consumed, ReturnConsumed};
use super::data::expressions::{self, Names};
use super::data::refusal::Failure;
use super::data::write::Members;
use super::data::{anew, find_table, parameters};
use super::{Answer, Call};
use crate::backend::Backend;

/// The request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetItemInput {
    table_name: Option<Text>,
    key: Option<WireItem>,
    attributes_to_get: Option<List<Text>>,
    consistent_read: Option<Bool>,
    return_consumed_capacity: Option<Text>,
    projection_expression: Option<Text>,
    expression_attribute_names: Names,
}

/// Answers a request.
pub async fn handle<B: Backend>(call: &Call<'_, B>, body: &[u8]) -> Answer {
    anew(|| attempt(call, body)).await
}

async fn attempt<B: Backend>(call: &Call<'_, B>, body: &[u8]) -> Result<Vec<u8>, Failure> {
    let Parsed {
        name,
        key,
        consistent,
        consumed: mode,
        projection,
    } = parse(body)?;
    let schema = find_table(call, &name).await?;
    let request = GetRequest {
        table: schema.id,
        schema_version: schema.version,
        key: schema.check_key(key.as_ref())?,
        consistent,
        projection,
    };
    let reply = call.backend.get(request).await?;

    let consumed = Consumed::of_table(reply.cost);
    call.count_read(&schema, consumed.total());
    let mut out = Vec::new();
    let mut members = Members::open(&mut out);
    if let Some(item) = &reply.item {
        item.as_ref().write_json(members.member("Item"));
    }
    if mode != ReturnConsumed::None {
        consumed.write(members.member("ConsumedCapacity"), mode, &name, &schema);
    }
    members.close();
    Ok(out)
}

/// What is valid without knowing the table.
struct Parsed {
    name: String,
    key: Item,
    consistent: bool,
    consumed: ReturnConsumed,
    projection: Option<Projection>,
}

fn parse(body: &[u8]) -> Result<Parsed, ApiError> {
    let input: GetItemInput = json::decode(body)?;
    let mut constraints = Constraints::new();
    let consumed = parameters::return_consumed(&mut constraints, &input.return_consumed_capacity);
    parameters::attributes_to_get(&mut constraints, "attributesToGet", &input.attributes_to_get);
    let name = table_name(&mut constraints, input.table_name);
    let key = constraints.required("key", input.key);
    let (name, key) = constraints.finish_with(name.zip(key))?;

    check_parameters(
        &[Parameter::new("ProjectionExpression", &input.projection_expression)],
        &[Parameter::new("AttributesToGet", &input.attributes_to_get)],
        input.expression_attribute_names.is_some(),
        false,
    )?;
    let key = key.into_item()?;
    let older = expressions::attributes_to_get(&input.attributes_to_get)?;
    let placeholders = expressions::placeholders(&input.expression_attribute_names, &None)?;
    let projection = expressions::projection(&input.projection_expression, &placeholders)?.or(older);
    placeholders.finish()?;
    Ok(Parsed {
        name,
        key,
        consistent: input.consistent_read.is_some_and(|consistent| consistent.0),
        consumed,
        projection,
    })
}
