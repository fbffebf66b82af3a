//! A table at ten times its units: what is admitted, and what a refusal costs.
//!
//! 1. What a PutItem costs the server's processors, with units for all of them.
//! 2. The same where there are units for next to none: what is left of it, but for the few that were served, are the refusals.
//! 3. Once the burst is spent, at ten times the units, in an open loop: what is admitted, in units.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use partita_test_client::{Server, ServerOptions};
use serde_json::{Value, json};

use crate::load::{Generator, Outcome, Pace, Work, find};
use crate::rounds::Settings;
use crate::work::{Kind, Requests, TABLE};

/// Of the table; an item is one. Small beside what a machine serves, so that ten times as much is no load.
const UNITS: u64 = 500;
/// As often as there are units for.
const TIMES: f64 = 10.0;
/// What is saved up is spent within the first seconds.
const BURST_SECONDS: u64 = 1;
const SPENDING: Duration = Duration::from_secs(2);
const REFUSAL: &[u8] = b"ProvisionedThroughputExceededException";

/// What was found.
#[derive(Debug, Default)]
pub struct Throttled {
    /// What was admitted, beside the units.
    pub admitted: f64,
    /// Processor time of a served request, and of a refused one, in microseconds.
    pub served_micros: f64,
    pub refused_micros: f64,
}

/// Puts, most of which are refused.
struct Puts {
    requests: Requests,
    refused: u64,
}

impl Work for Puts {
    fn next(&mut self, out: &mut Vec<u8>) {
        self.requests.next(out);
    }

    fn served(&mut self, body: &[u8]) -> Result<u64> {
        self.requests.served(body)
    }

    fn refused(&mut self, answer: &[u8]) -> Result<()> {
        let shown = || String::from_utf8_lossy(answer).into_owned();
        ensure!(
            find(answer, REFUSAL).is_some(),
            "not refused for its units: {}",
            shown()
        );
        self.refused += 1;
        Ok(())
    }
}

/// Measures it, and prints it.
pub fn run(folder: &Path, settings: &Settings) -> Result<Throttled> {
    let time = Duration::from_secs_f64(settings.seconds);
    let free = start(&folder.join("served"), "shadow")?;
    let served = measured(&free, settings.connections, Pace::Closed, time)?;
    free.stop()?;
    ensure!(
        served.refused == 0,
        "{} were refused that should not be",
        served.refused
    );
    let served_micros = served.processor.as_secs_f64() * 1e6 / served.outcome.requests as f64;

    let server = start(&folder.join("throttled"), "enforce")?;
    measured(&server, settings.connections, Pace::Closed, SPENDING)?;
    let closed = measured(&server, settings.connections, Pace::Closed, time)?;
    ensure!(closed.refused > 0, "nothing was refused");
    let admitted = (closed.outcome.requests - closed.refused) as f64;
    let refused_micros =
        (closed.processor.as_secs_f64() * 1e6 - admitted * served_micros).max(0.0) / closed.refused as f64;

    let pace = Pace::Open {
        per_second: UNITS as f64 * TIMES,
    };
    measured(&server, settings.connections, pace, SPENDING)?;
    let time = Duration::from_secs(settings.throttled_seconds);
    let open = measured(&server, settings.connections, pace, time)?;
    server.stop()?;
    let admitted = (open.outcome.requests - open.refused) as f64;
    let found = Throttled {
        admitted: admitted / (UNITS as f64 * open.outcome.elapsed.as_secs_f64()),
        served_micros,
        refused_micros,
    };
    println!(
        "a table of {UNITS} units at {TIMES} times as much for {} s: {:.4} of them admitted; processor time of a served PutItem {:.1} µs, of a \
         refused one {:.1} µs",
        settings.throttled_seconds, found.admitted, found.served_micros, found.refused_micros
    );
    Ok(found)
}

fn start(home: &Path, mode: &str) -> Result<Server> {
    fs::create_dir_all(home)?;
    let burst = BURST_SECONDS.to_string();
    let arguments = ["--admission", mode, "--burst-seconds", &burst];
    let server = Server::start(&ServerOptions {
        arguments: arguments.map(str::to_owned).to_vec(),
        ..ServerOptions::at(home)
    })?;
    server.create_table(&table())?;
    Ok(server)
}

fn table() -> Value {
    json!({
        "TableName": TABLE, "ProvisionedThroughput": {"ReadCapacityUnits": 1, "WriteCapacityUnits": UNITS},
        "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
    })
}

struct Measured {
    outcome: Outcome,
    refused: u64,
    /// Of the server.
    processor: Duration,
}

fn measured(server: &Server, connections: usize, pace: Pace, time: Duration) -> Result<Measured> {
    let mut generator = Generator::connect(server.address, connections)?;
    let mut puts = Puts {
        requests: Requests::new(Kind::Put, 1000, &server.address.to_string(), 0),
        refused: 0,
    };
    let before = processor_time(server.pid())?;
    let outcome = generator.run(&mut puts, pace, time)?;
    Ok(Measured {
        outcome,
        refused: puts.refused,
        processor: processor_time(server.pid())?.saturating_sub(before),
    })
}

/// Processor time of a process so far. Source: proc_pid_stat(5): fields 14 and 15, behind the name in brackets, in clock ticks.
fn processor_time(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, behind) = stat.rsplit_once(')').context("no name in the process's state")?;
    let fields: Vec<&str> = behind.split_whitespace().collect();
    let ticks: u64 = fields.get(11).context("no user time")?.parse::<u64>()?
        + fields.get(12).context("no system time")?.parse::<u64>()?;
    // SAFETY: a question about a constant of the system.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    ensure!(per_second > 0, "clock ticks per second: {per_second}");
    Ok(Duration::from_secs_f64(ticks as f64 / per_second as f64))
}
