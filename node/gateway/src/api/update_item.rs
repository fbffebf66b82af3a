//! UpdateItem: changes attributes of one item, or makes it.

use partita_model::error::ApiError;
use partita_model::expression::{Condition, Kind, Parameter, Update, check_parameters};
use partita_model::item::Item;
use partita_model::json::{self, Text};
use partita_model::legacy;
use partita_model::request::{Action, Origin, WriteRequest};
use partita_model::wire::WireItem;
use serde::Deserialize;

use super::constraint::{Constraints, detected, detected_value};
use super::control::resource::table_name;
use super::data::expressions::{self, ExpectedMap, Names, UpdateMap, Values};
use super::data::refusal::Failure;
use super::data::write::{self, Collection, Returned};
use super::data::{anew, find_table, parameters};
use super::{Answer, Call};
use crate::backend::Backend;

/// The request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UpdateItemInput {
    table_name: Option<Text>,
    key: Option<WireItem>,
    attribute_updates: UpdateMap,
    expected: ExpectedMap,
    conditional_operator: Option<Text>,
    return_values: Option<Text>,
    return_consumed_capacity: Option<Text>,
    return_item_collection_metrics: Option<Text>,
    update_expression: Option<Text>,
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
        key,
        update,
        condition,
        returned,
    } = parse(body)?;
    let schema = find_table(call, &name).await?;
    let key_bytes = schema.check_key(key.as_ref())?;
    update.check_not_on_keys(&schema.keys)?;
    let collection = Collection::of(&schema, key.as_ref(), returned.metrics);
    let request = WriteRequest {
        table: schema.id,
        schema_version: schema.version,
        key: key_bytes,
        action: Action::Update { key, update },
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
    key: Item,
    update: Update,
    condition: Option<Condition>,
    returned: Returned,
}

fn parse(body: &[u8]) -> Result<Parsed, ApiError> {
    let mut input: UpdateItemInput = json::decode(body)?;
    let mut constraints = Constraints::first_only();
    let name = table_name(&mut constraints, input.table_name.take());
    let key = constraints.required("key", input.key.take());
    expressions::check_updates(&mut constraints, &input.attribute_updates);
    expressions::check_expected(&mut constraints, &input.expected);
    let operator = parameters::conditional_operator(&mut constraints, &input.conditional_operator);
    // Of these the first to be looked at.
    parameters::return_values(&mut constraints, &input.return_values);
    let returned = Returned::check(
        &mut constraints,
        &input.return_consumed_capacity,
        &input.return_item_collection_metrics,
        &input.return_values,
        &input.return_values_on_condition_check_failure,
    );
    let (name, key) = constraints.finish_with(name.zip(key))?;

    check_parameters(
        &[
            Parameter::new("UpdateExpression", &input.update_expression),
            Parameter::new("ConditionExpression", &input.condition_expression),
        ],
        &[
            Parameter::new("AttributeUpdates", &input.attribute_updates),
            Parameter::new("Expected", &input.expected),
            Parameter::new("ConditionalOperator", &operator),
        ],
        input.expression_attribute_names.is_some(),
        input.expression_attribute_values.is_some(),
    )
    .map_err(detected)?;
    let key = key.into_item().map_err(detected_value)?;
    expressions::check_values(
        &input.attribute_updates,
        &input.expected,
        &input.expression_attribute_values,
    )?;
    let (older_update, older_condition) = older(&input, operator).map_err(detected)?;
    let (update, condition) = expressions_of(&input).map_err(detected)?;
    Ok(Parsed {
        name,
        key,
        update: update.or(older_update).unwrap_or_else(Update::nothing),
        condition: condition.or(older_condition),
        returned,
    })
}

/// `AttributeUpdates` and `Expected`.
fn older(
    input: &UpdateItemInput,
    operator: Option<legacy::ConditionalOperator>,
) -> Result<(Option<Update>, Option<Condition>), ApiError> {
    let update = match &input.attribute_updates {
        Some(updates) => Some(legacy::attribute_updates(&expressions::updates(updates)?)?),
        None => None,
    };
    Ok((update, expressions::expected(&input.expected, operator)?))
}

/// `UpdateExpression` and `ConditionExpression`.
fn expressions_of(input: &UpdateItemInput) -> Result<(Option<Update>, Option<Condition>), ApiError> {
    let placeholders =
        expressions::placeholders(&input.expression_attribute_names, &input.expression_attribute_values)?;
    let update = match &input.update_expression {
        Some(text) => Some(Update::parse(text, &placeholders)?),
        None => None,
    };
    let condition = expressions::condition(Kind::Condition, &input.condition_expression, &placeholders)?;
    placeholders.finish()?;
    Ok((update, condition))
}
