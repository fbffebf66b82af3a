"""At rest nothing is written but Leases, also when the operator starts anew meanwhile."""

import json
import os
import time

import pytest

from harness.manifests import example, table
from harness.place import Place
from harness.session import NAMESPACE, RELEASE
from harness.waiting import wait_for

# With three replicas this is not always so: an operator has been seen to write a Partition's status and take it back within the five
# minutes. IDLE_REPLICAS=3 looks for why.
REPLICAS = int(os.environ.get("IDLE_REPLICAS", "1"))
TABLES = [example("orders"), table("small", replicas=REPLICAS)]
ITEMS = 100   # also what is left of it when it is rounded to two digits
COUNTED_SECONDS_MAX = 400
IDLE_SECONDS = int(os.environ.get("IDLE_SECONDS", "300"))
OURS = f"system:serviceaccount:{NAMESPACE}:"


@pytest.fixture(scope="session")
def rested(cluster):
    """Tables with data: from manifests, one of them in several partitions, and from an SDK."""
    place = Place(cluster, "idle")
    place.ready(*TABLES)
    sdk = place.sdk()
    sdk("create_table", TableName="by-sdk", BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}])
    sdk.active("by-sdk")
    for table_name in ("small", "by-sdk"):
        for start in range(0, ITEMS, 25):
            sdk("batch_write_item", RequestItems={table_name: [
                {"PutRequest": {"Item": {"pk": {"S": f"item-{n}"}}}} for n in range(start, start + 25)]})
    yield place, sdk
    place.remove()


# Runs first of all (conftest.py): what was measured is written once in five minutes, and other scenarios pass the time.
@pytest.mark.own_cluster
def test_data_before_the_rest(rested):
    _, sdk = rested
    assert count(sdk) == {"small": ITEMS, "by-sdk": ITEMS}


# Runs last.
@pytest.mark.own_cluster
def test_nothing_is_written_but_leases(rested):
    place, sdk = rested
    session = place.session
    session.emptied()
    wait_for("the tables' counts in their status", lambda: counted(place), COUNTED_SECONDS_MAX)

    began = position(session)
    versions = resource_versions(place)
    # The time that passes is what is tested: nothing is awaited in it but its end.
    halfway, end = time.monotonic() + IDLE_SECONDS / 2, time.monotonic() + IDLE_SECONDS
    time.sleep(max(0, halfway - time.monotonic()))
    restart_operator(session)
    time.sleep(max(0, end - time.monotonic()))

    written = writes(session, began)
    leases = [line for line in written if line["objectRef"]["resource"] == "leases"]
    others = [summary(line) for line in written if line not in leases]
    assert leases, "not even Leases: is this the right log?"
    assert others == [], others
    assert resource_versions(place) == versions
    # And what is there is what the manifests say, and what was written is there.
    place.kubectl("diff", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": TABLES}))
    assert count(sdk) == {"small": ITEMS, "by-sdk": ITEMS}


def count(sdk):
    """The items of the tables that have some."""
    return {name: sdk("scan", TableName=name, Select="COUNT", ConsistentRead=True)["Count"] for name in ("small", "by-sdk")}


def counted(place):
    """Whether Tables and Partitions say how many items there are."""
    for kind in ("tables", "partitions"):
        for item in place.kubectl.items(kind):
            if item["spec"]["tableName"] != "orders":
                assert item["status"].get("itemCount") == ITEMS, f"{kind} {item['metadata']['name']}: {item['status']}"
    return True


def restart_operator(session):
    """Both pods' containers are killed where they run: whoever wrote to the API for that would not be us."""
    pods = session.pods("operator")
    assert len(pods) == 2
    for pod in pods:
        session.own.kill_container(NAMESPACE, pod["metadata"]["name"], "operator")
    session.system("wait", "--for=condition=Available", f"deployment/{RELEASE}-operator", "--timeout=120s")


def position(session):
    return session.own.audit_log().stat().st_size


def writes(session, began):
    """What our identities have written since."""
    with open(session.own.audit_log(), "rb") as log:
        log.seek(began)
        lines = [json.loads(line) for line in log.read().splitlines() if line.endswith(b"}")]
    return [line for line in lines if line["user"]["username"].startswith(OURS)]


def summary(line):
    what = line["objectRef"]
    return f"{line['user']['username'].removeprefix(OURS)} {line['verb']} {what['resource']}" \
        f"{'/' + what['subresource'] if 'subresource' in what else ''} {what.get('name')}"


def resource_versions(place):
    """The version of everything of ours: a write that changes nothing leaves it, any other does not."""
    return {(kind, item["metadata"]["name"]): item["metadata"]["resourceVersion"]
            for kind in ("tables", "partitions", "services", "pvc") for item in place.kubectl.items(kind)}
