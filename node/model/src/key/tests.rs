use std::ops::{Bound, RangeBounds};

use proptest::prelude::*;

use super::range::{self, SortCondition};
use super::*;
use crate::item::Item;
use crate::number::Number;
use crate::schema::{IndexProjection, ScalarType, SchemaVersion, TableId};
use crate::value::Value;

fn attribute(name: &str, kind: ScalarType) -> KeyAttribute {
    KeyAttribute {
        name: name.to_owned(),
        kind,
    }
}

fn schema() -> TableSchema {
    let hash = vec![attribute("pk", ScalarType::S)];
    TableSchema {
        id: TableId(1),
        seed: 7,
        version: SchemaVersion(1),
        name: "table".to_owned(),
        keys: KeySchema {
            hash: hash.clone(),
            range: vec![attribute("sk", ScalarType::N)],
        },
        local: vec![LocalIndex {
            id: IndexId(0x0102),
            name: "local".to_owned(),
            keys: KeySchema {
                hash,
                range: vec![attribute("lk", ScalarType::B)],
            },
            projection: IndexProjection::KeysOnly,
        }],
        global: vec![GlobalIndex {
            id: IndexId(2),
            table: TableId(2),
            seed: 9,
            name: "global".to_owned(),
            keys: KeySchema {
                hash: vec![attribute("g1", ScalarType::S), attribute("g2", ScalarType::N)],
                range: vec![attribute("r1", ScalarType::S), attribute("r2", ScalarType::S)],
            },
            projection: IndexProjection::All,
            readable: true,
        }],
        time_to_live: None,
        stream: None,
    }
}

fn item(attributes: &[(&str, Value)]) -> Item {
    Item::from_attributes(attributes.iter().map(|(name, value)| (*name, value.as_ref())))
}

fn whole_item() -> Item {
    item(&[
        ("pk", Value::string("p\0q")),
        ("sk", Value::number(Number::from(-5))),
        ("lk", Value::binary(&[0, 0xFF])),
        ("g1", Value::string("a")),
        ("g2", Value::number(Number::from(1))),
        ("r1", Value::string("b")),
        ("r2", Value::string("c")),
    ])
}

#[test]
fn keys_of_rows_are_their_parts_in_order() {
    let (schema, item) = (schema(), whole_item());
    let partition = b"p\0\xFFq\0\0";
    let sort = Number::from(-5);
    let sort = sort.encode();
    let hash = |seed, bytes: &[u8]| xxh3_64_with_seed(bytes, seed).to_be_bytes();
    let primary = primary(&schema.keys, schema.seed, item.as_ref()).unwrap();
    assert_eq!(
        primary.0,
        [&hash(7, partition)[..], partition, sort.as_bytes()].concat()
    );
    assert_eq!(primary.hash().to_be_bytes(), hash(7, partition));

    let local = local_row(&schema, &schema.local[0], item.as_ref()).unwrap();
    let sort_of_index = b"\0\xFF\xFF\0\0";
    assert_eq!(
        local.0,
        [
            &hash(7, partition)[..],
            partition,
            &[1, 2],
            sort_of_index,
            sort.as_bytes()
        ]
        .concat()
    );
    assert_eq!(local_index_of(&schema.keys, local.as_bytes()), Some(IndexId(0x0102)));
    assert_eq!(
        collection_of(&schema.keys, local.as_bytes()),
        collection_of(&schema.keys, primary.as_bytes())
    );

    let global = global_row(&schema, &schema.global[0], item.as_ref()).unwrap();
    let one = Number::from(1);
    let global_hash = [b"a\0\0", one.encode().as_bytes()].concat();
    assert_eq!(
        global.0,
        [
            &hash(9, &global_hash)[..],
            &global_hash,
            b"b\0\0c\0\0",
            partition,
            sort.as_bytes()
        ]
        .concat()
    );
}

#[test]
fn items_without_an_indexs_keys_have_no_row() {
    let schema = schema();
    let keys = [("pk", Value::string("p")), ("sk", Value::number(Number::ZERO))];
    assert!(local_row(&schema, &schema.local[0], item(&keys).as_ref()).is_none());
    let wrong_type = [&keys[..], &[("lk", Value::string("x"))]].concat();
    assert!(local_row(&schema, &schema.local[0], item(&wrong_type).as_ref()).is_none());
    let empty = [&keys[..], &[("lk", Value::binary(&[]))]].concat();
    assert!(local_row(&schema, &schema.local[0], item(&empty).as_ref()).is_none());
    let whole = whole_item();
    assert!(global_row(&schema, &schema.global[0], whole.as_ref().with("r2", None).as_ref()).is_none());
    assert!(primary(&schema.keys, 7, whole.as_ref().with("sk", None).as_ref()).is_none());
}

#[test]
fn segments_share_all_hashes() {
    for total in [1u32, 2, 3, 7, 1000, 1_000_000] {
        let mut end = Bound::Unbounded;
        for index in [0, 1, total / 2, total.saturating_sub(2), total - 1] {
            if index >= total {
                continue;
            }
            let (from, to) = range::segment(index, total);
            if index > 0 {
                let (_, before) = range::segment(index - 1, total);
                let (Bound::Included(from), Bound::Excluded(before)) = (&from, &before) else {
                    panic!("segments inside have both bounds")
                };
                assert_eq!(from, before);
            } else {
                assert_eq!(from, Bound::Unbounded);
            }
            end = to;
        }
        assert_eq!(end, Bound::Unbounded);
    }
}

#[test]
fn prefixes_end_where_nothing_starts_with_them() {
    assert_eq!(KeyBytes(vec![1, 0xFF, 0xFF]).prefix_end(), Some(KeyBytes(vec![2])));
    assert_eq!(KeyBytes(vec![1, 2]).prefix_end(), Some(KeyBytes(vec![1, 3])));
    assert_eq!(KeyBytes(vec![0xFF; 9]).prefix_end(), None);
    assert_eq!(KeyBytes(vec![1]).successor(), KeyBytes(vec![1, 0]));
}

#[test]
fn pages_resume_behind_their_start_key() {
    let pk = Value::string("p");
    let all = range::query(7, [pk.as_ref()], None, [], None).unwrap();
    let schema = schema();
    let key = |n: i64| {
        let item = item(&[("pk", Value::string("p")), ("sk", Value::number(Number::from(n)))]);
        primary(&schema.keys, 7, item.as_ref()).unwrap()
    };
    let forward = range::resume(all.clone(), key(5), false).unwrap();
    assert!(!forward.contains(&key(5)) && forward.contains(&key(6)) && !forward.contains(&key(4)));
    let backward = range::resume(all.clone(), key(5), true).unwrap();
    assert!(!backward.contains(&key(5)) && !backward.contains(&key(6)) && backward.contains(&key(4)));
    assert!(range::resume(forward, key(4), false).is_none());
    assert!(range::is_empty(&(Bound::Included(key(6)), Bound::Excluded(key(5)))));
    assert!(!range::is_empty(&all));
}

#[test]
fn split_keys_give_their_values_back() {
    let mut key = Vec::new();
    let values = [
        (ScalarType::S, Value::string("a\0b\u{FF}")),
        (ScalarType::N, Value::number(Number::parse("-1.5e-7").unwrap())),
        (ScalarType::B, Value::binary(&[0, 0, 0xFF, 0])),
    ];
    for (_, value) in &values {
        component::write(value.as_ref(), &mut key).unwrap();
    }
    let mut rest = &key[..];
    for (kind, value) in &values {
        let (part, tail) = component::split(*kind, rest).unwrap();
        assert_eq!(component::decode(*kind, part).as_ref(), Some(value));
        rest = tail;
    }
    assert!(rest.is_empty());
    for kind in [ScalarType::S, ScalarType::N, ScalarType::B] {
        assert_eq!(component::split(kind, b"ab"), None);
        assert_eq!(component::split(kind, b"\0\x01"), None);
        assert_eq!(component::split(kind, b""), None);
    }
}

/// Values of one type that can be keys.
fn keys_of_one_type() -> impl Strategy<Value = Vec<Value>> {
    let number = crate::number::tests::any_number().prop_map(Value::number);
    let byte = prop_oneof![Just(0u8), Just(1), Just(0xFE), Just(0xFF), any::<u8>()];
    let binary = prop::collection::vec(byte, 1..6).prop_map(|bytes| Value::binary(&bytes));
    let string = "[a-b\0\u{1}é\u{10FFFF}]{1,5}".prop_map(|text| Value::string(&text));
    prop_oneof![
        prop::collection::vec(number, 3),
        prop::collection::vec(binary, 3),
        prop::collection::vec(string, 3)
    ]
}

/// How DynamoDB orders two values of one type.
fn compare(a: &Value, b: &Value) -> std::cmp::Ordering {
    match (a.as_ref().as_number(), b.as_ref().as_number()) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => a.as_ref().payload().cmp(b.as_ref().payload()),
    }
}

proptest! {
    #[test]
    fn components_keep_order_and_are_no_prefixes(values in keys_of_one_type()) {
        let parts: Vec<Vec<u8>> = values.iter().map(|value| {
            let mut part = Vec::new();
            component::write(value.as_ref(), &mut part).unwrap();
            part
        }).collect();
        prop_assert_eq!(parts[0].cmp(&parts[1]), compare(&values[0], &values[1]));
        prop_assert_eq!(parts[0].starts_with(&parts[1]), values[0] == values[1]);
    }

    #[test]
    fn conditions_select_what_they_say(values in keys_of_one_type(), tail in "[\0a-b]{1,3}", local in any::<bool>()) {
        let (pk, first, tail) = (Value::string("pk"), Value::string("eq"), Value::string(&tail));
        let local = local.then_some(IndexId(3));
        // A row whose second range attribute is `values[0]`, with more of the key behind it.
        let mut row = collection(5, [pk.as_ref()]).unwrap();
        if let Some(id) = local {
            row.0.extend_from_slice(&id.0.to_be_bytes());
        }
        for value in [&first, &values[0], &tail] {
            component::write(value.as_ref(), &mut row.0).unwrap();
        }
        let selects = |condition| {
            range::query(5, [pk.as_ref()], local, [first.as_ref()], condition).unwrap().contains(&row)
        };
        let order = compare(&values[0], &values[1]);
        let operand = values[1].as_ref();
        prop_assert!(selects(None));
        prop_assert_eq!(selects(Some(SortCondition::Equal(operand))), order.is_eq());
        prop_assert_eq!(selects(Some(SortCondition::Less(operand))), order.is_lt());
        prop_assert_eq!(selects(Some(SortCondition::LessOrEqual(operand))), order.is_le());
        prop_assert_eq!(selects(Some(SortCondition::Greater(operand))), order.is_gt());
        prop_assert_eq!(selects(Some(SortCondition::GreaterOrEqual(operand))), order.is_ge());
        let between = order.is_ge() && compare(&values[0], &values[2]).is_le();
        prop_assert_eq!(selects(Some(SortCondition::Between(operand, values[2].as_ref()))), between);
        if values[0].as_ref().as_number().is_none() {
            let begins = values[0].as_ref().payload().starts_with(operand.payload());
            prop_assert_eq!(selects(Some(SortCondition::BeginsWith(operand))), begins);
        }
        let other = range::query(5, [tail.as_ref()], local, [first.as_ref()], None).unwrap();
        prop_assert!(!other.contains(&row));
    }

    #[test]
    fn splitting_any_bytes_does_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        for kind in [ScalarType::S, ScalarType::N, ScalarType::B] {
            if let Some((part, _)) = component::split(kind, &bytes) {
                component::decode(kind, part);
            }
        }
        collection_of(&schema().keys, &bytes);
        local_index_of(&schema().keys, &bytes);
    }
}
