"""A real Prometheus beside a cluster, that scrapes what the cluster's PodMonitors declare.

The Prometheus operator turns PodMonitors into scrape configurations. It is not here; this does the same for the fields
that the chart uses and refuses the others, so that what the chart declares is what is scraped.

1. `start` writes a job for each PodMonitor, whose targets are in a file, and starts Prometheus.
2. `prometheus FOLDER`, a process of its own inside the hub network, keeps the files true: Debian's Prometheus was built
   without a client for Kubernetes.
"""

import json
import pathlib
import shutil
import sys
import time
import urllib.parse

from local import api, control
from local.machine import inside, quietly, wait_for

PORT = 9090
READY_SECONDS_MAX = 60
LOOK_SECONDS = 1
KNOWN_SPEC = {"namespaceSelector", "selector", "podMetricsEndpoints"}
KNOWN_ENDPOINT = {"port", "path", "interval", "honorLabels"}


def start(cluster):
    """Starts (or restarts) Prometheus with the PodMonitors that the cluster has now."""
    monitors = json.loads(cluster.control.kubectl("get", "podmonitors", "-A", "-o", "json"))["items"]
    folder = cluster.folder / "prometheus"
    for process in ("prometheus", "prometheus-targets"):
        cluster.processes.stop(process)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "monitors.json").write_text(json.dumps(monitors))
    (folder / "prometheus.yml").write_text(json.dumps({   # JSON is YAML
        "scrape_configs": [scrape_config(folder, *job) for job in jobs(monitors)]}))
    cluster.background("prometheus-targets", cluster.network, "prometheus", cluster.folder)
    cluster.processes.start(
        "prometheus", cluster.network, "prometheus", f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data", f"--web.listen-address={control.HUB}:{PORT}")
    wait_for("a ready Prometheus", READY_SECONDS_MAX, lambda: quietly(*fetch(cluster, "/-/ready")))


def jobs(monitors):
    """Each endpoint of each PodMonitor, checked: (name of its file, monitor, endpoint)."""
    for monitor in monitors:
        meta, spec = monitor["metadata"], monitor["spec"]
        refuse_unknown("PodMonitor", spec, KNOWN_SPEC)
        refuse_unknown("selector", spec["selector"], {"matchLabels"})
        refuse_unknown("namespaceSelector", spec.get("namespaceSelector", {}), {"any"})
        for number, endpoint in enumerate(spec["podMetricsEndpoints"]):
            refuse_unknown("endpoint", endpoint, KNOWN_ENDPOINT)
            yield f"{meta['namespace']}.{meta['name']}.{number}", monitor, endpoint


def refuse_unknown(what, fields, known):
    if unknown := set(fields) - known:
        raise RuntimeError(f"prometheus: {what} has {sorted(unknown)}, which nothing here translates")


def scrape_config(folder, name, monitor, endpoint):
    meta = monitor["metadata"]
    return {"job_name": f"podMonitor/{meta['namespace']}/{meta['name']}/{name.rpartition('.')[2]}",
            "scrape_interval": endpoint["interval"], "scrape_timeout": endpoint["interval"],
            "honor_labels": endpoint.get("honorLabels", False), "metrics_path": endpoint.get("path", "/metrics"),
            "file_sd_configs": [{"files": [f"{folder}/{name}.json"]}]}


def targets(monitor, endpoint, pods):
    """The pods that an endpoint of a PodMonitor selects, as Prometheus reads them from a file."""
    meta, spec = monitor["metadata"], monitor["spec"]
    everywhere = spec.get("namespaceSelector", {}).get("any", False)
    wanted = spec["selector"]["matchLabels"].items()
    for pod in pods:
        namespace, address = pod["metadata"]["namespace"], pod["status"].get("podIP")
        if not (everywhere or namespace == meta["namespace"]) or not wanted <= pod["metadata"].get("labels", {}).items():
            continue
        if not address or pod["status"]["phase"] in ("Succeeded", "Failed"):
            continue
        for container in pod["spec"]["containers"]:
            for port in container.get("ports", []):
                if port.get("name") == endpoint["port"]:
                    yield {"targets": [f"{address}:{port['containerPort']}"], "labels": {
                        "job": f"{meta['namespace']}/{meta['name']}", "namespace": namespace,
                        "pod": pod["metadata"]["name"], "container": container["name"]}}


def keep_targets(home):
    """Writes the files of targets anew whenever they differ."""
    folder = home / "prometheus"
    server = api.Api(control.HUB, home / "pki/serving/apiserver.crt", "admin")
    monitors, written = json.loads((folder / "monitors.json").read_text()), {}
    while True:
        try:
            pods = server.items("/api/v1/pods")
            for name, monitor, endpoint in jobs(monitors):
                found = json.dumps(list(targets(monitor, endpoint, pods)))
                if written.get(name) != found:
                    fresh = folder / f"{name}.new"
                    fresh.write_text(found)
                    fresh.rename(folder / f"{name}.json")
                    written[name] = found
        except (OSError, api.Refused) as error:
            print(f"prometheus: {error}", flush=True)   # the API server is away: what is known stays
        time.sleep(LOOK_SECONDS)


def fetch(cluster, path):
    """The command that prints what Prometheus answers to a GET."""
    program = "import sys, urllib.request as r; sys.stdout.write(r.urlopen(sys.argv[1], timeout=30).read().decode())"
    return inside(cluster.network, "python3", "-c", program, f"http://{control.HUB}:{PORT}{path}")


def query_path(expression):
    """The path of an instant query."""
    return "/api/v1/query?" + urllib.parse.urlencode({"query": expression})


if __name__ == "__main__":
    keep_targets(pathlib.Path(sys.argv[1]))
