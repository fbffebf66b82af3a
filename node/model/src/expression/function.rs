//! What conditions' functions and operators take: DynamoDB's checks of operands while an expression is read.
//!
//! Source: "Condition and filter expressions, operators, and functions in DynamoDB", Amazon DynamoDB Developer Guide.

use super::condition::{Operand, Operation};
use super::findings::{Findings, Rank};
use super::lexer::{Comparator, Tokens};
use super::{Path, Placeholders};
use crate::message::expression as text;
use crate::number;
use crate::value::{Value, ValueRef, ValueType};

/// What can contain something, for `contains`.
const CONTAINERS: [ValueType; 6] = [
    ValueType::S,
    ValueType::B,
    ValueType::L,
    ValueType::Ss,
    ValueType::Ns,
    ValueType::Bs,
];

/// A condition's functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    AttributeExists,
    AttributeNotExists,
    AttributeType,
    BeginsWith,
    Contains,
    Size,
}

impl Function {
    /// The function of that name; names are case-sensitive.
    pub fn of(name: &str, findings: &mut Findings) -> Option<Self> {
        let function = match name {
            "attribute_exists" => Self::AttributeExists,
            "attribute_not_exists" => Self::AttributeNotExists,
            "attribute_type" => Self::AttributeType,
            "begins_with" => Self::BeginsWith,
            "contains" => Self::Contains,
            "size" => Self::Size,
            "if_not_exists" | "list_append" => {
                findings.note(Rank::Function, || text::function_not_in_condition(name));
                return None;
            }
            _ => {
                findings.note(Rank::Function, || text::function_unknown(name));
                return None;
            }
        };
        Some(function)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::AttributeExists => "attribute_exists",
            Self::AttributeNotExists => "attribute_not_exists",
            Self::AttributeType => "attribute_type",
            Self::BeginsWith => "begins_with",
            Self::Contains => "contains",
            Self::Size => "size",
        }
    }

    /// The operation of a function that is a condition; `None` after a finding (and for `size`, which is none).
    pub fn operation(self, operands: Vec<Operand>, findings: &mut Findings) -> Option<Operation> {
        let wanted = match self {
            Self::AttributeExists | Self::AttributeNotExists | Self::Size => 1,
            Self::AttributeType | Self::BeginsWith | Self::Contains => 2,
        };
        if operands.len() != wanted {
            findings.note(Rank::Count, || text::operand_count(self.name(), operands.len()));
            return None;
        }
        let mut operands = operands.into_iter();
        let first = operands.next()?;
        match self {
            Self::AttributeExists => self.path(first, findings).map(Operation::Exists),
            Self::AttributeNotExists => self.path(first, findings).map(Operation::NotExists),
            Self::AttributeType => {
                let kind = attribute_type(&operands.next()?, findings);
                Some(Operation::Type(self.path(first, findings)?, kind?))
            }
            Self::BeginsWith => {
                let second = operands.next()?;
                for operand in [&first, &second] {
                    check_type(self.name(), operand, &[ValueType::S, ValueType::B], findings);
                }
                check_distinct(self.name(), &first, std::slice::from_ref(&second), findings);
                Some(Operation::BeginsWith(first, second))
            }
            Self::Contains => {
                let second = operands.next()?;
                check_type(self.name(), &first, &CONTAINERS, findings);
                check_distinct(self.name(), &first, std::slice::from_ref(&second), findings);
                Some(Operation::Contains(first, second))
            }
            Self::Size => None,
        }
    }

    fn path(self, operand: Operand, findings: &mut Findings) -> Option<Path> {
        match operand {
            Operand::Path(path) => Some(path),
            Operand::Value(_) | Operand::Size(_) => {
                findings.note(Rank::Type, || text::path_wanted(self.name()));
                None
            }
        }
    }
}

/// `:value`, the current token. An undefined one is noted, and null stands for it.
pub(super) fn value(tokens: &mut Tokens<'_>, placeholders: &Placeholders<'_>, findings: &mut Findings) -> Value {
    let key = tokens.take();
    match placeholders.value(key) {
        Some(value) => value.to_value(),
        None => {
            findings.note(Rank::Value, || text::value_undefined(key));
            Value::null()
        }
    }
}

/// The second operand of `attribute_type`.
fn attribute_type(operand: &Operand, findings: &mut Findings) -> Option<ValueType> {
    let Operand::Value(value) = operand else {
        findings.note(Rank::Type, || {
            text::operand_type("attribute_type", "{NS,SS,L,BS,N,M,B,BOOL,NULL,S}")
        });
        return None;
    };
    let Some(name) = value.as_ref().as_str() else {
        findings.note(Rank::Type, || {
            text::operand_type("attribute_type", value.as_ref().kind().name())
        });
        return None;
    };
    let kind = ValueType::from_name(name);
    if kind.is_none() {
        findings.note(Rank::Type, || text::type_name(name));
    }
    kind
}

/// `a < b` and the like.
pub(super) fn check_comparison(comparator: Comparator, a: &Operand, b: &Operand, findings: &mut Findings) {
    if !matches!(comparator, Comparator::Equal | Comparator::NotEqual) {
        check_ordered(comparator.symbol(), [a, b], findings);
    }
    check_distinct(comparator.symbol(), a, std::slice::from_ref(b), findings);
}

/// `value BETWEEN low AND high`
pub(super) fn check_between(value: &Operand, low: &Operand, high: &Operand, findings: &mut Findings) {
    check_ordered("BETWEEN", [value, low, high], findings);
    check_distinct("BETWEEN", value, [low, high], findings);
    let (Operand::Value(low), Operand::Value(high)) = (low, high) else {
        return;
    };
    let (low, high) = (low.as_ref(), high.as_ref());
    if low.kind() != high.kind() {
        findings.note(Rank::Operands, || text::between_types(&printed(low), &printed(high)));
    } else if low.payload() > high.payload() {
        findings.note(Rank::Operands, || text::between_order(&printed(low), &printed(high)));
    }
}

/// The first operand must not be one of the others (paths only).
pub(super) fn check_distinct<'o>(
    name: &str,
    first: &Operand,
    others: impl IntoIterator<Item = &'o Operand>,
    findings: &mut Findings,
) {
    let Operand::Path(path) = first else { return };
    if others.into_iter().any(|other| other == first) {
        findings.note(Rank::Operands, || text::operands_not_distinct(name, path));
    }
}

fn check_ordered<const N: usize>(name: &str, operands: [&Operand; N], findings: &mut Findings) {
    for operand in operands {
        check_type(name, operand, &[ValueType::S, ValueType::N, ValueType::B], findings);
    }
}

fn check_type(name: &str, operand: &Operand, allowed: &[ValueType], findings: &mut Findings) {
    let kind = match operand {
        Operand::Path(_) => return,
        Operand::Size(_) => ValueType::N,
        Operand::Value(value) => value.as_ref().kind(),
    };
    if !allowed.contains(&kind) {
        findings.note(Rank::Type, || text::operand_type(name, kind.name()));
    }
}

/// A scalar as DynamoDB's messages print it: `{N:5}`.
fn printed(value: ValueRef<'_>) -> String {
    use base64::Engine;
    let content = match value.kind() {
        ValueType::N => {
            let mut digits = Vec::new();
            number::write_text(value.payload(), &mut digits);
            String::from_utf8_lossy(&digits).into_owned()
        }
        ValueType::B => base64::engine::general_purpose::STANDARD.encode(value.payload()),
        _ => value.as_str().unwrap_or_default().to_owned(),
    };
    format!("{{{}:{content}}}", value.kind().name())
}
