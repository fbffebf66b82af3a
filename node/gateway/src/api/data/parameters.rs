//! Members that several operations have, and their constraints.

use partita_model::json::{Int, List, Text};
use partita_model::legacy::{ComparisonOperator, ConditionalOperator, UpdateAction};
use partita_model::request::ReturnValues;

use super::consumed::ReturnConsumed;
use super::select::Select;
use crate::api::constraint::Constraints;
use crate::api::control::resource::check_name;

/// `ReturnConsumedCapacity`.
pub fn return_consumed(constraints: &mut Constraints, value: &Option<Text>) -> ReturnConsumed {
    let values = [
        ("INDEXES", ReturnConsumed::Indexes),
        ("TOTAL", ReturnConsumed::Total),
        ("NONE", ReturnConsumed::None),
    ];
    let value = constraints.one_of("returnConsumedCapacity", value.as_deref(), &values);
    value.unwrap_or_default()
}

/// `ReturnItemCollectionMetrics`: whether sizes are asked for.
pub fn return_metrics(constraints: &mut Constraints, value: &Option<Text>) -> bool {
    let values = [("SIZE", true), ("NONE", false)];
    let value = constraints.one_of("returnItemCollectionMetrics", value.as_deref(), &values);
    value.unwrap_or(false)
}

/// `ReturnValues`.
pub fn return_values(constraints: &mut Constraints, value: &Option<Text>) -> ReturnValues {
    let values = [
        ("ALL_NEW", ReturnValues::AllNew),
        ("UPDATED_OLD", ReturnValues::UpdatedOld),
        ("ALL_OLD", ReturnValues::AllOld),
        ("NONE", ReturnValues::None),
        ("UPDATED_NEW", ReturnValues::UpdatedNew),
    ];
    let value = constraints.one_of("returnValues", value.as_deref(), &values);
    value.unwrap_or_default()
}

/// `ReturnValuesOnConditionCheckFailure`: whether the item is asked for.
pub fn return_on_failure(constraints: &mut Constraints, value: &Option<Text>) -> bool {
    let values = [("ALL_OLD", true), ("NONE", false)];
    let value = constraints.one_of("returnValuesOnConditionCheckFailure", value.as_deref(), &values);
    value.unwrap_or(false)
}

/// `ConditionalOperator`.
pub fn conditional_operator(constraints: &mut Constraints, value: &Option<Text>) -> Option<ConditionalOperator> {
    let values = [("OR", ConditionalOperator::Or), ("AND", ConditionalOperator::And)];
    constraints.one_of("conditionalOperator", value.as_deref(), &values)
}

/// `ComparisonOperator` of the entry of a map, such as `expected.name.member`.
pub fn comparison_operator(
    constraints: &mut Constraints,
    entry: &str,
    value: &Option<Text>,
) -> Option<ComparisonOperator> {
    let values = [
        ("IN", ComparisonOperator::In),
        ("NULL", ComparisonOperator::Null),
        ("BETWEEN", ComparisonOperator::Between),
        ("LT", ComparisonOperator::Lt),
        ("NOT_CONTAINS", ComparisonOperator::NotContains),
        ("EQ", ComparisonOperator::Eq),
        ("GT", ComparisonOperator::Gt),
        ("NOT_NULL", ComparisonOperator::NotNull),
        ("NE", ComparisonOperator::Ne),
        ("LE", ComparisonOperator::Le),
        ("BEGINS_WITH", ComparisonOperator::BeginsWith),
        ("GE", ComparisonOperator::Ge),
        ("CONTAINS", ComparisonOperator::Contains),
    ];
    let member = format_args!("{entry}.comparisonOperator");
    constraints.one_of(member, value.as_deref(), &values)
}

/// `Action` of an entry of `AttributeUpdates`.
pub fn update_action(constraints: &mut Constraints, attribute: &str, value: &Option<Text>) -> UpdateAction {
    let values = [
        ("ADD", UpdateAction::Add),
        ("PUT", UpdateAction::Put),
        ("DELETE", UpdateAction::Delete),
    ];
    let member = format_args!("attributeUpdates.{attribute}.member.action");
    let value = constraints.one_of(member, value.as_deref(), &values);
    value.unwrap_or_default()
}

/// `Select`.
pub fn select(constraints: &mut Constraints, value: &Option<Text>) -> Option<Select> {
    let values = [
        ("SPECIFIC_ATTRIBUTES", Select::SpecificAttributes),
        ("COUNT", Select::Count),
        ("ALL_ATTRIBUTES", Select::AllAttributes),
        ("ALL_PROJECTED_ATTRIBUTES", Select::AllProjectedAttributes),
    ];
    constraints.one_of("select", value.as_deref(), &values)
}

/// `Limit`.
pub fn limit(constraints: &mut Constraints, value: Option<Int>) -> Option<u32> {
    let value = value?.0;
    constraints.within("limit", Some(value.into()), 1, i64::MAX);
    u32::try_from(value).ok()
}

/// `IndexName`.
pub fn index_name(constraints: &mut Constraints, value: &Option<Text>) {
    if let Some(name) = value {
        check_name(constraints, "indexName", name);
    }
}

/// `AttributesToGet` at `member`.
pub fn attributes_to_get(constraints: &mut Constraints, member: &str, value: &Option<List<Text>>) {
    if value.as_ref().is_some_and(|list| list.is_empty()) {
        constraints.length(member, "[]", 0, 1, usize::MAX);
    }
}
