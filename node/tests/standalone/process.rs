//! The binary as a process of its own, and just enough HTTP to talk to it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long anything here may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at a condition that cannot be waited for.
const LOOK: Duration = Duration::from_millis(10);

/// A running process.
pub struct Partita {
    child: Child,
    pub listen: String,
    pub admin: String,
}

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
        let ready = ready_file(data);
        let _ = std::fs::remove_file(&ready);
        let mut child = command(data, arguments)
            .arg("--ready-file")
            .arg(&ready)
            .spawn()
            .unwrap();
        let announced = until("the process to be ready", || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the process ended while starting: {status}");
            }
            std::fs::read(&ready).ok()
        });
        let announced: Value = serde_json::from_slice(&announced).unwrap();
        let address = |name: &str| announced[name].as_str().unwrap().to_owned();
        Self {
            child,
            listen: address("listen"),
            admin: address("admin"),
        }
    }

    /// Calls an operation: status and body.
    pub fn call(&self, operation: &str, body: &Value) -> (u16, Value) {
        let body = body.to_string();
        let head = format!(
            "POST / HTTP/1.1\r\nhost: {}\r\nconnection: close\r\nx-amz-target: DynamoDB_20120810.{operation}\r\n\
             content-type: application/x-amz-json-1.0\r\nx-amz-date: 20260101T000000Z\r\n\
             authorization: AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/dynamodb/aws4_request, \
             SignedHeaders=host;x-amz-date, Signature=0000\r\ncontent-length: {}\r\n\r\n{body}",
            self.listen,
            body.len()
        );
        let (status, body) = exchange(&self.listen, &head);
        (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
    }

    /// Calls an operation that must succeed.
    pub fn ok(&self, operation: &str, body: &Value) -> Value {
        let (status, answer) = self.call(operation, body);
        assert_eq!(status, 200, "{operation} {body}: {answer}");
        answer
    }

    /// Gets a page of the admin API: status and body.
    pub fn admin(&self, path: &str) -> (u16, String) {
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
            self.admin
        );
        exchange(&self.admin, &head)
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
    pub fn stop(mut self) -> ExitStatus {
        let told = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(told.success());
        self.child.wait().unwrap()
    }

    /// Ends the process in the middle of whatever it does.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Partita {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ready_file(data: &Path) -> PathBuf {
    data.with_extension("ready.json")
}

/// Waits until there is something.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < PATIENCE, "waited too long for {what}");
        std::thread::sleep(LOOK);
    }
}

fn exchange(address: &str, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}
