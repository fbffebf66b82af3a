//! Names and ARNs of tables.

use partita_model::error::{ApiError, ErrorCode};
use partita_model::json::Text;
use partita_model::message::table as message;

use super::super::Call;
use super::super::constraint::Constraints;

const NAME_PATTERN: &str = "Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+";
/// Of tables and indexes.
const NAME_CHARS_MIN: usize = 3;
/// Of tables and indexes.
const NAME_CHARS_MAX: usize = 255;
/// Of a `TableName` that is an ARN.
const TABLE_ARN_CHARS_MAX: usize = 1024;
/// Of a `ResourceArn`.
const RESOURCE_ARN_CHARS_MAX: usize = 1283;
const ARN_PREFIX: &str = "arn:";

/// `arn:aws:dynamodb:region:account:table/name`
pub fn table_arn(region: &str, account: &str, name: &str) -> String {
    format!("arn:aws:dynamodb:{region}:{account}:table/{name}")
}

/// What CreateTable says of a missing `TableName` before it looks at anything else.
pub fn check_named(value: &Option<Text>) -> Result<(), ApiError> {
    match value {
        Some(_) => Ok(()),
        None => Err(ApiError::validation(message::TABLE_NAME_MISSING)),
    }
}

/// What the operations on tables that are there say of a `TableName` before they look at anything else.
pub fn check_named_table(value: &Option<Text>) -> Result<(), ApiError> {
    check_named(value)?;
    let fits =
        |name: &Text| name.starts_with(ARN_PREFIX) || (NAME_CHARS_MIN..=NAME_CHARS_MAX).contains(&name.chars().count());
    if value.as_ref().is_some_and(fits) {
        Ok(())
    } else {
        Err(ApiError::validation(message::TABLE_NAME_LENGTH))
    }
}

/// A name of a table or index.
pub fn check_name(constraints: &mut Constraints, member: &str, name: &str) {
    if !has_name_pattern(name) {
        constraints.fail(format_args!("'{name}'"), member, NAME_PATTERN);
    }
    constraints.length(member, name, name.chars().count(), NAME_CHARS_MIN, NAME_CHARS_MAX);
}

/// Whether a text is one or more of the characters of names.
fn has_name_pattern(name: &str) -> bool {
    let of_names = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    !name.is_empty() && name.bytes().all(of_names)
}

/// Whether a text can be the name, or the ARN, of a table in a batch.
pub fn can_name_table(name: &str) -> bool {
    let fits = has_name_pattern(name) && (NAME_CHARS_MIN..=NAME_CHARS_MAX).contains(&name.len());
    fits || (name.starts_with(ARN_PREFIX) && name.len() <= TABLE_ARN_CHARS_MAX)
}

/// What the name of every table in a batch must be.
pub fn batch_names_must() -> String {
    format!(
        "Map keys must satisfy constraint: [Member must have length less than or equal to {NAME_CHARS_MAX}, Member \
         must have length greater than or equal to {NAME_CHARS_MIN}, {NAME_PATTERN}]"
    )
}

/// `TableName`: a name or an ARN.
pub fn table_name(constraints: &mut Constraints, value: Option<Text>) -> Option<String> {
    let name = constraints.required("tableName", value)?.0;
    if name.is_empty() || name.starts_with(ARN_PREFIX) {
        constraints.length("tableName", &name, name.len(), 1, TABLE_ARN_CHARS_MAX);
    } else {
        check_name(constraints, "tableName", &name);
    }
    Some(name)
}

/// `ResourceArn`; that it is missing is told before anything else.
pub fn resource_arn(constraints: &mut Constraints, value: Option<Text>) -> Result<String, ApiError> {
    let arn = value.map(|arn| arn.0).filter(|arn| !arn.is_empty());
    let arn = arn.ok_or_else(|| ApiError::validation(message::ARN_MISSING))?;
    constraints.length("resourceArn", &arn, arn.len(), 1, RESOURCE_ARN_CHARS_MAX);
    Ok(arn)
}

/// The table that a `TableName` means.
pub fn named_table<'a, B>(call: &Call<'_, B>, name: &'a str) -> Result<&'a str, ApiError> {
    if name.starts_with(ARN_PREFIX) {
        table_of_arn(call, name)
    } else {
        Ok(name)
    }
}

/// The table that an ARN means: one of this account and region.
pub fn table_of_arn<'a, B>(call: &Call<'_, B>, arn: &'a str) -> Result<&'a str, ApiError> {
    let invalid = || ApiError::validation(message::resource_arn_invalid(arn));
    let mut parts = arn.splitn(6, ':');
    let fields = [(); 6].map(|()| parts.next());
    let [
        Some("arn"),
        Some("aws"),
        Some("dynamodb"),
        Some(region),
        Some(account),
        Some(resource),
    ] = fields
    else {
        return Err(invalid());
    };
    if account != &*call.account.id {
        return Err(ApiError::new(
            ErrorCode::AccessDenied,
            format!(
                "User: arn:aws:iam::{}:root is not authorized to access the resource: {arn}",
                call.account.id
            ),
        ));
    }
    let name = resource
        .strip_prefix("table/")
        .filter(|name| !name.is_empty() && !name.contains('/'));
    name.filter(|_| region == call.region).ok_or_else(invalid)
}
