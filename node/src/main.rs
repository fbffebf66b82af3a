//! The Partita binary.
//!
//! 1. [`cli`] reads flags and environment;
//! 2. [`standalone`] is the role in which gateway, tables and storage are one process;
//! 3. [`routing`] finds the partition of a key, for every role.

mod cli;
mod routing;
mod standalone;

use std::process::ExitCode;

use clap::Parser;

/// Small allocations of many sizes on many threads are what a gateway does all day.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli::Cli { command } = cli::Cli::parse();
    abort_on_panic();
    let cli::Command::Standalone(options) = command;
    cli::log_to_stderr(options.log_format, &options.log);
    match standalone::run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
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
