//! One workload against a server that runs already.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::load::{Generator, Pace};
use crate::report::Series;
use crate::rounds::{Settings, Subject, fill};
use crate::work::{Kind, Requests};

/// Fills the server's tables, or makes a workload's load on them and prints what came of it.
pub fn run(workload: &str, address: SocketAddr, settings: &Settings) -> Result<ExitCode> {
    let kind = match workload {
        "fill" => {
            let (series, kinds) = (Series::OURS, [].as_slice());
            fill(&Subject { series, address, kinds }, settings.keys)?;
            return Ok(ExitCode::SUCCESS);
        }
        "get" => Kind::Get,
        "put" => Kind::Put,
        "add" => Kind::Add,
        "query" => Kind::Query,
        "batch" => Kind::Batch,
        "scan" => Kind::Scan,
        other => bail!("unknown workload {other:?}: should be fill, get, put, add, query, batch or scan"),
    };
    let mut generator = Generator::connect(address, settings.connections)?;
    let mut work = Requests::new(kind, settings.keys, &address.to_string(), 0);
    let outcome = generator.run(&mut work, Pace::Closed, Duration::from_secs_f64(settings.seconds))?;
    println!(
        "{}: {:.0}/s, p50 {:.0} us, p99 {:.0} us",
        kind.name(),
        outcome.rate(),
        outcome.micros(0.5),
        outcome.micros(0.99)
    );
    Ok(ExitCode::SUCCESS)
}
