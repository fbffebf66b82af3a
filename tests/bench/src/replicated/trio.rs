//! Three replicas behind a router: `partita cluster-local`, as a user starts it.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use partita_test_client::server::binary;
use serde_json::Value;

use crate::work::TABLE;

/// Seconds, not minutes: also on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(120);
/// What a replica that was away for a moment may take to catch up.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(60);
/// Between two looks at something another process does.
const POLL: Duration = Duration::from_millis(20);

/// One process of the cluster.
struct Process {
    role: String,
    pid: u32,
    listen: SocketAddr,
    admin: String,
    command: Vec<String>,
    /// Set once it was started again by us.
    child: Option<Child>,
}

/// The cluster; dropped, it is stopped.
pub struct Trio {
    parent: Child,
    processes: Vec<Process>,
    log: PathBuf,
}

impl Trio {
    /// Starts it with one empty table.
    pub fn start(folder: &Path) -> Result<Self> {
        Self::start_in(folder, &[])
    }

    /// The same on disks whose syncs take so long.
    pub fn start_on_slow_disks(folder: &Path, sync: Duration) -> Result<Self> {
        let interposer = std::env::current_exe()?.with_file_name("libpartita_interposer.so");
        ensure!(
            interposer.exists(),
            "{} is missing: cargo build -p partita-interposer",
            interposer.display()
        );
        let micros = sync.as_micros().to_string();
        let interposer = interposer.to_string_lossy();
        Self::start_in(
            folder,
            &[("LD_PRELOAD", &*interposer), ("INTERPOSER_SYNC_MICROS", &*micros)],
        )
    }

    fn start_in(folder: &Path, environment: &[(&str, &str)]) -> Result<Self> {
        let manifests = folder.join("manifests");
        fs::create_dir_all(&manifests)?;
        fs::write(manifests.join("table.yaml"), manifest())?;
        let ready = folder.join("ready.json");
        let log = folder.join("cluster.log");
        let output = fs::File::create(&log)?;
        let mut command = Command::new(binary());
        command
            .arg("cluster-local")
            .arg("--manifests")
            .arg(&manifests)
            .arg("--data")
            .arg(folder.join("data"))
            .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .args(["--replica-ports", "0", "--ready-file"])
            .arg(&ready)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        die_with_us(&mut command);
        let parent = command.spawn().context("cluster-local")?;
        let mut trio = Self {
            parent,
            processes: Vec::new(),
            log,
        };
        let began = Instant::now();
        loop {
            if let Ok(text) = fs::read(&ready)
                && let Ok(Value::Array(shown)) = serde_json::from_slice(&text)
            {
                trio.processes = shown.iter().map(process).collect::<Result<_>>()?;
                return Ok(trio);
            }
            if let Some(status) = trio.parent.try_wait()? {
                bail!("cluster-local ended at start: {status}\n{}", trio.log_text());
            }
            ensure!(
                began.elapsed() < START_LIMIT,
                "cluster-local is not ready\n{}",
                trio.log_text()
            );
            std::thread::sleep(POLL);
        }
    }

    fn log_text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Where the router speaks the API.
    pub fn router(&self) -> Result<SocketAddr> {
        let router = self.processes.iter().find(|process| process.role == "router");
        Ok(router.context("no router")?.listen)
    }

    /// Resident memory of the largest replica, bytes.
    pub fn resident(&self) -> Result<u64> {
        let sizes = self
            .replicas()
            .map(|replica| resident(replica.pid))
            .collect::<Result<Vec<_>>>()?;
        sizes.into_iter().max().context("no replicas")
    }

    /// What a counter or gauge of each replica says, by process.
    pub fn metric(&self, name: &str) -> Result<Vec<f64>> {
        self.replicas().map(|replica| metric(&replica.admin, name)).collect()
    }

    /// The table's group, as its leader sees it, once all three replicas have the same.
    pub fn settled(&self) -> Result<Value> {
        let began = Instant::now();
        loop {
            if let Some(group) = self.group().filter(is_settled) {
                return Ok(group);
            }
            ensure!(began.elapsed() < CATCH_UP_LIMIT, "a replica does not catch up");
            std::thread::sleep(POLL);
        }
    }

    fn group(&self) -> Option<Value> {
        let groups = self.admin(&["--output", "json", "groups"]).ok()?;
        let groups: Value = serde_json::from_str(&groups).ok()?;
        groups.as_array()?.first().cloned()
    }

    /// Kills the replica that leads with SIGKILL; which one it was, and when.
    pub fn kill_leader(&mut self) -> Result<(usize, Instant)> {
        let group = self.settled()?;
        let address = leader(&group).context("nobody leads")?;
        let place = self
            .processes
            .iter()
            .position(|process| process.listen.to_string() == address);
        let place = place.context("the leader is none of the processes")?;
        let moment = Instant::now();
        // SAFETY: a process of this cluster, which has not been waited for by us.
        ensure!(
            unsafe { libc::kill(self.processes[place].pid as i32, libc::SIGKILL) } == 0,
            "kill"
        );
        if let Some(mut child) = self.processes[place].child.take() {
            child.wait()?;
        }
        Ok((place, moment))
    }

    /// Starts it again, with what it had.
    pub fn restart(&mut self, place: usize) -> Result<()> {
        let process = &mut self.processes[place];
        let output = fs::OpenOptions::new().append(true).open(&self.log)?;
        let mut command = Command::new(&process.command[0]);
        command
            .args(&process.command[1..])
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        die_with_us(&mut command);
        let child = command.spawn()?;
        process.pid = child.id();
        process.child = Some(child);
        Ok(())
    }

    /// Hands the leadership to another replica.
    pub fn hand_over(&self) -> Result<()> {
        let group = self.settled()?;
        let id = group["descriptor"]["group"].as_str().context("a group without an id")?;
        let leads = &group["replication"]["leader"];
        let members = group["replication"]["members"].as_array().context("members")?;
        let other = members
            .iter()
            .find(|member| member["replica"] != *leads)
            .context("one member")?;
        self.admin(&["transfer", id, "--to", &other["replica"].to_string()])?;
        Ok(())
    }

    fn admin(&self, arguments: &[&str]) -> Result<String> {
        let nodes: Vec<&str> = self.replicas().map(|replica| replica.admin.as_str()).collect();
        let mut command = Command::new(binary());
        let done = command
            .args(["admin", "--nodes", &nodes.join(",")])
            .args(arguments)
            .output()?;
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        ensure!(done.status.success(), "partita admin {arguments:?}: {said}");
        Ok(String::from_utf8(done.stdout)?)
    }

    fn replicas(&self) -> impl Iterator<Item = &Process> {
        self.processes.iter().filter(|process| process.role == "replica")
    }
}

impl Drop for Trio {
    fn drop(&mut self) {
        for child in self.processes.iter_mut().filter_map(|process| process.child.as_mut()) {
            let _ = child.kill();
            let _ = child.wait();
        }
        // SAFETY: the child has not been waited for, so its id is still its own.
        unsafe { libc::kill(self.parent.id() as i32, libc::SIGTERM) };
        let _ = self.parent.wait();
    }
}

/// Lets a child end with this process: cluster-local takes its own children with it.
fn die_with_us(command: &mut Command) {
    // SAFETY: prctl may be called between fork and exec.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
            Ok(())
        });
    }
}

fn process(shown: &Value) -> Result<Process> {
    let text = |name: &str| shown[name].as_str().with_context(|| format!("no {name} in {shown}"));
    Ok(Process {
        role: text("role")?.to_owned(),
        pid: shown["pid"].as_u64().context("pid")? as u32,
        listen: text("listen")?.parse()?,
        admin: text("admin")?.to_owned(),
        command: text("command")?.split_whitespace().map(str::to_owned).collect(),
        child: None,
    })
}

fn leader(group: &Value) -> Option<&str> {
    let leads = group["replication"]["leader"].as_u64()?;
    let members = group["replication"]["members"].as_array()?;
    let member = members.iter().find(|member| member["replica"] == leads)?;
    member["address"].as_str()
}

/// Whether the leader hears of both followers, and they have what it has applied.
fn is_settled(group: &Value) -> bool {
    let applied = group["applied"].as_u64();
    let members = group["replication"]["members"].as_array();
    members.is_some_and(|members| {
        members.len() == 3
            && members
                .iter()
                .all(|member| member["alive"] == true && member["matched"].as_u64() >= applied)
    })
}

fn resident(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("no VmRSS")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024)
}

fn metric(admin: &str, name: &str) -> Result<f64> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(admin)?;
    write!(
        stream,
        "GET /metrics HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(line.with_context(|| format!("no metric {name}"))?.trim().parse()?)
}

/// A table like the one that is made through the API elsewhere.
fn manifest() -> String {
    format!(
        "apiVersion: partita.dev/v1alpha1\nkind: Table\nmetadata: {{name: {TABLE}}}\nspec:\n  tableName: {TABLE}\n  \
         attributeDefinitions: [{{attributeName: id, attributeType: S}}]\n  keySchema: [{{attributeName: id, keyType: HASH}}]\n  \
         billingMode: PAY_PER_REQUEST\n"
    )
}
