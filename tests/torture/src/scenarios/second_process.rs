//! A second process on the same data folder is refused, and the first goes on.

use anyhow::ensure;
use partita_test_client::{Server, ServerOptions};
use serde_json::json;

use crate::Order;
use crate::disk;
use crate::scenarios::Outcome;

/// Starts a second one beside the first.
pub fn run(_: &Order) -> Outcome {
    let folder = disk::fast_folder()?;
    let options = ServerOptions::at(folder.path());
    let first = Server::start(&options)?;
    let (status, log) = Server::refused(&options)?;
    ensure!(
        !status.success(),
        "a second process should fail, it ended with {status}"
    );
    let said = log.to_lowercase();
    ensure!(
        said.contains("lock") || said.contains("another") || said.contains("in use"),
        "it says only:\n{log}"
    );
    let reply = first.connect()?.call("ListTables", &json!({}))?;
    ensure!(reply.status == 200, "the first process suffers: {reply:?}");
    first.stop()?;
    Ok(None)
}
