//! Three replicas and a router under faults of processes, links and disks, while the partition is split and merged and clients record
//! what they see: a linearizability checker that is not ours judges it, and has to reject the same history with one lie in it.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use crate::Order;
use crate::cluster::{Cluster, REPLICAS};
use crate::disk;
use crate::history::{self, Clients, TABLE};
use crate::scenarios::Outcome;

/// All kinds of faults once for so many rounds of the kills.
const ROUNDS_PER_PASS: usize = 100;
/// Longer than a lease (425 ms) and an election.
const LONG_MS: std::ops::Range<u64> = 1200..2500;
/// Shorter than a lease: the leader wakes up and still is the one, or is just no more.
const SHORT_MS: std::ops::Range<u64> = 5..450;
/// How long a split or a merge is under way when its leader dies: starting the command takes some tens of milliseconds.
const BORDERS_MS: std::ops::Range<u64> = 0..120;
/// How often it is stopped for a short time.
const SHORT_STOPS: usize = 8;
/// Clients work undisturbed for so long before and after a fault.
const CALM: Duration = Duration::from_millis(400);
/// What a sync of a slow disk takes longer.
const SLOW_SYNC_MICROS: u64 = 40_000;
/// The disk of the first replica, and what a process keeps free of its own.
const DISK_MB: usize = 512;
const RESERVE_MB: usize = 128;
/// Left of the disk when it is low, and when it is full.
const LOW_MB: usize = 64;

/// What goes wrong in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    KillLeader,
    KillAll,
    StopLeader,
    StopLeaderBriefly,
    IsolateLeader,
    LeaderHearsNobody,
    NobodyHearsLeader,
    IsolateFollower,
    SlowDisk,
    FullDisk,
    LostStore,
    Borders,
    AllAtOnce,
}

/// What is split once has to be merged again.
const ALL: [Fault; 14] = [
    Fault::KillLeader,
    Fault::KillAll,
    Fault::StopLeader,
    Fault::StopLeaderBriefly,
    Fault::IsolateLeader,
    Fault::LeaderHearsNobody,
    Fault::NobodyHearsLeader,
    Fault::IsolateFollower,
    Fault::SlowDisk,
    Fault::FullDisk,
    Fault::LostStore,
    Fault::Borders,
    Fault::Borders,
    Fault::AllAtOnce,
];

pub fn run(order: &Order) -> Outcome {
    if std::env::var_os("TORTURE_JUDGE").is_none() {
        return Ok(Some(
            "the checker of histories is built with Go, which is not here".to_owned(),
        ));
    }
    let folder = disk::fast_folder()?;
    let small = SmallDisk::mount(&folder.path().join("data/replica-1"))?;
    let mut rng = SmallRng::seed_from_u64(order.seed);
    let reserve = ("PARTITA_FREE_SPACE_RESERVE_MIB".to_owned(), RESERVE_MB.to_string());
    let cluster = Cluster::start(folder.path(), &manifest(), vec![reserve])?;
    let clients = Clients::start(cluster.router, order.seed);
    let mut scene = Scene { cluster, small };
    for _ in 0..(order.rounds / ROUNDS_PER_PASS).max(1) {
        let mut faults = ALL;
        faults.shuffle(&mut rng);
        for fault in faults {
            std::thread::sleep(CALM);
            scene.happens(fault, &mut rng).with_context(|| format!("{fault:?}"))?;
            scene.cluster.healed().with_context(|| format!("after {fault:?}"))?;
            std::thread::sleep(CALM);
            clients.next_round();
        }
    }
    let history = clients.end()?;
    let passed = scene.cluster.network.passed();
    drop(scene);
    let answered = history.iter().filter(|one| one.outcome != "unknown").count();
    println!(
        "  {} operations, {answered} answered; {passed} bytes between replicas",
        history.len()
    );
    ensure!(answered > 0 && passed > 0, "nothing happened");
    let path = folder.path().join("history");
    let (fits, said) = history::judge(&history, &path)?;
    println!("  the checker: {said}");
    if !fits {
        let kept = std::env::temp_dir().join(format!("partita-history-{}", order.seed));
        fs::copy(&path, &kept)?;
        anyhow::bail!("the history is not linearizable: it is kept in {}", kept.display());
    }
    let lie = history::with_a_lie(&history).context("no read to lie about")?;
    let (fits, said) = history::judge(&lie, &path)?;
    println!("  and of a lie: {said}");
    ensure!(!fits, "the checker believes a lie, so what it says proves nothing");
    Ok(None)
}

/// The cluster, and the first replica's disk if it has one of its own.
struct Scene {
    cluster: Cluster,
    small: Option<SmallDisk>,
}

impl Scene {
    fn happens(&mut self, fault: Fault, rng: &mut SmallRng) -> Result<()> {
        let leader = self.cluster.any_leader()?;
        let follower = (leader + rng.random_range(1..REPLICAS)) % REPLICAS;
        let long = Duration::from_millis(rng.random_range(LONG_MS));
        match fault {
            Fault::KillLeader => {
                self.cluster.kill(leader)?;
                std::thread::sleep(long);
                self.cluster.start_replica(leader, &[])
            }
            Fault::KillAll => {
                (0..REPLICAS).try_for_each(|place| self.cluster.kill(place))?;
                (0..REPLICAS).try_for_each(|place| self.cluster.start_replica(place, &[]))
            }
            Fault::StopLeader => self.stop(leader, long),
            Fault::StopLeaderBriefly => (0..SHORT_STOPS).try_for_each(|_| {
                let leader = self.cluster.any_leader()?;
                self.stop(leader, Duration::from_millis(rng.random_range(SHORT_MS)))?;
                std::thread::sleep(Duration::from_millis(rng.random_range(0..20)));
                Ok(())
            }),
            Fault::IsolateLeader => self.cut(leader, (true, true), long),
            Fault::LeaderHearsNobody => self.cut(leader, (true, false), long),
            Fault::NobodyHearsLeader => self.cut(leader, (false, true), long),
            Fault::IsolateFollower => self.cut(follower, (true, true), long),
            Fault::SlowDisk => self.slow(leader, long),
            Fault::FullDisk => self.fill(long),
            Fault::LostStore => self.lose(follower),
            Fault::Borders => {
                let order = self.cluster.borders_order(rng.random())?;
                let mut begun = self.cluster.begin(&order)?;
                std::thread::sleep(Duration::from_millis(rng.random_range(BORDERS_MS)));
                self.cluster.kill(leader)?;
                std::thread::sleep(CALM);
                self.cluster.start_replica(leader, &[])?;
                begun.wait()?;
                self.cluster.carry_out(&order)
            }
            Fault::AllAtOnce => {
                let order = self.cluster.borders_order(rng.random())?;
                self.slow(follower, CALM)?;
                let mut begun = self.cluster.begin(&order)?;
                self.cluster.isolate(follower, false, true);
                let leader = self.cluster.any_leader()?;
                self.stop(leader, long)?;
                self.cluster.network.join();
                let leader = self.cluster.any_leader()?;
                self.cluster.kill(leader)?;
                std::thread::sleep(CALM);
                self.cluster.start_replica(leader, &[])?;
                begun.wait()?;
                self.cluster.carry_out(&order)
            }
        }
    }

    fn stop(&self, place: usize, time: Duration) -> Result<()> {
        self.cluster.signal(place, libc::SIGSTOP)?;
        std::thread::sleep(time);
        self.cluster.signal(place, libc::SIGCONT)
    }

    fn cut(&self, place: usize, (inwards, outwards): (bool, bool), time: Duration) -> Result<()> {
        self.cluster.isolate(place, inwards, outwards);
        std::thread::sleep(time);
        self.cluster.network.join();
        Ok(())
    }

    /// It comes back on a disk whose syncs take long, for good: the next kill brings a fast one.
    fn slow(&mut self, place: usize, time: Duration) -> Result<()> {
        let environment = [
            ("LD_PRELOAD".to_owned(), disk::library()?.display().to_string()),
            ("INTERPOSER_SYNC_MICROS".to_owned(), SLOW_SYNC_MICROS.to_string()),
        ];
        self.cluster.kill(place)?;
        self.cluster.start_replica(place, &environment)?;
        std::thread::sleep(time);
        Ok(())
    }

    /// It comes back without what it had, as a stranger.
    fn lose(&mut self, place: usize) -> Result<()> {
        self.cluster.kill(place)?;
        // The folder may be where a disk is mounted.
        for entry in fs::read_dir(self.cluster.data(place))? {
            let path = entry?.path();
            match path.is_dir() {
                true => fs::remove_dir_all(path)?,
                false => fs::remove_file(path)?,
            }
        }
        self.cluster.start_replica(place, &[])?;
        self.cluster.replace(place)
    }

    /// First there is less left than the reserve, then nothing; a process that this ends comes back when there is room.
    fn fill(&mut self, time: Duration) -> Result<()> {
        let Some(small) = &self.small else {
            println!("  no full disk: mounting a small one takes root");
            return Ok(());
        };
        for left in [LOW_MB, 0] {
            small.fill(left)?;
            std::thread::sleep(time);
        }
        small.empty()?;
        if self.cluster.has_ended(0)? {
            println!("  the full disk has ended its process");
            self.cluster.kill(0)?;
            self.cluster.start_replica(0, &[])?;
        }
        Ok(())
    }
}

fn manifest() -> String {
    format!(
        "apiVersion: partita.dev/v1alpha1\nkind: Table\nmetadata: {{name: {TABLE}}}\nspec:\n  tableName: {TABLE}\n  \
         attributeDefinitions: [{{attributeName: pk, attributeType: S}}]\n  keySchema: [{{attributeName: pk, keyType: HASH}}]\n  \
         billingMode: PAY_PER_REQUEST\n"
    )
}

/// A file system of its own, in memory; it takes root to mount one.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(place: &Path) -> Result<Option<Self>> {
        fs::create_dir_all(place)?;
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={DISK_MB}m"), "partita-torture"])
            .arg(place)
            .stderr(Stdio::null())
            .status()?;
        Ok(status.success().then(|| Self(place.to_owned())))
    }

    fn filler(&self) -> std::path::PathBuf {
        self.0.join("filler")
    }

    /// Leaves so much of it.
    fn fill(&self, left_mb: usize) -> Result<()> {
        let disk = free(&self.0)?;
        let now = fs::metadata(self.filler()).map_or(0, |filler| filler.len());
        let size = (now + disk).saturating_sub((left_mb as u64) << 20);
        let file = fs::OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .open(self.filler())?;
        // SAFETY: a file of our own.
        let status = unsafe { libc::posix_fallocate(std::os::fd::AsRawFd::as_raw_fd(&file), 0, size as i64) };
        // What is written beside it may be quicker: then it is as full as it gets.
        ensure!(status == 0 || status == libc::ENOSPC, "fallocate: {status}");
        Ok(())
    }

    fn empty(&self) -> Result<()> {
        Ok(fs::remove_file(self.filler())?)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Bytes that are free.
fn free(path: &Path) -> Result<u64> {
    let output = Command::new("df").args(["--output=avail", "-B1"]).arg(path).output()?;
    let text = String::from_utf8(output.stdout)?;
    Ok(text.lines().nth(1).context("df")?.trim().parse()?)
}
