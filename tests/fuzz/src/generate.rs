//! What is made from nothing: attribute values, items, expressions.

use partita_model::item::{Item, ItemBuilder};
use partita_model::number::Number;
use partita_model::value::{Tag, Value, ValueWriter};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// Attribute names that items and expressions share.
pub const NAMES: &[&str] = &[
    "a",
    "b",
    "c",
    "pk",
    "sk",
    "name2",
    "é",
    "long_name_of_an_attribute",
    "k",
];
/// `#n` placeholders and what they stand for.
pub const NAME_PLACEHOLDERS: &[(&str, &str)] = &[("#n", "a"), ("#m", "b"), ("#k", "k"), ("#e", "é")];
/// `:v` placeholders; their values are generated.
pub const VALUE_PLACEHOLDERS: &[&str] = &[":v", ":w", ":x", ":y", ":z"];

/// An item with a few of the names, nested up to `levels`.
pub fn item(random: &mut StdRng, levels: usize) -> Item {
    let mut builder = ItemBuilder::new();
    let mut names: Vec<&str> = NAMES.iter().copied().filter(|_| random.random_bool(0.6)).collect();
    names.sort_unstable();
    for name in names {
        write(random, &mut builder.name(name), levels);
    }
    builder.finish()
}

/// A value nested up to `levels`.
pub fn value(random: &mut StdRng, levels: usize) -> Value {
    Value::written(|writer| write(random, writer, levels))
}

fn write(random: &mut StdRng, writer: &mut ValueWriter<'_>, levels: usize) {
    // Containers are as likely as all scalars together, until the levels are used up.
    let kinds = if levels > 1 { 16 } else { 10 };
    match random.random_range(0..kinds) {
        0 | 1 => writer.string(text(random)),
        2 | 3 => writer.number(number(random)),
        4 => writer.binary(text(random).as_bytes()),
        5 => writer.boolean(random.random()),
        6 => writer.null(),
        7..=9 => write_set(random, writer),
        10..=12 => {
            let open = writer.begin_list();
            for _ in 0..random.random_range(0..4) {
                write(random, writer, levels - 1);
            }
            writer.end(open);
        }
        _ => {
            let open = writer.begin_map();
            let mut names: Vec<&str> = NAMES.iter().copied().filter(|_| random.random_bool(0.3)).collect();
            names.sort_unstable();
            for name in names {
                writer.name(name);
                write(random, writer, levels - 1);
            }
            writer.end(open);
        }
    }
}

fn write_set(random: &mut StdRng, writer: &mut ValueWriter<'_>) {
    let tag = *[Tag::StringSet, Tag::NumberSet, Tag::BinarySet]
        .choose(random)
        .unwrap_or(&Tag::StringSet);
    let mut elements: Vec<Vec<u8>> = (0..random.random_range(1..4))
        .map(|_| match tag {
            Tag::NumberSet => number(random).encode().as_bytes().to_vec(),
            _ => text(random).as_bytes().to_vec(),
        })
        .collect();
    elements.sort();
    elements.dedup();
    let open = writer.begin(tag);
    elements.iter().for_each(|element| writer.element(element));
    writer.end(open);
}

fn text(random: &mut StdRng) -> &'static str {
    [
        "",
        "a",
        "b",
        "abc",
        "a\"\\\n\u{1}",
        "ééé",
        "😀 text that is longer than eight bytes",
        "S",
    ]
    .choose(random)
    .copied()
    .unwrap_or_default()
}

fn number(random: &mut StdRng) -> Number {
    const TEXTS: &[&str] = &[
        "0",
        "1",
        "-1",
        "3",
        "10",
        "1.5",
        "1E125",
        "-9.99E125",
        "1E-130",
        "12345678901234567890123456789012345678",
        "-0.001",
    ];
    match TEXTS.choose(random).map(|text| Number::parse(text)) {
        Some(Ok(number)) if random.random_bool(0.7) => number,
        _ => Number::from(random.random::<i64>()),
    }
}

/// A condition, of up to `depth` levels.
pub fn condition(random: &mut StdRng, depth: usize, out: &mut String) {
    let kinds = if depth > 0 { 11 } else { 7 };
    match random.random_range(0..kinds) {
        0 | 1 => {
            operand(random, out);
            out.push_str([" = ", "<>", " < ", "<=", " > ", ">="].choose(random).unwrap_or(&"="));
            operand(random, out);
        }
        2 => {
            operand(random, out);
            out.push_str(" BETWEEN ");
            operand(random, out);
            out.push_str(" AND ");
            operand(random, out);
        }
        3 => {
            operand(random, out);
            out.push_str(" IN (");
            list(random, out, ", ", operand);
            out.push(')');
        }
        4 | 5 => {
            let function = ["begins_with", "contains"].choose(random).unwrap_or(&"contains");
            out.push_str(function);
            out.push('(');
            path(random, out);
            out.push_str(", ");
            operand(random, out);
            out.push(')');
        }
        6 => {
            out.push_str(
                ["attribute_exists(", "attribute_not_exists("]
                    .choose(random)
                    .unwrap_or(&""),
            );
            path(random, out);
            out.push(')');
        }
        7 => {
            out.push_str("NOT ");
            condition(random, depth - 1, out);
        }
        8 => {
            out.push('(');
            condition(random, depth - 1, out);
            out.push(')');
        }
        _ => {
            condition(random, depth - 1, out);
            out.push_str([" AND ", " OR ", " and ", " Or "].choose(random).unwrap_or(&" AND "));
            condition(random, depth - 1, out);
        }
    }
}

/// A key condition.
pub fn key_condition(random: &mut StdRng, out: &mut String) {
    out.push_str("pk = :v");
    if random.random_bool(0.7) {
        out.push_str(
            [
                " AND sk = :w",
                " AND sk BETWEEN :w AND :x",
                " AND begins_with(sk, :w)",
                " AND :x >= sk",
            ]
            .choose(random)
            .unwrap_or(&""),
        );
    }
}

/// A projection.
pub fn projection(random: &mut StdRng, out: &mut String) {
    list(random, out, ", ", path);
}

/// An update.
pub fn update(random: &mut StdRng, out: &mut String) {
    for clause in ["SET ", " REMOVE ", " ADD ", " DELETE "] {
        if random.random_bool(0.5) {
            out.push_str(clause);
            list(random, out, ", ", |random, out| {
                path(random, out);
                match clause {
                    "SET " => {
                        out.push_str(" = ");
                        term(random, out);
                        if random.random_bool(0.3) {
                            out.push_str([" + ", " - "].choose(random).unwrap_or(&"+"));
                            term(random, out);
                        }
                    }
                    " REMOVE " => {}
                    _ => {
                        out.push(' ');
                        placeholder(random, out);
                    }
                }
            });
        }
    }
}

fn term(random: &mut StdRng, out: &mut String) {
    match random.random_range(0..6) {
        0 | 1 => placeholder(random, out),
        2 | 3 => path(random, out),
        4 => {
            out.push_str("if_not_exists(");
            path(random, out);
            out.push_str(", ");
            placeholder(random, out);
            out.push(')');
        }
        _ => {
            out.push_str("list_append(");
            path(random, out);
            out.push_str(", ");
            placeholder(random, out);
            out.push(')');
        }
    }
}

fn operand(random: &mut StdRng, out: &mut String) {
    match random.random_range(0..6) {
        0..=2 => path(random, out),
        3 | 4 => placeholder(random, out),
        _ => {
            out.push_str("size(");
            path(random, out);
            out.push(')');
        }
    }
}

fn placeholder(random: &mut StdRng, out: &mut String) {
    out.push_str(VALUE_PLACEHOLDERS.choose(random).unwrap_or(&":v"));
}

fn path(random: &mut StdRng, out: &mut String) {
    name(random, out);
    while random.random_bool(0.3) {
        if random.random_bool(0.4) {
            out.push_str(["[0]", "[1]", "[2]", "[99]"].choose(random).unwrap_or(&"[0]"));
        } else {
            out.push('.');
            name(random, out);
        }
    }
}

fn name(random: &mut StdRng, out: &mut String) {
    if random.random_bool(0.3) {
        out.push_str(NAME_PLACEHOLDERS.choose(random).map_or("#n", |(key, _)| key));
    } else {
        out.push_str(["a", "b", "c", "k", "pk", "sk"].choose(random).unwrap_or(&"a"));
    }
}

fn list(random: &mut StdRng, out: &mut String, separator: &str, element: impl Fn(&mut StdRng, &mut String)) {
    for index in 0..random.random_range(1..4) {
        if index > 0 {
            out.push_str(separator);
        }
        element(random, out);
    }
}
