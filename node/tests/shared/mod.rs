//! A role of the binary as a process of its own, and just enough HTTP to talk to it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything here may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at a condition that cannot be waited for.
pub const LOOK: Duration = Duration::from_millis(10);

/// A running process. It ends with this value.
pub struct Process {
    child: Child,
    pub listen: String,
    pub admin: String,
    #[allow(dead_code)] // Only where there is mutual TLS.
    pub admin_tls: Option<String>,
}

impl Process {
    /// Starts a process and waits until it serves; it says where in the file `ready`.
    pub fn start(mut command: Command, ready: &Path) -> Self {
        let _ = std::fs::remove_file(ready);
        let mut child = command.arg("--ready-file").arg(ready).spawn().unwrap();
        let announced = until("the process to be ready", || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the process ended while starting: {status}");
            }
            std::fs::read(ready).ok()
        });
        let announced: Value = serde_json::from_slice(&announced).unwrap();
        let address = |name: &str| announced[name].as_str().unwrap().to_owned();
        Self {
            child,
            listen: address("listen"),
            admin: address("admin"),
            admin_tls: announced["admin_tls"].as_str().map(str::to_owned),
        }
    }

    /// Sends SIGTERM and waits for the end.
    pub fn stop(mut self) -> ExitStatus {
        let told = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(told.success());
        self.child.wait().unwrap()
    }

    /// Sends it a signal: STOP, CONT.
    #[allow(dead_code)] // Only a cluster's tests do.
    pub fn signal(&self, name: &str) {
        let mut kill = Command::new("kill");
        let told = kill
            .arg(format!("-{name}"))
            .arg(self.child.id().to_string())
            .status()
            .unwrap();
        assert!(told.success());
    }

    /// Ends the process in the middle of whatever it does.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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

/// Sends a request as it is; status and body of the answer.
pub fn exchange(address: &str, request: &str) -> (u16, String) {
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
