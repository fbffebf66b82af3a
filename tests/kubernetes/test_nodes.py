"""Nodes lose their power, and with it replicas, whoever leads, routers and an operator. A client with its SDK's default retries, at the
addresses of all routers, writes and checks: no call fails, nothing that was acknowledged is lost."""

import pytest

from harness.waiting import wait_for
from test_replicas import STORAGE, WHOLE_SECONDS, finished, partition, three, whole

NODE_SECONDS = 120


@pytest.fixture
def spread(place):
    """A table of three replicas on three nodes, a checker on it, and the number of a node that can be lost."""
    place.ready(three("trio", storage={"size": "1Gi", "replaceLostAfter": "5s"}))
    kubectl = place.kubectl
    whole(kubectl)
    checker = place.sdk(endpoint=place.session.every_router).check("trio", repeats=True)
    # Not the client's: it is to tell what it saw. Whoever leads, else another one.
    ours = kubectl.get("pod", "client")["spec"]["nodeName"]
    leader = partition(kubectl)["status"]["leader"]
    pods = {pod["metadata"]["name"]: pod["spec"]["nodeName"] for pod in kubectl.items("pods", STORAGE)}
    assert len(set(pods.values())) == 3, pods
    _, node = min((name != leader, node) for name, node in pods.items() if node != ours)
    return place, checker, int(node.removeprefix("node"))


def told(session, number, status):
    """Waits until the cluster takes a node for ready, or not."""
    wait_for(f"node{number} being ready: {status}", lambda: (session.kubectl.condition("node", f"node{number}", "Ready") or {}).get(
        "status") == status, NODE_SECONDS)


@pytest.mark.own_cluster
@pytest.mark.long
def test_a_nodes_plug_is_pulled_and_it_comes_back(spread):
    place, checker, number = spread
    session, kubectl = place.session, place.kubectl
    stores = partition(kubectl)["status"]["stores"]
    session.own.node(number).pull_the_plug()
    try:
        checker.progress()
        told(session, number, "Unknown")
        checker.progress()
        wait_for("the table telling of it", lambda: (kubectl.condition("table", "trio", "Reconciling") or {}).get(
            "reason") == "ReplicasMissing")
        assert kubectl.condition("table", "trio", "Ready")["status"] == "True"
    finally:
        session.own.node(number).plug_in()
        told(session, number, "True")
    whole(kubectl)
    # It came back with what it had, and nothing was made in its stead.
    assert partition(kubectl)["status"]["stores"] == stores
    finished(checker)


@pytest.mark.own_cluster
@pytest.mark.long
def test_a_node_burns_down_with_its_disks(spread):
    """The operator gives the volume up that was on it, and another node gets a replica with all data."""
    place, checker, number = spread
    session, kubectl = place.session, place.kubectl
    before = set(partition(kubectl)["status"]["stores"])
    session.own.node_lose(number)
    try:
        def replaced():
            stores = set(partition(kubectl)["status"]["stores"])
            assert len(before - stores) == 1 and len(stores) == 3, (before, stores)
            return True
        wait_for("another store on another node", replaced, 2 * WHOLE_SECONDS)
        whole(kubectl)
        finished(checker)
    finally:
        # Its Node object is a new one, with another network for pods than the one that the machine leads there: a kept cluster
        # is not one to go on with after this.
        session.own.node(number).plug_in()
        told(session, number, "True")
