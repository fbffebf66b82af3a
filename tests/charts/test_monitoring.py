"""Alerts and dashboards: rules that promtool understands and that fire when they should, queries about metrics that there are, a
runbook for each alert."""

import json
import os
import re
import shutil
import subprocess

import pytest
import yaml

from conftest import CHART, HERE, ROOT, documents, named, of_kind, rendered

ALERTS = CHART / "files" / "alerts.yaml"
DASHBOARDS = sorted((CHART / "files" / "dashboards").glob("*.yaml"))
# What Prometheus itself adds to a histogram's name.
SUFFIXES = ("_bucket", "_sum", "_count")


def rules():
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def dashboards():
    """Each dashboard as Grafana reads it, by the name of its file."""
    manifests = documents(rendered("--set", "dashboards.enabled=true"))
    found = {}
    for manifest in of_kind(manifests, "ConfigMap"):
        for name, text in manifest["data"].items():
            if name.endswith(".json"):
                found[name] = json.loads(text)
    return found


def queries():
    """Every query, with where it is."""
    for rule in rules():
        yield rule["alert"], rule["expr"]
    for name, dashboard in dashboards().items():
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                yield f"{name}: {panel['title']}", target["expr"]
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                yield f"{name}: {variable['name']}", variable["query"]["query"]


def exposed():
    """Names of metrics that the processes expose, as patterns: as they stand in the sources, whole or with parts to be put in."""
    names = set()
    for folder in "node", "operator":
        for path in (ROOT / folder).rglob("*.rs"):
            names.update(re.findall(r'"(partita_[a-z_{}]+)"', path.read_text()))
    return [re.compile(re.sub(r"\{[a-z_]*\}", "[a-z_]+", name)) for name in names]


def documented():
    """Names of metrics in docs/metrics.md, where two that differ in one word stand as one with both words in braces."""
    names = set()
    for name in re.findall(r"\b((?:partita|process)_[a-z_]*(?:\{[a-z,]+\}_[a-z_]+)?)", (ROOT / "docs" / "metrics.md").read_text()):
        words = re.search(r"\{([a-z,]+)\}", name)
        names.update(name.replace(words[0], word) for word in words[1].split(",")) if words else names.add(name)
    return names


def written():
    """Names of metrics as they stand in the sources of the processes, those of both kinds of units for each."""
    names = set()
    for folder in "node", "operator":
        for path in (ROOT / folder).rglob("*.rs"):
            # Settings of access keys begin alike.
            if "tests" in path.parts or path.name == "credentials.rs":
                continue
            for name in re.findall(r'"((?:partita|process)_[a-z_{}]+)"', path.read_text()):
                names.update(name.replace("{name}", kind) for kind in ("read", "write"))
    return names


def promtool(*arguments):
    tool = shutil.which("promtool")
    if not tool:
        assert os.environ.get("CI") != "true", "promtool is missing: it comes with the package prometheus"
        pytest.skip("needs promtool, which comes with the package prometheus")
    process = subprocess.run([tool, *map(str, arguments)], capture_output=True, text=True, check=False, cwd=HERE)
    assert process.returncode == 0, process.stdout + process.stderr


def test_rules_are_rules():
    promtool("check", "rules", ALERTS)


def test_alerts_fire_when_they_should_and_not_before():
    promtool("test", "rules", "alerts.test.yaml")
    tested = (HERE / "alerts.test.yaml").read_text()
    for rule in rules():
        assert tested.count(rule["alert"]) == 2, f"{rule['alert']} is tested once when all is well and once when it is not"


def test_queries_are_about_metrics_that_there_are():
    names = exposed()
    asked = 0
    for place, query in queries():
        for metric in re.findall(r"\bpartita_[a-z_]+", query):
            base = next((metric.removesuffix(suffix) for suffix in SUFFIXES if metric.endswith(suffix)), metric)
            known = any(name.fullmatch(metric) or name.fullmatch(base) for name in names)
            assert known, f"{place}: nobody exposes {metric}"
            asked += 1
    assert asked > 40


def test_every_metric_is_documented_and_no_other():
    assert len(written()) > 80
    assert sorted(written() - documented()) == [], "docs/metrics.md lacks these"
    assert sorted(documented() - written()) == [], "nobody exposes these"


def test_queries_can_be_read(tmp_path):
    """Each as the expression of a rule, with what Grafana puts in for its variables."""
    found = [query for _, query in queries() if not query.startswith("label_values")]
    found = [query.replace("$__rate_interval", "5m").replace("$namespace", ".*").replace("$table", ".*") for query in found]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": [
        {"record": f"query:{number}", "expr": query} for number, query in enumerate(found)]}]}))
    promtool("check", "rules", file)


def test_each_alert_has_a_runbook_and_each_runbook_an_alert():
    sections = re.findall(r"^## (\w+)$", (ROOT / "docs" / "runbooks.md").read_text(), re.MULTILINE)
    assert sections == [rule["alert"] for rule in rules()]


def test_alerts_say_how_bad_it_is_and_what_it_means():
    for rule in rules():
        assert rule["labels"]["severity"] in ("critical", "warning"), rule["alert"]
        assert {"summary", "description"} == set(rule["annotations"]), rule["alert"]


def test_rules_come_with_prometheus_alone_unless_asked_for():
    text = ("--api-versions", "monitoring.coreos.com/v1/PrometheusRule")
    rule = named(documents(rendered(*text)), "PrometheusRule", "partita")
    assert rule["spec"] == yaml.safe_load(ALERTS.read_text())
    assert not of_kind(documents(rendered()), "PrometheusRule")
    # A cluster that knows others of the group may not know this one.
    others = ("--api-versions", "monitoring.coreos.com/v1", "--api-versions", "monitoring.coreos.com/v1/PodMonitor")
    assert not of_kind(documents(rendered(*others)), "PrometheusRule")
    assert not of_kind(documents(rendered(*text, "--set", "alerts.enabled=false")), "PrometheusRule")
    asked = documents(rendered("--set", "alerts.enabled=true,alerts.labels.release=monitoring"))
    assert named(asked, "PrometheusRule", "partita")["metadata"]["labels"]["release"] == "monitoring"


def test_dashboards_come_when_asked_for():
    assert not of_kind(documents(rendered()), "ConfigMap")
    found = dashboards()
    assert sorted(found) == [f"partita-{path.stem}.json" for path in DASHBOARDS]
    manifests = documents(rendered("--set", "dashboards.enabled=true"))
    for manifest in of_kind(manifests, "ConfigMap"):
        assert manifest["metadata"]["labels"]["grafana_dashboard"] == "1"
    for name, dashboard in found.items():
        assert dashboard["uid"] == name.removesuffix(".json") and len(dashboard["uid"]) <= 40
        panels = dashboard["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
        assert len(places) == len(panels), f"{name}: panels over each other"
        assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)
