//! What the operations on tables share.
//!
//! 1. `members`: members that several operations have: their shapes, constraints and meaning;
//! 2. `resource`: names and ARNs;
//! 3. `description`: a table as the API shows it.

pub mod description;
pub mod members;
pub mod resource;

use partita_model::error::{ApiError, ErrorCode};
use serde_json::Value;

use super::Answer;

/// A finished answer.
pub fn answer(value: &Value) -> Answer {
    serde_json::to_vec(value).map_err(|error| ApiError::new(ErrorCode::InternalServerError, error.to_string()))
}
