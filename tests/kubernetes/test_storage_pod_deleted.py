"""A storage node goes away and comes back by itself; nothing that was acknowledged is lost."""

import pytest

from harness.manifests import table
from harness.waiting import wait_for

STORAGE = "app.kubernetes.io/component=storage"
# Two partitions: while the node of one is away, the other one goes on.
UNITS = dict(billingMode="PROVISIONED", provisionedThroughput={"readCapacityUnits": 1500, "writeCapacityUnits": 1500})


@pytest.fixture
def busy(place):
    """A table of two partitions with a checker on it, and the name of one of its pods."""
    place.ready(table("busy", **UNITS))
    pods = place.kubectl.names("pods", STORAGE)
    assert len(pods) == 2
    return place, place.sdk().check("busy", writers=4), pods[0]


def uid_and_restarts(place, pod):
    found = place.kubectl.get("pod", pod)
    status = found and found["status"].get("containerStatuses")
    return (found["metadata"]["uid"], status[0]["restartCount"]) if status else None


def comes_back(place, pod, before, checker):
    """Waits until the pod is another one, or its container is, and serves again."""
    wait_for("another storage node", lambda: uid_and_restarts(place, pod) not in (None, before))
    place.kubectl.ready("pod", pod)
    place.kubectl.ready("table", "busy")
    checker.progress(more=50)
    report = checker.finish()
    phases = {partition["status"]["phase"] for partition in place.kubectl.items("partitions")}
    assert phases == {"Ready"}, phases
    return report


def test_deleted(busy):
    place, checker, pod = busy
    before = uid_and_restarts(place, pod)
    place.kubectl.delete("pod", pod, wait=False)
    comes_back(place, pod, before, checker)


def test_deleted_without_grace(busy):
    place, checker, pod = busy
    before = uid_and_restarts(place, pod)
    place.kubectl("delete", "pod", pod, "--grace-period=0", "--force")
    comes_back(place, pod, before, checker)


@pytest.mark.own_cluster
def test_killed(busy):
    place, checker, pod = busy
    before = uid_and_restarts(place, pod)
    container = place.kubectl.get("pod", pod)["spec"]["containers"][0]["name"]
    place.session.own.kill_container(place.name, pod, container)
    comes_back(place, pod, before, checker)
