//! What is wrong with an expression that can be read: of several things DynamoDB reports the one that ranks first.

use std::fmt::Display;

use super::Kind;
use super::lexer::invalid;
use crate::error::ApiError;

/// The order in which DynamoDB looks for errors, after syntax errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// Redundant parentheses.
    Parentheses,
    /// A section that stands twice.
    Section,
    /// A function that does not exist, or not here.
    Function,
    /// A condition as an operand, or the reverse.
    Misuse,
    /// A reserved word as a name.
    Reserved,
    /// More operators than allowed.
    Operators,
    /// An undefined `#name`.
    Name,
    /// An undefined `:value`.
    Value,
    /// A path that cannot be.
    Path,
    /// Number of operands.
    Count,
    /// Types of operands.
    Type,
    /// Operands that do not go with each other.
    Operands,
}

/// The first error of the first rank so far.
#[derive(Debug, Default)]
pub(super) struct Findings {
    first: Option<(Rank, String)>,
}

impl Findings {
    /// Something is wrong; `what` is called only if nothing that ranks before is.
    pub fn note<T: Display>(&mut self, rank: Rank, what: impl FnOnce() -> T) {
        if self.first.as_ref().is_none_or(|(first, _)| rank < *first) {
            self.first = Some((rank, what().to_string()));
        }
    }

    /// The error to report.
    pub fn finish(self, kind: Kind) -> Result<(), ApiError> {
        match self.first {
            None => Ok(()),
            Some((_, what)) => Err(invalid(kind, what)),
        }
    }
}
