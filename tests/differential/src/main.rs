//! Random operation sequences, ours beside dynoxide: two independent readings of the same API.
//!
//! 1. [`generate`] makes requests from a seed: few keys, so that they meet; values, conditions, updates and key
//!    conditions from small grammars; now and then something that must be refused.
//! 2. Both servers get the same requests over HTTP, and [`compare`] holds the answers against each other: status, error
//!    and text, body.
//! 3. A difference counts unless `allowances.json` has it: there each is decided by what AWS documents, and
//!    DIFFERENCES.md tells the reason. The tables are emptied of differences that were allowed by writing the item anew.
//!
//! `partita-differential [SEQUENCES [FIRST_SEED]]`; a failing sequence prints its seed and its last requests.

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
/// Requests shown before a difference.
const SHOWN: usize = 3;
/// Differences after which it is pointless to go on.
const DIFFERENCES_MAX: usize = 40;
/// How long an index of ours may take to follow its table.
const INDEX_LIMIT: Duration = Duration::from_secs(5);

fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>().context("not a number"));
    let sequences = arguments.next().transpose()?.unwrap_or(SEQUENCES);
    let first = arguments.next().transpose()?.unwrap_or(1);
    let home = tempfile::tempdir()?;
    let server = Server::start(&ServerOptions::at(home.path()))?;
    let theirs = start_dynoxide()?;
    let allowances = Allowances::read()?;
    let mut pair = Pair { ours: server.connect()?, theirs: Connection::open(theirs)?, allowances, allowed: 0, requests: 0 };

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
    println!("differential: {} requests, {} answers differ as allowed", pair.requests, pair.allowed);
    println!("differential: {} passed, {failed} failed", sequences - failed);
    server.stop()?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
}

impl Pair {
    /// One sequence over fresh tables; the differences that nothing allows.
    fn sequence(&mut self, seed: u64) -> Result<Vec<Difference>> {
        let mut generator = Generator::new(seed);
        for table in generator.tables() {
            for connection in [&mut self.ours, &mut self.theirs] {
                let reply = connection.call("CreateTable", &table)?;
                ensure!(reply.status == 200, "CreateTable: {}", String::from_utf8_lossy(&reply.body));
                wait_until_active(connection, table["TableName"].as_str().unwrap_or(""))?;
            }
        }
        let (mut history, mut found): (Vec<String>, Vec<Difference>) = (Vec::new(), Vec::new());
        for step in 0..STEPS {
            let (operation, body) = generator.next();
            history.push(format!("{operation} {body}"));
            let Some(mut difference) = self.compare(operation, &body)? else { continue };
            if self.allowances.allow(&difference) {
                self.allowed += 1;
                // What was allowed to differ may have left different items: make them the same again.
                self.reconcile(&body)?;
                continue;
            }
            difference.place = format!("seed {seed}, step {step}");
            difference.before = history[history.len().saturating_sub(SHOWN + 1)..history.len() - 1].to_vec();
            found.push(difference);
            self.reconcile(&body)?;
        }
        for table in generator.tables() {
            for connection in [&mut self.ours, &mut self.theirs] {
                connection.call("DeleteTable", &json!({"TableName": table["TableName"]}))?;
            }
        }
        Ok(found)
    }

    /// Sends a request to both.
    fn compare(&mut self, operation: &'static str, body: &Value) -> Result<Option<Difference>> {
        self.requests += 1;
        let theirs = self.theirs.call(operation, body)?;
        let began = Instant::now();
        loop {
            let ours = self.ours.call(operation, body)?;
            let difference = compare::compare(operation, body, &ours, &theirs);
            // Ours keeps GSIs asynchronously, as DynamoDB does.
            let wait = body.get("IndexName").is_some_and(|name| name.as_str().is_some_and(|name| name.starts_with("global")));
            if difference.is_none() || !wait || began.elapsed() > INDEX_LIMIT {
                return Ok(difference);
            }
            std::thread::sleep(Duration::from_millis(2));
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
