//! The binary under test as a child process.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::connection::Connection;

/// Seconds, not minutes: also with a gigabyte of data on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// Between two looks at something another process does.
const POLL: Duration = Duration::from_millis(2);

/// How to start it.
#[derive(Debug, Clone, Default)]
pub struct ServerOptions {
    /// Holds `data/`, `manifests/`, the ready file and `server.log`.
    pub home: PathBuf,
    /// Added to the command line.
    pub arguments: Vec<String>,
    /// Added to the environment.
    pub environment: Vec<(String, String)>,
    /// A limit on open files for the child.
    pub open_files: Option<u64>,
}

/// A running server; dropped, it is killed.
pub struct Server {
    child: Child,
    /// Where it speaks the API.
    pub address: SocketAddr,
    /// Where it answers `/metrics`, `/healthz` and `/readyz`.
    pub admin: SocketAddr,
    /// How long it took to be ready.
    pub startup: Duration,
    log: PathBuf,
}

/// `$PARTITA_BIN`, or the debug build of the target folder.
pub fn binary() -> PathBuf {
    std::env::var_os("PARTITA_BIN").map_or_else(
        || {
            let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
            target.join("debug/partita")
        },
        PathBuf::from,
    )
}

impl ServerOptions {
    /// Everything under `home`, nothing special.
    pub fn at(home: &Path) -> Self {
        ServerOptions {
            home: home.to_owned(),
            ..ServerOptions::default()
        }
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.home.join("data")
    }
}

impl Server {
    /// Starts it on free ports and waits until it says that it is ready.
    pub fn start(options: &ServerOptions) -> Result<Self> {
        let began = Instant::now();
        let mut starting = Self::spawn(options)?;
        let ready_file = options.home.join("ready.json");
        loop {
            if let Ok(text) = fs::read_to_string(&ready_file)
                && let Ok(ready) = serde_json::from_str::<Value>(&text)
            {
                starting.address = address(&ready, "listen")?;
                starting.admin = address(&ready, "admin")?;
                starting.startup = began.elapsed();
                return Ok(starting);
            }
            if let Some(status) = starting.child.try_wait()? {
                bail!("the server ended at start: {status}\n{}", starting.log_tail());
            }
            ensure!(
                began.elapsed() < START_LIMIT,
                "not ready in {START_LIMIT:?}\n{}",
                starting.log_tail()
            );
            std::thread::sleep(POLL);
        }
    }

    /// Starts it where it is expected to refuse, and returns how it ended and what it said.
    pub fn refused(options: &ServerOptions) -> Result<(ExitStatus, String)> {
        let mut starting = Self::spawn(options)?;
        let status = starting.ended(START_LIMIT)?;
        Ok((status, starting.log_tail()))
    }

    /// Starts it and kills it after a while, ready or not.
    pub fn kill_within(options: &ServerOptions, patience: Duration) -> Result<()> {
        let starting = Self::spawn(options)?;
        std::thread::sleep(patience);
        starting.kill()
    }

    fn spawn(options: &ServerOptions) -> Result<Self> {
        let ready_file = options.home.join("ready.json");
        let manifests = options.home.join("manifests");
        fs::create_dir_all(&manifests)?;
        if ready_file.exists() {
            fs::remove_file(&ready_file)?;
        }
        let log = options.home.join("server.log");
        let output = fs::OpenOptions::new().create(true).append(true).open(&log)?;
        let mut command = Command::new(binary());
        command
            .arg("standalone")
            .arg("--manifests")
            .arg(&manifests)
            .arg("--data")
            .arg(options.data())
            .args([
                "--listen",
                "127.0.0.1:0",
                "--admin-listen",
                "127.0.0.1:0",
                "--region",
                "us-east-1",
            ])
            .arg("--ready-file")
            .arg(&ready_file)
            .args(&options.arguments)
            .envs(options.environment.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let open_files = options.open_files;
        // SAFETY: prctl and setrlimit may be called between fork and exec; nothing here allocates.
        unsafe {
            command.pre_exec(move || {
                // A test that is killed takes its server with it.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                if let Some(limit) = open_files {
                    let limit = libc::rlimit {
                        rlim_cur: limit,
                        rlim_max: limit,
                    };
                    if libc::setrlimit(libc::RLIMIT_NOFILE, &limit) != 0 {
                        return Err(std::io::Error::last_os_error());
                    }
                }
                Ok(())
            });
        }
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", binary().display()))?;
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        Ok(Server {
            child,
            address: nowhere,
            admin: nowhere,
            startup: Duration::ZERO,
            log,
        })
    }

    /// A new connection to it.
    pub fn connect(&self) -> Result<Connection> {
        Connection::open(self.address).with_context(|| format!("cannot connect to {}", self.address))
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kill -9, and wait until it is gone.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, and wait for a clean end.
    pub fn stop(mut self) -> Result<()> {
        // SAFETY: the child has not been waited for, so its id is still its own.
        unsafe { libc::kill(self.child.id() as i32, libc::SIGTERM) };
        let status = self.ended(STOP_LIMIT)?;
        ensure!(
            status.success(),
            "SIGTERM should stop it cleanly, it ended with {status}\n{}",
            self.log_tail()
        );
        Ok(())
    }

    /// Waits until it ends by itself.
    pub fn ended(&mut self, limit: Duration) -> Result<ExitStatus> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(
                began.elapsed() < limit,
                "still running after {limit:?}\n{}",
                self.log_tail()
            );
            std::thread::sleep(POLL);
        }
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Resident memory now, bytes.
    pub fn resident(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .context("no VmRSS")?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib * 1024)
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        let text = fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }

    /// CreateTable, and wait until it is active, its indexes too.
    pub fn create_table(&self, spec: &Value) -> Result<()> {
        let mut connection = self.connect()?;
        let reply = connection.call("CreateTable", spec)?;
        ensure!(
            reply.status == 200,
            "CreateTable: {}",
            String::from_utf8_lossy(&reply.body)
        );
        wait_until_active(&mut connection, spec["TableName"].as_str().unwrap_or(""))
    }
}

/// Waits until a table and all its indexes are active.
pub fn wait_until_active(connection: &mut Connection, table: &str) -> Result<()> {
    let began = Instant::now();
    loop {
        let table = connection.call("DescribeTable", &json!({ "TableName": table }))?.json()["Table"].take();
        let indexes = table["GlobalSecondaryIndexes"].as_array().cloned().unwrap_or_default();
        if table["TableStatus"] == "ACTIVE" && indexes.iter().all(|index| index["IndexStatus"] == "ACTIVE") {
            return Ok(());
        }
        ensure!(began.elapsed() < START_LIMIT, "table is not active: {table}");
        std::thread::sleep(POLL);
    }
}

fn address(ready: &Value, name: &str) -> Result<SocketAddr> {
    let text = ready[name]
        .as_str()
        .with_context(|| format!("no {name:?} in the ready file: {ready}"))?;
    text.parse().with_context(|| format!("{text:?} is no address"))
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
