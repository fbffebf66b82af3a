"""A real Prometheus beside a cluster, that scrapes what the cluster's PodMonitors declare.

The Prometheus operator turns PodMonitors into scrape configurations. It is not here; this does the same for the fields
that the chart uses and refuses the others, so that what the chart declares is what is scraped.
"""

import json
import re
import shutil
import urllib.parse

from .control import HUB
from .machine import inside, quietly, wait_for

PORT = 9090
READY_SECONDS_MAX = 60
KNOWN_SPEC = {"namespaceSelector", "selector", "podMetricsEndpoints"}
KNOWN_ENDPOINT = {"port", "path", "interval", "honorLabels"}


def start(cluster, interval=None):
    """Starts (or restarts) Prometheus with the PodMonitors that the cluster has now; `interval` overrides theirs."""
    monitors = json.loads(cluster.control.kubectl("get", "podmonitors", "-A", "-o", "json"))["items"]
    folder = cluster.folder / "prometheus"
    cluster.processes.stop("prometheus")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "prometheus.yml").write_text(json.dumps({   # JSON is YAML
        "scrape_configs": [scrape for monitor in monitors for scrape in scrapes(monitor, cluster.kubeconfig, interval)]}))
    cluster.processes.start(
        "prometheus", cluster.network, "prometheus", f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data", f"--web.listen-address={HUB}:{PORT}")
    wait_for("a ready Prometheus", READY_SECONDS_MAX, lambda: quietly(*fetch(cluster, "/-/ready")))


def scrapes(monitor, kubeconfig, interval):
    """The scrape configurations of one PodMonitor."""
    meta, spec = monitor["metadata"], monitor["spec"]
    refuse_unknown("PodMonitor", spec, KNOWN_SPEC)
    refuse_unknown("selector", spec["selector"], {"matchLabels"})
    refuse_unknown("namespaceSelector", spec.get("namespaceSelector", {}), {"any"})
    discovery = {"role": "pod", "kubeconfig_file": str(kubeconfig)}
    if not spec.get("namespaceSelector", {}).get("any"):
        discovery["namespaces"] = {"names": [meta["namespace"]]}
    for number, endpoint in enumerate(spec["podMetricsEndpoints"]):
        refuse_unknown("endpoint", endpoint, KNOWN_ENDPOINT)
        keep = [relabel("__meta_kubernetes_pod_phase", "(Pending|Running)", "keep")]
        for label, value in spec["selector"]["matchLabels"].items():
            source = "__meta_kubernetes_pod_label_" + re.sub(r"[^a-zA-Z0-9_]", "_", label)
            keep.append(relabel(source, re.escape(value), "keep"))
        keep.append(relabel("__meta_kubernetes_pod_container_port_name", endpoint["port"], "keep"))
        for source, target in (("namespace", "namespace"), ("pod_name", "pod"), ("pod_container_name", "container")):
            keep.append(relabel(f"__meta_kubernetes_{source}", "(.*)", "replace", target))
        keep.append({"target_label": "job", "replacement": f"{meta['namespace']}/{meta['name']}"})
        yield {"job_name": f"podMonitor/{meta['namespace']}/{meta['name']}/{number}",
               "scrape_interval": interval or endpoint["interval"], "scrape_timeout": interval or "10s",
               "honor_labels": endpoint.get("honorLabels", False), "metrics_path": endpoint.get("path", "/metrics"),
               "kubernetes_sd_configs": [discovery], "relabel_configs": keep}


def refuse_unknown(what, fields, known):
    if unknown := set(fields) - known:
        raise RuntimeError(f"prometheus: {what} has {sorted(unknown)}, which nothing here translates")


def relabel(source, regex, action, target=None):
    rule = {"source_labels": [source], "regex": regex, "action": action}
    return {**rule, "target_label": target} if target else rule


def fetch(cluster, path):
    """The command that prints what Prometheus answers to a GET."""
    program = "import sys, urllib.request as r; sys.stdout.write(r.urlopen(sys.argv[1], timeout=30).read().decode())"
    return inside(cluster.network, "python3", "-c", program, f"http://{HUB}:{PORT}{path}")


def query_path(expression):
    """The path of an instant query."""
    return "/api/v1/query?" + urllib.parse.urlencode({"query": expression})
