//! Conditions and filters: a flat program that is evaluated over stored bytes.
//!
//! 1. `condition_parser` makes the program from an expression, `legacy` from `Expected` and filters.
//! 2. [`Condition::matches`] runs it: each operation about attributes pushes a truth, `Not`, `And` and `Or` combine
//!    what has been pushed. There is nothing to recurse into, whatever a peer sends.

use memchr::memmem;
use serde::{Deserialize, Serialize};

use super::lexer::Comparator;
use super::{Kind, Path, Placeholders, condition_parser};
use crate::error::ApiError;
use crate::item::ItemRef;
use crate::message::expression as text;
use crate::number::Number;
use crate::schema::KeySchema;
use crate::value::{Tag, Value, ValueRef, ValueType};

/// A condition or filter, resolved: it can be evaluated against an item in stored form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    /// In postfix order.
    pub(crate) operations: Vec<Operation>,
}

/// What an operation looks at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Operand {
    /// A place in the item.
    Path(Path),
    /// A value of the request.
    Value(Value),
    /// The size of what is at a place.
    Size(Path),
}

/// One step of the program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Operation {
    Compare(Comparator, Operand, Operand),
    Between(Operand, Operand, Operand),
    In(Operand, Vec<Operand>),
    Exists(Path),
    NotExists(Path),
    Type(Path, ValueType),
    BeginsWith(Operand, Operand),
    Contains(Operand, Operand),
    Not,
    And,
    Or,
}

impl Condition {
    /// Parses a condition (`Kind::Condition`) or filter (`Kind::Filter`).
    pub fn parse(kind: Kind, text: &str, placeholders: &Placeholders<'_>) -> Result<Self, ApiError> {
        condition_parser::parse(kind, text, placeholders).map(|operations| Self { operations })
    }

    /// Whether it holds for an item (`None`: there is no item).
    pub fn matches(&self, item: Option<ItemRef<'_>>) -> bool {
        let mut stack = Stack::default();
        for operation in &self.operations {
            let truth = match operation {
                Operation::Compare(comparator, a, b) => compare(*comparator, a.find(item), b.find(item)),
                Operation::Between(value, low, high) => {
                    let value = value.find(item);
                    compare(Comparator::GreaterOrEqual, value, low.find(item))
                        && compare(Comparator::LessOrEqual, value, high.find(item))
                }
                Operation::In(value, candidates) => {
                    let value = value.find(item);
                    candidates
                        .iter()
                        .any(|c| compare(Comparator::Equal, value, c.find(item)))
                }
                Operation::Exists(path) => item.is_some_and(|item| path.find(item).is_some()),
                Operation::NotExists(path) => item.is_none_or(|item| path.find(item).is_none()),
                Operation::Type(path, kind) => item
                    .and_then(|item| path.find(item))
                    .is_some_and(|value| value.kind() == *kind),
                Operation::BeginsWith(value, prefix) => begins_with(value.find(item), prefix.find(item)),
                Operation::Contains(value, part) => contains(value.find(item), part.find(item)),
                Operation::Not => !stack.pop(),
                Operation::And => stack.pop() & stack.pop(),
                Operation::Or => stack.pop() | stack.pop(),
            };
            stack.push(truth);
        }
        stack.pop()
    }

    /// A Query's filter must not name key attributes (of the table or index that is queried). `legacy` is whether it
    /// came as `QueryFilter`.
    pub fn check_not_on_keys(&self, keys: &KeySchema, legacy: bool) -> Result<(), ApiError> {
        match self.attributes().find(|name| keys.contains(name)) {
            None => Ok(()),
            Some(name) => Err(ApiError::validation(text::filter_on_key(legacy, name))),
        }
    }

    /// The top-level attributes it looks at (a local index may not hold them), each as often as it is named.
    pub fn attributes(&self) -> impl Iterator<Item = &str> {
        self.operations
            .iter()
            .flat_map(Operation::paths)
            .map(|path| path.root.as_str())
    }
}

impl Operation {
    fn paths(&self) -> impl Iterator<Item = &Path> {
        let (path, operands, more): (Option<&Path>, [Option<&Operand>; 3], &[Operand]) = match self {
            Self::Compare(_, a, b) | Self::BeginsWith(a, b) | Self::Contains(a, b) => {
                (None, [Some(a), Some(b), None], &[])
            }
            Self::Between(a, b, c) => (None, [Some(a), Some(b), Some(c)], &[]),
            Self::In(a, more) => (None, [Some(a), None, None], more),
            Self::Exists(path) | Self::NotExists(path) | Self::Type(path, _) => (Some(path), [None; 3], &[]),
            Self::Not | Self::And | Self::Or => (None, [None; 3], &[]),
        };
        path.into_iter()
            .chain(operands.into_iter().flatten().chain(more).filter_map(Operand::path))
    }
}

impl Operand {
    /// The place it looks at.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Path(path) | Self::Size(path) => Some(path),
            Self::Value(_) => None,
        }
    }

    fn find<'o>(&'o self, item: Option<ItemRef<'o>>) -> Option<Found<'o>> {
        match self {
            Self::Value(value) => Some(Found::Value(value.as_ref())),
            Self::Path(path) => path.find(item?).map(Found::Value),
            Self::Size(path) => size(path.find(item?)?).map(Found::Size),
        }
    }
}

/// What an operand stands for.
#[derive(Clone, Copy)]
enum Found<'o> {
    Value(ValueRef<'o>),
    Size(Number),
}

/// What `size` says of a value: characters of a string (as Java counts them), bytes of a binary, elements of the rest.
pub(super) fn size(value: ValueRef<'_>) -> Option<Number> {
    let size = match value.tag() {
        Tag::String if value.payload().is_ascii() => value.payload().len(),
        Tag::String => value.as_str()?.encode_utf16().count(),
        Tag::Binary => value.payload().len(),
        Tag::List | Tag::Map | Tag::StringSet | Tag::NumberSet | Tag::BinarySet => value.len(),
        Tag::Number | Tag::True | Tag::False | Tag::Null => return None,
    };
    i64::try_from(size).ok().map(Number::from)
}

fn compare(comparator: Comparator, a: Option<Found<'_>>, b: Option<Found<'_>>) -> bool {
    let (Some(a), Some(b)) = (a, b) else {
        return comparator == Comparator::NotEqual;
    };
    match (a, b) {
        (Found::Value(a), Found::Value(b)) => compare_values(comparator, a, b),
        (Found::Size(a), Found::Size(b)) => ordered(comparator, a.cmp(&b)),
        (Found::Size(a), Found::Value(b)) => match b.as_number() {
            Some(b) => ordered(comparator, a.cmp(&b)),
            None => comparator == Comparator::NotEqual,
        },
        (Found::Value(a), Found::Size(b)) => match a.as_number() {
            Some(a) => ordered(comparator, a.cmp(&b)),
            None => comparator == Comparator::NotEqual,
        },
    }
}

/// Equal values are equal bytes; strings, numbers and binaries are ordered as their payloads are; all else is not
/// ordered.
fn compare_values(comparator: Comparator, a: ValueRef<'_>, b: ValueRef<'_>) -> bool {
    match comparator {
        Comparator::Equal => a == b,
        Comparator::NotEqual => a != b,
        _ if a.tag() != b.tag() => false,
        _ => match a.tag() {
            Tag::String | Tag::Number | Tag::Binary => ordered(comparator, a.payload().cmp(b.payload())),
            _ => false,
        },
    }
}

fn ordered(comparator: Comparator, ordering: std::cmp::Ordering) -> bool {
    match comparator {
        Comparator::Equal => ordering.is_eq(),
        Comparator::NotEqual => ordering.is_ne(),
        Comparator::Less => ordering.is_lt(),
        Comparator::LessOrEqual => ordering.is_le(),
        Comparator::Greater => ordering.is_gt(),
        Comparator::GreaterOrEqual => ordering.is_ge(),
    }
}

fn begins_with(value: Option<Found<'_>>, prefix: Option<Found<'_>>) -> bool {
    let (Some(Found::Value(value)), Some(Found::Value(prefix))) = (value, prefix) else {
        return false;
    };
    matches!(value.tag(), Tag::String | Tag::Binary)
        && value.tag() == prefix.tag()
        && value.payload().starts_with(prefix.payload())
}

fn contains(value: Option<Found<'_>>, part: Option<Found<'_>>) -> bool {
    let Some(Found::Value(value)) = value else {
        return false;
    };
    let part = match part {
        None => return false,
        Some(Found::Value(part)) => part,
        // A size in a list or set of numbers.
        Some(Found::Size(size)) => return contains_value(value, Value::number(size).as_ref()),
    };
    contains_value(value, part)
}

/// In time linear in both: a request must not make a search of 400 KB in 200 KB quadratic.
fn contains_value(value: ValueRef<'_>, part: ValueRef<'_>) -> bool {
    match value.tag() {
        Tag::String | Tag::Binary => {
            value.tag() == part.tag() && memmem::find(value.payload(), part.payload()).is_some()
        }
        Tag::List => value.list().any(|element| element == part),
        _ => value.kind().element() == Some(part.kind()) && value.set_contains(part.payload()),
    }
}

/// The truths that have been pushed. Popping more than that (only a broken peer's program does) gives `false`.
#[derive(Default)]
struct Stack(Vec<bool>);

impl Stack {
    fn push(&mut self, truth: bool) {
        self.0.push(truth);
    }

    fn pop(&mut self) -> bool {
        self.0.pop().unwrap_or(false)
    }
}
