//! What every role does with its process: signals, addresses, the ready file, the wall clock.

mod signals;

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context;
use tokio::net::TcpListener;

pub use signals::{raise_file_limit, stop};

/// Epoch milliseconds.
pub fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

/// This program, as a person would call it.
pub fn program() -> String {
    let own = std::env::args().next();
    own.unwrap_or_else(|| "partita".to_owned())
}

/// Listens; the address that was bound (port 0: any free one). An error names the flag.
pub async fn bind(flag: &str, address: SocketAddr) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("{flag} {address}"))?;
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

/// Writes the bound addresses for whoever started this process; the file is there as a whole or not at all.
pub fn announce(
    path: &Path,
    listen: SocketAddr,
    admin: SocketAddr,
    admin_tls: Option<SocketAddr>,
) -> anyhow::Result<()> {
    let mut ready = serde_json::json!({"listen": listen, "admin": admin, "pid": std::process::id()});
    if let Some(admin_tls) = admin_tls {
        ready["admin_tls"] = admin_tls.to_string().into();
    }
    let unfinished = path.with_extension("new");
    std::fs::write(&unfinished, format!("{ready}\n"))
        .and_then(|()| std::fs::rename(&unfinished, path))
        .with_context(|| path.display().to_string())
}
