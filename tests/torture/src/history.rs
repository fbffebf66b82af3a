//! Clients that work on a few keys at the same time, and write down what they asked, what they were told, and when.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use partita_test_client::{Connection, Reply};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;
use serde_json::{Value, json};

/// The table.
pub const TABLE: &str = "registers";
/// Clients at work at the same time.
const CLIENTS: usize = 6;
/// Keys of a round: few, so that clients meet.
const KEYS: usize = 3;
/// Between two operations of a client: a history that can be judged in seconds, and room for the servers beside it.
const PAUSE: Duration = Duration::from_millis(2);
/// After an answer that says nothing: each of those may have taken effect at any time, which makes a history hard to judge.
const PAUSE_AFTER_UNKNOWN: Duration = Duration::from_millis(50);

/// An operation as a client saw it: what tests/torture/linearizability reads.
#[derive(Debug, Clone, Serialize, Default)]
pub struct Operation {
    pub key: String,
    pub client: usize,
    /// Nanoseconds since the history's begin.
    pub call: u64,
    pub r#return: u64,
    pub op: &'static str,
    pub value: String,
    pub expected: String,
    pub outcome: &'static str,
    pub read: String,
}

/// What is shared by the clients.
struct Shared {
    router: SocketAddr,
    began: Instant,
    /// Which keys are worked on.
    round: AtomicU64,
    ending: AtomicBool,
    values: AtomicU64,
}

/// The clients at work.
pub struct Clients {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Result<Vec<Operation>>>>,
}

impl Clients {
    /// Lets them loose on a router.
    pub fn start(router: SocketAddr, seed: u64) -> Self {
        let shared = Arc::new(Shared {
            router,
            began: Instant::now(),
            round: AtomicU64::new(0),
            ending: AtomicBool::new(false),
            values: AtomicU64::new(0),
        });
        let start = |number: usize| {
            let shared = Arc::clone(&shared);
            let rng = SmallRng::seed_from_u64(seed * CLIENTS as u64 + number as u64);
            std::thread::spawn(move || Client::new(number, shared, rng).run())
        };
        let threads = (0..CLIENTS).map(start).collect();
        Self { shared, threads }
    }

    /// They turn to other keys: histories of single keys stay short.
    pub fn next_round(&self) {
        self.shared.round.fetch_add(1, Ordering::Relaxed);
    }

    /// Stops them, and reads every key once more. All that they saw.
    pub fn end(self) -> Result<Vec<Operation>> {
        self.shared.ending.store(true, Ordering::Relaxed);
        let mut history = Vec::new();
        for thread in self.threads {
            history.extend(thread.join().map_err(|_| anyhow!("a client panicked"))??);
        }
        let mut last = Client::new(CLIENTS, Arc::clone(&self.shared), SmallRng::seed_from_u64(0));
        for round in 0..=self.shared.round.load(Ordering::Relaxed) {
            for number in 0..KEYS {
                let operation = last.get(key(round, number))?;
                if operation.outcome != "ok" {
                    bail!("{} cannot be read in the end", operation.key);
                }
                history.push(operation);
            }
        }
        Ok(history)
    }
}

fn key(round: u64, number: usize) -> String {
    format!("r{round}-k{number}")
}

struct Client {
    number: usize,
    shared: Arc<Shared>,
    rng: SmallRng,
    connection: Option<Connection>,
    /// What it saw last: the value that conditions name.
    seen: String,
}

impl Client {
    fn new(number: usize, shared: Arc<Shared>, rng: SmallRng) -> Self {
        let (connection, seen) = (None, String::new());
        Self {
            number,
            shared,
            rng,
            connection,
            seen,
        }
    }

    fn run(mut self) -> Result<Vec<Operation>> {
        let mut history = Vec::new();
        while !self.shared.ending.load(Ordering::Relaxed) {
            let key = key(
                self.shared.round.load(Ordering::Relaxed),
                self.rng.random_range(0..KEYS),
            );
            let operation = match self.rng.random_range(0..100) {
                0..40 => self.get(key)?,
                40..60 => self.put(key)?,
                60..70 => self.delete(key)?,
                _ => self.update(key)?,
            };
            if operation.op == "get" && operation.outcome == "ok" {
                self.seen.clone_from(&operation.read);
            }
            let known = matches!(operation.outcome, "ok" | "failed");
            // What was refused did nothing: if it did, somebody reads a value that nobody wrote.
            if operation.outcome != "refused" {
                history.push(operation);
            }
            std::thread::sleep(if known { PAUSE } else { PAUSE_AFTER_UNKNOWN });
        }
        Ok(history)
    }

    fn value(&self) -> String {
        format!("v{}", self.shared.values.fetch_add(1, Ordering::Relaxed))
    }

    fn get(&mut self, key: String) -> Result<Operation> {
        let body = json!({"TableName": TABLE, "Key": {"pk": {"S": key}}, "ConsistentRead": true});
        let asked = Operation {
            key,
            op: "get",
            ..Operation::default()
        };
        self.ask(asked, "GetItem", &body, |reply| &reply["Item"])
    }

    fn put(&mut self, key: String) -> Result<Operation> {
        let value = self.value();
        let body =
            json!({"TableName": TABLE, "Item": {"pk": {"S": key}, "v": {"S": value}}, "ReturnValues": "ALL_OLD"});
        let asked = Operation {
            key,
            op: "put",
            value,
            ..Operation::default()
        };
        self.ask(asked, "PutItem", &body, |reply| &reply["Attributes"])
    }

    fn delete(&mut self, key: String) -> Result<Operation> {
        let body = json!({"TableName": TABLE, "Key": {"pk": {"S": key}}, "ReturnValues": "ALL_OLD"});
        let asked = Operation {
            key,
            op: "delete",
            ..Operation::default()
        };
        self.ask(asked, "DeleteItem", &body, |reply| &reply["Attributes"])
    }

    /// On the condition that the value is the one that it saw last.
    fn update(&mut self, key: String) -> Result<Operation> {
        let (value, expected) = (self.value(), self.seen.clone());
        let mut body = json!({
            "TableName": TABLE, "Key": {"pk": {"S": key}}, "UpdateExpression": "SET v = :new",
            "ConditionExpression": "v = :old", "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            "ExpressionAttributeValues": {":new": {"S": value}, ":old": {"S": expected}},
        });
        if expected.is_empty() {
            body["ConditionExpression"] = json!("attribute_not_exists(pk)");
            body["ExpressionAttributeValues"] = json!({":new": {"S": value}});
        }
        let asked = Operation {
            key,
            op: "cas",
            value,
            expected,
            ..Operation::default()
        };
        self.ask(asked, "UpdateItem", &body, |reply| &reply["Item"])
    }

    fn ask(
        &mut self,
        mut asked: Operation,
        operation: &str,
        body: &Value,
        item: impl Fn(&Value) -> &Value,
    ) -> Result<Operation> {
        asked.client = self.number;
        asked.call = self.now();
        let reply = self.call(operation, body);
        asked.r#return = self.now();
        let json = reply.as_ref().map(Reply::json).unwrap_or_default();
        asked.outcome = match &reply {
            Some(reply) if reply.status == 200 => "ok",
            Some(reply) if reply.error_name() == "ConditionalCheckFailedException" => "failed",
            Some(reply) if reply.error_message().contains("space") => "refused",
            Some(reply) if reply.status < 500 => bail!("{asked:?} was refused: {} {json}", reply.status),
            _ => "unknown",
        };
        if matches!(asked.outcome, "ok" | "failed") {
            asked.read = item(&json)["v"]["S"].as_str().unwrap_or("").to_owned();
        }
        Ok(asked)
    }

    /// An answer, if one comes.
    fn call(&mut self, operation: &str, body: &Value) -> Option<Reply> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(self.shared.router).ok()?,
        };
        let reply = connection.call(operation, body).ok()?;
        self.connection = Some(connection);
        Some(reply)
    }

    fn now(&self) -> u64 {
        self.shared.began.elapsed().as_nanos() as u64
    }
}

/// What the judge says of a history: whether there is an order that fits it.
pub fn judge(history: &[Operation], path: &Path) -> Result<(bool, String)> {
    let judge = std::env::var_os("TORTURE_JUDGE").context("TORTURE_JUDGE names no checker")?;
    let mut file = std::io::BufWriter::new(fs::File::create(path)?);
    for operation in history {
        serde_json::to_writer(&mut file, operation)?;
        file.write_all(b"\n")?;
    }
    file.into_inner()?;
    let done = Command::new(judge).arg(path).output()?;
    let said = String::from_utf8_lossy(&done.stdout).trim().replace('\n', "; ");
    match done.status.code() {
        Some(0) => Ok((true, said)),
        Some(1) => Ok((false, said)),
        _ => bail!(
            "the history cannot be judged: {said} {}",
            String::from_utf8_lossy(&done.stderr)
        ),
    }
}

/// The same history with one lie: an answered read shows what another value had replaced before it began.
pub fn with_a_lie(history: &[Operation]) -> Option<Vec<Operation>> {
    let replaced = history
        .iter()
        .filter(|one| one.op == "put" && one.outcome == "ok" && !one.read.is_empty());
    for put in replaced {
        let later =
            |one: &Operation| one.key == put.key && one.op == "get" && one.outcome == "ok" && one.call > put.r#return;
        if let Some(place) = history.iter().position(later) {
            let mut lie = history.to_vec();
            lie[place].read.clone_from(&put.read);
            return Some(lie);
        }
    }
    None
}
