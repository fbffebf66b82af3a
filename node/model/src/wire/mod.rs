//! Attribute values as they come in a request body: parsed into stored form, with a semantic error kept for later.
//!
//! A body whose JSON does not have the shape of the API fails to deserialise at once (`SerializationException`). A
//! value of the right shape that is not acceptable (an empty set, a number out of range) must wait for its turn in
//! DynamoDB's order of validation (`ValidationException`): the first such error is kept beside or instead of the
//! result and comes out when the operation asks for the item or value.

mod read;
mod reader;

pub use read::NAME_BYTES_END;

use serde::de::{Deserialize, DeserializeSeed, Deserializer};

use crate::error::ApiError;
use crate::item::Item;
use crate::json::Class;
use crate::value::Value;

/// An item, a key or any other map of attribute values, in stored form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireItem(Result<Item, Box<ApiError>>);

/// One attribute value in stored form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireValue(Result<Value, Box<ApiError>>);

impl Class for WireValue {
    fn class() -> String {
        "com.amazonaws.dynamodb.v20120810.AttributeValue".to_owned()
    }
}

impl WireItem {
    /// The item, or what is wrong with it.
    pub fn item(&self) -> Result<&Item, &ApiError> {
        self.0.as_ref().map_err(|error| &**error)
    }

    /// The item, or what is wrong with it.
    pub fn into_item(self) -> Result<Item, ApiError> {
        self.0.map_err(|error| *error)
    }
}

impl WireValue {
    /// The value, or what is wrong with it.
    pub fn value(&self) -> Result<&Value, &ApiError> {
        self.0.as_ref().map_err(|error| &**error)
    }

    /// The value, or what is wrong with it.
    pub fn into_value(self) -> Result<Value, ApiError> {
        self.0.map_err(|error| *error)
    }
}

impl From<Item> for WireItem {
    fn from(item: Item) -> Self {
        Self(Ok(item))
    }
}

impl From<Value> for WireValue {
    fn from(value: Value) -> Self {
        Self(Ok(value))
    }
}

impl<'de> Deserialize<'de> for WireItem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut reader = reader::Reader::default();
        read::ItemSeed(&mut reader).deserialize(deserializer)?;
        Ok(Self(reader.finish_item()))
    }
}

impl<'de> Deserialize<'de> for WireValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut reader = reader::Reader::default();
        read::ValueSeed(&mut reader).deserialize(deserializer)?;
        Ok(Self(reader.finish_value()))
    }
}

#[cfg(test)]
mod tests;
