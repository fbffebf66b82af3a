//! Golden scripts (`golden/*.txt`: an expression and what comes of it) and properties.
//!
//! `UPDATE_GOLDEN=1 cargo test -p partita-model` writes what comes out into the scripts; read the diff.

use std::collections::BTreeMap;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::error::ApiError;
use crate::item::{Item, ItemRef};
use crate::schema::{KeyAttribute, KeySchema, ScalarType};
use crate::value::Value;
use crate::wire::{WireItem, WireValue};

/// What the lines before a case have set.
#[derive(Default)]
struct Script {
    names: BTreeMap<String, String>,
    values: BTreeMap<String, WireValue>,
    item: Option<Item>,
}

impl Script {
    fn run(&mut self, line: &str) -> Option<String> {
        let (word, rest) = line.split_once(": ").unwrap_or((line, ""));
        match word {
            "names" => self.names = serde_json::from_str(rest).unwrap(),
            "values" => self.values = serde_json::from_str(rest).unwrap(),
            "item" => self.item = Some(item(rest)),
            "no item" => self.item = None,
            _ => {
                let names = self.names.iter().map(|(k, v)| (k.as_str(), v.as_str()));
                let values = self
                    .values
                    .iter()
                    .map(|(k, v)| (k.as_str(), v.value().map(Value::as_ref).map_err(|e| e.message.as_ref())));
                let placeholders = Placeholders::new(
                    (!self.names.is_empty()).then_some(names),
                    (!self.values.is_empty()).then_some(values),
                );
                let outcome = placeholders.and_then(|p| self.evaluate(word, rest, &p));
                return Some(outcome.unwrap_or_else(|error| error.message.into_owned()));
            }
        }
        None
    }

    fn evaluate(&self, word: &str, text: &str, placeholders: &Placeholders<'_>) -> Result<String, ApiError> {
        let item = self.item.as_ref().map(Item::as_ref);
        match word {
            "condition" => Ok(Condition::parse(Kind::Condition, text, placeholders)?
                .matches(item)
                .to_string()),
            "filter" => Ok(Condition::parse(Kind::Filter, text, placeholders)?
                .matches(item)
                .to_string()),
            "projection" => Ok(json(
                Projection::parse(text, placeholders)?.apply(item.unwrap()).as_ref(),
            )),
            "key" => Ok(query(
                &KeyCondition::parse(text, placeholders)?.resolve(&keys(1, 1), None)?,
            )),
            "hash key" => Ok(query(
                &KeyCondition::parse(text, placeholders)?.resolve(&keys(1, 0), None)?,
            )),
            "keys" => Ok(query(
                &KeyCondition::parse(text, placeholders)?.resolve(&keys(2, 3), None)?,
            )),
            "update" => {
                let update = Update::parse(text, placeholders)?;
                update.check_not_on_keys(&keys(1, 0))?;
                let key = Item::from_attributes([("p", Value::string("key").as_ref())]);
                let new = update.apply(item, key.as_ref())?;
                assert!(ItemRef::parse(new.as_bytes()).is_ok(), "{text}");
                Ok(json(new.as_ref()))
            }
            "updated" => {
                let update = Update::parse(text, placeholders)?;
                let new = update.apply(item, Item::empty().as_ref())?;
                let show = |item: Option<Item>| item.map_or("nothing".to_owned(), |item| json(item.as_ref()));
                Ok(format!(
                    "{} -> {}",
                    show(update.updated_old(item)),
                    show(update.updated_new(new.as_ref()))
                ))
            }
            _ => panic!("no such case: {word}"),
        }
    }
}

fn item(text: &str) -> Item {
    serde_json::from_str::<WireItem>(text).unwrap().into_item().unwrap()
}

fn json(item: ItemRef<'_>) -> String {
    let mut text = Vec::new();
    item.write_json(&mut text);
    String::from_utf8(text).unwrap()
}

/// `p` or `p1 p2 …` of type S; `s` or `s1 s2 …`, of type S, the last one N when there are several.
fn keys(hash: usize, range: usize) -> KeySchema {
    let named = |prefix: &str, count: usize, index: usize, kind| KeyAttribute {
        name: if count == 1 {
            prefix.to_owned()
        } else {
            format!("{prefix}{}", index + 1)
        },
        kind,
    };
    let kind = |index| {
        if range > 1 && index + 1 == range {
            ScalarType::N
        } else {
            ScalarType::S
        }
    };
    KeySchema {
        hash: (0..hash).map(|i| named("p", hash, i, ScalarType::S)).collect(),
        range: (0..range).map(|i| named("s", range, i, kind(i))).collect(),
    }
}

fn query(query: &KeyQuery) -> String {
    let rest = query.rest.as_ref().map_or(String::new(), |rest| format!(" {rest:?}"));
    format!("{:?} {:?}{rest}", query.hash, query.range)
}

#[test]
fn golden_scripts() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/expression/golden");
    let mut cases = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let mut script = Script::default();
        let mut output = String::new();
        for line in text.lines().filter(|line| !line.starts_with("=> ")) {
            output += line;
            output.push('\n');
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(result) = script.run(line) {
                cases += 1;
                output += &format!("=> {result}\n");
            }
        }
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &output).unwrap();
            continue;
        }
        let first = text.lines().zip(output.lines()).find(|(was, is)| was != is);
        assert!(text == output, "{}: first difference: {first:?}", path.display());
    }
    assert!(cases > 200, "{cases}");
}

#[test]
fn unused_and_misplaced_placeholders_are_reported() {
    let value = Value::string("x");
    let names = [("#a", "a"), ("#b", "b"), ("#c", "c")];
    let values = [(":v", Ok(value.as_ref())), (":w", Ok(value.as_ref()))];
    let placeholders = Placeholders::new(Some(names), Some(values)).unwrap();
    Condition::parse(Kind::Condition, "#b = :v", &placeholders).unwrap();
    let error = placeholders.finish().unwrap_err();
    assert_eq!(
        error.message,
        "Value provided in ExpressionAttributeNames unused in expressions: keys: {#a, #c}"
    );
    Projection::parse("#a, #c", &placeholders).unwrap();
    let error = placeholders.finish().unwrap_err();
    assert_eq!(
        error.message,
        "Value provided in ExpressionAttributeValues unused in expressions: keys: {:w}"
    );

    let message = |names: Option<Vec<(&'static str, &'static str)>>, values: Option<Vec<(&'static str, _)>>| {
        Placeholders::new(names, values).unwrap_err().message.into_owned()
    };
    assert_eq!(
        message(Some(vec![]), None),
        "ExpressionAttributeNames must not be empty"
    );
    assert_eq!(
        message(None, Some(vec![])),
        "ExpressionAttributeValues must not be empty"
    );
    assert_eq!(
        message(Some(vec![("foo", "a")]), None),
        "ExpressionAttributeNames contains invalid key: Syntax error; key: \"foo\""
    );
    assert_eq!(
        message(None, Some(vec![("v", Err("?"))])),
        "ExpressionAttributeValues contains invalid key: Syntax error; key: \"v\""
    );
    // All keys before what the first stands for.
    assert_eq!(
        message(Some(vec![("#a", ""), ("foo", "a")]), None),
        "ExpressionAttributeNames contains invalid key: Syntax error; key: \"foo\""
    );
    assert_eq!(
        message(None, Some(vec![(":v", Err("?")), ("w", Err("?"))])),
        "ExpressionAttributeValues contains invalid key: Syntax error; key: \"w\""
    );
    assert_eq!(
        message(
            None,
            Some(vec![(
                ":v",
                Err("The parameter cannot be converted to a numeric value: a")
            )])
        ),
        "ExpressionAttributeValues contains invalid value: The parameter cannot be converted to a numeric value: a for \
         key :v"
    );
}

#[test]
fn parameters_that_do_not_go_together_are_refused() {
    let check = |expressions: &[(&'static str, bool)], others: &[(&'static str, bool)], names, values| {
        let parameters = |list: &[(&'static str, bool)]| -> Vec<Parameter> {
            list.iter()
                .map(|(name, given)| Parameter { name, given: *given })
                .collect()
        };
        check_parameters(&parameters(expressions), &parameters(others), names, values)
            .map_err(|error| error.message.into_owned())
    };
    assert_eq!(
        check(
            &[("ProjectionExpression", true)],
            &[("AttributesToGet", true)],
            false,
            false
        )
        .unwrap_err(),
        "Can not use both expression and non-expression parameters in the same request: Non-expression parameters: \
         {AttributesToGet} Expression parameters: {ProjectionExpression}"
    );
    assert_eq!(
        check(&[("ConditionExpression", false)], &[], true, false).unwrap_err(),
        "ExpressionAttributeNames can only be specified when using expressions"
    );
    assert_eq!(
        check(&[("ConditionExpression", false)], &[], false, true).unwrap_err(),
        "ExpressionAttributeValues can only be specified when using expressions: ConditionExpression is null"
    );
    assert_eq!(
        check(
            &[("UpdateExpression", false), ("ConditionExpression", false)],
            &[],
            false,
            true
        )
        .unwrap_err(),
        "ExpressionAttributeValues can only be specified when using expressions: UpdateExpression and \
         ConditionExpression are null"
    );
    assert_eq!(
        check(&[("UpdateExpression", true)], &[("Expected", false)], true, true),
        Ok(())
    );
}

/// Hostile expressions: an error each, at once, without a deep stack.
#[test]
fn hostile_expressions_are_refused() {
    let none = Placeholders::default();
    let long = format!("{}a = b", "(".repeat(10_000));
    let error = Condition::parse(Kind::Condition, &long, &none).unwrap_err();
    assert_eq!(
        error.message,
        "Invalid ConditionExpression: Expression size has exceeded the maximum allowed size;"
    );
    for text in [
        "(".repeat(4096),
        format!("{}a{}", "(".repeat(2047), ")".repeat(2047)),
        "NOT ".repeat(1024),
    ] {
        fuzz(&text);
        assert!(Condition::parse(Kind::Filter, &text, &none).is_err());
    }
    fuzz(&format!("SET a = {}", "(".repeat(4000)));
    fuzz(&format!("SET a = {}", "if_not_exists(a,".repeat(250)));
    fuzz(&"size(".repeat(800));
    fuzz(&format!("a{}", ".a".repeat(2000)));
    let many = vec!["a=b"; 160].join(" OR ");
    let error = Condition::parse(Kind::Filter, &many, &none).unwrap_err();
    assert_eq!(
        error.message,
        "Invalid FilterExpression: The expression contains too many operators; operator count: 301"
    );
    let deep = format!("a{}", ".a".repeat(32));
    let error = Projection::parse(&deep, &none).unwrap_err();
    assert_eq!(
        error.message,
        "Invalid ProjectionExpression: The document path has too many nesting elements; nesting levels: 33"
    );
}

#[test]
fn updates_keep_items_within_limits() {
    let key = Item::empty();
    let big = Value::string(&"x".repeat(399 * 1024));
    let values = [(":big", Ok(big.as_ref()))];
    let placeholders = Placeholders::new(None::<[(&str, &str); 0]>, Some(values)).unwrap();
    let update = Update::parse("SET a = :big", &placeholders).unwrap();
    let item = update.apply(None, key.as_ref()).unwrap();
    let update = Update::parse("SET b = :big", &placeholders).unwrap();
    let error = update.apply(Some(item.as_ref()), key.as_ref()).unwrap_err();
    assert_eq!(error.message, crate::message::UPDATED_ITEM_TOO_LARGE);

    let deep = (0..31).fold(Value::null(), |inner, _| Value::list([inner.as_ref()]));
    let item = Item::from_attributes([("a", deep.as_ref())]);
    let one = Value::list([Value::null().as_ref()]);
    let values = [(":one", Ok(one.as_ref()))];
    let placeholders = Placeholders::new(None::<[(&str, &str); 0]>, Some(values)).unwrap();
    let path = format!("a{}", "[0]".repeat(31));
    let error = Update::parse(&format!("SET {path} = :one"), &placeholders)
        .unwrap()
        .apply(Some(item.as_ref()), key.as_ref())
        .unwrap_err();
    assert_eq!(error.message, crate::message::NESTING_TOO_DEEP);
}

/// Words that make expressions which are often nearly right.
fn soup() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "a",
        "b",
        "c.d",
        "a[0]",
        "b[1].c",
        "#n",
        ":v",
        ":w",
        ":s",
        "=",
        "<>",
        "<",
        ">=",
        "(",
        ")",
        ",",
        ".",
        "[",
        "]",
        "+",
        "-",
        "AND",
        "OR",
        "NOT",
        "BETWEEN",
        "IN",
        "SET",
        "REMOVE",
        "ADD",
        "DELETE",
        "size(a)",
        "size(",
        "name",
        "attribute_exists(a)",
        "attribute_type(a, :v)",
        "begins_with(a, :v)",
        "contains(b, :w)",
        "if_not_exists(a, :v)",
        "list_append(",
        "7",
        "_",
        "é",
    ]);
    prop::collection::vec(word, 1..24).prop_map(|words| words.join(" "))
}

/// Items whose attributes the expressions above name.
fn items() -> impl Strategy<Value = Item> {
    let texts = prop::sample::select(vec![
        r#"{}"#,
        r#"{"a":{"N":"5"}}"#,
        r#"{"a":{"S":"text"},"b":{"SS":["x","y"]}}"#,
        r#"{"a":{"L":[{"N":"1"},{"M":{"c":{"S":"x"}}}]},"b":{"L":[{"S":"x"},{"M":{"c":{"NULL":true}}}]}}"#,
        r#"{"c":{"M":{"d":{"N":"-1"}}},"n":{"NS":["1","2"]},"a":{"B":"AAE="}}"#,
    ]);
    texts.prop_map(item)
}

proptest! {
    #[test]
    fn parsers_never_panic(text in "\\PC*") {
        fuzz(&text);
    }

    #[test]
    fn near_expressions_never_panic(text in soup(), item in items()) {
        fuzz(&text);
        let (v, w, s) = (Value::number(3.into()), Value::string("x"), Value::boolean(true));
        let values = [(":v", Ok(v.as_ref())), (":w", Ok(w.as_ref())), (":s", Ok(s.as_ref()))];
        let placeholders = Placeholders::new(Some([("#n", "n")]), Some(values)).unwrap();
        if let Ok(condition) = Condition::parse(Kind::Condition, &text, &placeholders) {
            let negated = format!("NOT ({text})");
            if let Ok(negated) = Condition::parse(Kind::Condition, &negated, &placeholders) {
                prop_assert_ne!(condition.matches(Some(item.as_ref())), negated.matches(Some(item.as_ref())));
                prop_assert_ne!(condition.matches(None), negated.matches(None));
            }
            prop_assert_eq!(&round_trip(&condition), &condition);
        }
        if let Ok(projection) = Projection::parse(&text, &placeholders) {
            let copy = projection.apply(item.as_ref());
            prop_assert!(ItemRef::parse(copy.as_bytes()).is_ok());
            prop_assert_eq!(&round_trip(&projection), &projection);
        }
        for section in ["SET a = ", "REMOVE ", "ADD a ", "SET b[1] = :v, c.d = ", ""] {
            let Ok(update) = Update::parse(&format!("{section}{text}"), &placeholders) else { continue };
            prop_assert_eq!(&round_trip(&update), &update);
            if let Ok(new) = update.apply(Some(item.as_ref()), Item::empty().as_ref()) {
                prop_assert!(ItemRef::parse(new.as_bytes()).is_ok());
                update.updated_new(new.as_ref());
            }
        }
    }

    /// What a broken peer may send is refused or evaluated to something, never a panic.
    #[test]
    fn broken_programs_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), item in items()) {
        if let Ok(condition) = postcard::from_bytes::<Condition>(&bytes) {
            condition.matches(Some(item.as_ref()));
        }
        if let Ok(projection) = postcard::from_bytes::<Projection>(&bytes) {
            projection.apply(item.as_ref());
        }
        if let Ok(update) = postcard::from_bytes::<Update>(&bytes) {
            let _ = update.apply(Some(item.as_ref()), Item::empty().as_ref());
        }
    }

    #[test]
    fn updates_of_whole_attributes_are_what_they_say(
        old in prop::collection::btree_map("[a-e]", any::<i64>(), 0..5),
        put in prop::collection::btree_map("[a-e]", any::<i64>(), 1..5),
    ) {
        let stored = |map: &BTreeMap<String, i64>| {
            let values: Vec<Value> = map.values().map(|n| Value::number((*n).into())).collect();
            Item::from_attributes(map.keys().map(String::as_str).zip(values.iter().map(Value::as_ref)))
        };
        let item = stored(&old);
        let values: Vec<(String, Value)> =
            put.iter().map(|(k, n)| (format!(":{k}"), Value::number((*n).into()))).collect();
        let placeholders = Placeholders::new(
            None::<[(&str, &str); 0]>,
            Some(values.iter().map(|(k, v)| (k.as_str(), Ok(v.as_ref())))),
        )
        .unwrap();
        let sets: Vec<String> = put.keys().map(|k| format!("{k} = :{k}")).collect();
        let update = Update::parse(&format!("SET {}", sets.join(", ")), &placeholders).unwrap();
        let mut expected = old.clone();
        expected.extend(put.clone());
        let new = update.apply(Some(item.as_ref()), Item::empty().as_ref()).unwrap();
        prop_assert_eq!(&new, &stored(&expected));
        let updated_new = update.updated_new(new.as_ref());
        prop_assert_eq!(updated_new, Some(stored(&put)));
        let touched: BTreeMap<String, i64> = old.into_iter().filter(|(k, _)| put.contains_key(k)).collect();
        prop_assert_eq!(update.updated_old(Some(item.as_ref())), (!touched.is_empty()).then(|| stored(&touched)));
    }
}

fn round_trip<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    postcard::from_bytes(&postcard::to_stdvec(value).unwrap()).unwrap()
}
