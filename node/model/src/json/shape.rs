//! What the API expects at a place and what it says when it finds something else.

use serde::de::Error;

use crate::message;

/// The class names that DynamoDB's messages use for its lists, maps and structures.
pub const ATTRIBUTE_VALUE: &str = "com.amazonaws.dynamodb.v20120810.AttributeValue";
/// A map of attribute values.
pub const ATTRIBUTE_MAP: &str = "java.util.Map<java.lang.String, com.amazonaws.dynamodb.v20120810.AttributeValue>";
/// A list of attribute values.
pub const ATTRIBUTE_LIST: &str = "java.util.List<com.amazonaws.dynamodb.v20120810.AttributeValue>";
/// A list of strings.
pub const STRING_LIST: &str = "java.util.List<java.lang.String>";
/// A list of binaries.
pub const BLOB_LIST: &str = "java.util.List<java.nio.ByteBuffer>";

/// What is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token {
    /// A string.
    String,
    /// An integer.
    Number,
    /// A number with a fraction or an exponent.
    Decimal,
    /// `true`.
    True,
    /// `false`.
    False,
    /// `null`.
    Null,
    /// `[`
    List,
    /// `{`
    Map,
}

impl Token {
    /// `true` or `false`.
    pub fn boolean(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }

    fn name(self) -> &'static str {
        match self {
            Self::String => "STRING_VALUE",
            Self::Number => "NUMBER_VALUE",
            Self::Decimal => "DECIMAL_VALUE",
            Self::True => "TRUE_VALUE",
            Self::False => "FALSE_VALUE",
            Self::Null => "NULL_VALUE",
            Self::List => "START_ARRAY",
            Self::Map => "START_OBJECT",
        }
    }
}

/// What is expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// `String`, `Integer`, `Long`, …
    Scalar(&'static str),
    /// `true` or `false`.
    Boolean,
    /// Base64.
    Blob,
    /// A list; its class.
    List(&'static str),
    /// A map; its class.
    Map(&'static str),
    /// A map; the class of its values.
    MapOf(String),
    /// A structure; its class.
    Structure(&'static str),
    /// A structure of the API of that name.
    Named(&'static str),
}

impl Wanted {
    /// The error for finding `token` instead.
    pub fn mismatch<E: Error>(&self, token: Token) -> E {
        E::custom(self.text(token))
    }

    fn text(&self, token: Token) -> String {
        match (self, token) {
            (Self::List(class) | Self::Map(class), Token::List) => message::unexpected_list(class),
            (Self::MapOf(class), Token::List) => {
                message::unexpected_list(&format!("java.util.Map<java.lang.String, {class}>"))
            }
            (Self::Structure(class), Token::List) => message::unexpected_list(&format!("class {class}")),
            (Self::Named(name), Token::List) => {
                message::unexpected_list(&format!("class com.amazonaws.dynamodb.v20120810.{name}"))
            }
            (Self::Scalar(class), Token::List) => message::unexpected_list(&format!("class java.lang.{class}")),
            (Self::Boolean, Token::List) => message::unexpected_list("class java.lang.Boolean"),
            (Self::Blob, Token::List) => message::unexpected_list("class java.nio.ByteBuffer"),
            (_, Token::Map) => message::UNEXPECTED_MAP.to_owned(),
            (Self::List(_) | Self::Map(_) | Self::MapOf(_), _) => message::UNEXPECTED_FIELD.to_owned(),
            (Self::Structure(_) | Self::Named(_), _) => message::UNEXPECTED_VALUE.to_owned(),
            (Self::Boolean, Token::String) => message::UNEXPECTED_TOKEN.to_owned(),
            (Self::Boolean, _) => message::cannot_be_converted(token.name(), "Boolean"),
            (Self::Blob, _) => message::BASE64_WANTED.to_owned(),
            (Self::Scalar(class), _) => message::cannot_be_converted(token.name(), class),
        }
    }
}

/// Writes the visitor methods for tokens that are not acceptable: `reject!(wanted; bool, number, …)`, where `wanted`
/// is a [`Wanted`] or `|visitor| wanted`.
macro_rules! reject {
    (|$visitor:ident| $wanted:expr; $($token:ident),+) => {
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            let $visitor = self;
            write!(f, "{:?}", $wanted)
        }
        $($crate::json::shape::reject!(@$token $visitor $wanted);)+
    };
    ($wanted:expr; $($token:ident),+) => {
        $crate::json::shape::reject!(|_visitor| $wanted; $($token),+);
    };
    (@bool $visitor:ident $wanted:expr) => {
        fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Self::Value, E> {
            let $visitor = &self;
            Err($wanted.mismatch($crate::json::shape::Token::boolean(value)))
        }
    };
    (@number $visitor:ident $wanted:expr) => {
        fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<Self::Value, E> {
            let $visitor = &self;
            Err($wanted.mismatch($crate::json::shape::Token::Number))
        }
        fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<Self::Value, E> {
            let $visitor = &self;
            Err($wanted.mismatch($crate::json::shape::Token::Number))
        }
        fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<Self::Value, E> {
            let $visitor = &self;
            Err($wanted.mismatch($crate::json::shape::Token::Decimal))
        }
    };
    (@string $visitor:ident $wanted:expr) => {
        fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<Self::Value, E> {
            let $visitor = &self;
            Err($wanted.mismatch($crate::json::shape::Token::String))
        }
    };
    (@null $visitor:ident $wanted:expr) => {
        fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
            let $visitor = &self;
            Err($wanted.mismatch($crate::json::shape::Token::Null))
        }
    };
    (@list $visitor:ident $wanted:expr) => {
        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
            let $visitor = &self;
            Err($wanted.mismatch($crate::json::shape::Token::List))
        }
    };
    (@map $visitor:ident $wanted:expr) => {
        fn visit_map<A: serde::de::MapAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
            let $visitor = &self;
            Err($wanted.mismatch($crate::json::shape::Token::Map))
        }
    };
}

pub(crate) use reject;
