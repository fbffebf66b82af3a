//! Items in stored form: what storage, a log or another process hands over.
//!
//! 1. The input is an item that was written properly (from the corpus as JSON, or generated), then mutated as bytes.
//! 2. Without validation (`from_stored`) every way of reading it must come to an end.
//! 3. With validation (`parse`) it is the one form of what it says: written again, by whatever way, it is the same
//!    bytes.

use partita_model::item::{Item, ItemBuilder, ItemRef};
use partita_model::json;
use partita_model::value::{LEVELS_MAX, Tag, ValueRef, ValueWriter};
use partita_model::wire::WireItem;
use rand::Rng;
use rand::rngs::StdRng;

use super::{Corpus, Target};
use crate::{generate, mutate};

/// `item`
pub const TARGET: Target = Target {
    name: "item",
    more: || Ok(Vec::new()),
    plain: |line| read(line).unwrap_or_default().into_bytes(),
    make,
    check: |input, random| check(input, random),
};

/// Tags and lengths.
const DICTIONARY: &[&str] = &[
    "\u{1}",
    "\u{2}",
    "\u{3}",
    "\u{4}",
    "\u{5}",
    "\u{6}",
    "\u{7}",
    "\u{8}",
    "\u{9}",
    "\u{A}",
    "\0",
    "\u{7F}",
    "\u{80}",
    "\u{8}\u{2}",
    "\u{7}\u{2}",
    "pk",
    "é",
];

fn make(random: &mut StdRng, corpus: &Corpus) -> Vec<u8> {
    let mut input = seedling(random, corpus).into_bytes();
    if random.random_bool(0.9) {
        let other = seedling(random, corpus).into_bytes();
        mutate::bytes(random, &mut input, DICTIONARY, &other);
        // Without this nearly nothing would come past the header.
        repair(random, &mut input);
    }
    input
}

fn seedling(random: &mut StdRng, corpus: &Corpus) -> Item {
    if random.random_bool(0.5) {
        return read(corpus.choose(random)).unwrap_or_default();
    }
    let levels = if random.random_bool(0.05) { LEVELS_MAX } else { 4 };
    generate::item(random, levels)
}

/// A line of the corpus, in stored form.
fn read(line: &str) -> Option<Item> {
    let wrapped = json::decode::<Wrapped>(line.as_bytes()).ok()?;
    wrapped.item?.into_item().ok()
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Wrapped {
    item: Option<WireItem>,
}

/// Makes version and size right, most of the time.
fn repair(random: &mut StdRng, input: &mut [u8]) {
    if random.random_bool(0.1) || input.len() < 13 {
        return;
    }
    input[0] = partita_model::item::VERSION;
    if let Ok(item) = ItemRef::from_stored(input) {
        let size: u64 = item.iter().map(|(name, value)| name.len() as u64 + value.size()).sum();
        input[9..13].copy_from_slice(&(size as u32).to_le_bytes());
    }
}

/// Panics on a finding. Other targets call it with what they accepted.
pub fn check(input: &[u8], _random: &mut StdRng) {
    if let Ok(item) = ItemRef::from_stored(input) {
        walk(item);
    }
    let Ok(item) = ItemRef::parse(input) else { return };
    canonical(item);
}

/// Reads everything, valid or not.
fn walk(item: ItemRef<'_>) {
    let mut text = Vec::new();
    item.write_json(&mut text);
    let mut values = 0;
    for (name, value) in item {
        // In damaged bytes another attribute may be found under the name, or none.
        let _ = item.get(name);
        let _ = (
            value.size(),
            value.levels(),
            value.len(),
            value.as_number(),
            value.as_str(),
        );
        let _ = (
            value.get("a"),
            value.nth(1),
            value.set_contains(b"a"),
            ValueRef::parse(value.bytes()),
        );
        values += 1;
    }
    assert!(values <= item.as_bytes().len());
    let _ = (item.with("b", None), item.size(), item.time());
}

/// What [`ItemRef::parse`] accepts has one form.
pub fn canonical(item: ItemRef<'_>) {
    let mut builder = ItemBuilder::new();
    let mut sum = 0;
    for (name, value) in item {
        assert!(value.levels() <= LEVELS_MAX, "{} levels", value.levels());
        assert_eq!(item.get(name), Some(value), "found by name");
        assert!(
            ValueRef::parse(value.bytes()).is_ok(),
            "a part of a valid item is valid"
        );
        sum += name.len() as u64 + value.size();
        rewrite(value, &mut builder.name(name));
    }
    assert_eq!(item.size(), sum);
    let mut again = builder.finish();
    again.set_time(item.time());
    assert_eq!(again.as_bytes(), item.as_bytes(), "written again, value by value");
    assert_eq!(
        item.with("no such name", None).as_bytes(),
        item.as_bytes(),
        "without what is not there"
    );

    let mut body = b"{\"Item\":".to_vec();
    item.write_json(&mut body);
    body.push(b'}');
    assert!(
        serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok(),
        "what is printed is JSON"
    );
    match json::decode::<Wrapped>(&body).map(|wrapped| wrapped.item) {
        Ok(Some(read)) => {
            if let Ok(mut read) = read.into_item() {
                read.set_time(item.time());
                assert_eq!(read.as_bytes(), item.as_bytes(), "printed and read back");
            }
        }
        other => panic!("what is printed must be readable: {other:?}"),
    }
}

/// Writes a value through the writer's finest operations.
fn rewrite(value: ValueRef<'_>, writer: &mut ValueWriter<'_>) {
    match value.tag() {
        Tag::String => writer.string(value.as_str().unwrap_or("not a string")),
        Tag::Number => match value.as_number() {
            Some(number) => writer.number(number),
            None => panic!("a valid number is a number"),
        },
        Tag::Binary => writer.binary(value.as_bytes().unwrap_or(b"not a binary")),
        Tag::True | Tag::False => writer.boolean(value.as_bool().unwrap_or_default()),
        Tag::Null => writer.null(),
        Tag::List => {
            let open = writer.begin_list();
            value.list().for_each(|element| rewrite(element, writer));
            writer.end(open);
        }
        Tag::Map => {
            let open = writer.begin_map();
            for (name, entry) in value.map() {
                writer.name(name);
                rewrite(entry, writer);
            }
            writer.end(open);
        }
        tag @ (Tag::StringSet | Tag::NumberSet | Tag::BinarySet) => {
            let open = writer.begin(tag);
            value.set().for_each(|element| writer.element(element));
            writer.end(open);
        }
    }
}
