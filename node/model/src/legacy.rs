//! The legacy parameters of the same API version, translated into the same resolved programs as expressions.
//!
//! Source of the rules: "Legacy conditional parameters", Amazon DynamoDB Developer Guide, and the API reference.

use crate::error::ApiError;
use crate::expression::{Condition, KeyCondition, Projection, Update};
use crate::value::ValueRef;

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
    let _ = (entries, operator);
    Err(ApiError::validation("expressions are being built"))
}

/// `QueryFilter` or `ScanFilter` with `ConditionalOperator`.
pub fn filter(entries: &[Comparison<'_>], operator: Option<ConditionalOperator>) -> Result<Condition, ApiError> {
    let _ = (entries, operator);
    Err(ApiError::validation("expressions are being built"))
}

/// `KeyConditions`.
pub fn key_conditions(entries: &[Comparison<'_>]) -> Result<KeyCondition, ApiError> {
    let _ = entries;
    Err(ApiError::validation("expressions are being built"))
}

/// `AttributeUpdates`.
pub fn attribute_updates(entries: &[AttributeUpdate<'_>]) -> Result<Update, ApiError> {
    let _ = entries;
    Err(ApiError::validation("expressions are being built"))
}

/// `AttributesToGet`.
pub fn attributes_to_get(names: &[&str]) -> Result<Projection, ApiError> {
    let _ = names;
    Err(ApiError::validation("expressions are being built"))
}
