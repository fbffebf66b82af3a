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

/// A gigabyte on a slow disk.
const MOVE_LIMIT: Duration = Duration::from_secs(600);
/// As many as a table may have in such a cluster, and what makes it have them.
const GROUPS_PER_TABLE: usize = 16;
const UNITS_PER_GROUP: usize = 1000;

/// Where a replica of a group was.
pub struct Place {
    group: String,
    store: String,
}

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
        Self::start_in(folder, &manifest(), &[])
    }

    /// Starts it with so many partitions, of empty tables.
    pub fn start_with_groups(folder: &Path, groups: usize) -> Result<Self> {
        let tables = groups.div_ceil(GROUPS_PER_TABLE);
        let manifests: Vec<String> = (0..tables).map(many_groups).collect();
        Self::start_in(folder, &manifests.join("---\n"), &[])
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
            &manifest(),
            &[("LD_PRELOAD", &*interposer), ("INTERPOSER_SYNC_MICROS", &*micros)],
        )
    }

    fn start_in(folder: &Path, tables: &str, environment: &[(&str, &str)]) -> Result<Self> {
        let manifests = folder.join("manifests");
        fs::create_dir_all(&manifests)?;
        fs::write(manifests.join("tables.yaml"), tables)?;
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
        self.groups().ok()?.into_iter().next()
    }

    fn groups(&self) -> Result<Vec<Value>> {
        let groups = self.admin(&["--output", "json", "groups"])?;
        Ok(serde_json::from_str(&groups)?)
    }

    /// Waits until all groups rest; how many there are.
    pub fn resting(&self) -> Result<usize> {
        let began = Instant::now();
        loop {
            let groups = self.groups()?;
            if !groups.is_empty() && groups.iter().all(|group| group["replication"]["resting"] == true) {
                return Ok(groups.len());
            }
            ensure!(began.elapsed() < CATCH_UP_LIMIT, "the groups do not come to rest");
            std::thread::sleep(POLL);
        }
    }

    /// Cuts the partition with the most bytes in two.
    pub fn split_largest(&self) -> Result<()> {
        let groups = self.groups()?;
        let bytes = |group: &&Value| group["sizes"]["bytes"].as_u64();
        let largest = groups.iter().max_by_key(bytes).context("no groups")?;
        self.admin(&["split", id_of(largest)?])?;
        Ok(())
    }

    /// Takes a follower's replica from it, with all it has; where that was, for people, and for [`Self::bring_follower`].
    pub fn forget_follower(&self) -> Result<(String, Place)> {
        let group = self.settled()?;
        let leads = &group["replication"]["leader"];
        let members = group["replication"]["members"].as_array().context("members")?;
        let follower = members.iter().find(|member| member["replica"] != *leads);
        let follower = follower.context("one member")?;
        let store = follower["store"].as_str().context("a member without a store")?;
        let group = id_of(&group)?.to_owned();
        self.admin(&["remove", &group, "--replica", &follower["replica"].to_string()])?;
        let address = follower["address"].as_str().unwrap_or(store);
        let store = store.to_owned();
        Ok((address.to_owned(), Place { group, store }))
    }

    /// Brings a replica there, and waits until it has all that there was when it came, and votes.
    pub fn bring_follower(&self, place: &Place) -> Result<()> {
        let found = self.group().context("no group")?;
        let until = found["applied"].as_u64().context("applied")?;
        self.admin(&["add-learner", &place.group, "--store", &place.store])?;
        let began = Instant::now();
        let learner = loop {
            let group = self.group().context("no group")?;
            let members = group["replication"]["members"].as_array().context("members")?;
            let learner = members.iter().find(|member| member["store"] == *place.store);
            if let Some(learner) = learner.filter(|learner| learner["matched"].as_u64() >= Some(until)) {
                break learner["replica"].to_string();
            }
            ensure!(began.elapsed() < MOVE_LIMIT, "the replica does not catch up");
            std::thread::sleep(POLL);
        };
        // It may have to make up for what was written meanwhile.
        while let Err(error) = self.admin(&["promote", &place.group, "--replica", &learner]) {
            ensure!(began.elapsed() < MOVE_LIMIT, "the replica is not promoted: {error:#}");
            std::thread::sleep(POLL);
        }
        Ok(())
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
        let id = id_of(&group)?;
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

fn id_of(group: &Value) -> Result<&str> {
    group["descriptor"]["group"].as_str().context("a group without an id")
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

fn many_groups(number: usize) -> String {
    let units = GROUPS_PER_TABLE * UNITS_PER_GROUP;
    format!(
        "apiVersion: partita.dev/v1alpha1\nkind: Table\nmetadata: {{name: many-{number}}}\nspec:\n  tableName: many-{number}\n  \
         attributeDefinitions: [{{attributeName: id, attributeType: S}}]\n  keySchema: [{{attributeName: id, keyType: HASH}}]\n  \
         provisionedThroughput: {{readCapacityUnits: 10, writeCapacityUnits: {units}}}\n"
    )
}
