//! Constraints of the API's model, checked before anything else: all that fail are told at once.
//!
//! "2 validation errors detected: Value null at 'key' failed to satisfy constraint: Member must not be null; …"

use std::fmt::Display;

use partita_model::error::ApiError;

/// DynamoDB tells at most so many.
const TOLD_MAX: usize = 10;

/// What has failed so far.
#[derive(Debug, Default)]
pub struct Constraints {
    failed: Vec<String>,
}

impl Constraints {
    /// Nothing has failed yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One that failed: the value as it is shown (`'x'` or `null`), the member's path, and what it must be.
    pub fn fail(&mut self, shown: impl Display, member: impl Display, must: impl Display) {
        if self.failed.len() < TOLD_MAX {
            self.failed.push(format!(
                "Value {shown} at '{member}' failed to satisfy constraint: {must}"
            ));
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
