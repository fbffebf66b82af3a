//! Scan: all rows of a table or an index, or of one segment of it.

use std::ops::Bound;

use partita_model::error::ApiError;
use partita_model::expression::{Condition, Kind, Parameter, Projection, check_parameters};
use partita_model::item::{Item, ItemRef};
use partita_model::json::{self, Bool, Int, List, Text};
use partita_model::key::range::{self, KeyRange};
use partita_model::message::data as message;
use partita_model::wire::WireItem;
use serde::Deserialize;

use super::constraint::Constraints;
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

/// Segments of one parallel Scan.
const SEGMENTS_MAX: i64 = 1_000_000;

/// The request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ScanInput {
    table_name: Option<Text>,
    index_name: Option<Text>,
    attributes_to_get: Option<List<Text>>,
    limit: Option<Int>,
    select: Option<Text>,
    scan_filter: ComparisonMap,
    conditional_operator: Option<Text>,
    exclusive_start_key: Option<WireItem>,
    return_consumed_capacity: Option<Text>,
    total_segments: Option<Int>,
    segment: Option<Int>,
    projection_expression: Option<Text>,
    filter_expression: Option<Text>,
    expression_attribute_names: Names,
    expression_attribute_values: Values,
    consistent_read: Option<Bool>,
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
    let mut range = match parsed.segment {
        Some(Segment { number, total }) => range::segment(number, total),
        None => (Bound::Unbounded, Bound::Unbounded),
    };
    if let Some(start) = parsed.start {
        range = resume(rows, range, start.as_ref(), parsed.segment)?;
    }
    let page = Page {
        rows,
        range,
        reverse: false,
        limit: parsed.limit,
        consistent: parsed.consistent,
        filter: parsed.filter,
        view,
    };
    page::send(call, &parsed.name, parsed.consumed, page).await
}

/// `Segment` and `TotalSegments`.
#[derive(Debug, Clone, Copy)]
struct Segment {
    number: u32,
    total: u32,
}

/// What is valid without knowing the table.
struct Parsed {
    name: String,
    index: Option<String>,
    select: Option<Select>,
    projection: Option<Projection>,
    filter: Option<Condition>,
    start: Option<Item>,
    segment: Option<Segment>,
    limit: Option<u32>,
    consistent: bool,
    consumed: ReturnConsumed,
}

fn parse(body: &[u8]) -> Result<Parsed, ApiError> {
    let mut input: ScanInput = json::decode(body)?;
    let mut constraints = Constraints::new();
    let consumed = parameters::return_consumed(&mut constraints, &input.return_consumed_capacity);
    let select = parameters::select(&mut constraints, &input.select);
    let operator = parameters::conditional_operator(&mut constraints, &input.conditional_operator);
    parameters::attributes_to_get(&mut constraints, "attributesToGet", &input.attributes_to_get);
    expressions::check_comparisons(&mut constraints, "scanFilter", &input.scan_filter);
    let limit = parameters::limit(&mut constraints, input.limit);
    let total = input.total_segments.map(|total| total.0);
    constraints.within("totalSegments", total.map(i64::from), 1, SEGMENTS_MAX);
    let number = input.segment.map(|segment| segment.0);
    constraints.within("segment", number.map(i64::from), 0, SEGMENTS_MAX - 1);
    parameters::index_name(&mut constraints, &input.index_name);
    let name = table_name(&mut constraints, input.table_name.take());
    let name = constraints.finish_with(name)?;

    check_mix(&input)?;
    let segment = segment(number, total)?;
    let start = start_key::parse(input.exclusive_start_key.take())?;
    let older_projection = expressions::attributes_to_get(&input.attributes_to_get)?;
    let older_filter = expressions::filter(&input.scan_filter, operator)?;
    let (filter, projection) = expressions_of(&input)?;
    let projected = Select::projected_by(&input.projection_expression, &input.attributes_to_get);
    Select::check(select, projected, input.index_name.is_some())?;
    Ok(Parsed {
        name,
        index: input.index_name.map(|name| name.0),
        select,
        projection: projection.or(older_projection),
        filter: filter.or(older_filter),
        start,
        segment,
        limit,
        consistent: input.consistent_read.is_some_and(|consistent| consistent.0),
        consumed,
    })
}

fn check_mix(input: &ScanInput) -> Result<(), ApiError> {
    check_parameters(
        &[
            Parameter::new("ProjectionExpression", &input.projection_expression),
            Parameter::new("FilterExpression", &input.filter_expression),
        ],
        &[
            Parameter::new("AttributesToGet", &input.attributes_to_get),
            Parameter::new("ScanFilter", &input.scan_filter),
            Parameter::new("ConditionalOperator", &input.conditional_operator),
        ],
        input.expression_attribute_names.is_some(),
        input.expression_attribute_values.is_some(),
    )
}

fn expressions_of(input: &ScanInput) -> Result<(Option<Condition>, Option<Projection>), ApiError> {
    let placeholders =
        expressions::placeholders(&input.expression_attribute_names, &input.expression_attribute_values)?;
    let filter = expressions::condition(Kind::ScanFilter, &input.filter_expression, &placeholders)?;
    let projection = expressions::projection(&input.projection_expression, &placeholders)?;
    placeholders.finish()?;
    Ok((filter, projection))
}

/// Both or none, and a segment that exists.
fn segment(number: Option<i32>, total: Option<i32>) -> Result<Option<Segment>, ApiError> {
    let (number, total) = match (number, total) {
        (None, None) => return Ok(None),
        (Some(_), None) => return Err(ApiError::validation(message::TOTAL_SEGMENTS_MISSING)),
        (None, Some(_)) => return Err(ApiError::validation(message::SEGMENT_MISSING)),
        (Some(number), Some(total)) => (number.unsigned_abs(), total.unsigned_abs()),
    };
    if number >= total {
        return Err(ApiError::validation(message::segment_too_large(number, total)));
    }
    Ok(Some(Segment { number, total }))
}

/// What of a range is behind the start key.
fn resume(rows: Rows<'_>, range: KeyRange, start: ItemRef<'_>, segment: Option<Segment>) -> Result<KeyRange, ApiError> {
    let key = start_key::key_bytes(rows, start, true)?;
    range::resume(range, key, false).ok_or_else(|| {
        // Only a segment's range can be without the key of a row.
        let Segment { number, total } = segment.unwrap_or(Segment { number: 0, total: 1 });
        ApiError::validation(message::start_key_segment(number, total))
    })
}
