use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::number::Number;
use crate::wire::WireValue;

/// The value of a DynamoDB JSON text.
fn value(text: &str) -> Value {
    serde_json::from_str::<WireValue>(text).unwrap().into_value().unwrap()
}

fn printed(value: ValueRef<'_>) -> String {
    let mut out = Vec::new();
    value.write_json(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn sizes_follow_dynamodbs_rules() {
    let cases = [
        (r#"{"S":""}"#, 0),
        (r#"{"S":"é"}"#, 2),
        (r#"{"B":"AAEC"}"#, 3),
        (r#"{"BOOL":true}"#, 1),
        (r#"{"NULL":true}"#, 1),
        (r#"{"N":"12345"}"#, 4),
        (r#"{"SS":["a","bc"]}"#, 3),
        (r#"{"NS":["1","-2"]}"#, 5),
        (r#"{"L":[]}"#, 3),
        (r#"{"L":[{"S":"ab"},{"NULL":true}]}"#, 3 + 1 + 2 + 1 + 1),
        (r#"{"M":{}}"#, 3),
        (r#"{"M":{"abc":{"S":"de"}}}"#, 3 + 1 + 3 + 2),
    ];
    for (text, size) in cases {
        assert_eq!(value(text).as_ref().size(), size, "{text}");
    }
}

#[test]
fn reads_inside_without_decoding() {
    let map = value(r#"{"M":{"a":{"N":"1"},"l":{"L":[{"S":"x"},{"BOOL":false}]},"z":{"B":"AQ=="}}}"#);
    let map = map.as_ref();
    assert_eq!(map.len(), 3);
    assert_eq!(map.get("a").unwrap().as_number(), Some(Number::from(1)));
    let list = map.get("l").unwrap();
    assert_eq!(list.nth(0).unwrap().as_str(), Some("x"));
    assert_eq!(list.nth(1).unwrap().as_bool(), Some(false));
    assert_eq!(list.nth(2), None);
    assert_eq!(map.get("z").unwrap().as_bytes(), Some(&[1][..]));
    assert_eq!(map.get("b"), None);
    assert_eq!(list.get("a"), None);
    assert_eq!(map.get("a").unwrap().nth(0), None);
}

#[test]
fn sets_unite_and_differ() {
    let a = value(r#"{"NS":["1","2","30"]}"#);
    let b = value(r#"{"NS":["30","-5"]}"#);
    let union = set::union(a.as_ref(), b.as_ref()).unwrap();
    assert_eq!(printed(union.as_ref()), r#"{"NS":["-5","1","2","30"]}"#);
    let difference = set::difference(a.as_ref(), b.as_ref()).unwrap().unwrap();
    assert_eq!(printed(difference.as_ref()), r#"{"NS":["1","2"]}"#);
    assert_eq!(set::difference(a.as_ref(), a.as_ref()), Some(None));
    assert_eq!(set::union(a.as_ref(), value(r#"{"SS":["x"]}"#).as_ref()), None);
    assert_eq!(
        set::union(value(r#"{"N":"1"}"#).as_ref(), value(r#"{"N":"1"}"#).as_ref()),
        None
    );
}

#[test]
fn escapes_what_json_must() {
    let text: String = (0..0x80u8).map(char::from).chain("é\u{2028}😀".chars()).collect();
    for start in 0..text.len().min(0x80) {
        let value = Value::string(&text[start..]);
        let json: Json = serde_json::from_str(&printed(value.as_ref())).unwrap();
        assert_eq!(json, json!({"S": &text[start..]}));
    }
}

#[test]
fn long_payloads_move_to_make_room_for_their_length() {
    for length in [0, 1, 126, 127, 128, 129, 16_383, 16_384, 70_000, 3_000_000] {
        let text = "x".repeat(length);
        let list = Value::list([Value::string(&text).as_ref(), Value::null().as_ref()]);
        assert_eq!(ValueRef::parse(list.as_ref().bytes()), Ok(list.as_ref()));
        assert_eq!(list.as_ref().nth(0).unwrap().as_str(), Some(text.as_str()));
    }
}

#[test]
fn damaged_bytes_are_found() {
    let good = value(r#"{"M":{"a":{"N":"15"},"b":{"L":[{"S":"é"}]},"c":{"SS":["x","y"]}}}"#);
    let bytes = good.as_ref().bytes();
    for length in 0..bytes.len() {
        assert!(ValueRef::parse(&bytes[..length]).is_err());
    }
    for (bytes, what) in [
        (&[0u8, 0][..], "no tag"),
        (&[12, 0], "unknown tag"),
        (&[1, 0x81, 0, b'x'], "length not in its shortest form"),
        (&[1, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1], "endless length"),
        (&[1, 1, 0xFF], "not UTF-8"),
        (&[5, 1, 0], "true with a payload"),
        (&[9, 0], "empty set"),
        (&[9, 4, 1, b'b', 1, b'a'], "unsorted set"),
        (&[9, 4, 1, b'a', 1, b'a'], "set with duplicates"),
        (&[8, 8, 1, b'b', 6, 0, 1, b'a', 6, 0], "unsorted map"),
        (&[6, 0, 0], "trailing bytes"),
    ] {
        assert!(ValueRef::parse(bytes).is_err(), "{what}");
    }
    let mut deep = vec![6, 0];
    for _ in 0..32 {
        let mut list = vec![7];
        write::write_varint(&mut list, deep.len());
        list.extend_from_slice(&deep);
        deep = list;
    }
    assert!(ValueRef::parse(&deep).is_err());
    assert!(ValueRef::parse(&deep[2..]).is_ok());
    // Walks over what no check has seen end by themselves.
    let (unchecked, _) = walk::split_value(&deep).unwrap();
    printed(unchecked);
    unchecked.size();
    unchecked.levels();
}

/// DynamoDB JSON of any value, as `serde_json` sees it, normalised and sorted.
pub fn any_json() -> impl Strategy<Value = Json> {
    let number = || crate::number::tests::any_number().prop_map(|number| number.to_string());
    let binary = || prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| base64(&bytes));
    let leaf = prop_oneof![
        any::<String>().prop_map(|text| json!({"S": text})),
        number().prop_map(|text| json!({"N": text})),
        binary().prop_map(|text| json!({"B": text})),
        any::<bool>().prop_map(|value| json!({"BOOL": value})),
        Just(json!({"NULL": true})),
        prop::collection::btree_set(any::<String>(), 1..5).prop_map(|set| json!({"SS": set})),
        prop::collection::btree_set(crate::number::tests::any_number(), 1..5)
            .prop_map(|set| json!({"NS": set.iter().map(Number::to_string).collect::<Vec<_>>()})),
        prop::collection::btree_set(prop::collection::vec(any::<u8>(), 0..9), 1..5)
            .prop_map(|set| json!({"BS": set.iter().map(|bytes| base64(bytes)).collect::<Vec<_>>()})),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(|list| json!({"L": list})),
            prop::collection::btree_map("(?s).{1,9}", inner, 0..6).prop_map(|map| json!({"M": map})),
        ]
    })
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

proptest! {
    #[test]
    fn json_comes_back(json in any_json()) {
        let value = value(&json.to_string());
        let again: Json = serde_json::from_str(&printed(value.as_ref())).unwrap();
        prop_assert_eq!(again, json);
        prop_assert_eq!(ValueRef::parse(value.as_ref().bytes()), Ok(value.as_ref()));
        let frame = postcard::to_allocvec(&value).unwrap();
        prop_assert_eq!(postcard::from_bytes::<Value>(&frame).unwrap(), value);
    }

    #[test]
    fn reading_any_bytes_does_not_panic(bytes in prop::collection::vec(0..20u8, 0..60)) {
        let parsed = ValueRef::parse(&bytes);
        if let Some((value, _)) = walk::split_value(&bytes) {
            printed(value);
            value.size();
            value.levels();
            value.list().count();
            value.map().count();
            value.set().count();
        }
        if let Ok(value) = parsed {
            let again = serde_json::from_str::<WireValue>(&printed(value)).unwrap().into_value().unwrap();
            prop_assert_eq!(again.as_ref(), value);
        }
    }

    #[test]
    fn one_flipped_byte_is_found_or_makes_another_value(json in any_json(), at in any::<prop::sample::Index>(), flip in 1..=255u8) {
        let value = value(&json.to_string());
        let mut bytes = value.clone().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(other) = ValueRef::parse(&bytes) {
            prop_assert_ne!(other, value.as_ref());
            printed(other);
        }
    }
}
