"""What happens to clusters happens to the operator's work: hands edit and delete, rights go and come back, images change, volumes
grow, the release is uninstalled and installed again, and a client writes and checks all the way through."""

import time

import pytest

from harness.manifests import changed, table
from harness.session import NAMESPACE, RELEASE
from harness.waiting import wait_for

STORAGE = "app.kubernetes.io/component=storage"
UNITS = dict(billingMode="PROVISIONED", provisionedThroughput={"readCapacityUnits": 1500, "writeCapacityUnits": 1500})


def uids(kubectl, kind, selector=STORAGE):
    """The uid of each object of a kind, by name."""
    return {item["metadata"]["name"]: item["metadata"]["uid"] for item in kubectl.items(kind, selector)}


def ready_as(kubectl, name, condition):
    """Waits until a Table is ready and a condition of the caller's holds, too."""
    wait_for(f"table {name} being as it should", condition, 180)
    kubectl.ready("table", name)


def test_what_hands_change_is_put_back_and_nobody_notices(place):
    place.ready(table("steady", **UNITS))
    kubectl = place.kubectl
    checker = place.sdk().check("steady")
    pods, claims = uids(kubectl, "pods"), uids(kubectl, "pvc")
    groups = {item["metadata"]["name"]: item["spec"]["group"] for item in kubectl.items("partitions")}
    first, second = kubectl.names("statefulsets", STORAGE)
    # Somebody edits a StatefulSet and a Service…
    kubectl.patch("statefulset", first, {"spec": {"updateStrategy": {"type": "RollingUpdate"}}})
    kubectl.patch("service", second, {"metadata": {"labels": {"partita.dev/table": "another"}}})
    # …and deletes what can be made again.
    for kind in ("partition", "poddisruptionbudget"):
        kubectl.delete(kind, first)
    kubectl.delete("service", first)

    def restored():
        assert kubectl.get("statefulset", first)["spec"]["updateStrategy"] == {"type": "OnDelete"}
        assert kubectl.get("service", second)["metadata"]["labels"]["partita.dev/table"] == "steady"
        for kind in ("service", "poddisruptionbudget", "partition"):
            assert kubectl.get(kind, first), kind
        assert kubectl.get("partition", first)["status"]["phase"] == "Ready"
        return True

    ready_as(kubectl, "steady", restored)
    assert groups == {item["metadata"]["name"]: item["spec"]["group"] for item in kubectl.items("partitions")}
    assert (uids(kubectl, "pods"), uids(kubectl, "pvc")) == (pods, claims)
    checker.progress()
    assert checker.finish()["failed"] == 0


def test_a_drain_takes_one_pod_of_a_partition(place):
    place.ready(table("drained"))
    [budget] = place.kubectl.items("poddisruptionbudgets", STORAGE)
    assert budget["spec"]["maxUnavailable"] == 1
    wait_for("the cluster knowing the budget", lambda: place.kubectl.get(
        "poddisruptionbudget", budget["metadata"]["name"])["status"].get("disruptionsAllowed") == 1)


def test_volumes_grow_under_load(place):
    place.ready(table("growing", **UNITS))
    kubectl = place.kubectl
    checker = place.sdk().check("growing")
    pods, claims = uids(kubectl, "pods"), uids(kubectl, "pvc")
    place.apply(table("growing", storage={"size": "2Gi"}, **UNITS))

    def grown():
        for claim in kubectl.items("pvc", STORAGE):
            assert claim["status"]["capacity"]["storage"] == "2Gi", claim["status"]
        for found in kubectl.items("statefulsets", STORAGE):
            template, = found["spec"]["volumeClaimTemplates"]
            assert template["spec"]["resources"]["requests"]["storage"] == "2Gi"
        assert kubectl.condition("table", "growing", "Reconciling")["status"] == "False"
        return len(kubectl.items("statefulsets", STORAGE)) == 2

    ready_as(kubectl, "growing", grown)
    # Neither a pod nor a claim was replaced, and nobody noticed.
    assert (uids(kubectl, "pods"), uids(kubectl, "pvc")) == (pods, claims)
    checker.progress()
    assert checker.finish()["failed"] == 0
    # A smaller size changes nothing.
    place.ready(table("growing", storage={"size": "1Gi"}, **UNITS))
    assert all(claim["spec"]["resources"]["requests"]["storage"] == "2Gi" for claim in kubectl.items("pvc", STORAGE))


def test_no_room_and_no_such_class_are_said(place):
    kubectl = place.kubectl
    place.apply(table("huge", scheduling={"cpu": "1000"}), table("classless", storage={"size": "1Gi", "storageClassName": "nobody-has-it"}))

    def says(name, word):
        def said():
            condition = kubectl.condition("table", name, "Reconciling") or {"message": ""}
            partitions = [item.get("status", {}).get("message", "") for item in kubectl.items("partitions") if item["spec"]["table"] == name]
            assert any(word in message for message in [condition["message"], *partitions]), (condition, partitions)
            return True
        wait_for(f"{name} telling of {word}", said, 60)

    says("huge", "Insufficient cpu")
    says("classless", "the storage class nobody-has-it")


def test_a_table_without_room_recovers_when_it_asks_for_less(place):
    place.apply(table("huge", scheduling={"cpu": "1000"}))
    wait_for("its pod", lambda: place.kubectl.names("pods", STORAGE))
    place.ready(table("huge"))
    place.sdk()("put_item", TableName="huge", Item={"pk": {"S": "a"}})


def test_a_paused_table_is_left_alone(place):
    manifest = table("resting")
    place.ready(manifest)
    kubectl = place.kubectl
    place.apply(changed(manifest, paused=True, tags=[{"key": "team", "value": "a"}]))
    assert "paused" in wait_for("the pause", lambda: (kubectl.condition("table", "resting", "Stalled") or {}).get(
        "reason") == "Paused" and kubectl.condition("table", "resting", "Stalled")["message"])
    checker = place.sdk().check("resting")
    [name] = kubectl.names("services", STORAGE)
    kubectl.delete("poddisruptionbudget", name)
    checker.progress()
    assert kubectl.get("poddisruptionbudget", name) is None
    place.ready(manifest)
    wait_for("what was missing", lambda: kubectl.get("poddisruptionbudget", name))
    assert checker.finish()["failed"] == 0


def test_rights_are_taken_away_and_given_back(place):
    """Without its rights the operator changes nothing, and says so; with them it goes on by itself."""
    session = place.session
    place.ready(table("calm"))
    checker = place.sdk().check("calm")
    name = f"{RELEASE}-operator"
    binding = session.kubectl.get("clusterrolebinding", name)
    session.kubectl.delete("clusterrolebinding", name)
    try:
        wait_for("the rights being gone", lambda: session.kubectl.attempt(
            "auth", "can-i", "patch", "statefulsets.apps", "-A",
            f"--as=system:serviceaccount:{NAMESPACE}:{name}").returncode != 0)
        place.apply(table("waiting"))
        checker.progress()
        assert place.kubectl.names("statefulsets", f"{STORAGE},partita.dev/table=waiting") == []
    finally:
        binding["metadata"] = {key: binding["metadata"][key] for key in ("name", "labels", "annotations")}
        session.kubectl.apply(binding)
    place.kubectl.ready("table", "waiting", seconds=300)
    assert checker.finish()["failed"] == 0


@pytest.mark.own_cluster
def test_an_upgrade_to_another_image_restarts_one_partition_at_a_time(place):
    """helm upgrade under load: routers one after the other, storage nodes one partition after the other, nothing lost."""
    session = place.session
    place.ready(table("upgraded", **UNITS))
    kubectl = place.kubectl
    checker = place.sdk().check("upgraded")
    before, claims = uids(kubectl, "pods"), uids(kubectl, "pvc")
    session.own.tag(session.image, session.image + "-next")
    notes = session.install(image=session.image + "-next")
    assert "storage nodes run another image and restart now, 1 at a time" in notes, notes
    try:
        away_most = watch_restarts(session, kubectl, before)
        assert away_most <= 1
        images = {pod["spec"]["containers"][0]["image"] for pod in kubectl.items("pods", STORAGE)}
        assert images == {session.image + "-next"}
        kubectl.ready("table", "upgraded")
        assert uids(kubectl, "pvc") == claims
        checker.progress()
        checker.finish()
        wait_for("every other table's nodes", lambda: all_restarted(session), 600)
    finally:
        session.install()
        wait_for("the former image everywhere", lambda: all_restarted(session), 600)
    kubectl.ready("table", "upgraded")


def watch_restarts(session, kubectl, before):
    """Looks until every pod is another one and ready; the most of them that were away at once."""
    away_most, deadline = 0, time.monotonic() + 600
    while True:
        pods = kubectl.items("pods", STORAGE)
        serving = {pod["metadata"]["name"] for pod in pods if "deletionTimestamp" not in pod["metadata"] and any(
            condition["type"] == "Ready" and condition["status"] == "True" for condition in pod["status"].get("conditions", []))}
        away_most = max(away_most, len(before) - len(serving))
        now = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in pods}
        if serving == set(before) and all(now[name] != uid for name, uid in before.items()):
            return away_most
        assert time.monotonic() < deadline, (before, now)
        time.sleep(0.5)


def all_restarted(session):
    """Whether every storage node of the cluster runs what its StatefulSet says."""
    for found in session.kubectl.items("statefulsets", STORAGE, everywhere=True):
        status = found["status"]
        assert status.get("observedGeneration") == found["metadata"]["generation"], found["metadata"]["name"]
        replicas = found["spec"]["replicas"]
        assert (status.get("updatedReplicas"), status.get("readyReplicas")) == (replicas, replicas), found["metadata"]["name"]
        container = found["spec"]["template"]["spec"]["containers"][0]
        assert container["image"] == session.installed_image, found["metadata"]["name"]
        # The operator of another release has its own routers named: until then it has not seen this StatefulSet.
        assert any(session.routers in argument for argument in container["args"]), found["metadata"]["name"]
    return True


@pytest.mark.own_cluster
def test_uninstalled_it_goes_on_and_another_release_takes_it_over(place):
    """The storage nodes stay, and so does the data; a release of another name in another namespace goes on with them."""
    session = place.session
    place.ready(table("kept", **UNITS))
    kubectl = place.kubectl
    checker = place.sdk().check("kept")
    checker.progress()
    counts = checker.finish()
    pods, claims = uids(kubectl, "pods"), uids(kubectl, "pvc")
    session.uninstall()
    try:
        assert (uids(kubectl, "pods"), uids(kubectl, "pvc")) == (pods, claims)
        assert kubectl.names("tables") == ["kept"]
        other = session.another("another-release")
        other.install("--take-ownership")
        try:
            sdk = place.of(other).sdk("after")
            assert sdk.active("kept")["TableStatus"] == "ACTIVE"
            # It has an authority of its own: nodes take its routers for strangers until their kubelets have brought them the news.
            found = sdk.eventually("scan", seconds=180, TableName="kept", Select="COUNT", ConsistentRead=True)
            assert found["Count"] == counts["items"]
            again = sdk.check("kept", name="again")
            # The nodes ask the new routers where others are: that is another argument, and so a restart of each.
            wait_for("the other release's nodes", lambda: all_restarted(other), 600)
            kubectl.ready("table", "kept")
            again.progress()
            again.finish()
            place.apply(table("new"))
            kubectl.ready("table", "new", seconds=300)
            assert uids(kubectl, "pvc").items() >= claims.items()
        finally:
            other.uninstall()
    finally:
        session.install("--take-ownership")
        wait_for("the former release's nodes", lambda: all_restarted(session), 600)
    kubectl.ready("table", "kept")
