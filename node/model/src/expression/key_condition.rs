//! Key conditions: which rows a Query wants.

use super::Placeholders;
use crate::error::ApiError;
use crate::schema::KeySchema;
use crate::value::Value;

/// A parsed key condition, before it is matched with a key schema.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyCondition {}

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

/// A key condition that fits a key schema: the types are right, the values are not empty.
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
        let _ = (text, placeholders);
        Err(ApiError::validation("expressions are being built"))
    }

    /// Matches it with the keys of the table or index.
    pub fn resolve(&self, keys: &KeySchema) -> Result<KeyQuery, ApiError> {
        let _ = keys;
        Err(ApiError::validation("expressions are being built"))
    }
}
