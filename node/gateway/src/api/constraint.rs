//! Constraints of the API's model, checked before anything else: all that fail are told at once.
//!
//! "2 validation errors detected: Value null at 'key' failed to satisfy constraint: Member must not be null; …"
//!
//! PutItem and DeleteItem tell what is wrong with the table's name without what is wrong with how to answer
//! ([`Constraints::tell_if`]); UpdateItem tells the first only, in the order of the API's model. All three say the same
//! words in front of what is wrong with their expressions and their older equivalents ([`detected`]).

use std::fmt::Display;

use partita_model::error::{ApiError, ErrorCode};
use partita_model::message::is_of_shape_or_size;

/// DynamoDB tells at most so many.
const TOLD_MAX: usize = 10;

/// What has failed so far.
#[derive(Debug)]
pub struct Constraints {
    failed: Vec<String>,
    told_max: usize,
}

impl Default for Constraints {
    fn default() -> Self {
        Self {
            failed: Vec::new(),
            told_max: TOLD_MAX,
        }
    }
}

/// What is wrong with a request beside its constraints, said as a constraint that failed.
pub fn detected(error: ApiError) -> ApiError {
    match error.code {
        ErrorCode::Validation => ApiError::validation(format!("1 validation error detected: {}", error.message)),
        _ => error,
    }
}

/// What is wrong with a value of a write: its content is told as a constraint that failed, its shape and size as they are.
pub fn detected_value(error: ApiError) -> ApiError {
    if is_of_shape_or_size(&error.message) {
        error
    } else {
        detected(error)
    }
}

impl Constraints {
    /// Nothing has failed yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Nothing has failed yet; only the first that does will be told.
    pub fn first_only() -> Self {
        Self {
            told_max: 1,
            ..Self::default()
        }
    }

    /// One that failed: the value as it is shown (`'x'` or `null`), the member's path, and what it must be.
    pub fn fail(&mut self, shown: impl Display, member: impl Display, must: impl Display) {
        self.note(format!(
            "Value {shown} at '{member}' failed to satisfy constraint: {must}"
        ));
    }

    /// One that failed whose value DynamoDB does not show.
    pub fn fail_unshown(&mut self, member: impl Display, must: impl Display) {
        self.note(format!("Value at '{member}' failed to satisfy constraint: {must}"));
    }

    fn note(&mut self, text: String) {
        if self.failed.len() < self.told_max {
            self.failed.push(text);
        }
    }

    /// A member that must be there.
    pub fn required<T>(&mut self, member: impl Display, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.fail("null", member, "Member must not be null");
        }
        value
    }

    /// A member with a fixed set of values, in the order in which DynamoDB lists them.
    pub fn one_of<T: Copy>(&mut self, member: impl Display, value: Option<&str>, values: &[(&str, T)]) -> Option<T> {
        let value = value?;
        let known = values.iter().find(|(name, _)| *name == value);
        if known.is_none() {
            let names: Vec<&str> = values.iter().map(|(name, _)| *name).collect();
            let must = format!("Member must satisfy enum value set: [{}]", names.join(", "));
            self.fail(format_args!("'{value}'"), member, must);
        }
        known.map(|(_, meaning)| *meaning)
    }

    /// A number with bounds.
    pub fn within(&mut self, member: impl Display, value: Option<i64>, min: i64, max: i64) {
        let Some(value) = value else { return };
        if value < min {
            let must = format!("Member must have value greater than or equal to {min}");
            self.fail(format_args!("'{value}'"), member, must);
        } else if value > max {
            let must = format!("Member must have value less than or equal to {max}");
            self.fail(format_args!("'{value}'"), member, must);
        }
    }

    /// A string, list or map with bounds on its length; `shown` is the value as DynamoDB prints it.
    pub fn length(&mut self, member: impl Display, shown: impl Display, length: usize, min: usize, max: usize) {
        if length < min {
            let must = format!("Member must have length greater than or equal to {min}");
            self.fail(format_args!("'{shown}'"), member, must);
        } else if length > max {
            let must = format!("Member must have length less than or equal to {max}");
            self.fail(format_args!("'{shown}'"), member, must);
        }
    }

    /// Whether anything has failed so far.
    pub fn has_failed(&self) -> bool {
        !self.failed.is_empty()
    }

    /// Tells what has failed so far, if it is to be told without what comes after it.
    pub fn tell_if(self, now: bool) -> Result<Self, ApiError> {
        if !now {
            return Ok(self);
        }
        self.finish()?;
        Ok(Self::new())
    }

    /// The members that must be there, or the error if anything failed.
    pub fn finish_with<T>(self, required: Option<T>) -> Result<T, ApiError> {
        self.finish()?;
        // `required` has noted every member that is missing, so there is none here.
        required.ok_or_else(|| ApiError::validation("A required parameter is missing"))
    }

    /// The error, if anything failed.
    pub fn finish(self) -> Result<(), ApiError> {
        match self.failed.len() {
            0 => Ok(()),
            1 => Err(ApiError::validation(format!(
                "1 validation error detected: {}",
                self.failed[0]
            ))),
            n => Err(ApiError::validation(format!(
                "{n} validation errors detected: {}",
                self.failed.join("; ")
            ))),
        }
    }
}
