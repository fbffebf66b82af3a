use super::*;
use crate::item::Item;
use crate::schema::{KeyAttribute, KeySchema, ScalarType};

fn number(n: i64) -> Value {
    Value::number(n.into())
}

fn set(elements: &[&str]) -> Value {
    let text = format!("{{\"SS\":[\"{}\"]}}", elements.join("\",\""));
    serde_json::from_str::<crate::wire::WireValue>(&text)
        .unwrap()
        .into_value()
        .unwrap()
}

fn entry<'a>(operator: &str, values: &'a [Value]) -> Comparison<'a> {
    Comparison {
        attribute: "a",
        operator: ComparisonOperator::from_name(operator).unwrap(),
        values: Some(values.iter().map(Value::as_ref).collect()),
    }
}

fn holds(operator: &str, values: &[Value], item: &Item) -> Result<bool, String> {
    filter(&[entry(operator, values)], None)
        .map(|condition| condition.matches(Some(item.as_ref())))
        .map_err(|error| error.message.into_owned())
}

#[test]
fn comparisons_hold_as_their_operators_say() {
    let (text, five) = (Value::string("abc"), number(5));
    let item = Item::from_attributes([("a", text.as_ref()), ("n", five.as_ref())]);
    let s = |text: &str| Value::string(text);
    for (operator, values, expected) in [
        ("EQ", vec![s("abc")], true),
        ("NE", vec![s("abc")], false),
        ("NE", vec![number(1)], true),
        ("LE", vec![s("abc")], true),
        ("LT", vec![s("abc")], false),
        ("GE", vec![s("b")], false),
        ("GT", vec![s("ab")], true),
        ("IN", vec![s("x"), s("abc")], true),
        ("BETWEEN", vec![s("a"), s("b")], true),
        ("NOT_NULL", vec![], true),
        ("NULL", vec![], false),
        ("CONTAINS", vec![s("b")], true),
        ("NOT_CONTAINS", vec![s("b")], false),
        ("NOT_CONTAINS", vec![s("x")], true),
        ("BEGINS_WITH", vec![s("ab")], true),
    ] {
        assert_eq!(holds(operator, &values, &item), Ok(expected), "{operator} {values:?}");
    }
}

#[test]
fn arguments_are_checked() {
    let item = Item::empty();
    let invalid = "One or more parameter values were invalid:";
    for (operator, values, expected) in [
        (
            "EQ",
            vec![],
            "Invalid number of argument(s) for the EQ ComparisonOperator",
        ),
        (
            "NULL",
            vec![number(1)],
            "Invalid number of argument(s) for the NULL ComparisonOperator",
        ),
        (
            "IN",
            vec![],
            "Invalid number of argument(s) for the IN ComparisonOperator",
        ),
        (
            "BETWEEN",
            vec![number(1)],
            "Invalid number of argument(s) for the BETWEEN ComparisonOperator",
        ),
        (
            "CONTAINS",
            vec![Value::map([])],
            "ComparisonOperator CONTAINS is not valid for M AttributeValue type",
        ),
        (
            "LT",
            vec![Value::boolean(true)],
            "ComparisonOperator LT is not valid for BOOL AttributeValue type",
        ),
        (
            "BEGINS_WITH",
            vec![number(1)],
            "ComparisonOperator BEGINS_WITH is not valid for N AttributeValue type",
        ),
        (
            "IN",
            vec![set(&["x"])],
            "ComparisonOperator IN is not valid for SS AttributeValue type",
        ),
        (
            "IN",
            vec![number(1), Value::string("x")],
            "AttributeValues inside AttributeValueList must be of same type",
        ),
    ] {
        assert_eq!(
            holds(operator, &values, &item),
            Err(format!("{invalid} {expected}")),
            "{operator}"
        );
    }
    assert_eq!(
        holds("BETWEEN", &[number(2), number(1)], &item).unwrap_err(),
        "The BETWEEN condition was provided a range where the lower bound is greater than the upper bound"
    );
}

#[test]
fn conditions_are_joined_by_the_operator() {
    let one = number(1);
    let item = Item::from_attributes([("a", one.as_ref())]);
    let (right, wrong) = ([number(1)], [number(2)]);
    let entries = [entry("EQ", &wrong), entry("EQ", &right), entry("EQ", &wrong)];
    assert!(!filter(&entries, None).unwrap().matches(Some(item.as_ref())));
    assert!(
        filter(&entries, Some(ConditionalOperator::Or))
            .unwrap()
            .matches(Some(item.as_ref()))
    );
    assert!(filter(&[], None).unwrap().matches(None));
}

#[test]
fn expectations_are_checked_and_hold() {
    let one = number(1);
    let item = Item::from_attributes([("a", one.as_ref())]);
    let expectation = |exists, value: Option<&'static str>, operator: Option<&str>, list: bool| {
        let value = value.map(|_| one.as_ref());
        let entry = Expectation {
            attribute: "a",
            exists,
            value,
            operator: operator.and_then(ComparisonOperator::from_name),
            values: list.then(|| vec![one.as_ref()]),
        };
        expected(&[entry], None)
            .map(|condition| (condition.matches(Some(item.as_ref())), condition.matches(None)))
            .map_err(|error| error.message.into_owned())
    };
    assert_eq!(expectation(Some(false), None, None, false), Ok((false, true)));
    assert_eq!(expectation(None, Some("1"), None, false), Ok((true, false)));
    assert_eq!(expectation(Some(true), Some("1"), None, false), Ok((true, false)));
    assert_eq!(expectation(None, Some("1"), Some("EQ"), false), Ok((true, false)));
    assert_eq!(expectation(None, None, Some("EQ"), true), Ok((true, false)));
    assert_eq!(expectation(None, None, Some("NULL"), false), Ok((false, true)));
    for (refused, what) in [
        (
            expectation(Some(true), None, None, false),
            "Value must be provided when Exists is true for Attribute: a",
        ),
        (
            expectation(None, None, None, false),
            "Value must be provided when Exists is null for Attribute: a",
        ),
        (
            expectation(Some(false), Some("1"), None, false),
            "Value cannot be used when Exists is false for Attribute: a",
        ),
        (
            expectation(None, Some("1"), None, true),
            "Value and AttributeValueList cannot be used together for Attribute: a",
        ),
        (
            expectation(None, None, None, true),
            "AttributeValueList can only be used with a ComparisonOperator for Attribute: a",
        ),
        (
            expectation(None, None, Some("EQ"), false),
            "Value or AttributeValueList must be used with ComparisonOperator: EQ for Attribute: a",
        ),
        (
            expectation(Some(true), Some("1"), Some("EQ"), false),
            "Exists and ComparisonOperator cannot be used together for Attribute: a",
        ),
    ] {
        assert_eq!(
            refused,
            Err(format!("One or more parameter values were invalid: {what}"))
        );
    }
}

#[test]
fn attribute_updates_put_add_and_delete() {
    let (old, list) = (number(5), Value::list([number(1).as_ref()]));
    let letters = set(&["x", "y"]);
    let item = Item::from_attributes([("l", list.as_ref()), ("n", old.as_ref()), ("s", letters.as_ref())]);
    let apply = |attribute: &'static str, action, value: Option<&Value>| {
        let value = value.map(Value::as_ref);
        attribute_updates(&[AttributeUpdate {
            attribute,
            action,
            value,
        }])
        .and_then(|update| update.apply(Some(item.as_ref()), item.as_ref()))
        .map(|new| new.as_ref().get(attribute).map(ValueRef::to_value))
        .map_err(|error| error.message.into_owned())
    };
    assert_eq!(apply("n", UpdateAction::Put, Some(&list)), Ok(Some(list.clone())));
    assert_eq!(apply("n", UpdateAction::Add, Some(&number(2))), Ok(Some(number(7))));
    assert_eq!(apply("q", UpdateAction::Add, Some(&number(2))), Ok(Some(number(2))));
    let twice = Value::list([number(1).as_ref(), number(1).as_ref()]);
    assert_eq!(apply("l", UpdateAction::Add, Some(&list)), Ok(Some(twice)));
    assert_eq!(
        apply("s", UpdateAction::Delete, Some(&set(&["x"]))),
        Ok(Some(set(&["y"])))
    );
    assert_eq!(apply("s", UpdateAction::Delete, Some(&set(&["x", "y"]))), Ok(None));
    assert_eq!(apply("s", UpdateAction::Delete, None), Ok(None));
    assert_eq!(
        apply("n", UpdateAction::Add, Some(&letters)),
        Err("Type mismatch for attribute to update".into())
    );
    for (action, value, what) in [
        (
            UpdateAction::Put,
            None,
            "Only DELETE action is allowed when no attribute value is specified",
        ),
        (
            UpdateAction::Add,
            Some(Value::string("x")),
            "ADD action is not supported for the type S",
        ),
        (
            UpdateAction::Delete,
            Some(number(1)),
            "DELETE action with value is not supported for the type N",
        ),
    ] {
        let error = apply("n", action, value.as_ref()).unwrap_err();
        assert_eq!(error, format!("One or more parameter values were invalid: {what}"));
    }
}

#[test]
fn key_conditions_and_attributes_to_get_translate() {
    let keys = KeySchema {
        hash: vec![KeyAttribute {
            name: "a".into(),
            kind: ScalarType::N,
        }],
        range: Vec::new(),
    };
    let one = [number(1)];
    let query = key_conditions(&[entry("EQ", &one)])
        .unwrap()
        .resolve(&keys, None)
        .unwrap();
    assert_eq!((query.hash, query.range, query.rest), (vec![number(1)], vec![], None));
    let error = key_conditions(&[entry("NE", &one)]).unwrap_err();
    assert_eq!(
        error.message,
        "Attempted conditional constraint is not an indexable operation"
    );
    let error = attributes_to_get(&["a", "b", "a"]).unwrap_err();
    assert_eq!(
        error.message,
        "One or more parameter values were invalid: Duplicate value in attribute name: a"
    );
    let item = Item::from_attributes([("a.b", one[0].as_ref()), ("c", one[0].as_ref())]);
    let copy = attributes_to_get(&["a.b"]).unwrap().apply(item.as_ref());
    assert_eq!(copy.as_ref().iter().map(|(name, _)| name).collect::<Vec<_>>(), ["a.b"]);
}

/// As many as fit a request; in time that grows with their number, not with its square.
#[test]
fn many_attributes_to_get_are_checked_in_one_pass() {
    let names: Vec<String> = (0..400_000).map(|number| format!("attribute-{number}")).collect();
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(attributes_to_get(&names).unwrap().paths().len(), 400_000);
    names.push("attribute-7");
    let error = attributes_to_get(&names).unwrap_err();
    assert!(error.message.ends_with("attribute name: attribute-7"), "{error}");
}
