//! PutItem: writes a whole item, replacing the one with the same primary key.

use partita_model::error::ApiError;
use partita_model::expression::{Condition, Kind, Parameter, check_parameters};
use partita_model::item::{ITEM_SIZE_MAX, Item};
use partita_model::json::{self, Text};
use partita_model::message;
use partita_model::request::{Action, Origin, WriteRequest};
use partita_model::wire::WireItem;
use serde::Deserialize;

use super::constraint::{Constraints, detected, detected_value};
use super::control::resource::table_name;
use super::data::expressions::{self, ExpectedMap, Names, Values};
use super::data::refusal::Failure;
use super::data::write::{self, Collection, Returned};
use super::data::{anew, find_table, parameters};
use super::{Answer, Call};
use crate::backend::Backend;

/// The request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutItemInput {
    table_name: Option<Text>,
    item: Option<WireItem>,
    expected: ExpectedMap,
    return_values: Option<Text>,
    return_consumed_capacity: Option<Text>,
    return_item_collection_metrics: Option<Text>,
    conditional_operator: Option<Text>,
    condition_expression: Option<Text>,
    expression_attribute_names: Names,
    expression_attribute_values: Values,
    return_values_on_condition_check_failure: Option<Text>,
}

/// Answers a request.
pub async fn handle<B: Backend>(call: &Call<'_, B>, body: &[u8]) -> Answer {
    anew(|| attempt(call, body)).await
}

async fn attempt<B: Backend>(call: &Call<'_, B>, body: &[u8]) -> Result<Vec<u8>, Failure> {
    let Parsed {
        name,
        item,
        condition,
        returned,
    } = parse(body)?;
    let schema = find_table(call, &name).await?;
    let key = schema.check_put(item.as_ref())?;
    let collection = Collection::of(&schema, item.as_ref(), returned.metrics);
    let request = WriteRequest {
        table: schema.id,
        schema_version: schema.version,
        key,
        action: Action::Put(item),
        condition,
        return_values: returned.values,
        return_item_on_failure: returned.on_failure,
        origin: Origin::Client,
    };
    write::send(call, &schema, &name, returned, collection, request).await
}

/// What is valid without knowing the table.
struct Parsed {
    name: String,
    item: Item,
    condition: Option<Condition>,
    returned: Returned,
}

fn parse(body: &[u8]) -> Result<Parsed, ApiError> {
    let mut input: PutItemInput = json::decode(body)?;
    let mut constraints = Constraints::new();
    let name = table_name(&mut constraints, input.table_name.take());
    let mut constraints = constraints.tell_if(name.is_none())?;
    let misnamed = constraints.has_failed();
    let item = constraints.required("item", input.item.take());
    let mut constraints = constraints.tell_if(misnamed)?;
    expressions::check_expected(&mut constraints, &input.expected);
    let returned = Returned::check(
        &mut constraints,
        &input.return_consumed_capacity,
        &input.return_item_collection_metrics,
        &input.return_values,
        &input.return_values_on_condition_check_failure,
    );
    let operator = parameters::conditional_operator(&mut constraints, &input.conditional_operator);
    let (name, item) = constraints.finish_with(name.zip(item))?;

    check_parameters(
        &[Parameter::new("ConditionExpression", &input.condition_expression)],
        &[
            Parameter::new("Expected", &input.expected),
            Parameter::new("ConditionalOperator", &operator),
        ],
        input.expression_attribute_names.is_some(),
        input.expression_attribute_values.is_some(),
    )
    .map_err(detected)?;
    let item = item.into_item().map_err(detected_value)?;
    expressions::check_values(&None, &input.expected, &input.expression_attribute_values)?;
    returned.check_old_only()?;
    if item.as_ref().size() > ITEM_SIZE_MAX {
        return Err(ApiError::validation(message::ITEM_TOO_LARGE));
    }
    let older = expressions::expected(&input.expected, operator).map_err(detected)?;
    let condition = condition(&input).map_err(detected)?.or(older);
    Ok(Parsed {
        name,
        item,
        condition,
        returned,
    })
}

/// `ConditionExpression`.
fn condition(input: &PutItemInput) -> Result<Option<Condition>, ApiError> {
    let placeholders =
        expressions::placeholders(&input.expression_attribute_names, &input.expression_attribute_values)?;
    let condition = expressions::condition(Kind::Condition, &input.condition_expression, &placeholders)?;
    placeholders.finish()?;
    Ok(condition)
}
