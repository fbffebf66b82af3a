//! The scripts of tests/conformance against the gateway's operations over tables in memory.
//!
//! `UPDATE_SCRIPTS=1` writes the answers that come now into the scripts: look at the difference before keeping it.

#![allow(clippy::unwrap_used)]

mod faults;
mod limits;
mod memory;
#[path = "../../../../tests/conformance/script.rs"]
mod script;

use std::path::Path;
use std::sync::Arc;

use partita_gateway::api::{Call, Operation, dispatch};
use partita_gateway::backend::{Account, Backend};
use partita_gateway::metrics::Metrics;
use partita_model::error::ApiError;
use serde_json::Value;

use self::memory::Memory;

/// Where the scripts are.
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/conformance/scripts");

#[tokio::test]
async fn scripts() {
    let mut paths: Vec<_> = std::fs::read_dir(SCRIPTS)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    let mut differences = Vec::new();
    for path in paths {
        differences.extend(run(&path).await);
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Runs a script over tables of its own.
async fn run(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let name = path.file_name().unwrap().to_string_lossy();
    let backend = Arc::new(Memory::default());
    if std::env::var_os("UPDATE_SCRIPTS").is_some() {
        let rewritten = script::rewrite(&text, async |operation, body| answer(&backend, operation, body).await).await;
        std::fs::write(path, rewritten.unwrap()).unwrap();
        return Vec::new();
    }
    let steps = script::parse(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    let differences = script::run(&steps, async |operation, body| answer(&backend, operation, body).await).await;
    differences
        .into_iter()
        .map(|difference| format!("{name}: {difference}"))
        .collect()
}

/// Answers a request; tables are made by the memory itself, at once.
async fn answer(backend: &Arc<Memory>, operation: &str, body: &str) -> script::Reply {
    match operation {
        "CreateTable" => {
            backend.create(&serde_json::from_str(body).unwrap());
            (200, b"{}".to_vec())
        }
        "DescribeTable" => (200, br#"{"Table":{"TableStatus":"ACTIVE"}}"#.to_vec()),
        _ => call(backend, operation, body).await,
    }
}

/// Sends a request to an operation of the gateway.
pub async fn call<B: Backend>(backend: &Arc<B>, operation: &str, body: &str) -> script::Reply {
    let operation = Operation::from_target(&format!("DynamoDB_20120810.{operation}")).unwrap();
    let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
    let account = Account::new("000000000000");
    let call = Call {
        backend,
        account: &account,
        region: "us-east-1",
        host: None,
        metrics: &metrics,
    };
    match dispatch(&call, operation, body.as_bytes()).await {
        Ok(answer) => (200, answer),
        Err(error) => (error.code.http_status(), error_body(&error)),
    }
}

fn error_body(error: &ApiError) -> Vec<u8> {
    let mut body = serde_json::json!({"__type": error.code.wire_type(), "message": error.message});
    if let Some(item) = &error.item {
        let mut json = Vec::new();
        (**item).as_ref().write_json(&mut json);
        body["Item"] = serde_json::from_slice::<Value>(&json).unwrap();
    }
    serde_json::to_vec(&body).unwrap()
}
