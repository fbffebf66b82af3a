//! Ten thousand and a million levels of everything that nests, where recursion would end the process.

use anyhow::{Context, Result, ensure};
use partita_test_client::Server;
use serde_json::json;

use crate::TABLE;

const DEPTHS: [usize; 3] = [100, 10_000, 1_000_000];

pub fn attack(server: &Server) -> Result<()> {
    for depth in DEPTHS {
        let wrap = |open: &str, inner: &str, close: &str| open.repeat(depth) + inner + &close.repeat(depth);
        let item = |value: &str| format!(r#"{{"TableName":"{TABLE}","Item":{{"pk":{{"S":"deep"}},"v":{value}}}}}"#);
        for (what, body) in [
            ("lists of JSON", wrap("[", "1", "]")),
            ("lists never closed", "[".repeat(depth)),
            ("objects of JSON", wrap(r#"{"a":"#, "1", "}")),
            ("objects never closed", r#"{"a":"#.repeat(depth)),
            (
                "lists in an unknown member",
                format!(r#"{{"Unknown":{}}}"#, wrap("[", "1", "]")),
            ),
            ("list attributes", item(&wrap(r#"{"L":["#, r#"{"N":"1"}"#, "]}"))),
            ("map attributes", item(&wrap(r#"{"M":{"a":"#, r#"{"N":"1"}"#, "}}"))),
            ("map attributes never closed", item(&r#"{"M":{"a":"#.repeat(depth))),
            (
                "lists in an attribute",
                item(&format!(r#"{{"S":{}}}"#, wrap("[", "1", "]"))),
            ),
        ] {
            refused(server, "PutItem", what, depth, body.as_bytes())?;
        }
        for (what, expression) in [
            ("parentheses", wrap("(", "a = a", ")")),
            ("parentheses never closed", "(".repeat(depth)),
            ("NOT", wrap("NOT ", "a = a", "")),
            ("NOT in parentheses", wrap("(NOT ", "a = a", ")")),
            ("functions", wrap("size(", "a", ")") + " = a"),
            ("AND", "a = a AND ".repeat(depth) + "a = a"),
            ("paths", format!("a{} = a", ".a".repeat(depth))),
            ("indexes", format!("a{} = a", "[0]".repeat(depth))),
            ("IN", format!("a IN (a{})", ", a".repeat(depth))),
        ] {
            let body = json!({"TableName": TABLE, "Item": {"pk": {"S": "deep"}}, "ConditionExpression": expression});
            refused(server, "PutItem", what, depth, body.to_string().as_bytes())?;
        }
        for (what, expression) in [
            (
                "if_not_exists",
                format!("SET a = {}", wrap("if_not_exists(a, ", "a", ")")),
            ),
            ("list_append", format!("SET a = {}", wrap("list_append(a, ", "a", ")"))),
            ("sums", format!("SET a = a{}", " + a".repeat(depth))),
            ("clauses", format!("REMOVE a{}", ", a".repeat(depth))),
        ] {
            let body = json!({"TableName": TABLE, "Key": {"pk": {"S": "deep"}}, "UpdateExpression": expression});
            refused(server, "UpdateItem", what, depth, body.to_string().as_bytes())?;
        }
    }
    Ok(())
}

fn refused(server: &Server, operation: &str, what: &str, depth: usize, body: &[u8]) -> Result<()> {
    let reply = server
        .connect()?
        .call_bytes(operation, body)
        .with_context(|| format!("{depth} × {what}: no answer"))?;
    // A hundred levels of some of these are allowed, but then the item or the attribute does not fit them.
    ensure!(
        (400..500).contains(&reply.status) || depth == DEPTHS[0] && reply.status == 200,
        "{depth} × {what} is answered {} {}",
        reply.status,
        String::from_utf8_lossy(&reply.body)
    );
    Ok(())
}
