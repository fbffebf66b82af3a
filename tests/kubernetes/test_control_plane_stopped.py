"""The API server is gone, and the operator with it; routers and storage nodes are killed meanwhile, whoever leads among them. A client
with its SDK's default retries, at the addresses of all routers, notices nothing: nobody takes a dead router out of a Service now."""

import time

import pytest

from harness.manifests import table
from harness.process import kill
from harness.session import RELEASE
from harness.waiting import wait_for
from test_replicas import STORAGE, partition, whole

MINUTE = 60


@pytest.fixture
def steady(place):
    """A table of three replicas with a checker on it; its pods, whoever leads first, and the routers."""
    place.ready(table("steady", replicas=3))
    whole(place.kubectl, name="steady")
    checker = place.sdk(endpoint=place.session.every_router).check("steady", repeats=True)
    leader = partition(place.kubectl)["status"]["leader"]
    nodes = sorted(place.kubectl.items("pods", STORAGE), key=lambda pod: pod["metadata"]["name"] != leader)
    routers = place.session.pods("router")
    assert (len(nodes), len(routers)) == (3, 2)
    return checker, nodes, routers


def killed(place, checker, pod):
    """Kills a pod's process: others go on without it, and it comes back without anybody to ask."""
    back = kill(place.session, pod)
    checker.progress(more=50, status=checker.status_without_api_server)
    back()


@pytest.mark.own_cluster
def test_reads_and_writes_go_on(place, steady):
    checker, nodes, routers = steady
    session, machine = place.session, place.session.own
    session.system("scale", f"deployment/{RELEASE}-operator", "--replicas=0")
    wait_for("the end of the operator", lambda: not session.pods("operator"))
    machine.api_server_stop()
    try:
        checker.progress(more=50, status=checker.status_without_api_server)
        # A router forgets everything but what is in its folder. Once the second storage node is killed, the first one counts again.
        for pod in [*routers, *nodes[:2]]:
            killed(place, checker, pod)
        # It was really gone.
        assert not machine.control.ready()
    finally:
        machine.api_server_start()
        session.system("scale", f"deployment/{RELEASE}-operator", "--replicas=2")
    session.system("rollout", "status", f"deployment/{RELEASE}-operator", "--timeout=120s")
    whole(place.kubectl, name="steady")
    # What is asked for now is done.
    place.ready(table("later"))
    report = checker.finish()
    assert report["failed"] == 0, report


@pytest.mark.own_cluster
@pytest.mark.long
def test_a_minute_without_the_api_server(place, steady):
    """The operator is not stopped: it loses its Lease, ends, and is started again and again."""
    checker, nodes, routers = steady
    machine, here = place.session.own, checker.status_without_api_server
    machine.api_server_stop()
    try:
        end = time.monotonic() + MINUTE
        killed(place, checker, routers[0])
        killed(place, checker, nodes[0])
        while time.monotonic() < end:
            checker.progress(status=here)
        assert not machine.control.ready()
    finally:
        machine.api_server_start()
    checker.progress()
    whole(place.kubectl, name="steady")
    place.ready(table("later"), seconds=300)
    report = checker.finish()
    assert report["failed"] == 0, report
