//! Condition, filter, key condition, projection and update expressions.
//!
//! The life of an expression:
//!
//! 1. [`check_parameters`] refuses a request that mixes expressions with the older parameters, or that has names or
//!    values without an expression that could use them.
//! 2. [`Placeholders`] holds `ExpressionAttributeNames` and `ExpressionAttributeValues`, and remembers which were used.
//! 3. `lexer` cuts the text into tokens; one parser for each kind ([`Condition::parse`], [`KeyCondition::parse`],
//!    [`Projection::parse`], [`Update::parse`]) turns them into a flat, resolved program.
//! 4. [`Placeholders::finish`], after all expressions of the request, reports what nobody used.
//! 5. The programs are evaluated over items in stored form: [`Condition::matches`], [`Projection::apply`],
//!    [`Update::apply`]. They cross processes (serde), so nothing in them nests.
//!
//! Source of the grammar: "Using expressions in DynamoDB", Amazon DynamoDB Developer Guide.

mod apply;
mod condition;
mod condition_parser;
mod findings;
mod function;
mod key_condition;
mod lexer;
mod path;
mod placeholders;
mod projection;
mod reserved;
mod update;
mod update_parser;

pub use condition::Condition;
pub(crate) use condition::{Operand, Operation};
pub(crate) use key_condition::Test;
pub use key_condition::{KeyCondition, KeyQuery, RangeCondition};
pub use lexer::Comparator;
pub use path::{Path, Step};
pub use placeholders::{Parameter, Placeholders, check_parameters};
pub use projection::Projection;
pub use update::Update;
pub(crate) use update::{Action, Change};

/// Which parameter an expression came in: the first words of its errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `ConditionExpression`.
    Condition,
    /// `FilterExpression` of a Query.
    Filter,
    /// `FilterExpression` of a Scan: the only one whose size is told when it is too large.
    ScanFilter,
    /// `KeyConditionExpression`.
    KeyCondition,
    /// `ProjectionExpression`.
    Projection,
    /// `UpdateExpression`.
    Update,
}

impl Kind {
    /// The parameter's name.
    pub fn parameter(self) -> &'static str {
        match self {
            Self::Condition => "ConditionExpression",
            Self::Filter | Self::ScanFilter => "FilterExpression",
            Self::KeyCondition => "KeyConditionExpression",
            Self::Projection => "ProjectionExpression",
            Self::Update => "UpdateExpression",
        }
    }
}

/// Gives `text` to every parser: what a fuzzer calls. Whatever it is, the answer is a program or an error.
pub fn fuzz(text: &str) {
    let value = crate::value::Value::number(1.into());
    let values = [(":v", Ok(value.as_ref())), (":w", Ok(value.as_ref()))];
    let Ok(placeholders) = Placeholders::new(Some([("#n", "name")]), Some(values)) else {
        return;
    };
    let item = crate::item::Item::from_attributes([("a", value.as_ref()), ("name", value.as_ref())]);
    if let Ok(condition) = Condition::parse(Kind::Condition, text, &placeholders) {
        condition.matches(Some(item.as_ref()));
    }
    if let Ok(projection) = Projection::parse(text, &placeholders) {
        projection.apply(item.as_ref());
    }
    if let Ok(update) = Update::parse(text, &placeholders) {
        // An update may be refused by the item; only a panic would be a finding.
        drop(update.apply(Some(item.as_ref()), item.as_ref()));
    }
    drop(KeyCondition::parse(text, &placeholders));
    drop(placeholders.finish());
}

#[cfg(test)]
mod tests;
