//! An operator between an API server and storage nodes, all in memory. It makes one pass at a time, with caches that are up to
//! date, and can be killed at any write.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use kube::runtime::controller::Action;
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::Event;
use parking_lot::Mutex;
use partita_crds::Table;
use partita_planning::repartition::Limits;
use prometheus::Registry;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::cluster::Cluster;
use super::nodes::FakeNodes;
use super::{NAMESPACE, NOW_MS};
use crate::certificates::Certificates;
use crate::metrics::Metrics;
use crate::rolling::Turns;
use crate::settings::{Settings, StoragePods};
use crate::table::lost::Absences;
use crate::table::patience::Patience;
use crate::table::plan::repartition::Growth;
use crate::table::scale::Uses;
use crate::table::{self, Context, Error, Known};

/// Passes that settle anything that can be settled.
const PASSES_MAX: usize = 200;
/// Between two looks at a table that is waited for.
const LOOK_MS: u64 = 2000;
/// Turns of the runtime within which a pass ends, if it ends.
const TURNS_MAX: usize = 2000;
/// Waits that are part of a pass.
const MOMENT_MAX: Duration = Duration::from_secs(60);

/// Everything.
pub struct World {
    /// The API server.
    pub cluster: Cluster,
    /// The storage nodes.
    pub nodes: FakeNodes,
    clock_ms: Arc<AtomicU64>,
    measured: HashMap<String, u64>,
    doubts: HashMap<String, u64>,
    uses: HashMap<String, Uses>,
    growths: HashMap<String, Growth>,
    patience: Arc<Patience>,
    turns: Arc<Turns>,
    absences: Arc<Absences>,
    recorder: Recorder,
    /// The image of the storage nodes.
    pub image: String,
    /// Whether they speak mutual TLS.
    pub peer_tls: bool,
    /// The certificates, where there are any.
    pub certificates: Option<Arc<Certificates>>,
    /// What a partition can, by the operator's settings.
    pub limits: Limits,
    /// What the pods of storage nodes have, by the operator's settings.
    pub storage_pods: StoragePods,
}

/// How a pass ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Pass {
    /// By itself.
    Done,
    /// The operator was killed.
    Killed,
    /// There is no such Table.
    NoTable,
}

/// How storage nodes are run in tests.
pub fn settings() -> Settings {
    Settings {
        image: "partita:test".into(),
        image_pull_policy: "IfNotPresent".into(),
        image_pull_secrets: vec!["registry".into()],
        router_directory: "https://routers:8002".into(),
        peer_tls: true,
        rolling_groups_max: 1,
        progress_deadline: Duration::from_secs(600),
        measure_every: Duration::from_secs(300),
        storage_pods: StoragePods::default(),
        planning: partita_planning::Settings::default(),
        admission: "enforce".into(),
        burst_seconds: 300,
        log_format: "json".into(),
        log: "info".into(),
    }
}

fn patience() -> Arc<Patience> {
    Arc::new(Patience::of(settings().progress_deadline))
}

fn turns() -> Arc<Turns> {
    Arc::new(Turns::new(settings().rolling_groups_max))
}

fn recorder(cluster: &Cluster) -> Recorder {
    let reporter = Reporter {
        controller: "partita-operator".into(),
        instance: Some("test".into()),
    };
    Recorder::new(cluster.client(), reporter)
}

fn store<K>(cluster: &Cluster, plural: &str) -> Store<K>
where
    K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + 'static,
{
    let (store, mut writer) = reflector::store();
    writer.apply_watcher_event(&Event::Init);
    for object in cluster.all(plural) {
        writer.apply_watcher_event(&Event::InitApply(serde_json::from_value(object).unwrap()));
    }
    writer.apply_watcher_event(&Event::InitDone);
    store
}

impl World {
    /// With one Table.
    pub fn with(table: Value) -> Self {
        let cluster = Cluster::default();
        cluster.put("tables", table);
        Self {
            nodes: FakeNodes::of(cluster.clone()),
            recorder: recorder(&cluster),
            cluster,
            clock_ms: Arc::new(AtomicU64::new(NOW_MS)),
            measured: HashMap::new(),
            doubts: HashMap::new(),
            uses: HashMap::new(),
            growths: HashMap::new(),
            patience: patience(),
            turns: turns(),
            absences: Arc::default(),
            image: settings().image,
            peer_tls: settings().peer_tls,
            certificates: None,
            limits: settings().planning.limits,
            storage_pods: settings().storage_pods,
        }
    }

    /// Time passes.
    pub fn later(&self, ms: u64) {
        self.clock_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// The operator is started again: it remembers nothing.
    pub fn restart(&mut self) {
        self.measured.clear();
        self.doubts.clear();
        self.uses.clear();
        self.growths.clear();
        (self.patience, self.turns, self.absences) = (patience(), turns(), Arc::default());
        self.recorder = recorder(&self.cluster);
    }

    fn context(&self) -> Context {
        let clock = Arc::clone(&self.clock_ms);
        let client = self.cluster.client();
        Context {
            nodes: Arc::new(self.nodes.clone()),
            certificates: self.certificates.clone(),
            known: Known {
                tables: store(&self.cluster, "tables"),
                partitions: store(&self.cluster, "partitions"),
                stateful_sets: store(&self.cluster, "statefulsets"),
                services: store(&self.cluster, "services"),
                disruption_budgets: store(&self.cluster, "poddisruptionbudgets"),
            },
            patience: Arc::clone(&self.patience),
            turns: Arc::clone(&self.turns),
            absences: Arc::clone(&self.absences),
            settings: Settings {
                image: self.image.clone(),
                peer_tls: self.peer_tls,
                storage_pods: self.storage_pods.clone(),
                planning: partita_planning::Settings {
                    limits: self.limits.clone(),
                    ..settings().planning
                },
                ..settings()
            },
            metrics: Metrics::register(&Registry::new()).unwrap(),
            recorder: self.recorder.clone(),
            client,
            now_ms: Box::new(move || clock.load(Ordering::Relaxed)),
            measured: Mutex::new(self.measured.clone()),
            doubts: Mutex::new(self.doubts.clone()),
            uses: Mutex::new(self.uses.clone()),
            growths: Mutex::new(self.growths.clone()),
        }
    }

    /// One pass over a Table.
    pub async fn pass_of(&mut self, name: &str) -> Result<Pass, Error> {
        let Some(table) = self.cluster.get("tables", NAMESPACE, name) else {
            return Ok(Pass::NoTable);
        };
        match self.reconcile(table).await {
            Some(passed) => passed.map(|_| Pass::Done),
            None => Ok(Pass::Killed),
        }
    }

    /// One pass over a Table as somebody knows it; `None` when the operator was killed.
    pub async fn reconcile(&mut self, table: Value) -> Option<Result<Action, Error>> {
        let table: Table = serde_json::from_value(table).unwrap();
        let context = Arc::new(self.context());
        let mut pass = std::pin::pin!(table::reconcile(Arc::new(table), Arc::clone(&context)));
        // Everything is in memory: after so many turns whoever is not finished waits for a moment to pass, or for ever.
        let mut ended = None;
        for _ in 0..TURNS_MAX {
            if let Poll::Ready(passed) = futures::poll!(pass.as_mut()) {
                ended = Some(passed);
                break;
            }
            tokio::task::yield_now().await;
        }
        if ended.is_none() && self.cluster.is_spent() {
            self.restart();
            return None;
        }
        let passed = match ended {
            Some(passed) => passed,
            None => tokio::time::timeout(MOMENT_MAX, pass)
                .await
                .expect("nobody killed it, and it does not go on"),
        };
        self.remember(&context);
        Some(passed)
    }

    /// One pass over each of these Tables, with caches that are as old as the first one's.
    pub async fn pass_of_all(&mut self, names: &[String]) -> Result<(), Error> {
        let context = Arc::new(self.context());
        for name in names {
            let table = self.cluster.get("tables", NAMESPACE, name).unwrap();
            let table: Table = serde_json::from_value(table).unwrap();
            table::reconcile(Arc::new(table), Arc::clone(&context)).await?;
        }
        self.remember(&context);
        Ok(())
    }

    fn remember(&mut self, context: &Context) {
        self.measured = context.measured.lock().clone();
        self.doubts = context.doubts.lock().clone();
        self.uses = context.uses.lock().clone();
        self.growths = context.growths.lock().clone();
    }

    /// Passes over the Table `orders` until nothing changes any more.
    pub async fn settle(&mut self) {
        self.settle_of("orders").await;
    }

    /// Passes over a Table until nothing changes any more.
    pub async fn settle_of(&mut self, name: &str) {
        let mut quiet = 0;
        for _ in 0..PASSES_MAX {
            let before = self.cluster.version();
            self.nodes.take_calls();
            match self.pass_of(name).await.unwrap() {
                Pass::Killed => panic!("killed"),
                Pass::NoTable => return,
                Pass::Done => {}
            }
            let wrote = self.cluster.version() != before;
            let told = self.nodes.take_calls().iter().any(|call| !call.starts_with("ask"));
            let in_doubt = !self.doubts.is_empty();
            if in_doubt {
                self.later(LOOK_MS);
            }
            quiet = if wrote || told || in_doubt { 0 } else { quiet + 1 };
            if quiet == 2 {
                self.cluster.take_requests();
                return;
            }
        }
        panic!("it does not settle: {:#?}", self.table());
    }

    /// The Table `orders`.
    pub fn table(&self) -> Value {
        self.cluster.get("tables", NAMESPACE, "orders").unwrap_or_default()
    }

    /// What Flux and others make of the Table `orders`: as `checkGenericProperties` and `checkReadyCondition` of kstatus
    /// (kubernetes-sigs/cli-utils) do, the conditions in their order.
    pub fn kstatus(&self) -> &'static str {
        let table = self.table();
        let status = &table["status"];
        if status["observedGeneration"] != table["metadata"]["generation"] {
            return "InProgress";
        }
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        for condition in conditions.iter().filter(|condition| condition["status"] == "True") {
            match condition["type"].as_str() {
                Some("Reconciling") => return "InProgress",
                Some("Stalled") => return "Failed",
                _ => {}
            }
        }
        let ready = conditions.iter().find(|condition| condition["type"] == "Ready");
        match ready.is_some_and(|ready| ready["status"] == "True") {
            true => "Current",
            false => "InProgress",
        }
    }

    /// A condition of the Table `orders`: whether it holds, its reason, its message.
    pub fn condition(&self, kind: &str) -> (bool, String, String) {
        self.condition_of("orders", kind)
    }

    /// A condition of a Table.
    pub fn condition_of(&self, name: &str, kind: &str) -> (bool, String, String) {
        let table = self.cluster.get("tables", NAMESPACE, name).unwrap();
        let conditions = table["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions.iter().find(|condition| condition["type"] == kind);
        let text = |field: &str| found.map(|c| c[field].as_str().unwrap().to_owned()).unwrap_or_default();
        (text("status") == "True", text("reason"), text("message"))
    }
}

/// Makes a world and does something to it, once for each write at which the operator can be killed on the way to where it
/// settles; `done` looks at the end of each.
pub async fn killed_anywhere(begin: impl AsyncFn() -> World, done: impl Fn(&World), kills_min: usize) {
    let mut kills = 0;
    loop {
        let mut world = begin().await;
        world.cluster.set_budget(Some(kills));
        let mut killed = false;
        for _ in 0..PASSES_MAX {
            if world.pass_of("orders").await.unwrap() == Pass::Killed {
                killed = true;
                break;
            }
        }
        world.cluster.set_budget(None);
        world.settle().await;
        done(&world);
        if !killed {
            break;
        }
        kills += 1;
    }
    assert!(kills >= kills_min, "there were only {kills} writes to be killed at");
}
