//! Key conditions: which rows a Query wants.
//!
//! 1. [`KeyCondition::parse`] reads the expression as a condition and keeps what can be a condition on a key: one of
//!    `= < <= > >= BETWEEN begins_with` for each attribute, joined by `AND`.
//! 2. [`KeyCondition::resolve`] matches them with a key schema: every hash attribute by `=`, range attributes from
//!    left to right by `=`, and at most one other condition on the one after those; no value is larger than a key can be.
//!
//! Source: "Key condition expressions for the Query operation in DynamoDB", Amazon DynamoDB Developer Guide.

use super::condition::{Operand, Operation};
use super::lexer::{Comparator, invalid};
use super::{Kind, Placeholders, condition_parser};
use crate::error::ApiError;
use crate::message::{self, expression as text};
use crate::schema::check::{PARTITION_KEY_BYTES_MAX, SORT_KEY_BYTES_MAX};
use crate::schema::{KeyAttribute, KeySchema, ScalarType};
use crate::value::{Value, ValueType};

/// A parsed key condition, before it is matched with a key schema.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyCondition {
    /// One for each attribute.
    pub(crate) tests: Vec<(String, Test)>,
}

/// A condition on one attribute.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Test {
    Equal(Value),
    Range(RangeCondition),
}

/// What remains to be said of the first range attribute that is not fixed by `=`.
#[derive(Debug, Clone, PartialEq)]
pub enum RangeCondition {
    /// `<`
    Less(Value),
    /// `<=`
    LessOrEqual(Value),
    /// `>`
    Greater(Value),
    /// `>=`
    GreaterOrEqual(Value),
    /// `BETWEEN low AND high`, both included.
    Between(Value, Value),
    /// `begins_with`
    BeginsWith(Value),
}

/// A key condition that fits a key schema: the types are right, the values are neither empty nor too large.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyQuery {
    /// The values of all hash attributes, in the schema's order.
    pub hash: Vec<Value>,
    /// The values of the leading range attributes that are fixed by `=`.
    pub range: Vec<Value>,
    /// A condition on the range attribute after those.
    pub rest: Option<RangeCondition>,
}

impl KeyCondition {
    /// Parses a `KeyConditionExpression`.
    pub fn parse(text: &str, placeholders: &Placeholders<'_>) -> Result<Self, ApiError> {
        let operations = condition_parser::parse(Kind::KeyCondition, text, placeholders)?;
        let mut tests: Vec<(String, Test)> = Vec::new();
        for operation in operations {
            let (name, test) = match operation {
                Operation::And => continue,
                Operation::Or => return Err(operator("OR")),
                Operation::Not => return Err(operator("NOT")),
                Operation::In(..) => return Err(operator("IN")),
                Operation::Exists(_) => return Err(operator("attribute_exists")),
                Operation::NotExists(_) => return Err(operator("attribute_not_exists")),
                Operation::Type(..) => return Err(operator("attribute_type")),
                Operation::Contains(..) => return Err(operator("contains")),
                Operation::Compare(comparator, a, b) => comparison(comparator, a, b)?,
                Operation::Between(value, low, high) => {
                    let (name, low, high) = (key_first("BETWEEN", value)?, key_value(low)?, key_value(high)?);
                    (name, Test::Range(RangeCondition::Between(low, high)))
                }
                Operation::BeginsWith(value, prefix) => {
                    let (name, prefix) = (key_first("begins_with", value)?, key_value(prefix)?);
                    (name, Test::Range(RangeCondition::BeginsWith(prefix)))
                }
            };
            if tests.iter().any(|(other, _)| *other == name) {
                return Err(invalid(Kind::KeyCondition, text::KEY_TWICE));
            }
            tests.push((name, test));
        }
        Ok(Self { tests })
    }

    /// Matches it with the keys of the table, or of the index of that name.
    pub fn resolve(&self, keys: &KeySchema, index: Option<&str>) -> Result<KeyQuery, ApiError> {
        let attributes = keys.attributes().count();
        if self.tests.len() > attributes {
            return Err(ApiError::validation(text::key_condition_count(
                self.tests.len(),
                attributes,
            )));
        }
        let mut hash = Vec::with_capacity(keys.hash.len());
        for attribute in &keys.hash {
            match self.test(attribute) {
                None => return Err(ApiError::validation(text::key_missing_condition(&attribute.name))),
                Some(Test::Range(_)) => return Err(ApiError::validation(text::KEY_NOT_SUPPORTED)),
                Some(Test::Equal(value)) => hash.push(checked(attribute, index, value)?),
            }
        }
        let (range, rest) = self.resolve_range(keys, index)?;
        let resolved = hash.len() + range.len() + usize::from(rest.is_some());
        if resolved < self.tests.len() {
            return Err(self.leftover(keys, range.len(), rest.is_some()));
        }
        check_sizes(&hash, &range, rest.as_ref())?;
        Ok(KeyQuery { hash, range, rest })
    }

    /// Range attributes by `=` as long as there are such, then one other condition.
    fn resolve_range(
        &self,
        keys: &KeySchema,
        index: Option<&str>,
    ) -> Result<(Vec<Value>, Option<RangeCondition>), ApiError> {
        let mut fixed = Vec::new();
        for attribute in &keys.range {
            match self.test(attribute) {
                Some(Test::Equal(value)) => fixed.push(checked(attribute, index, value)?),
                Some(Test::Range(condition)) => return Ok((fixed, Some(checked_range(attribute, index, condition)?))),
                None => break,
            }
        }
        Ok((fixed, None))
    }

    /// Why a condition is left over: a key attribute before it has none, or has one that is not `=`, or it is about no
    /// key attribute at all.
    fn leftover(&self, keys: &KeySchema, fixed: usize, ranged: bool) -> ApiError {
        let about_keys = self.tests.iter().all(|(name, _)| keys.contains(name));
        match keys.range.get(fixed) {
            Some(_) if ranged && about_keys => ApiError::validation(text::KEY_NOT_SUPPORTED),
            Some(next) if !ranged => ApiError::validation(text::key_missing_condition(&next.name)),
            _ => ApiError::validation(text::KEY_NOT_SUPPORTED),
        }
    }

    fn test(&self, attribute: &KeyAttribute) -> Option<&Test> {
        self.tests
            .iter()
            .find(|(name, _)| *name == attribute.name)
            .map(|(_, test)| test)
    }
}

fn operator(name: &str) -> ApiError {
    ApiError::validation(text::key_operator(name))
}

/// `a = :v`, or `:v = a` the other way round.
fn comparison(comparator: Comparator, a: Operand, b: Operand) -> Result<(String, Test), ApiError> {
    let (comparator, key, value) = match (&a, &b) {
        (Operand::Path(_), Operand::Path(_)) => return Err(ApiError::validation(text::KEY_MULTIPLE_NAMES)),
        (Operand::Value(_), Operand::Value(_)) => return Err(ApiError::validation(text::KEY_NO_NAME)),
        (Operand::Value(_), _) => (mirrored(comparator), b, a),
        _ => (comparator, a, b),
    };
    if comparator == Comparator::NotEqual {
        return Err(operator(comparator.symbol()));
    }
    let (name, value) = (key_name(key)?, key_value(value)?);
    let test = match comparator {
        Comparator::Equal | Comparator::NotEqual => Test::Equal(value),
        Comparator::Less => Test::Range(RangeCondition::Less(value)),
        Comparator::LessOrEqual => Test::Range(RangeCondition::LessOrEqual(value)),
        Comparator::Greater => Test::Range(RangeCondition::Greater(value)),
        Comparator::GreaterOrEqual => Test::Range(RangeCondition::GreaterOrEqual(value)),
    };
    Ok((name, test))
}

/// The comparator that says the same with its operands exchanged.
fn mirrored(comparator: Comparator) -> Comparator {
    match comparator {
        Comparator::Less => Comparator::Greater,
        Comparator::LessOrEqual => Comparator::GreaterOrEqual,
        Comparator::Greater => Comparator::Less,
        Comparator::GreaterOrEqual => Comparator::LessOrEqual,
        Comparator::Equal | Comparator::NotEqual => comparator,
    }
}

/// The first operand of `BETWEEN` and `begins_with`: it must be the key attribute.
fn key_first(operator: &str, operand: Operand) -> Result<String, ApiError> {
    match operand {
        Operand::Value(_) => Err(ApiError::validation(text::key_operand_first(operator))),
        other => key_name(other),
    }
}

fn key_name(operand: Operand) -> Result<String, ApiError> {
    match operand {
        Operand::Path(path) if path.is_top_level() => Ok(path.root),
        Operand::Path(_) => Err(invalid(Kind::KeyCondition, text::KEY_NESTED_ATTRIBUTE)),
        Operand::Size(_) => Err(ApiError::validation(text::KEY_NESTED_OPERATION)),
        Operand::Value(_) => Err(ApiError::validation(text::KEY_NO_NAME)),
    }
}

fn key_value(operand: Operand) -> Result<Value, ApiError> {
    match operand {
        Operand::Value(value) => Ok(value),
        Operand::Path(_) => Err(ApiError::validation(text::KEY_MULTIPLE_NAMES)),
        Operand::Size(_) => Err(ApiError::validation(text::KEY_NESTED_OPERATION)),
    }
}

/// A value of the attribute's type that is not empty.
fn checked(attribute: &KeyAttribute, index: Option<&str>, value: &Value) -> Result<Value, ApiError> {
    check_kind(attribute, value)?;
    if value.as_ref().payload().is_empty() {
        let kind = if attribute.kind == ScalarType::B {
            "binary"
        } else {
            "string"
        };
        return Err(ApiError::validation(match index {
            Some(index) => message::index_key_empty(kind, index, &attribute.name),
            None => message::key_empty(kind, &attribute.name),
        }));
    }
    Ok(value.clone())
}

/// Values of several attributes count together, as in keys.
fn check_sizes(hash: &[Value], fixed: &[Value], rest: Option<&RangeCondition>) -> Result<(), ApiError> {
    use RangeCondition::{BeginsWith, Between, Greater, GreaterOrEqual, Less, LessOrEqual};
    let size = |value: &Value| value.as_ref().size();
    let rest = match rest {
        None => 0,
        Some(Less(value) | LessOrEqual(value) | Greater(value) | GreaterOrEqual(value) | BeginsWith(value)) => {
            size(value)
        }
        Some(Between(low, high)) => size(low).max(size(high)),
    };
    if hash.iter().map(size).sum::<u64>() > PARTITION_KEY_BYTES_MAX {
        return Err(ApiError::validation(message::PARTITION_KEY_TOO_LARGE));
    }
    if fixed.iter().map(size).sum::<u64>() + rest > SORT_KEY_BYTES_MAX {
        return Err(ApiError::validation(message::SORT_KEY_TOO_LARGE));
    }
    Ok(())
}

fn check_kind(attribute: &KeyAttribute, value: &Value) -> Result<(), ApiError> {
    let wanted = match attribute.kind {
        ScalarType::S => ValueType::S,
        ScalarType::N => ValueType::N,
        ScalarType::B => ValueType::B,
    };
    if value.as_ref().kind() == wanted {
        return Ok(());
    }
    Err(ApiError::validation(text::KEY_CONDITION_TYPE))
}

fn checked_range(
    attribute: &KeyAttribute,
    index: Option<&str>,
    condition: &RangeCondition,
) -> Result<RangeCondition, ApiError> {
    use RangeCondition::{BeginsWith, Between, Greater, GreaterOrEqual, Less, LessOrEqual};
    match condition {
        Less(value) | LessOrEqual(value) | Greater(value) | GreaterOrEqual(value) => {
            checked(attribute, index, value)?;
        }
        BeginsWith(value) => {
            checked(attribute, index, value)?;
        }
        Between(low, high) => {
            checked(attribute, index, low)?;
            checked(attribute, index, high)?;
        }
    }
    Ok(condition.clone())
}
