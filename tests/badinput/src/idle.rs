//! Ten thousand connections that say nothing, or have said something once.

use std::net::TcpStream;

use anyhow::{Context, Result, ensure};
use partita_test_client::{Connection, Server};
use serde_json::json;

const CONNECTIONS: usize = 10_000;
/// Of open files, what this process and the server need for everything else.
const SPARE_FILES: usize = 500;
/// What an idle connection may hold.
const BYTES_EACH: u64 = 24 * 1024;

pub fn attack(server: &Server) -> Result<()> {
    let count = CONNECTIONS.min(open_files().saturating_sub(SPARE_FILES));
    if count < CONNECTIONS {
        println!("badinput: {count} idle connections instead of {CONNECTIONS}: open files are limited");
    }
    let before = server.resident()?;
    let mut silent = Vec::with_capacity(count);
    let mut used: Vec<Connection> = Vec::new();
    for index in 0..count {
        if index % 10 == 0 {
            let mut connection = server.connect()?;
            ensure!(
                connection.call("ListTables", &json!({}))?.status == 200,
                "connection {index} is not served"
            );
            used.push(connection);
        } else {
            silent.push(TcpStream::connect(server.address).with_context(|| format!("connection {index}"))?);
        }
    }
    // The last one was accepted, so all before it were.
    ensure!(
        server.connect()?.call("ListTables", &json!({}))?.status == 200,
        "a client beside them is not served"
    );
    let each = server.resident()?.saturating_sub(before) / count as u64;
    println!("badinput: {count} idle connections hold {each} bytes each");
    ensure!(each < BYTES_EACH, "an idle connection holds {each} bytes");
    for connection in &mut used {
        ensure!(
            connection.call("ListTables", &json!({}))?.status == 200,
            "a connection that was idle is not served"
        );
    }
    Ok(())
}

fn open_files() -> usize {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the struct lives through the call.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    limit.rlim_cur as usize
}
