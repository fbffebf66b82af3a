//! DynamoDB's message texts, in one table: people's code matches on them.
//!
//! A text without arguments is a constant; one with arguments is a function that returns the finished text.

/// `GetItem` and friends on a table that does not exist.
pub const TABLE_NOT_FOUND: &str = "Requested resource not found";
/// A condition that did not hold.
pub const CONDITION_FAILED: &str = "The conditional request failed";

/// DescribeTable, UpdateTable and DeleteTable on a table that does not exist.
pub fn table_not_found(name: &str) -> String {
    format!("Requested resource not found: Table: {name} not found")
}
