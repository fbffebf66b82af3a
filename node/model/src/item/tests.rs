use proptest::prelude::*;

use super::*;
use crate::value::Value;
use crate::wire::WireItem;

fn item(text: &str) -> Item {
    serde_json::from_str::<WireItem>(text).unwrap().into_item().unwrap()
}

#[test]
fn has_a_header_and_sorted_attributes() {
    let mut item = item(r#"{"b":{"S":"xyz"},"a":{"N":"12"}}"#);
    item.set_time(0x0102_0304_0506_0708);
    assert_eq!(
        item.as_bytes(),
        [
            &[1, 1, 2, 3, 4, 5, 6, 7, 8, 7, 0, 0, 0][..],
            &[1, b'a', 2, 4, 0xC0, 131, 13, 0],
            &[1, b'b', 1, 3, b'x', b'y', b'z'],
        ]
        .concat()
    );
    let item = item.as_ref();
    assert_eq!(item.size(), 7);
    assert_eq!(item.time(), 0x0102_0304_0506_0708);
    assert_eq!(item.get("b").unwrap().as_str(), Some("xyz"));
    assert_eq!(item.get("aa"), None);
    assert_eq!(item.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(ItemRef::parse(item.as_bytes()), Ok(item));
}

#[test]
fn is_built_in_any_order() {
    let (one, two) = (Value::string("1"), Value::string("2"));
    let built = Item::from_attributes([("b", one.as_ref()), ("a", two.as_ref()), ("b", two.as_ref())]);
    assert_eq!(built, item(r#"{"a":{"S":"2"},"b":{"S":"2"}}"#));
    let twice = Item::from_attributes([("", one.as_ref()), ("", two.as_ref())]);
    assert_eq!(twice.as_ref().iter().count(), 1);
    assert!(Item::empty().as_ref().is_empty());
    assert_eq!(Item::empty().as_ref().size(), 0);
}

#[test]
fn one_attribute_is_replaced_added_or_removed() {
    let mut before = item(r#"{"a":{"S":"1"},"c":{"S":"3"}}"#);
    before.set_time(9);
    let value = Value::string("x");
    let with = |name: &str, value| before.as_ref().with(name, value);
    assert_eq!(with("b", Some(value.as_ref())).as_ref().iter().count(), 3);
    assert_eq!(with("b", None), before);
    assert_eq!(with("c", Some(value.as_ref())).as_ref().get("c"), Some(value.as_ref()));
    assert_eq!(with("a", None).as_ref().iter().count(), 1);
    assert_eq!(with("a", None).as_ref().time(), 9);
}

#[test]
fn damage_is_found() {
    let item = item(r#"{"a":{"S":"1"},"c":{"L":[{"S":"3"}]}}"#);
    let bytes = item.as_bytes();
    for length in 0..bytes.len() {
        assert!(ItemRef::parse(&bytes[..length]).is_err(), "{length}");
    }
    for at in [0, 9] {
        let mut bytes = bytes.to_vec();
        bytes[at] += 1;
        assert!(ItemRef::parse(&bytes).is_err());
    }
    assert!(postcard::from_bytes::<Item>(&[2, 1, 0]).is_err());
    let frame = postcard::to_allocvec(&item).unwrap();
    assert_eq!(frame.len(), bytes.len() + 1);
    assert_eq!(postcard::from_bytes::<Item>(&frame).unwrap(), item);
}

proptest! {
    #[test]
    fn json_comes_back(attributes in prop::collection::btree_map("[a-zé]{1,9}", crate::value::tests::any_json(), 0..8)) {
        let json = serde_json::to_string(&attributes).unwrap();
        let item = item(&json);
        prop_assert_eq!(ItemRef::parse(item.as_bytes()), Ok(item.as_ref()));
        let mut out = Vec::new();
        item.as_ref().write_json(&mut out);
        prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(&out).unwrap(), serde_json::json!(attributes));
        let reversed: Vec<_> = item.as_ref().iter().collect();
        prop_assert_eq!(Item::from_attributes(reversed.into_iter().rev()), item);
    }

    #[test]
    fn reading_any_bytes_does_not_panic(bytes in prop::collection::vec(0..20u8, 0..80)) {
        let stored = [&[VERSION][..], &bytes].concat();
        let parsed = ItemRef::parse(&stored).is_ok();
        if let Ok(item) = ItemRef::from_stored(&stored) {
            item.write_json(&mut Vec::new());
            let rebuilt = Item::from_attributes(item);
            let _ = (item.get("a"), item.size(), item.time());
            if parsed {
                prop_assert_eq!(&rebuilt.as_bytes()[9..], &stored[9..]);
            }
        }
    }
}
