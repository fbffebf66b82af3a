//! The legacy parameters of the same API version, translated into the same resolved programs as expressions.
//!
//! Source of the rules: "Legacy conditional parameters", Amazon DynamoDB Developer Guide, and the API reference.

use std::collections::HashSet;

use crate::error::ApiError;
use crate::expression::{
    Action, Change, Comparator, Condition, KeyCondition, Operand, Operation, Path, Projection, RangeCondition, Test,
    Update,
};
use crate::message::{ATTRIBUTE_NAME_EMPTY, expression as text};
use crate::value::{Value, ValueRef, ValueType};

/// `ComparisonOperator`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ComparisonOperator {
    /// `EQ`
    Eq,
    /// `NE`
    Ne,
    /// `IN`
    In,
    /// `LE`
    Le,
    /// `LT`
    Lt,
    /// `GE`
    Ge,
    /// `GT`
    Gt,
    /// `BETWEEN`
    Between,
    /// `NOT_NULL`
    NotNull,
    /// `NULL`
    Null,
    /// `CONTAINS`
    Contains,
    /// `NOT_CONTAINS`
    NotContains,
    /// `BEGINS_WITH`
    BeginsWith,
}

impl ComparisonOperator {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Eq => "EQ",
            Self::Ne => "NE",
            Self::In => "IN",
            Self::Le => "LE",
            Self::Lt => "LT",
            Self::Ge => "GE",
            Self::Gt => "GT",
            Self::Between => "BETWEEN",
            Self::NotNull => "NOT_NULL",
            Self::Null => "NULL",
            Self::Contains => "CONTAINS",
            Self::NotContains => "NOT_CONTAINS",
            Self::BeginsWith => "BEGINS_WITH",
        }
    }

    /// The operator that is written so.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "EQ" => Self::Eq,
            "NE" => Self::Ne,
            "IN" => Self::In,
            "LE" => Self::Le,
            "LT" => Self::Lt,
            "GE" => Self::Ge,
            "GT" => Self::Gt,
            "BETWEEN" => Self::Between,
            "NOT_NULL" => Self::NotNull,
            "NULL" => Self::Null,
            "CONTAINS" => Self::Contains,
            "NOT_CONTAINS" => Self::NotContains,
            "BEGINS_WITH" => Self::BeginsWith,
            _ => return None,
        })
    }
}

/// `ConditionalOperator`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConditionalOperator {
    /// `AND`
    #[default]
    And,
    /// `OR`
    Or,
}

/// One entry of `KeyConditions`, `QueryFilter` or `ScanFilter`.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison<'a> {
    /// The attribute.
    pub attribute: &'a str,
    /// How it is compared.
    pub operator: ComparisonOperator,
    /// `AttributeValueList`.
    pub values: Option<Vec<ValueRef<'a>>>,
}

/// One entry of `Expected`.
#[derive(Debug, Clone, PartialEq)]
pub struct Expectation<'a> {
    /// The attribute.
    pub attribute: &'a str,
    /// `Exists`.
    pub exists: Option<bool>,
    /// `Value`.
    pub value: Option<ValueRef<'a>>,
    /// `ComparisonOperator`.
    pub operator: Option<ComparisonOperator>,
    /// `AttributeValueList`.
    pub values: Option<Vec<ValueRef<'a>>>,
}

/// `Action` of an entry of `AttributeUpdates`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UpdateAction {
    /// `PUT`
    #[default]
    Put,
    /// `ADD`
    Add,
    /// `DELETE`
    Delete,
}

/// One entry of `AttributeUpdates`.
#[derive(Debug, Clone, PartialEq)]
pub struct AttributeUpdate<'a> {
    /// The attribute.
    pub attribute: &'a str,
    /// `Action`.
    pub action: UpdateAction,
    /// `Value`.
    pub value: Option<ValueRef<'a>>,
}

/// `Expected` with `ConditionalOperator`.
pub fn expected(entries: &[Expectation<'_>], operator: Option<ConditionalOperator>) -> Result<Condition, ApiError> {
    let mut program = Program::new(operator);
    for entry in entries {
        program.push(expectation(entry)?);
    }
    Ok(program.finish())
}

/// `QueryFilter` or `ScanFilter` with `ConditionalOperator`.
pub fn filter(entries: &[Comparison<'_>], operator: Option<ConditionalOperator>) -> Result<Condition, ApiError> {
    let mut program = Program::new(operator);
    for entry in entries {
        let values = entry.values.as_deref().unwrap_or_default();
        check_arguments(entry.operator, values)?;
        program.push(comparison(entry.attribute, entry.operator, values));
    }
    Ok(program.finish())
}

/// `KeyConditions`.
pub fn key_conditions(entries: &[Comparison<'_>]) -> Result<KeyCondition, ApiError> {
    use ComparisonOperator as Op;
    let mut tests = Vec::with_capacity(entries.len());
    for entry in entries {
        let values = entry.values.as_deref().unwrap_or_default();
        check_arguments(entry.operator, values)?;
        let value = |index: usize| values.get(index).map_or_else(Value::null, |value| value.to_value());
        let test = match entry.operator {
            Op::Eq => Test::Equal(value(0)),
            Op::Lt => Test::Range(RangeCondition::Less(value(0))),
            Op::Le => Test::Range(RangeCondition::LessOrEqual(value(0))),
            Op::Gt => Test::Range(RangeCondition::Greater(value(0))),
            Op::Ge => Test::Range(RangeCondition::GreaterOrEqual(value(0))),
            Op::Between => Test::Range(RangeCondition::Between(value(0), value(1))),
            Op::BeginsWith => Test::Range(RangeCondition::BeginsWith(value(0))),
            Op::Ne | Op::In | Op::NotNull | Op::Null | Op::Contains | Op::NotContains => {
                return Err(ApiError::validation(text::KEY_NOT_INDEXABLE));
            }
        };
        tests.push((entry.attribute.to_owned(), test));
    }
    Ok(KeyCondition { tests })
}

/// `AttributeUpdates`.
pub fn attribute_updates(entries: &[AttributeUpdate<'_>]) -> Result<Update, ApiError> {
    let mut actions = Vec::with_capacity(entries.len());
    for entry in entries {
        let kind = entry.value.map(ValueRef::kind);
        let change = match (entry.action, entry.value, kind) {
            (UpdateAction::Delete, None, _) => Change::Remove,
            (_, None, _) | (_, _, None) => return Err(ApiError::validation(text::ONLY_DELETE_WITHOUT_VALUE)),
            (UpdateAction::Put, Some(value), _) => Change::Put(value.to_value()),
            (UpdateAction::Add, Some(value), Some(kind)) => {
                if !matches!(kind, ValueType::N | ValueType::L) && kind.element().is_none() {
                    return Err(ApiError::validation(text::add_unsupported(kind.name())));
                }
                Change::Add(value.to_value())
            }
            (UpdateAction::Delete, Some(value), Some(kind)) => {
                if kind.element().is_none() {
                    return Err(ApiError::validation(text::delete_unsupported(kind.name())));
                }
                Change::Delete(value.to_value())
            }
        };
        actions.push(Action {
            path: Path::attribute(entry.attribute),
            change,
        });
    }
    Ok(Update::new(actions, true))
}

/// `AttributesToGet`.
pub fn attributes_to_get(names: &[&str]) -> Result<Projection, ApiError> {
    if names.iter().any(|name| name.is_empty()) {
        return Err(ApiError::validation(ATTRIBUTE_NAME_EMPTY));
    }
    let mut known = HashSet::with_capacity(names.len());
    if let Some(name) = names.iter().find(|name| !known.insert(**name)) {
        return Err(ApiError::validation(text::attribute_twice(name)));
    }
    Ok(Projection::attributes(names.iter().copied()))
}

/// Conditions joined by one operator.
struct Program {
    operations: Vec<Operation>,
    joint: Operation,
    conditions: usize,
}

impl Program {
    fn new(operator: Option<ConditionalOperator>) -> Self {
        let joint = match operator.unwrap_or_default() {
            ConditionalOperator::And => Operation::And,
            ConditionalOperator::Or => Operation::Or,
        };
        Self {
            operations: Vec::new(),
            joint,
            conditions: 0,
        }
    }

    fn push(&mut self, (operation, negated): (Operation, bool)) {
        self.operations.push(operation);
        if negated {
            self.operations.push(Operation::Not);
        }
        if self.conditions > 0 {
            self.operations.push(self.joint.clone());
        }
        self.conditions += 1;
    }

    /// Without entries it always holds.
    fn finish(self) -> Condition {
        let mut operations = self.operations;
        if operations.is_empty() {
            let null = || Operand::Value(Value::null());
            operations.push(Operation::Compare(Comparator::Equal, null(), null()));
        }
        Condition { operations }
    }
}

/// One entry of `Expected`, checked; whether its condition is negated.
fn expectation(entry: &Expectation<'_>) -> Result<(Operation, bool), ApiError> {
    let name = entry.attribute;
    let refuse = |what: std::fmt::Arguments<'_>| Err(ApiError::validation(text::invalid_parameter(what)));
    if entry.value.is_some() && entry.values.is_some() {
        return refuse(format_args!(
            "Value and AttributeValueList cannot be used together for Attribute: {name}"
        ));
    }
    if let Some(operator) = entry.operator {
        if entry.exists.is_some() {
            return refuse(format_args!(
                "Exists and ComparisonOperator cannot be used together for Attribute: {name}"
            ));
        }
        let without = matches!(operator, ComparisonOperator::Null | ComparisonOperator::NotNull);
        let values: Vec<ValueRef<'_>> = match (&entry.value, &entry.values) {
            (Some(value), _) => vec![*value],
            (None, Some(values)) => values.clone(),
            (None, None) if without => Vec::new(),
            (None, None) => {
                let operator = operator.name();
                return refuse(format_args!(
                    "Value or AttributeValueList must be used with ComparisonOperator: {operator} for Attribute: {name}"
                ));
            }
        };
        check_arguments(operator, &values)?;
        return Ok(comparison(name, operator, &values));
    }
    if entry.values.is_some() {
        return refuse(format_args!(
            "AttributeValueList can only be used with a ComparisonOperator for Attribute: {name}"
        ));
    }
    match (entry.exists, entry.value) {
        (Some(false), Some(_)) => refuse(format_args!(
            "Value cannot be used when Exists is false for Attribute: {name}"
        )),
        (Some(false), None) => Ok((Operation::NotExists(Path::attribute(name)), false)),
        (_, Some(value)) => Ok(comparison(name, ComparisonOperator::Eq, &[value])),
        (exists, None) => {
            let exists = exists.map_or("null", |_| "true");
            refuse(format_args!(
                "Value must be provided when Exists is {exists} for Attribute: {name}"
            ))
        }
    }
}

/// The operation of a comparison whose arguments have been checked; whether it is negated.
fn comparison(attribute: &str, operator: ComparisonOperator, values: &[ValueRef<'_>]) -> (Operation, bool) {
    use ComparisonOperator as Op;
    let path = Path::attribute(attribute);
    let value = |index: usize| Operand::Value(values.get(index).map_or_else(Value::null, |value| value.to_value()));
    let compare = |comparator| Operation::Compare(comparator, Operand::Path(Path::attribute(attribute)), value(0));
    let operation = match operator {
        Op::Eq => compare(Comparator::Equal),
        Op::Ne => compare(Comparator::NotEqual),
        Op::Le => compare(Comparator::LessOrEqual),
        Op::Lt => compare(Comparator::Less),
        Op::Ge => compare(Comparator::GreaterOrEqual),
        Op::Gt => compare(Comparator::Greater),
        Op::In => Operation::In(Operand::Path(path), (0..values.len()).map(value).collect()),
        Op::Between => Operation::Between(Operand::Path(path), value(0), value(1)),
        Op::NotNull => Operation::Exists(path),
        Op::Null => Operation::NotExists(path),
        Op::Contains | Op::NotContains => Operation::Contains(Operand::Path(path), value(0)),
        Op::BeginsWith => Operation::BeginsWith(Operand::Path(path), value(0)),
    };
    (operation, operator == Op::NotContains)
}

/// The number and types of a comparison's arguments.
fn check_arguments(operator: ComparisonOperator, values: &[ValueRef<'_>]) -> Result<(), ApiError> {
    use ComparisonOperator as Op;
    let count_fits = match operator {
        Op::Null | Op::NotNull => values.is_empty(),
        Op::Between => values.len() == 2,
        Op::In => !values.is_empty(),
        _ => values.len() == 1,
    };
    if !count_fits {
        return Err(ApiError::validation(text::argument_count(operator.name())));
    }
    for value in values {
        let kind = value.kind();
        let fits = match operator {
            Op::Eq | Op::Ne | Op::Null | Op::NotNull => true,
            Op::BeginsWith => matches!(kind, ValueType::S | ValueType::B),
            Op::In | Op::Contains | Op::NotContains => {
                kind.element().is_none() && !matches!(kind, ValueType::L | ValueType::M)
            }
            Op::Le | Op::Lt | Op::Ge | Op::Gt | Op::Between => {
                matches!(kind, ValueType::S | ValueType::N | ValueType::B)
            }
        };
        if !fits {
            return Err(ApiError::validation(text::argument_type(operator.name(), kind.name())));
        }
    }
    if matches!(operator, Op::In | Op::Between) && values.windows(2).any(|pair| pair[0].kind() != pair[1].kind()) {
        return Err(ApiError::validation(text::ARGUMENT_TYPES_DIFFER));
    }
    match (operator, values) {
        (Op::Between, [low, high]) if low.payload() > high.payload() => {
            Err(ApiError::validation(text::ARGUMENTS_REVERSED))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
