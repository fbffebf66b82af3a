//! The Partita binary.
//!
//! 1. [`cli`] reads flags and environment;
//! 2. [`standalone`] is the role in which gateway, tables and storage are one process; [`replica`] stores partitions
//!    behind routers, [`router`] speaks the DynamoDB API in front of them, with a [`directory`] of where they are;
//!    [`cluster_local`] runs some of each on one machine, [`operate`] moves replicas and leaders from a shell;
//! 3. [`serving`] is what runs beside a store in both: deliveries to global indexes, expiry;
//! 4. [`plan`] is no role: it says what manifests ([`manifest`]) would occupy on a cluster;
//! 5. [`routing`] finds the partition of a key, for every role, [`replicas`] who leads it; [`process`] is what all do with
//!    their process.

mod admin;
mod cli;
mod cluster_local;
mod credentials;
mod directory;
mod manifest;
mod operate;
mod plan;
mod process;
mod replica;
mod replicas;
mod router;
mod routing;
mod serving;
mod standalone;
mod tls;

use std::process::ExitCode;

use clap::Parser;

/// Small allocations of many sizes on many threads are what a gateway does all day.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli::Cli { command } = cli::Cli::parse();
    abort_on_panic();
    let done = match command {
        cli::Command::Standalone(options) => {
            options.process.log_to_stderr();
            standalone::run(options)
        }
        cli::Command::Replica(options) => {
            options.process.log_to_stderr();
            replica::run(options)
        }
        cli::Command::Router(options) => {
            options.process.log_to_stderr();
            router::run(options)
        }
        cli::Command::Admin(call) => return said(operate::run(call)),
        cli::Command::ClusterLocal(options) => return said(cluster_local::run(options)),
        cli::Command::Plan(options) => return plan::run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// For what a person runs in a terminal: there is no log.
fn said(done: anyhow::Result<()>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("partita: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A panic is a bug, and the state it leaves behind is nobody's guess: the process ends, and starts again from its log.
/// Only a panic in one client's request, outside the locks that guard state, is answered by the gateway instead.
fn abort_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        if !partita_gateway::http::is_shielded() {
            std::process::abort();
        }
    }));
}
