//! Query: the rows of one item collection, of a table or of an index, in the order of their sort keys.

use partita_model::error::ApiError;
use partita_model::expression::{
    Condition, KeyCondition, KeyQuery, Kind, Parameter, Projection, RangeCondition, check_parameters,
};
use partita_model::item::{Item, ItemRef};
use partita_model::json::{self, Bool, Int, List, Text};
use partita_model::key::range::{self, KeyRange, SortCondition};
use partita_model::legacy;
use partita_model::message::data as message;
use partita_model::wire::WireItem;
use serde::Deserialize;

use super::constraint::{Constraints, detected};
use super::control::resource::table_name;
use super::data::consumed::ReturnConsumed;
use super::data::expressions::{self, ComparisonMap, Names, Values};
use super::data::page::{self, Page};
use super::data::refusal::Failure;
use super::data::rows::Rows;
use super::data::select::{Select, View};
use super::data::{anew, find_table, parameters, start_key};
use super::{Answer, Call};
use crate::backend::Backend;

/// The request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct QueryInput {
    table_name: Option<Text>,
    index_name: Option<Text>,
    select: Option<Text>,
    attributes_to_get: Option<List<Text>>,
    limit: Option<Int>,
    consistent_read: Option<Bool>,
    key_conditions: ComparisonMap,
    query_filter: ComparisonMap,
    conditional_operator: Option<Text>,
    scan_index_forward: Option<Bool>,
    exclusive_start_key: Option<WireItem>,
    return_consumed_capacity: Option<Text>,
    projection_expression: Option<Text>,
    filter_expression: Option<Text>,
    key_condition_expression: Option<Text>,
    expression_attribute_names: Names,
    expression_attribute_values: Values,
}

/// Answers a request.
pub async fn handle<B: Backend>(call: &Call<'_, B>, body: &[u8]) -> Answer {
    anew(|| attempt(call, body)).await
}

async fn attempt<B: Backend>(call: &Call<'_, B>, body: &[u8]) -> Result<Vec<u8>, Failure> {
    let parsed = parse(body)?;
    let schema = find_table(call, &parsed.name).await?;
    let rows = Rows::find(&schema, parsed.index.as_deref(), parsed.consistent)?;
    let view = View::new(parsed.select, parsed.projection, rows)?;
    let wanted = parsed.key_condition.resolve(rows.keys(), parsed.index.as_deref())?;
    if let Some(filter) = &parsed.filter {
        filter.check_not_on_keys(rows.keys(), parsed.legacy)?;
        check_projected(filter, rows)?;
    }
    let mut range = range_of(rows, &wanted)?;
    if let Some(start) = parsed.start {
        range = resume(rows, &wanted, range, start.as_ref(), parsed.reverse)?;
    }
    let page = Page {
        rows,
        range,
        reverse: parsed.reverse,
        limit: parsed.limit,
        consistent: parsed.consistent,
        filter: parsed.filter,
        view,
    };
    page::send(call, &parsed.name, parsed.consumed, page).await
}

/// What is valid without knowing the table.
struct Parsed {
    name: String,
    index: Option<String>,
    select: Option<Select>,
    projection: Option<Projection>,
    key_condition: KeyCondition,
    filter: Option<Condition>,
    /// It came in the older parameters.
    legacy: bool,
    start: Option<Item>,
    limit: Option<u32>,
    consistent: bool,
    reverse: bool,
    consumed: ReturnConsumed,
}

fn parse(body: &[u8]) -> Result<Parsed, ApiError> {
    let mut input: QueryInput = json::decode(body)?;
    let mut constraints = Constraints::new();
    let consumed = parameters::return_consumed(&mut constraints, &input.return_consumed_capacity);
    let select = parameters::select(&mut constraints, &input.select);
    let operator = parameters::conditional_operator(&mut constraints, &input.conditional_operator);
    parameters::attributes_to_get(&mut constraints, "attributesToGet", &input.attributes_to_get);
    expressions::check_comparisons(&mut constraints, "keyConditions", &input.key_conditions);
    expressions::check_comparisons(&mut constraints, "queryFilter", &input.query_filter);
    let limit = parameters::limit(&mut constraints, input.limit);
    parameters::index_name(&mut constraints, &input.index_name);
    let name = table_name(&mut constraints, input.table_name.take());
    let name = constraints.finish_with(name)?;

    check_mix(&input)?;
    let start = start_key::parse(input.exclusive_start_key.take())?;
    let older = older(&input, operator)?;
    let newer = expressions_of(&input)?;
    let projected = Select::projected_by(&input.projection_expression, &input.attributes_to_get);
    Select::check(select, projected, input.index_name.is_some()).map_err(detected)?;
    let legacy = older.filter.is_some();
    let Some(key_condition) = newer.key_condition.or(older.key_condition) else {
        return Err(ApiError::validation(message::NO_KEY_CONDITION));
    };
    Ok(Parsed {
        name,
        index: input.index_name.map(|name| name.0),
        select,
        projection: newer.projection.or(older.projection),
        key_condition,
        filter: newer.filter.or(older.filter),
        legacy,
        start,
        limit,
        consistent: input.consistent_read.is_some_and(|consistent| consistent.0),
        reverse: input.scan_index_forward.is_some_and(|forward| !forward.0),
        consumed,
    })
}

fn check_mix(input: &QueryInput) -> Result<(), ApiError> {
    // Filters and projections may be expressions where the condition on the keys is not one.
    let key_conditions = input
        .key_conditions
        .as_ref()
        .filter(|_| input.key_condition_expression.is_some());
    check_parameters(
        &[
            Parameter::new("ProjectionExpression", &input.projection_expression),
            Parameter::new("FilterExpression", &input.filter_expression),
            Parameter::new("KeyConditionExpression", &input.key_condition_expression),
        ],
        &[
            Parameter::new("AttributesToGet", &input.attributes_to_get),
            Parameter::new("QueryFilter", &input.query_filter),
            Parameter::new("ConditionalOperator", &input.conditional_operator),
            Parameter::new("KeyConditions", &key_conditions),
        ],
        input.expression_attribute_names.is_some(),
        input.expression_attribute_values.is_some(),
    )
}

/// The expressions, or their older equivalents.
struct Expressions {
    key_condition: Option<KeyCondition>,
    filter: Option<Condition>,
    projection: Option<Projection>,
}

fn older(input: &QueryInput, operator: Option<legacy::ConditionalOperator>) -> Result<Expressions, ApiError> {
    let projection = expressions::attributes_to_get(&input.attributes_to_get)?;
    let filter = expressions::filter(&input.query_filter, operator)?;
    let key_condition = match input.key_conditions.as_ref().filter(|map| !map.is_empty()) {
        Some(conditions) => Some(legacy::key_conditions(&expressions::comparisons(conditions)?)?),
        None => None,
    };
    Ok(Expressions {
        key_condition,
        filter,
        projection,
    })
}

fn expressions_of(input: &QueryInput) -> Result<Expressions, ApiError> {
    let placeholders =
        expressions::placeholders(&input.expression_attribute_names, &input.expression_attribute_values)?;
    let key_condition = match &input.key_condition_expression {
        Some(text) => Some(KeyCondition::parse(text, &placeholders)?),
        None => None,
    };
    let filter = expressions::condition(Kind::Filter, &input.filter_expression, &placeholders)?;
    let projection = expressions::projection(&input.projection_expression, &placeholders)?;
    placeholders.finish()?;
    Ok(Expressions {
        key_condition,
        filter,
        projection,
    })
}

/// The bounds of the rows that a key condition selects.
fn range_of(rows: Rows<'_>, wanted: &KeyQuery) -> Result<KeyRange, ApiError> {
    let (seed, local) = match rows {
        Rows::Table(schema) => (schema.seed, None),
        Rows::Local(schema, index) => (schema.seed, Some(index.id)),
        Rows::Global(_, index) => (index.seed, None),
    };
    let condition = wanted.rest.as_ref().map(|rest| match rest {
        RangeCondition::Less(value) => SortCondition::Less(value.as_ref()),
        RangeCondition::LessOrEqual(value) => SortCondition::LessOrEqual(value.as_ref()),
        RangeCondition::Greater(value) => SortCondition::Greater(value.as_ref()),
        RangeCondition::GreaterOrEqual(value) => SortCondition::GreaterOrEqual(value.as_ref()),
        RangeCondition::Between(low, high) => SortCondition::Between(low.as_ref(), high.as_ref()),
        RangeCondition::BeginsWith(value) => SortCondition::BeginsWith(value.as_ref()),
    });
    let hash = wanted.hash.iter().map(|value| value.as_ref());
    let equal = wanted.range.iter().map(|value| value.as_ref());
    // `resolve` has refused values that cannot be keys.
    range::query(seed, hash, local, equal, condition)
        .ok_or_else(|| ApiError::validation(partita_model::message::KEY_DOES_NOT_MATCH))
}

/// Refuses a filter on what a global index does not hold: nothing is looked up in the table for it.
fn check_projected(filter: &Condition, rows: Rows<'_>) -> Result<(), ApiError> {
    let Rows::Global(_, index) = rows else { return Ok(()) };
    let mut missing: Vec<&str> = filter.attributes().filter(|name| !rows.hold(name)).collect();
    missing.sort_unstable();
    missing.dedup();
    match missing.is_empty() {
        true => Ok(()),
        false => Err(ApiError::validation(message::filter_not_projected(
            &index.name,
            &missing,
        ))),
    }
}

/// What of a range is behind the start key, which must be one that the key condition selects.
fn resume(
    rows: Rows<'_>,
    wanted: &KeyQuery,
    range: KeyRange,
    start: ItemRef<'_>,
    reverse: bool,
) -> Result<KeyRange, ApiError> {
    let key = start_key::key_bytes(rows, start, false)?;
    let values = rows.keys().hash.iter().map(|attribute| start.get(&attribute.name));
    if !values.eq(wanted.hash.iter().map(|value| Some(value.as_ref()))) {
        return Err(ApiError::validation(message::START_KEY_OUTSIDE));
    }
    range::resume(range, key, reverse).ok_or_else(|| ApiError::validation(message::START_KEY_RANGE))
}
