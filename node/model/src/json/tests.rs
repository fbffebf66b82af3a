use serde::Deserialize;

use super::*;

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "PascalCase")]
struct Everything {
    text: Option<Text>,
    int: Option<Int>,
    long: Option<Long>,
    double: Option<Double>,
    bool: Option<Bool>,
    list: Option<List<Text>>,
    map: Option<Map<Text>>,
    inner: Option<Structure<Inner>>,
    inners: Option<List<Structure<Inner>>>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "PascalCase")]
struct Inner {
    name: Option<Text>,
}

fn refusal(body: &str) -> String {
    let error = decode::<Everything>(body.as_bytes()).unwrap_err();
    assert_eq!(error.code, ErrorCode::Serialization);
    error.message.into_owned()
}

#[test]
fn reads_what_has_the_right_types() {
    let body = r#"{"Text":"a\u0062","Int":1.9,"Long":-3000000000,"Double":1e3,"Bool":false,"List":["x",null,"y"],
        "Map":{"b":"1","a":"2","c":null},"Inner":{"Name":"n","Unknown":{"x":[1,2]}},"Inners":[{},{"Name":null}],"Unknown":1}"#;
    let read: Everything = decode(body.as_bytes()).unwrap();
    assert_eq!(read.text.as_deref(), Some("ab"));
    assert_eq!(read.int, Some(Int(1)));
    assert_eq!(read.long, Some(Long(-3_000_000_000)));
    assert_eq!(read.double, Some(Double(1000.0)));
    assert_eq!(read.bool, Some(Bool(false)));
    assert_eq!(read.list.unwrap().len(), 2);
    let map = read.map.unwrap();
    assert_eq!(
        map.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["b", "a"]
    );
    assert_eq!(map.get("a").map(|text| &**text), Some("2"));
    assert_eq!(read.inner.unwrap().name.as_deref(), Some("n"));
    assert_eq!(read.inners.unwrap().len(), 2);
}

#[test]
fn absent_and_null_are_the_same() {
    let nothing: Everything = decode(b"{}").unwrap();
    let nulls = r#"{"Text":null,"Int":null,"Long":null,"Double":null,"Bool":null,"List":null,"Map":null,"Inner":null}"#;
    assert_eq!(decode::<Everything>(nulls.as_bytes()).unwrap(), nothing);
}

#[test]
fn says_what_dynamodb_says_of_wrong_types() {
    let cases = [
        (r#"{"Text":1}"#, "NUMBER_VALUE cannot be converted to String"),
        (r#"{"Text":1.5}"#, "DECIMAL_VALUE cannot be converted to String"),
        (r#"{"Text":true}"#, "TRUE_VALUE cannot be converted to String"),
        (r#"{"Text":false}"#, "FALSE_VALUE cannot be converted to String"),
        (r#"{"Text":[]}"#, "Unrecognized collection type class java.lang.String"),
        (r#"{"Text":{}}"#, "Start of structure or map found where not expected"),
        (r#"{"Int":"1"}"#, "STRING_VALUE cannot be converted to Integer"),
        (r#"{"Int":true}"#, "TRUE_VALUE cannot be converted to Integer"),
        (r#"{"Int":2147483648}"#, "NUMBER_VALUE cannot be converted to Integer"),
        (r#"{"Int":1e300}"#, "DECIMAL_VALUE cannot be converted to Integer"),
        (r#"{"Long":"1"}"#, "STRING_VALUE cannot be converted to Long"),
        (r#"{"Long":[]}"#, "Unrecognized collection type class java.lang.Long"),
        (r#"{"Double":{}}"#, "Start of structure or map found where not expected"),
        (r#"{"Bool":"true"}"#, "Unexpected token received from parser"),
        (r#"{"Bool":1}"#, "NUMBER_VALUE cannot be converted to Boolean"),
        (r#"{"Bool":[]}"#, "Unrecognized collection type class java.lang.Boolean"),
        (r#"{"List":"a"}"#, "Unexpected field type"),
        (r#"{"List":{}}"#, "Start of structure or map found where not expected"),
        (r#"{"List":[1]}"#, "NUMBER_VALUE cannot be converted to String"),
        (r#"{"Map":1}"#, "Unexpected field type"),
        (
            r#"{"Map":["x"]}"#,
            "Unrecognized collection type java.util.Map<java.lang.String, java.lang.String>",
        ),
        (r#"{"Inner":"x"}"#, "Unexpected value type in payload"),
        (
            r#"{"Inner":["x"]}"#,
            "Unrecognized collection type class com.amazonaws.dynamodb.v20120810.Inner",
        ),
        (
            r#"{"Text":"a","Text":"b"}"#,
            "Duplicate field found in the request body",
        ),
    ];
    for (body, expected) in cases {
        assert_eq!(refusal(body), expected, "{body}");
    }
}

#[test]
fn says_one_thing_of_what_is_no_json() {
    let deep = "[".repeat(10_000);
    for body in [
        "",
        " ",
        "{",
        "{}x",
        "{} {}",
        "nul",
        "{\"Text\":\"\u{1}\"}",
        "{\"Text\":\"a}",
        "{,}",
        &deep,
    ] {
        let text = refusal(body);
        assert!(!text.contains("line"), "{text}");
    }
    assert_eq!(refusal("{} {}"), message::BODY_NOT_JSON);
    assert!(decode::<Everything>(b"{\"Text\":\"\xFF\"}").is_err());
    assert_eq!(
        refusal("[]"),
        "Unrecognized collection type class com.amazonaws.dynamodb.v20120810.Everything"
    );
    assert_eq!(refusal("\"x\""), "Unexpected value type in payload");
}

#[test]
fn unknown_members_may_be_as_deep_as_they_like() {
    let body = format!("{{\"Unknown\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    assert!(decode::<Everything>(body.as_bytes()).is_ok());
}
