//! A disk that fills up: writes are refused with a clear error, reads go on, and writing resumes when there is room.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use partita_test_client::{Connection, Reply, Server, ServerOptions};
use serde_json::json;

use crate::Order;
use crate::scenarios::Outcome;

const TABLE: &str = "torture";
/// The whole disk, what the server keeps free of it, and a filler that leaves less than that.
const DISK_MB: usize = 512;
const RESERVE_MB: usize = 128;
const LEFT_MB: usize = 24;
/// The server looks every second.
const LIMIT: Duration = Duration::from_secs(20);

/// A file system of our own, in memory; it takes root to mount one.
struct Disk(tempfile::TempDir);

impl Disk {
    fn mount() -> Result<Option<Self>> {
        let folder = tempfile::tempdir()?;
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={DISK_MB}m"), "partita-torture"])
            .arg(folder.path())
            .stderr(std::process::Stdio::null())
            .status()?;
        Ok(status.success().then_some(Disk(folder)))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

/// Fills it and empties it again, twice; the second time the server is killed and started while it is full.
pub fn run(_: &Order) -> Outcome {
    let Some(disk) = Disk::mount()? else {
        return Ok(Some("mounting a small disk takes root".to_owned()));
    };
    let mut options = ServerOptions::at(disk.0.path());
    options.environment = vec![("PARTITA_FREE_SPACE_RESERVE_MIB".to_owned(), RESERVE_MB.to_string())];
    let server = Server::start(&options)?;
    server.create_table(&json!({
        "TableName": TABLE, "BillingMode": "PAY_PER_REQUEST", "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
    }))?;
    let mut connection = server.connect()?;
    let first = put(&mut connection, "before")?;
    ensure!(first.status == 200, "{first:?}");

    fill(disk.0.path())?;
    let refused = until(&mut connection, |reply| reply.status != 200).context("waiting for a refusal")?;
    println!("  full: {} {}", refused.status, String::from_utf8_lossy(&refused.body));
    ensure!(
        refused.error_message().to_lowercase().contains("space"),
        "the refusal does not tell why: {refused:?}"
    );
    ensure!(read(&mut connection)?, "reads should go on while the disk is full");

    server.kill()?;
    let server = Server::start(&options).context("start on a full disk")?;
    let mut connection = server.connect()?;
    ensure!(
        put(&mut connection, "full")?.status != 200,
        "writes should still be refused after a restart"
    );
    ensure!(
        read(&mut connection)?,
        "reads should go on after a restart on a full disk"
    );

    fs::remove_file(disk.0.path().join("filler"))?;
    until(&mut connection, |reply| reply.status == 200).context("waiting for writes to go on")?;
    server.stop()?;
    Ok(None)
}

fn put(connection: &mut Connection, key: &str) -> Result<Reply> {
    Ok(connection.call(
        "PutItem",
        &json!({"TableName": TABLE, "Item": {"pk": {"S": key}, "text": {"S": "x".repeat(1000)}}}),
    )?)
}

fn read(connection: &mut Connection) -> Result<bool> {
    let request = json!({"TableName": TABLE, "Key": {"pk": {"S": "before"}}, "ConsistentRead": true});
    Ok(connection.call("GetItem", &request)?.json()["Item"]["pk"]["S"] == "before")
}

fn until(connection: &mut Connection, done: impl Fn(&Reply) -> bool) -> Result<Reply> {
    let began = Instant::now();
    loop {
        let reply = put(connection, "again")?;
        if done(&reply) {
            return Ok(reply);
        }
        ensure!(began.elapsed() < LIMIT, "nothing changed in {LIMIT:?}: {reply:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Writes a file that leaves less than the reserve.
fn fill(disk: &Path) -> Result<()> {
    let output = Command::new("df").args(["--output=avail", "-m"]).arg(disk).output()?;
    let text = String::from_utf8(output.stdout)?;
    let free: usize = text.lines().nth(1).context("df")?.trim().parse()?;
    fs::write(disk.join("filler"), vec![1; free.saturating_sub(LEFT_MB) << 20])?;
    Ok(())
}
