//! Mutual TLS from end to end: two routers, of which one tells the other where a replica is.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::certificates::{Certificates, expiry};
use super::node::path;
use super::router::{Endpoint, NAMESPACE, get};
use super::shared::{Process, exchange, until};
use super::table::{record, spec};

const REPLICA: &str = "replica.shop.partita.internal";
const ROUTER: &str = "router.partita.internal";
const OPERATOR: &str = "operator.partita.internal";

struct World {
    certificates: Certificates,
    root: tempfile::TempDir,
}

impl World {
    fn command(&self, role: &str, tls: &Path, directory: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_partita"));
        command.args([role, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
        command.args(["--admin-tls-listen", "127.0.0.1:0", "--directory", directory]);
        command.arg("--peer-tls").arg(tls);
        match role {
            "replica" => command.arg("--data").arg(self.root.path().join("data")),
            _ => command.args(["--namespace", NAMESPACE]),
        };
        command
    }

    fn start(&self, role: &str, name: &str, directory: &str) -> Process {
        let tls = self.certificates.folder(name, 1);
        let ready = self.root.path().join("ready.json");
        Process::start(self.command(role, &tls, directory), &ready)
    }

    fn file(&self) -> PathBuf {
        self.root.path().join("directory.json")
    }

    fn publish(&self, listing: &Value) {
        let new = self.file().with_extension("new");
        std::fs::write(&new, listing.to_string()).unwrap();
        std::fs::rename(new, self.file()).unwrap();
    }

    /// A call over TLS with that certificate, or without any.
    fn call(
        &self,
        process: &Process,
        host: &str,
        name: Option<&str>,
        method: &str,
        target: &str,
        body: &str,
    ) -> Result<(u16, String), String> {
        let address = process.admin_tls.as_ref().unwrap();
        let request = format!(
            "{method} {target} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.certificates.exchange(address, host, name, &request)
    }
}

fn plain(process: &Process, method: &str, target: &str) -> (u16, String) {
    let address = &process.admin;
    let request =
        format!("{method} {target} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    exchange(address, &request)
}

#[test]
fn only_peers_with_a_certificate_get_anywhere() {
    let world = World {
        certificates: Certificates::new(),
        root: tempfile::tempdir().unwrap(),
    };
    world.publish(&json!({"revision": 0, "tables": []}));
    let file = format!("file:{}", world.file().display());
    let replica = world.start("replica", REPLICA, &file);
    let first = world.start("router", ROUTER, &file);
    let address = format!("https://{}", first.admin_tls.as_ref().unwrap());
    let second = world.start("router", ROUTER, &address);

    // The operator makes the table's only group; nobody else may.
    let record = record(spec(1, false, false));
    let partition = record.table_descriptors().remove(0);
    let (target, body) = (path(partition.group), serde_json::to_string(&partition).unwrap());
    let make = |name| world.call(&replica, REPLICA, name, "PUT", &target, &body);
    for stranger in [None, Some(ROUTER), Some("operator.bank.partita.internal")] {
        let refused = make(stranger);
        assert!(refused.is_err(), "{stranger:?}: {refused:?}");
    }
    let (status, refused) = plain(&replica, "PUT", &target);
    assert_eq!(status, 403, "{refused}");
    assert!(refused.contains("needs a certificate"), "{refused}");
    let store = |name| {
        world
            .call(&replica, REPLICA, Some(name), "GET", "/store", "")
            .unwrap()
            .1
    };
    assert!(store(OPERATOR).contains("\"groups\":[]"));
    let (status, made) = make(Some(OPERATOR)).unwrap();
    assert_eq!(status, 200, "{made}");
    assert!(store("admin.partita.internal").contains("\"leader\":true"));

    // What needs no certificate.
    for process in [&replica, &first, &second] {
        assert_eq!(plain(process, "GET", "/healthz").0, 200);
        assert_eq!(plain(process, "GET", "/readyz").0, 200);
        assert!(!expiry(&plain(process, "GET", "/metrics").1, "peers").is_empty());
        assert_eq!(plain(process, "GET", "/directory").0, 403);
    }
    let (status, said) = exchange(replica.admin_tls.as_ref().unwrap(), "GET /store HTTP/1.1\r\n\r\n");
    assert_eq!(
        (status, said.as_str()),
        (400, "only mutual TLS is spoken here: use https://\n")
    );

    // The second router knows from the first one, and both reach the replica.
    let hosts = json!({format!("{:016x}", partition.group.0): replica.listen});
    let account = partita_crds::names::account(NAMESPACE);
    let table = json!({"namespace": NAMESPACE, "account": account, "record": record, "hosts": hosts});
    world.publish(&json!({"revision": 1, "tables": [table]}));
    let write = |router: &Process, colour: &str| {
        let item = json!({"pk": {"S": "a"}, "colour": {"S": colour}});
        Endpoint::at(&router.listen).call("PutItem", &json!({"TableName": "things", "Item": item}))
    };
    until("the second router to know the table", || {
        (write(&second, "red").0 == 200).then_some(())
    });
    let (status, answer) = Endpoint::at(&first.listen).call("GetItem", &get("a"));
    assert_eq!(
        (status, &answer["Item"]["colour"]["S"]),
        (200, &json!("red")),
        "{answer}"
    );

    // Everybody's certificate is replaced, while writes go on; none fails.
    for (process, name) in [(&replica, REPLICA), (&first, ROUTER)] {
        let valid = || expiry(&plain(process, "GET", "/metrics").1, "peers");
        let before = valid();
        world.certificates.folder(name, 2);
        until("the new certificate", || {
            assert_eq!(write(&second, "green").0, 200);
            (valid() != before).then_some(())
        });
        assert_eq!(write(&first, "blue").0, 200);
    }
    for process in [second, first, replica] {
        assert!(process.stop().success());
    }
}

#[test]
fn a_folder_that_cannot_be_used_is_refused_at_the_start() {
    let world = World {
        certificates: Certificates::new(),
        root: tempfile::tempdir().unwrap(),
    };
    let file = format!("file:{}", world.file().display());
    let router = world.certificates.folder(ROUTER, 1);
    for (tls, directory, reason) in [
        (
            Path::new("/nowhere"),
            file.as_str(),
            "--peer-tls: /nowhere/ca.crt: No such file",
        ),
        (
            &router,
            &file,
            "the certificate is router.partita.internal, and this is a replica",
        ),
    ] {
        let mut command = world.command("replica", tls, directory);
        let output = command.stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(reason), "{said}");
    }
    let mut command = super::router::command(&["--listen", "127.0.0.1:0", "--directory", "https://127.0.0.1:1"]);
    let output = command.stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && said.contains("this needs certificates (--peer-tls)"),
        "{said}"
    );
}

#[test]
fn a_shell_calls_replicas_over_mutual_tls() {
    let world = World {
        certificates: Certificates::new(),
        root: tempfile::tempdir().unwrap(),
    };
    world.publish(&json!({"revision": 0, "tables": []}));
    let replica = world.start("replica", REPLICA, &format!("file:{}", world.file().display()));
    let address = replica.admin_tls.clone().unwrap();
    let stores = |nodes: &str, tls: Option<&Path>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_partita"));
        command.args(["admin", "--nodes", nodes, "--output", "json", "stores"]);
        tls.map(|folder| command.arg("--peer-tls").arg(folder));
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(text(&output.stderr)),
        }
    };
    let own = world.certificates.folder("admin.partita.internal", 1);
    for nodes in [address.clone(), format!("https://{address}")] {
        let told: Value = serde_json::from_str(&stores(&nodes, Some(&own)).unwrap()).unwrap();
        assert_eq!(told[0]["groups"], json!([]), "{told}");
    }
    let strangers = Certificates::new();
    let stranger = strangers.folder("admin.partita.internal", 1);
    let router = world.certificates.folder(ROUTER, 1);
    let nothing = world.root.path().to_owned();
    let https = format!("https://{address}");
    let refused = [
        (https.clone(), None, "--peer-tls DIR"),
        (format!("http://{address}"), Some(&own), "https://HOST:PORT"),
        (https.clone(), Some(&router), "the certificate is"),
        (https.clone(), Some(&stranger), "none of the nodes answers"),
        (https, Some(&nothing), "--peer-tls"),
    ];
    for (nodes, tls, reason) in refused {
        let told = stores(&nodes, tls.map(PathBuf::as_path)).unwrap_err();
        assert!(told.contains(reason), "{nodes} {reason}: {told}");
    }
}
