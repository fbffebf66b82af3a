//! Hostile input against the real binary: each gets a clear error or a closed connection, memory stays bounded, nothing
//! panics, and a well-behaved client beside it notices nothing.
//!
//! 1. A [`bystander`] reads and writes all the time, and every attack is made beside it.
//! 2. The attacks: [`nesting`] and other bodies that are deep, [`bodies`] that are too long, too slow, half there or
//!    inflate without end, [`heads`] that are none, [`idle`] connections by the thousand, [`mutation`] of good requests.
//! 3. In the end the server must run, have answered nobody with an internal error, and stop cleanly.

mod bodies;
mod bystander;
mod heads;
mod idle;
mod mutation;
mod nesting;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, ensure};
use partita_test_client::{Server, ServerOptions};
use serde_json::json;

use crate::bystander::Bystander;

/// The table of the attacks.
pub const TABLE: &str = "attacked";
/// Resident memory may grow by this much under any attack: the room for large bodies, twice (as received, inflated),
/// and what is around it.
const GROWTH_LIMIT_BYTES: u64 = 700 << 20;

type Attack = fn(&Server) -> Result<()>;

const ATTACKS: &[(&str, Attack)] = &[
    ("deep nesting", nesting::attack),
    ("heads that are none", heads::attack),
    ("bodies too long", bodies::too_long),
    ("bodies half sent", bodies::half_sent),
    ("gzip bombs", bodies::bombs),
    ("bodies that never come", bodies::promised),
    ("mutated requests", mutation::attack),
    ("idle connections", idle::attack),
];

fn main() -> Result<ExitCode> {
    let open_files = raise_open_files();
    let home = tempfile::tempdir()?;
    let options = ServerOptions {
        open_files: Some(open_files),
        ..ServerOptions::at(home.path())
    };
    let mut server = Server::start(&options)?;
    server.create_table(&json!({
        "TableName": TABLE, "BillingMode": "PAY_PER_REQUEST", "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
    }))?;
    let before = server.resident()?;
    let slow = bodies::Slow::start(&server)?;
    let (mut passed, mut failed) = (0, 0);
    for (name, attack) in ATTACKS {
        let began = Instant::now();
        let bystander = Bystander::start(&server)?;
        let result = attack(&server).and_then(|()| check(&mut server, before));
        let result = bystander.end().and_then(|report| result.map(|()| report));
        match result {
            Ok(report) => {
                println!("badinput: {name}: {:.1} s, {report}", began.elapsed().as_secs_f64());
                passed += 1;
            }
            Err(error) => {
                println!("badinput: {name} FAILED: {}", reasons(&error));
                failed += 1;
            }
        }
    }
    let mut end = |name: &str, result: Result<()>| match result {
        Ok(()) => passed += 1,
        Err(error) => {
            println!("badinput: {name} FAILED: {}", reasons(&error));
            failed += 1;
        }
    };
    end("slow bodies", slow.end());
    end("no panic", no_panic(&options));
    end("clean stop", server.stop());
    println!("badinput: {passed} passed, {failed} failed");
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// An error and what led to it, without the stack that RUST_BACKTRACE would add.
fn reasons(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn check(server: &mut Server, before: u64) -> Result<()> {
    ensure!(server.is_running()?, "the server is gone:\n{}", server.log_tail());
    let now = server.resident()?;
    ensure!(
        now < before + GROWTH_LIMIT_BYTES,
        "memory grew from {} MB to {} MB",
        before >> 20,
        now >> 20
    );
    Ok(())
}

fn no_panic(options: &ServerOptions) -> Result<()> {
    let log = std::fs::read_to_string(options.home.join("server.log"))?;
    ensure!(!log.contains("panicked"), "the log tells of a panic");
    Ok(())
}

/// As many open files as this process may have; both ends of every connection are on this machine.
fn raise_open_files() -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the struct lives through the calls.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
    }
    limit.rlim_max
}
