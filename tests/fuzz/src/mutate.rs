//! Mutations: of bytes, and of JSON as a tree.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};

/// Inputs stay this small, or there would be few cases in a second.
const BYTES_MAX: usize = 512 * 1024;
/// How often a bracket is repeated at most: deeper than any stack could follow.
const NESTING_MAX: usize = 50_000;

/// One to four mutations of bytes; `other` is what pieces are taken from.
pub fn bytes(random: &mut StdRng, input: &mut Vec<u8>, dictionary: &[&str], other: &[u8]) {
    for _ in 0..random.random_range(1..=4) {
        once(random, input, dictionary, other);
    }
    input.truncate(BYTES_MAX);
}

fn once(random: &mut StdRng, input: &mut Vec<u8>, dictionary: &[&str], other: &[u8]) {
    let piece = range(random, input.len());
    match random.random_range(0..11) {
        0 => {
            if let Some(byte) = input.get_mut(piece.start) {
                *byte ^= 1 << random.random_range(0..8);
            }
        }
        1 => {
            if let Some(byte) = input.get_mut(piece.start) {
                *byte = random.random();
            }
        }
        2 => insert(input, piece.start, &[random.random()]),
        3 | 4 => {
            let token = dictionary.choose(random).map_or(&b"\0"[..], |token| token.as_bytes());
            insert(input, piece.start, token);
        }
        5 => drop(input.drain(piece)),
        6 => {
            let copy = input[piece.clone()].to_vec();
            insert(input, piece.end, &copy);
        }
        7 => {
            let from = range(random, other.len());
            insert(input, piece.start, &other[from]);
        }
        8 => {
            let from = range(random, other.len());
            input.splice(piece, other[from].iter().copied());
        }
        9 => input.truncate(piece.start),
        _ => {
            let repeated = repetition(random, dictionary);
            insert(input, piece.start, &repeated);
        }
    }
}

/// A token many times over: nesting, chains.
fn repetition(random: &mut StdRng, dictionary: &[&str]) -> Vec<u8> {
    // Mostly short: long ones are refused early, whatever they are.
    let bound = *[4, 40, 400, NESTING_MAX].choose(random).unwrap_or(&4);
    let times = random.random_range(1..=bound);
    let token = dictionary.choose(random).map_or(&b"("[..], |token| token.as_bytes());
    token.repeat(times.min(BYTES_MAX / token.len().max(1)))
}

fn insert(input: &mut Vec<u8>, at: usize, piece: &[u8]) {
    input.splice(at..at, piece.iter().copied());
}

fn range(random: &mut StdRng, len: usize) -> std::ops::Range<usize> {
    let start = random.random_range(0..=len);
    let longest = *[1, 4, 32, len].choose(random).unwrap_or(&1);
    start..(start + random.random_range(0..=longest)).min(len)
}

/// One to three changes of a JSON tree: a node replaced, removed, doubled, renamed, wrapped or exchanged with a piece
/// of `other`.
pub fn tree(random: &mut StdRng, root: &mut Value, names: &[&str], other: &Value) {
    for _ in 0..random.random_range(1..=3) {
        let mut place = random.random_range(0..count(root));
        let piece = nth(other, random.random_range(0..count(other)));
        visit(root, &mut place, &mut |node| change(random, node, names, &piece));
    }
}

fn change(random: &mut StdRng, node: &mut Value, names: &[&str], piece: &Value) {
    let name = names.choose(random).copied().unwrap_or_default();
    match random.random_range(0..7) {
        0 => *node = interesting(random),
        1 => *node = piece.clone(),
        2 => *node = json!([node.take()]),
        3 => *node = json!({ name: node.take() }),
        4 => match node {
            Value::Object(entries) => drop(entries.insert(name.to_owned(), piece.clone())),
            Value::Array(elements) => elements.extend(elements.first().cloned()),
            _ => *node = interesting(random),
        },
        5 => match node {
            Value::Object(entries) => drop(take_one(random, entries)),
            Value::Array(elements) => drop(elements.pop()),
            _ => *node = Value::Null,
        },
        _ => match node {
            Value::Object(entries) => {
                if let Some(value) = take_one(random, entries) {
                    entries.insert(name.to_owned(), value);
                }
            }
            _ => *node = json!(interesting_text(random)),
        },
    }
}

fn take_one(random: &mut StdRng, entries: &mut serde_json::Map<String, Value>) -> Option<Value> {
    let keys: Vec<String> = entries.keys().cloned().collect();
    entries.remove(keys.choose(random)?)
}

/// Values at the edges of the API.
fn interesting(random: &mut StdRng) -> Value {
    match random.random_range(0..12) {
        0 => Value::Null,
        1 => json!(random.random::<bool>()),
        2 => json!(
            *[0i64, -1, 1, 1000, i64::MAX, i64::MIN, 1 << 31]
                .choose(random)
                .unwrap_or(&0)
        ),
        3 => json!(*[0.5, -1e300, 1e20].choose(random).unwrap_or(&0.5)),
        4 => json!(interesting_text(random)),
        5 => json!([]),
        6 => json!({}),
        7 => json!({"N": interesting_text(random)}),
        8 => json!({"SS": ["a", interesting_text(random)]}),
        9 => json!({"NS": ["1", interesting_text(random)]}),
        10 => json!({"B": interesting_text(random)}),
        _ => nested(random),
    }
}

/// A value around the limit of nesting.
fn nested(random: &mut StdRng) -> Value {
    let mut value = json!({"S": interesting_text(random)});
    for level in 0..random.random_range(0..40) {
        value = match level % 2 {
            0 => json!({"L": [value]}),
            _ => json!({"M": {"k": value}}),
        };
    }
    value
}

fn interesting_text(random: &mut StdRng) -> String {
    #[rustfmt::skip]
    const TEXTS: &[&str] = &[
        "", "0", "-0", "1", "1.0", "9.99E+125", "1E126", "-1e-130", "1e-131", "00012.500", "+3", "1e", ".5", "5.", "NaN",
        "Infinity", "99999999999999999999999999999999999999", "123456789012345678901234567890123456789", "AA==", "AB==",
        "AAA", "é", "\u{0}", "\u{10FFFF}", "ALL_OLD", "NONE", "a", "pk", ":v", "#n",
    ];
    match random.random_range(0..20) {
        0 => "x".repeat(random.random_range(0..70_000)),
        1 => "7".repeat(random.random_range(0..200)),
        _ => TEXTS.choose(random).copied().unwrap_or_default().to_owned(),
    }
}

/// Nodes of a tree.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(elements) => elements.iter().map(count).sum(),
        Value::Object(entries) => entries.values().map(count).sum(),
        _ => 0,
    }
}

/// A copy of the node number `place`, counted outside in.
fn nth(value: &Value, mut place: usize) -> Value {
    let mut copy = value.clone();
    let mut found = Value::Null;
    visit(&mut copy, &mut place, &mut |node| found = node.take());
    found
}

/// Calls `found` with the node number `place`; whether it was in this part of the tree.
fn visit(value: &mut Value, place: &mut usize, found: &mut dyn FnMut(&mut Value)) -> bool {
    if *place == 0 {
        found(value);
        return true;
    }
    *place -= 1;
    match value {
        Value::Array(elements) => elements.iter_mut().any(|element| visit(element, place, found)),
        Value::Object(entries) => entries.values_mut().any(|entry| visit(entry, place, found)),
        _ => false,
    }
}
