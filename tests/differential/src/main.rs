//! Random operation sequences, ours beside dynoxide: two independent readings of the same API.
//!
//! 1. [`generate`] makes requests from a seed: few keys, so that they meet; values, conditions, updates and key
//!    conditions from small grammars; now and then something that must be refused.
//! 2. Both servers get the same requests over HTTP, and [`compare`] holds the answers against each other: status, error
//!    and text, body.
//! 3. A difference counts unless `allowances.json` has it: there each is decided by what AWS documents, and
//!    DIFFERENCES.md tells the reason. The tables are emptied of differences that were allowed by writing the item anew.
//!
//! `partita-differential [SEQUENCES [FIRST_SEED]]`; a failing sequence prints its seed and the requests that its first
//! difference needs: the others have been left out by replaying it.

mod compare;
mod generate;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dynoxide::Database;
use partita_test_client::server::wait_until_active;
use partita_test_client::{Connection, Server, ServerOptions};
use serde_json::{Value, json};

use crate::compare::{Allowances, Difference};
use crate::generate::Generator;

const SEQUENCES: u64 = 40;
const STEPS: usize = 250;
/// Of a sequence, to find the requests that its difference needs.
const REPLAYS_MAX: usize = 60;
/// Differences after which it is pointless to go on.
const DIFFERENCES_MAX: usize = 40;
/// How long an index of ours may take to follow its table.
const INDEX_LIMIT: Duration = Duration::from_secs(5);
/// How long a table may take to be gone.
const DELETE_LIMIT: Duration = Duration::from_secs(20);
/// Between two looks.
const POLL: Duration = Duration::from_millis(2);

/// An operation and its body.
type Request = (&'static str, Value);

fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args()
        .skip(1)
        .map(|text| text.parse::<u64>().context("not a number"));
    let sequences = arguments.next().transpose()?.unwrap_or(SEQUENCES);
    let first = arguments.next().transpose()?.unwrap_or(1);
    let home = tempfile::tempdir()?;
    let server = Server::start(&ServerOptions::at(home.path()))?;
    let theirs = start_dynoxide()?;
    let allowances = Allowances::read()?;
    let mut pair = Pair {
        ours: server.connect()?,
        theirs: Connection::open(theirs)?,
        allowances,
        allowed: 0,
        requests: 0,
        last: Value::Null,
    };

    let (mut failed, mut differences) = (0, 0);
    for seed in first..first + sequences {
        let found = pair.sequence(seed).with_context(|| format!("sequence {seed}"))?;
        failed += u64::from(!found.is_empty());
        differences += found.len();
        found.iter().for_each(|difference| println!("{difference}"));
        if differences > DIFFERENCES_MAX {
            println!("differential: too many differences, stopping");
            break;
        }
    }
    println!(
        "differential: {} requests, {} answers differ as allowed",
        pair.requests, pair.allowed
    );
    println!("differential: {} passed, {failed} failed", sequences - failed);
    server.stop()?;
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// dynoxide's own HTTP server, in a thread of this process, in memory.
fn start_dynoxide() -> Result<SocketAddr> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Runtime::new()?;
    std::thread::spawn(move || {
        runtime.block_on(async move {
            let served = async {
                let database = Database::memory().map_err(|error| anyhow::anyhow!("dynoxide: {error}"))?;
                dynoxide::server::serve_on(tokio::net::TcpListener::from_std(listener)?, database).await;
                anyhow::Ok(())
            };
            if let Err(error) = served.await {
                println!("differential: {error:#}");
            }
        });
    });
    Ok(address)
}

struct Pair {
    ours: Connection,
    theirs: Connection,
    allowances: Allowances,
    allowed: usize,
    requests: usize,
    /// Our last answer.
    last: Value,
}

impl Pair {
    /// One sequence over fresh tables; the differences that nothing allows.
    fn sequence(&mut self, seed: u64) -> Result<Vec<Difference>> {
        let mut generator = Generator::new(seed);
        let tables = generator.tables();
        self.make(&tables)?;
        let mut history: Vec<Request> = Vec::new();
        let mut found = Vec::new();
        for step in 0..STEPS {
            history.push(generator.next());
            let Some(mut difference) = self.step(&history[step])? else {
                continue;
            };
            history = self.shrink(&tables, history)?;
            history.pop();
            difference.place = format!("seed {seed}, step {step}");
            difference.before = history
                .iter()
                .map(|(operation, body)| format!("{operation} {body}"))
                .collect();
            found.push(difference);
            break;
        }
        self.drop(&tables)?;
        Ok(found)
    }

    /// One request; the difference unless it is allowed.
    fn step(&mut self, (operation, body): &Request) -> Result<Option<Difference>> {
        let Some(difference) = self.pages(operation, body.clone())? else {
            return Ok(None);
        };
        if !self.allowances.allow(&difference) {
            return Ok(Some(difference));
        }
        self.allowed += 1;
        // What was allowed to differ may have left different items: make them the same again.
        self.reconcile(body)?;
        Ok(None)
    }

    /// Leaves out what the last request of `history` differs without: ever smaller pieces, as long as replays last.
    fn shrink(&mut self, tables: &[Value], mut history: Vec<Request>) -> Result<Vec<Request>> {
        let (mut piece, mut end, mut replays) = (history.len() / 2, history.len() - 1, 0);
        while piece > 0 && replays < REPLAYS_MAX {
            if end == 0 {
                (piece, end) = (piece / 2, history.len() - 1);
                continue;
            }
            let start = end.saturating_sub(piece);
            let mut shorter = history.clone();
            shorter.drain(start..end);
            replays += 1;
            if self.differs_at_last(tables, &shorter)? {
                history = shorter;
            }
            end = start;
        }
        Ok(history)
    }

    /// Whether the last request, and none before it, differs on fresh tables.
    fn differs_at_last(&mut self, tables: &[Value], history: &[Request]) -> Result<bool> {
        self.drop(tables)?;
        self.make(tables)?;
        for (index, request) in history.iter().enumerate() {
            if self.step(request)?.is_some() {
                return Ok(index + 1 == history.len());
            }
        }
        Ok(false)
    }

    fn make(&mut self, tables: &[Value]) -> Result<()> {
        for table in tables {
            for connection in [&mut self.ours, &mut self.theirs] {
                let reply = connection.call("CreateTable", table)?;
                ensure!(
                    reply.status == 200,
                    "CreateTable: {}",
                    String::from_utf8_lossy(&reply.body)
                );
                wait_until_active(connection, table["TableName"].as_str().unwrap_or(""))?;
            }
        }
        Ok(())
    }

    /// Removes the tables, and waits until they are gone.
    fn drop(&mut self, tables: &[Value]) -> Result<()> {
        for table in tables {
            let name = json!({"TableName": table["TableName"]});
            for connection in [&mut self.ours, &mut self.theirs] {
                connection.call("DeleteTable", &name)?;
                let began = Instant::now();
                while connection.call("DescribeTable", &name)?.status == 200 {
                    ensure!(began.elapsed() < DELETE_LIMIT, "{name} is not gone");
                    std::thread::sleep(POLL);
                }
            }
        }
        Ok(())
    }

    /// Sends a request to both, and asks for the pages after it where both say that there are more.
    fn pages(&mut self, operation: &'static str, mut body: Value) -> Result<Option<Difference>> {
        loop {
            let difference = self.compare(operation, &body)?;
            if difference.is_some() || operation != "Query" || !self.last["LastEvaluatedKey"].is_object() {
                return Ok(difference);
            }
            body["ExclusiveStartKey"] = self.last["LastEvaluatedKey"].take();
        }
    }

    /// Sends a request to both.
    fn compare(&mut self, operation: &'static str, body: &Value) -> Result<Option<Difference>> {
        self.requests += 1;
        let theirs = self.theirs.call(operation, body)?;
        let began = Instant::now();
        loop {
            let ours = self.ours.call(operation, body)?;
            let difference = compare::compare(operation, body, &ours, &theirs);
            self.last = ours.json();
            // Ours keeps GSIs asynchronously, as DynamoDB does. What it refuses it will not answer later.
            let global = |name: &Value| name.as_str().is_some_and(|name| name.starts_with("global"));
            let wait = ours.status == 200 && body.get("IndexName").is_some_and(global);
            if difference.is_none() || !wait || began.elapsed() > INDEX_LIMIT {
                return Ok(difference);
            }
            std::thread::sleep(POLL);
        }
    }

    /// Removes the items that a request was about from both, so that one difference is told once.
    fn reconcile(&mut self, body: &Value) -> Result<()> {
        for (table, key) in generate::keys_of(body) {
            for connection in [&mut self.ours, &mut self.theirs] {
                connection.call("DeleteItem", &json!({"TableName": table, "Key": key}))?;
            }
        }
        Ok(())
    }
}
