//! Expressions and their older equivalents: from a request's members to parsed ones.
//!
//! 1. Constraints of the older members' enumerations are checked with all others ([`Expected::check`] and so on);
//! 2. `check_parameters` refuses a mix;
//! 3. values of the older members, then expressions, are parsed.

use partita_model::error::ApiError;
use partita_model::expression::{self, Kind, Placeholders, Projection};
use partita_model::json::{Bool, List, Map, Structure, Text};
use partita_model::legacy::{self, AttributeUpdate, Comparison, ComparisonOperator, ConditionalOperator, Expectation};
use partita_model::message::data as message;
use partita_model::message::{ATTRIBUTE_NAME_EMPTY, ATTRIBUTE_NAME_TOO_LONG};
use partita_model::value::ValueRef;
use partita_model::wire::{NAME_BYTES_END, WireValue};
use serde::Deserialize;

use super::parameters;
use crate::api::constraint::{Constraints, detected, detected_value};

/// `ExpressionAttributeNames`.
pub type Names = Option<Map<Text>>;
/// `ExpressionAttributeValues`.
pub type Values = Option<Map<WireValue>>;
/// `Expected`.
pub type ExpectedMap = Option<Map<Structure<ExpectedAttributeValue>>>;
/// `KeyConditions`, `QueryFilter`, `ScanFilter`.
pub type ComparisonMap = Option<Map<Structure<Condition>>>;
/// `AttributeUpdates`.
pub type UpdateMap = Option<Map<Structure<AttributeValueUpdate>>>;

/// An entry of `Expected`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ExpectedAttributeValue {
    value: Option<WireValue>,
    exists: Option<Bool>,
    comparison_operator: Option<Text>,
    attribute_value_list: Option<List<WireValue>>,
}

/// An entry of `KeyConditions`, `QueryFilter` or `ScanFilter`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Condition {
    comparison_operator: Option<Text>,
    attribute_value_list: Option<List<WireValue>>,
}

/// An entry of `AttributeUpdates`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AttributeValueUpdate {
    value: Option<WireValue>,
    action: Option<Text>,
}

/// The names and values that a request's expressions may refer to, checked.
pub fn placeholders<'a>(names: &'a Names, values: &'a Values) -> Result<Placeholders<'a>, ApiError> {
    let names = names.as_ref().map(|names| {
        let names = names.iter();
        names.map(|(placeholder, name)| (placeholder.as_str(), name.0.as_str()))
    });
    let values = values.as_ref().map(|values| {
        let values = values.iter();
        values.map(|(placeholder, value)| {
            let value = value.value().map(|value| value.as_ref());
            (placeholder.as_str(), value.map_err(|error| error.message.as_ref()))
        })
    });
    Placeholders::new(names, values)
}

/// Refuses what is wrong with the values of a write before any of them is used.
pub fn check_values(updates: &UpdateMap, expected: &ExpectedMap, values: &Values) -> Result<(), ApiError> {
    let updates = updates.iter().flat_map(|map| map.iter());
    let updates = updates.map(|(name, entry)| (name, entry.value.as_ref(), None));
    let expected = expected.iter().flat_map(|map| map.iter());
    let expected = expected.map(|(name, entry)| (name, entry.value.as_ref(), entry.attribute_value_list.as_ref()));
    for (name, value, list) in updates.chain(expected) {
        if name.is_empty() {
            return Err(detected(ApiError::validation(ATTRIBUTE_NAME_EMPTY)));
        }
        if name.len() >= NAME_BYTES_END {
            return Err(detected(ApiError::validation(ATTRIBUTE_NAME_TOO_LONG)));
        }
        for value in value.into_iter().chain(list.into_iter().flat_map(|list| list.iter())) {
            value_of(value).map_err(detected_value)?;
        }
    }
    for (_, value) in values.iter().flat_map(|map| map.iter()) {
        value_of(value).map_err(detected_value)?;
    }
    Ok(())
}

/// Checks the enumerations in `Expected`.
pub fn check_expected(constraints: &mut Constraints, expected: &ExpectedMap) {
    for (name, entry) in expected.iter().flat_map(|map| map.iter()) {
        let member = format!("expected.{name}.member");
        parameters::comparison_operator(constraints, &member, &entry.comparison_operator);
    }
}

/// Checks the enumerations in a map of comparisons, the parameter `member`.
pub fn check_comparisons(constraints: &mut Constraints, member: &str, comparisons: &ComparisonMap) {
    for (name, entry) in comparisons.iter().flat_map(|map| map.iter()) {
        let member = format!("{member}.{name}.member");
        constraints.required(
            format_args!("{member}.comparisonOperator"),
            entry.comparison_operator.as_ref(),
        );
        parameters::comparison_operator(constraints, &member, &entry.comparison_operator);
    }
}

/// Checks the enumerations in `AttributeUpdates`.
pub fn check_updates(constraints: &mut Constraints, updates: &UpdateMap) {
    for (name, entry) in updates.iter().flat_map(|map| map.iter()) {
        parameters::update_action(constraints, name, &entry.action);
    }
}

/// `Expected`, with its operator, as a condition.
pub fn expected(
    map: &ExpectedMap,
    operator: Option<ConditionalOperator>,
) -> Result<Option<expression::Condition>, ApiError> {
    check_operator(operator, map.as_ref().map_or(0, |map| map.len()))?;
    let Some(map) = map else { return Ok(None) };
    let mut entries = Vec::with_capacity(map.len());
    for (attribute, entry) in map.iter() {
        entries.push(Expectation {
            attribute,
            exists: entry.exists.map(|exists| exists.0),
            value: entry.value.as_ref().map(value_of).transpose()?,
            operator: known_operator(&entry.comparison_operator),
            values: entry.attribute_value_list.as_ref().map(values_of).transpose()?,
        });
    }
    legacy::expected(&entries, operator).map(Some)
}

/// `QueryFilter` or `ScanFilter`, with its operator, as a filter.
pub fn filter(
    map: &ComparisonMap,
    operator: Option<ConditionalOperator>,
) -> Result<Option<expression::Condition>, ApiError> {
    check_operator(operator, map.as_ref().map_or(0, |map| map.len()))?;
    let Some(map) = map else { return Ok(None) };
    legacy::filter(&comparisons(map)?, operator).map(Some)
}

/// Refuses an operator that has nothing to combine.
fn check_operator(operator: Option<ConditionalOperator>, conditions: usize) -> Result<(), ApiError> {
    match (operator, conditions) {
        (Some(_), 0) => Err(ApiError::validation(message::OPERATOR_ALONE)),
        (Some(_), 1) => Err(ApiError::validation(message::OPERATOR_OF_ONE)),
        _ => Ok(()),
    }
}

/// A map of comparisons, as the older parameters' translation takes them.
pub fn comparisons(map: &Map<Structure<Condition>>) -> Result<Vec<Comparison<'_>>, ApiError> {
    let entries = map.iter().filter_map(|(attribute, entry)| {
        // Entries without an operator have been refused before.
        let operator = known_operator(&entry.comparison_operator)?;
        let values = entry.attribute_value_list.as_ref().map(values_of).transpose();
        Some(values.map(|values| Comparison {
            attribute,
            operator,
            values,
        }))
    });
    entries.collect()
}

/// `AttributeUpdates`, as the older parameters' translation takes them.
pub fn updates(map: &Map<Structure<AttributeValueUpdate>>) -> Result<Vec<AttributeUpdate<'_>>, ApiError> {
    let entries = map.iter().map(|(attribute, entry)| {
        Ok(AttributeUpdate {
            attribute,
            action: parameters::update_action(&mut Constraints::new(), attribute, &entry.action),
            value: entry.value.as_ref().map(value_of).transpose()?,
        })
    });
    entries.collect()
}

/// `AttributesToGet`, as a projection.
pub fn attributes_to_get(names: &Option<List<Text>>) -> Result<Option<Projection>, ApiError> {
    let Some(names) = names else { return Ok(None) };
    let names: Vec<&str> = names.iter().map(|name| name.0.as_str()).collect();
    legacy::attributes_to_get(&names).map(Some)
}

/// A condition or filter expression.
pub fn condition(
    kind: Kind,
    text: &Option<Text>,
    placeholders: &Placeholders<'_>,
) -> Result<Option<expression::Condition>, ApiError> {
    let text = text.as_ref();
    text.map(|text| expression::Condition::parse(kind, text, placeholders))
        .transpose()
}

/// A projection expression.
pub fn projection(text: &Option<Text>, placeholders: &Placeholders<'_>) -> Result<Option<Projection>, ApiError> {
    let text = text.as_ref();
    text.map(|text| Projection::parse(text, placeholders)).transpose()
}

fn known_operator(value: &Option<Text>) -> Option<ComparisonOperator> {
    parameters::comparison_operator(&mut Constraints::new(), "", value)
}

fn value_of(value: &WireValue) -> Result<ValueRef<'_>, ApiError> {
    value.value().map(|value| value.as_ref()).map_err(Clone::clone)
}

fn values_of(values: &List<WireValue>) -> Result<Vec<ValueRef<'_>>, ApiError> {
    values.iter().map(value_of).collect()
}
