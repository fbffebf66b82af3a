//! Golden scripts of the DynamoDB API: requests and the answers they must get, as text files.
//!
//! 1. [`parse`] turns a file into steps.
//! 2. [`run`] sends each request through a closure (a handler in the same process, or HTTP to any endpoint) and
//!    compares the answer.
//! 3. [`rewrite`] prints the file again with the answers that came: the way to write a new script.
//!
//! ```text
//! # A comment.
//! @table {CreateTable's JSON}        make the table and wait until it and its indexes are ACTIVE
//! > PutItem {"TableName": "t", ...}  a request; it may go on over several lines
//! < {}                               the answer to it: equal as JSON, in any order of members
//! > Scan {"TableName": "t"}
//! ~ {"Items": [...], ...}            the answer, with arrays in any order (sets, scans)
//! > GetItem {"TableName": "x"}
//! ! ValidationException: the text    the error to it: type without namespace, and the exact message
//! + {"Item": {...}}                  further members of the error before
//! ```
//!
//! A request with an `IndexName` is repeated for a while until its answer is the expected one: a global index follows
//! its table.

use serde_json::{Map, Value};

/// One request of a script and what it must answer.
#[derive(Debug)]
pub struct Step {
    /// Where it stands in the file, from 1.
    pub line: usize,
    /// The operation's name; `@table` for a table to be made.
    pub operation: String,
    /// The request body, as written: it need not be JSON.
    pub body: String,
    /// The answer.
    pub expected: Expected,
}

/// What a request must answer.
#[derive(Debug)]
pub enum Expected {
    /// Success, with this body; `unordered` ignores the order of arrays.
    Answer {
        /// The body.
        body: Value,
        /// Arrays are compared as multisets.
        unordered: bool,
    },
    /// An error.
    Error {
        /// Its type, without namespace.
        kind: String,
        /// Its text.
        message: String,
        /// Other members of the error body.
        extra: Map<String, Value>,
    },
}

/// What a request did answer: the HTTP status and the body.
pub type Reply = (u16, Vec<u8>);

/// Reads a script. The error tells the line.
pub fn parse(text: &str) -> Result<Vec<Step>, String> {
    let mut blocks: Vec<(usize, char, String)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        match line.chars().next() {
            Some('#') | None => {}
            Some(mark @ ('@' | '>' | '<' | '~' | '!' | '+')) => {
                blocks.push((number + 1, mark, line[1..].trim().to_string()));
            }
            Some(_) => match blocks.last_mut() {
                Some((_, _, block)) => {
                    block.push('\n');
                    block.push_str(line);
                }
                None => return Err(format!("line {}: text before the first request", number + 1)),
            },
        }
    }
    let mut steps: Vec<Step> = Vec::new();
    let mut open: Option<(usize, String, String)> = None;
    for (line, mark, block) in blocks {
        let json = || serde_json::from_str::<Value>(&block).map_err(|e| format!("line {line}: {e}"));
        let expected = match mark {
            '@' | '>' => {
                if let Some((line, ..)) = open {
                    return Err(format!("line {line}: a request without an answer"));
                }
                let (operation, body) = block.split_once(char::is_whitespace).unwrap_or((&block, ""));
                let (operation, body) = (operation.to_string(), body.trim().to_string());
                if mark == '>' {
                    open = Some((line, operation, body));
                } else {
                    let expected = Expected::Answer {
                        body: Value::Null,
                        unordered: false,
                    };
                    steps.push(Step {
                        line,
                        operation: format!("@{operation}"),
                        body,
                        expected,
                    });
                }
                continue;
            }
            '+' => {
                match (steps.last_mut().map(|s| &mut s.expected), json()?) {
                    (Some(Expected::Error { extra, .. }), Value::Object(members)) => extra.extend(members),
                    _ => return Err(format!("line {line}: `+` follows an error and holds an object")),
                }
                continue;
            }
            '!' => {
                let (kind, message) = block.split_once(": ").unwrap_or((&block, ""));
                Expected::Error {
                    kind: kind.into(),
                    message: message.into(),
                    extra: Map::new(),
                }
            }
            _ => Expected::Answer {
                body: json()?,
                unordered: mark == '~',
            },
        };
        let Some((line, operation, body)) = open.take() else {
            return Err(format!("line {line}: an answer without a request"));
        };
        steps.push(Step {
            line,
            operation,
            body,
            expected,
        });
    }
    match open {
        Some((line, ..)) => Err(format!("line {line}: a request without an answer")),
        None => Ok(steps),
    }
}

/// Sends every request of a script in turn; returns what differs, one text per step that does.
pub async fn run(steps: &[Step], mut send: impl AsyncFnMut(&str, &str) -> Reply) -> Vec<String> {
    let mut differences = Vec::new();
    for step in steps {
        let problem = if step.operation == "@table" {
            make_table(&step.body, &mut send).await
        } else {
            check(step, &mut send).await
        };
        if let Some(problem) = problem {
            differences.push(format!("line {}: {}: {problem}", step.line, step.operation));
        }
    }
    differences
}

/// How often a read of an index is sent until its answer is the expected one: global indexes follow their table.
const INDEX_READS_MAX: usize = 1_000;

/// Sends a request; what differs.
async fn check(step: &Step, send: &mut impl AsyncFnMut(&str, &str) -> Reply) -> Option<String> {
    let attempts = if step.body.contains("\"IndexName\"") {
        INDEX_READS_MAX
    } else {
        1
    };
    let mut problem = None;
    for _ in 0..attempts {
        let (status, body) = send(&step.operation, &step.body).await;
        problem = difference(&step.expected, status, &body);
        if problem.is_none() {
            break;
        }
    }
    problem
}

/// How often a table that is being made is asked whether it is ready.
const READY_CHECKS_MAX: usize = 10_000;

/// Makes a table and waits until it and all its indexes are ready.
async fn make_table(body: &str, send: &mut impl AsyncFnMut(&str, &str) -> Reply) -> Option<String> {
    let (status, answer) = send("CreateTable", body).await;
    if status != 200 {
        return Some(String::from_utf8_lossy(&answer).into_owned());
    }
    let request: Value = serde_json::from_str(body).ok()?;
    let describe = format!("{{\"TableName\":{}}}", request["TableName"]);
    for _ in 0..READY_CHECKS_MAX {
        let (_, answer) = send("DescribeTable", &describe).await;
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        let indexes = answer["Table"]["GlobalSecondaryIndexes"].as_array();
        let ready = |status: &Value| status == "ACTIVE";
        let indexes_ready = indexes.is_none_or(|all| all.iter().all(|index| ready(&index["IndexStatus"])));
        if ready(&answer["Table"]["TableStatus"]) && indexes_ready {
            return None;
        }
    }
    Some("the table did not become ACTIVE".into())
}

/// What is different between an expected and an actual answer.
fn difference(expected: &Expected, status: u16, body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let Ok(mut actual) = serde_json::from_slice::<Value>(body) else {
        return Some(format!("the answer is not JSON: {text}"));
    };
    match expected {
        Expected::Answer { body, unordered } => {
            let mut body = body.clone();
            normalise(&mut body, *unordered);
            normalise(&mut actual, *unordered);
            (status != 200 || body != actual).then(|| format!("\n  expected {body}\n  answered {status} {text}"))
        }
        Expected::Error { kind, message, extra } => {
            let (actual_kind, actual_message) = error_of(&actual);
            let mut others = actual.as_object().cloned().unwrap_or_default();
            others.retain(|name, _| !matches!(name.as_str(), "__type" | "message" | "Message"));
            let same = status >= 400 && *kind == actual_kind && *message == actual_message && *extra == others;
            let extra = if extra.is_empty() {
                String::new()
            } else {
                Value::Object(extra.clone()).to_string()
            };
            (!same).then(|| format!("\n  expected {kind}: {message} {extra}\n  answered {status} {text}"))
        }
    }
}

/// An error body's type without its namespace, and its message.
fn error_of(body: &Value) -> (String, String) {
    let kind = body["__type"].as_str().unwrap_or_default();
    let message = body["message"]
        .as_str()
        .or(body["Message"].as_str())
        .unwrap_or_default();
    (
        kind.rsplit('#').next().unwrap_or_default().to_string(),
        message.to_string(),
    )
}

/// Makes 1 and 1.0 the same, and with `unordered` sorts arrays.
fn normalise(value: &mut Value, unordered: bool) {
    match value {
        Value::Number(number) => {
            if let Some(float) = number.as_f64() {
                *value = Value::from(float);
            }
        }
        Value::Array(values) => {
            values.iter_mut().for_each(|v| normalise(v, unordered));
            if unordered {
                values.sort_by_key(Value::to_string);
            }
        }
        Value::Object(members) => members.values_mut().for_each(|v| normalise(v, unordered)),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// Prints a script again with the answers that come now in the place of those it holds. Comments stay.
pub async fn rewrite(text: &str, mut send: impl AsyncFnMut(&str, &str) -> Reply) -> Result<String, String> {
    let steps = parse(text)?;
    let lines: Vec<&str> = text.lines().collect();
    let mut out = String::new();
    let mut next = steps.iter().peekable();
    let mut skipping = false;
    for (number, line) in lines.iter().enumerate() {
        match line.chars().next() {
            Some('<' | '~' | '!' | '+') => {
                if !skipping {
                    out.push_str(&answer_of(&mut next, number + 1, &mut send).await);
                }
                skipping = true;
                continue;
            }
            Some('#' | '@' | '>') | None => skipping = false,
            Some(_) if skipping => continue,
            Some(_) => {}
        }
        if line.starts_with('@')
            && let Some(step) = next.next()
            && let Some(problem) = make_table(&step.body, &mut send).await
        {
            return Err(format!("line {}: {problem}", step.line));
        }
        out.push_str(line);
        out.push('\n');
    }
    Ok(out)
}

/// The answer to the next request, as a script has it.
async fn answer_of<'a>(
    steps: &mut std::iter::Peekable<impl Iterator<Item = &'a Step>>,
    line: usize,
    send: &mut impl AsyncFnMut(&str, &str) -> Reply,
) -> String {
    let Some(step) = steps.next() else {
        return format!("# line {line}: no request\n");
    };
    let (status, body) = send(&step.operation, &step.body).await;
    let value: Value = serde_json::from_slice(&body).unwrap_or_default();
    if status == 200 {
        let mark = if matches!(step.expected, Expected::Answer { unordered: true, .. }) {
            '~'
        } else {
            '<'
        };
        return format!("{mark} {value}\n");
    }
    let (kind, message) = error_of(&value);
    let mut others = value.as_object().cloned().unwrap_or_default();
    others.retain(|name, _| !matches!(name.as_str(), "__type" | "message" | "Message"));
    let extra = if others.is_empty() {
        String::new()
    } else {
        format!("+ {}\n", Value::Object(others))
    };
    format!("! {kind}: {message}\n{extra}")
}
