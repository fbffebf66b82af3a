//! Three replicas and a router as processes, each replica behind a proxy of its own ([`crate::proxy`]).
//!
//! 1. `partita cluster-local` makes the cluster and its table, and says how each process is started.
//! 2. The replicas are killed and started again by us, with the address of their proxy to tell the others.
//! 3. `partita admin` cuts and joins its partition, and puts a new replica in the place of one whose store is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use partita_test_client::server::binary;
use serde_json::Value;

use crate::proxy::Network;

/// How many replicas there are.
pub const REPLICAS: usize = 3;
/// Seconds, not minutes: also on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(120);
/// What the cluster may take to heal once all processes and links are there.
const HEAL_LIMIT: Duration = Duration::from_secs(60);
/// A process that is stopped does not answer.
const ASK_MAX: Duration = Duration::from_millis(300);
/// Between two looks at something that another process does.
const POLL: Duration = Duration::from_millis(20);

/// A replica.
struct Replica {
    command: Vec<String>,
    admin: SocketAddr,
    advertised: SocketAddr,
    child: Option<Child>,
}

/// The cluster; dropped, it is stopped.
pub struct Cluster {
    parent: Child,
    pub router: SocketAddr,
    replicas: Vec<Replica>,
    pub network: Arc<Network>,
    folder: PathBuf,
    log: PathBuf,
    /// The table's first group, which stays whatever is cut and joined.
    group: String,
    environment: Vec<(String, String)>,
}

impl Cluster {
    /// With this table, in a folder of its own, with this added to every process's environment.
    pub fn start(folder: &Path, manifest: &str, environment: Vec<(String, String)>) -> Result<Self> {
        let manifests = folder.join("manifests");
        fs::create_dir_all(&manifests)?;
        fs::write(manifests.join("table.yaml"), manifest)?;
        let (ready, log) = (folder.join("ready.json"), folder.join("cluster.log"));
        let output = fs::File::create(&log)?;
        let mut command = Command::new(binary());
        command
            .args([
                "cluster-local",
                "--listen",
                "127.0.0.1:0",
                "--admin-listen",
                "127.0.0.1:0",
            ])
            .args(["--replica-ports", "0", "--manifests"])
            .arg(&manifests)
            .arg("--data")
            .arg(folder.join("data"))
            .arg("--ready-file")
            .arg(&ready)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        end_with_us(&mut command, libc::SIGTERM);
        let parent = command.spawn().context("cluster-local")?;
        let mut cluster = Self {
            parent,
            router: SocketAddr::from(([127, 0, 0, 1], 0)),
            replicas: Vec::new(),
            network: Arc::default(),
            folder: folder.to_owned(),
            log,
            group: String::new(),
            environment,
        };
        let shown = cluster.shown(&ready)?;
        let of = |role: &'static str| shown.iter().filter(move |process| process["role"] == role);
        cluster.router = of("router").next().context("no router")?["listen"]
            .as_str()
            .unwrap_or("")
            .parse()?;
        for (place, process) in of("replica").enumerate() {
            let text = |name: &str| {
                process[name]
                    .as_str()
                    .with_context(|| format!("no {name} in {process}"))
            };
            cluster.replicas.push(Replica {
                command: text("command")?.split_whitespace().map(str::to_owned).collect(),
                admin: text("admin")?.parse()?,
                advertised: cluster.network.stand_before(place, text("listen")?.parse()?)?,
                child: None,
            });
            let pid = process["pid"].as_u64().context("pid")? as i32;
            // SAFETY: a process of this cluster, whose parent has not ended.
            ensure!(unsafe { libc::kill(pid, libc::SIGKILL) } == 0, "kill");
            cluster.gone(pid)?;
        }
        for place in 0..REPLICAS {
            cluster.start_replica(place, &[])?;
        }
        cluster.healed()?;
        let groups = cluster.groups_at(0);
        cluster.group = id_of(groups.first().context("no group")?).to_owned();
        Ok(cluster)
    }

    fn shown(&mut self, ready: &Path) -> Result<Vec<Value>> {
        let began = Instant::now();
        loop {
            let text = fs::read(ready).unwrap_or_default();
            if let Ok(Value::Array(shown)) = serde_json::from_slice(&text) {
                return Ok(shown);
            }
            if let Some(status) = self.parent.try_wait()? {
                bail!("cluster-local ended at start: {status}\n{}", self.log_text());
            }
            ensure!(began.elapsed() < START_LIMIT, "not ready\n{}", self.log_text());
            std::thread::sleep(POLL);
        }
    }

    fn log_text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn gone(&self, pid: i32) -> Result<()> {
        let began = Instant::now();
        // SAFETY: signal 0 asks only whether it is there.
        while unsafe { libc::kill(pid, 0) } == 0 {
            ensure!(began.elapsed() < START_LIMIT, "process {pid} does not end");
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Starts a replica, with what it has, and this added to its environment.
    pub fn start_replica(&mut self, place: usize, environment: &[(String, String)]) -> Result<()> {
        let replica = &mut self.replicas[place];
        let output = fs::OpenOptions::new().append(true).open(&self.log)?;
        let mut command = Command::new(&replica.command[0]);
        command
            .args(&replica.command[1..])
            .args(["--advertise", &replica.advertised.to_string()])
            .envs(
                self.environment
                    .iter()
                    .chain(environment)
                    .map(|(name, value)| (name, value)),
            )
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        end_with_us(&mut command, libc::SIGKILL);
        let child = command.spawn().context("a replica")?;
        self.network.runs(place, child.id());
        replica.child = Some(child);
        Ok(())
    }

    /// Kill -9.
    pub fn kill(&mut self, place: usize) -> Result<()> {
        if let Some(mut child) = self.replicas[place].child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self, place: usize) -> Result<bool> {
        match &mut self.replicas[place].child {
            Some(child) => Ok(child.try_wait()?.is_some()),
            None => Ok(true),
        }
    }

    /// SIGSTOP, SIGCONT.
    pub fn signal(&self, place: usize, signal: i32) -> Result<()> {
        let child = self.replicas[place].child.as_ref().context("it does not run")?;
        // SAFETY: the child has not been waited for, so its id is still its own.
        ensure!(unsafe { libc::kill(child.id() as i32, signal) } == 0, "signal {signal}");
        Ok(())
    }

    /// Cuts a replica off from both others.
    pub fn isolate(&self, place: usize, inwards: bool, outwards: bool) {
        for other in (0..REPLICAS).filter(|other| *other != place) {
            if inwards {
                self.network.cut(other, place);
            }
            if outwards {
                self.network.cut(place, other);
            }
        }
    }

    /// Where a replica has its data.
    pub fn data(&self, place: usize) -> PathBuf {
        self.folder.join(format!("data/replica-{}", place + 1))
    }

    /// Where the leader of the first group is, as far as the replicas say.
    pub fn leader(&self) -> Option<usize> {
        let groups = (0..REPLICAS).flat_map(|place| self.groups_at(place).into_iter().map(move |group| (place, group)));
        let leads = groups.filter(|(_, group)| group["leader"] == true && id_of(group) == self.group);
        leads
            .max_by_key(|(_, group)| group["term"].as_u64())
            .map(|(place, _)| place)
    }

    /// The same, once there is one.
    pub fn any_leader(&self) -> Result<usize> {
        self.until("nobody leads", |cluster| cluster.leader())
    }

    /// Waits until every group has a leader, and all have applied what that had applied then: clients go on meanwhile.
    pub fn healed(&self) -> Result<()> {
        let mut goals = BTreeMap::new();
        self.until("it does not heal", |cluster| {
            cluster.is_healed(&mut goals).then_some(())
        })
    }

    fn is_healed(&self, goals: &mut BTreeMap<String, u64>) -> bool {
        let replicas: Vec<Value> = (0..REPLICAS).flat_map(|place| self.groups_at(place)).collect();
        let groups: BTreeSet<&str> = replicas.iter().map(id_of).collect();
        let healed = |id: &&str| {
            let replicas: Vec<&Value> = replicas.iter().filter(|group| id_of(group) == *id).collect();
            let leaders = replicas.iter().filter(|group| group["leader"] == true);
            let Some(leader) = leaders.max_by_key(|group| group["term"].as_u64()) else {
                return false;
            };
            let applied = |group: &Value| group["applied"].as_u64().unwrap_or(0);
            let goal = *goals.entry((*id).to_owned()).or_insert_with(|| applied(leader));
            replicas.len() == REPLICAS && replicas.iter().all(|group| applied(group) >= goal)
        };
        !groups.is_empty() && groups.iter().all(healed)
    }

    fn until<T>(&self, otherwise: &str, mut look: impl FnMut(&Self) -> Option<T>) -> Result<T> {
        let began = Instant::now();
        loop {
            if let Some(seen) = look(self) {
                return Ok(seen);
            }
            ensure!(began.elapsed() < HEAL_LIMIT, "{otherwise}: {}", self.shown_groups());
            std::thread::sleep(POLL);
        }
    }

    /// The order that makes two groups of one, or one of two, to be carried out once.
    pub fn borders_order(&self, id: u128) -> Result<Vec<String>> {
        let groups: BTreeSet<String> = (0..REPLICAS)
            .flat_map(|place| self.groups_at(place))
            .map(|group| id_of(&group).to_owned())
            .collect();
        ensure!(groups.contains(&self.group), "the first group is gone: {groups:?}");
        let order = if groups.len() == 1 { "split" } else { "merge" };
        println!("  {order}");
        // The shape of a UUID.
        let id = format!("{id:032x}");
        let id = [&id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]].join("-");
        Ok([order, &self.group, "--id", &id].map(str::to_owned).into())
    }

    /// Begins to carry out an order, whether or not it comes to its end.
    pub fn begin(&self, order: &[String]) -> Result<Child> {
        let nodes: Vec<String> = self.replicas.iter().map(|replica| replica.admin.to_string()).collect();
        let mut command = Command::new(binary());
        command
            .args(["admin", "--nodes", &nodes.join(",")])
            .args(order)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command.spawn().context("partita admin")
    }

    /// Carries an order out: whoever it is for may be away for a while.
    pub fn carry_out(&self, order: &[String]) -> Result<()> {
        let began = Instant::now();
        loop {
            let done = self.begin(order)?.wait_with_output()?;
            if done.status.success() {
                return Ok(());
            }
            let said = String::from_utf8_lossy(&done.stderr).into_owned();
            ensure!(began.elapsed() < HEAL_LIMIT, "{order:?}: {said}{}", self.shown_groups());
            std::thread::sleep(POLL);
        }
    }

    /// The store there is a new one: its replicas come in the places of those that were on the old one.
    pub fn replace(&self, place: usize) -> Result<()> {
        let admin = self.replicas[place].admin;
        let store = self.until("it does not start", |_| {
            ask(admin).ok()?["uuid"].as_str().map(str::to_owned)
        })?;
        let stores: Vec<String> = (0..REPLICAS)
            .filter_map(|place| Some(ask(self.replicas[place].admin).ok()?["uuid"].as_str()?.to_owned()))
            .collect();
        let others = (0..REPLICAS).filter(|other| *other != place);
        let mut lost = BTreeMap::new();
        for group in others.flat_map(|other| self.groups_at(other)) {
            let members = group["replication"]["members"].as_array().cloned().unwrap_or_default();
            let gone = members
                .iter()
                .find(|member| !stores.iter().any(|store| member["store"] == store.as_str()));
            if let Some(gone) = gone {
                lost.insert(id_of(&group).to_owned(), gone["replica"].to_string());
            }
        }
        ensure!(!lost.is_empty(), "nobody misses the store: {}", self.shown_groups());
        for (group, replica) in lost {
            let order = ["replace", &group, "--replica", &replica, "--store", &store];
            self.carry_out(&order.map(str::to_owned))?;
        }
        Ok(())
    }

    fn shown_groups(&self) -> String {
        let groups: Vec<_> = (0..REPLICAS).map(|place| self.groups_at(place)).collect();
        format!("{groups:?}\n{}", self.log_text())
    }

    /// The groups of a replica, as far as it answers.
    fn groups_at(&self, place: usize) -> Vec<Value> {
        let state = ask(self.replicas[place].admin).unwrap_or_default();
        state["groups"].as_array().cloned().unwrap_or_default()
    }
}

fn id_of(group: &Value) -> &str {
    group["descriptor"]["group"].as_str().unwrap_or("")
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.network.end();
        for place in 0..self.replicas.len() {
            let _ = self.kill(place);
        }
        // SAFETY: the child has not been waited for, so its id is still its own.
        unsafe { libc::kill(self.parent.id() as i32, libc::SIGTERM) };
        let _ = self.parent.wait();
    }
}

/// What a replica says of its store.
fn ask(admin: SocketAddr) -> Result<Value> {
    let mut stream = TcpStream::connect_timeout(&admin, ASK_MAX)?;
    stream.set_read_timeout(Some(ASK_MAX))?;
    write!(
        stream,
        "GET /store HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let body = text.split_once("\r\n\r\n").context("no body")?.1;
    Ok(serde_json::from_str(body)?)
}

/// A test that is killed takes its processes with it.
fn end_with_us(command: &mut Command, signal: i32) {
    // SAFETY: prctl may be called between fork and exec.
    unsafe {
        command.pre_exec(move || {
            libc::prctl(libc::PR_SET_PDEATHSIG, signal);
            Ok(())
        });
    }
}
