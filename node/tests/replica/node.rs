//! A replica as a process, its admin API, and a client of its transport.

use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Instant;

use partita_model::partition::GroupId;
use partita_model::request::WriteRequest;
use partita_transport::{Client, ClientOptions, Identity, Peer, Role};
use serde_json::{Value, json};

use super::shared::{LOOK, PATIENCE, Process, exchange};

/// Folders of the nodes of one test, and the directory file that all of them follow.
pub struct Cluster {
    root: tempfile::TempDir,
    client: Client,
}

/// A running replica.
pub struct Node {
    process: Process,
    client: Client,
}

impl Cluster {
    /// Without nodes, and with an empty directory.
    pub fn new() -> Self {
        let cluster = Self {
            root: tempfile::tempdir().unwrap(),
            client: Client::new(ClientOptions::new(Identity::new(Role::Router, "test"))),
        };
        cluster.publish(0, &[]);
        cluster
    }

    /// Starts the node of that name; again, with what it has stored.
    pub fn start(&self, name: &str) -> Node {
        self.start_with(name, &[])
    }

    /// The same, with these arguments on top.
    pub fn start_with(&self, name: &str, arguments: &[&str]) -> Node {
        self.start_at(name, "127.0.0.1:0", arguments)
    }

    /// The same, at this address.
    pub fn start_at(&self, name: &str, listen: &str, arguments: &[&str]) -> Node {
        let mut command = Command::new(env!("CARGO_BIN_EXE_partita"));
        command.args(["replica", "--listen", listen, "--admin-listen", "127.0.0.1:0"]);
        command
            .args(["--expiry-interval-ms", "10", "--data"])
            .arg(self.root.path().join(name));
        command
            .arg("--directory")
            .arg(format!("file:{}", self.directory().display()));
        command.args(arguments);
        let ready = self.root.path().join(format!("{name}.ready.json"));
        Node {
            process: Process::start(command, &ready),
            client: self.client.clone(),
        }
    }

    /// Puts another directory in place, as a whole.
    pub fn publish(&self, revision: u64, tables: &[Value]) {
        let new = self.root.path().join("directory.new");
        std::fs::write(&new, json!({"revision": revision, "tables": tables}).to_string()).unwrap();
        std::fs::rename(&new, self.directory()).unwrap();
    }

    /// The directory's file, in the folder of all nodes.
    pub fn directory(&self) -> PathBuf {
        self.root.path().join("directory.json")
    }
}

impl Node {
    /// Where routers and other replicas find it.
    pub fn address(&self) -> &str {
        &self.process.listen
    }

    /// Where its admin API is.
    #[allow(dead_code)] // Only a cluster's tests want to know.
    pub fn admin_address(&self) -> &str {
        &self.process.admin
    }

    /// The transport to it.
    pub fn peer(&self) -> Peer {
        self.client.peer(self.address())
    }

    /// Puts something until it is acknowledged: where the machine is slow, a connection may not be there in time.
    #[allow(dead_code)] // Not everybody writes.
    pub async fn written(&self, group: GroupId, request: WriteRequest) {
        let peer = self.peer();
        let write = async || peer.write(group, request.clone()).await.ok();
        eventually("a write to be acknowledged", write).await;
    }

    /// Calls the admin API: status and body.
    pub fn admin(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            self.process.admin,
            body.len()
        );
        exchange(&self.process.admin, &request)
    }

    /// A call that must be answered with this status; its body, as JSON.
    pub fn expect(&self, status: u16, method: &str, path: &str, body: &str) -> Value {
        let (found, answer) = self.admin(method, path, body);
        assert_eq!(found, status, "{method} {path}: {answer}");
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{method} {path}: {error}: {answer}"))
    }

    /// Puts something that must be taken.
    pub fn put(&self, path: &str, body: &impl serde::Serialize) -> Value {
        self.expect(200, "PUT", path, &serde_json::to_string(body).unwrap())
    }

    /// Sends SIGTERM and waits for the end.
    pub fn stop(self) -> ExitStatus {
        self.process.stop()
    }

    /// Sends it a signal: STOP, CONT.
    #[allow(dead_code)] // Only a cluster's tests do.
    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Ends the process in the middle of whatever it does.
    pub fn kill(self) {
        self.process.kill();
    }
}

/// Waits until there is something that is itself waited for.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begin.elapsed() < PATIENCE, "waited too long for {what}");
        tokio::time::sleep(LOOK).await;
    }
}

/// A group in paths.
pub fn path(group: GroupId) -> String {
    format!("/groups/{:016x}", group.0)
}
