//! `ExpressionAttributeNames` and `ExpressionAttributeValues`: checked, looked up, and accounted for.

use std::cell::Cell;

use super::lexer::is_word;
use crate::error::ApiError;
use crate::message::{NESTING_TOO_DEEP, expression as text};
use crate::value::ValueRef;

/// The longest `#name` or `:value` ("Constraints in Amazon DynamoDB").
const KEY_BYTES_MAX: usize = 255;
/// The longest attribute name.
const NAME_BYTES_MAX: usize = 65_535;
/// All names and values of a request together.
const TOTAL_BYTES_MAX: usize = 2 * 1024 * 1024;

/// A parameter of an operation and whether the request has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter {
    /// Its name, as in the request.
    pub name: &'static str,
    /// Whether the request has it.
    pub given: bool,
}

impl Parameter {
    /// Names a parameter; the request has it when `value` is `Some`.
    pub fn new<T>(name: &'static str, value: &Option<T>) -> Self {
        Self {
            name,
            given: value.is_some(),
        }
    }
}

/// Refuses a mix of expression and non-expression parameters, and names or values that no expression could use.
///
/// `expressions` and `others` are all parameters of the operation of either kind, in the order in which errors name
/// them.
pub fn check_parameters(
    expressions: &[Parameter],
    others: &[Parameter],
    names_given: bool,
    values_given: bool,
) -> Result<(), ApiError> {
    let any = |parameters: &[Parameter]| parameters.iter().any(|p| p.given);
    if any(expressions) && any(others) {
        return Err(ApiError::validation(text::mixed(
            &joined(others.iter().filter(|p| p.given).map(|p| p.name), ", "),
            &joined(expressions.iter().filter(|p| p.given).map(|p| p.name), ", "),
        )));
    }
    if names_given && !any(expressions) {
        return Err(ApiError::validation(text::NAMES_ALONE));
    }
    let with_values = || expressions.iter().filter(|p| p.name != "ProjectionExpression");
    if values_given && !with_values().any(|p| p.given) {
        let verb = match with_values().count() {
            0 => return Err(ApiError::validation(text::VALUES_ALONE)),
            1 => "is",
            _ => "are",
        };
        let parameters = joined(with_values().map(|p| p.name), " and ");
        return Err(ApiError::validation(text::values_alone(&parameters, verb)));
    }
    Ok(())
}

/// The names and values that a request's expressions may refer to.
#[derive(Debug, Default)]
pub struct Placeholders<'a> {
    names: Vec<Placeholder<'a, &'a str>>,
    values: Vec<Placeholder<'a, ValueRef<'a>>>,
}

#[derive(Debug)]
struct Placeholder<'a, T> {
    key: &'a str,
    stands_for: T,
    used: Cell<bool>,
}

impl<'a> Placeholders<'a> {
    /// Checks and holds the names (`#n` → name) and the values (`:v` → value, or what is wrong with it, as the message
    /// without "ExpressionAttributeValues contains invalid value: "). `None` where the request has none. All keys of a
    /// kind are checked before what they stand for (ExtendDB/extenddb#201).
    pub fn new<N, V>(names: Option<N>, values: Option<V>) -> Result<Self, ApiError>
    where
        N: IntoIterator<Item = (&'a str, &'a str), IntoIter: Clone>,
        V: IntoIterator<Item = (&'a str, Result<ValueRef<'a>, &'a str>), IntoIter: Clone>,
    {
        let mut placeholders = Self::default();
        let mut bytes = 0;
        if let Some(names) = names {
            let names = names.into_iter();
            for (key, _) in names.clone() {
                check_key("ExpressionAttributeNames", b'#', key)?;
            }
            for (key, name) in names {
                bytes += key.len() + name.len();
                placeholders.add_name(key, name)?;
            }
            if placeholders.names.is_empty() {
                return Err(ApiError::validation(text::NAMES_EMPTY));
            }
        }
        if let Some(values) = values {
            let values = values.into_iter();
            for (key, _) in values.clone() {
                check_key("ExpressionAttributeValues", b':', key)?;
            }
            for (key, value) in values {
                bytes += key.len() + value.map_or(0, |value| value.bytes().len());
                placeholders.add_value(key, value)?;
            }
            if placeholders.values.is_empty() {
                return Err(ApiError::validation(text::VALUES_EMPTY));
            }
        }
        if bytes > TOTAL_BYTES_MAX {
            return Err(ApiError::validation(text::PLACEHOLDERS_TOO_LARGE));
        }
        Ok(placeholders)
    }

    fn add_name(&mut self, key: &'a str, name: &'a str) -> Result<(), ApiError> {
        let wrong = match name.len() {
            0 => Some(crate::message::ATTRIBUTE_NAME_EMPTY),
            1..=NAME_BYTES_MAX => None,
            _ => Some(crate::message::ATTRIBUTE_NAME_TOO_LONG),
        };
        if let Some(wrong) = wrong {
            return Err(ApiError::validation(text::name_invalid(key, wrong)));
        }
        self.names.push(Placeholder {
            key,
            stands_for: name,
            used: Cell::new(false),
        });
        Ok(())
    }

    fn add_value(&mut self, key: &'a str, value: Result<ValueRef<'a>, &'a str>) -> Result<(), ApiError> {
        let value = value.map_err(|wrong| {
            // That a value is too deep is said of items and of expressions' values alike.
            ApiError::validation(match wrong {
                NESTING_TOO_DEEP => NESTING_TOO_DEEP.to_owned(),
                wrong => text::value_invalid(key, wrong),
            })
        })?;
        self.values.push(Placeholder {
            key,
            stands_for: value,
            used: Cell::new(false),
        });
        Ok(())
    }

    /// What `#name` stands for; it counts as used.
    pub(super) fn name(&self, key: &str) -> Option<&'a str> {
        find(&self.names, key)
    }

    /// What `:value` stands for; it counts as used.
    pub(super) fn value(&self, key: &str) -> Option<ValueRef<'a>> {
        find(&self.values, key)
    }

    /// Reports names, then values, that no expression used. Call it after all expressions have been parsed.
    pub fn finish(&self) -> Result<(), ApiError> {
        check_used("ExpressionAttributeNames", &self.names)?;
        check_used("ExpressionAttributeValues", &self.values)
    }
}

fn find<T: Copy>(placeholders: &[Placeholder<'_, T>], key: &str) -> Option<T> {
    let found = placeholders.iter().find(|p| p.key == key)?;
    found.used.set(true);
    Some(found.stands_for)
}

fn check_key(parameter: &str, sign: u8, key: &str) -> Result<(), ApiError> {
    if key.len() > KEY_BYTES_MAX {
        return Err(ApiError::validation(text::key_too_long(parameter, key)));
    }
    match key.as_bytes() {
        [first, rest @ ..] if *first == sign && !rest.is_empty() && rest.iter().all(|b| is_word(*b)) => Ok(()),
        _ => Err(ApiError::validation(text::key_syntax(parameter, key))),
    }
}

fn check_used<T>(parameter: &str, placeholders: &[Placeholder<'_, T>]) -> Result<(), ApiError> {
    if placeholders.iter().all(|p| p.used.get()) {
        return Ok(());
    }
    let keys = joined(placeholders.iter().filter(|p| !p.used.get()).map(|p| p.key), ", ");
    Err(ApiError::validation(text::unused(parameter, &keys)))
}

fn joined<'t>(texts: impl Iterator<Item = &'t str>, separator: &str) -> String {
    texts.collect::<Vec<_>>().join(separator)
}
