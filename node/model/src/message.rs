//! DynamoDB's message texts, in one table: people's code matches on them.
//!
//! A text without arguments is a constant; one with arguments is a function that returns the finished text.

pub mod data;
pub mod expression;
pub mod table;

/// `GetItem` and friends on a table that does not exist.
pub const TABLE_NOT_FOUND: &str = "Requested resource not found";
/// A condition that did not hold.
pub const CONDITION_FAILED: &str = "The conditional request failed";
/// An item collection of a table with local indexes would grow over its limit.
pub const COLLECTION_TOO_LARGE: &str = "Item collection size limit of 10 gigabytes exceeded.";

/// An operation that DynamoDB has.
pub fn operation_not_here(name: &str) -> String {
    format!("Partita does not have {name} yet")
}

/// DescribeTable, UpdateTable and DeleteTable on a table that does not exist.
pub fn table_not_found(name: &str) -> String {
    format!("Requested resource not found: Table: {name} not found")
}

// ---- JSON that does not have the API's shape: SerializationException (json, wire) ----

/// The body is not JSON: DynamoDB has the type of the error say it, without a message.
pub const BODY_NOT_JSON: &str = "";
/// Two members, attributes or map entries of the same name.
pub const DUPLICATE_ATTRIBUTE: &str = "Duplicate field found in the request body";
/// A scalar (or a wrong one) where a structure is expected.
pub const UNEXPECTED_VALUE: &str = "Unexpected value type in payload";
/// A scalar where a list or map is expected.
pub const UNEXPECTED_FIELD: &str = "Unexpected field type";
/// A string where a boolean is expected.
pub const UNEXPECTED_TOKEN: &str = "Unexpected token received from parser";
/// An object where a scalar or list is expected.
pub const UNEXPECTED_MAP: &str = "Start of structure or map found where not expected";
/// Something that is not a string where a binary is expected.
pub const BASE64_WANTED: &str = "only base-64-encoded strings are convertible to bytes";
/// Base64 whose last character has bits that mean nothing. (The spelling is DynamoDB's.)
pub const BASE64_LAST: &str = "Invalid last non-pad Base64 character dectected";
/// A character that base64 does not have.
pub const BASE64_CHARACTER: &str = "Invalid Base64 character";

/// A list where `class` is expected.
pub fn unexpected_list(class: &str) -> String {
    format!("Unrecognized collection type {class}")
}

/// A scalar of one kind where another is expected.
pub fn cannot_be_converted(token: &str, class: &str) -> String {
    format!("{token} cannot be converted to {class}")
}

/// Base64 of a length that is not a multiple of four.
pub fn base64_length(length: usize) -> String {
    format!("Base64 encoded length is expected a multiple of 4 bytes but found: {length}")
}

// ---- Attribute values (wire, number, value) ----

/// An attribute value without a type.
pub const VALUE_EMPTY: &str = "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes";
/// An attribute value with several types.
pub const VALUE_AMBIGUOUS: &str =
    "Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes";
/// `{"NULL": false}`.
pub const NULL_NOT_TRUE: &str =
    "One or more parameter values were invalid: Null attribute value types must have the value of true";
/// `{"SS": []}`.
pub const STRING_SET_EMPTY: &str = "One or more parameter values were invalid: An string set  may not be empty";
/// `{"NS": []}`.
pub const NUMBER_SET_EMPTY: &str = "One or more parameter values were invalid: An number set  may not be empty";
/// `{"BS": []}`.
pub const BINARY_SET_EMPTY: &str = "One or more parameter values were invalid: Binary sets should not be empty";
/// A number set with equal numbers.
pub const NUMBER_SET_DUPLICATES: &str = "Input collection contains duplicates";
/// More than 32 lists and maps inside each other.
pub const NESTING_TOO_DEEP: &str = "Nesting Levels have exceeded supported limits: Attributes in the item have nested \
     levels beyond supported limit";
/// An attribute, or an entry of a map, without a name.
pub const ATTRIBUTE_NAME_EMPTY: &str = "Empty attribute name";
/// An attribute's name of 64 KB or more.
pub const ATTRIBUTE_NAME_TOO_LONG: &str =
    "One or more parameter values were invalid: Attribute name is too large, must be less than 65536 bytes";
/// `{"N": ""}`.
pub const NUMBER_EMPTY: &str = "The parameter cannot be converted to a numeric value";
/// Beyond ±9.99…e125.
pub const NUMBER_OVERFLOW: &str =
    "Number overflow. Attempting to store a number with magnitude larger than supported range";
/// Closer to zero than 1e-130.
pub const NUMBER_UNDERFLOW: &str =
    "Number underflow. Attempting to store a number with magnitude smaller than supported range";
/// More than 38 significant digits.
pub const NUMBER_PRECISION: &str = "Attempting to store more than 38 significant digits in a Number";

/// Whether a text about an attribute value is about its shape or its size, not about its content: writes tell the
/// latter as a constraint that failed.
pub fn is_of_shape_or_size(text: &str) -> bool {
    [VALUE_EMPTY, VALUE_AMBIGUOUS, ITEM_TOO_LARGE].contains(&text)
}

/// `{"N": "text"}`.
pub fn not_a_number(text: &str) -> String {
    format!("The parameter cannot be converted to a numeric value: {text}")
}

/// A string set with equal strings.
pub fn string_set_duplicates(elements: impl Iterator<Item = String>) -> String {
    let elements: Vec<String> = elements.collect();
    format!(
        "One or more parameter values were invalid: Input collection [{}] contains duplicates.",
        elements.join(", ")
    )
}

/// A binary set with equal binaries, as base64.
pub fn binary_set_duplicates(elements: impl Iterator<Item = String>) -> String {
    let elements: Vec<String> = elements.collect();
    format!(
        "One or more parameter values were invalid: Input collection [{}]of type BS contains duplicates.",
        elements.join(", ")
    )
}

// ---- Keys (schema, key) ----

/// A `Key` that has not exactly the key attributes with their types.
pub const KEY_DOES_NOT_MATCH: &str = "The provided key element does not match the schema";
/// A partition key of more than 2048 bytes. (The missing space is DynamoDB's.)
pub const PARTITION_KEY_TOO_LARGE: &str =
    "One or more parameter values were invalid: Size of hashkey has exceeded the maximum size limit of2048 bytes";
/// A sort key of more than 1024 bytes.
pub const SORT_KEY_TOO_LARGE: &str = "One or more parameter values were invalid: Aggregated size of all range keys has exceeded the size limit of 1024 bytes";
/// PutItem of more than 400 KB.
pub const ITEM_TOO_LARGE: &str = "Item size has exceeded the maximum allowed size";
/// An update that makes an item larger than 400 KB.
pub const UPDATED_ITEM_TOO_LARGE: &str = "Item size to update has exceeded the maximum allowed size";
/// An update that gives an index's key attribute another type.
pub const INDEX_KEY_UPDATED_TYPE: &str =
    "The update expression attempted to update the secondary index key to unsupported type";

/// PutItem without a key attribute.
pub fn key_missing(name: &str) -> String {
    format!("One or more parameter values were invalid: Missing the key {name} in the item")
}

/// PutItem with a key attribute of another type.
pub fn key_type_mismatch(name: &str, expected: &str, actual: &str) -> String {
    format!(
        "One or more parameter values were invalid: Type mismatch for key {name} expected: {expected} actual: {actual}"
    )
}

/// An empty key attribute; `kind` is `string` or `binary`.
pub fn key_empty(kind: &str, name: &str) -> String {
    format!(
        "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty \
         {kind} value. Key: {name}"
    )
}

/// PutItem with an index's key attribute of another type.
pub fn index_key_type_mismatch(name: &str, expected: &str, actual: &str, index: &str) -> String {
    format!(
        "One or more parameter values were invalid: Type mismatch for Index Key {name} Expected: {expected} \
         Actual: {actual} IndexName: {index}"
    )
}

/// PutItem with an empty key attribute of an index; `kind` is `string` or `binary`.
pub fn index_key_empty(kind: &str, index: &str, name: &str) -> String {
    format!(
        "One or more parameter values are not valid. A value specified for a secondary index key is not supported. The \
         AttributeValue for a key attribute cannot contain an empty {kind} value. IndexName: {index}, IndexKey: {name}"
    )
}

/// An update that gives an index's key attribute an empty value; `kind` is `string` or `binary`.
pub fn index_key_updated_empty(kind: &str) -> String {
    format!(
        "One or more parameter values are not valid. The update expression attempted to update a secondary index key to \
         a value that is not supported. The AttributeValue for a key attribute cannot contain an empty {kind} value."
    )
}

/// An index's key attribute that is too large.
pub fn index_key_too_large(name: &str, actual: u64, max: u64, index: &str) -> String {
    format!(
        "One or more parameter values were invalid: Size limit exceeded for Index Key {name} Actual Size: {actual} bytes \
         Max Size: {max} bytes IndexName: {index}"
    )
}
