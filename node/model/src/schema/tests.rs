use super::*;
use crate::item::Item;
use crate::wire::WireItem;

fn item(text: &str) -> Item {
    serde_json::from_str::<WireItem>(text).unwrap().into_item().unwrap()
}

fn keys(hash: &[(&str, ScalarType)], range: &[(&str, ScalarType)]) -> KeySchema {
    let attributes = |list: &[(&str, ScalarType)]| {
        list.iter()
            .map(|(name, kind)| KeyAttribute {
                name: (*name).to_owned(),
                kind: *kind,
            })
            .collect()
    };
    KeySchema {
        hash: attributes(hash),
        range: attributes(range),
    }
}

fn schema() -> TableSchema {
    TableSchema {
        id: TableId(1),
        seed: 7,
        version: SchemaVersion(1),
        name: "table".to_owned(),
        keys: keys(&[("pk", ScalarType::S)], &[("sk", ScalarType::B)]),
        local: vec![LocalIndex {
            id: IndexId(1),
            name: "local".to_owned(),
            keys: keys(&[("pk", ScalarType::S)], &[("lk", ScalarType::N)]),
            projection: IndexProjection::Include(vec!["x".to_owned()]),
        }],
        global: vec![GlobalIndex {
            id: IndexId(2),
            table: TableId(2),
            seed: 9,
            name: "global".to_owned(),
            keys: keys(&[("gk", ScalarType::S)], &[("lk", ScalarType::N)]),
            projection: IndexProjection::KeysOnly,
            readable: true,
        }],
        time_to_live: None,
        stream: None,
    }
}

fn put(text: &str) -> String {
    schema()
        .check_put(item(text).as_ref())
        .map_or_else(|e| e.message.into_owned(), |_| "fine".to_owned())
}

fn key(text: &str) -> String {
    schema()
        .check_key(item(text).as_ref())
        .map_or_else(|e| e.message.into_owned(), |_| "fine".to_owned())
}

#[test]
fn put_checks_keys() {
    let invalid = "One or more parameter values were invalid: ";
    let empty =
        "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty ";
    assert_eq!(put(r#"{"pk":{"S":"p"},"sk":{"B":"AA=="}}"#), "fine");
    assert_eq!(
        put(r#"{"sk":{"B":"AA=="}}"#),
        format!("{invalid}Missing the key pk in the item")
    );
    assert_eq!(
        put(r#"{"pk":{"S":"p"}}"#),
        format!("{invalid}Missing the key sk in the item")
    );
    assert_eq!(
        put(r#"{"pk":{"N":"1"},"sk":{"B":"AA=="}}"#),
        format!("{invalid}Type mismatch for key pk expected: S actual: N")
    );
    assert_eq!(
        put(r#"{"pk":{"S":"p"},"sk":{"NULL":true}}"#),
        format!("{invalid}Type mismatch for key sk expected: B actual: NULL")
    );
    assert_eq!(
        put(r#"{"pk":{"S":""},"sk":{"B":"AA=="}}"#),
        format!("{empty}string value. Key: pk")
    );
    assert_eq!(
        put(r#"{"pk":{"S":"p"},"sk":{"B":""}}"#),
        format!("{empty}binary value. Key: sk")
    );
    let long = |pk: usize, sk: usize| {
        let sk = "AAAA".repeat(sk / 3) + if sk % 3 == 1 { "AA==" } else { "" };
        format!(r#"{{"pk":{{"S":"{}"}},"sk":{{"B":"{sk}"}}}}"#, "p".repeat(pk))
    };
    assert_eq!(put(&long(2048, 1023)), "fine");
    assert_eq!(put(&long(2048, 1024)), "fine");
    assert_eq!(
        put(&long(2049, 1)),
        format!("{invalid}Size of hashkey has exceeded the maximum size limit of2048 bytes")
    );
    assert_eq!(
        put(&long(1, 1026)),
        format!("{invalid}Aggregated size of all range keys has exceeded the size limit of 1024 bytes")
    );
}

#[test]
fn put_checks_keys_of_indexes_and_size() {
    let with = |more: &str| put(&format!(r#"{{"pk":{{"S":"p"}},"sk":{{"B":"AA=="}},{more}}}"#));
    assert_eq!(with(r#""lk":{"N":"1"},"gk":{"S":"x"}"#), "fine");
    assert_eq!(
        with(r#""lk":{"S":"1"}"#),
        "One or more parameter values were invalid: Type mismatch for Index Key lk Expected: N Actual: S IndexName: global"
    );
    assert_eq!(
        with(r#""gk":{"S":""}"#),
        "One or more parameter values are not valid. A value specified for a secondary index key is not supported. The \
         AttributeValue for a key attribute cannot contain an empty string value. IndexName: global, IndexKey: gk"
    );
    assert_eq!(
        with(&format!(r#""gk":{{"S":"{}"}}"#, "g".repeat(2049))),
        "One or more parameter values were invalid: Size limit exceeded for Index Key gk Actual Size: 2049 bytes Max \
         Size: 2048 bytes IndexName: global"
    );
    let room = 400 * 1024 - "pkpsk".len() - 1 - "x".len();
    assert_eq!(with(&format!(r#""x":{{"S":"{}"}}"#, "x".repeat(room))), "fine");
    assert_eq!(
        with(&format!(r#""x":{{"S":"{}"}}"#, "x".repeat(room + 1))),
        "Item size has exceeded the maximum allowed size"
    );
}

#[test]
fn keys_match_exactly() {
    let mismatch = "The provided key element does not match the schema";
    assert_eq!(key(r#"{"pk":{"S":"p"},"sk":{"B":"AA=="}}"#), "fine");
    assert_eq!(key(r#"{"pk":{"S":"p"}}"#), mismatch);
    assert_eq!(key(r#"{"pk":{"S":"p"},"sk":{"B":"AA=="},"x":{"S":"y"}}"#), mismatch);
    assert_eq!(key(r#"{"pk":{"S":"p"},"x":{"B":"AA=="}}"#), mismatch);
    assert_eq!(key(r#"{"pk":{"N":"1"},"sk":{"B":"AA=="}}"#), mismatch);
    assert!(key(r#"{"pk":{"S":""},"sk":{"B":"AA=="}}"#).ends_with("empty string value. Key: pk"));
}

#[test]
fn updates_are_blamed_only_for_what_they_change() {
    let old = item(r#"{"pk":{"S":"p"},"sk":{"B":"AA=="},"lk":{"S":"from before the index"}}"#);
    let check = |text: &str| {
        let result = schema().check_updated(Some(old.as_ref()), item(text).as_ref());
        result.map_or_else(|e| e.message.into_owned(), |()| "fine".to_owned())
    };
    assert_eq!(
        check(r#"{"pk":{"S":"p"},"sk":{"B":"AA=="},"lk":{"S":"from before the index"},"x":{"S":""}}"#),
        "fine"
    );
    assert_eq!(
        check(r#"{"pk":{"S":"p"},"sk":{"B":"AA=="},"lk":{"S":"new"}}"#),
        "The update expression attempted to update the secondary index key to unsupported type"
    );
    assert!(check(r#"{"pk":{"S":"p"},"gk":{"S":""}}"#).ends_with("cannot contain an empty string value."));
    let large = format!(r#"{{"pk":{{"S":"p"}},"x":{{"S":"{}"}}}}"#, "x".repeat(400 * 1024));
    assert_eq!(
        check(&large),
        "Item size to update has exceeded the maximum allowed size"
    );
}

#[test]
fn rows_hold_keys_and_what_is_projected() {
    let schema = schema();
    let mut item = item(
        r#"{"pk":{"S":"p"},"sk":{"B":"AA=="},"lk":{"N":"1"},"gk":{"S":"g"},"x":{"S":"projected"},"y":{"S":"not"}}"#,
    );
    item.set_time(5);
    let names = |item: &Item| {
        item.as_ref()
            .iter()
            .map(|(name, _)| name.to_owned())
            .collect::<Vec<_>>()
    };
    let (_, local) = schema.local_row(&schema.local[0], item.as_ref()).unwrap();
    assert_eq!(names(&local), ["lk", "pk", "sk", "x"]);
    assert_eq!(local.as_ref().time(), 5);
    let (_, global) = schema.global_row(&schema.global[0], item.as_ref()).unwrap();
    assert_eq!(names(&global), ["gk", "lk", "pk", "sk"]);
    assert_eq!(names(&schema.key_item(item.as_ref())), ["pk", "sk"]);
    assert_eq!(
        schema.projected(&schema.local[0].keys, &IndexProjection::All, item.as_ref()),
        item
    );
    assert_eq!(
        schema.global_row(&schema.global[0], item.as_ref().with("lk", None).as_ref()),
        None
    );
}

#[test]
fn a_value_that_is_too_long_for_an_index_has_no_row_there() {
    let schema = schema();
    let has_row = |bytes: usize| {
        let item = item(&format!(
            r#"{{"pk":{{"S":"p"}},"sk":{{"B":"AA=="}},"lk":{{"N":"1"}},"gk":{{"S":"{}"}}}}"#,
            "g".repeat(bytes)
        ));
        schema.global_row(&schema.global[0], item.as_ref()).is_some()
    };
    assert!(has_row(2048) && !has_row(2049));
}
