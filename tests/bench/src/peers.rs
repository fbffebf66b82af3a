//! The servers beside ours, each a process of its own: this same program called with another first argument.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use dynoxide::Database;

/// A peer as a child process; dropped, it is killed.
pub struct Peer {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Peer {
    /// Starts `this-program peer NAME [ARGUMENT]` and reads its address from its first line.
    pub fn start(name: &str, argument: Option<&Path>) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("peer")
            .arg(name)
            .args(argument)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let output = child.stdout.take().context("no output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let address = line
            .trim()
            .parse()
            .with_context(|| format!("{name} printed {line:?} for an address"));
        Ok(Peer {
            child,
            address: address?,
        })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// dynoxide's own HTTP server over a database file, until the process ends; prints its address first.
pub async fn serve_dynoxide(folder: &Path) -> Result<()> {
    let path = folder.join("dynoxide.db");
    let database = Database::new(&path.to_string_lossy()).map_err(|error| anyhow::anyhow!("dynoxide: {error}"))?;
    let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    println!("{}", listener.local_addr()?);
    dynoxide::server::serve_on(listener, database).await;
    Ok(())
}
