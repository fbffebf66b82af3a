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

/// A name of a table or index.
pub fn check_name(constraints: &mut Constraints, member: &str, name: &str) {
    if !name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
    {
        constraints.fail(format_args!("'{name}'"), member, NAME_PATTERN);
    }
    constraints.length(member, name, name.chars().count(), NAME_CHARS_MIN, NAME_CHARS_MAX);
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

/// `ResourceArn`.
pub fn resource_arn(constraints: &mut Constraints, value: Option<Text>) -> Option<String> {
    let arn = constraints.required("resourceArn", value)?.0;
    constraints.length("resourceArn", &arn, arn.len(), 1, RESOURCE_ARN_CHARS_MAX);
    Some(arn)
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
    if !arn.starts_with(ARN_PREFIX) {
        return Err(ApiError::validation(message::ARN_PREFIX_MISSING));
    }
    let invalid = || ApiError::validation(message::resource_arn_invalid(arn));
    let mut parts = arn.splitn(6, ':');
    let fields = [(); 6].map(|()| parts.next());
    let [
        Some("arn"),
        Some(_),
        Some(service),
        Some(region),
        Some(account),
        Some(resource),
    ] = fields
    else {
        return Err(invalid());
    };
    if service != "dynamodb" || account != &*call.account.id {
        return Err(ApiError::new(
            ErrorCode::AccessDenied,
            format!(
                "User: arn:aws:iam::{}:root is not authorized to access the resource: {arn}",
                call.account.id
            ),
        ));
    }
    let name = resource.strip_prefix("table/").filter(|name| !name.contains('/'));
    name.filter(|_| region == call.region).ok_or_else(invalid)
}
