//! Expressions: hostile text in front of every parser, and the programs they make in front of items.
//!
//! 1. The input is an expression from the corpus or generated, its tokens exchanged or its bytes mutated.
//! 2. Every parser reads it, whatever kind it was meant to be.
//! 3. A program survives its way to another process, evaluates to the same thing each time, and keeps its promises:
//!    `NOT` is the opposite, a projection is a part, an updated item is a valid item within its limits and what the
//!    update does not name stays.

use partita_model::expression::{Condition, KeyCondition, Kind, Placeholders, Projection, Update};
use partita_model::item::{ITEM_SIZE_MAX, Item, ItemRef};
use partita_model::schema::{KeyAttribute, KeySchema, ScalarType};
use partita_model::value::Value;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::item::canonical;
use super::{Corpus, Target};
use crate::{generate, mutate};

/// `expression`
pub const TARGET: Target = Target {
    name: "expression",
    more: || Ok(Vec::new()),
    plain: |line| line.as_bytes().to_vec(),
    make,
    check,
};

const DICTIONARY: &[&str] = &[
    "(",
    ")",
    "[",
    "]",
    ",",
    ".",
    "=",
    "<>",
    "<",
    "<=",
    ">",
    ">=",
    "+",
    "-",
    " ",
    ":v",
    ":w",
    ":missing",
    "#n",
    "#m",
    "#missing",
    "a",
    "b",
    "pk",
    "sk",
    " AND ",
    " OR ",
    "NOT ",
    " BETWEEN ",
    " IN ",
    "size(",
    "contains(",
    "begins_with(",
    "attribute_type(",
    "attribute_exists(",
    "attribute_not_exists(",
    "if_not_exists(",
    "list_append(",
    "SET ",
    "REMOVE ",
    "ADD ",
    "DELETE ",
    "[0]",
    "[4294967296]",
    "[-1]",
    ".a",
    "a = :v",
    "(a = :v)",
    "NOT (",
    ", a = :v",
    "status",
    "é",
    "\u{0}",
    ":",
    "#",
    "0",
    "a.",
    ", a[1]",
];
/// Long enough for every kind of limit, short enough to be fast.
const ITEMS: usize = 2;

fn make(random: &mut StdRng, corpus: &Corpus) -> Vec<u8> {
    let mut text = seedling(random, corpus);
    if random.random_bool(0.6) {
        text = exchange_tokens(random, &text);
    }
    let mut input = text.into_bytes();
    if random.random_bool(0.3) {
        let other = seedling(random, corpus).into_bytes();
        mutate::bytes(random, &mut input, DICTIONARY, &other);
    }
    input
}

fn seedling(random: &mut StdRng, corpus: &Corpus) -> String {
    let mut text = String::new();
    match random.random_range(0..6) {
        0 => text.push_str(corpus.choose(random)),
        1 | 2 => {
            let depth = random.random_range(0..5);
            generate::condition(random, depth, &mut text);
        }
        3 => generate::key_condition(random, &mut text),
        4 => generate::projection(random, &mut text),
        _ => generate::update(random, &mut text),
    }
    text
}

/// Removes, doubles, exchanges and inserts whole tokens.
fn exchange_tokens(random: &mut StdRng, text: &str) -> String {
    let mut tokens: Vec<&str> = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':' | '#');
        let end = if word(first) {
            rest.find(|c| !word(c)).unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        let (token, after) = rest.split_at(end);
        tokens.push(token);
        rest = after;
    }
    for _ in 0..random.random_range(1..4) {
        let at = random.random_range(0..=tokens.len());
        match random.random_range(0..4) {
            0 if at < tokens.len() => drop(tokens.remove(at)),
            1 if at < tokens.len() => tokens.insert(at, tokens[at]),
            2 if at < tokens.len() => tokens[at] = DICTIONARY.choose(random).unwrap_or(&""),
            _ => tokens.insert(at, DICTIONARY.choose(random).unwrap_or(&"")),
        }
    }
    tokens.concat()
}

fn check(input: &[u8], random: &mut StdRng) {
    let text = String::from_utf8_lossy(input);
    let values: Vec<Value> = generate::VALUE_PLACEHOLDERS
        .iter()
        .map(|_| generate::value(random, 3))
        .collect();
    let values = generate::VALUE_PLACEHOLDERS
        .iter()
        .copied()
        .zip(values.iter().map(|value| Ok(value.as_ref())));
    let names = generate::NAME_PLACEHOLDERS.iter().copied();
    let Ok(placeholders) = Placeholders::new(Some(names), Some(values)) else {
        panic!("these placeholders are right");
    };
    let items: Vec<Item> = (0..ITEMS).map(|_| generate::item(random, 4)).collect();

    check_condition(&text, &placeholders, &items);
    check_key_condition(&text, &placeholders);
    check_projection(&text, &placeholders, &items);
    check_update(&text, &placeholders, &items);
    drop(placeholders.finish());
}

fn check_condition(text: &str, placeholders: &Placeholders<'_>, items: &[Item]) {
    let parsed = Condition::parse(Kind::Condition, text, placeholders);
    let as_filter = Condition::parse(Kind::Filter, text, placeholders);
    assert_eq!(
        parsed.is_ok(),
        as_filter.is_ok(),
        "conditions and filters are one language"
    );
    let Ok(condition) = parsed else { return };
    let condition = travelled(&condition);
    // Refused where they exceed a limit that the text alone keeps.
    let within = |text: String| Condition::parse(Kind::Condition, &text, placeholders).ok();
    let negated = within(format!("NOT ({text})"));
    let all = within(format!("attribute_exists(a) AND (({text}) OR attribute_exists(b))"));
    let any = within(format!("attribute_exists(a) OR (({text}) AND attribute_exists(b))"));
    for item in items.iter().map(|item| Some(item.as_ref())).chain([None]) {
        let truth = condition.matches(item);
        assert_eq!(condition.matches(item), truth, "the same each time");
        let exists = |name: &str| item.is_some_and(|item| item.get(name).is_some());
        let (a, b) = (exists("a"), exists("b"));
        for (combined, expected) in [(&negated, !truth), (&all, a && (truth || b)), (&any, a || (truth && b))] {
            if let Some(combined) = combined {
                assert_eq!(combined.matches(item), expected, "the laws of logic: {combined:?}");
            }
        }
    }
}

fn check_key_condition(text: &str, placeholders: &Placeholders<'_>) {
    let Ok(condition) = KeyCondition::parse(text, placeholders) else {
        return;
    };
    let key = |name: &str, kind| KeyAttribute {
        name: name.to_owned(),
        kind,
    };
    for (hash, range) in [
        (ScalarType::S, ScalarType::N),
        (ScalarType::N, ScalarType::S),
        (ScalarType::B, ScalarType::B),
    ] {
        let keys = KeySchema {
            hash: vec![key("pk", hash)],
            range: vec![key("sk", range)],
        };
        if let Ok(query) = condition.resolve(&keys, None) {
            assert_eq!(query.hash.len(), 1);
            assert_eq!(query.hash[0].as_ref().kind(), hash.value_type());
            assert!(query.range.len() <= 1 && (query.range.is_empty() || query.rest.is_none()));
        }
    }
}

fn check_projection(text: &str, placeholders: &Placeholders<'_>, items: &[Item]) {
    let Ok(projection) = Projection::parse(text, placeholders) else {
        return;
    };
    let projection = travelled(&projection);
    for item in items {
        let part = projection.apply(item.as_ref());
        valid(part.as_ref());
        assert!(part.as_ref().size() <= item.as_ref().size(), "a part is not larger");
        for (name, _) in part.as_ref() {
            assert!(
                projection.paths().iter().any(|path| path.root == name),
                "{name} was not asked for"
            );
            assert!(item.as_ref().get(name).is_some(), "{name} is not in the item");
        }
    }
}

fn check_update(text: &str, placeholders: &Placeholders<'_>, items: &[Item]) {
    let Ok(update) = Update::parse(text, placeholders) else {
        return;
    };
    let update = travelled(&update);
    let key = Item::from_attributes([("pk", Value::string("key").as_ref())]);
    for old in items.iter().map(|item| Some(item.as_ref())).chain([None]) {
        let Ok(new) = update.apply(old, key.as_ref()) else {
            continue;
        };
        let new = new.as_ref();
        valid(new);
        assert!(new.size() <= ITEM_SIZE_MAX);
        let touched = |name: &str| update.attributes().any(|attribute| attribute == name);
        for (name, value) in old.unwrap_or(key.as_ref()) {
            assert!(
                touched(name) || new.get(name) == Some(value),
                "{name} should have stayed"
            );
        }
        for (name, _) in new {
            let before = old.unwrap_or(key.as_ref()).get(name);
            assert!(touched(name) || before.is_some(), "{name} comes from nowhere");
        }
        for part in [update.updated_old(old), update.updated_new(new)].into_iter().flatten() {
            valid(part.as_ref());
            assert!(part.as_ref().iter().all(|(name, _)| touched(name)));
        }
    }
}

fn valid(item: ItemRef<'_>) {
    match ItemRef::parse(item.as_bytes()) {
        Ok(item) => canonical(item),
        Err(error) => panic!("{error}: {item:?}"),
    }
}

/// What another process receives; it must be the same.
fn travelled<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(program: &T) -> T {
    let received = serde_json::to_vec(program).and_then(|bytes| serde_json::from_slice(&bytes));
    match received {
        Ok(received) => {
            assert_eq!(&received, program, "as it was sent");
            received
        }
        Err(error) => panic!("{error}: {program:?}"),
    }
}
