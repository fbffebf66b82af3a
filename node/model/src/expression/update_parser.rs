//! Parses update expressions: sections of actions, each on a path.
//!
//! Source: "Using update expressions in DynamoDB", Amazon DynamoDB Developer Guide.

use super::condition_parser::OPERATORS_MAX;
use super::findings::{Findings, Rank};
use super::lexer::{Comparator, TokenKind, Tokens};
use super::update::{Action, Change, Term};
use super::{Kind, Path, Placeholders, function};
use crate::error::ApiError;
use crate::message::expression as text;
use crate::value::{Value, ValueType};

/// Functions and parentheses inside each other. More than an expression of 300 operators can use sensibly, few enough
/// for any stack.
const NESTING_MAX: usize = 32;

/// The sections and their keywords.
const SECTIONS: [(&str, Section); 4] = [
    ("SET", Section::Set),
    ("REMOVE", Section::Remove),
    ("ADD", Section::Add),
    ("DELETE", Section::Delete),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Section {
    Set,
    Remove,
    Add,
    Delete,
}

/// The actions of an update expression, in its order.
pub(super) fn parse(text: &str, placeholders: &Placeholders<'_>) -> Result<Vec<Action>, ApiError> {
    let mut parser = Parser {
        tokens: Tokens::new(Kind::Update, text)?,
        placeholders,
        findings: Findings::default(),
        actions: Vec::new(),
        operators: 0,
    };
    let mut seen = [false; SECTIONS.len()];
    while parser.tokens.kind() != TokenKind::End {
        let Some(index) = SECTIONS
            .iter()
            .position(|(keyword, _)| parser.tokens.at_keyword(keyword))
        else {
            return Err(parser.tokens.syntax_error());
        };
        let (keyword, section) = SECTIONS[index];
        if std::mem::replace(&mut seen[index], true) {
            parser.findings.note(Rank::Section, || text::section_twice(keyword));
        }
        parser.tokens.advance();
        parser.section(section)?;
    }
    if parser.operators > OPERATORS_MAX {
        parser
            .findings
            .note(Rank::Operators, || text::too_many_operators(OPERATORS_MAX + 1));
    }
    parser.findings.finish(Kind::Update)?;
    Ok(parser.actions)
}

struct Parser<'e, 'p> {
    tokens: Tokens<'e>,
    placeholders: &'p Placeholders<'p>,
    findings: Findings,
    actions: Vec<Action>,
    operators: usize,
}

impl Parser<'_, '_> {
    /// `action, action, …`
    fn section(&mut self, section: Section) -> Result<(), ApiError> {
        loop {
            let path = Path::parse(&mut self.tokens, self.placeholders, &mut self.findings)?;
            let change = match section {
                Section::Set => self.set()?,
                Section::Remove => Change::Remove,
                Section::Add => Change::Add(self.operand_of("ADD", added_or_set)?),
                Section::Delete => Change::Delete(self.operand_of("DELETE", |kind| kind.element().is_some())?),
            };
            self.actions.push(Action { path, change });
            if !self.tokens.accept(b',') {
                return Ok(());
            }
        }
    }

    /// The value of `ADD path :value` and `DELETE path :value`.
    fn operand_of(&mut self, section: &str, allowed: impl Fn(ValueType) -> bool) -> Result<Value, ApiError> {
        if self.tokens.kind() != TokenKind::Value {
            return Err(self.tokens.syntax_error());
        }
        self.operators += 1;
        let value = function::value(&mut self.tokens, self.placeholders, &mut self.findings);
        let kind = value.as_ref().kind();
        if !allowed(kind) {
            self.findings
                .note(Rank::Type, || text::section_operand_type(section, long_name(kind)));
        }
        Ok(value)
    }

    /// `= operand`, `= operand + operand`, `= operand - operand`
    fn set(&mut self) -> Result<Change, ApiError> {
        if self.tokens.kind() != TokenKind::Comparator(Comparator::Equal) {
            return Err(self.tokens.syntax_error());
        }
        self.tokens.advance();
        let mut program = Vec::new();
        self.sum(&mut program, 0)?;
        match <[Term; 1]>::try_from(program) {
            Ok([Term::Value(value)]) => Ok(Change::Put(value)),
            Ok(single) => Ok(Change::Set(single.into())),
            Err(program) => Ok(Change::Set(program)),
        }
    }

    fn sum(&mut self, program: &mut Vec<Term>, depth: usize) -> Result<(), ApiError> {
        let left = program.len();
        self.operand(program, depth)?;
        let (term, sign) = match self.tokens.kind() {
            TokenKind::Symbol(b'+') => (Term::Plus, "+"),
            TokenKind::Symbol(b'-') => (Term::Minus, "-"),
            _ => return Ok(()),
        };
        self.operators += 1;
        self.tokens.advance();
        let right = program.len();
        self.operand(program, depth)?;
        self.check_type(sign, &program[left..right], ValueType::N);
        self.check_type(sign, &program[right..], ValueType::N);
        program.push(term);
        Ok(())
    }

    fn operand(&mut self, program: &mut Vec<Term>, depth: usize) -> Result<(), ApiError> {
        if depth > NESTING_MAX {
            return Err(self.tokens.syntax_error());
        }
        match self.tokens.kind() {
            TokenKind::Symbol(b'(') => {
                self.tokens.advance();
                if self.tokens.at(b'(') {
                    self.findings.note(Rank::Parentheses, || text::REDUNDANT_PARENTHESES);
                }
                self.sum(program, depth + 1)?;
                self.tokens.expect(b')')
            }
            TokenKind::Value => {
                program.push(Term::Value(function::value(
                    &mut self.tokens,
                    self.placeholders,
                    &mut self.findings,
                )));
                Ok(())
            }
            TokenKind::Word if self.tokens.peek() == TokenKind::Symbol(b'(') => self.call(program, depth),
            TokenKind::Word | TokenKind::Name => {
                program.push(Term::Path(Path::parse(
                    &mut self.tokens,
                    self.placeholders,
                    &mut self.findings,
                )?));
                Ok(())
            }
            _ => Err(self.tokens.syntax_error()),
        }
    }

    /// `if_not_exists(path, operand)`, `list_append(operand, operand)`
    fn call(&mut self, program: &mut Vec<Term>, depth: usize) -> Result<(), ApiError> {
        let name = self.tokens.take();
        self.operators += 1;
        self.tokens.expect(b'(')?;
        let mut operands: Vec<Vec<Term>> = Vec::new();
        loop {
            let mut operand = Vec::new();
            self.operand(&mut operand, depth + 1)?;
            operands.push(operand);
            if !self.tokens.accept(b',') {
                break;
            }
        }
        self.tokens.expect(b')')?;
        match name {
            "if_not_exists" | "list_append" => {}
            "attribute_exists" | "attribute_not_exists" | "attribute_type" | "begins_with" | "contains" | "size" => {
                self.findings
                    .note(Rank::Function, || text::function_not_in_update(name));
            }
            _ => self.findings.note(Rank::Function, || text::function_unknown(name)),
        }
        let count = operands.len();
        let Ok([first, second]) = <[Vec<Term>; 2]>::try_from(operands) else {
            self.findings.note(Rank::Count, || text::operand_count(name, count));
            return Ok(());
        };
        if name == "list_append" {
            self.check_type(name, &first, ValueType::L);
            self.check_type(name, &second, ValueType::L);
            program.extend(first);
            program.extend(second);
            program.push(Term::ListAppend);
            return Ok(());
        }
        program.extend(second);
        match <[Term; 1]>::try_from(first) {
            Ok([Term::Path(path)]) => program.push(Term::IfNotExists(path)),
            _ => self.findings.note(Rank::Type, || text::path_wanted(name)),
        }
        Ok(())
    }

    /// An operand that is a value of the request must be of that type; what it is otherwise shows at the item.
    fn check_type(&mut self, name: &str, operand: &[Term], wanted: ValueType) {
        let kind = match operand {
            [Term::Value(value)] => value.as_ref().kind(),
            [.., Term::ListAppend] => ValueType::L,
            [.., Term::Plus | Term::Minus] => ValueType::N,
            _ => return,
        };
        if kind != wanted {
            self.findings.note(Rank::Type, || text::operand_type(name, kind.name()));
        }
    }
}

/// What `ADD` takes.
fn added_or_set(kind: ValueType) -> bool {
    kind == ValueType::N || kind.element().is_some()
}

/// A type as the errors of `ADD` and `DELETE` name it.
fn long_name(kind: ValueType) -> &'static str {
    match kind {
        ValueType::S => "STRING",
        ValueType::N => "NUMBER",
        ValueType::B => "BINARY",
        ValueType::Bool => "BOOLEAN",
        ValueType::Null => "NULL",
        ValueType::L => "LIST",
        ValueType::M => "MAP",
        ValueType::Ss | ValueType::Ns | ValueType::Bs => "SET",
    }
}
