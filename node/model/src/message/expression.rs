//! Texts of expressions and of the legacy parameters.
//!
//! What is wrong with an expression is said after "Invalid …Expression: "; [`invalid`] puts it in front.

use std::fmt::Display;

/// Something is wrong with the expression in that parameter.
pub fn invalid(parameter: &str, what: impl Display) -> String {
    format!("Invalid {parameter}: {what}")
}

// ---- Parameters ----

/// Expressions and older parameters in one request.
pub fn mixed(others: &str, expressions: &str) -> String {
    format!(
        "Can not use both expression and non-expression parameters in the same request: Non-expression parameters: \
         {{{others}}} Expression parameters: {{{expressions}}}"
    )
}

/// Names without an expression.
pub const NAMES_ALONE: &str = "ExpressionAttributeNames can only be specified when using expressions";
/// Values in an operation that has no expression for them.
pub const VALUES_ALONE: &str = "ExpressionAttributeValues can only be specified when using expressions";
/// `ExpressionAttributeNames: {}`.
pub const NAMES_EMPTY: &str = "ExpressionAttributeNames must not be empty";
/// `ExpressionAttributeValues: {}`.
pub const VALUES_EMPTY: &str = "ExpressionAttributeValues must not be empty";

/// Values without an expression that could use them.
pub fn values_alone(parameters: &str, verb: &str) -> String {
    format!("{VALUES_ALONE}: {parameters} {verb} null")
}

/// A name or value whose key is not `#name` or `:name`.
pub fn key_syntax(parameter: &str, key: &str) -> String {
    format!("{parameter} contains invalid key: Syntax error; key: \"{key}\"")
}

/// A name's or value's key of more than 255 bytes.
pub fn key_too_long(parameter: &str, key: &str) -> String {
    format!(
        "{parameter} contains invalid key: The expression attribute map contains a key that is too long; key: \"{key}\""
    )
}

/// An attribute name that cannot be.
pub fn name_invalid(key: &str, what: &str) -> String {
    format!("ExpressionAttributeNames contains invalid value: {what} for key {key}")
}

/// An attribute value that cannot be.
pub fn value_invalid(key: &str, what: &str) -> String {
    format!("ExpressionAttributeValues contains invalid value: {what} for key {key}")
}

/// More names and values than a request may have.
pub const PLACEHOLDERS_TOO_LARGE: &str =
    "The total size of ExpressionAttributeNames and ExpressionAttributeValues has exceeded the maximum allowed size";

/// Names or values nobody used.
pub fn unused(parameter: &str, keys: &str) -> String {
    format!("Value provided in {parameter} unused in expressions: keys: {{{keys}}}")
}

// ---- Any expression ----

/// Nothing but blanks.
pub const EMPTY: &str = "The expression can not be empty;";
/// `((a))`
pub const REDUNDANT_PARENTHESES: &str = "The expression has redundant parentheses;";

/// An expression that is too long.
pub fn too_long(bytes: Option<usize>) -> String {
    const TEXT: &str = "Expression size has exceeded the maximum allowed size;";
    bytes.map_or_else(|| TEXT.to_owned(), |bytes| format!("{TEXT} expression size: {bytes}"))
}

/// Too many operators and functions. DynamoDB stops counting at the first that is too much.
pub fn too_many_operators(count: usize) -> String {
    format!("The expression contains too many operators; operator count: {count}")
}

/// A token that cannot stand there.
pub fn syntax(token: &str, near: &str) -> String {
    format!("Syntax error; token: \"{token}\", near: \"{near}\"")
}

/// A word that needs a `#name`.
pub fn reserved(word: &str) -> String {
    format!("Attribute name is a reserved keyword; reserved keyword: {word}")
}

/// `#name` without a name.
pub fn name_undefined(key: &str) -> String {
    format!("An expression attribute name used in the document path is not defined; attribute name: {key}")
}

/// `:value` without a value.
pub fn value_undefined(key: &str) -> String {
    format!("An expression attribute value used in expression is not defined; attribute value: {key}")
}

/// A path of more than 32 elements.
pub fn path_too_deep(levels: usize) -> String {
    format!("The document path has too many nesting elements; nesting levels: {levels}")
}

/// A list index that no list can have.
pub fn index_too_large(index: &str) -> String {
    format!("List index is not within the allowable range; index: [{index}]")
}

/// A path below another.
pub fn paths_overlap(one: impl Display, two: impl Display) -> String {
    format!(
        "Two document paths overlap with each other; must remove or rewrite one of these paths; path one: {one}, path \
         two: {two}"
    )
}

/// The same place as a map and as a list.
pub fn paths_conflict(one: impl Display, two: impl Display) -> String {
    format!(
        "Two document paths conflict with each other; must remove or rewrite one of these paths; path one: {one}, path \
         two: {two}"
    )
}

// ---- Functions and operators ----

/// No such function.
pub fn function_unknown(name: &str) -> String {
    format!("Invalid function name; function: {name}")
}

/// A condition's function in an update.
pub fn function_not_in_update(name: &str) -> String {
    format!("The function is not allowed in an update expression; function: {name}")
}

/// An update's function in a condition.
pub fn function_not_in_condition(name: &str) -> String {
    format!("The function is not allowed in a condition expression; function: {name}")
}

/// A condition where an operand is expected, or the reverse.
pub fn function_misused(name: &str) -> String {
    format!("The function is not allowed to be used this way in an expression; function: {name}")
}

/// Too few or too many operands.
pub fn operand_count(name: &str, count: usize) -> String {
    format!(
        "Incorrect number of operands for operator or function; operator or function: {name}, number of operands: {count}"
    )
}

/// Too many values after `IN`.
pub fn in_operands(count: usize) -> String {
    format!("The IN operator is provided with too many operands; number of operands: {count}")
}

/// A value of a type that the operator or function does not take.
pub fn operand_type(name: &str, kind: &str) -> String {
    format!("Incorrect operand type for operator or function; operator or function: {name}, operand type: {kind}")
}

/// A value of a type that `ADD` or `DELETE` does not take.
pub fn section_operand_type(section: &str, kind: &str) -> String {
    format!(
        "Incorrect operand type for operator or function; operator: {section}, operand type: {kind}, typeSet: \
         ALLOWED_FOR_{section}_OPERAND"
    )
}

/// A value where only a path makes sense.
pub fn path_wanted(name: &str) -> String {
    format!("Operator or function requires a document path; operator or function: {name}")
}

/// `a = a`
pub fn operands_not_distinct(name: &str, path: impl Display) -> String {
    format!(
        "The first operand must be distinct from the remaining operands for this operator or function; operator: \
         {name}, first operand: {path}"
    )
}

/// `attribute_type(a, :x)` with something else than a type.
pub fn type_name(name: &str) -> String {
    format!("Invalid attribute type name found; type: {name}, valid types: {{B,NULL,SS,BOOL,L,BS,N,NS,S,M}}")
}

/// `BETWEEN` a larger and a smaller value.
pub fn between_order(low: &str, high: &str) -> String {
    format!(
        "The BETWEEN operator requires upper bound to be greater than or equal to lower bound; lower bound operand: \
         AttributeValue: {low}, upper bound operand: AttributeValue: {high}"
    )
}

/// `BETWEEN` values of different types.
pub fn between_types(low: &str, high: &str) -> String {
    format!(
        "The BETWEEN operator requires same data type for lower and upper bounds; lower bound operand: AttributeValue: \
         {low}, upper bound operand: AttributeValue: {high}"
    )
}

// ---- Key conditions and a Query's filter ----

/// An operator that a key condition does not know.
pub fn key_operator(name: &str) -> String {
    format!("Invalid operator used in KeyConditionExpression: {name}")
}

/// `size(a) = :v` and the like.
pub const KEY_NESTED_OPERATION: &str = "KeyConditionExpressions cannot contain nested operations";
/// `a.b = :v`
pub const KEY_NESTED_ATTRIBUTE: &str = "KeyConditionExpressions cannot have conditions on nested attributes";
/// Two conditions on one attribute.
pub const KEY_TWICE: &str = "KeyConditionExpressions must only contain one condition per key";
/// `a = b`
pub const KEY_MULTIPLE_NAMES: &str =
    "Invalid condition in KeyConditionExpression: Multiple attribute names used in one condition";
/// `:a = :b`
pub const KEY_NO_NAME: &str = "Invalid condition in KeyConditionExpression: No key attribute specified";
/// The partition key with something else than `=`, or a condition after one that is not `=`.
pub const KEY_NOT_SUPPORTED: &str = "Query key condition not supported";
/// A comparison that keys cannot be searched with (`KeyConditions`).
pub const KEY_NOT_INDEXABLE: &str = "Attempted conditional constraint is not an indexable operation";
/// A value of another type than the key attribute's.
pub const KEY_CONDITION_TYPE: &str =
    "One or more parameter values were invalid: Condition parameter type does not match schema type";

/// More conditions than a key has attributes.
pub fn key_condition_count(conditions: usize, attributes: usize) -> String {
    format!(
        "The number of query conditions ({conditions}) exceeds the number of key attributes defined in the schema \
         ({attributes})"
    )
}

/// `begins_with(:v, a)`, `:v BETWEEN a AND b`
pub fn key_operand_first(name: &str) -> String {
    format!(
        "Invalid condition in KeyConditionExpression: {name} operator must have the key attribute as its first operand"
    )
}

/// No condition on a key attribute that needs one.
pub fn key_missing_condition(name: &str) -> String {
    format!("Query condition missed key schema element: {name}")
}

/// A Query's filter on a key attribute.
pub fn filter_on_key(legacy: bool, name: &str) -> String {
    let filter = if legacy { "QueryFilter" } else { "Filter Expression" };
    format!("{filter} can only contain non-primary key attributes: Primary key attribute: {name}")
}

// ---- Updates ----

/// `SET … SET …`
pub fn section_twice(section: &str) -> String {
    format!("The \"{section}\" section can only be used once in an update expression;")
}

/// An update of a key attribute.
pub fn key_updated(name: &str) -> String {
    format!(
        "One or more parameter values were invalid: Cannot update attribute {name}. This attribute is part of the key"
    )
}

/// An operand that is not there.
pub const OPERAND_MISSING: &str = "The provided expression refers to an attribute that does not exist in the item";
/// A path whose parent is not there, or is neither map nor list as the path says.
pub const PATH_NOT_UPDATABLE: &str = "The document path provided in the update expression is invalid for update";
/// An operand (or the attribute itself) of a type that cannot be added, subtracted or appended.
pub const OPERAND_WRONG_TYPE: &str = "An operand in the update expression has an incorrect data type";

// ---- Legacy parameters ----

/// The words in front of most complaints.
pub fn invalid_parameter(what: impl Display) -> String {
    format!("One or more parameter values were invalid: {what}")
}

/// Too few or too many values for a ComparisonOperator.
pub fn argument_count(operator: &str) -> String {
    invalid_parameter(format_args!(
        "Invalid number of argument(s) for the {operator} ComparisonOperator"
    ))
}

/// A value of a type that a ComparisonOperator does not take.
pub fn argument_type(operator: &str, kind: &str) -> String {
    invalid_parameter(format_args!(
        "ComparisonOperator {operator} is not valid for {kind} AttributeValue type"
    ))
}

/// Values of several types for `IN` or `BETWEEN`.
pub const ARGUMENT_TYPES_DIFFER: &str =
    "One or more parameter values were invalid: AttributeValues inside AttributeValueList must be of same type";
/// `BETWEEN` a larger and a smaller value.
pub const ARGUMENTS_REVERSED: &str =
    "The BETWEEN condition was provided a range where the lower bound is greater than the upper bound";
/// `Action: ADD` of a type that cannot be added to the attribute that is there.
pub const ATTRIBUTE_TYPE_MISMATCH: &str = "Type mismatch for attribute to update";
/// `AttributeUpdates` without a value.
pub const ONLY_DELETE_WITHOUT_VALUE: &str =
    "One or more parameter values were invalid: Only DELETE action is allowed when no attribute value is specified";

/// `Action: ADD` of a type that cannot be added.
pub fn add_unsupported(kind: &str) -> String {
    invalid_parameter(format_args!("ADD action is not supported for the type {kind}"))
}

/// `Action: DELETE` of a value that is no set.
pub fn delete_unsupported(kind: &str) -> String {
    invalid_parameter(format_args!(
        "DELETE action with value is not supported for the type {kind}"
    ))
}

/// `AttributesToGet` with the same name twice.
pub fn attribute_twice(name: &str) -> String {
    invalid_parameter(format_args!("Duplicate value in attribute name: {name}"))
}
