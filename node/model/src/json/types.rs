//! The types of request members, as strict as DynamoDB is about them.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::shape::{Token, Wanted, reject};
use crate::message;

/// A string.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Text(pub String);

/// A 32-bit integer. A fraction is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Int(pub i32);

/// A 64-bit integer. A fraction is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Long(pub i64);

/// A floating-point number.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Double(pub f64);

/// A boolean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bool(pub bool);

/// A list. Elements that are `null` are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List<T>(pub Vec<T>);

/// A map with the entries in the order of the text. Entries that are `null` are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map<T>(pub Vec<(String, T)>);

/// A structure: read from a JSON object only (what serde derives would also take a list for one).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Structure<T>(pub T);

/// What errors call the values of a map.
pub trait Class {
    /// The name of a class of DynamoDB's.
    fn class() -> String;
}

impl Class for Text {
    fn class() -> String {
        "java.lang.String".to_owned()
    }
}

impl<T: Class> Class for List<T> {
    fn class() -> String {
        format!("java.util.List<{}>", T::class())
    }
}

impl<T> Class for Structure<T> {
    fn class() -> String {
        format!("com.amazonaws.dynamodb.v20120810.{}", short_name::<T>())
    }
}

impl Deref for Text {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl<T> Deref for List<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> Deref for Map<T> {
    type Target = [(String, T)];
    fn deref(&self) -> &[(String, T)] {
        &self.0
    }
}

impl<T> Deref for Structure<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Map<T> {
    /// The entry of that name.
    pub fn get(&self, name: &str) -> Option<&T> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text;
            reject!(Wanted::Scalar("String"); bool, number, null, list, map);
            fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }
        }
        deserializer.deserialize_any(TextVisitor)
    }
}

impl<'de> Deserialize<'de> for Bool {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BoolVisitor;
        impl<'de> Visitor<'de> for BoolVisitor {
            type Value = Bool;
            reject!(Wanted::Boolean; number, string, null, list, map);
            fn visit_bool<E: Error>(self, value: bool) -> Result<Bool, E> {
                Ok(Bool(value))
            }
        }
        deserializer.deserialize_any(BoolVisitor)
    }
}

/// Reads any number as a double, which keeps integers up to 2^53 whole, or as an exact integer.
enum AnyNumber {
    Integer(i128),
    Fraction(f64),
}

struct NumberVisitor(&'static str);

impl<'de> Visitor<'de> for NumberVisitor {
    type Value = AnyNumber;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
    fn visit_bool<E: Error>(self, value: bool) -> Result<AnyNumber, E> {
        Err(Wanted::Scalar(self.0).mismatch(Token::boolean(value)))
    }
    fn visit_str<E: Error>(self, _: &str) -> Result<AnyNumber, E> {
        Err(Wanted::Scalar(self.0).mismatch(Token::String))
    }
    fn visit_unit<E: Error>(self) -> Result<AnyNumber, E> {
        Err(Wanted::Scalar(self.0).mismatch(Token::Null))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<AnyNumber, A::Error> {
        Err(Wanted::Scalar(self.0).mismatch(Token::List))
    }
    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<AnyNumber, A::Error> {
        Err(Wanted::Scalar(self.0).mismatch(Token::Map))
    }
    fn visit_i64<E: Error>(self, value: i64) -> Result<AnyNumber, E> {
        Ok(AnyNumber::Integer(value.into()))
    }
    fn visit_u64<E: Error>(self, value: u64) -> Result<AnyNumber, E> {
        Ok(AnyNumber::Integer(value.into()))
    }
    fn visit_f64<E: Error>(self, value: f64) -> Result<AnyNumber, E> {
        Ok(AnyNumber::Fraction(value))
    }
}

impl AnyNumber {
    /// The integer part, if it fits.
    fn integer<T: TryFrom<i128>, E: Error>(self, class: &'static str) -> Result<T, E> {
        let (value, token) = match self {
            Self::Integer(value) => (value, Token::Number),
            // Saturates, and 128 bits then do not fit the target.
            Self::Fraction(value) => (value as i128, Token::Decimal),
        };
        T::try_from(value).map_err(|_| Wanted::Scalar(class).mismatch(token))
    }
}

impl<'de> Deserialize<'de> for Int {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = deserializer.deserialize_any(NumberVisitor("Integer"))?;
        Ok(Self(number.integer("Integer")?))
    }
}

impl<'de> Deserialize<'de> for Long {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = deserializer.deserialize_any(NumberVisitor("Long"))?;
        Ok(Self(number.integer("Long")?))
    }
}

impl<'de> Deserialize<'de> for Double {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(match deserializer.deserialize_any(NumberVisitor("Double"))? {
            AnyNumber::Integer(value) => value as f64,
            AnyNumber::Fraction(value) => value,
        }))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
            type Value = List<T>;
            reject!(Wanted::List("java.util.List"); bool, number, string, null, map);
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<List<T>, A::Error> {
                let mut list = Vec::new();
                while let Some(element) = seq.next_element::<Option<T>>()? {
                    list.extend(element);
                }
                Ok(List(list))
            }
        }
        deserializer.deserialize_any(ListVisitor(PhantomData))
    }
}

impl<'de, T: Deserialize<'de> + Class> Deserialize<'de> for Map<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MapVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de> + Class> Visitor<'de> for MapVisitor<T> {
            type Value = Map<T>;
            reject!(Wanted::MapOf(T::class()); bool, number, string, null, list);
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Map<T>, A::Error> {
                let mut entries = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Option<T>>()? {
                    entries.extend(value.map(|value| (name, value)));
                }
                let mut names: Vec<&str> = entries.iter().map(|(name, _)| name.as_str()).collect();
                names.sort_unstable();
                if names.windows(2).any(|pair| pair[0] == pair[1]) {
                    return Err(A::Error::custom(message::DUPLICATE_ATTRIBUTE));
                }
                Ok(Map(entries))
            }
        }
        deserializer.deserialize_any(MapVisitor(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Structure<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StructureVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for StructureVisitor<T> {
            type Value = Structure<T>;
            reject!(Wanted::Named(short_name::<T>()); bool, number, string, null, list);
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Structure<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Structure)
            }
        }
        deserializer.deserialize_any(StructureVisitor(PhantomData))
    }
}

/// A Rust type's name without its path: request structures are named as the API names them.
fn short_name<T>() -> &'static str {
    let path = std::any::type_name::<T>();
    let path = path.split('<').next().unwrap_or(path);
    path.rsplit("::").next().unwrap_or(path)
}
