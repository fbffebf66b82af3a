//! Parses conditions into postfix programs without recursion: operators wait on a stack until what is on their right
//! has been read.
//!
//! 1. An operand, function or `(` is expected, or `NOT`: [`Parser::operand`].
//! 2. Then an operator, `)` or the end: [`Parser::operator`].
//! 3. When an operator of lower precedence comes, waiting ones are [`Parser::reduce`]d: comparisons become operations,
//!    `NOT`, `AND` and `OR` combine them.
//!
//! Precedence: parentheses, comparisons (`BETWEEN`, `IN`), `NOT`, `AND`, `OR`.

use super::condition::{Operand, Operation, size};
use super::findings::{Findings, Rank};
use super::function::{self, Function};
use super::lexer::{Comparator, TokenKind, Tokens};
use super::{Kind, Path, Placeholders};
use crate::error::ApiError;
use crate::message::expression as text;
use crate::value::Value;

/// The most operators and functions in an expression ("Constraints in Amazon DynamoDB").
pub(super) const OPERATORS_MAX: usize = 300;
/// The most values after `IN`.
const IN_OPERANDS_MAX: usize = 100;
/// Functions and parentheses as operands of functions: none of them is valid, so few are enough to say so.
const CALL_DEPTH_MAX: usize = 8;

/// The program of a condition, filter or key condition.
pub(super) fn parse(kind: Kind, text: &str, placeholders: &Placeholders<'_>) -> Result<Vec<Operation>, ApiError> {
    let mut parser = Parser {
        tokens: Tokens::new(kind, text)?,
        placeholders,
        findings: Findings::default(),
        waiting: Vec::new(),
        read: Vec::new(),
        operations: Vec::new(),
        operators: 0,
    };
    parser.operand()?;
    while parser.tokens.kind() != TokenKind::End {
        if parser.operator()? {
            parser.operand()?;
        }
    }
    parser.reduce(Precedence::Or)?;
    match (parser.waiting.is_empty(), parser.pop()?) {
        (true, entry) => parser.condition(&entry)?,
        (false, _) => return Err(parser.tokens.syntax_error()),
    }
    if parser.operators > OPERATORS_MAX {
        parser
            .findings
            .note(Rank::Operators, || text::too_many_operators(OPERATORS_MAX + 1));
    }
    parser.findings.finish(kind)?;
    Ok(parser.operations)
}

/// Looser ones first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Precedence {
    Parenthesis,
    Or,
    And,
    Not,
    Comparison,
}

/// An operator whose right side is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    Parenthesis,
    Or,
    And,
    Not,
    Comparator(Comparator),
    /// `a BETWEEN`, before its `AND`.
    BetweenLow,
    /// `a BETWEEN b AND`
    BetweenHigh,
}

impl Waiting {
    fn precedence(self) -> Precedence {
        match self {
            Self::Parenthesis => Precedence::Parenthesis,
            Self::Or => Precedence::Or,
            Self::And => Precedence::And,
            Self::Not => Precedence::Not,
            Self::Comparator(_) | Self::BetweenLow | Self::BetweenHigh => Precedence::Comparison,
        }
    }
}

/// What has been read: an operand, or (its operations are in the program) a condition.
#[derive(Debug)]
struct Entry<'e> {
    operand: Option<Operand>,
    /// The function it is, if it is one: an operand in a condition's place is then misuse, not a syntax error.
    function: Option<&'e str>,
    parenthesised: bool,
}

struct Parser<'e, 'p> {
    tokens: Tokens<'e>,
    placeholders: &'p Placeholders<'p>,
    findings: Findings,
    waiting: Vec<Waiting>,
    read: Vec<Entry<'e>>,
    operations: Vec<Operation>,
    operators: usize,
}

impl<'e> Parser<'e, '_> {
    /// Reads what may stand where an operand or condition begins, up to and including the operand.
    fn operand(&mut self) -> Result<(), ApiError> {
        loop {
            if self.tokens.accept(b'(') {
                self.waiting.push(Waiting::Parenthesis);
            } else if self.tokens.at_keyword("NOT") {
                if self
                    .waiting
                    .last()
                    .is_some_and(|w| w.precedence() == Precedence::Comparison)
                {
                    return Err(self.tokens.syntax_error());
                }
                self.tokens.advance();
                self.operators += 1;
                self.waiting.push(Waiting::Not);
            } else {
                let entry = self.simple(0)?;
                self.read.push(entry);
                return Ok(());
            }
        }
    }

    /// Reads what may stand after an operand or condition; whether an operand must follow.
    fn operator(&mut self) -> Result<bool, ApiError> {
        match self.tokens.kind() {
            TokenKind::Symbol(b')') => {
                self.close()?;
                return Ok(false);
            }
            TokenKind::Comparator(comparator) => {
                self.left_of_comparison()?;
                self.waiting.push(Waiting::Comparator(comparator));
            }
            TokenKind::Word if self.tokens.at_keyword("AND") => {
                if self.waiting.last() == Some(&Waiting::BetweenLow) {
                    self.waiting.pop();
                    self.waiting.push(Waiting::BetweenHigh);
                    self.tokens.advance();
                    return Ok(true);
                }
                self.left_of_logic(Precedence::And)?;
                self.waiting.push(Waiting::And);
            }
            TokenKind::Word if self.tokens.at_keyword("OR") => {
                self.left_of_logic(Precedence::Or)?;
                self.waiting.push(Waiting::Or);
            }
            TokenKind::Word if self.tokens.at_keyword("BETWEEN") => {
                self.left_of_comparison()?;
                self.waiting.push(Waiting::BetweenLow);
            }
            TokenKind::Word if self.tokens.at_keyword("IN") => {
                self.left_of_comparison()?;
                self.operators += 1;
                self.in_list()?;
                return Ok(false);
            }
            _ => return Err(self.tokens.syntax_error()),
        }
        self.operators += 1;
        self.tokens.advance();
        Ok(true)
    }

    /// `)`
    fn close(&mut self) -> Result<(), ApiError> {
        self.reduce(Precedence::Or)?;
        if self.waiting.pop() != Some(Waiting::Parenthesis) {
            return Err(self.tokens.syntax_error());
        }
        self.tokens.advance();
        let mut entry = self.pop()?;
        if entry.parenthesised {
            self.findings.note(Rank::Parentheses, || text::REDUNDANT_PARENTHESES);
        }
        entry.parenthesised = true;
        self.read.push(entry);
        Ok(())
    }

    fn left_of_comparison(&mut self) -> Result<(), ApiError> {
        self.reduce(Precedence::Comparison)?;
        let entry = self.pop()?;
        if entry.operand.is_none() && entry.function.is_none() {
            return Err(self.tokens.syntax_error());
        }
        self.read.push(entry);
        Ok(())
    }

    fn left_of_logic(&mut self, precedence: Precedence) -> Result<(), ApiError> {
        self.reduce(precedence)?;
        let entry = self.pop()?;
        self.condition(&entry)?;
        self.read.push(Entry {
            operand: None,
            function: None,
            parenthesised: false,
        });
        Ok(())
    }

    /// `(a, b, …)` after `IN`.
    fn in_list(&mut self) -> Result<(), ApiError> {
        self.tokens.advance();
        self.tokens.expect(b'(')?;
        let mut candidates = Vec::new();
        loop {
            let entry = self.simple(0)?;
            candidates.push(self.take_operand(entry)?);
            if !self.tokens.accept(b',') {
                break;
            }
        }
        self.tokens.expect(b')')?;
        if candidates.len() > IN_OPERANDS_MAX {
            self.findings.note(Rank::Count, || text::in_operands(candidates.len()));
        }
        let entry = self.pop()?;
        let value = self.take_operand(entry)?;
        function::check_distinct("IN", &value, &candidates, &mut self.findings);
        self.emit(Operation::In(value, candidates));
        Ok(())
    }

    /// Completes the waiting operators that bind at least as tightly.
    fn reduce(&mut self, precedence: Precedence) -> Result<(), ApiError> {
        while let Some(waiting) = self.waiting.last().copied().filter(|w| w.precedence() >= precedence) {
            self.waiting.pop();
            match waiting {
                Waiting::Parenthesis | Waiting::BetweenLow => return Err(self.tokens.syntax_error()),
                Waiting::Comparator(comparator) => {
                    let (b, a) = (self.pop_operand()?, self.pop_operand()?);
                    function::check_comparison(comparator, &a, &b, &mut self.findings);
                    self.emit(Operation::Compare(comparator, a, b));
                }
                Waiting::BetweenHigh => {
                    let (high, low, value) = (self.pop_operand()?, self.pop_operand()?, self.pop_operand()?);
                    function::check_between(&value, &low, &high, &mut self.findings);
                    self.emit(Operation::Between(value, low, high));
                }
                Waiting::Not => self.combine(Operation::Not, 1)?,
                Waiting::And => self.combine(Operation::And, 2)?,
                Waiting::Or => self.combine(Operation::Or, 2)?,
            }
        }
        Ok(())
    }

    fn combine(&mut self, operation: Operation, conditions: usize) -> Result<(), ApiError> {
        for _ in 0..conditions {
            let entry = self.pop()?;
            self.condition(&entry)?;
        }
        self.emit(operation);
        Ok(())
    }

    fn emit(&mut self, operation: Operation) {
        self.operations.push(operation);
        self.read.push(Entry {
            operand: None,
            function: None,
            parenthesised: false,
        });
    }

    fn pop(&mut self) -> Result<Entry<'e>, ApiError> {
        self.read.pop().ok_or_else(|| self.tokens.syntax_error())
    }

    fn pop_operand(&mut self) -> Result<Operand, ApiError> {
        let entry = self.pop()?;
        self.take_operand(entry)
    }

    /// An entry in an operand's place.
    fn take_operand(&mut self, entry: Entry<'e>) -> Result<Operand, ApiError> {
        match (entry.operand, entry.function) {
            (Some(operand), _) => Ok(operand),
            (None, Some(name)) => {
                self.findings.note(Rank::Misuse, || text::function_misused(name));
                Ok(Operand::Value(Value::null()))
            }
            (None, None) => Err(self.tokens.syntax_error()),
        }
    }

    /// An entry in a condition's place.
    fn condition(&mut self, entry: &Entry<'e>) -> Result<(), ApiError> {
        match (&entry.operand, entry.function) {
            (None, _) => Ok(()),
            (Some(_), Some(name)) => {
                self.findings.note(Rank::Misuse, || text::function_misused(name));
                Ok(())
            }
            (Some(_), None) => Err(self.tokens.syntax_error()),
        }
    }

    /// A path, a value, a function call, or (as an operand of a function or of `IN`) one of them in parentheses.
    fn simple(&mut self, depth: usize) -> Result<Entry<'e>, ApiError> {
        if depth > CALL_DEPTH_MAX {
            return Err(self.tokens.syntax_error());
        }
        let operand = match self.tokens.kind() {
            TokenKind::Symbol(b'(') => return self.parenthesised(depth),
            TokenKind::Word if self.tokens.peek() == TokenKind::Symbol(b'(') => return self.call(depth),
            TokenKind::Word | TokenKind::Name => {
                Operand::Path(Path::parse(&mut self.tokens, self.placeholders, &mut self.findings)?)
            }
            TokenKind::Value => {
                Operand::Value(function::value(&mut self.tokens, self.placeholders, &mut self.findings))
            }
            _ => return Err(self.tokens.syntax_error()),
        };
        Ok(Entry {
            operand: Some(operand),
            function: None,
            parenthesised: false,
        })
    }

    fn parenthesised(&mut self, depth: usize) -> Result<Entry<'e>, ApiError> {
        self.tokens.expect(b'(')?;
        let mut entry = self.simple(depth + 1)?;
        self.tokens.expect(b')')?;
        if entry.parenthesised {
            self.findings.note(Rank::Parentheses, || text::REDUNDANT_PARENTHESES);
        }
        entry.parenthesised = true;
        Ok(entry)
    }

    /// `name(operand, …)`
    fn call(&mut self, depth: usize) -> Result<Entry<'e>, ApiError> {
        let name = self.tokens.take();
        self.operators += 1;
        self.tokens.expect(b'(')?;
        let mut operands = Vec::new();
        loop {
            let entry = self.simple(depth + 1)?;
            // The one that is a value: whether its type will do is checked like that of any other.
            if let Some(inner) = entry.function.filter(|inner| *inner != "size") {
                self.findings.note(Rank::Misuse, || text::function_misused(inner));
                // What a function in here has pushed is not part of the program; the error ends it anyway.
            }
            operands.push(entry.operand.unwrap_or(Operand::Value(Value::null())));
            if !self.tokens.accept(b',') {
                break;
            }
        }
        self.tokens.expect(b')')?;
        let operand = match Function::of(name, &mut self.findings) {
            None => None,
            Some(Function::Size) => Some(self.size(operands)),
            Some(function) => {
                if let Some(operation) = function.operation(operands, &mut self.findings) {
                    self.operations.push(operation);
                }
                None
            }
        };
        Ok(Entry {
            operand,
            function: Some(name),
            parenthesised: false,
        })
    }

    /// `size(operand)`
    fn size(&mut self, mut operands: Vec<Operand>) -> Operand {
        let count = operands.len();
        match (operands.pop(), count) {
            (Some(Operand::Path(path)), 1) => return Operand::Size(path),
            (Some(Operand::Size(_)), 1) => self.findings.note(Rank::Type, || text::operand_type("size", "N")),
            (Some(Operand::Value(value)), 1) => match size(value.as_ref()) {
                Some(size) => return Operand::Value(Value::number(size)),
                None => {
                    let kind = value.as_ref().kind().name();
                    self.findings.note(Rank::Type, || text::operand_type("size", kind));
                }
            },
            _ => self.findings.note(Rank::Count, || text::operand_count("size", count)),
        }
        Operand::Value(Value::number(crate::number::Number::ZERO))
    }
}
