//! What an operator has in memory: in a process of its own, with the watches and caches that it has on a cluster.

use std::collections::BTreeMap;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use kube::runtime::events::{Recorder, Reporter};
use kube::{Client, Config};
use parking_lot::Mutex;
use partita_model::admin::StoreState;
use prometheus::Registry;
use serde_json::json;

use crate::controller;
use crate::metrics::Metrics;
use crate::nodes::{Answer, Call, NodeError, Nodes};
use crate::rolling::Turns;
use crate::table::patience::Patience;
use crate::table::{Context, Known};
use crate::testing::cluster::Cluster;
use crate::testing::groups::FakeGroup;
use crate::testing::nodes::fresh_store;
use crate::testing::serve::Server;
use crate::testing::world::settings;
use crate::testing::{NAMESPACE, NOW_MS, table};

const TABLES: usize = 100;
/// The most that the process may ever have had in memory, in bytes.
const RESIDENT_BYTES_MAX: u64 = 60_000_000;
/// The process ends much sooner, or does not get on.
const ALL_READY_MAX: Duration = Duration::from_secs(300);
/// Where the process finds the API server.
const API_SERVER: &str = "PARTITA_TEST_API_SERVER";
/// What the process runs.
const PROCESS: &str = "table::tests::memory::the_operator";

/// A process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    /// A line of what Linux says of its memory, in bytes.
    fn memory(&self, line: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let found = status.lines().find_map(|entry| entry.strip_prefix(line)).unwrap();
        let kibibytes: u64 = found.trim_end_matches("kB").trim().parse().unwrap();
        kibibytes * 1024
    }
}

fn is_ready(cluster: &Cluster, name: &str) -> bool {
    let table = cluster.get("tables", NAMESPACE, name).unwrap();
    let conditions = table["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let holds = |kind: &str| {
        conditions
            .iter()
            .any(|one| one["type"] == kind && one["status"] == "True")
    };
    holds("Ready") && !holds("Reconciling")
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn an_operator_of_a_hundred_tables_has_little_in_memory() {
    let cluster = Cluster::default();
    let names: Vec<String> = (0..TABLES).map(|number| format!("many-{number}")).collect();
    for name in &names {
        let mut one = table(1000, 100);
        one["metadata"]["name"] = json!(name);
        one["spec"]["tableName"] = json!(name);
        cluster.put("tables", one);
    }
    let server = Server::start(cluster.clone()).await;
    let process = Command::new(std::env::current_exe().unwrap())
        .args([PROCESS, "--exact", "--ignored", "--nocapture"])
        .env(API_SERVER, &server.url)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn();
    let process = Process(process.unwrap());
    let mut changes = server.changes();
    let all_ready = changes.wait_for(|_| names.iter().all(|name| is_ready(&cluster, name)));
    tokio::time::timeout(ALL_READY_MAX, all_ready)
        .await
        .expect("all tables become ready")
        .unwrap();
    let (now, most) = (process.memory("VmRSS:"), process.memory("VmHWM:"));
    println!(
        "an operator of {TABLES} tables: {now} bytes in memory ({} of them its own), at most {most}",
        process.memory("RssAnon:")
    );
    assert!(most <= RESIDENT_BYTES_MAX, "{most} bytes");
}

/// Storage nodes that are always there, and do as they are told.
#[derive(Default)]
struct Obedient(Mutex<BTreeMap<String, StoreState>>);

impl Obedient {
    fn told(&self, host: &str, call: &Call) {
        let mut stores = self.0.lock();
        let store = stores.get_mut(host).unwrap();
        let Call::Bootstrap(bootstrap) = call else {
            panic!("a new table asks for no {call:?}")
        };
        let group = bootstrap.descriptor.group;
        if store.groups.iter().any(|known| known.descriptor.group == group) {
            return;
        }
        let mut group = FakeGroup::of(&bootstrap.voters);
        let replica = group.born(&store.uuid, &bootstrap.voters);
        group.elect(&[replica]);
        let mut state = FakeGroup::replica(&bootstrap.descriptor, replica);
        group.show(&mut state, false);
        store.groups.push(state);
    }
}

impl Nodes for Obedient {
    fn store<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<StoreState, NodeError>> {
        Box::pin(async move {
            let mut stores = self.0.lock();
            let fresh = || fresh_store(&host[..host.find('.').unwrap()]);
            Ok(stores.entry(host.to_owned()).or_insert_with(fresh).clone())
        })
    }

    fn call<'a>(&'a self, host: &'a str, call: &'a Call) -> BoxFuture<'a, Result<Answer, NodeError>> {
        Box::pin(async move {
            self.told(host, call);
            Ok(Answer::Done)
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the process that another test starts and measures"]
async fn the_operator() {
    let Ok(url) = std::env::var(API_SERVER) else { return };
    // Where somebody else was faster, there is one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = Client::try_from(Config::new(url.parse().unwrap())).unwrap();
    let reporter = Reporter {
        controller: "partita-operator".into(),
        instance: Some("test".into()),
    };
    let own = client.clone();
    let context = move |known: Known| Context {
        recorder: Recorder::new(own.clone(), reporter),
        client: own,
        nodes: Arc::new(Obedient::default()),
        certificates: None,
        known,
        turns: Arc::new(Turns::new(settings().rolling_groups_max)),
        absences: Arc::default(),
        patience: Arc::new(Patience::of(settings().progress_deadline)),
        settings: settings(),
        metrics: Metrics::register(&Registry::new()).unwrap(),
        now_ms: Box::new(|| NOW_MS),
        measured: Mutex::default(),
        doubts: Mutex::default(),
        uses: Mutex::default(),
        growths: Mutex::default(),
    };
    // The test holds the other end, whatever becomes of it.
    let (tell, told) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = tell.send(());
    });
    let stop = async {
        let _ = told.await;
    };
    controller::run(client, context, stop).await;
}
