//! Dependencies between our crates point one way. A new edge is a decision: it is added here, with docs/architecture.md.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Who may depend on whom, without tests' own dependencies.
const ALLOWED: &[(&str, &[&str])] = &[
    ("partita-crds", &["partita-model"]),
    ("partita-model", &[]),
    ("partita-admission", &["partita-model"]),
    ("partita-partition", &["partita-model"]),
    ("partita-replication", &["partita-model", "partita-partition"]),
    ("partita-gateway", &["partita-model"]),
    ("partita-tls", &[]),
    (
        "partita-transport",
        &["partita-model", "partita-partition", "partita-tls"],
    ),
    ("partita-operator", &["partita-crds", "partita-model", "partita-tls"]),
    (
        "partita",
        &[
            "partita-admission",
            "partita-crds",
            "partita-tls",
            "partita-transport",
            "partita-model",
            "partita-partition",
            "partita-replication",
            "partita-gateway",
        ],
    ),
];

/// What the pure crates must never reach, directly.
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("partita-model", &["tokio", "rocksdb", "kube", "rand", "hyper", "raft"]),
    (
        "partita-admission",
        &["tokio", "rocksdb", "kube", "rand", "hyper", "raft"],
    ),
    ("partita-partition", &["tokio", "kube", "rand", "hyper", "raft"]),
    ("partita-gateway", &["rocksdb", "raft", "kube"]),
    ("partita-operator", &["rocksdb", "raft"]),
    ("partita-crds", &["tokio", "rocksdb", "raft", "hyper"]),
];

/// Direct dependencies of each of our crates, dev-dependencies left out.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo metadata runs");
    assert!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let name = |v: &serde_json::Value| v["name"].as_str().unwrap_or_default().to_owned();
    let packages = metadata["packages"].as_array().expect("packages");
    packages
        .iter()
        .map(|package| {
            let direct = package["dependencies"].as_array().into_iter().flatten();
            (
                name(package),
                direct.filter(|d| d["kind"].is_null()).map(name).collect(),
            )
        })
        .collect()
}

#[test]
fn dependencies_point_one_way() {
    let actual = dependencies();
    let ours: BTreeSet<&str> = actual.keys().map(String::as_str).collect();
    let known: BTreeSet<&str> = ALLOWED.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        ours, known,
        "a crate was added or removed: say in this test where it stands"
    );
    for (name, allowed) in ALLOWED {
        for dependency in actual[*name].iter().filter(|d| d.starts_with("partita")) {
            assert!(
                allowed.contains(&dependency.as_str()),
                "{name} must not depend on {dependency}"
            );
        }
    }
    for (name, forbidden) in FORBIDDEN {
        for dependency in *forbidden {
            assert!(
                !actual[*name].contains(*dependency),
                "{name} must not depend on {dependency}"
            );
        }
    }
}
