"""What a cluster takes from the machine: what must be there, network namespaces, processes, cgroups, mounts.

Everything that is made carries the cluster's name or lies under its folder, so that it can be found again and nothing
else is ever touched.
"""

import json
import os
import pathlib
import platform
import shutil
import signal
import subprocess
import time

POLL_SECONDS = 0.1
CGROUPS = pathlib.Path("/sys/fs/cgroup")
CNI_PLUGINS = pathlib.Path("/usr/lib/cni")
PROGRAMS = ("containerd", "ctr", "runc", "ip", "iptables", "nsenter", "openssl")


class NotPossible(Exception):
    """This machine cannot do it; the text says what it needs."""


def missing():
    """What this machine lacks for a cluster of its own, in words."""
    lacks = []
    if platform.system() != "Linux":
        return ["Linux"]
    if os.geteuid() != 0:
        lacks.append("root")
    if not shutil.which("go"):
        lacks.append("Go")
    # iptables is in a folder that only root has in its PATH.
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    lacks += [program for program in PROGRAMS if not shutil.which(program, path=path)]
    if not (CNI_PLUGINS / "bridge").exists():
        lacks.append("CNI plugins")
    return lacks


def run(*command, **options):
    """Runs a command that must succeed; its output."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def quietly(*command):
    """Runs a command that may fail; whether it succeeded."""
    return subprocess.run([str(part) for part in command], capture_output=True).returncode == 0


def wait_for(what, seconds, condition):
    """Waits until condition() is true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not happen within {seconds} s")
        time.sleep(POLL_SECONDS)
    return found


def inside(namespace, *command):
    """The command that runs inside a network namespace. `ip netns exec` would hide the cgroup mounts from it."""
    return ["nsenter", f"--net=/run/netns/{namespace}", *map(str, command)]


class Processes:
    """The processes of a cluster, each with a file that says what it is and a log: they outlive the command that
    started them."""

    def __init__(self, folder):
        self.files = folder / "processes"
        self.logs = folder / "log"

    def start(self, name, namespace, *command):
        """Starts a process in a network namespace, in the background."""
        self.start_here(name, *inside(namespace, *command))

    def start_here(self, name, *command):
        """Starts a process in this machine's own network, in the background."""
        self.files.mkdir(exist_ok=True)
        self.logs.mkdir(exist_ok=True)
        command = [str(part) for part in command]
        with open(self.logs / f"{name}.log", "ab") as log:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        described = {"pid": child.pid, "born": born(child.pid), "command": command}
        (self.files / f"{name}.json").write_text(json.dumps(described))

    def restart(self, name):
        """Starts again what was stopped, as it was."""
        self.start_here(name, *json.loads((self.files / f"{name}.json").read_text())["command"])

    def running(self, name):
        """Whether it runs. A process id alone may be another process's by now; with its time of birth it cannot."""
        try:
            described = json.loads((self.files / f"{name}.json").read_text())
        except FileNotFoundError:
            return None
        return described["pid"] if born(described["pid"]) == described["born"] else None

    def stop(self, name, how=signal.SIGKILL):
        """Ends a process and waits until it is gone."""
        if pid := self.running(name):
            os.kill(pid, how)
            wait_for(f"the end of {name}", 30, lambda: not self.running(name))

    def names(self):
        """All that were ever started."""
        return sorted(file.stem for file in self.files.glob("*.json"))


def born(pid):
    """When a process started, in ticks since the machine did; None when it has ended."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else fields[19]


def make_cgroup(name):
    """A cgroup for one node's pods, on hosts with cgroup v1 or v2."""
    if (CGROUPS / "cgroup.controllers").exists():
        (CGROUPS / name).mkdir(exist_ok=True)
        for controller in (CGROUPS / "cgroup.controllers").read_text().split():
            for parent in (CGROUPS, CGROUPS / name):
                write_if_possible(parent / "cgroup.subtree_control", f"+{controller}")
        return
    for controller in filter(pathlib.Path.is_dir, CGROUPS.iterdir()):
        if (controller / "cgroup.procs").exists() and controller.name != "unified":
            (controller / name).mkdir(exist_ok=True)
    for setting in ("cpus", "mems"):   # empty in a new cpuset, and no process may enter one that is empty
        cpuset = CGROUPS / "cpuset"
        if cpuset.exists():
            write_if_possible(cpuset / name / f"cpuset.{setting}", (cpuset / f"cpuset.{setting}").read_text())


def write_if_possible(file, text):
    try:
        file.write_text(text)
    except OSError:
        pass   # a controller that this host does not hand on: the kubelet says so if it needs it


def remove_cgroup(name):
    """Removes a cgroup and those below it."""
    for top in [CGROUPS / name, *CGROUPS.glob(f"*/{name}")]:
        for folder, _, _ in os.walk(top, topdown=False):
            quietly("rmdir", folder)


def unmount_below(folder):
    """Unmounts everything below a folder, innermost first."""
    mounts = [line.split()[1] for line in pathlib.Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted((mount for mount in mounts if mount.startswith(f"{folder}/")), reverse=True):
        quietly("umount", "-l", mount)
