"""helm lint, and every manifest against the schemas of Kubernetes and of our own resources."""

import pytest
import yaml

from conftest import CHART, HERE, KUBERNETES, case_text, documents, rendered, run


def test_lint(case):
    process = run("helm", "lint", "--strict", "--kube-version", KUBERNETES, "--values", HERE / "cases" / f"{case}.yaml", CHART)
    assert process.returncode == 0, process.stdout + process.stderr


def test_manifests_are_valid(case, validate):
    # Two kinds are the Prometheus operator's; test_wiring.py and test_monitoring.py look at them.
    foreign = ("PodMonitor", "PrometheusRule")
    process = validate(case_text(case), "-skip", ",".join(foreign))
    assert process.returncode == 0, process.stdout + process.stderr
    valid = len([document for document in documents(case_text(case)) if document["kind"] not in foreign])
    assert f"Valid: {valid}, Invalid: 0, Errors: 0" in process.stdout


@pytest.mark.parametrize("old, new", [
    ("      maxSurge: 1", "      maxSurplus: 1"),
    ("replicas: 2", "replicas: two"),
    ("    storage: true", "    storage: perhaps"),
])
def test_an_invalid_manifest_is_noticed(old, new, validate):
    text = rendered("--show-only", "templates/routers/deployment.yaml", "--show-only", "templates/crds.yaml")
    assert validate(text).returncode == 0
    assert old in text
    assert validate(text.replace(old, new, 1)).returncode == 1


def test_examples_are_valid(validate):
    for path in (CHART.parent.parent / "examples").glob("*.yaml"):
        process = validate(path.read_text())
        assert process.returncode == 0, f"{path}: {process.stdout}"


def test_older_kubernetes_is_refused():
    assert rendered(kubernetes="v1.31.0")
    with pytest.raises(AssertionError, match="chart requires kubeVersion"):
        rendered(kubernetes="v1.30.14")


def test_the_version_is_the_binary_s():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    workspace = (CHART.parent.parent / "Cargo.toml").read_text().partition("[workspace.package]")[2]
    assert f'\nversion = "{chart["appVersion"]}"\n' in workspace
