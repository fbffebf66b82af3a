//! `partita cluster-local`: it notes partitions that were split, so that its next start knows them.

use std::path::Path;
use std::process::{Child, Command};

use serde_json::{Value, json};

use super::router::Endpoint;
use super::shared::until;

/// A cluster on this machine. It ends with this value.
struct Local {
    child: Child,
    processes: Vec<Value>,
}

impl Local {
    fn start(folder: &Path) -> Self {
        let ready = folder.join("ready.json");
        let _ = std::fs::remove_file(&ready);
        let mut command = Command::new(env!("CARGO_BIN_EXE_partita"));
        command.args([
            "cluster-local",
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
        ]);
        command
            .args(["--replica-ports", "0", "--manifests"])
            .arg(folder.join("manifests"));
        command
            .arg("--data")
            .arg(folder.join("data"))
            .arg("--ready-file")
            .arg(&ready);
        let mut child = command.spawn().unwrap();
        let announced = until("the cluster to be ready", || {
            assert!(child.try_wait().unwrap().is_none(), "it ended while it started");
            serde_json::from_slice(&std::fs::read(&ready).ok()?).ok()
        });
        let Value::Array(processes) = announced else {
            panic!("{announced}")
        };
        Self { child, processes }
    }

    fn router(&self) -> Endpoint {
        let router = self.processes.iter().find(|one| one["role"] == "router").unwrap();
        Endpoint::at(router["listen"].as_str().unwrap())
    }

    fn nodes(&self) -> String {
        let replicas = self.processes.iter().filter(|one| one["role"] == "replica");
        let admin: Vec<&str> = replicas.map(|one| one["admin"].as_str().unwrap()).collect();
        admin.join(",")
    }

    fn stop(mut self) {
        let told = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(told.success() && self.child.wait().unwrap().success());
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // SIGTERM: it stops its own processes.
            let _ = Command::new("kill").arg(self.child.id().to_string()).status();
            let _ = self.child.wait();
        }
    }
}

const MANIFEST: &str = "
apiVersion: partita.dev/v1alpha1
kind: Table
metadata:
  name: things
spec:
  tableName: things
  attributeDefinitions: [{attributeName: pk, attributeType: S}]
  keySchema: [{attributeName: pk, keyType: HASH}]
  billingMode: PAY_PER_REQUEST
";

/// Groups of the only table, as the directory's file lists them.
fn listed(folder: &Path) -> usize {
    let text = std::fs::read(folder.join("data/directory.json")).unwrap();
    let listing: Value = serde_json::from_slice(&text).unwrap();
    listing["tables"][0]["record"]["partitions"].as_array().unwrap().len()
}

#[test]
fn a_split_is_noted_for_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let manifests = folder.path().join("manifests");
    std::fs::create_dir(&manifests).unwrap();
    std::fs::write(manifests.join("things.yaml"), MANIFEST).unwrap();
    let local = Local::start(folder.path());
    let router = local.router();
    for number in 0..40 {
        let item = json!({"pk": {"S": format!("thing-{number}")}});
        let (status, answer) = router.call("PutItem", &json!({"TableName": "things", "Item": item}));
        assert_eq!(status, 200, "{answer}");
    }
    let admin = |nodes: &str, arguments: &[&str]| -> Value {
        let mut command = Command::new(env!("CARGO_BIN_EXE_partita"));
        command
            .args(["admin", "--nodes", nodes, "--output", "json"])
            .args(arguments);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let groups = admin(&local.nodes(), &["groups"]);
    let group = groups[0]["descriptor"]["group"].as_str().unwrap();
    assert_eq!(listed(folder.path()), 1);
    admin(&local.nodes(), &["split", group]);
    let count = |router: &Endpoint| {
        let (status, answer) = router.call("Scan", &json!({"TableName": "things", "ConsistentRead": true}));
        (status == 200).then(|| answer["Count"].as_u64().unwrap())
    };
    assert_eq!(count(&router), Some(40));
    until("the directory to list both halves", || {
        (listed(folder.path()) == 2).then_some(())
    });
    local.stop();

    // They are at other ports now.
    let local = Local::start(folder.path());
    assert_eq!(until("the router to answer", || count(&local.router())), 40);
    assert_eq!(admin(&local.nodes(), &["verify", "things"])["verdict"], "equal");
    assert_eq!(listed(folder.path()), 2);
    local.stop();
}
