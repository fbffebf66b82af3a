"""The control plane: etcd, API server, controllers, scheduler, and names, all in the cluster's hub network.

All addresses are in 198.18.0.0/15, which is reserved for benchmarking, and the networks have no way out of the machine:
nothing that a cluster sends can reach anyone. Every cluster has the same addresses, in networks of its own.
"""

import json

from . import api
from .machine import inside, quietly, run, wait_for

HUB = "198.18.0.1"
PODS = "198.18.128.0/17"
SERVICES = "198.19.0.0/16"
DNS_SERVICE = "198.19.0.10"
READY_SECONDS_MAX = 60
# Tokens are no secret: the API server listens in a network that only this machine's root can enter.
USERS = {"admin": "admin", "disks": "system:cluster-disks"}
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata", "verbs": ["create", "update", "patch", "delete", "deletecollection"]},
              {"level": "None"}]}


class Control:
    """The control plane of one cluster."""

    def __init__(self, folder, network, processes, bin):
        self.folder, self.network, self.processes, self.bin = folder, network, processes, bin
        self.kubeconfig = folder / "kubeconfig"

    def api(self, token="admin"):
        """A client of the API server; only for a process inside the hub network."""
        return api.Api(HUB, self.folder / "pki/serving/apiserver.crt", token)

    def kubectl(self, *arguments, stdin=None):
        """The output of a kubectl command that must succeed."""
        return run(*self.kubectl_command(*arguments), input=stdin)

    def kubectl_command(self, *arguments):
        return inside(self.network, self.bin / "kubectl", "--kubeconfig", self.kubeconfig, *arguments)

    def ready(self):
        """Whether the API server answers that it is ready."""
        return quietly(*self.kubectl_command("get", "--raw", "/readyz"))

    def start(self):
        """Starts everything but the nodes."""
        self.make_network()
        self.make_keys()
        self.start_etcd()
        self.start_api_server()
        wait_for("a ready API server", READY_SECONDS_MAX, self.ready)
        self.start_controllers()
        self.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(resources())}))
        self.start_names()

    def make_network(self):
        run("ip", "netns", "add", self.network)
        for command in (
                ["ip", "link", "set", "lo", "up"],
                ["ip", "link", "add", "fabric", "type", "bridge"],
                ["ip", "addr", "add", f"{HUB}/24", "dev", "fabric"],
                ["ip", "link", "set", "fabric", "up"],
                ["sysctl", "-qw", "net.ipv4.ip_forward=1"]):
            run(*inside(self.network, *command))

    def make_keys(self):
        keys = self.folder / "pki"
        keys.mkdir()
        run("openssl", "genrsa", "-out", keys / "accounts.key", "2048")
        run("openssl", "rsa", "-in", keys / "accounts.key", "-pubout", "-out", keys / "accounts.pub")
        (keys / "tokens.csv").write_text("".join(
            f"{token},{user},{user},system:masters\n" for token, user in USERS.items()))
        # The API server makes its own certificate, in this place.
        self.kubeconfig.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "cluster",
            "clusters": [{"name": "cluster", "cluster": {
                "server": f"https://{HUB}:6443", "certificate-authority": str(keys / "serving/apiserver.crt")}}],
            "users": [{"name": "admin", "user": {"token": "admin"}}],
            "contexts": [{"name": "cluster", "context": {"cluster": "cluster", "user": "admin"}}]}))
        (self.folder / "audit-policy.json").write_text(json.dumps(AUDIT_POLICY))

    def start_etcd(self):
        local = "http://127.0.0.1"
        self.processes.start(
            "etcd", self.network, self.bin / "etcd", "--data-dir", self.folder / "etcd", "--unsafe-no-fsync",
            "--listen-client-urls", f"{local}:2379", "--advertise-client-urls", f"{local}:2379",
            "--listen-peer-urls", f"{local}:2380")

    def start_api_server(self):
        keys = self.folder / "pki"
        self.processes.start(
            "apiserver", self.network, self.bin / "kube-apiserver",
            "--etcd-servers", "http://127.0.0.1:2379", "--cert-dir", keys / "serving",
            "--service-account-key-file", keys / "accounts.pub",
            "--service-account-signing-key-file", keys / "accounts.key",
            "--service-account-issuer", "https://kubernetes.default.svc", "--token-auth-file", keys / "tokens.csv",
            "--authorization-mode", "Node,RBAC", "--service-cluster-ip-range", SERVICES, "--advertise-address", HUB,
            "--secure-port", "6443", "--allow-privileged=true", "--kubelet-preferred-address-types", "InternalIP",
            # There is no kube-proxy in the hub: webhooks behind Services would not be reached, and a webhook that may
            # fail would be left out without a word.
            "--enable-aggregator-routing=true",
            "--audit-policy-file", self.folder / "audit-policy.json",
            "--audit-log-path", self.folder / "log/audit.json")

    def start_controllers(self):
        keys = self.folder / "pki"
        self.processes.start(
            "controller-manager", self.network, self.bin / "kube-controller-manager",
            "--kubeconfig", self.kubeconfig, "--service-account-private-key-file", keys / "accounts.key",
            "--root-ca-file", keys / "serving/apiserver.crt", "--leader-elect=false",
            "--use-service-account-credentials", "--allocate-node-cidrs", "--cluster-cidr", PODS,
            "--node-cidr-mask-size", "24", "--node-monitor-grace-period", "12s")
        self.processes.start(
            "scheduler", self.network, self.bin / "kube-scheduler", "--kubeconfig", self.kubeconfig,
            "--leader-elect=false")

    def start_names(self):
        corefile = self.folder / "Corefile"
        corefile.write_text(f""".:53 {{
  bind {HUB}
  errors
  kubernetes cluster.local {{
    endpoint https://{HUB}:6443
    kubeconfig {self.kubeconfig}
  }}
  cache 5
}}
""")
        self.processes.start("coredns", self.network, self.bin / "coredns", "-conf", corefile)


def resources():
    """What a cluster has from the start: a storage class, the names' Service, and a place for PodMonitors."""
    yield {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
           "metadata": {"name": "local", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
           "provisioner": "partita.dev/local-disks", "volumeBindingMode": "WaitForFirstConsumer",
           "allowVolumeExpansion": True}
    ports = [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]
    yield {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "kube-dns", "namespace": "kube-system"},
           "spec": {"clusterIP": DNS_SERVICE, "ports": ports}}
    yield {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
           "metadata": {"name": "kube-dns", "namespace": "kube-system",
                        "labels": {"kubernetes.io/service-name": "kube-dns"}},
           "endpoints": [{"addresses": [HUB]}], "ports": ports}
    # The Prometheus operator is not here, but what it would read can be: prometheus.py reads it in its stead.
    names = {"kind": "PodMonitor", "listKind": "PodMonitorList", "plural": "podmonitors", "singular": "podmonitor"}
    anything = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    yield {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
           "metadata": {"name": "podmonitors.monitoring.coreos.com"},
           "spec": {"group": "monitoring.coreos.com", "scope": "Namespaced", "names": names,
                    "versions": [{"name": "v1", "served": True, "storage": True, "schema": anything}]}}
