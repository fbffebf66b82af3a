"""Partitions of three replicas lose pods and volumes, change their number and are upgraded, while a client with its
SDK's default retries writes and checks: no call fails, nothing that was acknowledged is lost."""

import pytest

from harness.manifests import changed, global_index, table
from harness.process import kill
from harness.waiting import wait_for

STORAGE = "app.kubernetes.io/component=storage"
# So long the operator may take for what it does by itself: a new pod, its data, a change of members.
WHOLE_SECONDS = 180


def three(name, **spec):
    """A Table of one partition with a global index, three replicas of each."""
    attributes = [{"attributeName": key, "attributeType": "S"} for key in ("pk", "text")]
    return table(name, replicas=3, attributeDefinitions=attributes,
                 globalSecondaryIndexes=[global_index("byText", "text", projection="KEYS_ONLY")], **spec)


@pytest.fixture
def trio(place):
    """A table of three replicas with a checker on it, and kubectl of its namespace."""
    place.ready(three("trio"))
    whole(place.kubectl)
    return place, place.sdk().check("trio", repeats=True), place.kubectl


def whole(kubectl, replicas=3, name="trio"):
    """Waits until every partition has its replicas, each caught up, and nothing is under way."""
    def all_there():
        partitions = kubectl.items("partitions")
        counts = [partition.get("status", {}).get("replicas") for partition in partitions]
        assert partitions and set(counts) == {f"{replicas}/{replicas}"}, counts
        pods = [pod["metadata"]["name"] for pod in kubectl.items("pods", STORAGE) if is_ready(pod)]
        assert len(pods) == replicas, pods
        reconciling = kubectl.condition("table", name, "Reconciling")
        assert reconciling["status"] == "False", reconciling
        return True
    wait_for(f"all {replicas} replicas being there", all_there, WHOLE_SECONDS)
    kubectl.ready("table", name)


def is_ready(pod):
    conditions = {condition["type"]: condition["status"] for condition in pod["status"].get("conditions", [])}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


def partition(kubectl):
    """The table's own partition."""
    [found] = [item for item in kubectl.items("partitions") if "indexName" not in item["spec"]]
    return found


def led_elsewhere(kubectl, leader):
    """Waits until another pod leads, as its Partition says."""
    def moved():
        now = partition(kubectl)["status"].get("leader")
        assert now and now != leader, now
        return now
    return wait_for("another leader", moved)


def finished(checker):
    """Ends a checker of which no call may have failed."""
    checker.progress()
    report = checker.finish()
    assert report["failed"] == 0, report
    return report


def test_three_replicas_on_three_nodes_lose_their_leader_and_a_volume(trio):
    place, checker, kubectl = trio
    pods = {pod["metadata"]["name"]: pod for pod in kubectl.items("pods", STORAGE)}
    if place.session.own:
        assert len({pod["spec"]["nodeName"] for pod in pods.values()}) == 3, "a host for each"
    leader = partition(kubectl)["status"]["leader"]
    # A pod is deleted: it hands over. One that is killed does not: the others elect.
    kubectl.delete("pod", leader)
    second = led_elsewhere(kubectl, leader)
    whole(kubectl)
    kubectl("delete", "pod", second, "--grace-period=0", "--force")
    led_elsewhere(kubectl, second)
    whole(kubectl)
    checker.progress()
    # A pod and its volume, for good: its store is another one afterwards, with the same data.
    leader, before = partition(kubectl)["status"]["leader"], set(partition(kubectl)["status"]["stores"])
    gone = next(name for name in sorted(pods) if name != leader)
    kubectl.delete("pvc", f"data-{gone}", wait=False)
    kubectl.delete("pod", gone)

    def replaced():
        stores = set(partition(kubectl)["status"]["stores"])
        assert len(before - stores) == 1 and len(stores) == 3, (before, stores)
        return True
    wait_for("another store in its place", replaced, WHOLE_SECONDS)
    whole(kubectl)
    # The new replica counts: with it alone beside the leader's successor all goes on.
    other = next(name for name in sorted(pods) if name not in (leader, gone))
    kubectl.delete("pod", other, wait=False)
    checker.progress()
    whole(kubectl)
    report = finished(checker)
    index = place.sdk("reader")
    found = index("scan", TableName="trio", IndexName="byText", Select="COUNT")["Count"]
    assert found >= report["items"], (found, report)


@pytest.mark.own_cluster
def test_the_leaders_process_is_killed(trio):
    place, checker, kubectl = trio
    for _ in range(2):
        leader = partition(kubectl)["status"]["leader"]
        back = kill(place.session, kubectl.get("pod", leader))
        checker.progress()
        back()
        whole(kubectl)
    finished(checker)


def test_one_becomes_three_and_one_again(place):
    place.ready(changed(three("trio"), replicas=1))
    kubectl = place.kubectl
    checker = place.sdk().check("trio", repeats=True)
    place.apply(three("trio"))
    whole(kubectl)
    checker.progress()
    place.apply(changed(three("trio"), replicas=1))
    whole(kubectl, 1)
    assert len(kubectl.items("pvc", STORAGE)) == 3, "volumes stay until somebody deletes them"
    checker.progress()
    # The former volumes come back, as strangers.
    place.apply(three("trio"))
    whole(kubectl)
    finished(checker)


@pytest.mark.own_cluster
def test_a_drain_and_new_settings_take_one_replica_at_a_time(trio):
    place, checker, kubectl = trio
    session = place.session
    leader = partition(kubectl)["status"]["leader"]
    node = kubectl.get("pod", leader)["spec"]["nodeName"]
    try:
        session.kubectl("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--force",
                        f"--pod-selector={STORAGE}", "--timeout=120s")
        led_elsewhere(kubectl, leader)
        checker.progress()
        # Its volume is on that node: two are left, and no other may be taken away.
        [budget] = kubectl.items("poddisruptionbudgets", STORAGE)
        wait_for("the budget being used up", lambda: kubectl.get(
            "poddisruptionbudget", budget["metadata"]["name"])["status"]["disruptionsAllowed"] == 0)
    finally:
        session.kubectl("uncordon", node)
    whole(kubectl)
    # Other settings are other pods: one after the other is made anew.
    before = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in kubectl.items("pods", STORAGE)}
    place.apply(changed(three("trio"), scheduling={"topology": "Required"}))

    least = [3]

    def renewed():
        ready = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in kubectl.items("pods", STORAGE) if is_ready(pod)}
        least.append(len(ready))
        assert len(ready) == 3 and all(ready[name] != uid for name, uid in before.items()), ready
        return True
    wait_for("every pod being another one", renewed, WHOLE_SECONDS)
    assert min(least) == 2, least
    whole(kubectl)
    finished(checker)
