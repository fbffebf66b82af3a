//! `partita plan`, as people and programs call it.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// A folder with these files.
fn folder(files: &[(&str, String)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn orders(write_units: &str) -> String {
    format!(
        "apiVersion: partita.dev/v1alpha1
kind: Table
metadata:
  name: orders
spec:
  tableName: orders
  attributeDefinitions:
    - {{attributeName: id, attributeType: S}}
  keySchema:
    - {{attributeName: id, keyType: HASH}}
  provisionedThroughput: {{readCapacityUnits: 100, writeCapacityUnits: {write_units}}}
"
    )
}

fn plan(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_partita"))
        .arg("plan")
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
}

fn printed(output: &Output) -> &str {
    let said = str::from_utf8(&output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    str::from_utf8(&output.stdout).unwrap()
}

fn refused(output: &Output) -> &str {
    assert!(!output.status.success());
    assert!(
        output.stdout.is_empty(),
        "nothing is printed of a plan that is not whole"
    );
    str::from_utf8(&output.stderr).unwrap()
}

#[test]
fn tables_that_begin_are_listed_with_what_they_occupy() {
    let other = orders("1").replace("orders", "carts");
    let folder = folder(&[("all.yaml", format!("{}---\n{other}", orders("4000")))]);
    let output = plan(folder.path(), &["-f", "all.yaml"]);
    assert_eq!(
        printed(&output),
        "\
TABLE    PARTITIONS   OF INDEXES   PODS   CPU    MEMORY     CLAIMS    TO COPY
orders   4            0            12     2.52   4.88 GiB   360 GiB   -
carts    1            0            3      0.18   1008 MiB   90 GiB    -
total    5            0            15     2.7    5.86 GiB   450 GiB   -
"
    );
}

#[test]
fn a_change_is_shown_beside_what_there_is_with_its_cost() {
    let now = format!(
        "apiVersion: v1\nkind: List\nitems:\n- {}  status: {{partitions: 1, tableSizeBytes: 1073741824}}\n",
        orders("1000")
            .replace('\n', "\n  ")
            .replace("name: orders\n  spec", "name: orders\n    namespace: shop\n  spec")
            .trim_end_matches(' ')
    );
    let folder = folder(&[("orders.yaml", orders("9000")), ("now.yaml", now)]);
    let arguments = [
        "-f",
        "orders.yaml",
        "--current",
        "now.yaml",
        "--price-cpu",
        "20",
        "--price-storage-gib",
        "0.1",
    ];
    let text = plan(folder.path(), &arguments);
    let text = printed(&text);
    assert!(text.contains("orders: write units 1000 → 9000\n"), "{text}");
    assert!(text.contains("The cost counts CPU and claims.\n"), "{text}");
    assert!(text.lines().next().unwrap().ends_with("COST/MONTH"), "{text}");

    let output = plan(folder.path(), &[&arguments[..], &["--output", "json"]].concat());
    let json: Value = serde_json::from_str(printed(&output)).unwrap();
    let table = &json["tables"][0];
    assert_eq!(table["resource"], "default/orders");
    assert_eq!(table["causes"][0], "write units 1000 → 9000");
    assert_eq!(
        (&table["before"]["pods"], &table["before"]["cpuMillis"]),
        (&3.into(), &630.into())
    );
    assert_eq!(table["costBefore"], 0.63 * 20.0 + 9.0);
    assert_eq!(json["total"]["after"], table["after"]);
}

#[test]
fn the_formula_and_the_volumes_can_be_others() {
    let folder = folder(&[("orders.yaml", orders("1000"))]);
    let arguments = [
        "--pod-cpu=1,0,1m",
        "--pod-memory=1Gi,0,0",
        "--storage-size=10Gi",
        "-ojson",
    ];
    let output = plan(folder.path(), &[&["-f", "orders.yaml"][..], &arguments].concat());
    let json: Value = serde_json::from_str(printed(&output)).unwrap();
    let after = &json["total"]["after"];
    assert_eq!(after["cpuMillis"], 3 * 2000);
    assert_eq!(after["memoryBytes"], 3_u64 << 30);
    assert_eq!(after["claimBytes"], 30_u64 << 30);
}

#[test]
fn what_a_partition_can_can_be_something_else() {
    let folder = folder(&[("orders.yaml", orders("900"))]);
    let arguments = [
        "-f",
        "orders.yaml",
        "--partition-read-units=1000",
        "--partition-write-units=100",
        "-ojson",
    ];
    let json: Value = serde_json::from_str(printed(&plan(folder.path(), &arguments))).unwrap();
    assert_eq!(json["total"]["after"]["partitions"], 9);
    let nothing = plan(folder.path(), &["-f", "orders.yaml", "--partition-write-units=0"]);
    assert!(
        refused(&nothing).contains("--partition-write-units"),
        "{}",
        refused(&nothing)
    );
}

#[test]
fn standard_input_is_a_file_too() {
    use std::io::Write;
    let mut child = Command::new(env!("CARGO_BIN_EXE_partita"))
        .args(["plan", "-f", "-"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(orders("5").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(printed(&output).contains("orders   1 "));
}

#[test]
fn what_is_wrong_is_named_with_its_file_and_field_and_nothing_is_planned() {
    let folder = folder(&[
        ("zero.yaml", orders("0")),
        ("wrong.yaml", orders("5").replace("tableName", "tableNaam")),
        ("good.yaml", orders("5")),
        ("other.yaml", "apiVersion: v1\nkind: Secret\n".to_owned()),
        ("broken.yaml", "kind: [".to_owned()),
    ]);
    let cases: [(&[&str], &str); 7] = [
        (
            &["-f", "zero.yaml"],
            "error: zero.yaml: default/orders: spec.provisionedThroughput.writeCapacityUnits: 0 is not a positive number",
        ),
        (
            &["-f", "wrong.yaml", "-f", "good.yaml"],
            "error: wrong.yaml: document 1: ",
        ),
        (
            &["-f", "good.yaml", "-f", "good.yaml"],
            "error: good.yaml: default/orders is declared in good.yaml already",
        ),
        (
            &["-f", "other.yaml"],
            "error: no Table (partita.dev/v1alpha1) in other.yaml",
        ),
        (&["-f", "broken.yaml"], "error: broken.yaml: "),
        (&["-f", "missing.yaml"], "error: missing.yaml: No such file"),
        (
            &["-f", "good.yaml", "--current", "missing.yaml"],
            "error: missing.yaml: No such file",
        ),
    ];
    for (arguments, said) in cases {
        let output = plan(folder.path(), arguments);
        let error = refused(&output);
        assert!(error.contains(said), "{arguments:?}: {error}");
    }
    for (flag, said) in [
        (
            "--price-cpu=cheap",
            "\"cheap\" is no price: write a number such as 21.50",
        ),
        ("--price-memory-gib=-1", "\"-1\" is no price"),
        ("--price-storage-gib=NaN", "\"NaN\" is no price"),
        ("--pod-cpu=1", "three quantities are needed"),
        ("--output=yaml", "invalid value 'yaml'"),
    ] {
        let output = plan(folder.path(), &["-f", "good.yaml", flag]);
        let error = refused(&output);
        assert!(error.contains(said), "{flag}: {error}");
    }
}

#[test]
fn a_cluster_that_is_not_there_is_named() {
    let folder = folder(&[("good.yaml", orders("5"))]);
    let nowhere: PathBuf = folder.path().join("no-kubeconfig");
    let output = Command::new(env!("CARGO_BIN_EXE_partita"))
        .args(["plan", "-f", "good.yaml", "--current", "kubernetes"])
        .env("KUBECONFIG", nowhere)
        .env_remove("KUBERNETES_SERVICE_HOST")
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(refused(&output).starts_with("error: --current kubernetes: "));
}
