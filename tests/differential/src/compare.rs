//! Answers held against each other.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::{Context, Result};
use partita_test_client::Reply;
use serde_json::Value;

/// An answer of ours that is not theirs.
pub struct Difference {
    pub place: String,
    pub before: Vec<String>,
    pub operation: &'static str,
    pub request: String,
    pub ours: String,
    pub theirs: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "--- {}", self.place)?;
        for request in &self.before {
            writeln!(out, "  before: {}", request.chars().take(400).collect::<String>())?;
        }
        writeln!(out, "  {} {}", self.operation, self.request)?;
        writeln!(out, "  ours:     {}", self.ours)?;
        write!(out, "  dynoxide: {}", self.theirs)
    }
}

/// Compares two answers to one request.
pub fn compare(operation: &'static str, request: &Value, ours: &Reply, theirs: &Reply) -> Option<Difference> {
    // A scan's order is that of hashes, which every implementation chooses for itself.
    let unordered = operation == "Scan" || operation == "BatchGetItem";
    let (ours, theirs) = (text(ours, unordered), text(theirs, unordered));
    (ours != theirs).then(|| Difference {
        place: String::new(),
        before: Vec::new(),
        operation,
        request: request.to_string(),
        ours,
        theirs,
    })
}

/// An answer in one form: status, error and text, or the body with its sets and numbers in order.
fn text(reply: &Reply, unordered: bool) -> String {
    let mut body = reply.json();
    if reply.status != 200 {
        let item = body.get("Item").map(|item| format!(" {item}")).unwrap_or_default();
        return format!(
            "{} {}: {}{item}",
            reply.status,
            reply.error_name(),
            reply.error_message()
        );
    }
    normalise(&mut body, unordered);
    format!("200 {body}")
}

fn normalise(value: &mut Value, unordered: bool) {
    match value {
        Value::Object(members) => {
            for (name, member) in members.iter_mut() {
                normalise(member, unordered);
                let is_set = matches!(name.as_str(), "SS" | "NS" | "BS");
                let is_page = unordered && name == "Items";
                // Of a batch: one entry for each table.
                let is_tables = name == "ConsumedCapacity";
                if let (true, Value::Array(list)) = (is_set || is_page || is_tables, &mut *member) {
                    list.sort_by_key(Value::to_string);
                }
                if let (true, "Responses", Value::Object(tables)) = (unordered, name.as_str(), &mut *member) {
                    for list in tables.values_mut().filter_map(Value::as_array_mut) {
                        list.sort_by_key(Value::to_string);
                    }
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|member| normalise(member, unordered)),
        Value::Number(number) => {
            if let Some(float) = number.as_f64() {
                *value = Value::from(float);
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// Differences that were looked at and decided.
pub struct Allowances(Vec<Allowance>);

struct Allowance {
    operation: String,
    request: String,
    ours: String,
    theirs: String,
}

impl Allowances {
    /// Reads `allowances.json`, and checks that DIFFERENCES.md tells of each.
    pub fn read() -> Result<Self> {
        let list: Vec<Value> = serde_json::from_str(include_str!("../allowances.json"))?;
        let reasons = include_str!("../DIFFERENCES.md");
        let mut names = BTreeSet::new();
        let mut allowances = Vec::new();
        for entry in list {
            let field = |name: &str| {
                entry[name]
                    .as_str()
                    .map(str::to_owned)
                    .with_context(|| format!("{name:?} of {entry}"))
            };
            let name = field("name")?;
            anyhow::ensure!(
                reasons.contains(&format!("## {name}\n")),
                "DIFFERENCES.md has no section {name:?}"
            );
            names.insert(name);
            allowances.push(Allowance {
                operation: field("operation")?,
                request: entry["request"].as_str().unwrap_or("").to_owned(),
                ours: field("ours")?,
                theirs: field("theirs")?,
            });
        }
        for section in reasons.lines().filter_map(|line| line.strip_prefix("## ")) {
            anyhow::ensure!(
                names.contains(section),
                "DIFFERENCES.md tells of {section:?}, which nothing allows"
            );
        }
        Ok(Allowances(allowances))
    }

    /// Whether a difference is one of them: the operation is named (`*`: any), the request and each
    /// answer contain the text.
    pub fn allow(&self, difference: &Difference) -> bool {
        self.0.iter().any(|allowance| {
            (allowance.operation == "*" || allowance.operation == difference.operation)
                && difference.request.contains(&allowance.request)
                && difference.ours.contains(&allowance.ours)
                && difference.theirs.contains(&allowance.theirs)
        })
    }
}
