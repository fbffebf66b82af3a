"""The cluster of a whole run: one of this machine's own, or the one that KUBECONFIG names.

1. The image is made from what was built, or IMAGE names one that is there already; likewise the client's.
2. The chart is installed as anybody would, with small volumes.
3. At the end the release is removed, and the cluster if it is ours. KEEP_CLUSTER=1 keeps it to look into;
   REUSE_CLUSTER=1 takes a kept one as it is, and keeps it.
"""

import os
import pathlib
import subprocess
import tempfile

from local import binaries
from local.cluster import Cluster
from local.machine import inside

from .kubectl import Kubectl
from .waiting import wait_for

HERE = pathlib.Path(__file__).resolve().parent.parent
ROOT = HERE.parents[1]
NODES = 3
RELEASE = "partita-test"   # not the name of anybody's own release
NAMESPACE = "partita-test"
REGION = "us-east-1"
CLIENT_IMAGE = "localhost/partita-test-client:1"
INSTALL_MAX = "180s"
NAMESPACES_GONE_SECONDS_MAX = 300
SCRAPE_INTERVAL = "2s"


class Session:
    """A cluster with Partita on it, as one release. `own` is None on somebody else's cluster."""

    def __init__(self, own, release=RELEASE):
        self.own = own
        self.release = self.namespace = release
        self.leaving = set()   # namespaces that were told to go
        if own:
            self.kubectl = Kubectl(own.control.kubectl_command())
            self.helm_command = own.command("helm")
            self.image, self.client_image = "localhost/partita:0.1.0", CLIENT_IMAGE
        else:
            self.kubectl = Kubectl(["kubectl"])
            self.helm_command = ["helm"]
            self.image = os.environ.get("IMAGE", "localhost/partita:0.1.0")
            self.client_image = os.environ.get("CLIENT_IMAGE", CLIENT_IMAGE)
        self.installed_image = self.image
        self.system = self.kubectl.within(self.namespace)
        # The chart's name is put behind a release's that does not have it.
        self.fullname = release if "partita" in release else f"{release}-partita"
        self.routers = f"{self.fullname}-routers.{self.namespace}.svc"
        self.endpoint = f"http://{self.routers}:8000"
        # For clients that are to notice nothing of the loss of a router (docs/operations.md, "Disruptions").
        self.every_router = f"http://{self.fullname}-routers-headless.{self.namespace}.svc:8000"

    def another(self, release):
        """The same cluster, as another release in a namespace of its name."""
        return Session(self.own, release)

    def helm(self, *arguments):
        """A helm command that must succeed."""
        done = subprocess.run([*self.helm_command, *map(str, arguments)], capture_output=True, text=True)
        assert done.returncode == 0, f"helm {' '.join(map(str, arguments))}: {done.stderr}"
        return done.stdout

    def install(self, *arguments, image=None, groups_at_once=1):
        """Installs the chart (or upgrades it); what its notes say."""
        self.installed_image = image or self.image
        repository, _, tag = self.installed_image.rpartition(":")
        values = {"image.repository": repository, "image.tag": tag, "podMonitors.interval": SCRAPE_INTERVAL,
                  "tables.storage.size": "1Gi", "tables.replicas": "1"}
        settings = [f"--set-string={name}={value}" if name != "tables.replicas" else f"--set={name}={value}"
                    for name, value in values.items()]
        settings.append(f"--set=operator.rollingUpdates.groupsAtOnce={groups_at_once}")
        self.kubectl.apply(namespace_object(self.namespace))
        return self.helm("upgrade", "--install", self.release, ROOT / "charts/partita", "--namespace", self.namespace,
                         *settings, *arguments, "--wait", "--timeout", INSTALL_MAX)

    def uninstall(self):
        """Uninstalls the release; tables and their data stay."""
        self.helm("uninstall", self.release, "--namespace", self.namespace, "--wait")

    def emptied(self):
        """Waits until the namespaces of all scenarios are gone, with the tables in them."""
        def gone():
            left = self.leaving & set(self.kubectl.names("namespaces"))
            assert not left, left
            return True
        wait_for("the end of the scenarios' namespaces", gone, NAMESPACES_GONE_SECONDS_MAX)

    def fetch_here(self, url):
        """A GET from the cluster's own machine, without the API server."""
        program = "import sys, urllib.request as r; sys.stdout.write(r.urlopen(sys.argv[1], timeout=10).read().decode())"
        done = subprocess.run(inside(self.own.network, "python3", "-c", program, url), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def pods(self, component):
        """The pods of `operator` or `router`."""
        return self.system.items("pods", f"app.kubernetes.io/component={component}")


def namespace_object(name):
    """A namespace that lets only pods run that give up every right."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {
        "name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}


def begin_own(profile="dev"):
    """A fresh cluster of this machine with the images."""
    binaries.build()
    cluster = Cluster(os.environ.get("CLUSTER_NAME", "test"))
    if os.environ.get("REUSE_CLUSTER") == "1" and cluster.exists():
        return Session(cluster)
    cluster.reserve()   # another run on this machine may have one: it comes to an end
    cluster.down()   # what a run left that was killed
    cluster.up(NODES)
    with tempfile.TemporaryDirectory() as folder:
        client = pathlib.Path(folder, "client.tar")
        subprocess.run([HERE / "client/image", client], check=True)
        cluster.load([image_archive(profile), client])
    return Session(cluster)


def image_archive(profile="dev"):
    """Partita's image, of the programs that the tests have built (dev), or built for it."""
    environment = {"IMAGE_PROFILE": profile, **({"IMAGE_BINARIES": str(programs())} if profile == "dev" else {}), **os.environ}
    subprocess.run([ROOT / "scripts/image"], check=True, stdout=subprocess.DEVNULL, env=environment)
    return target() / "image" / environment["IMAGE_PROFILE"] / "partita.tar"


def programs():
    """Where the programs are that the tests have built: those in the image."""
    return pathlib.Path(os.environ.get("IMAGE_BINARIES") or target() / "debug")


def target():
    """Where cargo builds."""
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
