"""A node: a network namespace with a containerd, a kubelet and a kube-proxy of its own, on a cable to the hub.

A node believes that it has the whole machine.
"""

import json
import os
import pathlib
import re
import shutil
import signal

from . import binaries
from .control import DNS_SERVICE, HUB, PODS
from .machine import CNI_PLUGINS, inside, make_cgroup, quietly, remove_cgroup, run, unmount_below, wait_for

CONTAINERD_SECONDS_MAX = 30
POD_NETWORK_SECONDS_MAX = 60
# Debian's containerd keeps what the CNI plugins answered here, whatever its own folders are.
CNI_RESULTS = pathlib.Path("/var/lib/cni/results")
# The kubelet links to every container's log here.
LOG_LINKS = pathlib.Path("/var/log/containers")


class Node:
    """Node number `number` of a cluster."""

    def __init__(self, cluster, control, processes, folder, number, bin):
        self.control, self.processes, self.bin = control, processes, bin
        self.number, self.name = number, f"node{number}"
        self.network = self.cgroup = f"partita-{cluster}-{self.name}"
        self.folder = folder / self.name
        self.address = f"198.18.0.{10 + number}"
        self.cable = f"n{number}"
        self.socket = self.folder / "containerd.sock"

    def make(self):
        """Makes the node and powers it on."""
        for part in ("cni", "kubelet", "volumes", "logs"):
            (self.folder / part).mkdir(parents=True)
        run("ip", "netns", "add", self.network)
        run("ip", "link", "add", self.cable, "netns", self.control.network,
            "type", "veth", "peer", "name", "eth0", "netns", self.network)
        run(*inside(self.control.network, "ip", "link", "set", self.cable, "master", "fabric", "up"))
        for command in (
                ["ip", "link", "set", "lo", "up"],
                ["ip", "addr", "add", f"{self.address}/24", "dev", "eth0"],
                ["ip", "link", "set", "eth0", "up"],
                ["ip", "route", "add", "default", "via", HUB],
                ["sysctl", "-qw", "net.ipv4.ip_forward=1"]):
            run(*inside(self.network, *command))
        make_cgroup(self.cgroup)
        self.write_settings()
        self.power_on()

    def join(self):
        """Connects the pods' network, once the controllers have given the node its addresses."""
        def addresses():
            jsonpath = "jsonpath={.spec.podCIDR}"
            return self.control.kubectl("get", "node", self.name, "--ignore-not-found", "-o", jsonpath)
        pods = wait_for(f"a pod network for {self.name}", POD_NETWORK_SECONDS_MAX, addresses)
        run(*inside(self.control.network, "ip", "route", "add", pods, "via", self.address))
        (self.folder / "cni/10-bridge.conflist").write_text(json.dumps({
            "cniVersion": "0.4.0", "name": self.network, "plugins": [
                {"type": "bridge", "bridge": "cni0", "isGateway": True, "hairpinMode": True,
                 "ipam": {"type": "host-local", "dataDir": str(self.folder / "ipam"), "ranges": [[{"subnet": pods}]],
                          "routes": [{"dst": "0.0.0.0/0"}]}},
                {"type": "portmap", "capabilities": {"portMappings": True}}]}))
        self.processes.start(
            f"{self.name}-proxy", self.network, self.bin / "kube-proxy", "--kubeconfig", self.control.kubeconfig,
            "--hostname-override", self.name, "--cluster-cidr", PODS, "--conntrack-max-per-core", "0")

    def write_settings(self):
        (self.folder / "containerd.toml").write_text(f"""version = 2
root = "{self.folder}/containerd/root"
state = "{self.folder}/containerd/state"
[grpc]
  address = "{self.socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{binaries.PAUSE_IMAGE}"
  # Without CAP_SYS_RESOURCE nobody may lower it, and runc dies of it ("can't get final child's PID from pipe").
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PLUGINS}"
    conf_dir = "{self.folder}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      Root = "{self.folder}/runc"
""")
        (self.folder / "kubelet.json").write_text(json.dumps({
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
            "cgroupDriver": "cgroupfs", "cgroupRoot": f"/{self.cgroup}", "enforceNodeAllocatable": [],
            "failSwapOn": False, "evictionHard": {"nodefs.available": "1%"}, "nodeStatusUpdateFrequency": "3s",
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"}, "podLogsDir": str(self.folder / "logs"),
            "containerRuntimeEndpoint": f"unix://{self.socket}",
            # Images are imported and could not be pulled again: on a fairly full disk the kubelet would remove them.
            "imageGCHighThresholdPercent": 100, "imageGCLowThresholdPercent": 99,
            "clusterDNS": [DNS_SERVICE], "clusterDomain": "cluster.local", "resolvConf": ""}))

    def power_on(self):
        """Starts containerd and the kubelet."""
        self.processes.start(f"{self.name}-containerd", self.network, "containerd", "-c", self.folder / "containerd.toml")
        wait_for(f"containerd on {self.name}", CONTAINERD_SECONDS_MAX, lambda: quietly(*self.ctr("version")))
        self.load(self.bin / "pause.tar")
        self.processes.start(
            f"{self.name}-kubelet", self.network, self.bin / "kubelet", "--config", self.folder / "kubelet.json",
            "--kubeconfig", self.control.kubeconfig, "--root-dir", self.folder / "kubelet",
            "--hostname-override", self.name, "--node-ip", self.address,
            "--node-labels", f"topology.kubernetes.io/zone=zone{self.number}")

    def plug_in(self):
        """The power is back, and the disks are as they were."""
        run(*inside(self.control.network, "ip", "link", "set", self.cable, "up"))
        self.power_on()

    def pull_the_plug(self):
        """Power and network are gone in the same moment: nothing says goodbye."""
        quietly(*inside(self.control.network, "ip", "link", "set", self.cable, "down"))
        self.remember_pod_networks()
        for part in ("kubelet", "containerd"):
            self.processes.stop(f"{self.name}-{part}")
        for shim, containers in self.shims():
            for pid in [*containers, shim]:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass   # it ended with its container

    def burn(self):
        """After the plug was pulled: nothing of its disks is left."""
        unmount_below(self.folder / "kubelet")
        shutil.rmtree(self.folder / "volumes")
        (self.folder / "volumes").mkdir()

    def load(self, archive):
        """Imports an image."""
        run(*self.ctr("images", "import", archive))

    def tag(self, image, other):
        """Gives an image another name."""
        run(*self.ctr("images", "tag", "--force", image, other))

    def kill_container(self, namespace, pod, container):
        """Kills a container as the kernel would, without the API server; whether it runs on this node."""
        return any([quietly(*self.ctr("tasks", "kill", "-s", "SIGKILL", task))
                    for task, _ in self.running(namespace, pod, container)])

    def running(self, namespace, pod, container):
        """containerd's name and the process of a pod's container, if it runs here."""
        if not self.processes.running(f"{self.name}-containerd"):
            return []
        labels = (("pod.namespace", namespace), ("pod.name", pod), ("container.name", container))
        chosen = ",".join(f'labels."io.kubernetes.{label}"=={value}' for label, value in labels)
        # One that ended before is still a container, but no task that runs.
        found = run(*self.ctr("containers", "ls", "-q", chosen)).split()
        tasks = [line.split() for line in run(*self.ctr("tasks", "ls")).splitlines()[1:]]
        return [(task, int(pid)) for task, pid, state in tasks if task in found and state == "RUNNING"]

    def ctr(self, *arguments):
        return ["ctr", "-a", self.socket, "--connect-timeout", "2s", "-n", "k8s.io", *arguments]

    def shims(self):
        """containerd's helper of each pod, with the processes of its containers."""
        parents, shims = {}, []
        for process in filter(str.isdigit, os.listdir("/proc")):
            try:
                command = pathlib.Path(f"/proc/{process}/cmdline").read_text().split("\0")
                stat = pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents.setdefault(int(stat[1]), []).append(int(process))
            if command[0].endswith("containerd-shim-runc-v2") and str(self.socket) in command:
                shims.append(int(process))
        return [(shim, parents.get(shim, [])) for shim in shims]

    def remember_pod_networks(self):
        """containerd's names for the pods' network namespaces, without which nobody could remove them later."""
        known = self.folder / "pod-networks"
        names = set(known.read_text().split()) if known.exists() else set()
        for result in CNI_RESULTS.glob(f"{self.network}-*"):
            names.update(re.findall(r"/netns/(cni-[0-9a-f-]+)", result.read_text()))
        known.write_text("\n".join(sorted(names)))

    def forget_pod_networks(self):
        """Removes the pods' network namespaces, and what the CNI plugins noted about them."""
        for network in (self.folder / "pod-networks").read_text().split():
            quietly("umount", f"/run/netns/{network}")
            quietly("rm", "-f", f"/run/netns/{network}")
        for result in CNI_RESULTS.glob(f"{self.network}-*"):
            container = json.loads(result.read_text())["containerId"]
            for noted in CNI_RESULTS.glob(f"*-{container}-*"):
                noted.unlink(missing_ok=True)

    def remove(self):
        """Removes the node and all that was made for it."""
        self.pull_the_plug()
        unmount_below(self.folder)
        self.forget_pod_networks()
        quietly("ip", "netns", "del", self.network)
        for link in LOG_LINKS.glob("*") if LOG_LINKS.exists() else ():
            if link.is_symlink() and os.readlink(link).startswith(f"{self.folder}/"):
                link.unlink(missing_ok=True)
        remove_cgroup(self.cgroup)
