//! Cuts an expression into tokens, one at a time, and says where a syntax error is.

use super::Kind;
use crate::error::ApiError;
use crate::message::expression as text;

/// The longest expression, in bytes as sent ("Constraints in Amazon DynamoDB").
const EXPRESSION_BYTES_MAX: usize = 4096;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// A letter, then letters, digits and underscores: a keyword, function or attribute.
    Word,
    /// `#name`
    Name,
    /// `:value`
    Value,
    /// Digits.
    Integer,
    /// `= <> < <= > >=`
    Comparator(Comparator),
    /// One of `( ) , . [ ] + -`
    Symbol(u8),
    /// Anything else.
    Unknown,
    /// After the last token.
    End,
}

/// `= <> < <= > >=`
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Comparator {
    /// `=`
    Equal,
    /// `<>`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Comparator {
    /// As it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "<>",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Token {
    kind: TokenKind,
    start: usize,
    end: usize,
}

/// The tokens of an expression: the current one and the one before it.
#[derive(Debug)]
pub(super) struct Tokens<'e> {
    kind: Kind,
    text: &'e str,
    previous: Option<Token>,
    current: Token,
}

impl<'e> Tokens<'e> {
    /// At the first token. Refuses empty and too long expressions.
    pub fn new(kind: Kind, text: &'e str) -> Result<Self, ApiError> {
        if text.len() > EXPRESSION_BYTES_MAX {
            let told = (kind == Kind::ScanFilter).then_some(text.len());
            return Err(invalid(kind, text::too_long(told)));
        }
        let current = scan(text, 0);
        if current.kind == TokenKind::End {
            return Err(invalid(kind, text::EMPTY));
        }
        Ok(Self {
            kind,
            text,
            previous: None,
            current,
        })
    }

    /// The current token.
    pub fn kind(&self) -> TokenKind {
        self.current.kind
    }

    /// The current token's text.
    pub fn text(&self) -> &'e str {
        &self.text[self.current.start..self.current.end]
    }

    /// Goes on to the next token.
    pub fn advance(&mut self) {
        self.previous = Some(self.current);
        self.current = scan(self.text, self.current.end);
    }

    /// Takes the current token's text and goes on.
    pub fn take(&mut self) -> &'e str {
        let text = self.text();
        self.advance();
        text
    }

    /// The token after the current one.
    pub fn peek(&self) -> TokenKind {
        scan(self.text, self.current.end).kind
    }

    /// Whether the current token is that symbol.
    pub fn at(&self, symbol: u8) -> bool {
        self.current.kind == TokenKind::Symbol(symbol)
    }

    /// Whether the current token is that keyword, in whatever case.
    pub fn at_keyword(&self, keyword: &str) -> bool {
        self.current.kind == TokenKind::Word && self.text().eq_ignore_ascii_case(keyword)
    }

    /// Whether the current token is a keyword of this kind of expression: no name, wherever it stands.
    pub fn at_any_keyword(&self) -> bool {
        let keywords: &[&str] = match self.kind {
            Kind::Condition | Kind::Filter | Kind::ScanFilter | Kind::KeyCondition => {
                &["AND", "OR", "NOT", "BETWEEN", "IN"]
            }
            Kind::Update => &["SET", "REMOVE", "ADD", "DELETE"],
            Kind::Projection => &[],
        };
        keywords.iter().any(|keyword| self.at_keyword(keyword))
    }

    /// Goes on if the current token is that symbol.
    pub fn accept(&mut self, symbol: u8) -> bool {
        let found = self.at(symbol);
        if found {
            self.advance();
        }
        found
    }

    /// Goes on, or reports a syntax error if the current token is not that symbol.
    pub fn expect(&mut self, symbol: u8) -> Result<(), ApiError> {
        if self.accept(symbol) {
            Ok(())
        } else {
            Err(self.syntax_error())
        }
    }

    /// The current token cannot stand here. The text around it goes from the token before to the token after.
    pub fn syntax_error(&self) -> ApiError {
        let token = match self.current.kind {
            TokenKind::End => "<EOF>",
            _ => self.text(),
        };
        let start = self.previous.map_or(self.current.start, |previous| previous.start);
        let next = scan(self.text, self.current.end);
        let end = match (next.kind, self.current.kind, self.previous) {
            (_, TokenKind::End, Some(previous)) => previous.end,
            (TokenKind::End, ..) => self.current.end,
            _ => next.end,
        };
        self.error(text::syntax(token, &self.text[start..end]))
    }

    /// Something else is wrong.
    pub fn error(&self, what: impl std::fmt::Display) -> ApiError {
        invalid(self.kind, what)
    }
}

/// "Invalid …Expression: …"
pub(super) fn invalid(kind: Kind, what: impl std::fmt::Display) -> ApiError {
    ApiError::validation(text::invalid(kind.parameter(), what))
}

/// The token at or after `from`.
fn scan(text: &str, from: usize) -> Token {
    let bytes = text.as_bytes();
    let blanks = bytes[from..].iter().take_while(|b| b.is_ascii_whitespace()).count();
    let start = from + blanks;
    let Some(&first) = bytes.get(start) else {
        return Token {
            kind: TokenKind::End,
            start: text.len(),
            end: text.len(),
        };
    };
    let second = bytes.get(start + 1).copied();
    let run = |from: usize, wanted: fn(u8) -> bool| bytes[from..].iter().take_while(|b| wanted(**b)).count();
    let (kind, len) = match (first, second) {
        (b'a'..=b'z' | b'A'..=b'Z', _) => (TokenKind::Word, run(start, is_word)),
        (b'0'..=b'9', _) => (TokenKind::Integer, run(start, |b| b.is_ascii_digit())),
        (b'#', Some(next)) if is_word(next) => (TokenKind::Name, 1 + run(start + 1, is_word)),
        (b':', Some(next)) if is_word(next) => (TokenKind::Value, 1 + run(start + 1, is_word)),
        (b'=', _) => (TokenKind::Comparator(Comparator::Equal), 1),
        (b'<', Some(b'>')) => (TokenKind::Comparator(Comparator::NotEqual), 2),
        (b'<', Some(b'=')) => (TokenKind::Comparator(Comparator::LessOrEqual), 2),
        (b'<', _) => (TokenKind::Comparator(Comparator::Less), 1),
        (b'>', Some(b'=')) => (TokenKind::Comparator(Comparator::GreaterOrEqual), 2),
        (b'>', _) => (TokenKind::Comparator(Comparator::Greater), 1),
        (b'(' | b')' | b',' | b'.' | b'[' | b']' | b'+' | b'-', _) => (TokenKind::Symbol(first), 1),
        _ => (
            TokenKind::Unknown,
            text[start..].chars().next().map_or(1, char::len_utf8),
        ),
    };
    Token {
        kind,
        start,
        end: start + len,
    }
}

/// What a word, `#name` or `:value` consists of.
pub(super) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}
