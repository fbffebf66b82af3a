//! The encodings on disk are a contract: `golden/encodings.txt` freezes them. A line that fails here is a change of
//! format that existing data would not survive; a new kind of value or key gets new lines.

#![allow(clippy::unwrap_used)]

use partita_model::item::{Item, ItemRef};
use partita_model::key::{self, component};
use partita_model::wire::{WireItem, WireValue};

const GOLDEN: &str = include_str!("golden/encodings.txt");

fn item(text: &str) -> Item {
    serde_json::from_str::<WireItem>(text).unwrap().into_item().unwrap()
}

fn value(text: &str) -> partita_model::value::Value {
    serde_json::from_str::<WireValue>(text).unwrap().into_value().unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a line's left side encodes to.
fn encode(kind: &str, text: &str) -> String {
    match kind {
        "value" => hex(value(text).as_ref().bytes()),
        "item" => {
            let mut item = item(text);
            item.set_time(0x0123_4567_89ab_cdef);
            assert!(ItemRef::parse(item.as_bytes()).is_ok());
            hex(item.as_bytes())
        }
        "component" => {
            let mut out = Vec::new();
            component::write(value(text).as_ref(), &mut out).unwrap();
            hex(&out)
        }
        // Partition keys under the seed 42.
        "collection" => hex(key::collection(42, [value(text).as_ref()]).unwrap().as_bytes()),
        other => panic!("unknown kind of line: {other}"),
    }
}

#[test]
fn encodings_are_as_they_were() {
    let mut wrong = Vec::new();
    for line in GOLDEN.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (kind, rest) = line.split_once(' ').unwrap();
        let (text, expected) = rest.rsplit_once(" = ").unwrap_or((rest, ""));
        let actual = encode(kind, text);
        if actual != expected {
            wrong.push(format!("{kind} {text} = {actual}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "lines that encode differently now:\n{}",
        wrong.join("\n")
    );
}
