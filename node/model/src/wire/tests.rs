use super::*;
use crate::error::ErrorCode;
use crate::json;

/// The item of a DynamoDB JSON text.
fn item(text: &str) -> Result<Item, ApiError> {
    serde_json::from_str::<WireItem>(text).unwrap().into_item()
}

/// The printed form of an item, which is sorted and normalised.
fn printed(text: &str) -> String {
    let mut out = Vec::new();
    item(text).unwrap().as_ref().write_json(&mut out);
    String::from_utf8(out).unwrap()
}

/// What a value in an item is refused with.
fn refusal(value: &str) -> String {
    let error = item(&format!("{{\"a\":{value}}}")).unwrap_err();
    assert_eq!(error.code, ErrorCode::Validation);
    let alone = serde_json::from_str::<WireValue>(value).unwrap().into_value();
    assert_eq!(alone, Err(error.clone()));
    error.message.into_owned()
}

/// What an item whose JSON has another shape is refused with.
fn shape_refusal(item: &str) -> String {
    let error = json::decode::<Request>(format!("{{\"Item\":{item}}}").as_bytes()).unwrap_err();
    assert_eq!(error.code, ErrorCode::Serialization);
    error.message.into_owned()
}

#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Request {
    item: Option<WireItem>,
}

#[test]
fn reads_every_type_in_any_order_of_names() {
    let text = r#"{"s":{"S":"text \"\\\n\u0001\u00e9\ud83d\ude00"},"n":{"N":"-1.50e2"},"b":{"B":"AP8Q"},"t":{"BOOL":true},
        "f":{"BOOL":false},"0":{"NULL":true},"l":{"L":[{"S":""},{"L":[]},{"M":{}}]},"m":{"M":{"z":{"N":"1"},"a":{"S":"x"}}},
        "ss":{"SS":["b","","a"]},"ns":{"NS":["10","9","-3"]},"bs":{"BS":["Yg==","YQ=="]}}"#;
    let expected = concat!(
        r#"{"0":{"NULL":true},"b":{"B":"AP8Q"},"bs":{"BS":["YQ==","Yg=="]},"f":{"BOOL":false},"#,
        r#""l":{"L":[{"S":""},{"L":[]},{"M":{}}]},"m":{"M":{"a":{"S":"x"},"z":{"N":"1"}}},"n":{"N":"-150"},"#,
        r#""ns":{"NS":["-3","9","10"]},"s":{"S":"text \"\\\n\u0001é😀"},"ss":{"SS":["","a","b"]},"t":{"BOOL":true}}"#
    );
    assert_eq!(printed(text), expected);
    assert_eq!(printed(expected), expected);
}

#[test]
fn ignores_unknown_members_and_nulls_in_values() {
    assert_eq!(printed(r#"{"a":{"S":"x","X":[{}],"N":null}}"#), r#"{"a":{"S":"x"}}"#);
    let request: Request = json::decode(br#"{"Item":null,"Other":{"deep":[[[]]]}}"#).unwrap();
    assert!(request.item.is_none());
}

#[test]
fn keeps_what_is_wrong_in_meaning_for_later() {
    let empty = "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes";
    for value in ["{}", "null", r#"{"S":null}"#, r#"{"X":"y"}"#] {
        assert_eq!(refusal(value), empty, "{value}");
    }
    let several =
        "Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes";
    for value in [
        r#"{"S":"a","N":"1"}"#,
        r#"{"S":"a","S":"b"}"#,
        r#"{"L":[{"S":"x"}],"M":{}}"#,
    ] {
        assert_eq!(refusal(value), several, "{value}");
    }
    let invalid = "One or more parameter values were invalid: ";
    let cases = [
        (
            r#"{"NULL":false}"#,
            "Null attribute value types must have the value of true",
        ),
        (r#"{"SS":[]}"#, "An string set  may not be empty"),
        (r#"{"NS":[]}"#, "An number set  may not be empty"),
        (r#"{"BS":[]}"#, "Binary sets should not be empty"),
        (
            r#"{"SS":["b","a","b"]}"#,
            "Input collection [b, a, b] contains duplicates.",
        ),
        (
            r#"{"BS":["YQ==","YQ=="]}"#,
            "Input collection [YQ==, YQ==]of type BS contains duplicates.",
        ),
    ];
    for (value, expected) in cases {
        assert_eq!(refusal(value), format!("{invalid}{expected}"));
    }
    assert_eq!(refusal(r#"{"NS":["1","1.0"]}"#), "Input collection contains duplicates");
    assert_eq!(
        refusal(r#"{"N":"1x"}"#),
        "The parameter cannot be converted to a numeric value: 1x"
    );
    assert_eq!(
        refusal(r#"{"N":""}"#),
        "The parameter cannot be converted to a numeric value"
    );
    assert_eq!(
        refusal(r#"{"NS":["1","b"]}"#),
        "The parameter cannot be converted to a numeric value: b"
    );
    assert_eq!(
        refusal(r#"{"N":"1e126"}"#),
        "Number overflow. Attempting to store a number with magnitude larger than supported range"
    );
    assert_eq!(
        refusal(r#"{"N":"1e-131"}"#),
        "Number underflow. Attempting to store a number with magnitude smaller than supported range"
    );
    assert_eq!(
        refusal(r#"{"L":[{"N":"123456789012345678901234567890123456789"}]}"#),
        "Attempting to store more than 38 significant digits in a Number"
    );
}

#[test]
fn the_first_of_several_errors_counts_but_a_wrong_shape_comes_before_them() {
    let two = r#"{"a":{"N":"x"},"b":{}}"#;
    assert_eq!(
        item(two).unwrap_err().message,
        "The parameter cannot be converted to a numeric value: x"
    );
    assert_eq!(
        shape_refusal(r#"{"a":{"N":"x"},"b":{"S":1}}"#),
        "NUMBER_VALUE cannot be converted to String"
    );
}

#[test]
fn refuses_wrong_shapes_with_dynamodbs_words() {
    let cases = [
        (r#"{"a":{"S":1}}"#, "NUMBER_VALUE cannot be converted to String"),
        (r#"{"a":{"N":1.5}}"#, "DECIMAL_VALUE cannot be converted to String"),
        (r#"{"a":{"S":true}}"#, "TRUE_VALUE cannot be converted to String"),
        (
            r#"{"a":{"S":[]}}"#,
            "Unrecognized collection type class java.lang.String",
        ),
        (
            r#"{"a":{"S":{}}}"#,
            "Start of structure or map found where not expected",
        ),
        (
            r#"{"a":{"B":1}}"#,
            "only base-64-encoded strings are convertible to bytes",
        ),
        (r#"{"a":{"BOOL":"true"}}"#, "Unexpected token received from parser"),
        (r#"{"a":{"NULL":1}}"#, "NUMBER_VALUE cannot be converted to Boolean"),
        (r#"{"a":{"L":"x"}}"#, "Unexpected field type"),
        (
            r#"{"a":{"L":{}}}"#,
            "Start of structure or map found where not expected",
        ),
        (
            r#"{"a":{"M":[]}}"#,
            "Unrecognized collection type java.util.Map<java.lang.String, com.amazonaws.dynamodb.v20120810.AttributeValue>",
        ),
        (r#"{"a":{"SS":"x"}}"#, "Unexpected field type"),
        (r#"{"a":{"SS":[1]}}"#, "NUMBER_VALUE cannot be converted to String"),
        (r#"{"a":"x"}"#, "Unexpected value type in payload"),
        (
            r#"{"a":[]}"#,
            "Unrecognized collection type class com.amazonaws.dynamodb.v20120810.AttributeValue",
        ),
        (r#""x""#, "Unexpected field type"),
        (
            r#"{"a":{"B":"x"}}"#,
            "Base64 encoded length is expected a multiple of 4 bytes but found: 1",
        ),
        (
            r#"{"a":{"B":"YR=="}}"#,
            "Invalid last non-pad Base64 character dectected",
        ),
        (r#"{"a":{"BS":["?=??"]}}"#, "Invalid Base64 character"),
        (
            r#"{"a":{"S":"1"},"a":{"S":"2"}}"#,
            "Duplicate field found in the request body",
        ),
        (
            r#"{"a":{"M":{"x":{"S":"1"},"x":{"S":"2"}}}}"#,
            "Duplicate field found in the request body",
        ),
        (r#"{"a":{"S":"\ud800"}}"#, ""),
        (r#"{"a":{"S":"x"}"#, ""),
    ];
    for (text, expected) in cases {
        assert_eq!(shape_refusal(text), expected, "{text}");
    }
}

#[test]
fn nesting_ends_at_32_levels_whatever_comes() {
    let nested = |lists: usize, inside: &str, open: &str, close: &str| {
        format!("{}{inside}{}", open.repeat(lists), close.repeat(lists))
    };
    let too_deep = "Nesting Levels have exceeded supported limits: Attributes in the item have nested levels beyond \
                    supported limit";
    for (open, close) in [("{\"L\":[", "]}"), ("{\"M\":{\"a\":", "}}")] {
        for (lists, inside) in [(31, "{\"S\":\"x\"}"), (31, "{\"L\":[]}"), (31, "{\"SS\":[\"x\"]}")] {
            let text = nested(lists, inside, open, close);
            let deepest = serde_json::from_str::<WireValue>(&text).unwrap().into_value().unwrap();
            assert_eq!(deepest.as_ref().levels(), 32);
            assert!(crate::value::ValueRef::parse(deepest.as_ref().bytes()).is_ok());
        }
        for lists in [32, 33, 34, 50, 10_000] {
            assert_eq!(
                refusal(&nested(lists, "{\"S\":\"x\"}", open, close)),
                too_deep,
                "{lists}"
            );
        }
    }
}

#[test]
fn the_depth_of_one_attribute_does_not_count_for_the_next() {
    let nested = format!("{}{}", "{\"L\":[".repeat(32), "]}".repeat(32));
    let text = format!("{{\"a\":{nested},\"b\":{nested},\"c\":{{\"L\":[{{\"M\":{{}}}},{{\"L\":[]}}]}}}}");
    assert!(item(&text).is_ok());
}

#[test]
fn names_have_limits() {
    assert!(item(r#"{"":{"S":"x"}}"#).is_err());
    assert!(item(r#"{"a":{"M":{"":{"S":"x"}}}}"#).is_err());
    assert!(item(&format!("{{\"{}\":{{\"S\":\"x\"}}}}", "n".repeat(65_535))).is_ok());
    assert!(item(&format!("{{\"{}\":{{\"S\":\"x\"}}}}", "n".repeat(65_536))).is_err());
}

#[test]
fn more_entries_than_an_item_can_have_are_not_kept() {
    let too_large = "Item size has exceeded the maximum allowed size";
    let set = format!("{{\"SS\":[\"\"{}]}}", ",\"\"".repeat(1_000_000));
    assert_eq!(refusal(&set), too_large);
    let entries: Vec<String> = (0..500_000).map(|n| format!("\"{n}\":{{\"S\":\"\"}}")).collect();
    assert_eq!(refusal(&format!("{{\"M\":{{{}}}}}", entries.join(","))), too_large);
}
