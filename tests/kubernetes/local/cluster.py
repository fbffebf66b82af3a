"""A whole cluster: its folder, its control plane, its nodes."""

import contextlib
import fcntl
import os
import pathlib
import re
import shutil
import socket
import sys

from . import binaries
from .control import Control, READY_SECONDS_MAX
from .machine import NotPossible, Processes, inside, missing, quietly, wait_for
from .node import Node

HERE = pathlib.Path(__file__).resolve().parent
# Not under the cache: containers' file systems and databases stand on a real disk, as short a path as a socket wants.
HOME = pathlib.Path(os.environ.get("CLUSTER_HOME", "/var/lib/partita-clusters"))
NODES_READY_SECONDS_MAX = 120
FORWARD_SECONDS_MAX = 20
CONTROLLERS = ("controller-manager", "scheduler")
NODES_MAX = 200


class Cluster:
    """The cluster of a name. Clusters of different names know nothing of each other."""

    def __init__(self, name):
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,30}", name):
            raise NotPossible("a CLUSTER_NAME of small letters, digits and dashes, at most 31")
        self.name, self.folder, self.bin = name, HOME / name, binaries.folder()
        self.network = f"partita-{name}-hub"
        self.processes = Processes(self.folder)
        self.control = Control(self.folder, self.network, self.processes, self.bin)
        self.kubeconfig = self.control.kubeconfig
        self.etcd, self.etcd_copied = self.folder / "etcd", self.folder / "etcd-copy"

    def reserve(self):
        """Keeps others from a cluster of this name until this process ends."""
        HOME.mkdir(parents=True, exist_ok=True)
        self.reservation = open(HOME / f"{self.name}.lock", "w")
        fcntl.flock(self.reservation, fcntl.LOCK_EX)

    def exists(self):
        """Whether there is something of it."""
        return self.folder.exists()

    def nodes(self):
        """Its nodes, whatever state they are in."""
        numbers = sorted(int(folder.name[4:]) for folder in self.folder.glob("node[0-9]*"))
        return [self.node(number) for number in numbers]

    def node(self, number):
        return Node(self.name, self.control, self.processes, self.folder, number, self.bin)

    def up(self, nodes):
        """Starts it: control plane, nodes, disks."""
        if self.exists():
            raise NotPossible(f"cluster {self.name} to be down: it is up already, or did not go down cleanly")
        if not 1 <= nodes <= NODES_MAX:
            raise NotPossible(f"between 1 and {NODES_MAX} nodes")
        (self.folder / "log").mkdir(parents=True)
        self.control.start()
        self.background("disks", self.network, "disks", self.folder)
        made = [self.node(number) for number in range(1, nodes + 1)]
        for node in made:
            node.make()
        for node in made:
            node.join()
        wait_for(f"{nodes} ready nodes", NODES_READY_SECONDS_MAX, lambda: self.ready_nodes() == nodes)

    def ready_nodes(self):
        jsonpath = '{.items[*].status.conditions[?(@.type=="Ready")].status}'
        return self.control.kubectl("get", "nodes", "-o", f"jsonpath={jsonpath}").split().count("True")

    def background(self, name, network, module, *arguments):
        """One of the helpers in this folder, as a process of the cluster."""
        self.processes.start(
            name, network, "env", f"PYTHONPATH={HERE.parent}", "PYTHONDONTWRITEBYTECODE=1",
            sys.executable, "-m", f"local.{module}", *arguments)

    def forward(self, port, target):
        """Leads a port of this machine's loopback into the cluster; `local.forward` says what a target is."""
        name = f"forward-{port}"
        self.processes.stop(name)
        if answers(port):
            raise RuntimeError(f"port {port} of this machine is taken")
        helper = [f"PYTHONPATH={HERE.parent}", "PYTHONDONTWRITEBYTECODE=1", sys.executable, "-m", "local.forward"]
        self.processes.start_here(name, "env", *helper, self.folder, self.network, port, target)
        wait_for(f"a port {port}", FORWARD_SECONDS_MAX, lambda: answers(port))

    def load(self, archives):
        """Imports images on every node."""
        for node in self.nodes():
            for archive in archives:
                node.load(archive)

    def tag(self, image, other):
        """Gives an image that is loaded another name, on every node."""
        for node in self.nodes():
            node.tag(image, other)

    def node_lose(self, number):
        """A node burns down, and nobody waits for it."""
        self.node(number).pull_the_plug()
        self.node(number).burn()
        self.control.kubectl("delete", "node", f"node{number}", "--wait=false")

    def api_server_stop(self):
        """The API server is gone, in the middle of whatever it did. Controllers that cannot renew their Lease end within seconds; here
        they go at once."""
        for name in ("apiserver", *CONTROLLERS):
            self.processes.stop(name)

    def api_server_start(self):
        """The API server is back, and after it the controllers. They begin anew: those that had gone on would take every node for dead
        that could not report meanwhile."""
        self.processes.restart("apiserver")
        wait_for("a ready API server", READY_SECONDS_MAX, self.control.ready)
        for name in CONTROLLERS:
            self.processes.restart(name)

    def etcd_copy(self):
        """Keeps a copy of all that the API server knows now; it is away meanwhile."""
        with self.without_etcd():
            shutil.rmtree(self.etcd_copied, ignore_errors=True)
            shutil.copytree(self.etcd, self.etcd_copied)

    def etcd_put_back(self):
        """The API server knows what it knew when the copy was made. Whoever has seen later versions is started anew, as the
        documentation of Kubernetes asks for: a watch that goes on from there would miss what follows."""
        with self.without_etcd():
            shutil.rmtree(self.etcd)
            shutil.copytree(self.etcd_copied, self.etcd)
        for name in ("coredns", *(f"{node.name}-{part}" for node in self.nodes() for part in ("kubelet", "proxy"))):
            self.processes.stop(name)
            self.processes.restart(name)

    @contextlib.contextmanager
    def without_etcd(self):
        """While neither API server nor etcd run."""
        self.api_server_stop()
        self.processes.stop("etcd")
        yield
        self.processes.restart("etcd")
        self.api_server_start()

    def kill_container(self, namespace, pod, container):
        """Kills a container on whichever node it runs; needs no API server."""
        if not any([node.kill_container(namespace, pod, container) for node in self.nodes()]):
            raise RuntimeError(f"no container {container} of {namespace}/{pod} runs")

    def audit_log(self):
        """The API server's log of writes, a line of JSON each."""
        return self.folder / "log/audit.json"

    def command(self, *arguments):
        """Any command, inside the hub network, with the cluster's programs and its kubeconfig."""
        return inside(self.network, "env", f"KUBECONFIG={self.kubeconfig}", f"PATH={self.bin}:{os.environ['PATH']}",
                      *arguments)

    def down(self):
        """Stops and removes everything that `up` made, and nothing else."""
        if not self.exists():
            return
        nodes = self.nodes()
        kept_for_nodes = {f"{node.name}-{part}" for node in nodes for part in ("kubelet", "containerd")}
        for name in self.processes.names():
            if name not in kept_for_nodes:
                self.processes.stop(name)
        for node in nodes:
            node.remove()
        quietly("ip", "netns", "del", self.network)
        shutil.rmtree(self.folder)


def answers(port):
    """Whether somebody listens on a port of this machine's loopback."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def ensure_possible():
    """Ends with what is missing when this machine cannot run a cluster."""
    if lacks := missing():
        raise NotPossible(", ".join(lacks))
