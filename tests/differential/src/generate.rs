//! Requests from a seed.

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Map, Value, json};

/// Attributes that are no keys.
const NAMES: &[&str] = &["n", "s", "b", "t", "z", "l", "m", "ss", "ns", "x"];
const NUMBERS: &[&str] = &[
    "0",
    "-0",
    "1",
    "-1",
    "2",
    "10",
    "9",
    "0.5",
    "1.50",
    "1e2",
    "-1E-3",
    "007",
    "3.14159265358979",
    "99999999999999999999",
    "1e125",
    "-1e-130",
    "0.1",
    "12345678901234567890123456789012345678",
];
const STRINGS: &[&str] = &["", "a", "ab", "abc", "b", "é", "漢字", "A", " ", "a\u{0}b", "\u{1F600}"];
const BINARIES: &[&str] = &["", "AA==", "AQI=", "/w==", "AQID"];
/// In the form in which they are stored: dynoxide's `DELETE` compares numbers of a set as text, ours by value (the
/// developer guide: sets of numbers compare as numbers), which is left out here because it shows only much later.
const NUMBER_SET: &[&str] = &["1", "2", "2.5", "-7", "10000000000"];
/// Of each table.
const KEYS: usize = 6;
const SORTS: usize = 5;

/// One sequence.
pub struct Generator {
    rng: SmallRng,
    seed: u64,
}

/// Values and names that an expression refers to.
#[derive(Default)]
struct References {
    values: Map<String, Value>,
    names: Map<String, Value>,
}

impl References {
    fn value(&mut self, value: Value) -> String {
        let name = format!(":v{}", self.values.len());
        self.values.insert(name.clone(), value);
        name
    }

    fn put_into(self, body: &mut Value) {
        if !self.values.is_empty() {
            body["ExpressionAttributeValues"] = Value::Object(self.values);
        }
        if !self.names.is_empty() {
            body["ExpressionAttributeNames"] = Value::Object(self.names);
        }
    }
}

impl Generator {
    pub fn new(seed: u64) -> Self {
        Generator {
            rng: SmallRng::seed_from_u64(seed),
            seed,
        }
    }

    fn simple(&self) -> String {
        format!("simple-{}", self.seed)
    }

    fn ranged(&self) -> String {
        format!("ranged-{}", self.seed)
    }

    /// The tables of the sequence, as CreateTable has them.
    pub fn tables(&self) -> [Value; 2] {
        let definition = |name: &str, kind: &str| json!({"AttributeName": name, "AttributeType": kind});
        let index = |name: &str, hash: &str, range: &str, projection: Value| {
            let mut keys = vec![json!({"AttributeName": hash, "KeyType": "HASH"})];
            if !range.is_empty() {
                keys.push(json!({"AttributeName": range, "KeyType": "RANGE"}));
            }
            json!({"IndexName": name, "KeySchema": keys, "Projection": projection})
        };
        let all = json!({"ProjectionType": "ALL"});
        [
            json!({
                "TableName": self.simple(), "BillingMode": "PAY_PER_REQUEST",
                "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
                "AttributeDefinitions": [definition("pk", "S")],
            }),
            json!({
                "TableName": self.ranged(), "BillingMode": "PAY_PER_REQUEST",
                "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
                "AttributeDefinitions": [
                    definition("pk", "S"), definition("sk", "N"), definition("n", "N"), definition("s", "S")
                ],
                "LocalSecondaryIndexes": [index("local", "pk", "n", all.clone())],
                "GlobalSecondaryIndexes": [
                    index("global-all", "s", "n", all),
                    index("global-keys", "s", "", json!({"ProjectionType": "KEYS_ONLY"})),
                ],
            }),
        ]
    }

    /// The next operation and its body.
    pub fn next(&mut self) -> (&'static str, Value) {
        let (operation, mut body) = match self.rng.random_range(0..100) {
            0..24 => ("PutItem", self.put()),
            24..50 => ("UpdateItem", self.update()),
            50..58 => ("DeleteItem", self.delete()),
            58..66 => ("GetItem", self.get()),
            66..86 => ("Query", self.query()),
            86..90 => ("Scan", self.scan()),
            90..93 => self.legacy(),
            93..95 => ("BatchGetItem", self.batch_get()),
            _ => ("BatchWriteItem", self.batch_write()),
        };
        if self.one_in(25) {
            self.spoil(&mut body);
        }
        if self.one_in(3) {
            body["ReturnConsumedCapacity"] = json!(self.pick(&["TOTAL", "INDEXES"]));
        }
        (operation, body)
    }

    fn one_in(&mut self, count: u32) -> bool {
        self.rng.random_ratio(1, count)
    }

    fn pick<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list.choose(&mut self.rng).copied().unwrap_or("")
    }

    /// A table and a key of it.
    fn key(&mut self) -> (String, Value) {
        let pk = json!({"S": format!("p{}", self.rng.random_range(0..KEYS))});
        if self.one_in(2) {
            (self.simple(), json!({ "pk": pk }))
        } else {
            (
                self.ranged(),
                json!({"pk": pk, "sk": {"N": self.rng.random_range(0..SORTS).to_string()}}),
            )
        }
    }

    fn value(&mut self, depth: usize) -> Value {
        let kinds = if depth > 2 { 6 } else { 11 };
        match self.rng.random_range(0..kinds) {
            0 | 1 => json!({"N": self.pick(NUMBERS)}),
            2 | 3 => json!({"S": self.pick(STRINGS)}),
            4 => json!({"BOOL": self.one_in(2)}),
            5 => json!({"B": self.pick(BINARIES)}),
            6 => json!({"NULL": true}),
            7 => json!({"SS": self.set(STRINGS)}),
            8 => json!({"NS": self.set(NUMBER_SET)}),
            9 => {
                let count = self.rng.random_range(0..4);
                json!({"L": (0..count).map(|_| self.value(depth + 1)).collect::<Vec<_>>()})
            }
            _ => {
                let mut map = Map::new();
                for _ in 0..self.rng.random_range(0..3) {
                    map.insert(self.pick(&["x", "y", "deep"]).to_owned(), self.value(depth + 1));
                }
                json!({ "M": map })
            }
        }
    }

    /// A value that an attribute of that name may hold without offending an index.
    fn value_for(&mut self, name: &str) -> Value {
        match name {
            "n" => json!({"N": self.pick(NUMBERS)}),
            "s" => json!({"S": self.pick(&STRINGS[1..])}),
            "ss" => json!({"SS": self.set(STRINGS)}),
            "ns" => json!({"NS": self.set(NUMBER_SET)}),
            _ => self.value(0),
        }
    }

    fn set(&mut self, from: &[&str]) -> Vec<String> {
        let count = self.rng.random_range(1..4);
        from.choose_multiple(&mut self.rng, count)
            .map(|text| (*text).to_owned())
            .collect()
    }

    fn item(&mut self, key: &Value) -> Value {
        let mut item = key.clone();
        for _ in 0..self.rng.random_range(0..6) {
            let name = self.pick(NAMES);
            item[name] = self.value_for(name);
        }
        item
    }

    fn put(&mut self) -> Value {
        let (table, key) = self.key();
        let mut body = json!({"TableName": table, "Item": self.item(&key)});
        if self.one_in(3) {
            body["ReturnValues"] = json!("ALL_OLD");
        }
        self.with_condition(body)
    }

    fn delete(&mut self) -> Value {
        let (table, key) = self.key();
        let body = json!({"TableName": table, "Key": key, "ReturnValues": self.pick(&["ALL_OLD", "NONE"])});
        self.with_condition(body)
    }

    fn with_condition(&mut self, mut body: Value) -> Value {
        if self.one_in(3) {
            let mut references = References::default();
            body["ConditionExpression"] = json!(self.condition(&mut references, 0));
            if self.one_in(2) {
                body["ReturnValuesOnConditionCheckFailure"] = json!("ALL_OLD");
            }
            references.put_into(&mut body);
        }
        body
    }

    fn get(&mut self) -> Value {
        let (table, key) = self.key();
        let mut body = json!({"TableName": table, "Key": key, "ConsistentRead": true});
        if self.one_in(3) {
            body["ProjectionExpression"] = json!(self.projection());
        }
        body
    }

    fn projection(&mut self) -> String {
        let paths = ["n", "s", "b", "l[0]", "l[1]", "m.x", "m.y", "pk", "m.deep.x", "x", "z"];
        let count = self.rng.random_range(1..4);
        let chosen: Vec<&str> = paths.choose_multiple(&mut self.rng, count).copied().collect();
        chosen.join(", ")
    }

    fn path(&mut self) -> &'static str {
        self.pick(&[
            "n", "s", "b", "t", "z", "l", "m", "ss", "ns", "x", "l[0]", "l[1]", "m.x", "m.deep.y", "m.y",
        ])
    }

    fn operand(&mut self, references: &mut References) -> String {
        match self.rng.random_range(0..5) {
            0 => format!("size({})", self.path()),
            1 | 2 => self.path().to_owned(),
            _ => {
                let value = self.value(2);
                references.value(value)
            }
        }
    }

    fn condition(&mut self, references: &mut References, depth: usize) -> String {
        let kinds = if depth > 1 { 7 } else { 10 };
        match self.rng.random_range(0..kinds) {
            0 | 1 => {
                let left = self.path();
                let operator = self.pick(&["=", "<>", "<", "<=", ">", ">="]);
                format!("{left} {operator} {}", self.operand(references))
            }
            2 => format!("attribute_exists({})", self.path()),
            3 => format!("attribute_not_exists({})", self.path()),
            4 => {
                let kind = json!({"S": self.pick(&["S", "N", "B", "SS", "NS", "BOOL", "NULL", "L", "M"])});
                format!("attribute_type({}, {})", self.path(), references.value(kind))
            }
            5 => {
                let value = if self.one_in(2) {
                    json!({"S": self.pick(STRINGS)})
                } else {
                    json!({"N": self.pick(NUMBERS)})
                };
                format!("contains({}, {})", self.path(), references.value(value))
            }
            6 => {
                let prefix = json!({"S": self.pick(STRINGS)});
                format!("begins_with({}, {})", self.path(), references.value(prefix))
            }
            7 => format!("NOT {}", self.condition(references, depth + 1)),
            8 => {
                let operator = self.pick(&["AND", "OR"]);
                let left = self.condition(references, depth + 1);
                format!("({left}) {operator} {}", self.condition(references, depth + 1))
            }
            _ => {
                let path = self.path();
                let (low, high) = (json!({"N": "0"}), json!({"N": self.pick(&["1", "5", "100"])}));
                let (low, high) = (references.value(low), references.value(high));
                if self.one_in(2) {
                    format!("{path} BETWEEN {low} AND {high}")
                } else {
                    format!("{path} IN ({low}, {high})")
                }
            }
        }
    }

    fn update(&mut self) -> Value {
        let (table, key) = self.key();
        let mut body = json!({
            "TableName": table, "Key": key,
            "ReturnValues": self.pick(&["NONE", "ALL_OLD", "ALL_NEW", "UPDATED_OLD", "UPDATED_NEW"])
        });
        let mut references = References::default();
        let mut paths: Vec<&str> = NAMES.to_vec();
        let mut sections: Vec<String> = Vec::new();
        let count = self.rng.random_range(1..4);
        let mut kinds = ["SET", "REMOVE", "ADD", "DELETE"];
        rand::seq::SliceRandom::shuffle(&mut kinds[..], &mut self.rng);
        for kind in &kinds[..count] {
            let mut actions = Vec::new();
            for _ in 0..self.rng.random_range(1..3) {
                if paths.is_empty() {
                    break;
                }
                let name = paths.swap_remove(self.rng.random_range(0..paths.len()));
                actions.push(self.action(kind, name, &mut references));
            }
            if !actions.is_empty() {
                sections.push(format!("{kind} {}", actions.join(", ")));
            }
        }
        body["UpdateExpression"] = json!(sections.join(" "));
        let conditional = self.one_in(5);
        if sections
            .iter()
            .all(|section| section.starts_with("REMOVE") || section.starts_with("DELETE"))
        {
            // dynoxide makes an item of an update that only takes away; DynamoDB does not (scylladb/scylladb#5862 and
            // #28544). The two tables would differ from then on, so such updates are of items that are there.
            body["ConditionExpression"] = json!("attribute_exists(pk)");
        } else if conditional {
            body["ConditionExpression"] = json!(self.condition(&mut references, 1));
        }
        references.put_into(&mut body);
        body
    }

    fn action(&mut self, kind: &str, name: &str, references: &mut References) -> String {
        match kind {
            "REMOVE" => match name {
                "l" => "l[0]".to_owned(),
                "m" => "m.x".to_owned(),
                _ => name.to_owned(),
            },
            "ADD" => {
                let value = match name {
                    "ss" => self.value_for("ss"),
                    "ns" => self.value_for("ns"),
                    _ => json!({"N": self.pick(&["1", "-1", "0.5", "1e10"])}),
                };
                format!("{name} {}", references.value(value))
            }
            "DELETE" => {
                let value = if name == "ns" {
                    self.value_for("ns")
                } else {
                    self.value_for("ss")
                };
                format!("{name} {}", references.value(value))
            }
            _ => self.assignment(name, references),
        }
    }

    fn assignment(&mut self, name: &str, references: &mut References) -> String {
        let one = |generator: &mut Self| json!({"N": generator.pick(&["1", "2.5", "-3"])});
        match (name, self.rng.random_range(0..4)) {
            ("n", 0) => {
                let value = one(self);
                format!("n = n {} {}", self.pick(&["+", "-"]), references.value(value))
            }
            ("n", 1) => {
                let (start, step) = (one(self), one(self));
                format!(
                    "n = if_not_exists(n, {}) + {}",
                    references.value(start),
                    references.value(step)
                )
            }
            ("l", 0) => {
                let tail = json!({"L": [self.value(2)]});
                format!("l = list_append(l, {})", references.value(tail))
            }
            ("l", 1) => {
                let (empty, tail) = (json!({"L": []}), json!({"L": [self.value(2)]}));
                format!(
                    "l = list_append(if_not_exists(l, {}), {})",
                    references.value(empty),
                    references.value(tail)
                )
            }
            ("l", 2) => {
                let value = self.value(2);
                format!("l[{}] = {}", self.rng.random_range(0..4), references.value(value))
            }
            ("m", 0 | 1) => {
                let value = self.value(2);
                format!("m.{} = {}", self.pick(&["x", "y"]), references.value(value))
            }
            ("x", 0) => format!("x = {}", self.path()),
            _ => {
                let value = self.value_for(name);
                format!("{name} = {}", references.value(value))
            }
        }
    }

    fn query(&mut self) -> Value {
        let mut references = References::default();
        let mut body = json!({"TableName": self.ranged(), "ScanIndexForward": self.one_in(2)});
        let pk = json!({"S": format!("p{}", self.rng.random_range(0..KEYS))});
        let (hash, range) = match self.rng.random_range(0..6) {
            0 => {
                body["IndexName"] = json!("local");
                (format!("pk = {}", references.value(pk)), "n")
            }
            1 => {
                body["IndexName"] = json!("global-all");
                let value = json!({"S": self.pick(&STRINGS[1..])});
                (format!("s = {}", references.value(value)), "n")
            }
            2 => {
                body["IndexName"] = json!("global-keys");
                let value = json!({"S": self.pick(&STRINGS[1..])});
                (format!("s = {}", references.value(value)), "")
            }
            _ => {
                body["ConsistentRead"] = json!(true);
                (format!("pk = {}", references.value(pk)), "sk")
            }
        };
        let mut condition = hash;
        if !range.is_empty() && self.one_in(2) {
            let value = json!({"N": self.pick(&["0", "1", "2", "3", "0.5", "10"])});
            let name = references.value(value);
            condition += &match self.rng.random_range(0..6) {
                5 => {
                    let high = references.value(json!({"N": "100"}));
                    format!(" AND {range} BETWEEN {name} AND {high}")
                }
                operator => format!(" AND {range} {} {name}", ["=", "<", "<=", ">", ">="][operator]),
            };
        }
        body["KeyConditionExpression"] = json!(condition);
        let unique = !body["IndexName"].is_string();
        // Equal index keys come in an order that is not documented, so only the table's own pages are cut.
        if unique && self.one_in(3) {
            body["Limit"] = json!(self.rng.random_range(1..5));
        }
        if self.one_in(4) {
            let filters = [
                "attribute_exists(x)",
                "attribute_exists(l)",
                "size(b) > :size",
                "attribute_type(z, :kind)",
            ];
            let filter = self.pick(&filters);
            if filter.contains(":size") {
                references.values.insert(":size".to_owned(), json!({"N": "1"}));
            }
            if filter.contains(":kind") {
                references.values.insert(":kind".to_owned(), json!({"S": "NULL"}));
            }
            body["FilterExpression"] = json!(filter);
        }
        match self.rng.random_range(0..6) {
            0 => body["Select"] = json!("COUNT"),
            1 if unique => body["ProjectionExpression"] = json!(self.projection()),
            _ => {}
        }
        references.put_into(&mut body);
        body
    }

    fn scan(&mut self) -> Value {
        let table = if self.one_in(2) { self.simple() } else { self.ranged() };
        let mut body = json!({"TableName": table, "ConsistentRead": true});
        if self.one_in(2) {
            let mut references = References::default();
            let mut filter = self.condition(&mut references, 0);
            // Keys are allowed in a scan's filter.
            if self.one_in(4) {
                filter = format!("({filter}) OR begins_with(pk, {})", references.value(json!({"S": "p"})));
            }
            body["FilterExpression"] = json!(filter);
            references.put_into(&mut body);
        }
        body
    }

    /// An operation in the parameters that expressions have replaced.
    fn legacy(&mut self) -> (&'static str, Value) {
        let (table, key) = self.key();
        match self.rng.random_range(0..5) {
            0 => {
                let mut body = json!({"TableName": table, "Item": self.item(&key)});
                self.expect(&mut body, "Expected");
                ("PutItem", body)
            }
            1 => {
                let mut updates = Map::new();
                for _ in 0..self.rng.random_range(1..4) {
                    let name = self.pick(NAMES);
                    let update = match self.rng.random_range(0..4) {
                        0 => json!({"Action": "DELETE"}),
                        1 => json!({"Action": "ADD", "Value": {"N": self.pick(&["1", "-2.5"])}}),
                        _ => json!({"Action": "PUT", "Value": self.value_for(name)}),
                    };
                    updates.insert(name.to_owned(), update);
                }
                // Of an item that is not there `DELETE` alone makes none (API reference, AttributeUpdates: "Nothing
                // happens"); dynoxide makes one, which would show only much later.
                updates.insert("x".to_owned(), json!({"Value": self.value_for("x")}));
                let mut body = json!({"TableName": table, "Key": key, "AttributeUpdates": updates});
                body["ReturnValues"] = json!(self.pick(&["NONE", "ALL_NEW", "UPDATED_NEW", "UPDATED_OLD"]));
                self.expect(&mut body, "Expected");
                ("UpdateItem", body)
            }
            2 => {
                let names = ["pk", "n", "s", "x", "m"];
                let count = self.rng.random_range(1..4);
                let names: Vec<&str> = names.choose_multiple(&mut self.rng, count).copied().collect();
                (
                    "GetItem",
                    json!({"TableName": table, "Key": key, "AttributesToGet": names, "ConsistentRead": true}),
                )
            }
            3 => {
                let mut conditions = json!({"pk": {"ComparisonOperator": "EQ", "AttributeValueList": [key["pk"]]}});
                if self.one_in(2) {
                    let operator = self.pick(&["EQ", "LT", "LE", "GT", "GE"]);
                    conditions["sk"] = json!({"ComparisonOperator": operator, "AttributeValueList": [{"N": "2"}]});
                }
                let mut body = json!({"TableName": self.ranged(), "KeyConditions": conditions, "ConsistentRead": true});
                self.expect(&mut body, "QueryFilter");
                ("Query", body)
            }
            _ => {
                let mut body = json!({"TableName": table, "ConsistentRead": true});
                self.expect(&mut body, "ScanFilter");
                ("Scan", body)
            }
        }
    }

    /// Adds a map of comparisons.
    fn expect(&mut self, body: &mut Value, member: &str) {
        let mut entries = Map::new();
        for _ in 0..self.rng.random_range(0..3) {
            let name = self.pick(NAMES);
            let number = json!({"N": self.pick(NUMBERS)});
            let entry = match self.rng.random_range(0..7) {
                0 => json!({"ComparisonOperator": self.pick(&["NULL", "NOT_NULL"])}),
                1 => json!({"ComparisonOperator": "BETWEEN", "AttributeValueList": [{"N": "0"}, {"N": "10"}]}),
                2 => json!({"ComparisonOperator": "IN", "AttributeValueList": [{"N": "1"}, number]}),
                3 => {
                    let operator = self.pick(&["CONTAINS", "NOT_CONTAINS", "BEGINS_WITH"]);
                    json!({"ComparisonOperator": operator, "AttributeValueList": [{"S": self.pick(&STRINGS[1..])}]})
                }
                4 => json!({"ComparisonOperator": self.pick(&["EQ", "NE"]), "AttributeValueList": [self.value(2)]}),
                _ => {
                    json!({"ComparisonOperator": self.pick(&["LT", "LE", "GT", "GE"]), "AttributeValueList": [number]})
                }
            };
            entries.insert(name.to_owned(), entry);
        }
        if entries.is_empty() {
            return;
        }
        if entries.len() > 1 {
            body["ConditionalOperator"] = json!(self.pick(&["AND", "OR"]));
        }
        body[member] = Value::Object(entries);
    }

    /// Makes a request wrong.
    fn spoil(&mut self, body: &mut Value) {
        let Some(members) = body.as_object_mut() else { return };
        match self.rng.random_range(0..6) {
            0 => drop(members.insert("TableName".to_owned(), json!("no-such-table"))),
            1 => {
                for key in ["Key", "Item"] {
                    if let Some(Value::Object(key)) = members.get_mut(key) {
                        key.remove("pk");
                    }
                }
            }
            2 => {
                for key in ["Key", "Item"] {
                    if let Some(key) = members.get_mut(key) {
                        key["pk"] = json!({"N": "1"});
                    }
                }
            }
            3 => {
                for key in ["Key", "Item"] {
                    if let Some(key) = members.get_mut(key) {
                        key["pk"] = json!({"S": ""});
                    }
                }
            }
            4 => drop(members.remove("ExpressionAttributeValues")),
            _ => {
                if let Some(Value::Object(values)) = members.get_mut("ExpressionAttributeValues") {
                    values.insert(":unused".to_owned(), json!({"S": "a"}));
                }
            }
        }
    }

    fn batch_get(&mut self) -> Value {
        let mut tables = Map::new();
        for _ in 0..self.rng.random_range(1..8) {
            let (table, key) = self.key();
            let entry = tables
                .entry(table)
                .or_insert_with(|| json!({"Keys": [], "ConsistentRead": true}));
            push_new(&mut entry["Keys"], key);
        }
        json!({ "RequestItems": tables })
    }

    fn batch_write(&mut self) -> Value {
        let mut tables: Map<String, Value> = Map::new();
        let mut seen = Vec::new();
        for _ in 0..self.rng.random_range(1..8) {
            let (table, key) = self.key();
            if seen.contains(&(table.clone(), key.clone())) {
                continue;
            }
            seen.push((table.clone(), key.clone()));
            let request = if self.one_in(3) {
                json!({"DeleteRequest": {"Key": key}})
            } else {
                json!({"PutRequest": {"Item": self.item(&key)}})
            };
            push_new(tables.entry(table).or_insert_with(|| json!([])), request);
        }
        json!({ "RequestItems": tables })
    }
}

fn push_new(list: &mut Value, value: Value) {
    if let Some(list) = list.as_array_mut()
        && !list.contains(&value)
    {
        list.push(value);
    }
}

/// The items that a request is about.
pub fn keys_of(body: &Value) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    let key_of = |item: &Value| {
        let mut key = json!({"pk": item["pk"]});
        if let Some(sort) = item.get("sk") {
            key["sk"] = sort.clone();
        }
        key
    };
    if let Some(table) = body["TableName"].as_str() {
        for member in ["Key", "Item"] {
            if let Some(item) = body.get(member) {
                found.push((table.to_owned(), key_of(item)));
            }
        }
    }
    for (table, requests) in body["RequestItems"].as_object().into_iter().flatten() {
        for request in requests.as_array().into_iter().flatten() {
            for item in [&request["PutRequest"]["Item"], &request["DeleteRequest"]["Key"]] {
                if item.is_object() {
                    found.push((table.clone(), key_of(item)));
                }
            }
        }
    }
    found
}
