//! Request bodies: JSON text to typed requests, with DynamoDB's `SerializationException` texts.
//!
//! 1. An operation declares its parameters as a struct that derives `Deserialize`, `rename_all = "PascalCase"`, of
//!    `Option`s of the types in this module ([`Text`], [`Int`], [`Long`], [`Double`], [`Bool`], [`List`], [`Map`],
//!    [`Structure`]) and of [`crate::wire::WireItem`] and [`crate::wire::WireValue`]. An absent member and an explicit
//!    `null` are both `None`; unknown members are ignored.
//! 2. [`decode`] reads a body into it. A wrong type is a `SerializationException` with DynamoDB's words.
//!
//! Nothing here recurses deeper than the declared types do: unknown members are skipped without recursion, attribute
//! values end at their 32 levels.

pub mod shape;
mod types;

use serde::de::DeserializeOwned;
use serde_json::error::Category;

pub use types::{Bool, Class, Double, Int, List, Long, Map, Structure, Text};

use crate::error::{ApiError, ErrorCode};
use crate::message;

/// Reads a request body.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice::<Structure<T>>(body)
        .map(|structure| structure.0)
        .map_err(|error| ApiError::new(ErrorCode::Serialization, text_of(&error)))
}

/// What a client is told: DynamoDB's words for a wrong type, one sentence for everything that is no JSON at all.
fn text_of(error: &serde_json::Error) -> String {
    match error.classify() {
        Category::Syntax | Category::Eof | Category::Io => message::BODY_NOT_JSON.to_owned(),
        Category::Data => {
            let text = error.to_string();
            // serde_json appends where in the text it was.
            let place = format!(" at line {} column {}", error.line(), error.column());
            let text = text.strip_suffix(place.as_str()).unwrap_or(&text);
            if text.starts_with("invalid type") || text.starts_with("invalid length") {
                message::UNEXPECTED_VALUE.to_owned()
            } else if text.starts_with("duplicate field") {
                message::DUPLICATE_ATTRIBUTE.to_owned()
            } else {
                text.to_owned()
            }
        }
    }
}

#[cfg(test)]
mod tests;
