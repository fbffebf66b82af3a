//! The standalone role as a process, and what its tests ask of it.

use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use serde_json::{Value, json};

use super::shared::{Process, exchange, until};

/// A running process.
pub struct Partita(Process);

/// The binary with ports of the system's choice; `arguments` come on top.
pub fn command(data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_partita"));
    command.args([
        "standalone",
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
        "--data",
    ]);
    command.arg(data).args(arguments).stdout(Stdio::null());
    command
}

impl Partita {
    /// Starts a process and waits until its tables can be used.
    pub fn start(data: &Path, arguments: &[&str]) -> Self {
        Self(Process::start(command(data, arguments), &ready_file(data)))
    }

    /// Calls an operation: status and body.
    pub fn call(&self, operation: &str, body: &Value) -> (u16, Value) {
        let (status, body) = exchange(&self.0.listen, &self.request(operation, body));
        (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
    }

    /// Asks for an operation and does not wait for its answer.
    pub fn ask(&self, operation: &str, body: &Value) -> TcpStream {
        let mut stream = TcpStream::connect(&self.0.listen).unwrap();
        stream.write_all(self.request(operation, body).as_bytes()).unwrap();
        stream
    }

    fn request(&self, operation: &str, body: &Value) -> String {
        let body = body.to_string();
        format!(
            "POST / HTTP/1.1\r\nhost: {}\r\nconnection: close\r\nx-amz-target: DynamoDB_20120810.{operation}\r\n\
             content-type: application/x-amz-json-1.0\r\nx-amz-date: 20260101T000000Z\r\n\
             authorization: AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/dynamodb/aws4_request, \
             SignedHeaders=host;x-amz-date, Signature=0000\r\ncontent-length: {}\r\n\r\n{body}",
            self.0.listen,
            body.len()
        )
    }

    /// Calls an operation that must succeed.
    pub fn ok(&self, operation: &str, body: &Value) -> Value {
        let (status, answer) = self.call(operation, body);
        assert_eq!(status, 200, "{operation} {body}: {answer}");
        answer
    }

    /// Where it answers.
    pub fn listen(&self) -> &str {
        &self.0.listen
    }

    /// Gets a page of the admin API: status and body.
    pub fn admin(&self, path: &str) -> (u16, String) {
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
            self.0.admin
        );
        exchange(&self.0.admin, &head)
    }

    /// The problems that the admin API shows for manifests.
    pub fn problems(&self) -> Vec<Value> {
        let (status, body) = self.admin("/tables");
        assert_eq!(status, 200);
        let body: Value = serde_json::from_str(&body).unwrap();
        body["manifests"]["problems"].as_array().unwrap().clone()
    }

    /// A table's description, if there is a table.
    pub fn table(&self, name: &str) -> Option<Value> {
        let (status, answer) = self.call("DescribeTable", &json!({"TableName": name}));
        (status == 200).then(|| answer["Table"].clone())
    }

    /// Waits until a table is active.
    pub fn active(&self, name: &str) -> Value {
        until(&format!("{name} to be active"), || {
            self.table(name).filter(|table| table["TableStatus"] == "ACTIVE")
        })
    }

    /// Sends SIGTERM and waits for the end.
    pub fn stop(self) -> ExitStatus {
        self.0.stop()
    }

    /// Ends the process in the middle of whatever it does.
    pub fn kill(self) {
        self.0.kill();
    }
}

fn ready_file(data: &Path) -> PathBuf {
    data.with_extension("ready.json")
}
