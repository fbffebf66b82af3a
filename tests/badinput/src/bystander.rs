//! A client that behaves: it reads and writes while others attack, and every answer must be right and in time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use partita_test_client::{Connection, Server};
use serde_json::json;

use crate::TABLE;

/// On a machine of two cores that the attack keeps busy, too.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);
/// Between two requests, so that the bystander is no attack itself.
const PAUSE: Duration = Duration::from_millis(2);
/// Above 64 KiB, so that it needs the room for large bodies.
const LARGE_BYTES: usize = 100_000;
/// One in so many writes is large.
const LARGE_ONE_IN: usize = 10;

pub struct Bystander {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<(usize, Duration)>>,
}

impl Bystander {
    pub fn start(server: &Server) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, address) = (stop.clone(), server.address);
        Ok(Bystander {
            stop,
            thread: std::thread::spawn(move || behave(address, &stopped)),
        })
    }

    /// Requests made and the slowest answer.
    pub fn end(self) -> Result<String> {
        self.stop.store(true, Ordering::Relaxed);
        let (requests, slowest) = self.thread.join().map_err(|_| anyhow!("the bystander panicked"))??;
        Ok(format!(
            "bystander: {requests} requests, slowest {:.0} ms",
            slowest.as_secs_f64() * 1000.0
        ))
    }
}

fn behave(address: SocketAddr, stopped: &AtomicBool) -> Result<(usize, Duration)> {
    let mut connection = Connection::open(address).context("the bystander cannot connect")?;
    let (mut requests, mut slowest) = (0, Duration::ZERO);
    while !stopped.load(Ordering::Relaxed) {
        let size = if requests % LARGE_ONE_IN == 0 { LARGE_BYTES } else { 100 };
        let item = json!({"pk": {"S": "bystander"}, "n": {"N": requests.to_string()}, "text": {"S": "x".repeat(size)}});
        for (operation, body) in [
            ("PutItem", json!({"TableName": TABLE, "Item": item})),
            (
                "GetItem",
                json!({"TableName": TABLE, "Key": {"pk": {"S": "bystander"}}, "ConsistentRead": true}),
            ),
        ] {
            let began = Instant::now();
            let reply = connection
                .call(operation, &body)
                .context("the bystander's connection broke")?;
            let took = began.elapsed();
            ensure!(
                reply.status == 200,
                "the bystander was answered {}",
                String::from_utf8_lossy(&reply.body)
            );
            ensure!(
                operation == "PutItem" || reply.json()["Item"] == item,
                "the bystander read something else"
            );
            ensure!(took < ANSWER_LIMIT, "the bystander waited {took:?} for {operation}");
            slowest = slowest.max(took);
        }
        requests += 1;
        std::thread::sleep(PAUSE);
    }
    // And a new connection gets its answer, too.
    let reply = Connection::open(address)?.call("ListTables", &json!({}))?;
    ensure!(reply.status == 200, "a new client is answered {}", reply.status);
    Ok((requests, slowest))
}
