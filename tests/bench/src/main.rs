//! `make bench`: ours, its peers and its ceilings, interleaved in one run.
//!
//! 1. [`rounds`] starts every server, fills it, and in each round measures every workload on each of them in turn;
//! 2. [`load`] makes the load, [`work`] says what the requests are, [`ceilings`] measures disk and RocksDB alone;
//! 3. [`replicated`] is the same behind a router with three replicas, with etcd beside it, and leaders that go away;
//! 4. [`report`] prints medians, and the ratios that the project promises with "met" or "MISSED" beside each;
//! 5. [`alone`] is one workload against a server that runs already, for a profiler: `partita-bench fill|get|put|add|query|
//!    batch|scan ADDRESS`, with the same settings; `partita-bench borders` is only what cuts and moves cost, `partita-bench throttled`
//!    ([`throttled`]) only what a table does at ten times its units.
//!
//! `BENCH_ROUNDS` (5), `BENCH_SECONDS` (2, of each measurement), `BENCH_KEYS` (100000; 10000 to 1000000),
//! `BENCH_CONNECTIONS` (64), `BENCH_OUTAGES` (50 leaders killed, as many hand-overs), `BENCH_MOVED_MB` (1024, of the replica
//! that moves), `BENCH_GROUPS` (1000, at rest), `BENCH_THROTTLED_SECONDS` (60, at ten times a table's units), `BENCH_ETCD` (folder of etcd's programs), `BENCH_FOLDER` (a temporary folder: put it on the disk that counts), `BENCH_JUDGE` (1: a missed promise fails the
//! process), `PARTITA_BIN`.

mod alone;
mod ceilings;
mod load;
mod null;
mod peers;
mod replicated;
mod report;
mod rounds;
mod throttled;
mod work;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

/// As in our binary, so that a peer does not lose by its allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [] => rounds::run(&rounds::Settings::from_environment()?),
        ["borders"] => rounds::only_borders(&rounds::Settings::from_environment()?),
        ["throttled"] => rounds::only_throttled(&rounds::Settings::from_environment()?),
        ["peer", "null"] => {
            tokio::runtime::Runtime::new()?.block_on(null::serve())?;
            Ok(ExitCode::SUCCESS)
        }
        ["peer", "dynoxide", folder] => {
            tokio::runtime::Runtime::new()?.block_on(peers::serve_dynoxide(&PathBuf::from(folder)))?;
            Ok(ExitCode::SUCCESS)
        }
        [workload, address] => alone::run(workload, address.parse()?, &rounds::Settings::from_environment()?),
        other => bail!("unknown arguments {other:?}"),
    }
}

/// A number from the environment.
fn setting(name: &str, default: usize) -> Result<usize> {
    std::env::var(name).map_or(Ok(default), |text| {
        text.parse().with_context(|| format!("{name}={text:?} is no number"))
    })
}
