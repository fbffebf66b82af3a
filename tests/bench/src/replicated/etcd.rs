//! etcd with three members that sync, and its own load generator: what another replicated log makes of the same disk.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::work::PAYLOAD_BYTES;

const MEMBERS: usize = 3;
const START_LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);
/// Of the first run, which says how many make the wanted time.
const FIRST_TOTAL: usize = 2_000;

/// The members; dropped, they are killed.
pub struct Etcd {
    members: Vec<Child>,
    benchmark: PathBuf,
    endpoints: String,
    /// Writes a second, as last measured.
    rate: f64,
}

impl Etcd {
    /// Starts the members with the programs of a folder.
    pub fn start(programs: &Path, folder: &Path) -> Result<Self> {
        // Bound all at once, so that they differ; free again when etcd asks for them.
        let held = (0..2 * MEMBERS)
            .map(|_| TcpListener::bind("127.0.0.1:0"))
            .collect::<Result<Vec<_>, _>>()?;
        let urls = held
            .iter()
            .map(|held| Ok(format!("http://{}", held.local_addr()?)))
            .collect::<Result<Vec<_>>>()?;
        let (clients, peers) = urls.split_at(MEMBERS);
        drop(held);
        let cluster = peers.iter().enumerate().map(|(number, url)| format!("m{number}={url}"));
        let cluster = cluster.collect::<Vec<_>>().join(",");
        let mut etcd = Self {
            members: Vec::new(),
            benchmark: programs.join("benchmark"),
            endpoints: clients.join(","),
            rate: 0.0,
        };
        for number in 0..MEMBERS {
            let log = std::fs::File::create(folder.join(format!("etcd-{number}.log")))?;
            let member = Command::new(programs.join("server"))
                .arg(format!("--name=m{number}"))
                .arg(format!(
                    "--data-dir={}",
                    folder.join(format!("etcd-{number}")).display()
                ))
                .arg(format!("--listen-client-urls={}", clients[number]))
                .arg(format!("--advertise-client-urls={}", clients[number]))
                .arg(format!("--listen-peer-urls={}", peers[number]))
                .arg(format!("--initial-advertise-peer-urls={}", peers[number]))
                .arg(format!("--initial-cluster={cluster}"))
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                .spawn()
                .context("etcd")?;
            etcd.members.push(member);
        }
        let began = Instant::now();
        while etcd.put(1, 1).is_err() {
            ensure!(
                began.elapsed() < START_LIMIT,
                "etcd does not serve: see {}",
                folder.display()
            );
            std::thread::sleep(POLL);
        }
        Ok(etcd)
    }

    /// Writes for about so long over so many connections; writes a second.
    pub fn puts(&mut self, connections: usize, duration: Duration) -> Result<f64> {
        if self.rate == 0.0 {
            self.rate = self.put(connections, FIRST_TOTAL)?;
        }
        let total = (self.rate * duration.as_secs_f64()) as usize;
        self.rate = self.put(connections, total.max(FIRST_TOTAL))?;
        Ok(self.rate)
    }

    fn put(&self, connections: usize, total: usize) -> Result<f64> {
        let done = Command::new(&self.benchmark)
            .arg(format!("--endpoints={}", self.endpoints))
            .args([format!("--conns={connections}"), format!("--clients={connections}")])
            .args(["put", "--target-leader", "--key-size=16", "--key-space-size=100000"])
            .args([format!("--val-size={PAYLOAD_BYTES}"), format!("--total={total}")])
            .output()
            .context("etcd's benchmark")?;
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        let rate = said.lines().find_map(|line| line.trim().strip_prefix("Requests/sec:"));
        let errors = String::from_utf8_lossy(&done.stderr);
        ensure!(
            done.status.success() && !said.contains("Error distribution"),
            "etcd's benchmark: {said}{errors}"
        );
        Ok(rate.with_context(|| format!("no rate in {said}"))?.trim().parse()?)
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for member in &mut self.members {
            let _ = member.kill();
            let _ = member.wait();
        }
    }
}
