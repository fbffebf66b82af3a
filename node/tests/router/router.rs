//! A router as a process, and what its tests ask of it.

use std::process::{Command, ExitStatus};

use partita_crds::names;
use partita_model::partition::PartitionDescriptor;
use partita_model::table::record::Record;
use serde_json::{Value, json};

use super::node::{Cluster, Node};
use super::shared::{Process, exchange};
use super::table::listed;

/// The namespace of everything here.
pub const NAMESPACE: &str = "shop";

/// A running router.
pub struct Router {
    process: Process,
    /// Its operations' target, for another client than this.
    endpoint: Endpoint,
}

/// Where a router answers.
#[derive(Clone)]
pub struct Endpoint(String);

/// The binary, for the tables of [`NAMESPACE`].
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_partita"));
    command.args(["router", "--admin-listen", "127.0.0.1:0"]);
    command.args(["--namespace", NAMESPACE]).args(arguments);
    command
}

impl Router {
    /// Starts a router with the cluster's directory.
    pub fn start(cluster: &Cluster, arguments: &[&str]) -> Self {
        let directory = format!("file:{}", cluster.directory().display());
        Self::with(cluster, &[&["--directory", &directory], arguments].concat())
    }

    /// Starts a router.
    pub fn with(cluster: &Cluster, arguments: &[&str]) -> Self {
        let ready = cluster.directory().with_file_name("router.ready.json");
        let process = Process::start(command(&[&["--listen", "127.0.0.1:0"], arguments].concat()), &ready);
        let endpoint = Endpoint(process.listen.clone());
        Self { process, endpoint }
    }

    /// Where other routers find its directory.
    pub fn admin_address(&self) -> String {
        format!("http://{}", self.process.admin)
    }

    /// Where it answers.
    pub fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    /// Calls an operation: status and body.
    pub fn call(&self, operation: &str, body: &Value) -> (u16, Value) {
        self.endpoint.call(operation, body)
    }

    /// Calls an operation that must succeed.
    pub fn ok(&self, operation: &str, body: &Value) -> Value {
        let (status, answer) = self.call(operation, body);
        assert_eq!(status, 200, "{operation} {body}: {answer}");
        answer
    }

    /// Puts a thing.
    pub fn put(&self, pk: &str, colour: &str) {
        let item = json!({"pk": {"S": pk}, "colour": {"S": colour}});
        self.ok("PutItem", &json!({"TableName": "things", "Item": item}));
    }

    /// A thing's colour, by a strong read.
    pub fn colour(&self, pk: &str) -> Option<String> {
        let answer = self.ok("GetItem", &get(pk));
        answer["Item"]["colour"]["S"].as_str().map(str::to_owned)
    }

    /// Gets a page of the admin API: status and body.
    pub fn admin(&self, path: &str) -> (u16, String) {
        let address = &self.process.admin;
        let head = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        exchange(address, &head)
    }

    /// Sends SIGTERM and waits for the end.
    pub fn stop(self) -> ExitStatus {
        self.process.stop()
    }
}

impl Endpoint {
    /// At an address.
    pub fn at(address: &str) -> Self {
        Self(address.to_owned())
    }

    /// Calls an operation: status and body.
    pub fn call(&self, operation: &str, body: &Value) -> (u16, Value) {
        let body = body.to_string();
        let head = format!(
            "POST / HTTP/1.1\r\nhost: {}\r\nconnection: close\r\nx-amz-target: DynamoDB_20120810.{operation}\r\n\
             content-type: application/x-amz-json-1.0\r\nx-amz-date: 20260101T000000Z\r\n\
             authorization: AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/dynamodb/aws4_request, \
             SignedHeaders=host;x-amz-date, Signature=0000\r\ncontent-length: {}\r\n\r\n{body}",
            self.0,
            body.len()
        );
        let (status, body) = exchange(&self.0, &head);
        (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
    }
}

/// A strong read of a thing.
pub fn get(pk: &str) -> Value {
    json!({"TableName": "things", "Key": {"pk": {"S": pk}}, "ConsistentRead": true})
}

/// A table of [`NAMESPACE`] as the directory has it.
pub fn entry(record: &Record, groups: &[(&Node, &[PartitionDescriptor])]) -> Value {
    let mut entry = listed(record, groups);
    entry["namespace"] = json!(NAMESPACE);
    entry["account"] = json!(names::account(NAMESPACE));
    entry
}
