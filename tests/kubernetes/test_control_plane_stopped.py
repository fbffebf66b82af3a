"""Operator and API server are gone, a router and a storage node restart meanwhile: reads and writes go on."""

import pytest

from harness.manifests import table
from harness.session import RELEASE
from harness.waiting import wait_for


# With three replicas it is the leader that is killed, and no call may fail: the others elect without anybody to ask, too.
@pytest.mark.own_cluster
@pytest.mark.parametrize("replicas", [1, 3])
def test_reads_and_writes_go_on(place, replicas):
    session, machine = place.session, place.session.own
    place.ready(table("steady", replicas=replicas))
    checker = place.sdk().check("steady", repeats=replicas > 1)
    [partition] = place.kubectl.items("partitions")
    storage = place.kubectl.get("pod", partition["status"]["leader"])
    routers = [pod["metadata"]["name"] for pod in session.pods("router")]
    assert len(routers) >= 2

    session.system("scale", f"deployment/{RELEASE}-operator", "--replicas=0")
    wait_for("the end of the operator", lambda: not session.pods("operator"))
    failed_before = checker.progress()["failed"]
    machine.api_server_stop()
    try:
        here = checker.status_without_api_server
        calm = checker.progress(more=50, status=here)
        # Nobody noticed anything.
        assert calm["failed"] == failed_before, calm
        # A router forgets everything but what is in its folder, one after the other.
        for router in routers:
            machine.kill_container(session.system.namespace, router, "router")
            checker.progress(more=50, status=here)
        # A storage node starts without anybody to ask.
        machine.kill_container(place.name, storage["metadata"]["name"], storage["spec"]["containers"][0]["name"])
        checker.progress(more=50, status=here)
        # It was really gone.
        assert not machine.control.ready()
    finally:
        machine.api_server_start()
        session.system("scale", f"deployment/{RELEASE}-operator", "--replicas=2")
    restarts = {pod["metadata"]["name"]: pod["status"]["containerStatuses"][0]["restartCount"] for pod in session.pods("router")}
    wait_for("the kubelets telling of the restarts", lambda: all(
        pod["status"]["containerStatuses"][0]["restartCount"] > 0 for pod in session.pods("router")))
    assert sorted(restarts) == sorted(routers)
    session.system("rollout", "status", f"deployment/{RELEASE}-operator", "--timeout=120s")
    place.kubectl.ready("table", "steady")
    # What was asked for meanwhile is done now.
    place.ready(table("later"))
    report = checker.finish()
    assert replicas == 1 or report["failed"] == 0, report
