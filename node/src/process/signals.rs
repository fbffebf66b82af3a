//! What the operating system says to this process, and what this process may ask of it.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// The exit status of a process that was told to stop at once.
const STOPPED_AT_ONCE: i32 = 130;

/// The first SIGTERM or SIGINT is told by name; the second one ends the process at once.
pub fn stop() -> std::io::Result<mpsc::Receiver<&'static str>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (tell, told) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut stopping = false;
        loop {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            if stopping {
                tracing::warn!(signal = name, "stopping at once");
                std::process::exit(STOPPED_AT_ONCE);
            }
            stopping = true;
            let _ = tell.try_send(name);
        }
    });
    Ok(told)
}

/// Asks for as many file descriptors as this process may have: each connection is one.
pub fn raise_file_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        if soft < hard {
            setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
        } else {
            Ok(())
        }
    });
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}
