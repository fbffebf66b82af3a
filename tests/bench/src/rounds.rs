//! The run: every server stays up all the time, and each round measures everything once, so that a slow minute of the
//! machine falls on all of them alike.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use partita_test_client::server::wait_until_active;
use partita_test_client::{Connection, Server, ServerOptions};
use serde_json::{Value, json};

use crate::ceilings::{Rocks, Syncs};
use crate::load::{Generator, Outcome, Pace};
use crate::peers::Peer;
use crate::replicated::borders;
use crate::replicated::etcd::Etcd;
use crate::replicated::outages;
use crate::replicated::trio::Trio;
use crate::report::{Report, Series};
use crate::work::{Kind, RANGE_TABLE, Requests, TABLE, range_keys};
use crate::{setting, throttled};

/// Enough to keep both cores busy while a table is filled.
const LOAD_CONNECTIONS: usize = 16;
/// A step of the load between two looks at whether it is finished.
const LOAD_STEP: Duration = Duration::from_millis(500);
/// The open loop runs at this share of what the closed loop has just reached.
const OPEN_SHARE: f64 = 0.5;
/// A disk on which syncs are what a write costs.
const SLOW_SYNC: Duration = Duration::from_millis(1);
/// A share of the measured time that is run before it, unmeasured.
const WARM_UP_SHARE: f64 = 0.1;

/// What `BENCH_*` say.
pub struct Settings {
    rounds: usize,
    pub(crate) seconds: f64,
    pub(crate) keys: usize,
    pub(crate) connections: usize,
    folder: Option<PathBuf>,
    outages: usize,
    /// Keys of a table whose replica moves.
    pub(crate) moved_keys: usize,
    groups: usize,
    /// How long a table is at ten times its units.
    pub(crate) throttled_seconds: u64,
    etcd: Option<PathBuf>,
    judge: bool,
}

impl Settings {
    /// Reads them.
    pub fn from_environment() -> Result<Self> {
        let keys = setting("BENCH_KEYS", 100_000)?;
        ensure!(
            (1_000..=10_000_000).contains(&keys),
            "BENCH_KEYS should be from 1000 to 10000000"
        );
        Ok(Settings {
            rounds: setting("BENCH_ROUNDS", 5)?,
            seconds: setting("BENCH_SECONDS", 2)? as f64,
            keys,
            connections: setting("BENCH_CONNECTIONS", 64)?,
            folder: std::env::var_os("BENCH_FOLDER").map(PathBuf::from),
            outages: setting("BENCH_OUTAGES", 50)?.max(1),
            moved_keys: setting("BENCH_MOVED_MB", 1024)?.max(1) * 1024,
            groups: setting("BENCH_GROUPS", 1000)?.max(1),
            throttled_seconds: setting("BENCH_THROTTLED_SECONDS", 60)?.max(1) as u64,
            etcd: std::env::var_os("BENCH_ETCD").map(PathBuf::from),
            judge: setting("BENCH_JUDGE", 1)? == 1,
        })
    }

    /// A folder for what the run writes.
    fn made(&self) -> Result<tempfile::TempDir> {
        Ok(match &self.folder {
            Some(path) => {
                std::fs::create_dir_all(path)?;
                tempfile::tempdir_in(path)?
            }
            None => tempfile::tempdir()?,
        })
    }
}

/// A server with its tables filled.
pub(crate) struct Subject {
    pub(crate) series: &'static str,
    pub(crate) address: SocketAddr,
    pub(crate) kinds: &'static [Kind],
}

/// Only what cuts and moves cost.
pub fn only_borders(settings: &Settings) -> Result<ExitCode> {
    let borders = borders::run(settings.made()?.path(), settings)?;
    println!("longest gaps at cuts: {:?}", borders.gaps);
    Ok(ExitCode::SUCCESS)
}

/// Only what a table does at ten times its units.
pub fn only_throttled(settings: &Settings) -> Result<ExitCode> {
    throttled::run(settings.made()?.path(), settings)?;
    Ok(ExitCode::SUCCESS)
}

/// Runs it all; fails the process when a promise is missed.
pub fn run(settings: &Settings) -> Result<ExitCode> {
    let folder = settings.made()?;
    let mut report = Report::default();
    println!(
        "{} keys of 1 KiB, {} connections, {} rounds of {} s each, in {}",
        settings.keys,
        settings.connections,
        settings.rounds,
        settings.seconds,
        folder.path().display()
    );

    let idle = Server::start(&ServerOptions::at(&folder.path().join("idle")))?;
    idle.create_table(&table_spec(TABLE, false))?;
    report.idle_memory = idle.resident()?;
    idle.stop()?;

    let mut trio = Trio::start(&made(folder.path(), "replicated")?)?;
    report.idle_replica_memory = trio.resident()?;
    let mut etcd = match &settings.etcd {
        Some(programs) => Some(Etcd::start(programs, &made(folder.path(), "etcd")?)?),
        None => {
            println!("etcd is not measured: BENCH_ETCD does not name its programs");
            None
        }
    };
    let ours = Server::start(&ServerOptions::at(&folder.path().join("ours")))?;
    let dynoxide = Peer::start("dynoxide", Some(folder.path()))?;
    let null = Peer::start("null", None)?;
    let all = &[Kind::Get, Kind::Put, Kind::Add, Kind::Query, Kind::Batch, Kind::Scan];
    let subjects = [
        Subject {
            series: Series::OURS,
            address: ours.address,
            kinds: all,
        },
        Subject {
            series: Series::DYNOXIDE,
            address: dynoxide.address,
            kinds: all,
        },
        Subject {
            series: Series::REPLICATED,
            address: trio.router()?,
            kinds: &[Kind::Get, Kind::Put, Kind::Add],
        },
        Subject {
            series: Series::NULL,
            address: null.address,
            kinds: &[Kind::Get],
        },
    ];
    for subject in &subjects[..3] {
        fill(subject, settings.keys)?;
    }
    let mut rocks = Rocks::open(folder.path(), settings.keys)?;
    let mut syncs = Syncs::open(folder.path())?;

    let time = Duration::from_secs_f64(settings.seconds);
    for round in 1..=settings.rounds {
        println!("round {round} of {}", settings.rounds);
        for kind in all {
            for subject in subjects.iter().filter(|subject| subject.kinds.contains(kind)) {
                let outcome = measure(subject, *kind, settings, settings.connections, Pace::Closed, round)?;
                report.add_load(subject.series, kind.name(), &outcome);
                if subject.series == Series::OURS && matches!(kind, Kind::Get | Kind::Put) {
                    let pace = Pace::Open {
                        per_second: outcome.rate() * OPEN_SHARE,
                    };
                    let open = measure(subject, *kind, settings, settings.connections, pace, round)?;
                    report.add_load(Series::OURS_OPEN, kind.name(), &open);
                }
            }
        }
        if let Some(etcd) = &mut etcd {
            report.add(Series::ETCD, Report::PUTS, etcd.puts(settings.connections, time)?);
        }
        report.add(Series::SYNC, "one page written and synced, s", syncs.median(time)?);
        for subject in &subjects[..2] {
            let outcome = measure(subject, Kind::Put, settings, 1, Pace::Closed, round)?;
            report.add_load(
                if subject.series == Series::OURS {
                    Series::OURS_ALONE
                } else {
                    Series::DYNOXIDE_ALONE
                },
                Kind::Put.name(),
                &outcome,
            );
        }
        report.add(Series::ROCKS, "get, one thread", rocks.gets(time)?);
        report.add(Series::ROCKS, "put without log, one thread", rocks.puts(time)?);
    }
    report.loaded_memory = ours.resident()?;
    ours.stop()?;
    drop((etcd, dynoxide, null));
    println!(
        "{} leaders are killed, and {} hand over",
        settings.outages, settings.outages
    );
    report.failovers = outages::failovers(&mut trio, settings.outages)?;
    (report.hand_overs, report.failed_at_hand_over) = outages::hand_overs(&trio, settings.outages)?;
    drop(trio);
    report.borders = borders::run(&made(folder.path(), "borders")?, settings)?;
    report.many_groups = many_groups(&made(folder.path(), "many")?, settings)?;
    report.throttled = throttled::run(&made(folder.path(), "throttled")?, settings)?;
    report.syncs_per_write = syncs_per_write(&made(folder.path(), "slow")?, settings)?;
    let all_met = report.print(settings.connections);
    Ok(if all_met || !settings.judge {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// How many groups a replica has, and its resident memory, once all of them rest.
fn many_groups(folder: &Path, settings: &Settings) -> Result<(usize, u64)> {
    let trio = Trio::start_with_groups(folder, settings.groups)?;
    let groups = trio.resting()?;
    Ok((groups, trio.resident()?))
}

/// How often each store syncs for a write when a sync takes a millisecond: the most of the three.
fn syncs_per_write(folder: &Path, settings: &Settings) -> Result<f64> {
    const SYNCS: &str = "partita_log_sync_seconds_count";
    let trio = Trio::start_on_slow_disks(folder, SLOW_SYNC)?;
    wait_until_active(&mut Connection::open(trio.router()?)?, TABLE)?;
    let subject = Subject {
        series: Series::REPLICATED,
        address: trio.router()?,
        kinds: &[Kind::Put],
    };
    let before = trio.metric(SYNCS)?;
    let mut generator = Generator::connect(subject.address, settings.connections)?;
    let mut work = Requests::new(Kind::Put, settings.keys, &subject.address.to_string(), 0);
    let time = Duration::from_secs_f64(settings.seconds);
    let outcome = generator.run(&mut work, Pace::Closed, time)?;
    let after = trio.metric(SYNCS)?;
    let most = after.iter().zip(&before).map(|(after, before)| after - before);
    Ok(most.fold(0.0, f64::max) / outcome.requests as f64)
}

fn measure(
    subject: &Subject,
    kind: Kind,
    settings: &Settings,
    connections: usize,
    pace: Pace,
    round: usize,
) -> Result<Outcome> {
    let mut generator = Generator::connect(subject.address, connections)?;
    let mut work = Requests::new(kind, settings.keys, &subject.address.to_string(), round as u64);
    let time = Duration::from_secs_f64(settings.seconds);
    generator.run(&mut work, pace, time.mul_f64(WARM_UP_SHARE))?;
    generator.run(&mut work, pace, time)
}

fn made(folder: &Path, name: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    std::fs::create_dir_all(&path)?;
    Ok(path)
}

/// Makes and fills both tables; the cluster has one, which its manifest declares.
pub(crate) fn fill(subject: &Subject, keys: usize) -> Result<()> {
    let mut connection = Connection::open(subject.address)?;
    let declared = subject.series == Series::REPLICATED;
    let tables = [(TABLE, false, Kind::Load), (RANGE_TABLE, true, Kind::LoadRange)];
    for (table, range, kind) in tables.into_iter().take(if declared { 1 } else { 2 }) {
        if !declared {
            let reply = connection.call("CreateTable", &table_spec(table, range))?;
            ensure!(
                reply.status == 200,
                "CreateTable: {}",
                String::from_utf8_lossy(&reply.body)
            );
        }
        wait_until_active(&mut connection, table)?;
        let keys = if range { range_keys(keys) } else { keys };
        let began = std::time::Instant::now();
        let mut generator = Generator::connect(subject.address, LOAD_CONNECTIONS)?;
        let mut work = Requests::new(kind, keys, &subject.address.to_string(), 0);
        while !work.finished() {
            generator.run(&mut work, Pace::Closed, LOAD_STEP)?;
        }
        println!(
            "{}: {keys} items into {table} in {:.1} s",
            subject.series,
            began.elapsed().as_secs_f64()
        );
    }
    Ok(())
}

fn table_spec(name: &str, range: bool) -> Value {
    let mut definitions = vec![json!({"AttributeName": "id", "AttributeType": "S"})];
    let mut keys = vec![json!({"AttributeName": "id", "KeyType": "HASH"})];
    if range {
        definitions.push(json!({"AttributeName": "at", "AttributeType": "N"}));
        keys.push(json!({"AttributeName": "at", "KeyType": "RANGE"}));
    }
    json!({
        "TableName": name, "AttributeDefinitions": definitions, "KeySchema": keys, "BillingMode": "PAY_PER_REQUEST"
    })
}
